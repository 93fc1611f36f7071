"""Objectives: each row by hand, trained, stopped, exported; and the divergences that critics estimate."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from run_files import differing_tensors, log_lines, saved_tensors
from scipy.stats import ks_2samp, norm
from torch import nn

from hepgan import config, objectives
from hepgan.data.tensors import TensorEvents
from hepgan.inference.generator import Generator
from hepgan.metrics import DIVERGENCES
from hepgan.models import DllGenerator
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.spectral_norm import normalise_spectrum
from hepgan.objectives import (
    DIVERGENCES_F,
    OBJECTIVES,
    REGULARISERS,
    energy_distance,
    energy_score,
    expectation,
    gradient_penalty,
    kernel_score,
)
from hepgan.training import checkpoint
from hepgan.training.loop import train
from hepgan.training.reweighting import density_ratio
from hepgan.training.run_folder import load_generator

LN2 = math.log(2)


@dataclass(frozen=True)
class Row:
    """Expected numbers of an objective, computed by hand, for one real event and one or two generated ones.

    Attributes:
        real: Scores of the real event.
        fakes: Scores of each generated event.
        value: Value of the game.
        generator: Loss of the generator.
        ratio: Ratio of the densities at the real event.
        ks: Largest KS distance to the data after `STEPS` on the 1-D Gaussian; an untrained generator has more than 0.3.
        settings: Settings of the objective.
    """

    real: list[float]
    fakes: list[list[float]]
    value: float | None
    generator: float
    ratio: float | None = None
    ks: float = 0.1
    settings: dict[str, float] = field(default_factory=dict)


STEPS = 500
WIDTHS = np.array([0.125, 0.25, 0.5, 1, 2])  # of the kernels of "mmd"
HALF, ONE, TWO = (math.log(math.expm1(r)) - math.log(math.expm1(1)) for r in (0.5, 1, 2))  # v of these ratios
LOGISTIC = 2 * math.log(2 / 3)  # D = 2/3 of the real event, 1/3 of the other

ROWS = {
    "wgan-gp": Row([2.0], [[-1.0]], 3.0, 1.0),
    "wgan-gp-one-sided": Row([2.0], [[-1.0]], 3.0, 1.0),
    "wgan-clip": Row([2.0], [[-1.0]], 3.0, 1.0, settings={"clip": 0.1}),  # 0.01 is for wide critics
    "cramer": Row([3.0, 4.0], [[0.0, 0.0], [0.0, 4.0]], (3 - 5) - (4 - 0), 5 + 3 - 4),
    "minimax": Row([LN2], [[-LN2]], LOGISTIC, -math.log(1.5), 2.0),
    "non-saturating": Row([LN2], [[-LN2]], LOGISTIC, math.log(3), 2.0),
    "least-squares": Row([0.75], [[0.25]], -1 / 8, 9 / 16, 3.0),
    "hinge": Row([0.5], [[0.25]], -0.5 - 1.25, -0.25),
    "f-kl": Row([LN2], [[-LN2]], 1 + LN2 - 0.5, -0.5, 2.0),
    "f-reverse-kl": Row([LN2], [[-LN2]], -0.5 + LN2 + 1, LN2 + 1, 2.0),
    "f-pearson": Row([2 * LN2], [[-2 * LN2]], 0.75 + 2, 2.0, 2.0),
    "f-neyman": Row([2.0], [[-1.0]], 2 + 0.75, 0.75, 2.0),
    "f-squared-hellinger": Row([2 * LN2], [[-2 * LN2]], 0.5 + 0.5, 0.5, 4.0),
    "f-jensen-shannon": Row([LN2], [[-LN2]], math.log(4 / 3), 0.5 * math.log(4 / 3), 2.0),
    "f-jeffrey": Row([LN2], [[-LN2]], 1 + 2 * LN2, 0.5 + LN2, 2.0),
    "f-total-variation": Row([LN2], [[-LN2]], 0.6, 0.3),
    "f-alpha": Row([4 * LN2], [[-4 * LN2]], 7 / 6 + 2, 2.0, 16.0),
    "ratio-class-probability": Row([LN2], [[-LN2]], LOGISTIC, LN2, 2.0),
    "ratio-kliep": Row([TWO], [[HALF]], LN2 + 0.5, LN2, 2.0),
    "ratio-lsif": Row([TWO], [[HALF]], 1 + 3 / 8, LN2, 2.0),
    "ratio-power": Row([TWO], [[HALF]], 2 * (2**0.5 - 1) + (1 - 0.5**1.5) / 1.5, LN2, 2.0),
    "energy-score": Row([0.0], [[1.0], [3.0]], None, 2 * (1 + 3 - 2)),
    "mmd": Row(
        [0.0],
        [[1.0], [3.0]],
        None,
        float(np.mean([math.exp(-4 / s) - math.exp(-1 / s) - math.exp(-9 / s) for s in 4 * WIDTHS**2])),
    ),
}
"""Objectives that need no loss of the model; the others are tested in test_vae.py and test_flow.py."""


def test_every_objective_has_a_row():
    assert ROWS.keys() == {name for name, row in OBJECTIVES.items() if not row.own}


# -- by hand


@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients_by_hand(name):
    row, objective = ROWS[name], OBJECTIVES[name]
    real, weights = torch.tensor([row.real]), torch.ones(1)
    fakes = [torch.tensor([scores], requires_grad=True) for scores in row.fakes]
    loss = objective.generator(real, fakes, weights)
    assert loss.item() == pytest.approx(row.generator, rel=1e-5)
    loss.backward()
    assert (
        fakes[0].grad @ (real - fakes[0].detach()).T
    ).item() < 0  # downhill is towards what the real event has
    if objective.game is None:
        assert row.value is None
        return
    v_real, v_fake = (objective.witness(s, fakes[-1]).detach().requires_grad_() for s in (real, fakes[0]))
    value = objective.game(v_real, v_fake, weights)
    assert value.item() == pytest.approx(row.value, rel=1e-5)
    value.backward()
    assert v_real.grad.item() > 0
    assert v_fake.grad.item() < 0
    if row.ratio is None:
        assert objective.game.ratio is None
    else:
        assert objective.game.ratio(v_real).item() == pytest.approx(row.ratio, rel=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_an_event_of_weight_two_is_two_events(name):
    row, objective = ROWS[name], OBJECTIVES[name]
    real = torch.tensor([row.real, [0.3 * x + 0.2 for x in row.real]])
    fakes = [torch.tensor([scores, [0.5 * x - 0.1 for x in scores]]) for scores in row.fakes]
    twice, weights = torch.tensor([0, 0, 1]), torch.tensor([4 / 3, 2 / 3])
    ones = torch.ones(3)
    expected = objective.generator(real[twice], [f[twice] for f in fakes], ones)
    torch.testing.assert_close(objective.generator(real, fakes, weights), expected)
    if objective.game is not None:
        v = [objective.witness(s, fakes[-1]) for s in (real, fakes[0])]
        expected = objective.game(*(x[twice] for x in v), ones)
        torch.testing.assert_close(objective.game(*v, weights), expected)


@pytest.mark.parametrize("name", [n for n, row in OBJECTIVES.items() if row.game and row.game.ratio])
def test_the_best_critic_means_the_ratio(name):
    """At each place with densities p and q the gain and cost are stationary where the witness means p/q."""
    game = OBJECTIVES[name].game
    v = torch.linspace(0.1, 0.9, 33, dtype=torch.float64, requires_grad=True)
    (up,) = torch.autograd.grad(game.gain(v).sum(), v)
    (down,) = torch.autograd.grad(game.cost(v).sum(), v)
    torch.testing.assert_close(game.ratio(v).detach(), down / up)


def test_smoothed_labels_by_hand():
    game = OBJECTIVES["minimax"].game
    smooth = game(torch.tensor([LN2]), torch.tensor([-LN2]), torch.ones(1), smoothing=0.1)
    assert smooth.item() == pytest.approx(0.9 * math.log(2 / 3) + 0.1 * math.log(1 / 3) + math.log(2 / 3))


def test_expectation_with_doubled_event_equals_weight_two():
    values = torch.tensor([1.0, 4.0, 4.0])
    weights = torch.tensor([1.0, 2.0])
    assert expectation(values[:2], weights / weights.mean()).item() == pytest.approx(values.mean().item())


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_penalty_of_a_linear_critic(slope):
    direction = torch.tensor([0.6, 0.8])
    real, fake = torch.randn(16, 2), torch.randn(16, 2)
    value = gradient_penalty(
        lambda x: slope * x @ direction,
        real,
        fake,
        torch.ones(16),
        rng=torch.Generator().manual_seed(0),
    )
    assert value.item() == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_penalty_mixes_uniformly_on_the_line_between_the_events_of_a_row():
    places = []
    real, fake = torch.ones(4000, 1), torch.zeros(4000, 1)

    def critic(x):
        places.append(x.detach())
        return x[:, 0]

    gradient_penalty(critic, real, fake, torch.ones(4000), rng=torch.Generator().manual_seed(0))
    u = places[0]
    assert 0 <= u.min() < 0.01
    assert 0.99 < u.max() <= 1
    assert u.mean().item() == pytest.approx(0.5, abs=4 / (12 * 4000) ** 0.5)
    assert u.var().item() == pytest.approx(1 / 12, rel=0.1)


def test_penalty_honours_weights_and_has_a_gradient_for_the_critic():
    # |grad| is |2 x|: the event at x = 0 pays 1, the one at x = 1 pays 1, the one at 0.5 nothing
    real = torch.tensor([[0.0], [0.5], [1.0]])
    scale = torch.tensor(1.0, requires_grad=True)
    weights = torch.tensor([0.0, 3.0, 0.0])
    value = gradient_penalty(
        lambda x: scale * (x**2)[:, 0], real, real, weights, rng=torch.Generator().manual_seed(0)
    )
    assert value.item() == pytest.approx(0, abs=1e-6)
    value = gradient_penalty(
        lambda x: scale * (x**2)[:, 0], real, real, torch.ones(3), rng=torch.Generator().manual_seed(0)
    )
    assert value.item() == pytest.approx(2 / 3, abs=1e-6)
    value.backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((2 * (2 - 1) * 2) / 3, abs=1e-5)


def test_each_block_of_a_sum_has_a_slope_of_its_own():
    # slopes 3 and 0.5 cost 4 and 0.25; together they are one slope of sqrt(9.25)
    real, fake = torch.randn(16, 5), torch.randn(16, 5)
    slopes = torch.tensor([3.0, 0.0, 0.5, 0.0, 0.0])
    rest = {"rng": torch.Generator().manual_seed(0), "blocks": (2, 3)}
    value = gradient_penalty(lambda x: x @ slopes, real, fake, torch.ones(16), **rest)
    assert value.item() == pytest.approx(4.25, abs=1e-5)


def test_blocks_give_the_sum_of_the_penalties_of_two_critics():
    torch.manual_seed(2)
    real, fake, weights = torch.randn(64, 5), torch.randn(64, 5), torch.rand(64)
    critics = [
        torch.nn.Sequential(torch.nn.Linear(n, 8), torch.nn.LeakyReLU(), torch.nn.Linear(8, 1))
        for n in (2, 3)
    ]
    parts = [x.split((2, 3), 1) for x in (real, fake)]
    separate = [
        gradient_penalty(lambda y, c=c: c(y)[:, 0], a, b, weights, rng=torch.Generator().manual_seed(7))
        for c, a, b in zip(critics, *parts, strict=True)
    ]

    def both(x):
        return sum(critic(part)[:, 0] for critic, part in zip(critics, x.split((2, 3), 1), strict=True))

    rng = torch.Generator().manual_seed(7)
    together = gradient_penalty(both, real, fake, weights, rng=rng, blocks=(2, 3))
    assert together.item() == pytest.approx(sum(s.item() for s in separate), rel=1e-5)


def test_negative_weights_do_not_reward_a_steep_critic():
    x = torch.randn(8, 2)
    arguments = (x, x, -torch.ones(8))
    value = gradient_penalty(lambda x: 5 * x[:, 0], *arguments, rng=torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(16, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"), [("wgan-gp", 4.0), ("one-sided", 4.0), ("dragan", 4.0), ("r1", 9.0)]
)
def test_regularisers_of_a_steep_linear_critic(name, expected):
    rule = REGULARISERS[name]
    real, fake = torch.randn(16, 2), torch.randn(16, 2)
    rest = {"rng": torch.Generator().manual_seed(0), "at": rule.at, "cost": rule.cost}
    value = gradient_penalty(lambda x: 3 * x[:, 0], real, fake, torch.ones(16), **rest)
    assert value.item() == pytest.approx(expected, abs=1e-5)
    flat = gradient_penalty(lambda x: 0.5 * x[:, 0], real, fake, torch.ones(16), **rest)
    assert flat.item() == pytest.approx({"one-sided": 0.0}.get(name, 0.25), abs=1e-6)


def test_dragan_looks_around_the_real_events_only():
    real, fake = 5 + 2 * torch.randn(4000, 1), torch.full((4000, 1), -100.0)
    x = objectives.around(real, fake, torch.Generator().manual_seed(0))
    assert (x - real).std().item() == pytest.approx(0.5 * 2, rel=0.1)
    assert (x - real).mean().item() == pytest.approx(0, abs=0.1)


def test_energy_distance_has_its_closed_form_for_shifted_gaussians():
    """E|X - X'| = 2 / sqrt(pi) for standard normal numbers, and 2 E|X - Y| - E|X - X'| - E|Y - Y'| is zero at home."""
    rng = torch.Generator().manual_seed(0)
    x, g, other = (torch.randn(200_000, 1, generator=rng) for _ in range(3))
    ones = torch.ones(200_000)
    own = 2 / math.sqrt(math.pi)
    assert energy_distance(x, g, other, ones).item() == pytest.approx(own, abs=0.01)
    # E|N(m, 2)| = 2/sqrt(pi) exp(-m^2/4) + m erf(m/2)
    shifted = 2 * (own * math.exp(-1 / 4) + math.erf(1 / 2)) - own
    assert energy_distance(x, g + 1, other + 1, ones).item() == pytest.approx(shifted, abs=0.01)
    assert energy_distance(x, 0.5 * g, 0.5 * other, ones).item() > own  # too narrow costs as well
    assert energy_distance(x, 2 * g, 2 * other, ones).item() > own


