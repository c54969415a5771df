"""Atom columns in a dark-field image: found as maxima, refined as Gaussians, each with its deviation.

Every column is a Gaussian of one common width on a background of its own; neighbours are subtracted
while one is refined, so that columns that overlap do not pull at each other. What the fit leaves tells
the noise (a constant part and one that grows with the counts, as counting does), and how much the
lines of the scan jitter; both enter the stated deviations.

Source: Gaussian refinement of columns: Nord et al., Adv. Struct. Chem. Imaging 3, 9 (2017),
doi:10.1186/s40679-017-0042-5; precision that counting permits: Van Aert et al., IUCrJ 3, 71
(2016), section 2. The treatment of jitter is ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stem_spread import Equations, Solved, spread_of

__all__ = ["Fitted", "Floats", "Image", "find_columns", "refine", "smoothed"]

Floats = NDArray[np.float64]

SMOOTHING_A = 0.40
"""Width of the Gaussian with which maxima are sought: about that of a sharp probe [A]."""

DETECTION_SIGMAS = 4.0
PROMINENCE = 0.12
"""A maximum counts when it stands out of the noise, and by this part of a strong one."""

PATCH = 1.7
"""Half width of the square in which a column is refined, in widths of the Gaussian."""

REACH = 4.0
"""Half width of the square beyond which a column gives no light, in widths of the Gaussian."""

SHAPES = (
    (2, 0),
    (1, 1),
    (0, 2),
    (3, 0),
    (2, 1),
    (1, 2),
    (0, 3),
    (4, 0),
    (3, 1),
    (2, 2),
    (1, 3),
    (0, 4),
)
"""Orders of the Hermite polynomials along rows and columns by which all columns differ from a round
Gaussian: astigmatism (2), coma and threefold astigmatism (3), tails (4)."""

SHAPE_PRIOR = np.array([0.2] * 3 + [0.1] * 9)
"""By how much they are expected to, order by order [1]."""

LEAST_FOR_SHAPE = 8
ROUNDS, JOINT_ROUNDS = 6, 12
"""Steps of each column on its own, and, at most, of all columns with their common shape."""

PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Of a step of all columns, tried one after the other until one helps."""

SHORT = 1e-3
"""A step of this length changes nothing that matters [1]."""

DAMPING = 0.7
STRETCH = (0.7, 1.5)
"""Between what times the round Gaussian's width both widths of the shape lie."""

WIDTHS_A = (0.25, 1.0)
MAX_STEP_A = 0.15


@dataclass(frozen=True, eq=False, slots=True)
class Image:
    """An image without its dark level.

    Args:
        counts: shape (rows, columns) [counts].
        seen: which pixels were acquired, same shape.
        pixel_A: distance of pixels [A].
    """

    counts: Floats
    seen: NDArray[np.bool_]
    pixel_A: float


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """Columns of an image, in pixels.

    Args:
        places: row and column, shape (n, 2) [px].
        places_sd: their standard deviations, shape (n, 2) [px].
        heights: of the Gaussians, shape (n,) [counts].
        heights_sd: shape (n,) [counts].
        grounds: background of each, shape (n,) [counts].
        width: common standard deviation of the Gaussians [px].
        jitter: standard deviation of the line starts, along columns and rows, [px].
    """

    places: Floats
    places_sd: Floats
    heights: Floats
    heights_sd: Floats
    grounds: Floats
    width: float
    jitter: tuple[float, float]


def find_columns(image: Image, closest_A: float) -> Floats:
    """Return the maxima of the smoothed image that stand out of its noise, shape (n, 2) [px].

    Args:
        image: the image.
        closest_A: two columns are not nearer than this [A].
    """
    sigma = SMOOTHING_A / image.pixel_A
    weight = smoothed(image.seen.astype(np.float64), sigma)
    smooth = smoothed(np.where(image.seen, image.counts, 0.0), sigma)
    smooth = np.where(weight > 0.05, smooth / np.maximum(weight, 0.05), 0.0)
    wide = smoothed(smooth, 3.0 * sigma)
    noise = _noise_of(image) * np.sqrt(_kernel_square(sigma) / np.maximum(weight, 0.05))
    radius = max(1, round(0.5 * closest_A / image.pixel_A))
    top = smooth >= _dilated(smooth, radius)
    above = smooth - _eroded_mean(smooth, wide, radius)
    border = max(1, round(0.5 * sigma))
    top[:border] = top[-border:] = False
    top[:, :border] = top[:, -border:] = False
    strong = above[top]
    if strong.size == 0:
        return np.zeros((0, 2))
    least = PROMINENCE * float(np.percentile(strong, 95))
    chosen = top & (above > np.maximum(DETECTION_SIGMAS * noise, least))
    return np.argwhere(chosen).astype(np.float64)


