"""What a trace tells beyond ranks is what was asked for: fingerprints under a key, contents, names."""

import json
import os
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import ksmbench
from ksmbench.capture.disclosure import neutral_host, neutral_name, only_options, read_key, without_key
from ksmbench.errors import UsageError
from ksmbench.reshape.combine import combine
from ksmbench.trace.tables import has_pages, read_pages
from tests.capture.child import PAGE, Child, Recording, needs_root

_KEY = read_key("00112233445566778899aabbccddeeff")


def test_traces_of_one_key_can_be_combined(tmp_path: Path) -> None:
    with Child() as one, Child() as other:
        one.do("put(1, b'both'); put(2, b'one')")
        other.do("put(7, b'both'); put(8, b'other'); put(9, b'')")
        first = Recording([one], tmp_path / "one", key=_KEY)
        first.looks()
        one.do("put(3, b'later')")  # after the first checkpoint
        first.looks()
        a, b = first.finish(), Recording([other], tmp_path / "other", key=_KEY).finish()
        stranger = Recording([other], tmp_path / "stranger", key=read_key("ff" * 16)).finish()
    prints = [
        {page: m.trace.fingerprint[c].tobytes() for page, c in m.of(child).items()}
        for m, child in ((a, one), (b, other))
    ]  # type: ignore[index]
    assert prints[0][1] == prints[1][7]
    assert len({prints[0][1], prints[0][2], prints[0][3], prints[1][8], prints[1][9]}) == 5
    assert prints[1][9] == a.trace.fingerprint[0].tobytes()  # type: ignore[index]
    assert a.trace.manifest["capture"]["fingerprints"].startswith("BLAKE2b")
    with ExitStack() as stack:
        combined = combine([a.trace, b.trace], stack)
    assert combined.trace.fingerprint is not None
    assert stranger.trace.fingerprint is not None
    assert {bytes(row) for row in stranger.trace.fingerprint}.isdisjoint(
        bytes(row) for row in combined.trace.fingerprint
    )


def test_contents_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    with Child() as child:
        child.do("put(1, b'password'); put(2, b'')")
        recording = Recording([child], tmp_path / "t", keep_contents=True)
        recording.looks()
        child.do("put(3, b'later')")
        recording.looks()
        memory = recording.finish()
        plain = Recording([child], tmp_path / "plain").finish()
    pages = np.concatenate(list(read_pages(tmp_path / "t", PAGE)))
    assert bytes(pages[memory.of(child)[1]]).rstrip(b"\0") == b"password"
    assert bytes(pages[memory.of(child)[3]]).rstrip(b"\0") == b"later"
    assert not pages[memory.of(child)[2]].any()
    assert memory.trace.manifest["capture"]["contents_kept"]
    assert not has_pages(plain.path)
    for table in plain.path.iterdir():
        assert b"password" not in table.read_bytes()


@needs_root
def test_the_command_line_warns_and_says_nothing_of_the_key(tmp_path: Path) -> None:
    secret = "5e" * 16
    with Child() as child:
        words = ["-m", "ksmbench", "capture", "--pid", str(child.pid), "-o", str(tmp_path / "t"), "--duration", "0.1"]
        words += ["--keep-contents", "--key", secret, "--anonymize", "--notes", "a note"]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "passwords" in done.stderr
    assert secret not in done.stdout + (tmp_path / "t/trace.json").read_text()
    for file in (tmp_path / "t", *(tmp_path / "t").iterdir()):
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077


def test_names_are_replaced(tmp_path: Path) -> None:
    with Child() as child:
        (tmp_path / "a-secret-file").write_bytes(bytes(PAGE))
        child.do(
            f"f = open({str(tmp_path / 'a-secret-file')!r}, 'r+b'); m = mmap.mmap(f.fileno(), 0, flags=2); m[0] = 1"
        )
        options = {"command": ["ksmbench", "capture", "--pid", str(child.pid)], "anonymous": True}
        memory = Recording([child], tmp_path / "my-customer", **options).finish()
        named = Recording([child], tmp_path / "named").finish()
    text = json.dumps(memory.trace.manifest) + "".join(memory.trace.names)
    for word in ("secret", "python", str(tmp_path), "my-customer", f": {child.pid}", os.uname().release):
        assert word not in text
    assert {"heap", "stack"} <= set(memory.trace.names)
    assert [(space.pid, space.name) for space in memory.trace.spaces] == [(None, "process-0")]
    assert any("secret" in name for name in named.trace.names)
    assert len(memory.trace.names) == len(named.trace.names)
    replayed = ksmbench.replay(memory.trace, mergeable="all", cost="none", sample="end")
    assert replayed.samples["pages_anon"][-1] > 0


def test_neutral_words() -> None:
    names: dict[str, str] = {}
    words = ["heap", "", "/srv/a", "anon:b", "/srv/a", "ram"]
    assert [neutral_name(names, word) for word in words] == ["heap", "", "file-1", "mapping-2", "file-1", "ram"]
    line = [
        "ksmbench",
        "capture",
        "-o",
        "acme",
        "--pid",
        "12",
        "--interval",
        "0.5",
        "--label=acme",
        "--qemu",
        "web",
        "--max-cpu=10%",
    ]
    assert only_options([*line, "--", "sort", "--secret"]) == [
        "-o",
        "--pid",
        "--interval",
        "0.5",
        "--label",
        "--qemu",
        "--max-cpu=10%",
    ]
    secret = ["--pid=4711", "-o/home/acme", "--key=00112233445566778899", "--key", "00112233445566778899", "--cgroup=7"]
    assert only_options(secret) == ["--pid", "-o", "--key", "--key", "--cgroup"]
    assert without_key(["x", "--key", "aa", "--key=bb", "y"]) == ["x", "--key", "KEY", "--key=KEY", "y"]
    host = neutral_host({"kernel": "6.1.0-acme", "cpu": "Acme", "memory_bytes": 25_000_000_000, "cpus": 2})
    assert host == {"kernel": "6.1", "memory_bytes": 1 << 35, "cpus": 2}


def test_keys(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    assert read_key(str(tmp_path / "key")) == read_key(b"0123456789abcdef".hex())
    (tmp_path / "short").write_bytes(b"0123")
    for wrong in (str(tmp_path / "short"), "aabb", "no key", str(tmp_path)):
        with pytest.raises(UsageError, match="--key"):
            read_key(wrong)