def test_rounding_of_equal_events_is_no_direction():
    """Tracks without a free number are equal, real or generated; two workers round them differently."""
    x = torch.full((8, 3), 2.0)
    fake = torch.nextafter(x, torch.tensor(3.0)).requires_grad_()
    distance = energy_distance(x, fake, x, torch.ones(8))
    assert distance.item() == 0
    distance.backward()
    assert fake.grad.abs().max() == 0


def test_energy_score_counts_each_coordinate_once_more():
    rng = torch.Generator().manual_seed(0)
    x, g, other = (torch.randn(64, 3, generator=rng) for _ in range(3))
    weights = torch.rand(64, generator=rng) - 0.2
    each = [energy_distance(*(t[:, k : k + 1] for t in (x, g, other)), weights) for k in range(3)]
    total = energy_distance(x, g, other, weights) + sum(each)
    assert energy_score(x, g, other, weights).item() == pytest.approx(float(total), rel=1e-4)


def test_kernel_score_has_its_closed_form_for_shifted_gaussians():
    """E exp(-d^2 / 2 s^2) = s / sqrt(s^2 + 2) exp(-m^2 / 2 (s^2 + 2)) for d normal around m with variance 2."""
    rng = torch.Generator().manual_seed(0)
    x, g, other = (torch.randn(200_000, 1, generator=rng) for _ in range(3))
    ones = torch.ones(200_000)

    def mean_kernel(m):
        squares = 2 * WIDTHS**2
        return np.mean([math.sqrt(s / (s + 2)) * math.exp(-(m**2) / (2 * (s + 2))) for s in squares])

    expected = mean_kernel(0) - 2 * mean_kernel(1)
    assert kernel_score(x, g + 1, other + 1, ones).item() == pytest.approx(expected, abs=0.004)
    own = kernel_score(x, g, other, ones).item()
    assert own == pytest.approx(-mean_kernel(0), abs=0.004)
    assert own < kernel_score(x, 0.5 * g, 0.5 * other, ones).item()
    assert own < kernel_score(x, 2 * g, 2 * other, ones).item()