def refine(image: Image, places: Floats, *, hold: bool = False) -> Fitted:
    """Return the columns as Gaussians, starting from these places.

    Args:
        image: the image.
        places: row and column, shape (n, 2) [px].
        hold: leave the places as they are, and find the heights only.
    """
    n = places.shape[0]
    width = SMOOTHING_A / image.pixel_A
    if n == 0:
        nothing = np.zeros(0)
        return Fitted(places, np.zeros((0, 2)), nothing, nothing, nothing, width, (0.0, 0.0))
    work = _Work(image, places.copy(), width)
    work.widen()
    variance = np.ones_like(image.counts)
    for turn in range(ROUNDS):
        work.step(variance, hold=hold)
        if turn in {2, 5}:
            work.widen()
        if turn >= 4:
            variance = work.variance()
    for _ in range(JOINT_ROUNDS if n >= LEAST_FOR_SHAPE else 0):
        if not work.joint_step(variance, hold=hold):
            break
        variance = work.variance()
    return work.result(variance, hold=hold)


class _Work:
    """A fit under way."""

    def __init__(self, image: Image, places: Floats, width: float) -> None:
        self.image, self.width = image, width
        self.places, self.shape = places, np.zeros(len(SHAPES))
        self.axes = width * np.eye(2)
        rows, columns = np.rint(places).astype(np.int64).T
        at = image.counts[
            rows.clip(0, image.counts.shape[0] - 1), columns.clip(0, image.counts.shape[1] - 1)
        ]
        self.grounds = np.full(places.shape[0], float(np.percentile(image.counts[image.seen], 10)))
        self.heights = np.maximum(at - self.grounds, 0.0)

    def patches(
        self, reach: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return rows, columns (clipped into the image) and whether they are inside, (n, p)."""
        half = max(2, int(np.ceil(reach)))
        steps = np.arange(-half, half + 1)
        down, across = (a.ravel() for a in np.meshgrid(steps, steps, indexing="ij"))
        middle = np.rint(self.places).astype(np.int64)
        rows, columns = middle[:, :1] + down[None], middle[:, 1:] + across[None]
        height, width = self.image.counts.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows.clip(0, height - 1), columns.clip(0, width - 1), inside

    def functions(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[list[Floats], list[Floats]]:
        """Return Hermite functions of the distances along both axes of the shape, each (n, p)."""
        inverse = np.linalg.inv(self.axes)
        dy, dx = rows - self.places[:, :1], columns - self.places[:, 1:]
        return (
            _hermites(inverse[0, 0] * dy + inverse[0, 1] * dx),
            _hermites(inverse[1, 0] * dy + inverse[1, 1] * dx),
        )

    def bells(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[Floats, Floats, Floats]:
        """Return the shape of each column on its patch and its slopes by the place, (n, p)."""
        first, second = self.functions(rows, columns)
        bell, slope, other = (first[a] * second[b] for a, b in ((0, 0), (1, 0), (0, 1)))
        for size, (i, j) in zip(self.shape, SHAPES, strict=True):
            if size:
                bell = bell + size * first[i] * second[j]
                slope = slope + size * first[i + 1] * second[j]
                other = other + size * first[i] * second[j + 1]
        inverse = np.linalg.inv(self.axes)
        return bell, *(inverse[0, i] * slope + inverse[1, i] * other for i in (0, 1))

    def model(self) -> Floats:
        """Return the sum of all columns, without backgrounds."""
        rows, columns, inside = self.patches(REACH * self.width)
        bell, _, _ = self.bells(rows, columns)
        return self._summed(rows, columns, np.where(inside, self.heights[:, None] * bell, 0.0))

    def _summed(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Floats
    ) -> Floats:
        shape = self.image.counts.shape
        numbers = (rows * shape[1] + columns).ravel()
        flat = np.bincount(numbers, values.ravel(), shape[0] * shape[1])
        summed: Floats = np.asarray(flat, dtype=np.float64).reshape(shape)
        return summed

    def _terms(self, variance: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return derivatives (n, p, 4), weights, residuals, model on the patches."""
        rows, columns, inside = self.patches(PATCH * self.width)
        bell, down, across = self.bells(rows, columns)
        height = self.heights[:, None]
        derivatives = np.stack([bell, height * down, height * across, np.ones_like(bell)], axis=-1)
        total = self.model()[rows, columns]
        left = self.image.counts[rows, columns] - total - self.grounds[:, None]
        weights = np.where(
            inside & self.image.seen[rows, columns], 1.0 / variance[rows, columns], 0.0
        )
        return derivatives, weights, left, total + self.grounds[:, None]

    def step(self, variance: Floats, *, hold: bool) -> None:
        """Do one damped Gauss-Newton step for every column at once."""
        derivatives, weights, left, _ = self._terms(variance)
        if hold:
            derivatives = derivatives[..., [0, 3]]
        normal = _normal(derivatives, weights)
        right = np.einsum("npi,np,np->ni", derivatives, weights, left)
        change = DAMPING * np.linalg.solve(normal, right[..., None])[..., 0]
        self.heights = np.maximum(self.heights + change[:, 0], -1e9 if hold else 0.0)
        self.grounds += change[:, -1]
        if not hold:
            most = MAX_STEP_A / self.image.pixel_A
            self.places += np.clip(change[:, 1:3], -most, most)

    def joint_step(self, variance: Floats, *, hold: bool) -> bool:
        """Do one Newton step of all columns and of the shape that they share; say whether it helped.

        Height, width and background of columns that overlap are hardly told apart, and a whole step
        may lead far beyond their solution. So it is halved until the step that would follow, by the
        same normal equations, is shorter (the natural test of monotonicity).

        Source: Deuflhard, Newton Methods for Nonlinear Problems, Springer 2004, section 3.3.
        """
        most = MAX_STEP_A / self.image.pixel_A
        equations = self._equations(variance, hold=hold)
        solved = Solved(equations, most)
        change, bend = solved.change(equations)
        length = self._length(change, bend)
        before = self.heights, self.grounds, self.places, self.shape, self.axes
        for part in PARTS if length > SHORT else ():
            self._move(part * change, part * bend, most, hold=hold)
            following = solved.change(self._equations(variance, hold=hold))
            if self._length(*following) <= (1.0 - 0.25 * part) * length:
                return True
            self.heights, self.grounds, self.places, self.shape, self.axes = before
        return False

    def _length(self, change: Floats, bend: Floats) -> float:
        """Return the root mean square of a step, in heights, widths and usual shapes [1]."""
        high = max(float(np.median(np.abs(self.heights))), 1e-30)
        scale = np.array([high, *[self.width] * (change.shape[1] - 2), high])
        return float(np.sqrt(((change / scale) ** 2).mean() + ((bend / SHAPE_PRIOR) ** 2).mean()))

    def _move(self, change: Floats, bend: Floats, most: float, *, hold: bool) -> None:
        """Change the parameters by these."""
        self.heights = np.maximum(self.heights + change[:, 0], -1e9 if hold else 0.0)
        self.grounds = self.grounds + change[:, -1]
        if not hold:
            self.places = self.places + np.clip(change[:, 1:3], -most, most)
        self.shape = self.shape.copy()
        self.shape[3:] += bend[3:]
        # what has become wider or narrower is so from now on: the axes take it up
        (down, both, across) = bend[:3]
        values, turn = np.linalg.eigh(np.array([[2.0 * down, both], [both, 2.0 * across]]))
        factor = np.sqrt(1.0 + np.clip(values, -0.4, 0.6))
        bent, sizes, back = np.linalg.svd(self.axes @ (turn * factor) @ turn.T)
        self.axes = (bent * np.clip(sizes, STRETCH[0] * self.width, STRETCH[1] * self.width)) @ back

    def _bent(self) -> Floats:
        """Return by how much the shape differs from a round Gaussian, shape (s,)."""
        square = self.axes @ self.axes.T / self.width**2
        return np.array(
            [0.5 * (square[0, 0] - 1.0), square[0, 1], 0.5 * (square[1, 1] - 1.0), *self.shape[3:]]
        )

    def widen(self) -> None:
        """Set the common width to what the strong columns' second moments say."""
        rows, columns, inside = self.patches(PATCH * self.width)
        use = self.heights >= np.percentile(self.heights, 50)
        trials = np.linspace(0.7, 1.4, 15) * self.width
        low, high = (edge / self.image.pixel_A for edge in WIDTHS_A)
        trials = trials[(trials >= low) & (trials <= high)]
        data = self.image.counts[rows, columns][use]
        mask = (inside & self.image.seen[rows, columns])[use].astype(np.float64)
        others = (
            self.model()[rows, columns] - self.heights[:, None] * self.bells(rows, columns)[0]
        )[use]
        dy, dx = (rows - self.places[:, :1])[use], (columns - self.places[:, 1:])[use]
        losses = []
        for trial in trials:
            bell = np.exp(-0.5 * (dy**2 + dx**2) / trial**2)
            basis = np.stack([bell, np.ones_like(bell)], axis=-1)
            normal = _normal(basis, mask)
            right = np.einsum("npi,np,np->ni", basis, mask, data - others)
            found = np.linalg.solve(normal, right[..., None])
            left = data - others - (basis @ found)[..., 0]
            losses.append(float(np.sum(mask * left**2)))
        if losses:
            self.width = float(trials[int(np.argmin(losses))])
            self.axes = self.width * np.eye(2)

    def variance(self) -> Floats:
        """Return the variance of each pixel, as the fit leaves it: constant plus proportional."""
        derivatives, weights, left, level = self._terms(np.ones_like(self.image.counts))
        good = weights > 0
        square, level = left[good] ** 2, np.maximum(level[good], 0.0)
        # What the jitter leaves behind is no noise of pixels: it has the shape of a slope.
        slopes = [derivatives[..., i][good] ** 2 for i in (1, 2)]
        keep = square < np.percentile(square, 99)
        basis = np.column_stack([np.ones_like(level), level, *slopes])[keep]
        constant, slope = _positive_fit(basis, square[keep])[:2]
        # 1.06: what cutting the largest hundredth of squares of normal numbers takes away
        smooth = np.maximum(self.model() + float(np.median(self.grounds)), 0.0)
        floor = max(float(square.mean()) * 0.05, 1e-12)
        found: Floats = 1.06 * np.maximum(max(slope, 0.0) * smooth + constant, floor)
        return found

    def result(self, variance: Floats, *, hold: bool) -> Fitted:
        """Return the columns with their deviations."""
        equations = self._equations(variance, hold=hold)
        spread = spread_of(equations)
        free = np.maximum((equations.weights > 0).sum(axis=1) - equations.derivatives.shape[2], 1.0)
        misfit = (equations.weights * equations.left**2).sum(axis=1) / free
        # two deviations of chi^2 are chance
        misfit = np.maximum(misfit / (1.0 + 2.0 * np.sqrt(2.0 / free)), 1.0)
        total = spread.noise * misfit[:, None] + spread.lines
        places_var = np.zeros_like(self.places) if hold else total[:, 1:3]
        return Fitted(
            self.places,
            np.sqrt(places_var),
            self.heights,
            np.sqrt(total[:, 0]),
            self.grounds,
            self.width,
            spread.jitter,
        )

    def _equations(self, variance: Floats, *, hold: bool) -> Equations:
        """Return what ties the parameters of all columns together; places that are held move nothing."""
        derivatives, weights, left, _ = self._terms(variance)
        rows, columns, _ = self.patches(PATCH * self.width)
        wide_rows, wide_columns, inside = self.patches(REACH * self.width)
        first, second = self.functions(wide_rows, wide_columns)
        bell, down, across = self.bells(wide_rows, wide_columns)
        height = np.where(inside, self.heights[:, None], 0.0)
        wide = np.stack([np.where(inside, bell, 0.0), height * down, height * across], axis=-1)
        shared = [
            self._summed(wide_rows, wide_columns, height * first[i] * second[j]) for i, j in SHAPES
        ]
        # a line that starts late shows the sample as farther on
        slopes = [-self._summed(wide_rows, wide_columns, wide[..., i]) for i in (1, 2)]
        pixels = self.image.counts.shape[1] * rows + columns
        wide_pixels = self.image.counts.shape[1] * wide_rows + wide_columns
        if hold:
            derivatives, wide = derivatives[..., [0, 3]], wide[..., :1]
        return Equations(
            places=self.places,
            pixels=pixels,
            derivatives=derivatives,
            weights=weights,
            wide_pixels=wide_pixels,
            wide_derivatives=wide,
            variance=variance,
            slopes=np.stack(slopes, axis=-1),
            shared=np.stack(shared, axis=-1),
            prior=SHAPE_PRIOR,
            surprise=-self._bent(),
            left=left,
            pixel_A=self.image.pixel_A,
        )


def _hermites(away: Floats) -> list[Floats]:
    """Return a Gaussian times Hermite's polynomials He_0 to He_5 at a distance in widths."""
    found = [np.exp(-0.5 * away**2)]
    found.append(away * found[0])
    for order in range(1, 5):
        found.append(away * found[order] - order * found[order - 1])
    return found


def _positive_fit(basis: Floats, values: Floats) -> Floats:
    """Return least-squares coefficients, those that would be negative left out one after another."""
    used = list(range(basis.shape[1]))
    while used:
        found = np.linalg.lstsq(basis[:, used], values, rcond=None)[0]
        if float(found.min()) >= 0.0:
            break
        used.pop(int(np.argmin(found)))
    result = np.zeros(basis.shape[1])
    if used:
        result[used] = found
    return result


def _normal(derivatives: Floats, weights: Floats) -> Floats:
    """Return the normal matrices, shape (n, k, k), kept from being singular."""
    normal: Floats = np.einsum("npi,np,npj->nij", derivatives, weights, derivatives)
    size = normal.shape[-1]
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] / size
    diagonal = np.einsum("nii->ni", normal)
    diagonal += 1e-9 * np.maximum(scale[:, :, 0], 1e-30)
    return normal


