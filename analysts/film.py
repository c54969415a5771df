"""One film through all its instruments: what they say together, and how good the film is.

Diffraction, tips and electron beams each see another side of a film. Three numbers say what it is: its
roughness sigma, the width w of its interface, its thickness Theta. Their joint belief is worked out on
a net of (sigma, w); the thickness stands beside it:

- RHEED, with every film: a surface of two levels has the anti-phase intensity 1 - 4 sigma^2 (Lent &
  Cohen, Surf. Sci. 139, 121 (1984), doi:10.1016/0039-6028(84)90013-2); more levels make it rougher at
  the same intensity. At glancing incidence the beam sees the topmost layers, so the interface below
  does not show; where atoms that crossed it segregate to the surface, they take their share s of the
  coherent amplitude, exp(-s w^2) with w in monolayers, and intensity cannot tell a rough film from a
  mixed one.
- What the film was held at, and how long: atoms cross the interface at nu exp(-E / kT). Without a look
  this is all that tells of w, and it is as good as nu and the thermocouple: the same for every film,
  so many films tell no more than one.
- STM: sigma. STEM: w and Theta, of one lamella. XRD: Theta, and less surely w.

The merit of a film that shall be smooth, abrupt and of the wanted thickness is

    J = exp(-(sigma / 0.4 ML)^2 / 2 - (w / 0.4 ML)^2 / 2 - ((Theta - 6 ML) / 0.8 ML)^2 / 2).

Such a film is a tunnel barrier or the wall of a quantum well: both of its sides count alike, and a step
of one monolayer on either shifts a level of a well of some nanometres by more than its width. A hot,
slow growth makes the upper side smooth and washes the lower one out.

What was not looked at is None, and leaves the belief as wide as it is.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.analysts.interface import Analyst, quantity
from twinloop.errors import ArgumentError
from twinloop.results import Result

__all__ = ["FilmAnalyst", "FilmBelief"]

ROUGHNESS_SCALE_ML = 0.4
INTERFACE_SCALE_ML = 0.4
THICKNESS_ML = 6.0
THICKNESS_SCALE_ML = 0.8

ROUGHNESS_ML = np.linspace(0.01, 1.6, 120)
INTERFACE_ML = np.geomspace(1e-3, 3.0, 160)
"""Values of roughness and of interface width on the net [ML]; each is as likely as its cell is wide,
on the scale of the belief: linear, logarithmic."""
BOLTZMANN_eV_PER_K = 8.617333262e-5


class FilmBelief(Result):
    """What is believed of a film, with standard deviations.

    Args:
        merit: J [1].
        roughness_ML: root mean square roughness [ML].
        interface_ML: standard deviation of the interface profile [ML].
        thickness_ML: [ML].
    """

    merit: float
    merit_sd: float
    roughness_ML: float
    roughness_ML_sd: float
    interface_ML: float
    interface_ML_sd: float
    thickness_ML: float
    thickness_ML_sd: float


class FilmAnalyst(Analyst, name="film"):
    """Puts together what several instruments say of one film.

    Args:
        prior_roughness_ML: mean of the exponential belief about the roughness before any look [ML].
        interdiffusion_eV: barrier of the exchange of atoms across the interface [eV].
        log_interdiffusion_rate: ln of its attempt rate [ln 1/s].
        log_interdiffusion_sd: how well ln of the exchanged part is known before a look: 0.5 of its
            rate, and 1 of a thermocouple that may be 15 K off at 720 K.
        segregation: share of the atoms that crossed the interface which diffraction meets at the
            surface [1].
        excess_ML2: variance that levels beyond two add at a smooth surface, on average [ML^2].
        excess_rough_ML2: the same where no intensity is left [ML^2].
        reproducibility: part of the merit that differs between two equal films [1].

    Example:
        >>> analyst = FilmAnalyst(segregation=1.0)
        >>> seen = {"rheed": 0.5, "rheed_sd": 0.02, "coverage_ML": 6.0, "coverage_ML_sd": 0.1}
        >>> seen |= {"substrate_K": 760.0, "hot_s": 40.0}
        >>> blind = analyst.compute("film", **seen)
        >>> known = analyst.compute("film", **seen, stm_roughness_ML=0.2, stm_roughness_ML_sd=0.02)
        >>> known.roughness_ML_sd < blind.roughness_ML_sd
        True
        >>> known.interface_ML > blind.interface_ML  # smooth, so the loss is at the interface
        True
    """

    prior_roughness_ML: float = Field(default=0.5, gt=0)
    interdiffusion_eV: float = Field(default=3.0, gt=0)
    log_interdiffusion_rate: float = 41.2
    log_interdiffusion_sd: float = Field(default=1.1, gt=0)
    segregation: float = Field(default=0.0, ge=0, le=1)
    excess_ML2: float = Field(default=0.008, gt=0)
    excess_rough_ML2: float = Field(default=0.4, gt=0)
    reproducibility: float = Field(default=0.01, ge=0)

    @quantity
    def film(
        self,
        *,
        rheed: float,
        rheed_sd: float,
        coverage_ML: float,
        coverage_ML_sd: float,
        substrate_K: float,
        hot_s: float,
        stm_roughness_ML: float | None = None,
        stm_roughness_ML_sd: float | None = None,
        xrd_thickness_ML: float | None = None,
        xrd_thickness_ML_sd: float | None = None,
        xrd_interface_ML: float | None = None,
        xrd_interface_ML_sd: float | None = None,
        stem_thickness_ML: float | None = None,
        stem_thickness_ML_sd: float | None = None,
        stem_interface_ML: float | None = None,
        stem_interface_ML_sd: float | None = None,
    ) -> FilmBelief:
        """Return the belief about a film.

        Args:
            rheed: anti-phase intensity at the end, substrate = 1.
            rheed_sd: its standard deviation.
            coverage_ML: thickness from gauge and oscillations [ML].
            coverage_ML_sd: its standard deviation.
            substrate_K: what the thermocouple read [K].
            hot_s: time at that temperature, growth and anneal [s].
            stm_roughness_ML: from a topograph [ML].
            stm_roughness_ML_sd: its standard deviation.
            xrd_thickness_ML: from fringes [ML].
            xrd_thickness_ML_sd: its standard deviation.
            xrd_interface_ML: from fringes, where they tell it [ML].
            xrd_interface_ML_sd: its standard deviation.
            stem_thickness_ML: from a lamella [ML].
            stem_thickness_ML_sd: its standard deviation.
            stem_interface_ML: from a lamella [ML].
            stem_interface_ML_sd: its standard deviation.

        Raises:
            ArgumentError: a value without its standard deviation, or one that is not positive.
        """
        sigma, width = np.meshgrid(ROUGHNESS_ML, INTERFACE_ML, indexing="ij")
        log_exchanged = (
            self.log_interdiffusion_rate
            - self.interdiffusion_eV / (BOLTZMANN_eV_PER_K * substrate_K)
            + math.log(max(hot_s, 1e-3))
        )
        # A random walk of x steps on average spreads as the root of x.
        off = (2.0 * np.log(width) - log_exchanged) / self.log_interdiffusion_sd
        log_p = -sigma / self.prior_roughness_ML - 0.5 * off**2
        log_p = log_p + self._log_of_intensity(sigma, width, rheed, _positive("rheed_sd", rheed_sd))
        for name, net, value, sd in (
            ("stm_roughness_ML", sigma, stm_roughness_ML, stm_roughness_ML_sd),
            ("xrd_interface_ML", width, xrd_interface_ML, xrd_interface_ML_sd),
            ("stem_interface_ML", width, stem_interface_ML, stem_interface_ML_sd),
        ):
            if value is not None:
                log_p = log_p - 0.5 * ((net - value) / _positive(f"{name}_sd", sd)) ** 2
        thickness = [(coverage_ML, _positive("coverage_ML_sd", coverage_ML_sd))]
        if xrd_thickness_ML is not None:
            sd = _positive("xrd_thickness_ML_sd", xrd_thickness_ML_sd)
            thickness.append((xrd_thickness_ML, sd))
        if stem_thickness_ML is not None:
            sd = _positive("stem_thickness_ML_sd", stem_thickness_ML_sd)
            thickness.append((stem_thickness_ML, sd))
        return self._belief(sigma, width, log_p, *_together(thickness))

    def _log_of_intensity(
        self,
        sigma: NDArray[np.float64],
        width: NDArray[np.float64],
        rheed: float,
        rheed_sd: float,
    ) -> NDArray[np.float64]:
        """Return the log likelihood of the intensity; the excess over two levels is exponential.

        Integrated over the excess in closed form: an exponential smeared by a normal deviation.
        """
        coherent = np.exp(-2.0 * self.segregation * width**2)
        two_levels = 1.0 - 4.0 * sigma**2
        lost = np.clip(1.0 - rheed / coherent, 0.0, 1.0)
        mean_excess = self.excess_ML2 + self.excess_rough_ML2 * lost**6
        # In units of intensity: I = coherent (1 - 4 sigma^2 + 4 e), e > 0.
        scale = np.maximum(4.0 * coherent * mean_excess, 1e-6)
        off = rheed - coherent * two_levels
        return _log_exponential_normal(off, scale, rheed_sd)

    def _belief(
        self,
        sigma: NDArray[np.float64],
        width: NDArray[np.float64],
        log_p: NDArray[np.float64],
        thickness_ML: float,
        thickness_ML_sd: float,
    ) -> FilmBelief:
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        merit = np.exp(
            -0.5 * (sigma / ROUGHNESS_SCALE_ML) ** 2 - 0.5 * (width / INTERFACE_SCALE_ML) ** 2
        )
        flat, flat_sd = _moments(p, merit)
        thick, thick_sd = _thickness_merit(thickness_ML, thickness_ML_sd)
        value = flat * thick
        spread = math.sqrt((flat_sd**2 + flat**2) * (thick_sd**2 + thick**2) - value**2)
        roughness, roughness_sd = _moments(p, sigma)
        interface, interface_sd = _moments(p, width)
        return FilmBelief(
            merit=value,
            merit_sd=math.hypot(spread, self.reproducibility),
            roughness_ML=roughness,
            roughness_ML_sd=roughness_sd,
            interface_ML=interface,
            interface_ML_sd=interface_sd,
            thickness_ML=thickness_ML,
            thickness_ML_sd=thickness_ML_sd,
        )


def _positive(name: str, sd: float | None) -> float:
    if sd is None or not sd > 0:
        raise ArgumentError(name, sd, "a standard deviation > 0 beside the value")
    return sd


def _together(seen: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean weighted by precision, its deviation wider where the values disagree."""
    weights = [1.0 / sd**2 for _, sd in seen]
    total = sum(weights)
    mean = sum(w * v for w, (v, _) in zip(weights, seen, strict=True)) / total
    chi2 = sum(w * (v - mean) ** 2 for w, (v, _) in zip(weights, seen, strict=True))
    birge = max(1.0, math.sqrt(chi2 / (len(seen) - 1))) if len(seen) > 1 else 1.0
    return mean, birge / math.sqrt(total)