# -- trained

N = 4000


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """Normal numbers, and a condition that says nothing of them."""
    import uproot

    rng = np.random.default_rng(1)
    branches = {"c": rng.random(N), "x": rng.normal(3, 2, N), "w": np.where(rng.random(N) < 0.1, -1.0, 1.0)}
    file = tmp_path_factory.mktemp("gaussian") / "gaussian.root"
    with uproot.recreate(file) as out:
        out.mktree("events", {name: np.float32 for name in branches})
        out["events"].extend({name: values.astype(np.float32) for name, values in branches.items()})
    return file, branches["x"]


@pytest.fixture
def recipe(gaussian):
    """A tiny model of it, whose generator starts as a narrow peak; the transform is a straight line."""

    def build(name, *, steps=50, settings=None, weight=None, **training_settings):
        training = {
            "steps": steps,
            "batch_size": 256,
            "lr_generator": 1e-3,
            "lr_critic": 1e-3,
            "betas": [0.5, 0.9],
            "ema": 0.95,
            "warm_up": 10,
            "log_every": steps,
            "validate_every": steps,
            "threads": 1,
        }
        data = {
            "files": [str(gaussian[0])],
            "conditions": [{"name": "c", "transform": "linear"}],
            "targets": [{"name": "x", "transform": "linear"}],
        }
        small = {"width": 16, "depth": 1, "hinges": 2, "critic_width": 32, "critic_depth": 1}
        return config.parse(
            {
                "data": data | ({"weight": weight} if weight else {}),
                "model": {"latent": 1} | small,
                "objective": {"name": name} | (settings or {}),
                "training": training | training_settings,
            }
        )

    return build


