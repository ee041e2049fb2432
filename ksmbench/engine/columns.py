"""How compiled code sees memory: `Memory`, the address of the vector `m`, and `Column`, an address with a length.

numba passes each of its arrays as seven values, looks at every index for being negative, and compiles all of that anew
in every function; these types do none of it. Integers of every width are read as int64; a store cuts off what does not
fit. With `NUMBA_BOUNDSCHECK=1` every access of a column is checked, negative indices too; nobody counts from the end.
"""

import operator
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils as numba_cgutils
from numba.core.typing import templates as numba_templates
from numba.np import arrayobj

from ksmbench.jit import numba_config

# numba has no types of its own for type checkers
cgutils: Any = numba_cgutils
templates: Any = numba_templates
lower_builtin: Any = extending.lower_builtin
intrinsic: Any = extending.intrinsic
make_array: Any = arrayobj.make_array
signature = templates.signature

_WORD = ir.IntType(64)


class MemoryType(types.Type):
    """The address of an int64 vector, whose length nobody asks for."""

    def __init__(self) -> None:
        super().__init__(name="ksmbench.Memory")


class ColumnType(types.Type):
    """Elements of one dtype, [n] or [n, width]."""

    def __init__(self, dtype: types.Type, width: int) -> None:
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"ksmbench.Column({dtype}, {width})")

    @property
    def key(self) -> tuple[types.Type, int]:
        """What makes two of them the same."""
        return self.dtype, self.width

    @property
    def element(self) -> types.Type:
        """What an access gives."""
        return types.int64 if isinstance(self.dtype, types.Integer) else self.dtype


memory_type = MemoryType()
vector_type = types.Array(types.int64, 1, "C")  # what becomes it, see `pinned`


@extending.register_model(MemoryType)
class _MemoryModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, kind: MemoryType) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


@extending.register_model(ColumnType)
class _ColumnModel(extending.models.StructModel):
    def __init__(self, manager: Any, kind: ColumnType) -> None:
        members = [("data", types.CPointer(kind.dtype)), ("size", types.int64)]
        super().__init__(manager, kind, members)


def _is_index(index: Any) -> bool:
    return isinstance(index, types.Integer | types.IntEnumMember)


def _index_type(kind: Any, index: Any) -> Any:
    # int64, or a pair of them where the column has rows.
    if isinstance(kind, MemoryType) or (isinstance(kind, ColumnType) and kind.width == 1):
        return types.int64 if _is_index(index) else None
    parts = getattr(index, "types", ())  # of a tuple
    if isinstance(kind, ColumnType) and len(parts) == 2 and all(_is_index(part) for part in parts):
        return types.UniTuple(types.int64, 2)
    return None


def _element(kind: types.Type) -> types.Type:
    element: types.Type = kind.element if isinstance(kind, ColumnType) else types.int64
    return element


@templates.infer_global(operator.getitem)
class _GetItem(templates.AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        kind, index = args
        wanted = _index_type(kind, index)
        return signature(_element(kind), kind, wanted) if wanted is not None else None


@templates.infer_global(operator.setitem)
class _SetItem(templates.AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        kind, index, _ = args
        wanted = _index_type(kind, index)
        return signature(types.none, kind, wanted, _element(kind)) if wanted is not None else None


@templates.infer_global(len)
class _Len(templates.AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], ColumnType):
            return signature(types.int64, args[0])
        return None


@lower_builtin(len, ColumnType)
def _len(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    column = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0])
    if sig.args[0].width == 1:
        return column.size
    return builder.udiv(column.size, _WORD(sig.args[0].width))


def _check(context: Any, builder: Any, index: Any, size: Any) -> None:
    with cgutils.if_unlikely(builder, builder.icmp_unsigned(">=", index, size)):
        context.call_conv.return_user_exc(builder, IndexError, ("index is out of bounds",))


def _place(context: Any, builder: Any, kind: Any, column: Any, index: Any) -> Any:
    # The address of an element.
    if isinstance(kind, MemoryType):
        return builder.gep(column, [index])
    proxy = cgutils.create_struct_proxy(kind)(context, builder, column)
    if kind.width > 1:
        row, part = cgutils.unpack_tuple(builder, index, 2)
        if numba_config.BOUNDSCHECK:
            _check(context, builder, part, _WORD(kind.width))
        index = builder.add(builder.mul(row, _WORD(kind.width)), part)
    if numba_config.BOUNDSCHECK:
        _check(context, builder, index, proxy.size)
    return builder.gep(proxy.data, [index])


def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = sig.args[0]
    value = builder.load(_place(context, builder, kind, *args))
    if value.type == _WORD or not isinstance(value.type, ir.IntType):
        return value
    return builder.sext(value, _WORD) if kind.dtype.signed else builder.zext(value, _WORD)


def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    column, index, value = args
    place = _place(context, builder, sig.args[0], column, index)
    stored = place.type.pointee
    if value.type != stored:
        value = builder.trunc(value, stored)
    builder.store(value, place)
    return context.get_dummy_value()


for _kind, _index in ((MemoryType, types.Integer), (ColumnType, types.Integer), (ColumnType, types.BaseTuple)):
    lower_builtin(operator.getitem, _kind, _index)(_get)
    lower_builtin(operator.setitem, _kind, _index, types.Any)(_set)


class Integers:
    """A column with the JIT off: every element is Python's int, as every one is int64 in compiled code."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __getitem__(self, index: Any) -> int:
        return int(self._array[index])

    def __setitem__(self, index: Any, value: int) -> None:
        self._array[index] = value

    def __len__(self) -> int:
        return len(self._array)


def column_reader(dtype: type[Any], width: int, n_scalars: int) -> Any:
    """What turns (m, column's number) into a Column whose address and length stand after the `n_scalars` of `m`."""
    kind = ColumnType(numba.from_dtype(np.dtype(dtype)), width)

    @intrinsic
    def read(typing: Any, m: Any, column: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = args[0]
            if not isinstance(sig.args[0], MemoryType):
                vector = make_array(sig.args[0])(context, builder, vector).data
            place = builder.add(builder.mul(args[1], _WORD(2)), _WORD(n_scalars))
            address = builder.load(builder.gep(vector, [place]))
            length = builder.load(builder.gep(vector, [builder.add(place, _WORD(1))]))
            for load in (address, length):  # columns stay where they are while compiled code runs
                load.set_metadata("invariant.load", builder.module.add_metadata([]))
            column_now = cgutils.create_struct_proxy(kind)(context, builder)
            column_now.data = builder.inttoptr(address, column_now.data.type)
            column_now.size = length
            return column_now._getvalue()

        return kind(m, types.int64), build

    return read


def _same(m: Any) -> Any:
    return m


@intrinsic
def _address(typing: Any, m: Any) -> Any:
    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return make_array(sig.args[0])(context, builder, args[0]).data

    return memory_type(m), build


# The vector `m` as `Memory`, for all kernels that a loop calls.
pinned: Any = _same if numba_config.DISABLE_JIT else _address
