"""What `explain` says of running processes whose mappings and pages a test made."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ksmbench.capture.pagemap import PageMap
from ksmbench.explaining import host, reasons
from ksmbench.explaining.vmas import judge, parse_vmas
from tests.capture.child import PAGE, Child, ksm_lock, needs_root
from tests.commands.running import Done, assert_one_line_mistake, run

pytestmark = needs_root

_SHARED = "s = mmap.mmap(-1, 4 * PAGE); [s.__setitem__(slice(i * PAGE, i * PAGE + 3), b'abc') for i in range(3)]; "


def _explained(*children: Child) -> dict[str, Any]:
    words = [word for child in children for word in ("--pid", child.pid)]
    done = run("explain", *words, "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _at(facts: dict[str, Any], page: int, space: int = 0) -> dict[str, Any]:
    (found,) = (
        m for m in facts["mappings"] if m["space"] == space and m["first_page"] <= page < m["first_page"] + m["pages"]
    )
    return found


@pytest.fixture
def child() -> Iterator[Child]:
    """A process whose memory the test makes."""
    with Child() as process:
        yield process


def _counts(mapping: dict[str, Any], *names: str) -> list[int]:
    return [mapping[name] for name in names]


def test_equal_pages_are_counted_exactly(child: Child) -> None:
    # Eight pages of two contents, three zero-filled, one of its own, one that is only read; in a second mapping one
    # that the first has too, and one that only the other process has. Between them lies a shared page.
    first = int(child.do("a = area(24, mmap.MADV_NOHUGEPAGE); answer = where(a)"))
    child.do("mmap_at = ctypes.CDLL(None).mmap; mmap_at.restype = ctypes.c_void_p")
    child.do("mmap_at(ctypes.c_void_p((where(a) + 16) * PAGE), ctypes.c_size_t(PAGE), 0, 0x31, -1, 0)")
    child.do("for i in range(8): a[i * PAGE:(i + 1) * PAGE] = bytes([65 + i % 2]) * PAGE")
    child.do("for i in range(8, 11): a[i * PAGE] = 1; a[i * PAGE] = 0")
    child.do("a[11 * PAGE:12 * PAGE] = b'own, and of nobody else' * 178 + bytes(2)")
    child.do("answer = a[12 * PAGE]")
    second = first + 17
    child.do("a[17 * PAGE:18 * PAGE] = b'A' * PAGE; a[18 * PAGE:19 * PAGE] = b'elsewhere' * 455 + b'.'")
    with Child() as other:
        other.do("put(0, b'elsewhere' * 455 + b'.')")
        facts = _explained(child, other)
    one, two = _at(facts, first), _at(facts, second)
    names = ("present_pages", "zero_page_pages", "zero_pages", "equal_in_mapping", "equal_to_none")
    assert _counts(one, *names) == [12, 1, 3, 8, 1]
    assert _counts(two, "present_pages", "equal_in_space", "equal_elsewhere") == [2, 1, 1]
    # Four frames of one content become one; of five of the other, four are here, and one stays; zero-filled ones go.
    assert one["would_save_pages"] == pytest.approx(3 + 4 * 3 / 4 + 4 * 4 / 5, abs=0.01)
    assert one["verdict"] == "not asked"
    assert _at(facts, other.first, 1)["equal_elsewhere"] == 1


def test_absent_pages_stay_absent(child: Child) -> None:
    first = int(child.do("a = area(64, mmap.MADV_NOHUGEPAGE); a[5 * PAGE] = 1; answer = where(a)"))
    _explained(child)
    pagemap = PageMap(child.pid)
    assert pagemap.look(first, first + 64).page.tolist() == [first + 5]
    pagemap.close()


@pytest.mark.parametrize("offset", [0, 16, 4088])
def test_a_planted_difference_is_found(child: Child, offset: int) -> None:
    child.do("import random; random.seed(7); image = random.randbytes(PAGE)")
    child.do("a = area(40, mmap.MADV_NOHUGEPAGE)")
    child.do(
        f"for i in range(40): a[i * PAGE:(i + 1) * PAGE] = image[:{offset}] + bytes([i + 1]) * 3 + image[{offset + 3}:]"
    )
    differences = _explained(child)["differences"]
    row = next(row for row in differences["offsets"] if row["offset"] == offset)
    assert row["pages"] >= 40
    assert row["median_bytes"] <= 3
    assert differences["almost_equal_pages"] >= 40


def test_every_kind_of_mapping_has_its_reason(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 8 * PAGE)
    shared = int(child.do(f"{_SHARED} answer = where(s)"))
    private_file = int(
        child.do(
            f"f = open({str(path)!r}, 'r+b'); p = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE); "
            "p[0] = 1; p[3 * PAGE]; answer = where(p)"
        )
    )
    shared_file = int(child.do("q = mmap.mmap(f.fileno(), 0); q[0]; answer = where(q)"))
    locked = int(
        child.do(
            "l = area(8, mmap.MADV_NOHUGEPAGE); l[0] = 1; "
            "ctypes.CDLL(None).mlock(ctypes.c_void_p(where(l) * PAGE), 8 * PAGE); answer = where(l)"
        )
    )
    facts = _explained(child)
    found = _at(facts, shared)
    assert (found["verdict"], found["can_merge"], found["present_pages"]) == ("shared memory", False, 3)
    assert found["equal_in_mapping"] == 3
    assert found["would_save_pages"] == pytest.approx(2)
    found = _at(facts, private_file)
    assert (found["verdict"], found["can_merge"], found["present_pages"]) == ("private file", True, 1)
    assert found["page_cache_pages"] >= 1
    assert _at(facts, shared_file)["verdict"] == "shared file"
    found = _at(facts, locked)
    assert (found["verdict"], found["can_merge"]) == ("not asked", True)
    assert reasons.LOCKED_NOTE in found["notes"]
    assert "prctl" in found["remedy"] or not reasons.has_prctl(facts["kernel"])
    assert next(m for m in facts["mappings"] if m["name"] == "vdso")["verdict"] == "kernel's own"
    assert facts["savings"]["if_all_were_private_pages"] >= facts["savings"]["if_all_asked_pages"] + 2


def test_huge_frames_are_noted(child: Child) -> None:
    first = int(child.do("t = mmap.mmap(-1, 4 << 20, flags=0x22, prot=3); t.madvise(14); answer = where(t)"))
    child.do("for i in range(1024): t[i * PAGE] = 1 + i % 3")
    found = _at(_explained(child), first)
    if not found["huge_pages"]:
        pytest.skip("this host gave no huge frame")
    assert reasons.HUGE_NOTE in found["notes"]
    assert found["present_pages"] >= 1024


def test_mergeable_memory_was_asked_for(child: Child) -> None:
    with ksm_lock():
        first = int(child.do("a = area(8, 12); a[0] = 1; a[PAGE] = 1; gap = area(1); answer = where(a)"))
        facts = _explained(child)
        child.do("a.madvise(13)")
    found = _at(facts, first)
    assert (found["verdict"], found["asked"]) == ("asked", True)
    assert facts["savings"]["as_asked_pages"] == 1
    assert facts["spaces"][0]["ksm_mergeable"] is True


def test_a_process_that_asked_by_prctl(child: Child) -> None:
    with ksm_lock():
        if child.do("answer = ctypes.CDLL(None).prctl(67, 1, 0, 0, 0)") != "0":
            pytest.skip("this kernel has no PR_SET_MEMORY_MERGE")
        out = int(child.do("a = area(8, 13); a[0] = 1; gap = area(1); answer = where(a)"))
        facts = _explained(child)
        child.do("ctypes.CDLL(None).prctl(67, 0, 0, 0, 0)")
    if "ksm_merge_any" not in facts["spaces"][0]:
        pytest.skip("this kernel does not tell it")
    assert "prctl" in next(m for m in facts["mappings"] if m["name"] == "heap")["why"]
    assert _at(facts, out)["verdict"] == "not marked"


def test_hugetlb_is_never_merged(child: Child) -> None:
    pool = Path("/proc/sys/vm/nr_hugepages")
    before = pool.read_text().strip()
    try:
        pool.write_text(str(int(before) + 1))
        if int(pool.read_text()) <= int(before):
            pytest.skip("this host has no huge page to give")
        first = int(child.do("h = mmap.mmap(-1, 2 << 20, flags=0x40022, prot=3); h[0] = 1; answer = where(h)"))
        found = _at(_explained(child), first)
        child.end()
    except OSError as error:
        pytest.skip(f"no pool of huge pages: {error}")
    finally:
        pool.write_text(before)
    assert (found["verdict"], found["can_merge"]) == ("hugetlb", False)
    assert found["present_pages"] == 512


def test_the_text_is_narrow(child: Child) -> None:
    text = run("explain", "--pid", child.pid).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(("KSM ", "this kernel"))
    assert "CAN MERGE: not asked" in text
    with_empty = run("explain", "--pid", child.pid, "--all").stdout
    assert len(with_empty) > len(text)


def test_processes_that_cannot_be_explained() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    zombie = run("explain", "--pid", ended.pid)
    ended.wait()
    assert_one_line_mistake(zombie)
    assert "has ended" in zombie.stderr
    gone = run("explain", "--pid", ended.pid)
    assert_one_line_mistake(gone)
    assert "there is no process" in gone.stderr
    thread = run("explain", "--pid", 2)
    assert_one_line_mistake(thread)
    assert "kernel thread" in thread.stderr


def test_without_permission_it_is_one_sentence(child: Child) -> None:
    # A user without any capability, in a process of its own.
    code = (
        "import os, ksmbench.explaining.live, ksmbench.explaining.report, ksmbench.explaining.show; "
        "from ksmbench.cli import main; os.setgid(65534); os.setuid(65534); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "--pid", str(child.pid)], capture_output=True, text=True, check=False
    )
    assert_failed(Done(done.returncode, done.stdout, done.stderr))
    assert "may not be read" in done.stderr


def assert_failed(done: Done) -> None:
    """Exit status 1 and one sentence."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no KSM"),
        ({"run": 0}, "KSM is off (run is 0)"),
        ({"run": 2}, "run is 2"),
        ({"run": 1, "pages_to_scan": 0}, "pages_to_scan is 0"),
        ({"run": 1, "pages_to_scan": 100}, "KSM runs"),
    ],
)
def test_what_keeps_the_host_from_merging(settings: dict[str, int | str], words: str) -> None:
    assert words in host.whether_it_runs(settings)[0]


