"""Of a process that has ended a capture keeps nothing that grows: no pages, no descriptors, nothing about its calls."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from ksmbench.capture.changes import Shared
from ksmbench.capture.pagemap import PageMap
from ksmbench.capture.procfs import ProcessGoneError
from ksmbench.capture.reading import Reader
from ksmbench.capture.recorder import Recorder
from ksmbench.capture.sources import Source
from ksmbench.capture.stopping import Stopper
from ksmbench.capture.tracing.tracer import Event, Tracer
from ksmbench.capture.watched import Watched
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Kind
from tests.capture.child import Child, Recording, needs_root

_FORTY = "import os; [os.waitpid(pid, 0) for pid in [os.fork() or os._exit(0) for _ in range(40)]]"


def _n_kept(recording: Recording) -> int:
    applied = recording._session._told._applied
    assert applied is not None
    return sum(len(kept) for kept in vars(applied).values() if isinstance(kept, dict))


@needs_root
@pytest.mark.parametrize("is_lost", [False, True])
def test_calls_of_who_has_ended_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_lost: bool) -> None:
    events = Tracer.events

    def without_exits(self: Tracer) -> list[Event]:
        return [event for event in events(self) if not is_lost or event.name != "sched_process_exit"]

    monkeypatch.setattr(Tracer, "events", without_exits)
    with Child() as child:
        recording = Recording([child], tmp_path / "t", follow=True)
        recording.looks()
        before = _n_kept(recording)
        child.do(_FORTY)
        recording.looks(4)
        after = _n_kept(recording)
        held = [len(w.memory.pages.page) for w in recording._session._watched if not w.alive]
        running = len(recording._session._running)
        trace = recording.finish().trace
    if trace.manifest["capture"]["system_calls"]["source"] != "tracefs":
        pytest.skip("needs tracefs")
    assert np.count_nonzero(trace.events.kind == Kind.FORK) == 40
    assert np.count_nonzero(trace.events.kind == Kind.EXIT) == 40
    assert after == before
    assert held == [0] * 40
    assert running == 1


def test_who_ended_as_it_was_opened_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> NoReturn:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr("ksmbench.capture.pagemap.fcntl.ioctl", gone)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ProcessGoneError):
        PageMap(os.getpid())
    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_a_child_of_who_has_ended_begins_as_a_space_of_its_own() -> None:
    with Child() as parent, ContentStore(os.sysconf("SC_PAGE_SIZE")) as store:
        pid = int(parent.do("import os, signal; answer = os.fork() or (signal.alarm(60), signal.pause())"))
        stopper = Stopper(0.0)
        try:
            recorder = Recorder()
            shared = Shared(recorder, store, Reader(), stopper)
            one = Watched(Source(parent.pid, "parent", "process"), 0, shared)
            child = Watched(Source(pid, "child", "process"), 1, shared, one)
            one.look(lambda: 0)
            one.end(5)
            child.look(lambda: 6)
            child.close()
        finally:
            os.kill(pid, 9)
    kinds = [Kind(kind) for chunk in recorder._recent for kind in chunk[1]]
    assert Kind.FORK not in kinds
    assert child.n_pages > 0
