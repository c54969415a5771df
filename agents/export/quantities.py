"""What the name of a number says: its unit, and the deviation that belongs to it.

Names carry their units throughout twinloop (`z_forward_A`, `rate_ML_per_s`), so a number of a fifth
instrument has a unit in the export without a line here. What a contract says in its types and in its
docstrings comes first: see `twinloop.agents.export.contracts`.
"""

from collections.abc import Iterable, Mapping

from twinloop.units import Unit

__all__ = ["deviation_of", "nexus_unit", "unit_in_name"]

_UNITS: Mapping[str, str] = {
    "A": "angstrom",
    "GB": "gigabyte",
    "Hz": "Hz",
    "K": "K",
    "ML": "ML",
    "V": "V",
    "W": "W",
    "counts": "counts",
    "deg": "deg",
    "e": "electron",
    "eV": "eV",
    "h": "hour",
    "keV": "keV",
    "mA": "mA",
    "mV": "mV",
    "mbar": "mbar",
    "min": "minute",
    "mm": "mm",
    "mrad": "mrad",
    "ms": "ms",
    "nA": "nA",
    "nC": "nC",
    "nS": "nS",
    "nm": "nm",
    "pA": "pA",
    "rad": "rad",
    "s": "s",
    "um": "um",
    "us": "us",
}
# what has no numerator is a number of things
_PLAIN = {"": "", "count / angstrom ** 2": "electron/angstrom^2"}


def nexus_unit(unit: Unit) -> str:
    """Return a unit of twinloop's types as NeXus and UDUNITS write it; "" for a plain number.

    "ML" is the monolayer here; UDUNITS does not know it.
    """
    if unit.pint in _PLAIN:
        return _PLAIN[unit.pint]
    spelled = {"angstrom": "angstrom", "ampere": "A", "dimensionless": ""}
    return spelled.get(unit.pint, unit.symbol)


def unit_in_name(name: str) -> str:
    """Return the unit that a name ends with, as NeXus writes it; "" where it has none.

    Example:
        >>> [unit_in_name(n) for n in ("z_forward_A", "dose_e_per_A2", "rate_ML_per_s", "steps")]
        ['angstrom', 'electron/angstrom^2', 'ML/s', '']
        >>> unit_in_name("beam_current_A"), unit_in_name("roughness_sd_ML"), unit_in_name("per_nm2")
        ('A', 'ML', '1/nm^2')
    """
    words = name.removesuffix("_sd").split("_")
    for first in range(len(words)):
        unit = _compound(words[first:])
        is_whole_name = first == 0 and words[0] != "per"
        if unit is not None and (not is_whole_name or words == ["counts"]):
            is_current = first > 0 and words[first - 1] == "current"
            return "A" if is_current and words[first:] == ["A"] else unit
    return ""


def deviation_of(name: str, names: Iterable[str]) -> str | None:
    """Return which of `names` is the standard deviation of `name`; None without one.

    Example:
        >>> deviation_of("roughness_ML", ["roughness_sd_ML"]), deviation_of("y", ["y_sd", "x"])
        ('roughness_sd_ML', 'y_sd')
    """
    return next((n for n in names if "_sd" in n and n.replace("_sd", "", 1) == name), None)


def _compound(words: list[str]) -> str | None:
    """Return words such as ML, per, s as one unit; None where they are none."""
    parts: list[str] = []
    is_below = False
    for word in words:
        if word == "per":
            if is_below:
                return None
            is_below = True
            continue
        unit = _power(word)
        if unit is None:
            return None
        parts.append(f"/{unit}" if is_below else unit if not parts else f"*{unit}")
        is_below = False
    if is_below or not parts:
        return None
    text = "".join(parts)
    return f"1{text}" if text.startswith("/") else text


def _power(word: str) -> str | None:
    stem = word.rstrip("0123456789")
    unit = _UNITS.get(stem)
    return None if unit is None else f"{unit}^{word[len(stem) :]}" if word != stem else unit