_SMAPS = """\
7f0000000000-7f0000200000 {permissions} 00000000 00:01 {inode}    {name}
Size:               2048 kB
Rss:                 512 kB
Anonymous:            12 kB
VmFlags: {flags}
"""


@pytest.mark.parametrize(
    ("permissions", "inode", "name", "flags", "vmm", "code"),
    [
        ("rw-p", 0, "", "rd wr mr mw me ac", None, "not asked"),
        ("rw-p", 0, "[stack]", "rd wr mr mw me gd ac mg", None, "asked"),
        ("rw-p", 9, "/lib/x.so", "rd wr mr mw me ac", None, "private file"),
        ("rw-s", 9, "/dev/zero (deleted)", "rd wr sh mr mw me ms", None, "shared memory"),
        ("rw-s", 9, "/memfd:ram (deleted)", "rd wr sh mr mw me ms", "qemu", "shared memory"),
        ("rw-s", 9, "/run/ram (deleted)", "rd wr sh mr mw me ms", "", "shared memory"),
        ("r--s", 9, "/var/cache/x", "rd mr me ms", None, "shared file"),
        ("rw-s", 9, "/secretmem (deleted)", "rd wr sh mr mw me ms lo dd", None, "secretmem"),
        ("rw-p", 0, "", "rd wr mr mw me de ht", None, "hugetlb"),
        ("rw-s", 9, "/dev/mem", "rd wr sh mr mw me ms io pf dd", None, "device"),
        ("rw-p", 9, "/dev/gpu", "rd wr mr mw me mm", None, "device"),
        ("rw-p", 0, "", "rd wr mr mw me dp", None, "droppable"),
        ("rw-p", 0, "anon_inode:x", "rd wr mr mw me de", None, "driver's"),
        ("r-xp", 0, "[vdso]", "rd ex mr mw me de", None, "kernel's own"),
    ],
)
def test_flags_and_names_decide(
    permissions: str, inode: int, name: str, flags: str, vmm: str | None, code: str
) -> None:
    text = _SMAPS.format(permissions=permissions, inode=inode, name=name, flags=flags)
    (vma,) = parse_vmas(text)
    assert (vma.start, vma.end, vma.name, vma.kib["Rss"]) == (0x7F0000000000, 0x7F0000200000, name, 512)
    verdict = judge(vma, vmm=vmm, merges_any=False, has_prctl=True)
    assert verdict.code == code
    assert verdict.able == (code in ("asked", "not asked", "private file"))
    assert judge(vma, vmm=vmm, merges_any=False, has_prctl=True, is_dax=True).code in (code, "DAX")


@pytest.mark.parametrize(
    ("vmm", "words"), [("qemu", "mem-merge=on"), ("cloud-hypervisor", "mergeable=on"), ("firecracker", "before it")]
)
def test_guests_that_did_not_ask_are_told_how(vmm: str, words: str) -> None:
    assert words in reasons.not_asked(vmm, False, True).remedy


def test_dax_mounts_are_found() -> None:
    mounts = "36 35 98:0 / /mnt/pmem rw,noatime - ext4 /dev/pmem0 rw,dax=always\n37 35 98:1 / / rw - ext4 /dev/sda rw\n"
    with mock.patch.object(host, "_text", return_value=mounts):
        assert host.dax_mounts(1) == ["/mnt/pmem"]
