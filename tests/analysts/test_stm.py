import numpy as np
import pytest
from scipy import ndimage

from twinloop.analysts.interface import find_analyst
from twinloop.analysts.stm import STMAnalyst
from twinloop.analysts.stm_islands import count_islands
from twinloop.errors import ArgumentError
from twinloop.simulators.film_structure import MESH_A, MONOLAYER_A
from twinloop.simulators.kmc import Film, GrowthParameters

ANALYST = STMAnalyst()
PITCH_A = 2.0
TIP_A, DECAY_PER_A = 8.5, 1.09


def dilated(heights, pixels, centre=(0.0, 0.0)):
    """What a tip sees of columns, as a cheap stand-in [A]: each adds exp(2 kappa z) of its own sphere."""
    places = (np.arange(pixels) - 0.5 * (pixels - 1)) * PITCH_A
    side = heights.shape[0]
    at = np.stack(np.meshgrid(places + centre[0], places + centre[1]), axis=-1) / MESH_A
    nearest = np.rint(at).astype(int)
    total = np.zeros((pixels, pixels))
    for i in range(-2, 3):
        for j in range(-2, 3):
            site = nearest + np.array([i, j])
            far2 = ((at - site) ** 2).sum(axis=-1) * MESH_A**2
            top = heights[site[..., 1] % side, site[..., 0] % side] * MONOLAYER_A
            reach = np.sqrt(np.maximum(TIP_A**2 - far2, 0.0))
            total += np.where(far2 < TIP_A**2, np.exp(2.0 * DECAY_PER_A * (top + reach - TIP_A)), 0)
    inside = heights[np.ix_(nearest[:, 0, 1] % side, nearest[0, :, 0] % side)]
    return np.log(total) / (2.0 * DECAY_PER_A), inside, places


def recorded(z, places, rng, *, tilt=(0.012, -0.007), noise_A=0.02, scale=1.0):
    """Both directions of an image with tilt, 1/f noise of lines and white noise."""
    plane = tilt[0] * places[None, :] + tilt[1] * places[:, None]
    offsets = np.cumsum(0.02 * rng.standard_normal(z.shape[0]))[:, None]
    both = [
        scale * (z + plane + offsets) + noise_A * rng.standard_normal(z.shape) for _ in range(2)
    ]
    return {"z_forward_A": both[0], "z_backward_A": both[1], "x_A": places, "y_A": places}


def true_columns(heights, places, centre):
    """The columns whose middle lies in the frame."""
    half = 0.5 * PITCH_A
    ranges = [
        np.arange(
            int(np.ceil((places[0] + c - half) / MESH_A)),
            int(np.ceil((places[-1] + c + half) / MESH_A)),
        )
        % heights.shape[0]
        for c in (centre[1], centre[0])
    ]
    return heights[np.ix_(*ranges)]


def island_area_nm2(columns):
    return (columns.shape[0] - 1) * (columns.shape[1] - 1) * MESH_A**2 / 100.0


def terraces(size=48):
    heights = np.zeros((size, size), np.int64)
    heights[:, size // 3 :] = 1
    heights[:, 2 * size // 3 :] = 2
    return heights


def test_the_analyst_is_found_by_its_name():
    assert find_analyst("twinloop.analysts.stm:STMAnalyst") is STMAnalyst


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.05, 0.02), (-0.03, 0.06)])
def test_tilt_and_line_offsets_do_not_change_the_layers(tilt):
    z, inside, places = dilated(terraces(), 96)
    rng = np.random.default_rng(1)
    seen = ANALYST.compute("film", **recorded(z, places, rng, tilt=tilt))
    assert seen.is_terraced
    assert seen.roughness_ML == pytest.approx(inside.std(), abs=0.05)
    assert seen.coverage_by_layer.size == 2
    assert seen.coverage_by_layer == pytest.approx(
        [(inside >= 1).mean(), (inside >= 2).mean()], abs=0.05
    )


def test_the_height_of_a_step_follows_the_calibration_of_z():
    z, _, places = dilated(terraces(), 96)
    rng = np.random.default_rng(1)
    for scale in (0.97, 1.0, 1.03):
        seen = ANALYST.compute("film", **recorded(z, places, rng, scale=scale))
        assert seen.step_height_A == pytest.approx(scale * 2.8267, rel=0.015)


