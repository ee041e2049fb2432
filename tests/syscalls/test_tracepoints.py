"""Events as the kernel's tracepoints give them, one after the other, and the events of a trace that they make."""

import pytest

from ksmbench.syscalls.calls import Calls
from ksmbench.syscalls.tracepoints import Fields, Tracepoints
from ksmbench.trace.schema import Kind

PAGE = 4096
PRIVATE_ANONYMOUS = 0x22
READ, READ_WRITE = 1, 3
VM, VM_VFORK, VM_THREAD = 0x100, 0x4100, 0x10100

Row = tuple[int, int, int, int, int]


class Told:
    """A decoder whose sink makes a trace's events; every event comes a microsecond after the one before."""

    def __init__(self) -> None:
        self.sink = Calls()
        self.decoder = Tracepoints(self.sink)
        self.time = 0

    def event(self, tid: int, name: str, **fields: int | str) -> None:
        """One event of a thread."""
        self.time += 1000
        self.decoder.event(self.time, tid, name, fields)

    def call(self, tid: int, name: str, result: int = 0, **fields: int | str) -> None:
        """A system call from its beginning to its end."""
        self.event(tid, f"sys_enter_{name}", **fields)
        self.event(tid, f"sys_exit_{name}", ret=result)

    def mmap(self, tid: int, address: int, n: int, flags: int = PRIVATE_ANONYMOUS, prot: int = READ_WRITE) -> None:
        """An mmap of `n` pages that is given an address."""
        self.call(tid, "mmap", address, addr=0, len=n * PAGE, prot=prot, flags=flags, fd=(1 << 64) - 1, off=0)

    def rows(self) -> list[Row]:
        """Kind, space, page, count and value of each event of the trace."""
        events = self.sink.events()
        columns = (events.kind, events.space, events.page, events.n_pages, events.value)
        return [*zip(*(column.tolist() for column in columns), strict=True)]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(0x22, 0), (0x02, 2), (0x01, 1), (0x03, 1), (0x21, 1), (0x40022, 1), (0x40000 | 21 << 26 | 0x22, 1)],
)
def test_mappings_have_the_kinds_of_their_flags(told: Told, flags: int, kind: int) -> None:
    """Private anonymous, private file; shared in both ways and huge pages are never mergeable."""
    told.mmap(10, 0x7000, 2, flags)
    assert told.rows() == [(Kind.MAP, 0, 7, 2, kind)]


def test_what_fills_a_mapping(told: Told) -> None:
    """Populated and locked memory is there at once; what cannot be written is the zero page, or nothing."""
    told.mmap(10, 0x7000, 2, PRIVATE_ANONYMOUS | 0x8000)
    told.mmap(10, 0x9000, 1, PRIVATE_ANONYMOUS | 0x2000)
    told.mmap(10, 0xA000, 1, PRIVATE_ANONYMOUS | 0x8000, READ)
    told.mmap(10, 0xB000, 1, PRIVATE_ANONYMOUS | 0x8000, 0)
    told.call(10, "madvise", start=0xB000, len_in=PAGE, behavior=23)
    told.call(10, "madvise", start=0xB000, len_in=1, behavior=22)
    assert told.rows() == [
        (Kind.MAP, 0, 7, 2, 0),
        (Kind.TOUCH, 0, 7, 2, 0),
        (Kind.MAP, 0, 9, 1, 0),
        (Kind.TOUCH, 0, 9, 1, 0),
        (Kind.MAP, 0, 10, 1, 0),
        (Kind.READ, 0, 10, 1, 0),
        (Kind.MAP, 0, 11, 1, 0),
        (Kind.TOUCH, 0, 11, 1, 0),
        (Kind.READ, 0, 11, 1, 0),
    ]


def test_calls_that_fail_do_nothing(told: Told) -> None:
    """Whether the result is printed with its sign or as a number of 64 bits; nor do those without a beginning."""
    told.mmap(10, 0x7000, 1)
    told.mmap(10, -12, 1)
    told.mmap(10, (1 << 64) - 12, 1)
    told.call(10, "munmap", -22, addr=0x7000, len=0)
    told.call(10, "madvise", -22, start=0x7000, len_in=PAGE, behavior=12)
    told.call(10, "madvise", 0, start=0x7000, len_in=0, behavior=12)
    told.event(10, "sys_exit_munmap", ret=0)
    assert told.rows() == [(Kind.MAP, 0, 7, 1, 0)]
    assert told.decoder.n_unread == 0


