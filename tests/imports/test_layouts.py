"""Every format as its layout says: what is present, zero and absent, and timelines of several dumps."""

import gzip
import struct
from pathlib import Path

import pytest

from ksmbench.commands import imports
from ksmbench.imports.importing import READERS
from ksmbench.imports.logs import LOGS
from ksmbench.imports.timeline import ZEROES
from ksmbench.replaying import replay
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.imports import building
from tests.imports.building import CORE, MM, PAGE, held, page, sparse


def taken(tmp_path: Path, *arguments: object) -> Path:
    """The trace that an import makes."""
    out = tmp_path / "out"
    done = run("import", *arguments, "-o", out, "--keep-contents", "--force")
    assert done.returncode == 0, done.stderr
    return out


def test_the_command_knows_every_reader() -> None:
    assert (*READERS, *LOGS) == imports.FORMATS
    assert imports.ZEROES == ZEROES


@pytest.mark.parametrize("zeroes", ZEROES)
def test_raw_has_three_states(zeroes: str, tmp_path: Path) -> None:
    """Bytes, zeros, holes; what zeros are is asked for."""
    file = sparse(tmp_path / "ram", {0: page(1), 1: page(0), 5: page(2), 6: page(1)}, 64)
    out = taken(tmp_path, "raw", file, "--zeroes", zeroes)
    expected = {0: page(1), 5: page(2), 6: page(1)} | ({1: page(0)} if zeroes == "frames" else {})
    assert held(out) == [expected]
    events = open_trace(out).events
    reads = events.page[events.kind == Kind.READ].tolist()
    assert reads == ([1] if zeroes == "read" else [])
    assert replay(out, "oracle", sample="end", mergeable="all").samples["frames"][-1] == 2


def test_files_are_spaces_and_moments(tmp_path: Path) -> None:
    one = sparse(tmp_path / "one", {0: page(1), 1: page(2), 2: page(3)}, 8)
    two = sparse(tmp_path / "two", {0: page(1), 1: page(4), 3: page(0)}, 8)
    assert held(taken(tmp_path, "raw", one, two)) == [
        {0: page(1), 1: page(2), 2: page(3)},
        {0: page(1), 1: page(4), 3: page(0)},
    ]
    out = taken(tmp_path, "raw", two, one, "--at", 7, "--at", 1)
    assert held(out, 2 * 10**9) == [{0: page(1), 1: page(2), 2: page(3)}]
    assert held(out) == [{0: page(1), 1: page(4), 3: page(0)}]
    names = ("--name", "a", "--name", "b", "--name", "a")
    out = taken(tmp_path, "raw", one, one, two, "--at", 0, "--at", 0, "--at", 5, *names, "--mergeable")
    assert [space.name for space in open_trace(out).spaces] == ["a", "b"]
    assert held(out)[1] == {0: page(1), 1: page(2), 2: page(3)}
    assert held(out)[0] == {0: page(1), 1: page(4), 3: page(0)}
    assert replay(out, "oracle", sample="end").samples["frames"][-1] == 4


def test_a_firecracker_diff_leaves_holes_as_they_were(tmp_path: Path) -> None:
    full = sparse(tmp_path / "full", {i: page(i) for i in range(8)}, 8)
    diff = sparse(tmp_path / "diff", {2: page(9), 4: page(0)}, 8)
    for zeroes in ("frames", "absent"):
        out = taken(tmp_path, "firecracker", full, diff, "--at", 0, "--at", 1, "--zeroes", zeroes)
        expected = {i: page(i) for i in range(8)} | {2: page(9), 4: page(0)}
        if zeroes == "absent":
            del expected[0], expected[4]
        assert held(out) == [expected]


def test_lime(tmp_path: Path) -> None:
    """Ranges with gaps between; the last is no whole page."""
    data = page(1) + page(0) + page(2)
    file = building.lime(tmp_path / "a.lime", [(0x1000, data), (0x100000, page(3) + page(4)[:100])])
    done = run("import", "lime", file, "-o", tmp_path / "b", "--json")
    assert "filled up with zeros" in done.stdout
    filled = page(4)[:100].ljust(PAGE, b"\0")
    assert held(taken(tmp_path, "lime", file)) == [{1: page(1), 2: page(0), 3: page(2), 256: page(3), 257: filled}]


def test_cloud_hypervisor(tmp_path: Path) -> None:
    ranges = [(0, page(1) + page(2)), (1 << 32, page(3))]
    folder = building.cloud_hypervisor(tmp_path / "snapshot", ranges)
    expected = [{0: page(1), 1: page(2), 1 << 20: page(3)}]
    assert held(taken(tmp_path, "cloud-hypervisor", folder)) == expected
    assert held(taken(tmp_path, "cloud-hypervisor", folder / "memory-ranges")) == expected


