"""Inner loop of `training.row_kernel`: the errors of a row's pairs, eight pairs at a time, as LLVM's own vectors.

With Numba's own vectorization much of the time is overhead: a reduction to one number per pair, an overlap check of
arrays, a tail per loop. Here eight dot products are reduced together to one vector with eight errors as lanes, and
remainders of the pairs or of d use the same code with the other lanes masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

GROUP = 8  # pairs at a time
WIDTH = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # numbers in a vector
AHEAD = 12  # pairs whose factors are prefetched: with more, the cache evicts them before their use
LINE = 16  # float32 numbers in a cache line
READ, KEEP, DATA = 0, 3, 1  # LLVM's constants: for reading, into all levels of the cache, data
CONTRACT = ("contract", "nsz")  # allows fused multiply-add

WORD, LONG, FLOAT, DOUBLE = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
ROW, LANES, TOTALS = ir.VectorType(FLOAT, WIDTH), ir.VectorType(FLOAT, GROUP), ir.VectorType(DOUBLE, GROUP)
Work = Callable[[ir.Value, ir.Value | None], None]
variable: Any = cgutils.alloca_once  # the compiler turns it into a register


def _add_errors(
    typing: Any, columns: Any, begin: Any, end: Any, weights: Any, fixed: Any, x: Any, target: Any, out: Any,
    wanted: Any, far: Any,
) -> Any:  # fmt: skip
    """Compute Σ w (target - x·y)² over the pairs begin .. end - 1; on request, out += Σ w (target - x·y) y.

    columns: of all rows' pairs, so that the next row's factors are prefetched at the end of this row; y: their rows of
    `fixed` (n, d), C-contiguous; w: weights, as long as columns, or empty for 1; x and out: d numbers each. far: True
    if the factors are in main memory and need prefetching. Arguments are not checked.
    """
    arguments = (
        columns, types.intp, types.intp, weights, fixed, x, types.float32, out, types.boolean, types.boolean
    )  # fmt: skip
    return types.float64(*arguments), _generate


def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
    def array(place: int) -> tuple[ir.Value, ir.Value]:
        """Return an argument's memory, and the length of its last axis."""
        kind = signature.args[place]
        found = context.make_array(kind)(context, builder, arguments[place])
        return found.data, builder.extract_value(found.shape, kind.ndim - 1)

    (columns, n_columns), (weights, n_weights), (fixed, d), (x, _), (out, _) = (array(k) for k in (0, 3, 4, 5, 7))
    (begin, end), target, (wanted, far) = arguments[1:3], splat(builder, arguments[6], GROUP), arguments[8:]
    weighted = builder.icmp_signed(">", n_weights, long(0))
    last, very_last = builder.sub(end, long(1)), builder.sub(n_columns, long(1))
    whole = builder.and_(d, long(-WIDTH))
    total, scaled, *sums = (variable(builder, kind) for kind in (TOTALS, LANES, *[ROW] * GROUP))
    builder.store(ir.Constant(TOTALS, [0.0] * GROUP), total)

    def factors(first: ir.Value, limit: ir.Value) -> list[ir.Value]:
        """Return the addresses of the factors of GROUP pairs; beyond the limit, of the limit's."""
        found = []
        for lane in range(GROUP):
            pair = smaller(builder, builder.add(first, long(lane)), limit)
            column = builder.load(builder.gep(columns, [pair]))
            column = column if column.type == LONG else builder.zext(column, LONG)
            found.append(builder.gep(fixed, [builder.mul(column, d)]))
        return found

    def along(work: Work) -> None:
        """Call work(k, mask) at k = 0, WIDTH, ... below d; the mask is None except for a remainder."""
        with cgutils.for_range_slice(builder, long(0), whole, long(WIDTH), LONG) as (k, _):
            work(k, None)
        with builder.if_then(builder.icmp_signed("<", whole, d), likely=False):
            work(whole, below(builder, builder.sub(d, whole), WIDTH))

    with cgutils.for_range_slice(builder, begin, end, long(GROUP), LONG) as (i, _):
        with builder.if_then(far):
            later = factors(builder.add(i, long(AHEAD)), very_last)
            with cgutils.for_range_slice(builder, long(0), d, long(LINE), LONG) as (k, _):
                for factor in later:
                    prefetch(builder, builder.gep(factor, [k]))
        group = factors(i, last)
        for place in sums:
            builder.store(ir.Constant(ROW, [0.0] * WIDTH), place)

        def dot(k: ir.Value, mask: ir.Value | None) -> None:
            own = read(builder, x, k, ROW, mask)
            for place, factor in zip(sums, group, strict=True):
                builder.store(
                    add_product(builder, own, read(builder, factor, k, ROW, mask), builder.load(place)), place
                )

        along(dot)
        real = below(builder, builder.sub(end, i), GROUP)
        away = builder.fsub(target, fold(builder, [builder.load(place) for place in sums]))
        errors = builder.select(real, away, ir.Constant(LANES, [0.0] * GROUP))
        builder.store(errors, scaled)
        with builder.if_then(weighted):
            builder.store(builder.fmul(errors, read(builder, weights, i, LANES, real)), scaled)
        pulls = builder.load(scaled)
        squares = builder.fpext(builder.fmul(pulls, errors), TOTALS)
        builder.store(builder.fadd(builder.load(total), squares), total)
        with builder.if_then(wanted):
            each = [splat(builder, builder.extract_element(pulls, word(lane)), WIDTH) for lane in range(GROUP)]

            def add(k: ir.Value, mask: ir.Value | None) -> None:
                value = read(builder, out, k, ROW, mask)
                for pull, factor in zip(each, group, strict=True):
                    value = add_product(builder, pull, read(builder, factor, k, ROW, mask), value)
                write(builder, value, out, k, mask)

            along(add)
    result, lanes = ir.Constant(DOUBLE, 0.0), builder.load(total)
    for lane in range(GROUP):
        result = builder.fadd(result, builder.extract_element(lanes, word(lane)))
    return result