def test_mremap_in_all_its_ways(told: Told) -> None:
    """Growing in place, moving, shrinking, leaving an empty mapping behind; what grows has what it grew from."""
    told.mmap(10, 0x10000, 4)
    told.call(10, "madvise", start=0x10000, len_in=4 * PAGE, behavior=12)

    def mremap(address: int, old: int, new: int, flags: int, result: int) -> None:
        old_len, new_len = old * PAGE, new * PAGE
        told.call(10, "mremap", result, addr=address, old_len=old_len, new_len=new_len, flags=flags, new_addr=0)

    mremap(0x10000, 4, 6, 1, 0x10000)
    mremap(0x10000, 6, 8, 1, 0x40000)
    mremap(0x40000, 8, 2, 1, 0x40000)
    mremap(0x40000, 2, 2, 1 | 4, 0x80000)
    mremap(0x80000, 2, 1, 1 | 2, 0x90000)
    assert told.rows()[2:] == [
        (Kind.MAP, 0, 20, 2, 0),
        (Kind.MADVISE, 0, 20, 2, 12),
        (Kind.MOVE, 0, 16, 6, 64),
        (Kind.MAP, 0, 70, 2, 0),
        (Kind.MADVISE, 0, 70, 2, 12),
        (Kind.UNMAP, 0, 66, 6, 0),
        (Kind.MOVE, 0, 64, 2, 128),
        (Kind.MAP, 0, 64, 2, 0),
        (Kind.MADVISE, 0, 64, 2, 12),
        (Kind.UNMAP, 0, 129, 1, 0),
        (Kind.MOVE, 0, 128, 1, 144),
    ]


def test_the_heap(told: Told) -> None:
    """The first result of brk says where it is; a question or a refusal changes nothing."""
    for result in (0x10000, 0x12000, 0x12000, 0x11800, 0x10800):
        told.call(10, "brk", result, brk=0)
    assert told.rows() == [(Kind.MAP, 0, 16, 2, 0), (Kind.UNMAP, 0, 17, 1, 0)]


def test_who_asks_for_merging(told: Told) -> None:
    """Of all that prctl does only PR_SET_MEMORY_MERGE counts; a program that is started keeps it."""
    told.call(10, "prctl", option=67, arg2=1)
    told.call(11, "prctl", option=15, arg2=1)
    told.event(10, "sched_process_exec", filename="/usr/bin/python3", pid=10, old_pid=10)
    told.call(10, "prctl", option=67, arg2=0)
    assert told.rows() == [(Kind.PRCTL, 0, 0, 0, 1), (Kind.EXEC, 0, 0, 0, 0), (Kind.PRCTL, 0, 0, 0, 0)]
    assert [space.name for space in told.sink.spaces] == ["python3"]


def test_threads_vfork_and_forks(told: Told) -> None:
    """A thread's memory is its process's, a vfork's its parent's until it executes; a call ends where it returns."""
    told.mmap(10, 0x7000, 1)
    told.event(10, "task_newtask", pid=11, comm="x", clone_flags=VM_THREAD, oom_score_adj=0)
    told.event(10, "sched_process_fork", comm="x", pid=10, child_comm="x", child_pid=11)
    told.event(11, "sys_enter_munmap", addr=0x7000, len=PAGE)
    told.event(10, "task_newtask", pid=12, comm="x", clone_flags=VM_VFORK, oom_score_adj=0)
    told.event(11, "sys_exit_munmap", ret=0)
    told.mmap(12, 0x8000, 1)
    told.event(12, "sched_process_exec", filename="new", pid=12, old_pid=12)
    told.mmap(12, 0x9000, 1)
    told.event(11, "task_newtask", pid=13, comm="x", clone_flags=0x1200000, oom_score_adj=0)
    told.event(12, "sched_process_exit", comm="x", pid=12, prio=120)
    told.event(10, "sched_process_exit", comm="x", pid=10, prio=120)
    told.mmap(13, 0xA000, 1)
    told.event(11, "sched_process_exit", comm="x", pid=11, prio=120)
    told.event(14, "sched_process_exit", comm="x", pid=14, prio=120)
    assert told.rows() == [
        (Kind.MAP, 0, 7, 1, 0),
        (Kind.UNMAP, 0, 7, 1, 0),
        (Kind.MAP, 0, 8, 1, 0),
        (Kind.MAP, 1, 9, 1, 0),
        (Kind.FORK, 0, 0, 0, 2),
        (Kind.EXIT, 1, 0, 0, 0),
        (Kind.MAP, 2, 10, 1, 0),
        (Kind.EXIT, 0, 0, 0, 0),
    ]
    assert told.decoder.n_guessed == 0


