"""A loss that theory does not know: something activated that spoils the objective.

What a theory of growth lacks is most often a process that goes on beside those it has: desorption,
interdiffusion, decomposition. Its rate follows Arrhenius in the temperature and a power of flux and
time, so that its logarithm is close to linear in the knobs, and what it leaves is exponential:

    y = worst + (f(x) - worst) exp(-Lambda(x)),   ln Lambda(x) = beta_0 + sum_j beta_j (x_j - 1/2),

with x in the unit cube, f what theory says and `worst` the least that was ever simulated (large is
good). A priori beta_0 ~ N(-5, 2^2), a loss of 1 % in the middle of the space, and
beta_j ~ N(0, 5^2): an activation energy of 3 eV makes 13 between 620 and 800 K. Beta is calibrated
together with the parameters of theory. What is not of this form is left to the discrepancy.

Source: the form is ours; it is a model discrepancy in the sense of Kennedy & O'Hagan, J. R. Stat.
Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294, with structure as Brynjarsdottir & O'Hagan,
Inverse Problems 30, 114007 (2014), doi:10.1088/0266-5611/30/11/114007, ask for.
"""

from typing import TYPE_CHECKING

import numpy as np

from twinloop.planners.space import Floats

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["kept", "n_loss"]

_CENTER, _CENTER_SD = -5.0, 2.0
_SLOPE_SD = 5.0
_MOST = 5.0
"""ln Lambda above which nothing is left in any case (exp(-148))."""


def n_loss(d: int) -> int:
    """Return how many parameters a loss has in a space of `d` knobs."""
    return 1 + d


def kept(x: Floats, w: "Tensor") -> "Tensor":
    """Return the part of the objective that a loss leaves, exp(-Lambda).

    Args:
        x: where, shape (n, d), unit cube.
        w: beta in units of its prior, shape (s, 1 + d).

    Returns:
        From 0 to 1, shape (s, n).
    """
    import torch

    away = np.hstack([np.full((len(x), 1), _CENTER_SD), _SLOPE_SD * (x - 0.5)])
    log = _CENTER + w @ torch.as_tensor(away).T
    return torch.exp(-torch.exp(log.clamp_max(_MOST)))
