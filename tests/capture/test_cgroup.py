"""Members of a control group come and go; those that leave are recorded on."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from ksmbench.capture.cgroup import Group, find_group, mounts
from ksmbench.capture.manifest import Options
from ksmbench.capture.session import Session
from ksmbench.capture.tracing.tracefs import TracingClosedError
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.trace.schema import Kind
from tests.capture.child import Child, Memory


@pytest.fixture(params=["cgroup2", "memory"])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    # A group of version 2, and one of version 1, with a group in it.
    for mount in mounts():
        if (mount / "cgroup.controllers").exists() == (request.param == "cgroup2"):
            break
    else:
        pytest.skip(f"no {request.param} is mounted here")
    folder = mount / f"ksmbench-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "inner").mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    yield folder
    for left in (folder / "inner", folder):
        while left.exists():
            try:
                left.rmdir()
            except OSError:
                time.sleep(0.01)  # its processes are ending


def _join(child: Child, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(child.pid))


def test_a_group_is_found_by_its_path_and_by_its_folder(group: Path) -> None:
    assert find_group(str(group)) == find_group(group.name) == find_group(f"/{group.name}/") == Group(group)
    assert find_group(f"{group.name}/inner") == Group(group / "inner")
    with pytest.raises(KsmbenchError, match=f"there is no control group {group.name}/outer; in {group} are inner"):
        find_group(f"{group.name}/outer")
    with pytest.raises(KsmbenchError, match="/inner has none"):
        find_group(f"{group}/inner/x")
    with pytest.raises(KsmbenchError, match="there is no control group no-such-group"):
        find_group("no-such-group")


def test_who_is_in_a_group(group: Path) -> None:
    assert Group(group).members() == []
    with Child() as one, Child() as other:
        _join(one, group)
        _join(other, group / "inner")
        assert Group(group).members() == sorted([one.pid, other.pid])
        assert Group(group / "inner").members() == [other.pid]
    assert Group(group.with_name("gone")).members() == []


def test_members_come_and_go(group: Path, tmp_path: Path) -> None:
    options = Options(tmp_path / "t", 0.02, None, follow=True, cgroup=str(group))
    session = Session([], options, group=find_group(group.name))
    looked = threading.Semaphore(0)
    failures: list[Exception] = []

    def run() -> None:
        try:
            session.run(lambda _: looked.release())
        except Exception as error:
            failures.append(error)

    def looks() -> None:
        while looked.acquire(blocking=False):
            pass
        for _ in range(2):
            assert looked.acquire(timeout=30), failures

    with Child() as first, Child() as leaver, Child() as late:
        first.do("put(1, b'one')")
        _join(first, group)
        _join(leaver, group / "inner")
        thread = threading.Thread(target=run)
        thread.start()
        looks()
        (group.parent / "cgroup.procs").write_text(str(leaver.pid))
        _join(late, group)
        late.do("put(2, b'two')")
        first.end()
        looks()
        leaver.do("put(3, b'three')")
        looks()
        late.end()
        leaver.end()
        looks()  # nobody is there, the group is
        (group / "inner").rmdir()
        group.rmdir()
        thread.join(30)
        assert not thread.is_alive()
    assert not failures
    memory = [Memory(tmp_path / "t", space) for space in range(3)]
    spaces = {space.pid: i for i, space in enumerate(memory[0].trace.spaces)}
    assert spaces == {first.pid: 0, leaver.pid: 1, late.pid: 2}
    assert (Kind.EXIT, 0, 0, 0) in memory[0].rows
    written = [page for kind, page, _, _ in memory[1].rows if kind == Kind.WRITE]
    assert leaver.first + 3 in written
    facts = memory[0].trace.manifest["capture"]
    assert facts["cgroup"] == str(group)
    assert facts["end"]["reason"] == "every process ended"
    assert [("seen_first_ns" in source) for source in facts["sources"]] == [False, False, True]


def test_a_group_is_not_followed_by_strace(group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed() -> NoReturn:
        raise TracingClosedError("tracefs is closed in this test")

    monkeypatch.setattr("ksmbench.capture.tracing.told.Tracer", closed)
    with pytest.raises(UsageError, match="strace cannot follow a control group.*leave out --calls strace"):
        Session([], Options(tmp_path / "t", 0.02, 0.05, calls="strace"), group=find_group(str(group)))
    with Child() as member:
        _join(member, group)
        facts = Session([], Options(tmp_path / "t", 0.02, 0.05), group=find_group(str(group))).run()
    assert facts["system_calls"]["source"] == "differences between looks"
    assert "control group" in facts["system_calls"]["why"]


def test_members_that_are_known_are_not_compared_again(
    group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    monkeypatch.setattr("ksmbench.capture.tree.same_memory", lambda *pids: bool(compared.append(pids)))
    with Child() as one, Child() as two, Child() as three:
        for member in (one, two, three):
            _join(member, group)
        facts = Session([], Options(tmp_path / "t", 0.02, 0.2), group=find_group(str(group))).run()
    assert facts["looks"] > 2
    assert len(compared) == len(set(compared)) == 3


def test_a_group_without_processes_is_refused(group: Path, tmp_path: Path) -> None:
    with pytest.raises(KsmbenchError, match="no process is in"):
        Session([], Options(tmp_path / "t", 1.0, 1.0), group=find_group(str(group))).run()
    assert not (tmp_path / "t").exists()


def test_children_of_members_are_forks(group: Path, tmp_path: Path) -> None:
    with Child() as parent:
        parent.do("put(1, b'one')")
        _join(parent, group)
        pid = int(parent.do("import os, signal; answer = os.fork() or (signal.alarm(60), signal.pause())"))
        try:
            options = Options(tmp_path / "t", 0.02, 0.05, follow=True)
            Session([], options, group=find_group(str(group))).run()
        finally:
            os.kill(pid, 9)
    memory = Memory(tmp_path / "t")
    assert [space.pid for space in memory.trace.spaces] == [parent.pid, pid]
    assert (Kind.FORK, 0, 0, 1) in memory.rows
