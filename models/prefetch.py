"""Ask the processor to fetch a row of a table that compiled code will need soon: LLVM's prefetch, for Numba.

A gather of rows at random waits for memory; asked for a dozen rows ahead, they arrive meanwhile.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

READ, KEEP, DATA = 0, 3, 1  # LLVM's words for: to be read, into all levels of the cache, not instructions


def _prefetch(typing: Any, table: Any, row: Any, column: Any) -> Any:
    """prefetch(table, row, column): the cache line of that entry of a C-contiguous table; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        i, k = (
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        place = builder.add(builder.mul(i, builder.extract_value(array.shape, 1)), k)
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        entry = builder.bitcast(builder.gep(array.data, [place]), address)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch.p0", (), ir.FunctionType(ir.VoidType(), [address, number, number, number])
        )
        builder.call(function, [entry, *(ir.Constant(number, hint) for hint in (READ, KEEP, DATA))])
        return context.get_dummy_value()

    return types.void(table, row, column), generate


prefetch: Any = intrinsic(_prefetch)
