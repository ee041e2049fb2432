"""Why KSM can or cannot merge a mapping, in words, and what to do about it.

Which mappings a kernel takes is Linux 6.18's rule: none that is or may become shared, holds a device's memory or frames
that a driver put there, may not be expanded, consists of huge pages of hugetlb, may be dropped, or is DAX. Private
mappings of files are taken: the pages that were written, and no others. Locks, huge pages and advice about fork do not
matter; nor does whether the mapping may be written.
"""

from ksmbench.explaining.area import Verdict

_MADVISE = "madvise(MADV_MERGEABLE) in the program"
_PRCTL = "prctl(PR_SET_MEMORY_MERGE) before it is executed (systemd: MemoryKSM=yes)"
_SHARED_BY_VMM = {
    "qemu": "give the memory backend share=off; vhost-user and virtiofs then do not work",
    "cloud-hypervisor": "use --memory mergeable=on without shared=on",
    "firecracker": "use no vhost-user device; guest memory is private then",
}
_ASK_BY_VMM = {
    "qemu": "start QEMU with -machine mem-merge=on, its default",
    "cloud-hypervisor": "start Cloud Hypervisor with --memory mergeable=on",
    "firecracker": "Firecracker never calls madvise; set PR_SET_MEMORY_MERGE before it is executed, as systemd's "
    "MemoryKSM=yes does",
    "": "QEMU: -machine mem-merge=on; Cloud Hypervisor: --memory mergeable=on; Firecracker: PR_SET_MEMORY_MERGE before "
    "it is executed",
}
_CACHE = "only what was written can merge; the other pages are the page cache, held once already"

HUGE_NOTE = "backed by huge frames: merging a page splits its block of 2 MiB, and zero-filled parts go at once"
LOCKED_NOTE = "locked (mlock), which does not matter to KSM"
PINNED_NOTE = "pages are pinned (device assignment, vhost or io_uring do so): pinned ones do not merge"


def vmm_of(program: str) -> str | None:
    """Return which VMM a program is, "" for one that has no words here, None for a program that is none."""
    if program.startswith("qemu") or program == "kvm":
        return "qemu"
    return program if program in _ASK_BY_VMM else None


def kernels_own() -> Verdict:
    """The kernel's own pages in a process: vdso, vvar."""
    return Verdict("kernel's own", False, False, "the kernel's own pages, the same frames in every process")


def hugetlb() -> Verdict:
    """Memory out of the pool of huge pages."""
    remedy = "use ordinary memory with MADV_HUGEPAGE: such huge frames are split where they merge"
    return Verdict("hugetlb", False, False, "huge pages of hugetlb, which KSM never splits", remedy)


def secret() -> Verdict:
    """memfd_secret(2)."""
    return Verdict("secretmem", False, False, "memfd_secret: hidden from the kernel itself, KSM included")


def device() -> Verdict:
    """VM_IO, VM_PFNMAP, VM_MIXEDMAP."""
    return Verdict("device", False, False, "a device's memory, or frames that a driver put there")


def dax() -> Verdict:
    """Persistent memory mapped without a page cache."""
    return Verdict("DAX", False, False, "DAX: the file's own storage, with no frame to give back")


def droppable() -> Verdict:
    """MAP_DROPPABLE."""
    return Verdict("droppable", False, False, "MAP_DROPPABLE: the kernel may drop these pages at any time")


def not_expandable() -> Verdict:
    """VM_DONTEXPAND without being a device's: a ring of perf or io_uring, a driver's buffer."""
    return Verdict("driver's", False, False, "a driver's buffer of fixed size (VM_DONTEXPAND)")


def shared_file() -> Verdict:
    """MAP_SHARED of a file on a disk."""
    why = "a shared file mapping: its pages are the page cache, held once already"
    return Verdict("shared file", False, False, why)


def shared_memory(vmm: str | None) -> Verdict:
    """MAP_SHARED of memory: anonymous, memfd, shm."""
    remedy = "map it MAP_PRIVATE, where nobody else needs to see the writes"
    if vmm is not None:
        remedy = _SHARED_BY_VMM.get(vmm, "have the VMM map guest memory private")
    why = "shared memory (MAP_SHARED): KSM takes private mappings alone"
    return Verdict("shared memory", False, False, why, remedy)


def never() -> Verdict:
    """What a trace only says never merges."""
    why = "never mergeable: shared, a device's, or huge pages of hugetlb (the trace does not tell which)"
    return Verdict("never mergeable", False, False, why)


def asked(by: str, is_file: bool) -> Verdict:
    """A mapping that is mergeable; `by` says who asked."""
    suffix = f"; {_CACHE}" if is_file else ""
    return Verdict("private file, asked" if is_file else "asked", True, True, f"mergeable: {by} asked for it{suffix}")


def opted_out() -> Verdict:
    """A mapping of a process that asked for all, or of one that asked before, that is not mergeable."""
    why = "asked out again by madvise(MADV_UNMERGEABLE)"
    return Verdict("unmergeable", True, False, why, "leave that call out, or advise MADV_MERGEABLE after it")


def not_marked() -> Verdict:
    """A mapping that lacks the flag although the process asked for all."""
    why = "not marked although the process asked by prctl: MADV_UNMERGEABLE, or the stack that execve made"
    return Verdict("not marked", True, False, why, "advise MADV_MERGEABLE on it")


def not_asked(vmm: str | None, is_file: bool, has_prctl: bool) -> Verdict:
    """A mapping that KSM could take, if somebody asked."""
    code, why = "not asked", "could merge, but nobody asked: no madvise, no prctl"
    remedy = f"{_MADVISE}, or {_PRCTL}" if has_prctl else _MADVISE
    if vmm is not None:
        remedy = _ASK_BY_VMM.get(vmm, _ASK_BY_VMM[""])
    if is_file:
        return Verdict("private file", True, False, f"{why}; {_CACHE}", remedy)
    return Verdict(code, True, False, why, remedy)


def has_prctl(release: str) -> bool:
    """Whether a kernel of this release has PR_SET_MEMORY_MERGE (6.4); true where the release is unknown."""
    try:
        major, minor = (int(part) for part in release.split(".")[:2])
    except ValueError:
        return True
    return (major, minor) >= (6, 4)
