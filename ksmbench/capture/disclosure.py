"""What a capture's trace tells beyond ranks: fingerprints, contents, names; each only as far as it was asked for."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ksmbench.errors import UsageError
from ksmbench.trace.ranking import ContentStore, Ranking
from ksmbench.trace.schema import FINGERPRINT_BYTES

FINGERPRINTS = f"BLAKE2b with a key, {FINGERPRINT_BYTES} bytes, of each content"
_LEAST_KEY_BYTES = 16
_MOST_KEY_FILE = 1 << 20
_PIECE = 1024  # contents at a time
# What a mapping is by the kernel's or our own word, which says nothing about whose it is.
_NEUTRAL = {"heap", "stack", "ram", "rom", "vdso", "vvar", "vvar_vclock", "vsyscall", "uprobes"}

# Options with numbers that say nothing about whose memory it is; a key or a process id may be a number, too.
_MEASURES = ("--interval", "--duration", "--max-cpu", "--max-spool", "--stop")


def read_key(text: str) -> bytes:
    """Return the key that a file holds or that is given in hexadecimal digits, as BLAKE2b takes it.

    Raises `UsageError` where it is neither, or so short that it could be guessed.
    """
    path = Path(text)
    if path.exists():
        try:
            with path.open("rb") as file:
                key = file.read(_MOST_KEY_FILE).rstrip(b"\r\n")
        except OSError as error:
            raise UsageError(f"--key: {path} cannot be read ({error.strerror})") from None
    elif re.fullmatch(r"([0-9a-fA-F]{2})+", text):
        key = bytes.fromhex(text)
    else:
        raise UsageError(
            f"--key: {text} is neither a file nor hexadecimal digits; head -c 32 /dev/urandom > KEY makes one"
        )
    if len(key) < _LEAST_KEY_BYTES:
        raise UsageError(f"--key: {len(key)} bytes can be guessed; take at least {_LEAST_KEY_BYTES}")
    return hashlib.blake2b(key, person=b"ksmbench key").digest()


class Fingerprints:
    """Keyed hashes of a store's contents, each computed once."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known = np.zeros((0, FINGERPRINT_BYTES), np.uint8)

    def column(self, store: ContentStore, ranking: Ranking) -> npt.NDArray[np.uint8]:
        """Return the fingerprints, uint8 [n, 16], in the order of the ranking."""
        fresh = []
        for start in range(len(self._known), len(store), _PIECE):
            for page in store.read(np.arange(start, min(start + _PIECE, len(store)))):
                fresh.append(hashlib.blake2b(page.data, key=self._key, digest_size=FINGERPRINT_BYTES).digest())
        new = np.frombuffer(b"".join(fresh), np.uint8).reshape(-1, FINGERPRINT_BYTES)
        self._known = np.concatenate([self._known, new])
        result = np.empty_like(self._known)
        result[ranking.rank] = self._known
        return result


def contents(store: ContentStore, ranking: Ranking) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the contents in the order of the ranking, uint8 [k, page_size] each."""
    order = np.argsort(ranking.rank)
    for start in range(0, len(order), _PIECE):
        yield store.read(order[start : start + _PIECE])


def neutral_name(names: dict[str, str], name: str) -> str:
    """Return what stands for a mapping's name, always the same; `names` collects them."""
    if not name or name in _NEUTRAL or name.startswith("stack:"):
        return name
    kind = "file" if "/" in name else "mapping"
    return names.setdefault(name, f"{kind}-{len(names) + 1}")


def neutral_host(host: dict[str, Any]) -> dict[str, Any]:
    """Return of a machine's facts what many machines have in common."""
    release = re.match(r"\d+\.\d+", str(host.get("kernel", "")))
    memory = int(host.get("memory_bytes", 0))
    return {
        **{key: value for key, value in host.items() if key != "cpu"},
        "kernel": release[0] if release else "",
        "memory_bytes": 1 << max(0, memory - 1).bit_length() if memory else 0,
    }


def only_options(words: Sequence[str]) -> list[str]:
    """Return the options of a command line, and the values of those that say how it was recorded."""
    result = []
    for word in words[: words.index("--")] if "--" in words else words:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            result.append(name + (equals + value if name in _MEASURES and _is_number(value) else ""))
        elif name.startswith("-"):
            result.append(name[:2])  # what follows is its value
        elif _is_number(word) and result and result[-1] in _MEASURES:
            result.append(word)
    return result


def _is_number(word: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+[%a-zA-Z]{0,3}", word))


def without_key(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the key, if there is one, left out."""
    result = list(words)
    for i, word in enumerate(words):
        if word.startswith("--key="):
            result[i] = "--key=KEY"
        elif word == "--key" and i + 1 < len(words):
            result[i + 1] = "KEY"
    return result


def keep_from_others() -> None:
    """From here on, let only this process's user read what it writes."""
    os.umask(0o077)
