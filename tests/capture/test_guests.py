"""Guests of any VMM are found, by the name of the program or by the virtual machine that it holds."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ksmbench.capture.guests import guest_memory, guest_name
from ksmbench.capture.manifest import Options
from ksmbench.capture.procfs import PAGE_SIZE, Mapping
from ksmbench.capture.session import Session
from ksmbench.capture.sources import Source, find_followed, find_guests
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.trace.schema import Kind
from ksmbench.trace.schema import Mapping as MappingKind
from tests.capture.child import Memory, needs_root
from tests.capture.truth import children_of

_RAM = 32 << 20  # bytes
_PRIVATE = f"m = mmap.mmap(-1, {_RAM}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)"
_SHARED = f"f = os.memfd_create('guest'); os.ftruncate(f, {_RAM}); m = mmap.mmap(f, {_RAM})"


@contextmanager
def _running(program: Path, code: str, *words: str) -> Iterator[int]:
    # A program with this name that has such memory: the interpreter, under another name.
    if not program.exists():
        shutil.copy(os.path.realpath(sys.executable), program)
    script = f"import fcntl, mmap, os; {code}; m[:5] = b'guest'; print(os.getpid(), flush=True); input()"
    process = subprocess.Popen(
        [program, "-S", "-c", script, *words],
        env={"PYTHONHOME": sys.base_prefix},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "it did not start"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["firecracker", "--api-sock", "/run/fc/web.sock", "--id", "4f-1"], "4f-1"),
        (["firecracker", "--api-sock", "/run/fc/web.sock"], "web"),
        (["firecracker", "--id=abc"], "abc"),
        (["firecracker"], "vmm-12"),
        (["cloud-hypervisor", "--memory", "size=1G", "--api-socket", "path=/tmp/db.sock"], "db"),
        (["cloud-hypervisor", "--api-socket", "/tmp/db.sock"], "db"),
        (["crosvm", "run", "--name", "android", "-s", "/tmp/x.sock"], "android"),
        (["crosvm", "run", "-s", "/tmp/x.sock"], "x"),
    ],
)
def test_names(words: list[str], name: str) -> None:
    assert guest_name(words, 12, "vmm") == name


def _mapping(start: int, mib: int, name: str = "", kind: MappingKind = MappingKind.ANONYMOUS, **more: bool) -> Mapping:
    return Mapping(start, start + (mib << 20) // PAGE_SIZE, frozenset(), name, kind=kind, **more)


def test_memory_without_any_advice_is_guest_memory_where_it_is_large() -> None:
    rest = [_mapping(1, 4), _mapping(1 << 13, 64, "heap"), _mapping(1 << 16, 64, writable=False)]
    low, high, shared = (
        _mapping(1 << 20, 3072),
        _mapping(1 << 21, 64),
        _mapping(1 << 22, 64, "/memfd:r", MappingKind.NEVER),
    )
    bar = _mapping(1 << 23, 64, "anon_inode:[vfio-device]", MappingKind.NEVER)
    found = guest_memory([*rest, low, high, shared, bar])
    assert [(m.start, m.name, m.kind) for m in found] == [
        (low.start, "ram", MappingKind.ANONYMOUS),
        (high.start, "ram", MappingKind.ANONYMOUS),
        (shared.start, "ram", MappingKind.NEVER),
    ]
    assert [m.start for m in guest_memory(rest)] == [1]
    assert guest_memory([]) == []


@needs_root
@pytest.mark.parametrize("program", ["firecracker", "cloud-hypervisor", "crosvm"])
def test_a_guest_of_another_vmm_is_recorded(tmp_path: Path, program: str) -> None:
    name = f"ksmbench-{os.getpid()}-{program}"
    with _running(tmp_path / program, _PRIVATE, "--id", name) as pid:
        [source] = find_guests([name])
        assert source == Source(pid, name, "vm")
        Session([source], Options(tmp_path / "t", 0.1, 0.1)).run()
    memory = Memory(tmp_path / "t")
    maps = [(n * PAGE_SIZE, value) for kind, _, n, value in memory.rows if kind == Kind.MAP]
    assert maps == [(_RAM, MappingKind.ANONYMOUS)]
    assert len([content for content in memory.pages.values() if content != 0]) == 1


@needs_root
def test_a_name_that_two_guests_have_is_refused(tmp_path: Path) -> None:
    name = f"ksmbench-{os.getpid()}"
    with (
        _running(tmp_path / "crosvm", _PRIVATE, "--name", name) as one,
        _running(tmp_path / "crosvm", _PRIVATE, "--name", name) as other,
    ):
        with pytest.raises(UsageError, match=f"2 guests are named {name}, processes {one}, {other}; .*--pid"):
            find_guests([name])
        assert {one, other} <= {source.pid for source in find_guests()}


@needs_root
def test_shared_guest_memory_is_said_to_be(tmp_path: Path) -> None:
    name = f"ksmbench-{os.getpid()}"
    with (
        _running(tmp_path / "crosvm", _SHARED, "--name", f"{name}-a"),
        _running(tmp_path / "crosvm", _PRIVATE, "--name", f"{name}-b"),
    ):
        [one, other] = find_guests([f"{name}-a", f"{name}-b"])
        with pytest.raises(KsmbenchError, match="shared, which KSM never merges"):
            Session([one], Options(tmp_path / "t", 0.1, 0.1)).run()
        facts = Session([one, other], Options(tmp_path / "t", 0.1, 0.1)).run()
    assert any("shared, and so never merged: of 1" in line for line in facts["not_tracked"])
    memory = Memory(tmp_path / "t")
    assert [(n * PAGE_SIZE, value) for kind, _, n, value in memory.rows if kind == Kind.MAP] == [
        (_RAM, MappingKind.NEVER)
    ]
    assert not memory.pages


@needs_root
def test_who_holds_a_virtual_machine_is_a_guest(tmp_path: Path) -> None:
    try:
        with open("/dev/kvm", "rb", buffering=0) as kvm:
            os.close(fcntl.ioctl(kvm, 0xAE01, 0))
    except OSError:
        pytest.skip("no virtual machine of KVM's can be made here")
    name = f"ksmbench-{os.getpid()}"
    code = f"{_PRIVATE}; vm = fcntl.ioctl(os.open('/dev/kvm', os.O_RDWR), 0xAE01, 0)"
    with _running(tmp_path / "own-vmm", code, "--name", name) as pid:
        assert [source.pid for source in find_guests([name])] == [pid]
        assert find_followed(pid).kind == "vm"
    with _running(tmp_path / "own-vmm", _PRIVATE, "--name", name) as pid:
        assert find_followed(pid).kind == "process"


@needs_root
def test_a_device_in_a_process_of_its_own_is_no_further_guest(tmp_path: Path) -> None:
    name = f"ksmbench-{os.getpid()}"
    code = f"{_PRIVATE}; child = os.fork(); child or (__import__('signal').alarm(60), __import__('signal').pause())"
    with _running(tmp_path / "crosvm", code, "--name", name) as pid:
        assert [source.pid for source in find_guests([name])] == [pid]
        [child] = children_of(pid)
        os.kill(child, 9)
