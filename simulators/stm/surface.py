"""Surfaces that a tip can look at: a sheet with its electrons, a film with its heights.

Both give a `CurrentField`, the current at any place for one bias and one tip, which is what images
(`CurrentField.topograph`), and the microscope's loop (`scan`) are made from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.broadening import Broadening
from twinloop.simulators.stm.density_of_states import eigenstates
from twinloop.simulators.stm.scan_kernel import log_currents, solve_heights
from twinloop.simulators.stm.tersoff_hamann import (
    CONDUCTANCE_NA_PER_V,
    CONTACT_A,
    Waves,
    decay_per_A,
)
from twinloop.simulators.stm.tight_binding import TightBinding
from twinloop.simulators.stm.tip import Tip

__all__ = ["CurrentField", "Film", "Sheet"]

LEVELS_A = np.arange(2.5, 12.51, 0.5)
"""Heights at which the current above a sheet is tabulated [A]; outside it goes on as an
exponential."""

BACKGROUND_PER_EV = 2.0e-4
"""Density of states at contact that a sheet's support and inelastic channels add [1/eV]: a stand-in.
Without it the current over graphene's hollows is nil at low bias, by symmetry, and a real loop
would drive the tip into the sheet (phonons open such channels: Zhang et al., Nature Phys. 4, 627
(2008), doi:10.1038/nphys1022)."""

LOWEST_A = 0.5
"""Where a topograph ends if the set point is not reached [A]: inside the sheet."""

SHARP = Tip()

EMPTY_3, EMPTY_2 = np.zeros((0, 0, 0)), np.zeros((0, 0))


@dataclass(frozen=True, eq=False, slots=True)
class CurrentField:
    """The current between a tip and a surface at one bias, anywhere.

    Args:
        is_film: which of the next two it reads.
        table: ln |I / nA| over the box of a sheet, shape (levels, P1, P2).
        tops_A: height of the top atom of each site of a film, shape (n1, n2) [A].
        numbers: geometry (see `scan_kernel`).
        apexes: of the tip (see `Tip.table`), shape (a, 4).
        sign: of the current, 1 or -1.
        decay_per_A: kappa of the mean barrier [1/A].

    Example:
        >>> flat = Film(np.zeros((8, 8))).field(bias_V=1.0)
        >>> low_nA, high_nA = flat.currents_nA([[0.0, 0.0, 7.0], [0.0, 0.0, 8.0]])
        >>> round(float(np.log10(low_nA / high_nA)), 2)
        0.96
    """

    is_film: bool
    table: NDArray[np.float64]
    tops_A: NDArray[np.float64]
    numbers: NDArray[np.float64]
    apexes: NDArray[np.float64]
    sign: float
    decay_per_A: float

    def currents_nA(self, points_A: ArrayLike) -> NDArray[np.float64]:
        """Return the current at points (..., 3), shape (...) [nA]."""
        points = np.asarray(points_A, dtype=np.float64)
        logs = self._logs(points.reshape(-1, 3))[:, 0]
        return self.sign * np.exp(logs).reshape(points.shape[:-1])

    def slopes_per_A(self, points_A: ArrayLike) -> NDArray[np.float64]:
        """Return d ln|I| / dz at points (..., 3), shape (...) [1/A]."""
        points = np.asarray(points_A, dtype=np.float64)
        return self._logs(points.reshape(-1, 3))[:, 1].reshape(points.shape[:-1])

    def topograph_A(
        self, x_A: NDArray[np.float64], y_A: NDArray[np.float64], *, setpoint_nA: float
    ) -> NDArray[np.float64]:
        """Return the height of constant current at each place, the shape of x_A and y_A [A].

        Args:
            x_A: any shape [A].
            y_A: the same shape [A].
            setpoint_nA: absolute value of the current to hold [nA], > 0.

        Raises:
            ArgumentError: a set point that is not positive.
        """
        if not setpoint_nA > 0:
            raise ArgumentError("setpoint_nA", setpoint_nA, "a number > 0 nA")
        top_A = float(self.tops_A.max()) if self.is_film else 0.0
        start_A = np.full(x_A.shape, top_A + 10.0)
        points = np.stack([x_A, y_A, start_A], axis=-1).reshape(-1, 3)
        lowest_A = float(self.tops_A.min()) if self.is_film else LOWEST_A
        heights_A = solve_heights(
            points, float(np.log(setpoint_nA)), lowest_A, int(self.is_film), self.table,
            self.tops_A, self.numbers, self.apexes,
        )  # fmt: skip
        return heights_A.reshape(x_A.shape)

    def _logs(self, points_A: NDArray[np.float64]) -> NDArray[np.float64]:
        return log_currents(
            np.ascontiguousarray(points_A), int(self.is_film), self.table, self.tops_A,
            self.numbers, self.apexes,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Film:
    """A surface as growth leaves it: heights on a square mesh, one atom on top of each column.

    Each top atom adds exp(-2 kappa r) / r to the current, the tail whose sum over a flat terrace
    falls exactly with 2 kappa and whose corrugation falls as Tersoff and Hamann's. It knows no
    electronic structure: the current is proportional to the bias.

    Args:
        heights_ML: shape (n1, n2), integers or not; it repeats at its edges [ML].
        lattice_A: distance of neighbouring columns [A].
        step_A: height of a monolayer [A].
        work_function_eV: of the sample [eV].

    Raises:
        ArgumentError: heights that are not a mesh, or a length that is not positive.

    Example:
        >>> film = Film(np.eye(16), lattice_A=4.0, step_A=2.8)
        >>> film.field(bias_V=1.0).tops_A.max()
        np.float64(2.8)
    """

    heights_ML: NDArray[np.float64]
    lattice_A: float = 4.0
    step_A: float = 2.8
    work_function_eV: float = 4.5

    def __post_init__(self) -> None:
        if self.heights_ML.ndim != 2 or self.heights_ML.size == 0:
            raise ArgumentError("heights_ML", self.heights_ML.shape, "the shape (n1, n2)")
        if not bool(np.isfinite(self.heights_ML).all()):
            raise ArgumentError("heights_ML", "not finite", "finite numbers")
        for name in ("lattice_A", "step_A", "work_function_eV"):
            if not getattr(self, name) > 0:
                raise ArgumentError(name, getattr(self, name), "a number > 0")

    @property
    def extent_A(self) -> tuple[float, float]:
        """Edges of the mesh along x and y [A]."""
        n1, n2 = self.heights_ML.shape
        return n1 * self.lattice_A, n2 * self.lattice_A

    def field(self, *, bias_V: float, tip: Tip = SHARP) -> CurrentField:
        """Return the current at this bias with this tip.

        Raises:
            ArgumentError: a bias of 0 or beyond 10 V.
        """
        _check_bias(bias_V)
        kappa = decay_per_A(0.5 * (self.work_function_eV + tip.work_function_eV))
        # One atom at contact passes one conductance quantum.
        log_scale = np.log(CONDUCTANCE_NA_PER_V * abs(bias_V) * CONTACT_A) + 2 * kappa * CONTACT_A
        reach = np.ceil((8.0 + 2.0 * np.sqrt(4.0 + tip.radius_A)) / self.lattice_A)
        return CurrentField(
            True,
            EMPTY_3,
            np.ascontiguousarray(self.heights_ML * self.step_A, dtype=np.float64),
            np.array([self.lattice_A, kappa, log_scale, reach]),
            tip.table(kappa),
            float(np.sign(bias_V)),
            kappa,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Sheet:
    """A crystal's box with the states that carry tunnelling current.

    Args:
        waves: states, from `Sheet.of`.
        window_eV: energies from the Fermi level that the states cover [eV].
        fermi_eV: Fermi level on the model's scale [eV].
        broadening: of levels and spectra.
        background_per_eV: density of a featureless support that shines through, at contact [1/eV].

    Example:
        >>> from twinloop.simulators.stm.graphene import graphene
        >>> sheet = Sheet.of(graphene((6, 4)), window_eV=(-1.0, 1.0))
        >>> field = sheet.field(bias_V=0.5)
        >>> field.table.shape[0]
        21
    """

    waves: Waves
    window_eV: tuple[float, float]
    fermi_eV: float
    broadening: Broadening
    background_per_eV: float

    @classmethod
    def of(
        cls,
        box: TightBinding,
        *,
        window_eV: tuple[float, float],
        fermi_eV: float = 0.0,
        work_function_eV: float = 4.5,
        broadening: Broadening | None = None,
        waves_per_A: Sequence[ArrayLike] = ((0.0, 0.0),),
        background_per_eV: float = BACKGROUND_PER_EV,
    ) -> "Sheet":
        """Return a sheet with the states of an energy window.

        Args:
            box: with its defects.
            window_eV: lowest and highest energy from the Fermi level [eV]; biases stay inside it.
            fermi_eV: Fermi level on the model's scale [eV].
            work_function_eV: of the sample [eV].
            broadening: None: 4.2 K, 10 meV, 5 mV.
            waves_per_A: wave vectors of the box to average over [1/A].
            background_per_eV: see the class.

        Raises:
            ArgumentError: an empty window, or a negative background.
        """
        if not background_per_eV >= 0:
            raise ArgumentError("background_per_eV", background_per_eV, "a number >= 0 1/eV")
        blur = Broadening() if broadening is None else broadening
        low_eV, high_eV = window_eV
        # Levels a little outside still reach in by their width.
        margin_eV = 4.0 * blur.full_width_eV()
        share = 1.0 / len(waves_per_A)
        states = tuple(
            eigenstates(
                box,
                window_eV=(fermi_eV + low_eV - margin_eV, fermi_eV + high_eV + margin_eV),
                k_per_A=wave,
                weight=share,
            )
            for wave in waves_per_A
        )
        waves = Waves(box, states, work_function_eV)
        return cls(waves, window_eV, fermi_eV, blur, background_per_eV)

    @property
    def extent_A(self) -> tuple[float, float]:
        """Lengths of the box's edges [A]."""
        first_A, second_A = np.linalg.norm(self.waves.box.cell_A, axis=1)
        return float(first_A), float(second_A)

    def field(self, *, bias_V: float, tip: Tip = SHARP, pitch_A: float = 0.25) -> CurrentField:
        """Return the current at this bias with this tip, tabulated over the box.

        Args:
            bias_V: of the sample [V]; positive: into empty states.
            tip: its barrier counts half.
            pitch_A: spacing of the table in the plane [A].

        Raises:
            ArgumentError: a bias outside the window, or no state to tunnel into.
        """
        _check_bias(bias_V)
        self._check_inside("bias_V", bias_V)
        waves = self._with(tip)
        kappa = decay_per_A(waves.work_function_eV)
        weights = [
            np.abs(self.broadening.window(s.energies_eV - self.fermi_eV, bias_V=bias_V))
            for s in waves.states
        ]
        grid = _grid(self.extent_A, pitch_A)
        levels_A = LEVELS_A
        densities = waves.densities(weights, levels_A, grid)
        support = self.background_per_eV * abs(bias_V)
        densities += (support * np.exp(-2.0 * kappa * (levels_A - CONTACT_A)))[:, None, None]
        if not densities.max() > 0.0:
            raise ArgumentError("bias_V", bias_V, "a bias with states between 0 and it (a gap)")
        # A node of every state would be ln 0.
        floor = 1e-7 * densities.max(axis=(1, 2), keepdims=True)
        inverse = np.linalg.inv(waves.box.cell_A.T)
        return CurrentField(
            False,
            np.log(CONDUCTANCE_NA_PER_V * np.maximum(densities, floor)),
            EMPTY_2,
            np.array([levels_A[0], levels_A[1] - levels_A[0], *inverse.ravel()]),
            tip.table(kappa),
            float(np.sign(bias_V)),
            kappa,
        )

    def conductances_nA_per_V(
        self, points_A: ArrayLike, biases_V: NDArray[np.float64], *, tip: Tip = SHARP
    ) -> NDArray[np.float64]:
        """Return dI/dV at points, as a lock-in sees it, shape (p, v) [nA/V].

        Args:
            points_A: places of the tip, shape (p, 3) [A].
            biases_V: shape (v,) [V].
            tip: of any shape.

        Raises:
            ArgumentError: biases outside the window.
        """
        return self._sum(points_A, biases_V, tip, is_current=False)

    def currents_nA(
        self, points_A: ArrayLike, biases_V: NDArray[np.float64], *, tip: Tip = SHARP
    ) -> NDArray[np.float64]:
        """Return I(V) at points, without a table, shape (p, v) [nA]; see `conductances_nA_per_V`."""
        return self._sum(points_A, biases_V, tip, is_current=True)

    def _sum(
        self, points_A: ArrayLike, biases_V: NDArray[np.float64], tip: Tip, *, is_current: bool
    ) -> NDArray[np.float64]:
        for bias_V in (float(biases_V.min()), float(biases_V.max())):
            self._check_inside("biases_V", bias_V)
        waves = self._with(tip)
        kappa = decay_per_A(waves.work_function_eV)
        points = np.asarray(points_A, dtype=np.float64).reshape(-1, 3)
        lines = [self._lines(s.energies_eV, biases_V, is_current) for s in waves.states]
        total = np.zeros((points.shape[0], biases_V.size))
        for x_A, y_A, z_A, log_weight in tip.table(kappa):
            shifted = points + np.array([x_A, y_A, z_A])
            found = waves.amplitudes(shifted)
            for states, amplitudes, line in zip(waves.states, found, lines, strict=True):
                density = np.abs(amplitudes.T) ** 2
                total += np.exp(log_weight) * states.weight * (density @ line)
            support = np.exp(log_weight - 2.0 * kappa * (shifted[:, 2] - CONTACT_A))
            rise = biases_V if is_current else np.ones_like(biases_V)
            total += self.background_per_eV * np.outer(support, rise)
        return CONDUCTANCE_NA_PER_V * total

    def _lines(
        self, energies_eV: NDArray[np.float64], biases_V: NDArray[np.float64], is_current: bool
    ) -> NDArray[np.float64]:
        """Return what each level adds at each bias, shape (s, v)."""
        apart_eV = (energies_eV - self.fermi_eV)[:, None] - biases_V[None, :]
        if is_current:
            filled = self.broadening.occupation(energies_eV - self.fermi_eV)
            return self.broadening.occupation(apart_eV) - filled[:, None]
        return self.broadening.derivative(apart_eV)

    def _with(self, tip: Tip) -> Waves:
        mean_eV = 0.5 * (self.waves.work_function_eV + tip.work_function_eV)
        return replace(self.waves, work_function_eV=mean_eV)

    def _check_inside(self, name: str, bias_V: float) -> None:
        low_eV, high_eV = self.window_eV
        if not low_eV <= bias_V <= high_eV:
            raise ArgumentError(name, bias_V, f"{low_eV:g} to {high_eV:g} V, the sheet's window")


def _check_bias(bias_V: float) -> None:
    if not 0.0 < abs(bias_V) <= 10.0:
        raise ArgumentError("bias_V", bias_V, "a number within 10 V, not 0")


def _grid(extent_A: tuple[float, float], pitch_A: float) -> tuple[int, int]:
    """Return a number of points along each edge that suits an FFT."""
    first, second = (
        int(scipy.fft.next_fast_len(max(8, int(np.ceil(e / pitch_A))))) for e in extent_A
    )
    return first, second
