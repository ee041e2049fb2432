"""A capture from its first look to its last: looks at intervals, checkpoints, and what the manifest says of them."""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ksmbench.capture.cautions import about_calls, about_interval, about_rights, about_shared
from ksmbench.capture.cgroup import Group
from ksmbench.capture.changes import Shared
from ksmbench.capture.command import Started
from ksmbench.capture.comparing import Comparer
from ksmbench.capture.descriptors import allow_most
from ksmbench.capture.disclosure import Fingerprints, contents, neutral_name
from ksmbench.capture.host import ADVISOR_MODES, available_bytes, host, ksm_settings
from ksmbench.capture.manifest import (
    Options,
    asked_for,
    consistency,
    document,
    shared_guests,
    spaces_table,
    tracked,
    why_nothing,
)
from ksmbench.capture.pace import Pace
from ksmbench.capture.procfs import PAGE_SIZE, ProcessGoneError
from ksmbench.capture.reading import Reader, differing
from ksmbench.capture.recorder import Recorder
from ksmbench.capture.requests import Requests
from ksmbench.capture.sources import Source
from ksmbench.capture.stopping import Stopper
from ksmbench.capture.tracing.applying import Applied
from ksmbench.capture.tracing.told import Told, open_feed
from ksmbench.capture.tree import Tree
from ksmbench.capture.watched import Watched
from ksmbench.errors import KsmbenchError, UsageError
from ksmbench.outputs import refuse_closed
from ksmbench.trace.ranking import ContentStore
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import write_trace

_CHECKPOINT_S = 10.0
_CHECKPOINT_SHARE = 0.05  # of the time, at most
_WHOLE_LOOK_S = 10.0  # in which a look that must be whole takes in those that come while it goes on
_LEAST_OVERRUN_S = 1.0  # beyond the duration, for the last look
_LEAST_MEMORY = 256 << 20  # bytes, for contents


@dataclass
class Recorded:
    """What a finished capture holds; sizes in bytes, times in seconds."""

    n_spaces: int
    n_pages: int  # that hold a frame, a zero page or a place in swap at the last look
    n_contents: int
    n_events: int
    size: int  # of the trace's files
    cpu_share: float  # of one CPU, over the whole capture
    reading_share: float  # of the time
    checkpoint_share: float  # of the time


@dataclass
class Progress:
    """How far a capture is, for whoever shows it."""

    elapsed_s: float
    n_alive: int
    n_events: int
    n_contents: int
    pages_per_s: float


