"""Real processes that do what the events of a trace say: one per address space, driven over a socket.

Only what the trace maps is ever mergeable: the interpreter's own memory never asks. A fork is done by the process that
forks, so that frames are shared as in the trace.
"""

import ctypes
import mmap
import os
import signal
import socket
import struct
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ksmbench.errors import KsmbenchError
from ksmbench.trace.columns import Trace
from ksmbench.trace.schema import Advice, Kind, Mapping

_ROW = 4  # int64s per event: kind, page, n_pages, value
_MAP_FIXED_NOREPLACE = 0x100000
_MAP_FIXED = 0x10
_MREMAP = 1 | 2  # MAYMOVE | FIXED
_SYS_MBIND = 237  # x86-64
_MPOL_MF_MOVE = 2
_MADV_COLLAPSE = 25
_TRIES = 20
_PATIENCE_S = 60.0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
_FAILED = ctypes.c_void_p(-1).value

PLAYABLE = frozenset(
    {Kind.MAP, Kind.UNMAP, Kind.MOVE, Kind.MADVISE, Kind.WRITE, Kind.TOUCH, Kind.READ, Kind.FORK, Kind.EXIT}
    | {Kind.HUGE, Kind.TUNE, Kind.MARK}
)


def drain_lru() -> None:
    """Empty every CPU's batches of pages on their way to the LRU lists: a page in one cannot be merged."""
    area = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer = (ctypes.c_char * mmap.PAGESIZE).from_buffer(area)
    _libc.syscall(
        ctypes.c_long(_SYS_MBIND),
        ctypes.c_void_p(ctypes.addressof(buffer)),
        ctypes.c_ulong(mmap.PAGESIZE),
        ctypes.c_int(0),
        ctypes.c_void_p(None),
        ctypes.c_ulong(0),
        ctypes.c_uint(_MPOL_MF_MOVE),
    )
    del buffer
    area.close()


