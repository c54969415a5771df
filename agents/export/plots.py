"""Which arrays of a result belong into one picture, and along which axes.

A plot is a signal with an axis for each of its dimensions. The results of the contracts that come
with twinloop are named here; arrays of another instrument find their axes by shape: lengths called
`y_*` and `x_*` along the last two dimensions of an image, any other array of the right length along
a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from twinloop.agents.export.quantities import deviation_of

__all__ = ["Plot", "plots_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture.

    Args:
        signal: name of the array that is shown.
        axes: for each dimension the name of its axis; "" where it is counted in pixels.
        beside: arrays that stand along one of the axes as well: name and dimension.
        is_counted: independent counts, whose deviation is their square root.
    """

    signal: str
    axes: tuple[str, ...]
    beside: tuple[tuple[str, int], ...] = ()
    is_counted: bool = False


_IMAGE = ("y_A", "x_A")
# arrays by which a result is known -> its plots, the one to open first at the beginning
_KNOWN: tuple[tuple[frozenset[str], tuple[Plot, ...]], ...] = (
    (  # STM: Scan
        frozenset({"z_forward_A", "z_backward_A", "x_A", "y_A"}),
        (
            Plot("z_forward_A", _IMAGE, (("line_start_s", 0),)),
            Plot("z_backward_A", _IMAGE, (("line_start_s", 0),)),
            Plot("current_forward_nA", _IMAGE, (("line_start_s", 0),)),
            Plot("current_backward_nA", _IMAGE, (("line_start_s", 0),)),
            Plot("check_z_A", ("x_A",)),
        ),
    ),
    (  # STM: Grid
        frozenset({"bias_V", "current_nA", "dIdV_nS", "z_A", "x_A", "y_A"}),
        (
            Plot("dIdV_nS", (*_IMAGE, "bias_V")),
            Plot("current_nA", (*_IMAGE, "bias_V")),
            Plot("z_A", _IMAGE),
        ),
    ),
    (  # STM: Spectrum
        frozenset({"bias_V", "current_nA", "dIdV_nS"}),
        (Plot("dIdV_nS", ("bias_V",)), Plot("current_nA", ("bias_V",))),
    ),
    (frozenset({"z_A", "path_A"}), (Plot("z_A", ("path_A",)),)),  # STM: Manipulated
    (  # STEM: Micrograph
        frozenset({"counts", "is_acquired", "x_A", "y_A"}),
        (Plot("counts", _IMAGE), Plot("is_acquired", _IMAGE)),
    ),
    (  # STEM: Diffraction; both sides of the camera have the same angles
        frozenset({"patterns", "x_A", "y_A", "angle_mrad"}),
        (Plot("patterns", ("", "angle_mrad", "angle_mrad"), (("x_A", 0), ("y_A", 0))),),
    ),
    (frozenset({"energy_keV", "counts"}), (Plot("counts", ("energy_keV",), is_counted=True),)),
    (frozenset({"two_theta_deg", "counts"}), (Plot("counts", ("two_theta_deg",), (), True),)),
    (frozenset({"omega_deg", "counts"}), (Plot("counts", ("omega_deg",), is_counted=True),)),
    (frozenset({"time_s", "intensity"}), (Plot("intensity", ("time_s",)),)),  # RHEED: Trace
)


def plots_of(shapes: Mapping[str, Shape]) -> list[Plot]:
    """Return the plots of a result, the one to open first at the beginning.

    Args:
        shapes: of its arrays, by name. Each array that is no axis of another is in a plot.
    """
    planned: tuple[Plot, ...] = ()
    for names, plots in _KNOWN:
        if names <= set(shapes):
            planned = plots
            break
    found = [fitting(p, shapes) for p in planned if p.signal in shapes and _size(shapes[p.signal])]
    used = {p.signal for p in planned}
    used |= {name for p in planned for name in (*p.axes, *(b for b, _ in p.beside))}
    rest = {name: shape for name, shape in shapes.items() if name not in used}
    return found + _by_shape(rest, shapes)


def fitting(plot: Plot, shapes: Mapping[str, Shape]) -> Plot:
    """Return a plot without the axes that do not fit the array.

    Of a measurement that was cut short the axis may be longer than what was reached: its beginning
    fits the first dimension, along which time goes.
    """
    shape = shapes[plot.signal]
    named = (*plot.axes, *("",) * len(shape))[: len(shape)]
    axes = tuple(
        name if _fits(shapes.get(name), side, is_first=dimension == 0) else ""
        for dimension, (name, side) in enumerate(zip(named, shape, strict=True))
    )
    beside = tuple(
        (n, d) for n, d in plot.beside if d < len(shape) and shapes.get(n) == (shape[d],)
    )
    return Plot(plot.signal, axes, beside, plot.is_counted)


def _fits(axis: Shape | None, side: int, *, is_first: bool) -> bool:
    if axis is None or len(axis) != 1:
        return False
    return axis[0] == side or (is_first and axis[0] > side)


def _by_shape(rest: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> list[Plot]:
    deviations = {deviation_of(n, rest) for n in rest}
    signals = {
        n: s
        for n, s in rest.items()
        if s and _size(s) and n not in deviations and not _is_axis(n, rest)
    }
    images = sorted(signals, key=lambda n: -len(signals[n]))
    return [Plot(name, _axes(name, signals[name], shapes)) for name in images]


def _is_axis(name: str, rest: Mapping[str, Shape]) -> bool:
    """Return True for a line that stands along an array of more dimensions, or is named as an axis."""
    shape = rest[name]
    if len(shape) != 1 or not name.startswith(_AXIS_WORDS):
        return False
    return any(shape[0] in other and n != name for n, other in rest.items())


_AXIS_WORDS = (
    *("x_", "y_", "time_", "energy_", "angle_", "two_theta_", "omega_", "bias_", "wavelength_"),
    *("frequency_", "path_", "position_"),
)


def _axes(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    lines = [
        n for n, s in shapes.items() if len(s) == 1 and n != name and n.startswith(_AXIS_WORDS)
    ]
    found = [""] * len(shape)
    if len(shape) >= 2:
        for start, dimension in (("y_", len(shape) - 2), ("x_", len(shape) - 1)):
            found[dimension] = next(
                (n for n in lines if n.startswith(start) and shapes[n] == (shape[dimension],)), ""
            )
    for dimension, side in enumerate(shape):
        if not found[dimension]:
            fitting_lines = [
                n
                for n in lines
                if shapes[n] == (side,)
                and n not in found
                and (len(shape) == 1 or not n.startswith(("x_", "y_")))
            ]
            found[dimension] = fitting_lines[0] if len(fitting_lines) == 1 else ""
    return tuple(found)


def _size(shape: Shape) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
