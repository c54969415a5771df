"""How good a film is: one number to maximise, as a product of four parts.

J = sqrt(I_f I_2ML) exp(-t / 300 s) exp(-nu_i exp(-3.0 eV / kT) t) exp(-((Theta - 4 ML) / 0.6 ML)^2 / 2)

I_f is the specular anti-phase intensity after the anneal, I_2ML the one at 2 ML (in units of the
flat substrate's), t the time of growth and anneal, T the true temperature, Theta the coverage.
I_f says how flat the film ends, I_2ML how flat it was while it grew, which no anneal repairs; the
others say what that cost. All parts lie between 0 and 1.

Why these figures: a first version with I_f^(1/4) sqrt(I_2ML), 400 s, 1.8 eV and ln nu_i = 22.4 had
its best point in a corner of the box (800 K, 1.5 ML/s, 1 s): a film may be grown ever hotter and
faster at the same D/F, and an anneal hardly paid. A square root of I_f pays for an anneal of some
10 s; an interdiffusion with a barrier well above the ones of diffusion, as in real interfaces,
closes the hot side. At the prior means the best point is now near 745 K, 0.3 ML/s, 4 ML, 10 s, and
every face of the box 620-800 K, 0.03-1.5 ML/s, 3.4-4.6 ML, 0-30 s is worse (see tests/physics).
This is an objective of our own, not a published one; its parts have the form of known laws.
"""

import math

__all__ = [
    "LOG_INTERDIFFUSION_RATE",
    "TARGET_ML",
    "dose_part",
    "film_part",
    "film_quality",
    "interdiffusion_part",
    "throughput_part",
]

TARGET_ML = 4.0
"""Coverage that is wanted [ML]."""

TOLERANCE_ML = 0.6
"""Deviation from the target that costs 39 % [ML]."""

THROUGHPUT_S = 300.0
"""Time of growth and anneal that costs 63 % [s]."""

INTERDIFFUSION_BARRIER_EV = 3.0
"""Activation energy of interdiffusion at the interface below the film [eV]."""

LOG_INTERDIFFUSION_RATE = 41.2
"""ln of the attempt rate nu_i of interdiffusion [ln 1/s], mean of its prior (0.5 its deviation)."""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""k_B [eV/K]. Source: CODATA 2018 (exact in the SI of 2019)."""


def film_part(*, final_intensity: float, intensity_2ML: float) -> float:
    """Return how flat the film is and was, from two intensities in units of the substrate's [1]."""
    return math.sqrt(max(0.0, final_intensity) * max(0.0, intensity_2ML))


def throughput_part(*, growth_s: float, anneal_s: float) -> float:
    """Return what the time on the machine [s] leaves [1]."""
    return math.exp(-(growth_s + anneal_s) / THROUGHPUT_S)


def interdiffusion_part(
    *, temperature_K: float, time_s: float, log_interdiffusion_rate: float
) -> float:
    """Return what interdiffusion leaves of the interface [1].

    Args:
        temperature_K: true temperature of the surface [K].
        time_s: growth and anneal [s].
        log_interdiffusion_rate: ln nu_i [ln 1/s].
    """
    exponent = -INTERDIFFUSION_BARRIER_EV / (BOLTZMANN_EV_PER_K * temperature_K)
    return math.exp(-math.exp(log_interdiffusion_rate + exponent) * time_s)


def dose_part(*, coverage_ML: float) -> float:
    """Return how well the coverage [ML] meets the target [1]."""
    return math.exp(-0.5 * ((coverage_ML - TARGET_ML) / TOLERANCE_ML) ** 2)


def film_quality(
    *,
    final_intensity: float,
    intensity_2ML: float,
    growth_s: float,
    anneal_s: float,
    temperature_K: float,
    coverage_ML: float,
    log_interdiffusion_rate: float | None,
) -> float:
    """Return J, the product of the parts [1].

    Args:
        final_intensity: after the anneal, in units of the substrate's [1].
        intensity_2ML: at 2 ML [1].
        growth_s: time with the shutter open [s].
        anneal_s: time after it at the same temperature [s].
        temperature_K: true temperature of the surface [K].
        coverage_ML: true coverage [ML].
        log_interdiffusion_rate: ln nu_i [ln 1/s]; None: no interdiffusion (a theory without it).

    Example:
        >>> round(film_quality(final_intensity=0.8, intensity_2ML=0.5, growth_s=10.0, anneal_s=10.0,
        ...     temperature_K=740.0, coverage_ML=4.0, log_interdiffusion_rate=41.2), 3)
        0.558
    """
    mixing = 1.0
    if log_interdiffusion_rate is not None:
        mixing = interdiffusion_part(
            temperature_K=temperature_K,
            time_s=growth_s + anneal_s,
            log_interdiffusion_rate=log_interdiffusion_rate,
        )
    return (
        film_part(final_intensity=final_intensity, intensity_2ML=intensity_2ML)
        * throughput_part(growth_s=growth_s, anneal_s=anneal_s)
        * mixing
        * dose_part(coverage_ML=coverage_ML)
    )
