"""How noise and jittering lines move columns that are refined side by side.

Every column is fitted on a patch of its own, its neighbours' model subtracted. Where all fits have come
to rest, sum_p D_i(p) w(p) (data - model)(p) = 0 holds for the derivatives D_i of each column on its patch.
Linearised, an error of the data moves the parameters by N^-1 A error, with A_i = D_i w on the patch and
N = A D over all columns, so that neighbours pull at each other as they do in the fit:

    covariance = N^-1 A (S + jitter^2 G G^T) A^T N^-T

S is the noise of the pixels, and G the slope of the whole model, line by line: a line that starts late
moves all columns on it. The shape that all columns share is fitted with them, sum over all patches of
B w (data - model) = (shape - expected) / prior^2, and what it leaves open moves columns too. The same equations tell how much of a line's shift the residuals have kept, hence
the size of the jitter.

Source: covariance of estimating equations: Huber, Proc. 5th Berkeley Symp. 1, 221 (1967); jitter of
lines: Jones & Nellist, Microsc. Microanal. 19, 1050 (2013), doi:10.1017/S1431927613001402.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Equations", "Solved", "Spread", "spread_of"]

Floats = NDArray[np.float64]

CORE_A, HALO_A = 8.0, 3.0
"""Edge of a tile whose columns are judged together, and of the rim that takes part in it [A]."""

USUAL_JITTER_A = 0.05
"""Root mean square of line starts that one expects before looking, its square spread exponentially: an
image whose noise hides the jitter is not one without jitter [A]."""

ACROSS = 0.5
"""Jitter across the lines over that along them."""


@dataclass(frozen=True, eq=False, slots=True)
class Equations:
    """The fits of all columns, at rest, each on its patch of p pixels; k parameters, ground last.

    Args:
        places: row and column, shape (n, 2) [px].
        pixels: number of each pixel of the patches, row * columns + column, shape (n, p).
        derivatives: of the model, shape (n, p, k).
        weights: 1 / variance of each pixel, 0 outside the image, shape (n, p).
        wide_pixels: of larger patches, as far as the columns' light reaches, shape (n, q).
        wide_derivatives: by all but the ground, 0 outside the image, shape (n, q, k - 1).
        variance: of each pixel of the image, shape (rows, columns).
        slopes: of the whole model along rows and columns, shape (rows, columns, 2).
        shared: derivatives of the model by the s parameters of the common shape, (rows, columns, s).
        prior: standard deviations expected of them, shape (s,).
        surprise: expected less present values, shape (s,).
        left: data less model and ground, shape (n, p).
        pixel_A: distance of pixels [A].
    """

    places: Floats
    pixels: NDArray[np.int64]
    derivatives: Floats
    weights: Floats
    wide_pixels: NDArray[np.int64]
    wide_derivatives: Floats
    variance: Floats
    slopes: Floats
    shared: Floats
    prior: Floats
    surprise: Floats
    left: Floats
    pixel_A: float


@dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """Variances of the parameters.

    Args:
        noise: by the noise of the pixels, shape (n, k).
        lines: by the jitter of the lines, shape (n, k).
        jitter: standard deviation of the line starts, along lines and across them [px].
    """

    noise: Floats
    lines: Floats
    jitter: tuple[float, float]


class Solved:
    """The normal equations, ready to be solved: own parameters first, the shared ones eliminated.

    Args:
        equations: the fits, on their way or at rest.
        most: by which a place may change at once [px]; 0: by any distance.
    """

    def __init__(self, equations: Equations, most: float = 0.0) -> None:
        from scipy.sparse import diags
        from scipy.sparse.linalg import splu

        self.equations = equations
        self.pulls = _pulls(equations)
        self.normal = _normal(equations, self.pulls)
        if most:
            # no place moves farther than it may at once: columns that are hardly there stay calm
            held = np.zeros(equations.derivatives.shape[::2])
            held[:, 1:-1] = most**-2.0
            self.normal = self.normal + diags(held.ravel())
        self.solver = splu(self.normal.tocsc())
        n, _, k = equations.derivatives.shape
        size = equations.variance.size
        self.often = np.bincount(
            equations.pixels.ravel(), equations.weights.ravel(), minlength=size
        )
        self.basis = equations.shared.reshape(size, -1)
        pulls = self.basis * self.often[:, None]
        own = self._light(pulls.T)
        own[:, :, -1] = np.einsum("nps,np->sn", self.basis[equations.pixels], equations.weights)
        self.own = own.reshape(-1, n * k)
        self.moved = self.solver.solve(self.pulls @ self.basis)
        self.shape_pulls = pulls.T - self.solver.solve(self.own.T, trans="T").T @ self.pulls
        curvature = pulls.T @ self.basis + np.diag(equations.prior**-2.0)
        self.schur = np.linalg.inv(curvature - self.own @ self.moved)

    def _light(self, images: Floats) -> Floats:
        """Return sums of images times the derivatives of each column's light, shape (s, n, k)."""
        equations = self.equations
        n, _, k = equations.derivatives.shape
        found = np.zeros((images.shape[0], n, k))
        for number, image in enumerate(images):
            values = image[equations.wide_pixels]
            found[number, :, :-1] = np.einsum("nq,nqk->nk", values, equations.wide_derivatives)
        return found

    def change(self, now: Equations) -> tuple[Floats, Floats]:
        """Return a Gauss-Newton step of all parameters: own, shape (n, k), and shared, shape (s,).

        Args:
            now: the fits as they are, by what these normal equations say of them.
        """
        weighted = now.weights * now.left
        own = np.einsum("npk,np->nk", now.derivatives, weighted)
        first = self.solver.solve(own.ravel())
        basis = now.shared.reshape(self.basis.shape)
        shared = np.einsum("nps,np->s", basis[now.pixels], weighted)
        shared = shared + now.surprise / now.prior**2 - self.own @ first
        change = self.schur @ shared
        return (first - self.moved @ change).reshape(own.shape), change

    def shared_by(self, errors: Any) -> Floats:
        """Return by how much errors of the data change the common shape."""
        return np.asarray(self.schur @ (errors.T @ self.shape_pulls.T).T)


