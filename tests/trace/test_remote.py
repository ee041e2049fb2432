"""Traces by URL: file:// without fsspec, and anything that fsspec opens, here its file system in memory."""

import io
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import ksmbench
from ksmbench.errors import TraceError, UsageError
from ksmbench.trace import store
from ksmbench.trace.columns import Trace
from ksmbench.trace.remote import is_url, local_path
from ksmbench.trace.store import open_trace, write_trace
from tests.commands.running import assert_one_line_mistake, run
from tests.report.synthetic import synthetic_trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines of 100 pages over 3 s."""
    path = tmp_path_factory.mktemp("remote") / "small one"
    write_trace(synthetic_trace(2, 100, 3), path)
    return path


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """The same in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/small/", recursive=True)
    yield "memory://bucket/small"
    memory.rm("/bucket", recursive=True)


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/trace")
    assert not is_url("traces/debian-idle-x4")
    assert not is_url("C:/traces")
    assert not is_url(Path("s3://x"))
    assert local_path("file:///a%20b/c") == Path("/a b/c")
    with pytest.raises(UsageError, match="this machine"):
        local_path("file://elsewhere/c")


def test_a_file_url_is_the_folder(folder: Path) -> None:
    assert open_trace(folder.as_uri()).path == folder
    with pytest.raises(TraceError, match="no such trace"):
        open_trace("file:///no/such/folder")


def test_a_trace_from_elsewhere_is_the_same(folder: Path, url: str) -> None:
    near, far = open_trace(folder), open_trace(url)
    assert far.url == url
    assert far.path is None
    assert all((a == b).all() for a, b in zip(near.events, far.events, strict=True))
    assert ksmbench.replay(url).samples.equals(ksmbench.replay(folder).samples)


def test_compare_and_sweep_call_it_by_its_last_part(url: str) -> None:
    comparison = ksmbench.compare([url], ["ksm-6.18"])
    assert comparison.paths == {"small": url}
    with ThreadPoolExecutor(1) as here:  # processes of their own would have another memory
        found = ksmbench.sweep([url], vary={"pages_to_scan": [100, 200]}, executor=here)
    assert found.paths == {"small": url}
    assert found.summary.height == 2


def test_processes_open_file_urls(folder: Path) -> None:
    found = ksmbench.sweep([folder.as_uri()], vary={"pages_to_scan": [100, 200]}, jobs=1)
    assert found.summary["trace"].unique().to_list() == [folder.name]


def test_the_command_line_takes_urls(folder: Path, url: str) -> None:
    for place in (folder.as_uri(), url):
        assert run("replay", place).returncode == 0
    assert_one_line_mistake(run("replay", "memory://nowhere/trace"))
    assert_one_line_mistake(run("replay", "nosuch://bucket/trace"))


def test_broken_tables_are_told_by_their_url(folder: Path, url: str) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/small/events.parquet", b"no table")
    with pytest.raises(TraceError, match=r"memory://bucket/small/events\.parquet"):
        open_trace(url)


def test_without_fsspec_one_sentence_says_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r"ksmbench\[cluster\]"):
        open_trace(url)


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://bucket/trace", "s3fs"), ("gs://bucket/trace", "gcsfs"), ("https://host/x", "aiohttp")],
)
def test_a_missing_package_is_named_with_its_command(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install it somehow\nwith details")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    done = run("replay", url)
    assert_one_line_mistake(done)
    assert done.stderr.endswith(f"such URLs need {package}; pip install {package}\n")


class Liar(MemoryFileSystem):
    """A storage whose files go on for ever, whatever size it says they have."""

    protocol = "liar"
    served = 0

    def _open(self, path: str, mode: str = "rb", **_: object) -> io.RawIOBase:
        return Endless()


class Endless(io.RawIOBase):
    """Zeros without an end."""

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size <= 1 << 20
        Liar.served += size
        return bytes(size)


def test_a_file_that_never_ends_is_not_fetched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fsspec.register_implementation("liar", Liar, clobber=True)
    Liar.served = 0
    with pytest.raises(TraceError, match=r"liar://bucket/trace: its files have more than the 5 MiB"):
        open_trace("liar://bucket/trace", max_memory=5 << 20)
    assert Liar.served == (5 << 20) + 1
    assert list(tmp_path.iterdir()) == []


def test_the_copy_is_private_and_goes(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []

    def watched(folder: Path, **more: Any) -> Trace:
        seen.append(folder.parent.stat().st_mode & 0o777)
        return open_here(folder, **more)

    open_here = store.open_trace
    monkeypatch.setattr(store, "open_trace", watched)
    open_here(url)
    assert seen == [0o700]
    assert list(tmp_path.iterdir()) == []