def test_islands_are_counted_with_their_density():
    heights = np.zeros((64, 64), np.int64)
    for row in range(4, 60, 14):
        for column in range(6, 60, 14):
            heights[row : row + 5, column : column + 5] = 1
    z, _, places = dilated(heights, 120, centre=(128.0, 128.0))
    seen = ANALYST.compute("film", **recorded(z, places, np.random.default_rng(0)))
    assert seen.islands_counted == 16
    true = 16 / (120 * PITCH_A / 10.0) ** 2
    assert seen.islands_low_per_nm2 < true < seen.islands_high_per_nm2
    assert seen.islands_per_nm2 == pytest.approx(true, rel=0.2)


def test_areas_side_by_side_count_each_island_once():
    rng = np.random.default_rng(3)
    whole = np.zeros((96, 96), np.int64)
    for row, column in rng.integers(0, 93, (60, 2)):
        whole[row : row + 3, column : column + 3] = 1
    whole[0] = whole[:, 0] = 0
    count = count_islands(whole).count
    assert count == ndimage.label(whole, np.ones((3, 3)))[1]
    # the first line and column of an area are those of the next one before it
    parts = [
        whole[max(r - 1, 0) : r + 48, max(c - 1, 0) : c + 48] for r in (0, 48) for c in (0, 48)
    ]
    assert sum(count_islands(part).count for part in parts) == count
    everything = sum(ndimage.label(part, np.ones((3, 3)))[1] for part in parts)
    assert everything > count


@pytest.mark.timeout(300)
def test_the_intervals_hold_the_truth_on_grown_films():
    """A cheap stand-in images 200 films; `docs/validation/stm_analyst.py` does it with the twin."""
    rough, islands = [], []
    for case in range(200):
        rng = np.random.default_rng([4, case])
        parameters = GrowthParameters(multi_hop=8)
        film = Film.flat(size=48, parameters=parameters, seed=case)
        dose_ML = float(rng.choice([0.15, 0.3, 0.5, 1.2, 2.0, 3.3]))
        film.advance(
            temperature_K=float(rng.uniform(620.0, 740.0)), flux_ML_per_s=0.5,
            duration_s=dose_ML / 0.5, max_events=300_000,
        )  # fmt: skip
        centre = rng.uniform(0.0, 190.0, 2)
        z, _, places = dilated(film.heights, 64, centre=centre)
        seen = ANALYST.compute("film", **recorded(z, places, rng))
        rough.append(
            abs(true_columns(film.heights, places, centre).std() - seen.roughness_ML)
            <= 1.645 * seen.roughness_sd_ML
        )
        columns = true_columns(film.heights, places, centre)
        true = count_islands(columns, smallest_cells=4).count / island_area_nm2(columns)
        islands.append(seen.islands_low_per_nm2 - 1e-9 <= true <= seen.islands_high_per_nm2 + 1e-9)
    assert 0.80 <= np.mean(rough) <= 0.99
    assert 0.80 <= np.mean(islands) <= 0.99


def lattice_image(matrix, *, pixels=128, pitch_A=0.35, defects=(), noise_A=0.01, seed=0):
    """A hexagonal lattice seen through x_true = M x_seen, with bumps at true places."""
    places = (np.arange(pixels) - 0.5 * (pixels - 1)) * pitch_A
    seen = np.stack(np.meshgrid(places, places), axis=-1)
    true = seen @ np.asarray(matrix).T
    length = 4.0 * np.pi / (np.sqrt(3.0) * 2.4595)
    z = np.zeros((pixels, pixels))
    for angle in (0.3, 0.3 + np.pi / 3.0, 0.3 + 2.0 * np.pi / 3.0):
        wave = length * np.array([np.cos(angle), np.sin(angle)])
        z += 0.04 * np.cos(true @ wave)
    for place in defects:
        far2 = ((true - np.asarray(place)) ** 2).sum(axis=-1)
        z += 0.8 * np.exp(-0.5 * far2 / 1.5**2)
    rng = np.random.default_rng(seed)
    noisy = [z + noise_A * rng.standard_normal(z.shape) for _ in range(2)]
    return {"z_forward_A": noisy[0], "z_backward_A": noisy[1], "x_A": places, "y_A": places}


@pytest.mark.parametrize(
    "matrix", [np.eye(2), [[1.03, 0.02], [0.0, 0.97]], [[0.96, -0.03], [0.0, 1.02]]]
)
def test_a_lattice_gives_back_scale_and_shear(matrix):
    matrix = np.array(matrix)
    seen = ANALYST.compute("lattice", **lattice_image(matrix))
    assert seen.is_lattice
    assert seen.x_scale == pytest.approx(matrix[0, 0], abs=0.004)
    assert seen.y_scale == pytest.approx(matrix[1, 1], abs=0.004)
    assert seen.shear == pytest.approx(matrix[0, 1], abs=0.004)
    expected_A = 2.4595 / np.sqrt(matrix[0, 0] * matrix[1, 1])
    assert seen.spacing_A == pytest.approx(expected_A, abs=3.0 * seen.spacing_sd_A)