def spread_of(equations: Equations) -> Spread:
    """Return the variances of all parameters.

    Args:
        equations: the fits, at rest.
    """
    n, _, k = equations.derivatives.shape
    solved = Solved(equations)
    squares = (
        solved.pulls.multiply(equations.variance.reshape(1, -1)).tocsr() @ solved.pulls.T
    ).tocsr()
    noise = _noise(equations, solved.normal, squares)
    doubt = (solved.shape_pulls * equations.variance.reshape(1, -1)) @ solved.shape_pulls.T
    doubt = solved.schur @ (doubt + np.diag(equations.prior**-2.0)) @ solved.schur.T
    # the fit at a given shape, and what the shape leaves open, do not go together: so they add up
    noise += np.einsum("is,st,it->i", solved.moved, doubt, solved.moved).reshape(n, k)
    lines, jitter = np.zeros((n, k)), []
    for axis, part in ((1, 1.0), (0, ACROSS)):
        slope = equations.slopes[..., axis]
        by_line = _by_line(slope)
        moved = solved.solver.solve(np.asarray((solved.pulls @ by_line).todense()))
        size = _jitter(equations, slope, moved, (solved.pulls, squares, solved.solver), part)
        moved = moved - solved.moved @ solved.shared_by(by_line)
        lines += size**2 * (moved**2).sum(axis=1).reshape(n, k)
        jitter.append(size)
    return Spread(noise, lines, (jitter[0], jitter[1]))


def _pulls(equations: Equations) -> Any:
    """Return A, sparse, shape (n k, pixels)."""
    from scipy.sparse import csr_matrix

    n, _, k = equations.derivatives.shape
    values = equations.derivatives * equations.weights[..., None]
    rows = np.broadcast_to(np.arange(n * k).reshape(n, 1, k), values.shape)
    columns = np.broadcast_to(equations.pixels[..., None], values.shape)
    shape = (n * k, equations.variance.size)
    return csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), shape=shape)


def _normal(equations: Equations, pulls: Any) -> Any:
    """Return N, sparse, shape (n k, n k): a ground is that of its own patch, light reaches farther."""
    from scipy.sparse import csr_matrix, diags

    n, _, k = equations.derivatives.shape
    wide = equations.wide_derivatives
    columns = np.broadcast_to(k * np.arange(n)[:, None, None] + np.arange(k - 1), wide.shape)
    rows = np.broadcast_to(equations.wide_pixels[..., None], wide.shape)
    shape = (equations.variance.size, n * k)
    design = csr_matrix((wide.ravel(), (rows.ravel(), columns.ravel())), shape=shape)
    own = np.einsum("npk,np->nk", equations.derivatives, equations.weights)
    at = np.arange(n * k).reshape(n, k)
    ground = np.broadcast_to(at[:, -1:], (n, k))
    grounds = csr_matrix((own.ravel(), (at.ravel(), ground.ravel())), shape=(n * k, n * k))
    normal = pulls @ design + grounds
    diagonal = normal.diagonal()
    return (normal + diags(1e-9 * np.maximum(diagonal, 1e-30 + 1e-6 * diagonal.max()))).tocsr()


