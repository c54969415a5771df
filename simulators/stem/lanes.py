"""Fourier transforms of eight waves side by side, and the two passes of a slice, for CPUs.

A batch of waves lies in memory with the wave as its fastest index, eight real parts, then eight
imaginary parts: each instruction serves eight waves, and no number is ever shuffled. A column or a row
stays in the innermost cache while it is transformed, multiplied and transformed back. One transform
leaves its result in scrambled order (decimation in frequency), its inverse reads that order
(decimation in time), so that no pass is spent on sorting; what stands between them is scrambled once,
beforehand. Compilers do not find this arrangement by themselves: the butterflies are written as vector
instructions, in LLVM's language, which is any CPU's.

Source: Gentleman & Sande, AFIPS Conf. Proc. 29, 563 (1966), doi:10.1145/1464291.1464352 (decimation in
frequency); Cooley & Tukey, Math. Comput. 19, 297 (1965), doi:10.1090/S0025-5718-1965-0178586-1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from twinloop.simulators.compiled import compiled

__all__ = ["LANES", "RADICES", "across", "along", "pack", "reap", "sow", "unpack"]

LANES = 8
"""Waves side by side: one register of eight single-precision numbers."""

RADICES = (5, 3, 4, 2)
"""Prime factors of a transform, in the order in which they are split off; 4 stands for 2 x 2."""

PLACE = 2 * LANES
"""Numbers of one point: the real and the imaginary parts of its lanes."""

ARITHMETIC = ("contract", "nsz")
"""A product and a sum may become one instruction; nothing else is left to the compiler."""


class _Complex:
    """Lanes of complex numbers in code that is being written: `a + b` writes an addition."""

    def __init__(self, build: Any, re: Any, im: Any) -> None:
        self._build, self.re, self.im = build, re, im

    def __add__(self, other: "_Complex") -> "_Complex":
        add = self._build.fadd
        return self._made(add(self.re, other.re, ARITHMETIC), add(self.im, other.im, ARITHMETIC))

    def __sub__(self, other: "_Complex") -> "_Complex":
        less = self._build.fsub
        return self._made(less(self.re, other.re, ARITHMETIC), less(self.im, other.im, ARITHMETIC))

    def __mul__(self, other: "_Complex") -> "_Complex":
        b = self._build
        parts = ((self.re, other.re), (self.im, other.im), (self.re, other.im), (self.im, other.re))
        rr, ii, ri, ir_ = (b.fmul(one, two, ARITHMETIC) for one, two in parts)
        return self._made(b.fsub(rr, ii, ARITHMETIC), b.fadd(ri, ir_, ARITHMETIC))

    def scaled(self, factor: float) -> "_Complex":
        """Return it times a real number."""
        number = ir.Constant(self.re.type, [float(factor)] * LANES)
        b = self._build
        return self._made(*(b.fmul(part, number, ARITHMETIC) for part in (self.re, self.im)))

    def turned(self, sign: int) -> "_Complex":
        """Return it times sign * i."""
        minus = self._build.fneg
        return (
            self._made(minus(self.im), self.re) if sign > 0 else self._made(self.im, minus(self.re))
        )

    def _made(self, re: Any, im: Any) -> "_Complex":
        return _Complex(self._build, re, im)


class _Memory:
    """An array of lanes, or of single complex numbers, in code that is being written."""

    def __init__(self, context: Any, build: Any, kind: Any, value: Any) -> None:
        self._build = build
        self._data = context.make_array(kind)(context, build, value).data
        self._real = context.get_data_type(kind.dtype)
        self._bytes = kind.dtype.bitwidth // 8

    def load(self, point: Any) -> _Complex:
        """Return the lanes of a point."""
        re, im = (self._build.load(at, align=self._bytes) for at in self._parts(point))
        return _Complex(self._build, re, im)

    def store(self, point: Any, lanes: _Complex) -> None:
        """Write the lanes of a point."""
        for at, part in zip(self._parts(point), (lanes.re, lanes.im), strict=True):
            self._build.store(part, at, align=self._bytes)

    def spread(self, index: Any) -> _Complex:
        """Return one complex number in every lane."""
        b = self._build
        first = b.mul(index, index.type(2))
        places = (first, b.add(first, index.type(1)))
        return _Complex(b, *(self._everywhere(b.load(b.gep(self._data, [at]))) for at in places))

    def _parts(self, point: Any) -> list[Any]:
        b, vector = self._build, ir.VectorType(self._real, LANES).as_pointer()
        first = b.mul(point, point.type(PLACE))
        places = (first, b.add(first, point.type(LANES)))
        return [b.bitcast(b.gep(self._data, [at]), vector) for at in places]

    def _everywhere(self, number: Any) -> Any:
        empty = ir.Constant(ir.VectorType(self._real, LANES), ir.Undefined)
        one = self._build.insert_element(empty, number, ir.IntType(32)(0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self._build.shuffle_vector(one, empty, first)


def _transformed(x: list[_Complex], sign: int) -> list[_Complex]:
    """Return sum_m x_m exp(sign 2 pi i m k / r) for each k, r = 2, 3, 4 or 5."""
    if len(x) == 2:
        return [x[0] + x[1], x[0] - x[1]]
    if len(x) == 3:
        both, apart = x[1] + x[2], (x[1] - x[2]).scaled(math.sqrt(0.75)).turned(sign)
        middle = x[0] - both.scaled(0.5)
        return [x[0] + both, middle + apart, middle - apart]
    if len(x) == 4:
        even, odd = (x[0] + x[2], x[0] - x[2]), (x[1] + x[3], (x[1] - x[3]).turned(sign))
        return [even[0] + odd[0], even[1] + odd[1], even[0] - odd[0], even[1] - odd[1]]
    (c1, s1), (c2, s2) = ((math.cos(a), math.sin(a)) for a in (0.4 * math.pi, 0.8 * math.pi))
    near, far = (x[1] + x[4], x[1] - x[4]), (x[2] + x[3], x[2] - x[3])
    one = x[0] + near[0].scaled(c1) + far[0].scaled(c2)
    two = x[0] + near[0].scaled(c2) + far[0].scaled(c1)
    by_one = (near[1].scaled(s1) + far[1].scaled(s2)).turned(sign)
    by_two = (near[1].scaled(s2) - far[1].scaled(s1)).turned(sign)
    return [x[0] + near[0] + far[0], one + by_one, two + by_two, two - by_two, one - by_one]


def _butterfly(radix: int, *, scrambles: bool) -> Any:
    """Return a kernel (buffer, start, step, turns, at): one butterfly of points `step` apart, in place.

    Args:
        radix: points.
        scrambles: transform, then turn: exp(+i), a stage of natural to scrambled order; or the
            adjoint of it: turn, then transform.
    """

    def declare(_: Any, buffer: Any, _start: Any, _step: Any, turns: Any, _at: Any) -> Any:
        signature = types.void(buffer, types.intp, types.intp, turns, types.intp)

        def write(context: Any, build: Any, seen: Any, given: Any) -> Any:
            memory = _Memory(context, build, seen.args[0], given[0])
            factors = _Memory(context, build, seen.args[3], given[3])
            places = [given[1]]
            while len(places) < radix:
                places.append(build.add(places[-1], given[2]))
            lanes = [memory.load(place) for place in places]
            angles = [
                factors.spread(build.add(given[4], given[4].type(k))) for k in range(radix - 1)
            ]
            if scrambles:
                lanes = _transformed(lanes, +1)
            lanes[1:] = [lane * angle for lane, angle in zip(lanes[1:], angles, strict=True)]
            if not scrambles:
                lanes = _transformed(lanes, -1)
            for place, lane in zip(places, lanes, strict=True):
                memory.store(place, lane)
            return context.get_dummy_value()

        return signature, write

    return intrinsic(declare)


def _declare_move(_: Any, to: Any, _i: Any, source: Any, _j: Any) -> Any:
    def write(context: Any, build: Any, seen: Any, given: Any) -> Any:
        there, here = (_Memory(context, build, seen.args[k], given[k]) for k in (0, 2))
        there.store(given[1], here.load(given[3]))
        return context.get_dummy_value()

    return types.void(to, types.intp, source, types.intp), write


def _declare_multiply(_: Any, buffer: Any, _i: Any, factors: Any, _j: Any) -> Any:
    def write(context: Any, build: Any, seen: Any, given: Any) -> Any:
        lanes, numbers = (_Memory(context, build, seen.args[k], given[k]) for k in (0, 2))
        lanes.store(given[1], lanes.load(given[1]) * numbers.spread(given[3]))
        return context.get_dummy_value()

    return types.void(buffer, types.intp, factors, types.intp), write


_move: Callable[..., None] = intrinsic(_declare_move)
_multiply: Callable[..., None] = intrinsic(_declare_multiply)
_sow2, _sow3, _sow4, _sow5 = (_butterfly(radix, scrambles=True) for radix in (2, 3, 4, 5))
_reap2, _reap3, _reap4, _reap5 = (_butterfly(radix, scrambles=False) for radix in (2, 3, 4, 5))

Reals = NDArray[np.float32]
Whole = NDArray[np.int64]


@compiled
def sow(buffer: Reals, radices: Whole, turns: Reals) -> None:
    """Transform a buffer of n points, in place: sum_k x_k exp(+2 pi i k m / n), scrambled order.

    Args:
        buffer: n points of lanes, shape (n * PLACE,).
        radices: factors of n, from `RADICES`.
        turns: of each stage, complex numbers as pairs; see `lane_path.Axis`.
    """
    n = buffer.size // PLACE
    size, base = n, 0
    for radix in radices:
        step = size // radix
        for j in range(step):
            at = base + j * (radix - 1)
            if radix == 4:
                for start in range(j, n, size):
                    _sow4(buffer, start, step, turns, at)
            elif radix == 5:
                for start in range(j, n, size):
                    _sow5(buffer, start, step, turns, at)
            elif radix == 3:
                for start in range(j, n, size):
                    _sow3(buffer, start, step, turns, at)
            else:
                for start in range(j, n, size):
                    _sow2(buffer, start, step, turns, at)
        size = step
        base += step * (radix - 1)


@compiled
def reap(buffer: Reals, radices: Whole, turns: Reals) -> None:
    """Undo `sow`, in place, but for a factor n: scrambled order to natural, exp(-i).

    Arguments as in `sow`; `turns` are conjugate.
    """
    n = buffer.size // PLACE
    size, base = 1, turns.size // 2
    for radix in radices[::-1]:
        step = size
        size = step * radix
        base -= step * (radix - 1)
        for j in range(step):
            at = base + j * (radix - 1)
            if radix == 4:
                for start in range(j, n, size):
                    _reap4(buffer, start, step, turns, at)
            elif radix == 5:
                for start in range(j, n, size):
                    _reap5(buffer, start, step, turns, at)
            elif radix == 3:
                for start in range(j, n, size):
                    _reap3(buffer, start, step, turns, at)
            else:
                for start in range(j, n, size):
                    _reap2(buffer, start, step, turns, at)


@compiled
def along(
    waves: Reals,
    row: Reals,
    slice_: Reals,
    positive: int,
    kept: int,
    radices: Whole,
    turns: Reals,
    conjugate: Reals,
) -> None:
    """Take waves through one slice, row by row: transform along y, multiply, transform back.

    Args:
        waves: x scrambled, y in frequencies inside the band, shape (nx * kept * PLACE,); in place.
        row: scratch, shape (ny * PLACE,).
        slice_: transmission, scrambled along both axes, shape (2 nx ny,).
        positive: how many of the frequencies kept are >= 0.
        kept: how many there are.
        radices: of ny.
        turns: of `sow`.
        conjugate: of `reap`.
    """
    ny = row.size // PLACE
    gap = ny - kept
    for x in range(waves.size // (kept * PLACE)):
        base = x * kept
        for k in range(positive):
            _move(row, k, waves, base + k)
        for k in range(positive, kept):
            _move(row, gap + k, waves, base + k)
        row[positive * PLACE : (positive + gap) * PLACE] = 0.0
        sow(row, radices, turns)
        for y in range(ny):
            _multiply(row, y, slice_, x * ny + y)
        reap(row, radices, conjugate)
        for k in range(positive):
            _move(waves, base + k, row, k)
        for k in range(positive, kept):
            _move(waves, base + k, row, gap + k)


@compiled
def across(
    waves: Reals,
    columns: Reals,
    propagator: Reals,
    kept: int,
    radices: Whole,
    turns: Reals,
    conjugate: Reals,
    is_last: bool,
) -> None:
    """Propagate waves, column by column: transform along x, multiply, transform back.

    Args:
        waves: as in `along`; in place.
        columns: scratch for two columns: neighbours share the lines of the cache, (2 nx PLACE,).
        propagator: by frequency kept along y, then along x, shape (2 kept nx,).
        kept: see `along`.
        radices: of nx.
        turns: of `sow`.
        conjugate: of `reap`.
        is_last: leave x in frequencies, in natural order.
    """
    nx = columns.size // (2 * PLACE)
    for first in range(0, kept, 2):
        both = min(2, kept - first)
        for x in range(nx):
            for c in range(both):
                _move(columns, c * nx + x, waves, x * kept + first + c)
        for c in range(both):
            column = columns[c * nx * PLACE : (c + 1) * nx * PLACE]
            reap(column, radices, conjugate)
            for x in range(nx):
                _multiply(column, x, propagator, (first + c) * nx + x)
            if not is_last:
                sow(column, radices, turns)
        for x in range(nx):
            for c in range(both):
                _move(waves, x * kept + first + c, columns, c * nx + x)


@compiled
def pack(
    plain: NDArray[np.complex64],
    waves: Reals,
    column: Reals,
    positive: int,
    kept: int,
    radices: Whole,
    turns: Reals,
) -> None:
    """Lay up to eight waves side by side, their x transformed to places, scrambled.

    Args:
        plain: in frequencies, shape (n, nx, ny), n <= LANES; lanes beyond n are 0.
        waves: written; see `along`.
        column: scratch, shape (nx * PLACE,).
        positive: see `along`.
        kept: see `along`.
        radices: of nx.
        turns: of `sow`.
    """
    n, nx, ny = plain.shape
    for k in range(kept):
        y = k if k < positive else ny - kept + k
        column[:] = 0.0
        for x in range(nx):
            for lane in range(n):
                column[x * PLACE + lane] = plain[lane, x, y].real
                column[x * PLACE + LANES + lane] = plain[lane, x, y].imag
        sow(column, radices, turns)
        for x in range(nx):
            _move(waves, x * kept + k, column, x)


@compiled
def unpack(waves: Reals, plain: NDArray[np.complex64], positive: int, kept: int) -> None:
    """Write waves in frequencies back one by one; 0 outside the band. Arguments as in `pack`."""
    n, nx, ny = plain.shape
    plain[:] = 0.0
    for x in range(nx):
        for k in range(kept):
            y = k if k < positive else ny - kept + k
            for lane in range(n):
                at = (x * kept + k) * PLACE + lane
                plain[lane, x, y] = complex(waves[at], waves[at + LANES])
