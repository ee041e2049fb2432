"""Every mapping of a process as smaps tells of it, and whether KSM can merge it."""

import re
from dataclasses import dataclass

from ksmbench.explaining import reasons
from ksmbench.explaining.area import Verdict

_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+) *(.*)")
_FIELD = re.compile(r"(\w+): +(\d+) kB")
_KERNELS_OWN = ("[vdso]", "[vvar", "[vsyscall]", "[uprobes]")
_SECRET = "/secretmem"
_IN_MEMORY = ("/dev/zero", "/memfd:", "/dev/shm/", "/SYSV", "/anon_hugepage", "[anon_shmem")


@dataclass(frozen=True)
class Vma:
    """One mapping: addresses in bytes, `flags` those of the line VmFlags, `kib` the fields in KiB."""

    start: int
    end: int
    permissions: str
    inode: int
    name: str
    flags: frozenset[str]
    kib: dict[str, int]

    @property
    def is_file(self) -> bool:
        """Whether a file is mapped."""
        return self.inode != 0

    @property
    def is_shared(self) -> bool:
        """Whether it is shared, or may become so."""
        return self.permissions[3] == "s" or bool(self.flags & {"sh", "ms"})


def parse_vmas(text: str) -> list[Vma]:
    """Return the mappings in the text of an smaps file, by address."""
    result: list[Vma] = []
    header, kib = None, {}
    for line in text.splitlines():
        if match := _FIELD.match(line):
            kib[match[1]] = int(match[2])
        elif line.startswith("VmFlags:") and header is not None:
            start, end, permissions, inode, name = header.groups()
            flags = frozenset(line.split()[1:])
            result.append(Vma(int(start, 16), int(end, 16), permissions, int(inode), name, flags, kib))
            header = None
        elif match := _HEADER.match(line):
            header, kib = match, {}
    return result


def judge(vma: Vma, *, vmm: str | None, merges_any: bool | None, has_prctl: bool, is_dax: bool = False) -> Verdict:
    """Return whether KSM can merge it; `vmm` where it is guest memory, `merges_any` None where the kernel hides it."""
    flags = vma.flags
    if vma.name.startswith(_KERNELS_OWN):
        return reasons.kernels_own()
    if "ht" in flags:
        return reasons.hugetlb()
    if vma.name.startswith(_SECRET):
        return reasons.secret()
    if flags & {"io", "pf", "mm"}:
        return reasons.device()
    if is_dax:
        return reasons.dax()
    if vma.is_shared:
        in_memory = vmm is not None or vma.name.startswith(_IN_MEMORY)
        return reasons.shared_memory(vmm) if in_memory else reasons.shared_file()
    if "dp" in flags:
        return reasons.droppable()
    if "de" in flags:
        return reasons.not_expandable()
    if "mg" in flags:
        by = "prctl(PR_SET_MEMORY_MERGE)" if merges_any else "madvise(MADV_MERGEABLE)"
        return reasons.asked(by if merges_any is not None else "madvise or prctl", vma.is_file)
    if merges_any:
        return reasons.not_marked()
    return reasons.not_asked(vmm, vma.is_file, has_prctl)


def notes_of(vma: Vma) -> tuple[str, ...]:
    """Return what else there is to know of a mapping that KSM can merge."""
    notes = []
    if vma.kib.get("AnonHugePages"):
        notes.append(reasons.HUGE_NOTE)
    if "lo" in vma.flags:
        notes.append(reasons.LOCKED_NOTE)
    return tuple(notes)