def _noise(equations: Equations, normal: Any, squares: Any) -> Floats:
    """Return the variances by the noise of the pixels, tile by tile, shape (n, k)."""
    n, _, k = equations.derivatives.shape
    found = np.zeros((n, k))
    core, halo = CORE_A / equations.pixel_A, HALO_A / equations.pixel_A
    tile = np.floor(equations.places / core).astype(np.int64)
    for place in np.unique(tile, axis=0):
        away = np.abs(equations.places - (place + 0.5) * core).max(axis=1)
        chosen = np.flatnonzero(away <= 0.5 * core + halo)
        inner = (tile[chosen] == place).all(axis=1)
        index = (k * chosen[:, None] + np.arange(k)).ravel()
        inverse = np.linalg.inv(normal[index][:, index].toarray())
        inverse = inverse[np.repeat(inner, k)]
        spread = np.einsum("ij,ij->i", inverse @ squares[index][:, index].toarray(), inverse)
        found[chosen[inner]] = spread.reshape(-1, k)
    return found


def _by_line(slope: Floats) -> Any:
    """Return G: a slope for each pixel in the column of its line, shape (pixels, lines)."""
    from scipy.sparse import csr_matrix

    rows, columns = slope.shape
    line = np.repeat(np.arange(rows), columns)
    return csr_matrix((slope.ravel(), (np.arange(slope.size), line)), shape=(slope.size, rows))


def _jitter(
    equations: Equations, slope: Floats, moved: Floats, solved: tuple[Any, Any, Any], part: float
) -> float:
    """Return by how much lines are shifted, beyond what the noise explains [px].

    T = sum of weight x slope x residual of a line is linear in the errors: T = (B - Z N^-1 A) error.
    Its square is expected to be what the noise makes it, and jitter^2 times what the fits of the
    columns have left of the shifts.
    """
    pulls, squares, solver = solved
    n, _, k = equations.derivatives.shape
    lines, across = slope.shape
    steep = slope.ravel()[equations.pixels] * equations.weights
    line = equations.pixels // across
    told = np.bincount(line.ravel(), (steep * equations.left).ravel(), minlength=lines)
    often = np.bincount(
        equations.pixels.ravel(), equations.weights.ravel(), minlength=slope.size
    ).reshape(slope.shape)
    seen = _by_line(often * slope)
    own = np.zeros((lines, n * k))
    wide = slope.ravel()[equations.wide_pixels] * often.ravel()[equations.wide_pixels]
    columns = k * np.arange(n)[:, None]
    for number in range(k - 1):
        values = wide * equations.wide_derivatives[..., number]
        np.add.at(own, (equations.wide_pixels // across, columns + number), values)
    np.add.at(own, (line, np.broadcast_to(columns + k - 1, line.shape)), steep)
    back = solver.solve(own.T, trans="T")
    variance = equations.variance.reshape(-1, 1)
    direct = np.asarray(seen.multiply(seen).T @ variance).ravel()
    mixed = np.asarray((pulls @ seen.multiply(variance).tocsr()).todense())
    noise = direct - 2.0 * (back * mixed).sum(axis=0) + (back * (squares @ back)).sum(axis=0)
    rest = np.diag((often * slope**2).sum(axis=1)) - own @ moved
    kept = (rest**2).sum(axis=1)
    if kept.sum() <= 0.0:
        return 0.0
    usual = (part * USUAL_JITTER_A / equations.pixel_A) ** 2
    doubt = math.sqrt(2.0 * float(((noise + usual * kept) ** 2).sum())) / float(kept.sum())
    square = float((told**2 - noise).sum() / kept.sum())
    return math.sqrt(_expected(square, doubt, usual))


def _expected(square: float, doubt: float, usual: float) -> float:
    """Return the mean of a positive number measured with a doubt and expected to be exponential."""
    middle = square - doubt**2 / usual
    steps = np.linspace(max(middle - 8.0 * doubt, 0.0), max(middle, 0.0) + 8.0 * doubt, 400)
    chance = np.exp(-0.5 * ((steps - middle) / doubt) ** 2 + 0.5 * (min(middle, 0.0) / doubt) ** 2)
    return float((chance * steps).sum() / chance.sum())
