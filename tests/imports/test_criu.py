"""Images that CRIU itself made (`tests.imports.criu.make`): two processes, whole at first, then what changed."""

import shutil
import tarfile
from pathlib import Path

import pytest

from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.imports.building import PAGE, held
from tests.imports.criu.make import IMAGES
from tests.imports.test_strace import rows

_FIRST = 0x510000000  # the page at which the program's mappings begin


def _all(value: int) -> bytes:
    return bytes([value]) * PAGE


# What target.c leaves; the page that it only read is nowhere in the images.
_PARENT = {0: _all(1), 1: _all(2), 3: _all(1), 6: _all(0)}
_CHILD = _PARENT | {2: _all(9)}
_PARENT_LATER = {0: _all(1), 1: _all(7), 6: _all(0)}
_CHILD_LATER = _CHILD | {12: _all(7)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The folder with the images of the first moment and of the second, which builds on the first."""
    with tarfile.open(IMAGES) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path


def _own(spaces: list[dict[int, bytes]]) -> list[dict[int, bytes]]:
    return [{n - _FIRST: data for n, data in pages.items() if _FIRST <= n < _FIRST + 0x200} for pages in spaces]


def test_images_with_a_parent(images: Path) -> None:
    """Pages of both moments, mappings with their kinds and advice, names."""
    out = images / "out"
    done = run("import", "criu", images / "second", "-o", out, "--keep-contents")
    assert done.returncode == 0, done.stderr
    trace = open_trace(out)
    assert [space.name for space in trace.spaces] == ["target", "the second"]
    assert _own(held(out)) == [_PARENT_LATER, _CHILD_LATER]
    found = rows(trace.events)
    for space in (0, 1):
        assert (Kind.MAP, space, _FIRST, 8, 0) in found
        assert (Kind.MAP, space, _FIRST + 8, 8, 0) in found
        assert (Kind.MAP, space, _FIRST + 0x100, 4, 1) in found
        advised = [row[2:] for row in found if row[:2] == (Kind.MADVISE, space)]
        assert advised == [(_FIRST, 8, 12)]


def test_images_as_moments(images: Path) -> None:
    """The second dump by itself, without the link, after the first."""
    (images / "second" / "parent").unlink()
    out = images / "out"
    assert_one_line_mistake(run("import", "criu", images / "second", "-o", out))
    both = (images / "first", images / "second", "--at", 0, "--at", 3)
    done = run("import", "criu", *both, "-o", out, "--keep-contents")
    assert done.returncode == 0, done.stderr
    assert _own(held(out, 2 * 10**9)) == [_PARENT, _CHILD]
    assert _own(held(out)) == [_PARENT_LATER, _CHILD_LATER]


@pytest.mark.parametrize("pattern", ["second/pages-3.img", "second/mm-*.img", "second/core-*.img", "first/pagemap-*"])
def test_broken_images_are_one_sentence(pattern: str, images: Path) -> None:
    """Cut short, or another file in their place."""
    file = next(iter(sorted(images.glob(pattern))))
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert_one_line_mistake(run("import", "criu", images / "second", "-o", images / "out"))
    shutil.copy(__file__, file)
    if not file.name.startswith("pages-"):
        assert_one_line_mistake(run("import", "criu", images / "second", "-o", images / "out"))
    assert not (images / "out").exists()