def test_criu(tmp_path: Path) -> None:
    """Two processes, their mappings and advice."""
    folder = building.criu(tmp_path / "images", 7, {16: page(1), 17: page(0), 40: page(2)})
    building.criu(folder, 8, {16: page(1)})
    vmas = [(16, 20, 1 << 9 | 1 << 5, 1 << 12), (40, 44, 1 << 6, 0), (60, 64, 1 << 8, 0), (70, 72, 1 << 3, 0)]
    listed = b""
    for start, end, status, advice in vmas:
        vma = building.message(f1=start * PAGE, f2=end * PAGE, f7=status, f9=advice)
        listed += building.message(f14=vma)
    building.image(folder / "mm-7.img", MM, [listed])
    task = building.message(f1=1, f2=0, f3=0, f4=0, f5=0, f6=b"redis-server")
    building.image(folder / "core-7.img", CORE, [building.message(f1=1, f2=b"", f3=task)])
    out = taken(tmp_path, "criu", folder)
    assert held(out) == [{16: page(1), 17: page(0), 40: page(2)}, {16: page(1)}]
    trace = open_trace(out)
    first = trace.events.space == 0
    maps = first & (trace.events.kind == Kind.MAP)
    assert trace.events.page[maps].tolist() == [16, 40, 60]
    assert trace.events.value[maps].tolist() == [0, 2, 1]
    assert trace.events.value[first & (trace.events.kind == Kind.MADVISE)].tolist() == [12]
    assert trace.names == ("[heap]",)
    assert [space.name for space in trace.spaces] == ["redis-server", "pid-8"]


def test_criu_on_earlier_images(tmp_path: Path) -> None:
    """Through the link to them, or as the moment before; a process that is gone has ended."""
    first = building.criu(tmp_path / "first", 7, {16: page(1), 17: page(2)})
    building.criu(first, 8, {16: page(1)})
    second = building.criu(tmp_path / "second", 7, {16: None, 17: page(3)})
    assert_one_line_mistake(run("import", "criu", second, "-o", tmp_path / "out"))
    out = taken(tmp_path, "criu", first, second, "--at", 0, "--at", 1)
    assert held(out) == [{16: page(1), 17: page(3)}, {}]
    assert open_trace(out).events.kind[-1] == Kind.EXIT
    (second / "parent").symlink_to("../first")
    assert held(taken(tmp_path, "criu", second)) == [{16: page(1), 17: page(3)}]


def test_elf_segments(tmp_path: Path) -> None:
    """What a segment has in memory alone is absent; a guest's addresses are physical."""
    file = building.elf(tmp_path / "a", [(0x10000, page(1) + page(2), 4 * PAGE), (0x40000, page(3), PAGE)])
    out = taken(tmp_path, "elf", file)
    assert held(out) == [{16: page(1), 17: page(2), 64: page(3)}]
    assert open_trace(out).spaces[0].kind == "process"
    file = building.elf(tmp_path / "b", [(0, page(1), PAGE), (0x40000, page(3), PAGE)], guest=True)
    out = taken(tmp_path, "elf", file)
    assert held(out) == [{0: page(1), 64: page(3)}]
    assert open_trace(out).spaces[0].kind == "vm"


