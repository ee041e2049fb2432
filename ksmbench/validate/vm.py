"""Programs run under another kernel: a guest of QEMU whose memory holds that kernel, one program and its input.

The guest is emulated (TCG), so it needs no hardware and no rights. Its first process (guest_init.c) obeys this module
over a virtio port: files go in, the program runs, files come out, as often as wanted in one boot, which lasts seconds.
"""

import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ksmbench.errors import KsmbenchError
from ksmbench.validate.building import built
from ksmbench.validate.initramfs import File, archive
from ksmbench.validate.kernels import KernelFiles

QEMU = "qemu-system-x86_64"
HOW_TO_GET_QEMU = "apt-get install --no-install-recommends qemu-system-x86 seabios"
_INIT = Path(__file__).with_name("guest_init.c")
_PUT, _RUN, _GET, _REMOVE, _QUIT = 1, 2, 3, 4, 5
_REQUEST = struct.Struct("<IIQ")  # verb, bytes of the name, bytes of the data
_ANSWER = struct.Struct("<qQ")  # status, bytes of the data
_BOOT_S = 300.0  # a busy host takes several times the usual 3 s
_END_S = 10.0
_LINES = 4  # of the console, in an error
_TROUBLE = re.compile(r"panic|BUG|Oops|Out of memory|^guest:|qemu")
# What could make the guest's memory change by itself: huge pages, compaction, balancing between nodes.
_SETTINGS = {
    "/sys/kernel/mm/transparent_hugepage/enabled": "madvise",
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled": "never",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs": "4294967295",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs": "4294967295",
    "/proc/sys/vm/compaction_proactiveness": "0",
    "/proc/sys/vm/overcommit_memory": "1",
}
_IF_PARENT = '[ "$PPID" = "$0" ] && exec "$@"'
_COMMAND_LINE = (
    "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic numa_balancing=disable transparent_hugepage=madvise "
    "init_on_alloc=0 mitigations=off nowatchdog audit=0 random.trust_cpu=on tsc=reliable"
)


def _telling(console: str) -> str:
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    telling = [line for line in lines if _TROUBLE.search(line)]
    return " | ".join(telling[:_LINES] or lines[-_LINES:]) or "nothing"


class KernelError(KsmbenchError):
    """A guest that did not boot, or ended before its program did."""


@dataclass(frozen=True)
class Ran:
    """A program's end: its exit status (128 + the signal that ended it), what it printed, the files asked for."""

    status: int
    printed: str
    outputs: dict[str, bytes]


def why_no_guest() -> str | None:
    """What this host lacks for guests, in one sentence, or None."""
    if shutil.which(QEMU) is None:
        return f"other kernels run in QEMU, which is not installed: {HOW_TO_GET_QEMU}"
    return None