def check_output(path: Path, force: bool) -> None:
    """Refuse an output before anything is read: one that exists, is no trace, or is where nothing can be written."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name or pass --force")
    if path.exists() and not (path / "trace.json").is_file():
        raise UsageError(f"{path} exists and is not a trace; choose another name")
    refuse_closed(path)


def _places_zero_pages(settings: dict[str, int | str]) -> bool:
    # By use_zero_pages; and of a huge frame that it splits, which it does to merge a part, what is full of zeros goes.
    return bool(settings.get("run"))


def _compile() -> None:
    # The first call of a kernel compiles it, which takes seconds once a machine: not while a clock runs.
    with ContentStore(PAGE_SIZE, memory_bytes=PAGE_SIZE * 5) as store:
        for start in (1, 4):
            pages = np.arange(start, start + 3, dtype=np.uint8)[:, None].repeat(PAGE_SIZE, axis=1)
            ids = store.add(pages)
            differing(pages, store, ids)
            store.rank()
        Comparer(Reader(), store).compile()


class Session:
    """One capture of several processes, and of their children where they are followed, into one trace.

    With a `group`, its members are recorded too, who is in it at a look; who leaves it stays recorded.
    `start` is called once everything is ready and returns one more process: a command that begins with the capture.
    The last look begins when the duration is over. It, or one that goes on then, ends before its next process once an
    interval more, and at least a second, is over.

    Raises `UsageError` for what cannot go together.

    What is kept: each distinct content ever seen (in memory up to a quarter of what is available, beyond it in the
    store's nameless file), eight bytes per page that is there, and about 40 bytes per event.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        options: Options,
        start: Started | None = None,
        group: Group | None = None,
    ) -> None:
        if group is not None and options.calls == "strace":
            raise UsageError(
                "strace cannot follow a control group, whose members come and go; leave out --calls strace"
            )
        self._options = options
        self._start = start
        self._group = group
        self._sources = list(sources)
        self._recorder = Recorder(partial(neutral_name, {}) if options.anonymous else None)
        self._fingerprints = Fingerprints(options.key) if options.key else None
        self._watched: list[Watched] = []  # by their spaces
        self._running: list[Watched] = []  # those of them that have not ended
        self._told = Told(None, "")
        self._tree: Tree | None = None
        self._trace_id = uuid.uuid4().hex
        self._created = datetime.now(UTC)
        self._host = host()
        self._settings: dict[str, int | str] = self._host["ksm"]
        self._begin = 0.0
        self._n_looks = 0
        self._n_not_looked_at = 0  # processes that run, in the last look
        self._n_marks = 0
        self._pace = Pace(options.interval_s, options.max_cpu_share)
        self._reading_s = 0.0
        self._cpu_begin = time.process_time()
        self._looking_cpu_begin = self._cpu_begin
        self._checkpoint_s = 0.0
        self._n_checkpoints = 0
        self._is_published = False  # from then on the trace at the output is this capture's
        self._first_s = 0.0
        self._wall_begin = self._published = time.monotonic()
        self._cpu_s = 0.0
        self._n_contents = 0
        self._requests = Requests()
        self._show_warning: Callable[[str], None] = lambda _: None

    def interrupt(self) -> None:
        """End the capture in order, soon; may be called from a signal handler or another thread."""
        self._requests.end()

    def mark(self) -> None:
        """Look at once, write a `mark` and publish what there is; may be called as `interrupt`.

        Who asked knows that it is done when `marks` in the manifest's `capture` has risen.
        """
        self._requests.look()

    def recorded(self) -> Recorded:
        """Return what the trace that was published last holds."""
        elapsed = max(1e-9, self._published - self._wall_begin)
        return Recorded(
            len(self._watched),
            self._n_pages(),
            self._n_contents,
            self._recorder.n_events,
            sum(file.stat().st_size for file in self._options.output.iterdir()),
            self._cpu_s / elapsed,
            self._reading_s / elapsed,
            self._checkpoint_s / elapsed,
        )

    def run(
        self, progress: Callable[[Progress], None] | None = None, warn: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Record until the end and publish the trace; returns the manifest's `capture`.

        `warn` is called with a sentence for what a user should know while there is time to begin anew.

        Raises `KsmbenchError` where nothing could be recorded. What was recorded before a failure is published.
        """
        check_output(self._options.output, self._options.force)
        self._show_warning = warn or self._show_warning
        allow_most()
        memory = max(_LEAST_MEMORY, available_bytes() // 4)
        with (
            ContentStore(PAGE_SIZE, memory_bytes=memory, max_file_bytes=self._options.max_spool_bytes) as store,
            closing(Stopper(self._options.stop_s)) as stopper,
            ExitStack() as ends,
        ):
            ends.callback(self._close)
            try:
                _compile()
                self._watch(store, stopper)
                self._first_look()
                reason = self._looks(store, stopper, progress)
                return self._publish(store, stopper, reason, complete=True)
            except Exception as error:
                if self._n_looks:
                    with suppress(KsmbenchError):  # a full disk: then there is the last checkpoint
                        self._publish(
                            store, stopper, "failed" if self._options.anonymous else f"failed: {error}", complete=False
                        )
                raise

    def _close(self) -> None:
        for watched in self._watched:
            watched.close()
        self._told.close()  # may say that it could not

    def _watch(self, store: ContentStore, stopper: Stopper) -> None:
        feed, why = open_feed(self._options.calls, why_no_strace=self._why_no_strace())
        self._told = told = Told(feed, why, must_have=self._options.calls == "strace")
        shared = Shared(
            self._recorder,
            store,
            Reader(),
            stopper,
            running=self._running,
            are_calls_told=told.has_feed,
            catch_up=told.catch_up,
            ended=self._has_ended,
        )
        self._tree = Tree(shared, told, self._watched, self._running)
        told.begin(Applied(shared, self._since_ns, self._tree.begin_told))
        if self._start is not None:
            self._sources.append(self._start())
        for space, source in enumerate(self._sources):
            try:
                self._tree.add(Watched(source, space, shared))
            except ProcessGoneError:
                raise KsmbenchError(f"process {source.pid} ({source.name}) ended before it could be recorded") from None
            told.follow(self._watched[-1])
        self._warn(about_calls(told.attach(self._start)))
        shared.are_calls_told = told.has_feed
        self._expect_zero_pages(self._settings)

    def _has_ended(self, watched: Watched) -> None:
        self._running.remove(watched)
        self._told.forget(watched)

    def _why_no_strace(self) -> str:
        # Where it would not do, or do harm, unasked.
        if self._group is not None:
            return "strace cannot follow a control group, whose members come and go"
        if any(source.kind == "vm" for source in self._sources):
            return "strace, which stops guests at each call, was not asked for"
        return ""

    def _expect_zero_pages(self, settings: dict[str, int | str]) -> None:
        for watched in self._watched:
            watched.zero_pages_by_ksm |= _places_zero_pages(settings)  # they stay when it no longer places any

    def _look_at_each(self, clock: Callable[[], int], least_s: float = 0.0) -> None:
        # Parents come before their children, which are found once the parent was looked at. Where processes come as
        # fast as they are looked at, those that came last wait for the next look: else this one would never end.
        assert self._tree is not None
        self._told.catch_up()  # those that calls tell of are there before the look begins
        n, late = len(self._watched), time.monotonic() + max(self._options.interval_s, least_s)
        for number, watched in enumerate(self._watched):  # grows meanwhile
            if number >= n and time.monotonic() > late:
                break
            if self._is_overdue():
                self._n_not_looked_at = sum(w.alive for w in self._watched[number:])
                return
            if watched.alive:
                watched.look(clock)
            if watched.alive and watched.source.follow:
                self._tree.look_for_children(watched, clock)
        if self._group is not None:
            like = Source(0, "", "process", self._options.follow, self._options.selection)
            self._tree.look_for_members(self._group, clock, like)

    def _is_overdue(self) -> bool:
        # Whether the capture was to end a while ago; the first look is whole whatever it takes.
        duration = self._options.duration_s
        if duration is None or not self._begin:
            return False
        overrun = max(self._options.interval_s, _LEAST_OVERRUN_S)
        return time.monotonic() - self._begin > duration + overrun

    def _first_look(self) -> None:
        # The state found: all of it has time 0, and nothing that was seen later has.
        assert self._tree is not None
        began = time.monotonic()
        self._look_at_each(lambda: 0, _WHOLE_LOOK_S)
        self._begin = time.monotonic()
        if self._start is not None:
            self._start.go()
        self._looking_cpu_begin = time.process_time()
        self._reading_s = self._first_s = self._begin - began
        if not self._watched and self._group is not None:
            raise self._tree.why_denied or KsmbenchError(
                f"no process is in {self._group.folder}; name a group that has one"
            )
        if not any(w.alive and w.n_mappings for w in self._watched):
            denied = [w.denied for w in self._watched if w.denied]
            raise denied[0] if denied else KsmbenchError(why_nothing(self._options.selection, self._watched))
        self._n_looks = 1
        self._warn(about_interval(self._n_pages(), self._options.interval_s, self._settings))
        self._warn(about_shared(shared_guests(self._watched)))
        self._warn(about_rights(all(w.pagemap.sees_numbers for w in self._watched if w.is_readable)))

    def _warn(self, text: str) -> None:
        if text:
            self._show_warning(text)

    def _n_pages(self) -> int:
        return sum(w.n_pages for w in self._watched)

    def _since_ns(self, monotonic_ns: int) -> int:
        # All of the first look has time 0.
        return max(0, monotonic_ns - int(self._begin * 1e9)) if self._begin else 0

    def _clock(self) -> int:
        return max(1, int((time.monotonic() - self._begin) * 1e9))

    def _looks(self, store: ContentStore, stopper: Stopper, progress: Callable[[Progress], None] | None) -> str:
        options = self._options
        next_checkpoint = 0.0  # the first one at once: from here on there is a trace
        while True:
            if time.monotonic() - self._begin >= next_checkpoint:
                spent = self._checkpoint(store, stopper)
                next_checkpoint = time.monotonic() - self._begin + max(_CHECKPOINT_S, spent / _CHECKPOINT_SHARE)
            if store.is_full:
                return "the contents reached --max-spool in the last look, of which a part is missing"
            if self._requests.ending:
                return "interrupted"
            if not self._running and not (self._group and self._group.exists):
                denied = any(watched.denied for watched in self._watched)
                return f"every process ended{' or executed what may not be looked at' if denied else ''}"
            elapsed = time.monotonic() - self._begin
            if options.duration_s is not None and elapsed >= options.duration_s:
                return "duration"
            is_asked_for = self._wait_for_look(elapsed)
            self._look_at_all(_WHOLE_LOOK_S if is_asked_for else 0.0)
            if is_asked_for:
                self._n_marks += 1
                self._recorder.add(self._clock(), Kind.MARK, 0, name=f"snapshot {self._n_marks}")
                next_checkpoint = 0.0
            if progress is not None:
                elapsed = time.monotonic() - self._begin
                speed = sum(w.n_pages_read for w in self._watched) / max(1e-9, self._reading_s)
                progress(Progress(elapsed, len(self._running), self._recorder.n_events, len(store), speed))

    def _looking_cpu_s(self) -> float:
        return time.process_time() - self._looking_cpu_begin

    def _wait_for_look(self, elapsed: float) -> bool:
        # Returns whether it is one that somebody asked for; those do not move the others.
        cpu = self._looking_cpu_s()
        due = self._pace.due(elapsed, cpu)
        wanted = due if self._options.duration_s is None else min(due, self._options.duration_s)
        self._requests.wait(wanted - elapsed)
        if time.monotonic() - self._begin >= wanted:
            self._pace.looks_at(due, elapsed, cpu)
        return self._requests.take_looks()

    def _record_settings(self) -> None:
        # What somebody changed of KSM's settings; those found at the beginning are in the manifest.
        found = ksm_settings()
        for name, value in found.items():
            if value != self._settings.get(name, value):
                number = ADVISOR_MODES.get(value, -1) if isinstance(value, str) else value
                self._recorder.add(self._clock(), Kind.TUNE, 0, value=number, name=name)
        self._expect_zero_pages(found)
        self._settings = found

    def _look_at_all(self, least_s: float) -> None:
        began = time.monotonic()
        self._record_settings()
        self._look_at_each(self._clock, least_s)
        self._reading_s += time.monotonic() - began
        self._n_looks += 1

    def _checkpoint(self, store: ContentStore, stopper: Stopper) -> float:
        began = time.monotonic()
        self._publish(store, stopper, "checkpoint; the capture went on", complete=False)
        spent = time.monotonic() - began
        self._checkpoint_s += spent
        return spent

    def _publish(self, store: ContentStore, stopper: Stopper, reason: str, *, complete: bool) -> dict[str, Any]:
        self._n_checkpoints += 1
        end_ns = self._clock() if self._begin else 0
        options = self._options
        capture = {
            **asked_for(options, self._watched),
            **tracked(self._watched, self._told.facts()),
            "consistency": consistency(options.stop_s),
            "duration_ns": end_ns,
            "changes_seen_by": "64-bit hashes: the contents did not fit in memory" if store.on_disk else "bytes",
            **self._counts(stopper),
            "end": {"time_ns": end_ns, "complete": complete, "reason": reason},
        }
        identity = f"{self._trace_id}-{self._n_checkpoints}"
        manifest = {**document(options, identity, self._created, self._host), "capture": capture}
        spaces = spaces_table(options, self._watched)
        ranking = store.rank()
        fingerprints = self._fingerprints.column(store, ranking) if self._fingerprints else None
        trace = self._recorder.trace(manifest, spaces, ranking, fingerprints)
        write_trace(
            trace,
            options.output,
            force=options.force,
            replace=self._is_published,
            level=9 if complete else 1,
            pages=contents(store, ranking) if options.keep_contents else None,
        )
        self._is_published = True
        self._published = time.monotonic()
        self._cpu_s = time.process_time() - self._cpu_begin
        self._n_contents = len(store)
        return capture

    def _counts(self, stopper: Stopper) -> dict[str, Any]:
        # How the capture went: what it cost, what it left out.
        counts = {
            "looks": self._n_looks,
            "looks_left_out": self._pace.n_left_out,
            "processes_not_in_last_look": self._n_not_looked_at,
            "marks": self._n_marks,
            "first_look_s": round(self._first_s, 3),
            "reading_s": round(self._reading_s, 3),
            "pages_read": sum(w.n_pages_read for w in self._watched),
            "checkpoints": self._n_checkpoints,
            "checkpoints_s": round(self._checkpoint_s, 3),
            "cpu_s": round(time.process_time() - self._cpu_begin, 3),
            "pages_swapped_unseen": sum(w.swapped_unseen for w in self._watched),
            "processes_not_readable_any_more": sum(w.denied is not None for w in self._watched),
        }
        if self._options.max_cpu_share is not None:
            counts["looks_left_out_for_max_cpu"] = self._pace.n_saved
            counts["cpu_share_since_first_look"] = round(self._looking_cpu_s() / max(1e-9, self._clock() / 1e9), 4)
        if self._options.stop_s > 0:
            counts["stops"] = stopper.n_stops
            counts["stops_cut_short"] = stopper.n_overrun
            counts["stops_left_out"] = stopper.n_left_out
            counts["stop_longest_ms"] = round(stopper.longest_s * 1e3, 3)
        if self._tree is not None and (self._group or any(w.source.follow for w in self._watched)):
            counts["children"] = sum(w.parent is not None for w in self._watched)
            counts["children_gone_before_a_look"] = self._tree.n_gone
            counts["children_not_readable"] = self._tree.n_denied
        return counts