def smoothed(values: Floats, sigma: float) -> Floats:
    """Return values under a Gaussian, mirrored at the borders."""
    pad = int(np.ceil(4.0 * sigma))
    padded = np.pad(values, pad, mode="symmetric")
    ky, kx = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None]
    damping = np.exp(-2.0 * np.pi**2 * sigma**2 * (kx**2 + ky**2))
    smooth = np.fft.irfft2(np.fft.rfft2(padded) * damping, s=padded.shape)
    result: Floats = smooth[pad:-pad, pad:-pad] if pad else smooth
    return result


def _kernel_square(sigma: float) -> float:
    """Return the sum of squares of a Gaussian kernel: by how much it lowers white noise."""
    return 1.0 / (4.0 * np.pi * sigma**2) if sigma > 0.3 else 1.0


def _noise_of(image: Image) -> float:
    """Return the standard deviation of the noise, from second differences of neighbours [counts]."""
    data, seen = image.counts, image.seen
    second = data[:, :-2] - 2.0 * data[:, 1:-1] + data[:, 2:]
    good = seen[:, :-2] & seen[:, 1:-1] & seen[:, 2:]
    values = (
        second[good] if good.sum() > 50 else (data[seen] - np.median(data[seen])) * np.sqrt(6.0)
    )
    return float(1.4826 * np.median(np.abs(values)) / np.sqrt(6.0))


def _dilated(values: Floats, radius: int) -> Floats:
    """Return the largest value in the disk around each pixel."""
    largest = values.copy()
    for down in range(-radius, radius + 1):
        for across in range(-radius, radius + 1):
            if (down or across) and down**2 + across**2 <= radius**2:
                largest = np.maximum(largest, _shifted(values, down, across, -np.inf))
    return largest


def _eroded_mean(values: Floats, wide: Floats, radius: int) -> Floats:
    """Return the level from which a maximum stands out: the mean of the lowest near it and around."""
    lowest = values.copy()
    for down in range(-2 * radius, 2 * radius + 1, max(1, radius // 2)):
        for across in range(-2 * radius, 2 * radius + 1, max(1, radius // 2)):
            lowest = np.minimum(lowest, _shifted(values, down, across, np.inf))
    return 0.5 * (lowest + np.minimum(wide, values))


def _shifted(values: Floats, down: int, across: int, fill: float) -> Floats:
    moved = np.full_like(values, fill)
    height, width = values.shape
    moved[max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)] = values[
        max(-down, 0) : height + min(-down, 0), max(-across, 0) : width + min(-across, 0)
    ]
    return moved