class _Player:
    """The loop of one process."""

    def __init__(self, sockets: list[socket.socket], pages: mmap.mmap, size: int) -> None:
        self._sockets = sockets
        self._size = size
        self._pages = ctypes.addressof(ctypes.c_char.from_buffer(pages))

    def serve(self, space: int) -> None:
        """Play what comes over the socket of `space` until it exits; a fork goes on as the child."""
        while True:
            own = self._sockets[space]
            header = own.recv(8, socket.MSG_WAITALL)
            if len(header) < 8:
                os._exit(0)
            (n,) = struct.unpack("q", header)
            rows = struct.iter_unpack("4q", own.recv(n * _ROW * 8, socket.MSG_WAITALL))
            failed = 0
            for kind, page, n_pages, value in rows:
                if kind == Kind.EXIT:
                    os._exit(0)
                if kind == Kind.FORK:
                    pid = os.fork()
                    if pid == 0:
                        space = value
                        own = self._sockets[space]
                        failed = os.getpid()
                        break
                    continue
                if not self._play(kind, page, n_pages, value):
                    failed = -(ctypes.get_errno() or 1)
                    break
            own.sendall(struct.pack("q", failed))

    def _play(self, kind: int, page: int, n_pages: int, value: int) -> bool:
        address, length = page * self._size, n_pages * self._size
        if kind == Kind.WRITE:
            source = self._pages + value * self._size
            for target in range(address, address + length, self._size):
                ctypes.memmove(target, source, self._size)
        elif kind == Kind.TOUCH:
            for target in range(address, address + length, self._size):
                ctypes.memmove(target, target, 1)
        elif kind == Kind.READ:
            for target in range(address, address + length, self._size):
                ctypes.string_at(target, 1)
        elif kind == Kind.MAP:
            _libc.munmap(address, length)
            shared = value == Mapping.NEVER
            flags = (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE) | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
            return bool(_libc.mmap(address, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == address)
        elif kind == Kind.UNMAP:
            return bool(_libc.munmap(address, length) == 0)
        elif kind == Kind.MADVISE:
            return self._madvise(address, length, value)
        elif kind == Kind.HUGE:
            return self._collapse(address, length)
        elif kind == Kind.MOVE:
            return bool(_libc.mremap(address, length, length, _MREMAP, value * self._size) != _FAILED)
        return True

    def _collapse(self, address: int, length: int) -> bool:
        # Written first: what is merged or shared is not collapsed. A page on its way to the LRU lists is held there,
        # and cannot be collapsed yet.
        for target in range(address, address + length, self._size):
            ctypes.memmove(target, target, 1)
        _libc.madvise(address, length, Advice.HUGEPAGE)
        for _ in range(_TRIES):
            drain_lru()
            if _libc.madvise(address, length, _MADV_COLLAPSE) == 0:
                return True
        return False

    def _madvise(self, address: int, length: int, advice: int) -> bool:
        # A range with holes is advised all the same, and reported as ENOMEM.
        return _libc.madvise(address, length, advice) == 0 or ctypes.get_errno() == 12


class Players:
    """The processes of one trace; a context manager that ends every one of them."""

    def __init__(self, trace: Trace, pages: mmap.mmap) -> None:
        self._trace = trace
        self._pages = pages
        self._pids: dict[int, int] = {}
        self._roots: list[int] = []
        events = trace.events
        self._children = {int(value) for value in events.value[events.kind == Kind.FORK]}
        unplayable = [Kind(kind).name.lower() for kind in np.unique(events.kind) if Kind(kind) not in PLAYABLE]
        if unplayable:
            raise KsmbenchError(f"no process can play {', '.join(unplayable)}; leave such traces to the model alone")
        files = np.isin(events.kind, (Kind.MAP,)) & (events.value == Mapping.FILE)
        if files.any():
            raise KsmbenchError(f"row {int(np.argmax(files))}: file mappings cannot be played")

    def __enter__(self) -> "Players":
        pairs = [socket.socketpair() for _ in self._trace.spaces]
        self._ours = [pair[0] for pair in pairs]
        theirs = [pair[1] for pair in pairs]
        try:
            for space in range(len(pairs)):
                if space not in self._children:
                    self._start(space, theirs)
        except BaseException:
            self.__exit__()
            raise
        finally:
            for end in theirs:
                end.close()
        for end in self._ours:
            end.settimeout(_PATIENCE_S)
        return self

    def _start(self, space: int, theirs: list[socket.socket]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                for end in self._ours:
                    end.close()
                _Player(theirs, self._pages, self._trace.page_size).serve(space)
            finally:
                os._exit(1)
        self._pids[space] = pid
        self._roots.append(pid)

    def __exit__(self, *exception: object) -> None:
        for end in self._ours:
            end.close()
        for pid in self._pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for space in list(self._pids):
            self._await_end(space)  # what a grandchild still maps would keep KSM's pages alive
        for pid in self._roots:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue

    def play(self, first: int, last: int) -> None:
        """Play the events `first` .. `last` - 1 in their order; all of them are done when this returns."""
        events = self._trace.events
        rows = self._rows(first, last)
        start = first
        while start < last:
            stop = start + 1
            space = int(events.space[start])
            ends = (Kind.FORK, Kind.EXIT)
            while stop < last and events.space[stop] == space and events.kind[stop - 1] not in ends:
                stop += 1
            self._send(space, rows[start - first : stop - first], start)
            start = stop

    def _rows(self, first: int, last: int) -> npt.NDArray[np.int64]:
        events = self._trace.events
        part = slice(first, last)
        return np.column_stack([events.kind[part], events.page[part], events.n_pages[part], events.value[part]]).astype(
            np.int64
        )

    def _send(self, space: int, rows: npt.NDArray[np.int64], first: int) -> None:
        kept = rows[~np.isin(rows[:, 0], (Kind.TUNE, Kind.MARK))]
        if len(kept) == 0:
            return
        self._ours[space].sendall(struct.pack("q", len(kept)) + kept.tobytes())
        last_kind = int(kept[-1, 0])
        if last_kind == Kind.EXIT:
            self._await_end(space)
            return
        if last_kind == Kind.FORK:
            child = int(kept[-1, 3])
            self._pids[child] = self._answer(child, first)
        self._answer(space, first)

    def _answer(self, space: int, first: int) -> int:
        try:
            answer = self._ours[space].recv(8, socket.MSG_WAITALL)
        except TimeoutError:
            answer = b""
        if len(answer) < 8:
            raise KsmbenchError(f"the process of space {space} ended while it played the events from row {first} on")
        value: int = struct.unpack("q", answer)[0]
        if value < 0:
            raise KsmbenchError(f"space {space}: an event from row {first} on failed: {os.strerror(-value)}")
        return value

    def _await_end(self, space: int) -> None:
        # A zombie has left its memory.
        pid = self._pids.pop(space)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                return
            if state in "ZX":
                return
        raise KsmbenchError(f"the process of space {space} did not end")

    def spaces(self) -> dict[int, dict[str, int]]:
        """The kernel's KSM counters of every living space."""
        found = {}
        for space, pid in sorted(self._pids.items()):
            text = Path(f"/proc/{pid}/ksm_stat").read_text()
            values = dict(line.rsplit(None, 1) for line in text.splitlines())
            names = ("ksm_rmap_items", "ksm_merging_pages", "ksm_zero_pages")
            found[space] = {name: int(values[name]) for name in names}
        return found

    def pids(self) -> dict[int, int]:
        """The process of every living space."""
        return dict(self._pids)
