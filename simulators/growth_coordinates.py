"""The dimensionless groups of a growth: what `kmc_growth` depends on.

Solid-on-solid growth knows hops in units of arrivals (D/F), bonds and steps in units of kT, and how
many layers come; an anneal knows hops as well; interdiffusion is a factor of its own. Films of
different barriers and temperatures with the same groups are the same films, which an emulator of
theory can use (`twinloop.planners.theory.coordinates`).

Source: Evans, Thiel & Bartelt, Surf. Sci. Rep. 61, 1 (2006), doi:10.1016/j.surfrep.2005.08.004
(scaling with D/F); the choice for this objective is ours.
"""

from collections.abc import Mapping

__all__ = ["ABSENT", "COORDINATES"]

_K_T_EV = "(8.617333262e-5 * (substrate_K + thermocouple_offset_K))"
_TIME_S = "(dose_ML / flux_ML_per_s + anneal_s)"

COORDINATES: Mapping[str, str] = {
    # ln of hops for each arrival at a site, up to ln of the attempt frequency
    "log_diffusion_over_flux": f"-surface_barrier_eV / {_K_T_EV} - log(flux_ML_per_s)"
    " - log_flux_factor",
    "bond_over_kT": f"bond_energy_eV / {_K_T_EV}",
    "step_over_kT": f"step_barrier_eV / {_K_T_EV}",
    "coverage_ML": "dose_ML * exp(log_flux_factor)",
    # the phase of a trace against the dose that the gauge counts
    "log_flux_factor": "log_flux_factor",
    "log_anneal_in_arrivals": "log1p(anneal_s * flux_ML_per_s * exp(log_flux_factor))",
    "interface_left": f"exp(-exp(log_interdiffusion_rate - 3.0 / {_K_T_EV}) * {_TIME_S})",
    "time_in_throughputs": f"{_TIME_S} / 300",
}
"""Expressions over knobs and beliefs; 3.0 eV and 300 s are those of `film_quality`."""

ABSENT: Mapping[str, float] = {"step_barrier_eV": 0.0, "log_interdiffusion_rate": -1000.0}
"""What a theory that leaves a belief out takes for it."""