@pytest.mark.parametrize("name", ROWS)
def test_fifty_steps_stopped_and_resumed_are_fifty_steps_exported(name, recipe, tmp_path):
    settings = {"name": name, "settings": ROWS[name].settings, "validate_every": 25}
    straight = train(recipe(**settings), tmp_path / "straight", progress=False)
    stopped = train(recipe(**settings, max_minutes=1e-9), tmp_path / "stopped", progress=False)
    assert log_lines(stopped)[-1]["step"] < 50
    train(recipe(**settings), stopped, resume=True, progress=False)
    assert {key.partition(".")[0] for key in differing_tensors(straight, stopped)} <= {"best"}
    last = log_lines(straight)[-1]
    game = OBJECTIVES[name].game
    assert last["step"] == 50
    assert all(np.isfinite(value) for value in last.values())
    assert ("critic_loss" in last, game is not None and game.value in last) == (game is not None,) * 2
    assert ("penalty" in last) == (REGULARISERS[OBJECTIVES[name].regulariser].at is not None)
    (x,) = Generator(straight / "model.onnx").sample(np.full((100, 1), 0.5, np.float32), seed=1)
    assert x.shape == (100, 1)
    assert np.isfinite(x).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_converges_on_a_gaussian(name, recipe, gaussian, tmp_path):
    run = train(recipe(name, steps=STEPS, settings=ROWS[name].settings), tmp_path / "run", progress=False)
    rng = np.random.default_rng(0)
    (x,) = Generator(run / "model.onnx").sample(rng.random((20_000, 1)).astype(np.float32), seed=1)
    assert ks_2samp(x[:, 0], gaussian[1]).statistic < ROWS[name].ks
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        untrained = DllGenerator(recipe(name).data, recipe(name).model)
        untrained.load_state_dict(
            load_generator(run)[0].state_dict() | untrained.network.state_dict(prefix="network.")
        )
        (start,) = untrained(torch.rand(20_000, 1), torch.randn(20_000, 1))
    assert ks_2samp(start[:, 0], gaussian[1]).statistic > 2 * ROWS[name].ks, "it had something to learn"


