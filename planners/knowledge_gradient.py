"""What one measurement is worth: the knowledge gradient.

Before a measurement at x the best one would choose is max_i mu_i. Afterwards the means have moved to
mu_i + s_i Z with s_i = cov(x, i) / sqrt(var(x) + sd^2), Z standard normal and sd the measurement's own
uncertainty: a better look moves them further. The gain is the expected rise of the maximum,

    KG(x, sd) = E[max_i (mu_i + s_i Z)] - max_i mu_i >= 0.

Source: Frazier, Powell & Dayanik, INFORMS J. Comput. 21, 599 (2009), doi:10.1287/ijoc.1080.0314
(correlated normal beliefs). The expectation is taken by Gauss-Hermite quadrature.

A film that is looked at tells two numbers: what all that was seen says of it, and what would have been
said without a look. The second says how wrong all films are that were not looked at, and may move the
means at their places more than the first. Then s_i is a row of two numbers, and so is Z.
"""

from itertools import product

import numpy as np

from twinloop.planners.space import Floats

__all__ = ["knowledge_gradient", "pair_gradient"]

_NODES = 48
_Z, _WEIGHTS = np.polynomial.hermite_e.hermegauss(_NODES)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_NODES_OF_TWO = (48, 9)
_LEAST_WEIGHT = 1e-5
"""Nodes of two numbers that weigh less are left out."""

_BLOCK = 2**21
"""Numbers held at once while the quadrature runs."""


def knowledge_gradient(
    mean: Floats,
    covariance: Floats,
    variance: Floats,
    noise_sd: Floats,
    own: tuple[Floats, Floats] | None = None,
) -> Floats:
    """Return the expected rise of the best mean through one measurement, shape (c, s).

    Args:
        mean: of the places that one may choose in the end, shape (m,).
        covariance: of each candidate with each of these places, shape (c, m).
        variance: of each candidate, shape (c,).
        noise_sd: of the measurement of each candidate by each set of looks, shape (c, s).
        own: mean of each candidate and its covariance with its own measurement, both of shape (c,), where
            a candidate may be chosen as well.

    Example:
        >>> one = np.array([1.0])
        >>> sure = np.array([0.0, 0.0])
        >>> gain = knowledge_gradient(sure, np.array([[1.0, 0.0]]), one, np.array([[0.0, 1.0]]))
        >>> np.round(gain, 2)  # E[max(Z, 0)] = 0.399, less through a noisy look
        array([[0.4 , 0.28]])
    """
    spread = np.sqrt(variance[:, None] + noise_sd**2)
    best = np.full(len(covariance), float(mean.max()))
    if own is not None:
        best = np.maximum(best, own[0])
    gains = np.empty(spread.shape)
    rows = max(1, _BLOCK // (mean.size * _NODES))
    for s in range(spread.shape[1]):
        moves = covariance / np.maximum(spread[:, s : s + 1], 1e-300)
        for first in range(0, len(moves), rows):
            part = moves[first : first + rows]
            after = (mean[None, :, None] + part[:, :, None] * _Z).max(axis=1)
            here = slice(first, first + rows)
            if own is not None:
                move = own[1][here] / np.maximum(spread[here, s], 1e-300)
                after = np.maximum(after, own[0][here, None] + move[:, None] * _Z)
            gains[here, s] = after @ _WEIGHTS - best[here]
    return np.maximum(gains, 0.0)


def pair_gradient(
    mean: Floats,
    covariances: tuple[Floats, Floats],
    within: Floats,
    own: tuple[Floats, tuple[Floats, Floats]],
) -> Floats:
    """Return the expected rise of the best mean through two numbers measured at once, shape (c,).

    Args:
        mean: of the places that one may choose in the end, shape (m,).
        covariances: of each candidate's two numbers with each of these places, each of shape (c, m).
        within: covariance of the two numbers of each candidate, their noise included, (c, 2, 2).
        own: mean of each candidate, and its covariance with both numbers, each of shape (c,).

    Example:
        >>> none, one = np.zeros((1, 2)), np.array([[1.0, 0.0]])
        >>> within, apart = np.eye(2)[None], (np.zeros(1), (np.zeros(1), np.zeros(1)))
        >>> np.round(pair_gradient(np.zeros(2), (none, one), within, apart), 1)
        array([0.4])
    """
    best = np.maximum(float(mean.max()), own[0])
    root = np.linalg.cholesky(within)
    corner, slant, rest = root[:, 0, 0], root[:, 1, 0], root[:, 1, 1]
    covariance = np.concatenate([covariances, np.stack(own[1])[:, :, None]], axis=2)
    first = covariance[0] / corner[:, None]
    second = (covariance[1] - slant[:, None] * first) / rest[:, None]
    before = np.column_stack([np.broadcast_to(mean, (len(best), mean.size)), own[0]])
    z, weights = _of_two()
    gains = np.empty(len(best))
    rows = max(1, _BLOCK // (before.shape[1] * len(weights)))
    for at in range(0, len(best), rows):
        here = slice(at, at + rows)
        moves = np.stack([first[here], second[here]], axis=-1) @ z
        gains[here] = (before[here, :, None] + moves).max(axis=1) @ weights - best[here]
    return np.maximum(gains, 0.0)


def _of_two() -> tuple[Floats, Floats]:
    """Return nodes of two independent normal numbers, shape (2, q), and their weights, shape (q,)."""
    sides = [np.polynomial.hermite_e.hermegauss(n) for n in _NODES_OF_TWO]
    z = np.array(list(product(*(nodes for nodes, _ in sides)))).T
    weights = np.outer(*(w / w.sum() for _, w in sides)).ravel()
    kept = weights > _LEAST_WEIGHT
    return z[:, kept], weights[kept] / weights[kept].sum()
