"""A part of kernels (`ksmbench.engine.parts`) as a kernel of its own, which a test can call."""

from collections.abc import Callable
from typing import Any

import numba

from ksmbench.jit import FLAGS


def alone(part: Callable[..., Any]) -> Callable[..., Any]:
    """`part`, compiled to be called from Python; itself with the JIT off."""
    function = getattr(part, "py_func", None)
    return part if function is None else numba.njit(**FLAGS)(function)
