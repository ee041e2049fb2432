"""A control group, of either version, and the processes in it and in the groups below it."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ksmbench.capture.procfs import ProcessGoneError, read_text
from ksmbench.errors import KsmbenchError, UsageError

_MEMBERS = "cgroup.procs"
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_LISTED = 12


@dataclass(frozen=True)
class Group:
    """A control group by its folder."""

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether nobody has removed it."""
        return (self.folder / _MEMBERS).exists()

    def members(self) -> list[int]:
        """Return the ids of the processes in it and in those below it, by id; none where it is gone."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.folder, onerror=None):
            found.update(_processes(Path(folder)))
        return sorted(found - {0})  # 0 is a process that this namespace does not show


def _processes(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / _MEMBERS).read_text().split()]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # of threads, whose processes may be in several of these
            return _owners(folder)
        return []  # removed meanwhile


def _owners(folder: Path) -> list[int]:
    owners = []
    try:
        threads = [int(line) for line in (folder / "cgroup.threads").read_text().split()]
    except OSError:
        return []
    for thread in threads:
        try:
            owners += [int(line.split()[1]) for line in read_text(thread, "status").splitlines() if line[:5] == "Tgid:"]
        except (ProcessGoneError, KsmbenchError):
            continue
    return owners


def mounts() -> list[Path]:
    """Return where groups are: version 2 first, then version 1's memory controller, then the others."""
    found: list[tuple[int, Path]] = []
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        folder = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4]))
        if kind == "cgroup2":
            found.append((0, folder))
        elif kind == "cgroup":
            found.append((1 if "memory" in options.split(" ")[-1].split(",") else 2, folder))
    return [folder for _, folder in sorted(found, key=lambda pair: pair[0])]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _deepest(mount: Path, name: str) -> Path:
    # The last group on the way that exists.
    at = mount
    for part in Path(name).parts:
        if not (at / part / _MEMBERS).exists():
            break
        at = at / part
    return at


def _there(folder: Path) -> str:
    names = _names(folder)
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} others" if len(names) > _LISTED else "")
    return f"in {folder} are {listed}" if names else f"{folder} has none"


def find_group(name: str) -> Group:
    """Return the control group with this path: as it is, or below where control groups are mounted.

    Raises `KsmbenchError` where there is none, which names those that there are.
    """
    places = mounts()
    if not places:
        raise KsmbenchError("no control groups are mounted here; name processes with --pid")
    given, below = Path(name), name.strip("/")
    for folder in (given, *(mount / below for mount in places)):
        if (folder / _MEMBERS).exists() and folder.is_absolute():
            return Group(Path(os.path.realpath(folder)))
    inside = [mount for mount in places if given.is_relative_to(mount)]
    ends = [_deepest(mount, str(given.relative_to(mount))) for mount in inside] or [_deepest(m, below) for m in places]
    nearest = max(ends, key=lambda end: len(end.parts) if end not in places else 0)
    raise UsageError(f"there is no control group {name}; {_there(nearest)}")
