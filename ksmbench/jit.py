"""The only place that knows numba's flags, and where compiled code is cached.

numba's own cache misses two things: an edit in a module that a cached caller imports, and `NUMBA_BOUNDSCHECK`. So the
cache lives in a folder named by a digest of all sources that compiled code can depend on, of numba's version and of
that switch: an edit of any of them recompiles, everything else hits. `NUMBA_CACHE_DIR` is honoured as the root.

No kernel allocates: without numba's reference counting (`_nrt`) a replay takes a third of the time.
"""

import atexit
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba

_KEPT_DIGESTS = 4
_IS_DIGEST = re.compile("[0-9a-f]{16}")
numba_config: Any = numba.config  # its attributes appear at import time, unknown to type checkers


def _digest() -> str:
    package = Path(__file__).resolve().parent
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(package.rglob("*.py")):
        text = source.read_bytes()
        place = source.relative_to(package)
        if place.parts[0] in ("engine", "designs") or source.name in ("jit.py", "schema.py") or b"@kernel" in text:
            digest.update(str(place).encode() + b"\0" + text)
    digest.update(f"{numba.__version__} {bool(numba_config.BOUNDSCHECK)}".encode())
    return digest.hexdigest()


def _writable_root() -> Path:
    # Where caches go; without a home that can be written, a folder that goes with the process.
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    root = Path(given) if given else Path.home() / ".cache"
    try:
        (root / "ksmbench").mkdir(parents=True, exist_ok=True)
        if os.access(root / "ksmbench", os.W_OK):
            return root
    except OSError:
        pass
    own = Path(tempfile.mkdtemp(prefix="ksmbench-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _cache_folder() -> Path:
    parent = _writable_root() / "ksmbench"
    folder = parent / _digest()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        folder.touch()
        digests = [path for path in parent.iterdir() if _IS_DIGEST.fullmatch(path.name)]
        old = sorted(digests, key=lambda path: path.stat().st_mtime)[:-_KEPT_DIGESTS]
        for path in old:
            if time.time() - path.stat().st_mtime > 86400:  # a run that still uses it may be alive
                shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # another process tidies up at the same time
    return folder


numba_config.CACHE_DIR = str(_cache_folder())


def is_cold(kernel_name: str = "") -> bool:
    """Whether the kernel called `module.name` (by default: any) has not been compiled for these sources yet."""
    compiled = Path(numba_config.CACHE_DIR).rglob("*.nbi")
    return not numba_config.DISABLE_JIT and not any(path.name.startswith(kernel_name) for path in compiled)


@contextmanager
def compiled_beside(statement: str) -> Iterator[None]:
    """Run the Python `statement`, which compiles something into the cache, in another process meanwhile.

    numba compiles on one core; whatever it finds in the cache afterwards it need not compile.
    """
    other = subprocess.Popen([sys.executable, "-c", statement], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    except BaseException:
        other.kill()
        raise
    finally:
        other.wait()


FLAGS: dict[str, Any] = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}

# A machine integer inside compiled code: Python's `int` with the JIT off, numpy's or numba's otherwise.
Integer = Any

Function = TypeVar("Function", bound=Callable[..., object])

if TYPE_CHECKING:

    def kernel(function: Function) -> Function:
        """Compile `function` without the interpreter lock, once per source state."""
        return function
else:
    kernel = numba.njit(**FLAGS, cache=True)