@pytest.mark.parametrize("regulariser", ["wgan-gp", "one-sided", "dragan", "r1", "clip", "none"])
@pytest.mark.parametrize("name", ["minimax", "f-kl", "hinge"])
def test_every_regulariser_goes_with_every_game(name, regulariser, recipe, tmp_path):
    settings = {"regulariser": regulariser, "clip": 0.05}
    run = train(recipe(name, steps=12, settings=settings), tmp_path / "run", progress=False)
    last = log_lines(run)[-1]
    assert np.isfinite(last["critic_loss"])
    assert ("penalty" in last) == (regulariser not in ("clip", "none"))
    largest = max(v.abs().max() for k, v in saved_tensors(run).items() if k.startswith("critic.network."))
    assert (largest <= 0.05 + 1e-7) == (regulariser == "clip")


def test_spectral_norm_bounds_each_matrix_and_resumes(recipe, tmp_path):
    settings = {"settings": {"spectral_norm": True, "regulariser": "r1"}, "validate_every": 6}
    run = train(recipe("hinge", steps=12, **settings), tmp_path / "run", progress=False)
    stopped = train(
        recipe("hinge", steps=12, **settings, max_minutes=1e-9), tmp_path / "stopped", progress=False
    )
    train(recipe("hinge", steps=12, **settings), stopped, resume=True, progress=False)
    state, other = saved_tensors(run), saved_tensors(stopped)
    mine = [key for key in state if key.startswith("critic.")]
    assert all(torch.equal(state[key], other[key]) for key in mine)
    assert sum(key.endswith("weight.original") for key in mine) == 3
    key = "critic.network.last.parametrizations.weight"
    u, v = state[f"{key}.0._u"], state[f"{key}.0._v"]
    sigma = (u @ state[f"{key}.original"] @ v).item()
    assert sigma == pytest.approx(torch.linalg.matrix_norm(state[f"{key}.original"], 2).item(), rel=1e-3)


