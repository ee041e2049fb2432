"""QEMU's machine protocol, as far as a balloon and a reset need it."""

import json
import socket
import time
from pathlib import Path
from typing import Any


class Monitor:
    """A connection to the socket of a QEMU that was started with `words`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._answers = self._socket.makefile("r", encoding="utf-8")
        json.loads(self._answers.readline())  # the greeting
        self.do("qmp_capabilities")

    @staticmethod
    def words(path: Path) -> list[str]:
        """What QEMU must be started with."""
        return ["-qmp", f"unix:{path},server=on,wait=off"]

    def do(self, command: str, **arguments: Any) -> Any:
        """Execute a command and return what it answers; events that come meanwhile are passed over."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self._answers.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def balloon(self, mebibytes: int, seconds: float = 60.0) -> int:
        """Leave the guest with this much memory, and wait until it is so; returns what it has then, in MiB."""
        self.do("balloon", value=mebibytes << 20)
        end = time.monotonic() + seconds
        while (has := self.do("query-balloon")["actual"] >> 20) != mebibytes and time.monotonic() < end:
            time.sleep(0.2)
        return int(has)

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()