def _broken(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    # For each format files that are broken or something else, and what the sentence says.
    whole = folder / "whole"
    whole.mkdir()
    text = folder / "text"
    text.write_text("This is no dump of memory.\n")
    empty = folder / "empty"
    empty.touch()
    core = building.elf(whole / "core", [(0x10000, page(1) * 4, 4 * PAGE)])
    cut_core = folder / "cut-core"
    cut_core.write_bytes(core.read_bytes()[: -PAGE - 1])
    program = folder / "program"
    program.write_bytes(core.read_bytes()[:16] + struct.pack("<H", 2) + core.read_bytes()[18:])
    dump = building.lime(whole / "lime", [(0, page(1)), (0x10000, page(2))])
    cut_lime, bad_lime = folder / "cut-lime", folder / "bad-lime"
    cut_lime.write_bytes(dump.read_bytes()[: -PAGE // 2])
    bad_lime.write_bytes(dump.read_bytes()[: 32 + PAGE] + text.read_bytes() * 8)
    snapshot = building.cloud_hypervisor(folder / "snapshot", [(0, page(1) * 2)])
    (snapshot / "memory-ranges").write_bytes(page(1))
    stateless = building.cloud_hypervisor(folder / "stateless", [(0, page(1))])
    (stateless / "state.json").write_text("{}")
    images = building.criu(folder / "images", 7, {16: page(1), 17: page(2)})
    (images / "pages-7.img").write_bytes(page(1))
    torn = building.criu(folder / "torn", 7, {16: page(1), 17: page(2)})
    torn_map = torn / "pagemap-7.img"
    torn_map.write_bytes(torn_map.read_bytes()[:-2])
    torn_core = building.criu(folder / "torn-core", 7, {16: page(1)})
    building.image(torn_core / "core-7.img", CORE, [building.message(f3=b"\x32\x7fx")])
    others = {}
    for name, first in (
        ("kdump", b"KDUMP   "),
        ("diskdump", b"DISKDUMP"),
        ("flat", b"makedumpfile"),
        ("avml", b"AVML"),
    ):
        others[name] = folder / name
        others[name].write_bytes(first.ljust(2 * PAGE, b"\0"))
    packed = folder / "packed"
    packed.write_bytes(gzip.compress(page(1)))
    return {
        "raw": [
            ("whole number of pages", text),
            ("empty", empty),
            ("import it as elf", core),
            ("unpack it first", packed),
        ],
        "firecracker": [("whole number of pages", text), ("import it as lime", dump)],
        "elf": [
            ("no ELF", text),
            ("no ELF", empty),
            ("cut short", cut_core),
            ("no core", program),
            *(("dump again as ELF", others[name]) for name in ("kdump", "diskdump", "flat")),
        ],
        "lime": [
            ("import it as elf", core),
            ("no LiME", text),
            ("empty", empty),
            ("cut short", cut_lime),
            ("no LiME header", bad_lime),
            ("avml-convert", others["avml"]),
        ],
        "cloud-hypervisor": [("lists", snapshot), ("no state", stateless), ("cannot be read", folder / "none")],
        "strace": [("no system calls", text), ("no system calls", core), ("no ordinary file", whole)],
        "perf": [("no system calls", text), ("no system calls", core), ("no ordinary file", whole)],
        "ftrace": [("no system calls", empty), ("no system calls", dump), ("cannot be read", folder / "none")],
        "criu": [
            ("cut short", images),
            ("cut short", torn),
            ("damaged", torn_core),
            ("no pagemap", whole),
            ("no pagemap", text),
        ],
    }


@pytest.mark.parametrize("format_name", imports.FORMATS)
def test_broken_files_are_one_sentence(format_name: str, tmp_path: Path) -> None:
    for word, path in _broken(tmp_path)[format_name]:
        done = run("import", format_name, path, "-o", tmp_path / "out")
        assert_one_line_mistake(done)
        assert word in done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_name", READERS)
def test_damage_anywhere_is_a_sentence_or_a_trace(format_name: str, tmp_path: Path) -> None:
    """Bytes of headers changed at random never end in a traceback."""
    import numpy as np

    rng = np.random.default_rng(len(format_name))
    content = page(1)
    target = {
        "raw": lambda: sparse(tmp_path / "f", {0: content}, 2),
        "firecracker": lambda: sparse(tmp_path / "f", {0: content}, 2),
        "elf": lambda: building.elf(tmp_path / "f", [(0x10000, content, 2 * PAGE)]),
        "lime": lambda: building.lime(tmp_path / "f", [(0x1000, content)]),
        "cloud-hypervisor": lambda: building.cloud_hypervisor(tmp_path / "d", [(0, content)]) / "state.json",
        "criu": lambda: building.criu(tmp_path / "d", 7, {16: content}) / "pagemap-7.img",
    }[format_name]()
    given = target.parent if format_name in ("cloud-hypervisor", "criu") else target
    whole = target.read_bytes()
    for i in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 200), int(rng.integers(1, 4))).tolist():
            damaged[at] = int(rng.integers(256))
        target.write_bytes(bytes(damaged[: int(rng.integers(len(whole)))] if i % 5 == 0 else damaged))
        done = run("import", format_name, given, "-o", tmp_path / "out", "--force")
        assert done.returncode in (0, 2), done.stderr
        assert done.returncode == 0 or done.stderr.count("\n") == 1


def test_times_and_names_must_fit(tmp_path: Path) -> None:
    file = sparse(tmp_path / "ram", {0: page(1)}, 1)
    for arguments in (
        (file, file, "--at", 1),
        (file, "--name", "a", "--name", "b"),
        (file, file, "--at", 1, "--at", 1),
        (file, "--at", "nan"),
        (file, "--at", -1),
    ):
        assert_one_line_mistake(run("import", "raw", *arguments, "-o", tmp_path / "out"))
