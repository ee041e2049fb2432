"""The small C programs of this package, built when they are first needed.

Each is one source file, or a folder of them, that needs only the C library, linked statically so that it runs alone in
an initramfs as well. A program lies in the cache folder under a digest of its sources, so that an edit builds it anew.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ksmbench.errors import KsmbenchError

_FLAGS = ("-std=gnu11", "-O2", "-static", "-Wall", "-Wextra")


def cache_folder(name: str) -> Path:
    """A folder of that name for what can be made or fetched again; made where it is missing.

    Beside the engine's cache, which removes what it does not know.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(given) if given else Path.home() / ".cache") / "ksmbench-validate" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KsmbenchError(
            f"cannot make the cache folder {folder}: {error.strerror}; set XDG_CACHE_HOME to a writable one"
        ) from None
    return folder


def _compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def why_not_built() -> str | None:
    """What this host lacks for compiling, in one sentence, or None."""
    return None if _compiler() else "there is no C compiler"


def built(source: Path) -> Path:
    """The static program made of `source`, a C file or a folder of C files; compiled at the first call."""
    sources = sorted(source.glob("*.[ch]")) if source.is_dir() else [source]
    digest = hashlib.blake2b(" ".join(_FLAGS).encode(), digest_size=8)
    for file in sources:
        digest.update(file.read_bytes())
    program = cache_folder("programs") / f"{source.stem}-{digest.hexdigest()}"
    if program.exists():
        return program
    compiler = _compiler()
    if compiler is None:
        raise KsmbenchError(
            f"{source.name} has to be compiled and there is no C compiler: apt-get install gcc libc6-dev"
        )
    files = [str(file) for file in sources if file.suffix == ".c"]
    # Built under another name and renamed: two that build at once do not run each other's half.
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        part = Path(folder) / program.name
        ran = subprocess.run([compiler, *_FLAGS, "-o", str(part), *files], capture_output=True, text=True)
        if ran.returncode != 0:
            reason = (ran.stderr.strip().splitlines() or ["no message"])[0]
            raise KsmbenchError(f"{compiler} could not compile {source}: {reason}")
        part.rename(program)
    return program