def test_smoothed_labels_hold_the_critic_back(recipe, tmp_path):
    frozen = {"steps": 60, "lr_generator": 1e-12}
    loss = []
    for smoothing in (0.0, 0.2):
        run = train(
            recipe("non-saturating", settings={"label_smoothing": smoothing}, **frozen),
            tmp_path / str(smoothing),
            progress=False,
        )
        loss.append(log_lines(run)[-1]["critic_loss"])
    assert loss[1] > loss[0]


@pytest.mark.parametrize("name", ["minimax", "ratio-kliep"])
def test_ratio_of_a_critic_reweights_the_model_to_the_data(name, recipe, gaussian, tmp_path):
    """A generator that stands still at a peak inside the data; its critic says what it lacks."""
    settings = recipe(name, steps=300, settings={"regulariser": "none"}, lr_generator=1e-12, lr_critic=3e-3)
    run = train(settings, tmp_path / "run", progress=False)
    rng = np.random.default_rng(0)
    condition = torch.from_numpy(rng.random((20_000, 1)).astype(np.float32))
    state = saved_tensors(run)
    generator = DllGenerator(settings.data, settings.model)
    generator.load_state_dict(checkpoint.part(state, "generator"))
    with torch.no_grad():
        outputs = generator(condition, torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1)))
    ratio = density_ratio(run, TensorEvents(condition, outputs, torch.ones(20_000))).numpy()
    assert (ratio >= 0).all()
    x = outputs[0][:, 0].numpy().astype(np.float64)
    inside = (gaussian[1] > x.min()) & (
        gaussian[1] < x.max()
    )  # what the model never makes no weight can give
    data = gaussian[1][inside]
    before, after = abs(x.mean() - data.mean()), abs(np.average(x, weights=ratio) - data.mean())
    assert before > 0.1
    assert after < 0.5 * before


# -- what a critic estimates

GAMES = DIVERGENCES_F | {
    name: OBJECTIVES[name].game for name in ("least-squares", "ratio-kliep", "ratio-lsif", "ratio-power")
}


@pytest.mark.parametrize("name", GAMES)
def test_critic_estimates_ratio_and_divergence_from_below(name):
    """Two Gaussians, a critic trained on samples; its value taken by quadrature, so that a bound is a bound."""
    game, mean, spread = GAMES[name], 0.7, 1.2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    rng, ones = torch.Generator().manual_seed(0), torch.ones(2048)
    for _ in range(600):
        real, fake = torch.randn(2048, 1, generator=rng), mean + spread * torch.randn(2048, 1, generator=rng)
        loss = -game(critic(real)[:, 0], critic(fake)[:, 0], ones)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    x = np.linspace(-7, 7, 4001)
    p, q = norm.pdf(x), norm.pdf(x, mean, spread)
    p, q = p / p.sum(), q / q.sum()
    with torch.no_grad():
        v = critic(torch.from_numpy(x[:, None]).float())[:, 0].double()
        value = (torch.from_numpy(p) * game.gain(v) - torch.from_numpy(q) * game.cost(v)).sum().item()
        ratio = None if game.ratio is None else game.ratio(v).numpy()
    if ratio is not None:
        assert np.abs(q * ratio - p).sum() < 0.1  # twice the total variation that is left after reweighting
        assert np.abs(q - p).sum() > 0.5
    if name in DIVERGENCES_F:
        row = DIVERGENCES[name.replace("-", "_")]
        truth = row.integrand(q, p, **({"alpha": 0.75} if name == "alpha" else {})).sum()
        if name == "kl":
            closed = math.log(spread) + (mean**2 + 1 - spread**2) / (2 * spread**2)
            assert truth == pytest.approx(closed, rel=1e-3)
        assert 0.85 * (truth - row.lower) < value - row.lower <= (truth - row.lower) * (1 + 1e-9)


