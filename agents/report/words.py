"""Numbers, units and times as people write them."""

import math

__all__ = [
    "NONE",
    "duration",
    "label",
    "number",
    "plural",
    "quantity",
    "title",
    "unit_of_name",
    "with_sd",
]

NONE = "\N{EN DASH}"
"""What stands where there is no number."""

_MINUS = "\N{MINUS SIGN}"
# endings of field names (STYLE.md: a physical number never lacks its unit), longest first
_UNITS = {
    "counts_per_s": "counts/s",
    "ML_per_s": "ML/s",
    "K_per_s": "K/s",
    "per_s": "1/s",
    "counts": "counts",
    "keV": "keV",
    "deg": "°",
    "ML": "ML",
    "eV": "eV",
    "nm": "nm",
    "K": "K",
    "s": "s",
    "h": "h",
    "A": "A",
    "V": "V",
}


def unit_of_name(name: str) -> tuple[str, str]:
    """Return the name without its unit, and the unit.

    Example:
        >>> unit_of_name("flux_ML_per_s"), unit_of_name("quality")
        (('flux', 'ML/s'), ('quality', ''))
    """
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return name.removesuffix(f"_{ending}"), unit
    return name, ""


def title(name: str) -> str:
    """Return the words of a field name, its unit left out."""
    return unit_of_name(name)[0].replace("_", " ")


def label(name: str) -> str:
    """Return the words of a field name, its unit in brackets.

    Example:
        >>> label("substrate_K")
        'substrate [K]'
    """
    unit = unit_of_name(name)[1]
    return f"{title(name)} [{unit}]" if unit else title(name)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, without an exponent where that is short."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", _MINUS)


def aligned(value: float | None) -> str:
    """Return a number with four significant digits, zeros kept, for columns of numbers.

    Example:
        >>> aligned(4.0), aligned(0.25)
        ('4.000', '0.2500')
    """
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:#.4g}".removesuffix(".")
    return number(value) if "e" in text else text.replace("-", _MINUS)


def with_sd(value: float | None, sd: float | None) -> str:
    """Return a number with its standard deviation, both to the sd's second digit.

    Example:
        >>> with_sd(0.71342, 0.0213)
        '0.713 ± 0.021'
    """
    if value is None or sd is None or not math.isfinite(sd) or not sd > 0:
        return number(value)
    decimals = 1 - math.floor(math.log10(sd))
    if not 0 <= decimals <= 8 or not math.isfinite(value):
        return f"{number(value)} ± {number(sd, 2)}"
    return f"{value:.{decimals}f} ± {sd:.{decimals}f}".replace("-", _MINUS)


def quantity(name: str, value: float | None) -> str:
    """Return the value of a field with its unit."""
    unit = unit_of_name(name)[1]
    return f"{number(value)} {unit}".strip()


def duration(seconds: float) -> str:
    """Return a time span in the two units that matter.

    Example:
        >>> duration(3725), duration(0.25)
        ('1 h 2 min', '0.25 s')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{int(seconds // 86400)} d {int(seconds % 86400 // 3600)} h"


def plural(n: int, word: str) -> str:
    """Return a count with its noun."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
