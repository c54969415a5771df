import numpy as np
import pytest
import torch

from twinloop.planners.testing import example_theory
from twinloop.planners.theory.loss import kept, n_loss

BOLTZMANN_EV_PER_K = 8.617333262e-5


def test_it_can_be_an_activated_process():
    """Interdiffusion of 3 eV between 620 and 800 K: the form is right to a few per cent of ln."""
    substrate_K = np.linspace(620.0, 800.0, 7)
    x = ((substrate_K - 620.0) / 180.0)[:, None]
    log_rate = 41.2 - 3.0 / (BOLTZMANN_EV_PER_K * substrate_K) + np.log(30.0)
    slope, center = np.polyfit(x[:, 0] - 0.5, log_rate, 1)
    w = torch.tensor([[(center + 5.0) / 2.0, slope / 5.0]])
    said = kept(x, w)[0].numpy()
    assert said == pytest.approx(np.exp(-np.exp(log_rate)), abs=0.06)
    # and its parameters are not far out in the prior
    assert np.all(np.abs(w.numpy()) < 3.0)


def test_a_priori_there_is_none_in_the_middle_and_anything_at_the_corners():
    w = torch.as_tensor(np.random.default_rng(0).standard_normal((4000, n_loss(4))))
    middle, corner = kept(np.array([[0.5] * 4, [1.0] * 4]), w).numpy().T
    assert np.median(middle) == pytest.approx(np.exp(-np.exp(-5.0)), abs=2e-3)
    assert np.quantile(middle, 0.05) > 0.8
    assert 0.1 < np.mean(corner < 0.5) < 0.3
    assert np.all(np.isfinite(kept(np.zeros((1, 4)), 100.0 * w).numpy()))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_found_where_theory_lacks_it(seed, believed):
    truth = {"place_1": 0.55, "place_2": 0.45}
    known = example_theory(9, m=200, truth=truth, missing_loss=3.0, seed=seed + 1)
    belief = believed(known)
    x = np.random.default_rng(99).random((200, 2))
    bump = np.exp(-8.0 * ((x - list(truth.values())) ** 2).sum(axis=1))
    right = bump * np.exp(-3.0 * x[:, 1])
    off = np.sqrt(np.mean((belief.moments(x)[0] - right) ** 2))
    bare = np.sqrt(np.mean((bump - right) ** 2))
    assert off < 0.25 * bare
    # it is the loss that says so: the discrepancy has little left to do
    without_rest = belief.calibrated(x).mean(0).numpy()
    assert np.sqrt(np.mean((without_rest - right) ** 2)) < 0.35 * bare


def test_without_a_loss_none_is_found(believed):
    known = example_theory(9, m=200)
    belief = believed(known)
    left = kept(known.x, torch.as_tensor(belief.loss)).mean(0).numpy()
    # where the quality is large enough to tell
    assert np.all(left[known.y[:, 0] > 0.3] > 0.93)
