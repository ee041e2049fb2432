"""A guest with another kernel: what goes in, what comes out, what is said when it fails.

Skipped where QEMU or the kernel is missing; nothing is fetched here. `ksmbench validate --kernel 6.1` fetches it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ksmbench.validate.building import built
from ksmbench.validate.generate import generate
from ksmbench.validate.guests import GuestPlay, unplayable_kinds
from ksmbench.validate.kernels import KernelFiles
from ksmbench.validate.script import UnplayableError
from ksmbench.validate.vm import Guest, KernelError
from tests.validate.conftest import SERIES

FACTS = "/facts"
PROGRAMS = {FACTS: Path(__file__).with_name("guest_facts.c")}


def boot(kernel: KernelFiles, **options: int) -> Guest:
    return Guest(kernel, {name: built(source) for name, source in PROGRAMS.items()}, **options)


def facts(printed: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in printed.splitlines())


@pytest.fixture(scope="module")
def guest(kernel: KernelFiles) -> Iterator[Guest]:
    with boot(kernel, numa_nodes=2) as booted:
        yield booted


def test_pages_merge_on_each_of_two_nodes_or_across_them(guest: Guest) -> None:
    apart = guest.run([FACTS, "0"])
    assert apart.status == 3
    found = facts(apart.printed)
    assert found["release"] == guest.kernel.release
    assert (found["nodes"], found["at_home"]) == ("2", "16")
    assert (found["shared"], found["sharing"]) == ("2", "14")
    found = facts(guest.run([FACTS, "1"]).printed)  # in the same guest: nothing is left of the first
    assert (found["shared"], found["sharing"]) == ("1", "15")


def test_files_go_in_and_come_out(guest: Guest) -> None:
    data = os.urandom(3_000_001)
    ran = guest.run([FACTS], inputs={"/in": data}, outputs=["/in", "/absent"])
    assert ran.outputs == {"/in": data}
    guest.put("/empty", b"")
    assert guest.get("/empty") == b""
    with pytest.raises(KernelError, match="/in: No such file"):
        guest.get("/in")


def test_a_program_that_is_not_there(guest: Guest) -> None:
    ran = guest.run(["/none"])
    assert (ran.status, ran.printed) == (127, "guest: /none: No such file or directory\n")


def test_a_guest_that_does_not_answer_is_ended(kernel: KernelFiles) -> None:
    with boot(kernel) as guest:
        with pytest.raises(KernelError, match=r"the guest with linux-image-6\.1\S+ 6\.1\S+ did not answer within 0 s"):
            guest.run([FACTS], timeout=0.01)
        with pytest.raises(KernelError, match=r"takes no more requests|has ended"):
            guest.run([FACTS])
    assert not alive(guest.pid)


def test_a_trace_in_a_guest_and_after_its_end_in_another(kernel: KernelFiles) -> None:
    scenario = generate(1, ["run", "sleep_millisecs", "pages_to_scan"], without=unplayable_kinds(kernel))
    times = np.arange(8) * 20_000_000
    with GuestPlay(kernel, frames=True) as play:
        played = play(scenario.trace, times, scenario.settings)
        assert played.samples["time_ns"].to_list() == times.tolist()
        assert played.samples["frames"].min() > 0  # type: ignore[operator]
        assert "smart_scan" not in played.samples.columns  # of 6.7
        with pytest.raises(UnplayableError, match=r"did not answer within"):
            play(scenario.trace, times, scenario.settings, timeout=0.01)
        again = play(scenario.trace, times, scenario.settings)
    assert again.samples.equals(played.samples)


def test_a_guest_that_cannot_boot_says_so(kernel: KernelFiles, tmp_path: Path) -> None:
    broken = KernelFiles(kernel.package, kernel.version, kernel.release, tmp_path)
    broken.image.write_bytes(b"not a kernel" * 1000)
    with pytest.raises(KernelError, match=r"has ended; its console says: qemu"), boot(broken):
        pass


def test_a_guest_ends_with_its_session(kernel: KernelFiles) -> None:
    """Also where that is killed and cannot tidy up."""
    code = (
        "from ksmbench.validate.kernels import kept_kernel\n"
        "from ksmbench.validate.vm import Guest\n"
        f"with Guest(kept_kernel({SERIES!r}), {{}}): pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as session:
        children = Path(f"/proc/{session.pid}/task/{session.pid}/children")
        guests: list[int] = []
        while not guests and session.poll() is None:
            guests = [pid for pid in map(int, children.read_text().split()) if b"qemu" in command(pid)]
        session.kill()
    assert len(guests) == 1
    deadline = time.monotonic() + 20
    while alive(guests[0]):
        assert time.monotonic() < deadline, "QEMU outlives its session"
        time.sleep(0.01)


def test_a_kernel_that_panics_is_quoted(guest: Guest) -> None:
    with pytest.raises(KernelError, match=r"has ended; its console says: .*Kernel panic"):
        guest.put("/proc/sysrq-trigger", b"c")


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
