"""Kernels that only other kernels call: compiled once, as a part of those.

numba optimizes every function on its own, with all that it calls, and makes machine code of it, each time over; a loop
of a hundred functions pays for that many times. A part is only translated; the kernel that calls it is optimized whole.
Python cannot call a part (except with the JIT off).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from numba.core import codegen as numba_codegen
from numba.core import compiler as numba_compiler

from ksmbench.jit import FLAGS

JITCodeLibrary: Any = numba_codegen.JITCodeLibrary
Compiler: Any = numba_compiler.Compiler


class _Codegen:
    """The code generator, but for environments: what a part would need one for (Python objects) no kernel does."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        pass


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is linked into others and never run by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    @property
    def codegen(self) -> Any:
        return _Codegen(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        return 0


class _PartCompiler(Compiler):  # type: ignore[misc]
    def compile_extra(self, func: Callable[..., object]) -> Any:
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)


Function = TypeVar("Function", bound=Callable[..., object])

if TYPE_CHECKING:

    def part(function: Function) -> Function:
        """Compile `function` into the kernels that call it."""
        return function
else:
    part = numba.njit(**FLAGS, no_cpython_wrapper=True, pipeline_class=_PartCompiler)
