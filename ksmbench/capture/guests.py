"""Which processes run virtual machines, what those are called, and which of their mappings are the guests' memory."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ksmbench.capture.procfs import PAGE_SIZE, Mapping, ProcessGoneError, command_line
from ksmbench.errors import KsmbenchError

_PROGRAMS = ("qemu-kvm", "kvm", "cloud-hypervisor", "firecracker", "crosvm")
_KVM = ("anon_inode:kvm-vm", "anon_inode:kvm-vcpu")
_NAMES = ("-name", "--name", "--id")
_SOCKETS = ("--api-sock", "--api-socket", "--socket", "-s")
_LEAST_PAGES = (16 << 20) // PAGE_SIZE
_NO_RAM = ("heap", "stack", "anon_inode:")
_FILES_IN_MEMORY = ("/dev/shm/", "/dev/hugepages", "/dev/zero")


def guest_memory(mappings: list[Mapping]) -> list[Mapping]:
    """Return the guest's RAM and ROM blocks, and whatever else of the process's memory is mergeable.

    QEMU advises DONTFORK on every block of guest memory, also where `mem-merge=off` leaves MERGEABLE out; its buffer
    of translated code has that advice too, but is executable. Where no mapping has either, as in Firecracker, Cloud
    Hypervisor and crosvm, guest memory is every large writable mapping but the heap and the stacks, or the largest one.
    Memory that is shared (a memfd, huge pages of its own kind) is among them, though KSM never merges it.
    """
    blocks = [m for m in mappings if "mg" in m.flags or ("dc" in m.flags and not m.executable)]
    if not blocks:
        return [replace(m, name="ram") for m in _large(mappings)]
    largest = max(m.end - m.start for m in blocks)
    result = []
    for m in blocks:
        what = "ram" if m.end - m.start == largest else "rom"
        result.append(replace(m, name=what) if "dc" in m.flags else m)
    return result


def _large(mappings: list[Mapping]) -> list[Mapping]:
    able = [m for m in mappings if m.writable and not m.executable and not _is_known_otherwise(m.name)]
    large = [m for m in able if m.end - m.start >= _LEAST_PAGES]
    return large or sorted(able, key=lambda m: m.end - m.start)[-1:]


def _is_known_otherwise(name: str) -> bool:
    is_device = name.startswith("/dev/") and not name.startswith(_FILES_IN_MEMORY)
    return is_device or name.startswith(_NO_RAM)


def _program(pid: int, words: Sequence[str]) -> str:
    try:
        # An upgrade of the package leaves running guests with a program that is "(deleted)".
        return os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        return os.path.basename(words[0])


def _is_vmm(program: str) -> bool:
    return program in _PROGRAMS or program.startswith("qemu-system-")


def _has_vm(pid: int) -> bool:
    # Whether it holds a virtual machine of KVM's.
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path).startswith(_KVM) for file in files)
    except OSError:
        return False  # another's, or gone


def is_guest(pid: int) -> bool:
    """Return whether the process runs a virtual machine; raises `ProcessGoneError` or `KsmbenchError`."""
    words = command_line(pid)
    return bool(words) and (_is_vmm(_program(pid, words)) or _has_vm(pid))


def is_helper(pid: int, parent: int) -> bool:
    """Return whether the process is a part of the parent's, which runs a guest: a device in a process of its own."""
    try:
        one, other = command_line(pid), command_line(parent)
    except (ProcessGoneError, KsmbenchError):
        return False
    return bool(one and other) and _program(pid, one) == _program(parent, other) and not _has_vm(pid)


def guest_name(words: Sequence[str], pid: int, program: str = "qemu") -> str:
    """Return what a command line calls its guest: by name, by id, by its socket; otherwise one by the process id."""
    options = [(word.partition("=")[0], word.partition("=")[2]) for word in words]
    options += [(word, value) for word, value in zip(words, words[1:], strict=False) if "=" not in word]
    for wanted in (*_NAMES, *_SOCKETS):
        for option, value in options:
            if option == wanted and value:
                for part in value.split(","):  # -name guest=web,debug-threads=on; --api-socket path=/run/web.sock
                    key, _, name = part.rpartition("=")
                    if key in ("", "guest", "path") and name:
                        return PurePosixPath(name).stem if wanted in _SOCKETS else name
    return f"{program}-{pid}"


def name_of_guest(pid: int) -> str:
    """Return the name of the guest that the process runs."""
    words = command_line(pid)
    program = _program(pid, words)
    return guest_name(words, pid, "qemu" if program in ("kvm", "qemu-kvm") else program.partition("-system-")[0])