class Guest:
    """A booted guest; a context manager that boots it and ends it.

    `programs` are files under their absolute names in the guest, there from the start. The memory is divided
    among the nodes and all processors are on node 0: what the kernel allocates without being told where is there.
    """

    def __init__(
        self,
        kernel: KernelFiles,
        programs: Mapping[str, Path],
        *,
        memory_mib: int = 512,
        numa_nodes: int = 1,
        processors: int = 1,
    ) -> None:
        self.kernel = kernel
        self._programs = programs
        self._memory_mib = memory_mib
        self._nodes = numa_nodes
        self._processors = processors
        self._stack = ExitStack()

    def __enter__(self) -> "Guest":
        problem = why_no_guest()
        if problem:
            raise KernelError(problem)
        with self._stack:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ksmbench-guest-")))
            self._start()
            self._answer(_BOOT_S)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        initrd = self._folder / "initrd"
        with initrd.open("wb") as file:
            archive(file, self._files())
        self._console = self._folder / "console"
        self._port, theirs = socket.socketpair()
        self._stack.callback(self._port.close)
        with theirs, self._console.open("wb") as console:
            self._process = subprocess.Popen(
                self._command(initrd, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(self._end)

    def _files(self) -> Iterable[File]:
        yield File("init", built(_INIT).read_bytes(), 0o755)
        for name, program in self._programs.items():
            yield File(name.lstrip("/"), program.read_bytes(), 0o755)
        for module in self.kernel.modules:
            yield File(f"modules/{module.name}", module.read_bytes(), 0o644)
        yield File("settings", "".join(f"{path} {value}\n" for path, value in _SETTINGS.items()).encode(), 0o644)

    def _command(self, initrd: Path, port: int) -> list[str]:
        command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
        command += ["-machine", "q35,mem-merge=off", "-accel", "tcg,thread=multi", "-cpu", "max"]
        command += ["-smp", str(self._processors), "-m", f"{self._memory_mib}M"]
        command += ["-kernel", str(self.kernel.image), "-initrd", str(initrd), "-append", _COMMAND_LINE]
        command += ["-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci"]
        command += ["-device", "virtserialport,chardev=port,nr=1,name=ksmbench"]
        if self._nodes > 1:
            share = self._memory_mib // self._nodes
            for node in range(self._nodes):
                command += ["-object", f"memory-backend-ram,id=node{node},size={share}M,merge=off"]
                command += ["-numa", f"node,nodeid={node},memdev=node{node}"]
            command += [word for cpu in range(self._processors) for word in ("-numa", f"cpu,node-id=0,socket-id={cpu}")]
        # Ends with this process, however that ends, also where it has ended before that could be arranged.
        death = shutil.which("setpriv")
        if death is None:
            return command
        return [death, "--pdeathsig", "KILL", "--", "sh", "-c", _IF_PARENT, str(os.getpid()), *command]

    def _end(self) -> None:
        try:
            self._port.sendall(_REQUEST.pack(_QUIT, 0, 0))
            self._process.wait(_END_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def put(self, name: str, data: bytes) -> None:
        """Write a file in the guest."""
        self._ask(_PUT, name, data, _BOOT_S)

    def get(self, name: str) -> bytes:
        """The bytes of a file of the guest."""
        return self._ask(_GET, name, b"", _BOOT_S)[1]

    def run(
        self,
        arguments: Iterable[str],
        *,
        inputs: Mapping[str, bytes] | None = None,
        outputs: Iterable[str] = (),
        timeout: float = 600.0,
    ) -> Ran:
        """Run a program, its absolute name first, and wait for its end.

        `inputs` are written before; `outputs` are read after, one that is not there is left out; both are removed.
        After `timeout` seconds the guest is given up: it has ended when `KernelError` is raised.
        """
        inputs = inputs or {}
        for name, data in inputs.items():
            self.put(name, data)
        line = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)
        status, printed = self._ask(_RUN, "", line, timeout)
        found = {}
        for name in outputs:
            code, data = self._ask(_GET, name, b"", _BOOT_S, may_fail=True)
            if code == 0:
                found[name] = data
        for name in {*inputs, *found}:
            self._ask(_REMOVE, name, b"", _BOOT_S)
        return Ran(status, printed.decode(errors="replace"), found)

    def _ask(self, verb: int, name: str, data: bytes, timeout: float, *, may_fail: bool = False) -> tuple[int, bytes]:
        encoded = os.fsencode(name)
        try:
            self._port.settimeout(timeout)
            self._port.sendall(_REQUEST.pack(verb, len(encoded), len(data)) + encoded + data)
        except OSError as error:
            raise self._lost(f"takes no more requests ({error.strerror})") from None
        status, answer = self._answer(timeout)
        if status < 0 and not may_fail:
            raise KernelError(f"{self.name}: {name or 'a program'}: {os.strerror(-status)}")
        return status, answer

    def _answer(self, timeout: float) -> tuple[int, bytes]:
        self._port.settimeout(timeout)
        status, size = _ANSWER.unpack(self._take(_ANSWER.size, timeout))
        return status, self._take(size, timeout)

    def _take(self, size: int, timeout: float) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._port.recv(min(size - len(parts), 1 << 20))
            except TimeoutError:
                self._process.kill()
                raise self._lost(f"did not answer within {timeout:.0f} s") from None
            except OSError as error:
                raise self._lost(f"has lost its port ({error.strerror})") from None
            if not part:
                raise self._lost("has ended")
            parts += part
        return bytes(parts)

    def _lost(self, what: str) -> KernelError:
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return KernelError(f"{self.name} {what}; its console says: {_telling(self.console())}")

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"the guest with {self.kernel.package} {self.kernel.version}"

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    def console(self) -> str:
        """What the guest's kernel and QEMU have printed."""
        return self._console.read_bytes().decode(errors="replace")