# -- modes


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_gradient_penalty_keeps_the_modes_that_minimax_loses(seed, monkeypatch):
    """A short form of benchmarks/ring_modes.py, which says what ten seeds find."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import ring_modes

    assert ring_modes.modes("wgan-gp", seed=seed, steps=500).covered == 8
    assert ring_modes.modes("minimax", seed=seed, steps=500).covered < 8


# -- a loss of the model's own


def test_a_model_may_bring_its_own_loss(recipe, gaussian, tmp_path, monkeypatch):
    def loss(self, events, *, rng):
        """The energy score again, written as a model would."""
        only_pattern = torch.ones(len(events), 1)
        context = torch.cat([self.features(events.condition), only_pattern], 1)
        real = self.scaling.to_normal(events.outputs[0])
        g, other = (self.normal(context, torch.randn(len(events), 1, generator=rng)) for _ in range(2))
        return ((real - g).abs() + (real - other).abs() - (g - other).abs()).sum(1)

    with pytest.raises(
        ValueError, match=r"expected a model with a loss of its own for 'likelihood', got 'dll'"
    ):
        train(recipe("likelihood"), tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(DllGenerator, "loss", loss, raising=False)
    run = train(recipe("likelihood", steps=STEPS), tmp_path / "run", progress=False)
    (x,) = Generator(run / "model.onnx").sample(np.full((20_000, 1), 0.5, np.float32), seed=1)
    assert ks_2samp(x[:, 0], gaussian[1]).statistic < 0.1


# -- refused


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("wgan-pg", {}, r"objective.name: there is no 'wgan-pg'; did you mean 'wgan-gp'"),
        (
            "wgan-gp",
            {"regulariser": "r2"},
            r"objective.regulariser: there is no 'r2'; did you mean 'r1'",
        ),
        (
            "mmd",
            {"regulariser": "r1"},
            r"regulariser: expected none for 'mmd', which has no critic; leave it out",
        ),
        ("mmd", {"spectral_norm": True}, r"spectral_norm: expected none for 'mmd'"),
        ("energy-score", {"score": 1.0}, r"score: expected 0 for 'energy-score', which has no critic"),
        ("alpha-gan", {"score": 1.0}, r"score: expected 0 for 'alpha-gan', whose generator reconstructs"),
        (
            "hinge",
            {"label_smoothing": 0.1},
            r"label_smoothing: expected .*one of \['minimax', .*got 'hinge'",
        ),
    ],
)
def test_combinations_without_a_meaning_are_refused(name, settings, message, recipe, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(recipe(name, settings=settings), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_spectral_norm_refuses_locally_connected_layers():
    critic = nn.Sequential(
        nn.Linear(2, 6), nn.Unflatten(1, (1, 2, 3)), LocallyConnected2d(1, 2, size=(2, 3), kernel_size=1)
    )
    with pytest.raises(ValueError, match=r"spectral_norm: expected .* got the locally connected layer '2'"):
        normalise_spectrum(critic)


def test_weights_of_both_signs_need_a_loss_that_is_linear_in_them(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"one of 'wgan-gp', .* for weights of both signs, got 'f-kl'"):
        train(recipe("f-kl", weight="w"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    for name in [name for name, row in OBJECTIVES.items() if row.signed]:
        run = train(recipe(name, weight="w", steps=12), tmp_path / name, progress=False)
        assert np.isfinite(log_lines(run)[-1]["generator_loss"])


def test_a_critic_that_tells_no_ratio_gives_none(recipe, tmp_path):
    run = train(recipe("wgan-gp", steps=12), tmp_path / "run", progress=False)
    events = TensorEvents(torch.rand(5, 1), (torch.rand(5, 1),), torch.ones(5))
    with pytest.raises(ValueError, match=r"tells a density ratio, one of \['minimax', .*got 'wgan-gp'"):
        density_ratio(run, events)