def fold(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> ir.Value:
    """Return the sums of GROUP vectors as the lanes of one: each step halves two vectors and joins them."""
    size = WIDTH  # remaining lanes of each
    while size > 1:
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True)) if len(vectors) > 1 else [(vectors[0], vectors[0])]
        lanes, half = vectors[0].type.count * min(2, len(vectors)), size // 2
        low = [start + k for start in range(0, lanes, size) for k in range(half)]
        halves = [ir.Constant(ir.VectorType(WORD, len(low)), [place + up for place in low]) for up in (0, half)]
        vectors = [builder.fadd(*(builder.shuffle_vector(a, b, half) for half in halves)) for a, b in pairs]
        size = half
    return vectors[0]


def read(builder: ir.IRBuilder, data: ir.Value, k: ir.Value, kind: ir.VectorType, mask: ir.Value | None) -> ir.Value:
    """Load the numbers from the k-th on; masked lanes are 0."""
    place = builder.bitcast(builder.gep(data, [k]), kind.as_pointer())
    if mask is None:
        return builder.load(place, align=4)
    takes = [place.type, WORD, mask.type, kind]
    load = builder.module.declare_intrinsic(f"llvm.masked.load.v{kind.count}f32.p0", (), ir.FunctionType(kind, takes))
    return builder.call(load, [place, word(4), mask, ir.Constant(kind, [0.0] * kind.count)])


def write(builder: ir.IRBuilder, value: ir.Value, data: ir.Value, k: ir.Value, mask: ir.Value | None) -> None:
    place = builder.bitcast(builder.gep(data, [k]), value.type.as_pointer())
    if mask is None:
        builder.store(value, place, align=4)
        return
    takes = [value.type, place.type, WORD, mask.type]
    store = builder.module.declare_intrinsic(
        f"llvm.masked.store.v{value.type.count}f32.p0", (), ir.FunctionType(ir.VoidType(), takes)
    )
    builder.call(store, [value, place, word(4), mask])


def prefetch(builder: ir.IRBuilder, place: ir.Value) -> None:
    """Prefetch the cache line of an address."""
    address = builder.bitcast(place, ir.IntType(8).as_pointer())
    function = builder.module.declare_intrinsic(
        "llvm.prefetch.p0", (), ir.FunctionType(ir.VoidType(), [address.type, WORD, WORD, WORD])
    )
    builder.call(function, [address, *map(word, (READ, KEEP, DATA))])


def add_product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)


def smaller(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def splat(builder: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    """Return a vector with the value in every lane."""
    nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(nothing, value, word(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(WORD, count), [0] * count))


def below(builder: ir.IRBuilder, bound: ir.Value, count: int) -> ir.Value:
    """Return the mask of `count` lanes below the bound."""
    bound = builder.trunc(smaller(builder, bound, long(count)), WORD)
    lanes = ir.Constant(ir.VectorType(WORD, count), list(range(count)))
    return builder.icmp_signed("<", lanes, splat(builder, bound, count))


def word(value: int) -> ir.Constant:
    return ir.Constant(WORD, value)


def long(value: int) -> ir.Constant:
    return ir.Constant(LONG, value)


add_errors: Any = intrinsic(_add_errors)