def test_without_a_lattice_there_is_none_and_the_scanner_is_believed():
    places = np.arange(96) * 0.35
    rng = np.random.default_rng(2)
    z = 0.05 * rng.standard_normal((96, 96))
    seen = ANALYST.compute("lattice", z_forward_A=z, z_backward_A=z, x_A=places, y_A=places)
    assert not seen.is_lattice
    assert (seen.x_scale, seen.y_scale, seen.shear) == (1.0, 1.0, 0.0)


def test_defects_lie_where_they_are_whatever_the_scanner_does():
    true = np.array([[-9.0, 6.0], [8.0, -4.0], [5.0, 12.0]])
    matrix = np.array([[1.06, 0.05], [0.0, 0.95]])
    seen = ANALYST.compute("defects", **lattice_image(matrix, defects=true))
    assert seen.is_calibrated
    assert len(seen.places_A) == 3
    for place in true:
        away = np.abs(seen.places_A - place)
        best = int(np.argmin(away.sum(axis=1)))
        assert (away[best] < 3.0 * seen.places_sd_A[best]).all()


def test_an_image_that_was_scanned_downwards_has_its_defects_in_the_same_places():
    image = lattice_image(np.eye(2), defects=[(-9.0, 6.0)])
    turned = {
        "z_forward_A": image["z_forward_A"][::-1],
        "z_backward_A": image["z_backward_A"][::-1],
        "x_A": image["x_A"],
        "y_A": image["y_A"][::-1],
    }
    up, down = (ANALYST.compute("defects", **i).places_A for i in (image, turned))
    assert up == pytest.approx(down, abs=0.02)


def test_drift_is_read_from_the_line_that_was_scanned_twice():
    z, _, places = dilated(np.random.default_rng(0).integers(0, 2, (64, 64)), 120)
    moved_A = np.array([6.0, -8.0])  # while half of the frame was scanned, 30 s
    rows, columns = np.indices((1, 120))
    at = [rows + 60 - moved_A[1] / PITCH_A, columns - moved_A[0] / PITCH_A]
    check = ndimage.map_coordinates(z, at, order=1, mode="nearest")[0]
    seen = ANALYST.compute(
        "drift", z_forward_A=z, check_z_A=check, x_A=places, y_A=places,
        line_start_s=0.5 * np.arange(120), check_line=60, check_start_s=60.0,
    )  # fmt: skip
    assert seen.is_seen
    assert seen.x_A_per_s == pytest.approx(0.2, abs=2.0 * seen.sd_A_per_s)
    assert seen.y_A_per_s == pytest.approx(-8.0 / 30.0, abs=2.0 * seen.sd_A_per_s)


def test_the_edges_of_a_gap_are_where_the_blurred_steps_are():
    bias = np.linspace(-2.2, 1.4, 181)
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter1d(
        np.where(bias > 0.42, 1.0 + 0.3 * (bias - 0.42), 0.0)
        + np.where(bias < -1.35, 1.6 - 0.4 * (bias + 1.35), 0.0),
        1.5,
        mode="nearest",
    )
    seen = ANALYST.compute(
        "gap", bias_V=bias, dIdV_nS=blurred + 0.02 * rng.standard_normal(bias.size)
    )
    assert seen.is_sure
    assert seen.conduction_V == pytest.approx(0.42, abs=3.0 * seen.conduction_sd_V + 0.01)
    assert seen.valence_V == pytest.approx(-1.35, abs=3.0 * seen.valence_sd_V + 0.01)
    assert seen.gap_sd_V < 0.05


@pytest.mark.parametrize("place_V", [-0.21, 0.0, 0.13])
def test_the_dirac_point_is_the_minimum_of_the_valley(place_V):
    bias = np.linspace(-0.8, 0.8, 81)
    rng = np.random.default_rng(1)
    signal = np.abs(bias - place_V) + 0.05 + 0.01 * rng.standard_normal(bias.size)
    seen = ANALYST.compute("dirac_point", bias_V=bias[::-1], dIdV_nS=signal[::-1])
    assert seen.is_sure
    assert seen.dirac_V == pytest.approx(place_V, abs=3.0 * seen.dirac_sd_V)
    assert seen.dirac_sd_V < 0.03


