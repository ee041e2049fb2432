"""Guests that run: booted from one image by QEMU, spoken to over a serial port, ended by their process id."""

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import click

from workloads.debian_guests.image import Image, run


class Guest:
    """One QEMU guest; its second serial port takes one shell line at a time and answers with the exit status."""

    def __init__(
        self, image: Image, folder: Path, name: str, mebibytes: int, mergeable: bool, devices: Sequence[str] = ()
    ) -> None:
        """`devices` are further words for QEMU."""
        self.name = name
        self._control = folder / f"{name}.sock"
        self._console = folder / f"{name}.console"
        self._overlay = folder / f"{name}.qcow2"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = b""
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.root.resolve(), self._overlay])
        command = [
            *("setpriv", "--pdeathsig", "TERM"),  # a recipe that is killed leaves no guest behind
            *("qemu-system-x86_64", "-name", name, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", f"q35,mem-merge={'on' if mergeable else 'off'}", "-m", str(mebibytes)),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
            *("-append", f"console=ttyS0 quiet guest={name}"),
            *("-drive", f"file={self._overlay},if=virtio,format=qcow2,cache=unsafe"),
            *("-serial", f"file:{self._console}", "-serial", f"unix:{self._control},server=on,wait=on"),
            *devices,
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # QEMU starts the guest once somebody listens: its sign cannot be missed.
        try:
            self._connect(time.monotonic() + 60)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process id of this guest's QEMU."""
        return self.process.pid

    def _wait(self, deadline: float, what: str) -> None:
        # Ends where waiting longer has no use.
        if self.process.poll() is not None:
            raise click.ClickException(f"guest {self.name} ended with status {self.process.returncode}")
        if time.monotonic() > deadline:
            raise click.ClickException(f"guest {self.name} {what} in time; its console is {self._console}")

    def _connect(self, deadline: float) -> None:
        while True:
            try:
                self._socket.connect(str(self._control))
                break
            except OSError:
                self._wait(deadline, "opened no control port")
                time.sleep(0.05)
        self._socket.settimeout(0.5)

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._received:
            self._wait(deadline, "gave no sign")
            try:
                self._received += self._socket.recv(65536)
            except TimeoutError:
                continue
        line, self._received = self._received.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def wait_until_ready(self, seconds: float = 600) -> None:
        """Wait for the sign that the guest's services are started."""
        deadline = time.monotonic() + seconds
        while not self._line(deadline).endswith("@ready"):
            pass

    def tell(self, line: str, seconds: float = 120) -> str:
        """Run one shell line in the guest and return what it printed; a failing line is an error."""
        self._socket.sendall(line.encode() + b"\n")
        deadline = time.monotonic() + seconds
        printed = []
        while not (text := self._line(deadline)).startswith("@status "):
            printed.append(text)
        if text != "@status 0":
            raise click.ClickException(f"guest {self.name}: {line!r} ended with {text[1:]}: {' '.join(printed)[-200:]}")
        return "\n".join(printed)

    def start_load(self, load: str) -> None:
        """Start one of the scripts `guest/load-*` in the background; it runs until the guest ends."""
        self.tell(f"/opt/guest/load-{load} >/var/log/load.log 2>&1 & echo started")

    def end(self) -> None:
        """End this guest's process, and no other."""
        self._socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Guests:
    """`n` guests named guest-1 and so on, ready when entered, ended when left."""

    def __init__(self, image: Image, folder: Path, n: int, mebibytes: int, mergeable: bool) -> None:
        self._make = (image, folder, mebibytes, mergeable)
        self._n = n
        self.guests: list[Guest] = []

    def __enter__(self) -> Sequence[Guest]:
        image, folder, mebibytes, mergeable = self._make
        try:
            for number in range(1, self._n + 1):
                self.guests.append(Guest(image, folder, f"guest-{number}", mebibytes, mergeable))
            for guest in self.guests:
                guest.wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self.guests

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for guest in self.guests:
            guest.end()