def _thickness_merit(thickness_ML: float, sd_ML: float) -> tuple[float, float]:
    """Return mean and deviation of the factor of the thickness, a Gaussian of a normal variable."""
    off = thickness_ML - THICKNESS_ML
    first, second = (_mean_gaussian(off, sd_ML, n) for n in (1, 2))
    return first, math.sqrt(max(second - first**2, 0.0))


def _mean_gaussian(off: float, sd: float, power: int) -> float:
    variance = THICKNESS_SCALE_ML**2 / power
    return math.sqrt(variance / (variance + sd**2)) * math.exp(-0.5 * off**2 / (variance + sd**2))


def _moments(p: NDArray[np.float64], value: NDArray[np.float64]) -> tuple[float, float]:
    mean = float((p * value).sum())
    return mean, math.sqrt(max(float((p * value**2).sum()) - mean**2, 0.0))


def _log_exponential_normal(
    off: NDArray[np.float64], scale: NDArray[np.float64], sd: float
) -> NDArray[np.float64]:
    """Return the log density of an exponential of mean `scale` plus a normal deviation `sd` at `off`.

    Source: the exponentially modified Gaussian, Grushka, Anal. Chem. 44, 1733 (1972),
    doi:10.1021/ac60319a011.
    """
    z = (sd / scale - off / sd) / math.sqrt(2.0)
    # erfc(z) = exp(-z^2) erfcx(z): the exponent of the density is gathered so that nothing overflows.
    log_density = -np.log(2.0 * scale) - 0.5 * (off / sd) ** 2 + np.log(_erfcx(z))
    far = z < -5.0
    inside: NDArray[np.float64] = np.where(
        far, -np.log(scale) + 0.5 * (sd / scale) ** 2 - off / scale, log_density
    )
    return inside


def _erfcx(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(z^2) erfc(z), for z > -5; a continued fraction where erfc underflows."""
    near = np.clip(z, -5.0, 5.0)
    close = np.exp(near**2) * np.vectorize(math.erfc)(near)
    large = np.maximum(z, 5.0)
    fraction = large
    for n in range(12, 0, -1):
        fraction = large + 0.5 * n / fraction
    scaled: NDArray[np.float64] = np.where(z > 5.0, 1.0 / (fraction * math.sqrt(math.pi)), close)
    return scaled