def test_a_zero_mode_is_found_and_noise_is_none():
    bias = np.linspace(-0.6, 0.6, 121)
    rng = np.random.default_rng(1)
    noise = 0.02 * rng.standard_normal(bias.size)
    valley = 0.4 * np.abs(bias)
    peak = np.exp(-0.5 * ((bias - 0.02) / 0.03) ** 2)
    seen = ANALYST.compute("bound_state", bias_V=bias, dIdV_nS=valley + peak + noise)
    assert seen.is_sure
    assert seen.place_V == pytest.approx(0.02, abs=3.0 * seen.place_sd_V)
    assert seen.width_V == pytest.approx(0.03, rel=0.2)
    assert not ANALYST.compute("bound_state", bias_V=bias, dIdV_nS=noise + 1.0).is_sure


def blobs(seed):
    rng = np.random.default_rng(seed)
    heights = np.zeros((64, 64), np.int64)
    for row, column in rng.integers(0, 60, (28, 2)):
        heights[row : row + int(rng.integers(2, 5)), column : column + int(rng.integers(2, 5))] = 1
    return heights


def test_a_double_tip_is_told_from_a_single_one():
    flags = []
    for seed in range(8):
        z, _, places = dilated(blobs(seed), 120, centre=(120.0, 120.0))
        rng = np.random.default_rng(seed)
        shift = (int(rng.integers(4, 9)), int(rng.integers(-8, 9)))
        ghost = np.maximum(z, np.roll(z, shift, axis=(0, 1)) - 0.2)
        for image in (z, ghost):
            seen = ANALYST.compute("artefacts", **recorded(image, places, rng))
            flags.append(seen.is_double_tip)
    assert not any(flags[::2])
    assert sum(flags[1::2]) >= 6


def test_crash_oscillation_and_saturation_have_their_flags():
    z, _, places = dilated(blobs(1), 96)
    rng = np.random.default_rng(0)
    image = recorded(z, places, rng)
    healthy = ANALYST.compute("artefacts", **image, ringing=0.05)
    assert not healthy.is_crashed
    assert not healthy.is_oscillating
    assert not healthy.is_saturated
    assert ANALYST.compute("artefacts", **image, ringing=0.8).is_oscillating
    jumped = image | {"z_forward_A": image["z_forward_A"] + 7.0 * (np.arange(96) > 50)[:, None]}
    seen = ANALYST.compute("artefacts", **jumped, saturations=100)
    assert seen.is_crashed
    assert seen.largest_jump_A == pytest.approx(7.0, abs=0.5)
    assert ANALYST.compute("artefacts", **image, saturations=100).is_saturated


@pytest.mark.parametrize(
    ("jump_A", "ringing", "saturations", "verdict"),
    [
        (7.0, 0.05, 100, "is_crashed"),
        (7.0, 0.8, 100, "is_oscillating"),
        (0.0, 0.8, 100, "is_oscillating"),
        (0.0, 0.05, 100, "is_saturated"),
        (0.0, 0.05, 0, None),
    ],
)
def test_one_cause_has_one_verdict(jump_A, ringing, saturations, verdict):
    z, _, places = dilated(blobs(1), 96)
    image = recorded(z, places, np.random.default_rng(0))
    image["z_forward_A"] = image["z_forward_A"] + jump_A * (np.arange(96) > 50)[:, None]
    seen = ANALYST.compute("artefacts", **image, ringing=ringing, saturations=saturations)
    flags = ("is_double_tip", "is_oscillating", "is_crashed", "is_saturated")
    assert [flag for flag in flags if getattr(seen, flag)] == ([verdict] if verdict else [])


def test_defects_that_are_seen_twice_make_a_double_tip():
    once = np.array([[-12.0, 2.0], [3.0, -11.0], [-6.0, -13.0]])
    twice = np.concatenate([once, once + np.array([13.0, 9.0])])
    flags = []
    for defects in (once, twice):
        seen = ANALYST.compute("defects", **lattice_image(np.eye(2), defects=defects))
        assert len(seen.places_A) == len(defects)
        flags.append(seen.is_double_tip)
    assert flags == [False, True]
    assert (seen.twin_x_A, seen.twin_y_A) == pytest.approx((13.0, 9.0), abs=0.3)
    assert seen.twins == 3


@pytest.mark.parametrize(
    "change",
    [
        {"z_backward_A": np.zeros((96, 95))},
        {"x_A": np.arange(95.0)},
        {"y_A": np.arange(96.0) ** 2},
        {"z_forward_A": np.full((96, 96), np.nan)},
        {"z_forward_A": np.zeros((4, 4))},
    ],
)
def test_images_and_axes_that_do_not_fit_are_refused(change):
    z, _, places = dilated(blobs(1), 96)
    image = recorded(z, places, np.random.default_rng(0))
    with pytest.raises(ArgumentError):
        ANALYST.compute("film", **image | change)