def test_a_thread_that_executes_takes_the_number_of_its_process(told: Told) -> None:
    """The first thread ends by it, and the event comes under its number."""
    told.mmap(10, 0x7000, 1)
    told.event(10, "task_newtask", pid=11, comm="x", clone_flags=VM_THREAD, oom_score_adj=0)
    told.event(10, "sched_process_exit", comm="x", pid=10, prio=120)
    told.event(10, "sched_process_exec", filename="/bin/new", pid=10, old_pid=11)
    told.mmap(10, 0x9000, 1)
    told.event(10, "sched_process_exit", comm="x", pid=10, prio=120)
    wanted = [(Kind.MAP, 0, 7, 1, 0), (Kind.EXEC, 0, 0, 0, 0), (Kind.MAP, 0, 9, 1, 0), (Kind.EXIT, 0, 0, 0, 0)]
    assert told.rows() == wanted


def test_forks_that_only_the_scheduler_tells(told: Told) -> None:
    """Without task_newtask every new task counts as a fork, and is counted."""
    told.mmap(10, 0x7000, 1)
    told.event(10, "sched_process_fork", comm="x", pid=10, child_comm="x", child_pid=11)
    assert told.rows()[1:] == [(Kind.FORK, 0, 0, 0, 1)]
    assert told.decoder.n_guessed == 1


def test_process_madvise(told: Told) -> None:
    """Who is meant is to be resolved; the result says how many bytes were reached."""
    asked = []

    def resolve(tid: int, pidfd: int, vec: int, vlen: int) -> tuple[int, list[tuple[int, int]]] | None:
        asked.append((tid, pidfd, vec, vlen))
        return (10, [(0x7000, 2 * PAGE), (0xA000, 4 * PAGE)]) if pidfd == 5 else None

    told.mmap(10, 0x7000, 8)
    told.decoder = Tracepoints(told.sink, resolve)
    told.call(20, "process_madvise", 3 * PAGE, pidfd=5, vec=0x100, vlen=2, behavior=12, flags=0)
    told.call(20, "process_madvise", 3 * PAGE, pidfd=6, vec=0x100, vlen=2, behavior=12, flags=0)
    assert told.rows()[1:] == [(Kind.MADVISE, 0, 7, 2, 12), (Kind.MADVISE, 0, 10, 1, 12)]
    assert asked == [(20, 5, 0x100, 2), (20, 6, 0x100, 2)]
    assert told.decoder.n_unresolved == 1
    told.decoder = Tracepoints(told.sink)
    told.call(20, "process_madvise", PAGE, pidfd=5, vec=0x100, vlen=1, behavior=12, flags=0)
    assert told.decoder.n_unresolved == 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("task_newtask", {"pid": 11}),
        ("sched_process_exec", {"filename": "x"}),
        ("sys_exit_munmap", {"ret": "?"}),
        ("sys_enter_prctl", {}),
    ],
)
def test_what_is_no_such_event_is_counted(told: Told, name: str, fields: Fields) -> None:
    """Fields that are missing or no numbers."""
    told.decoder.event(1, 10, name, fields)
    assert told.decoder.n_unread == 1
    assert told.rows() == []


def test_addresses_beyond_any_address_space_are_counted(told: Told) -> None:
    told.mmap(10, 0x7000, 1 << 52)
    told.call(10, "munmap", addr=0x7000, len=0)
    assert told.decoder.n_unread == 2
