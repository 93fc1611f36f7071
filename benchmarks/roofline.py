"""How close the parts of a training step come to the rate of matrix products: ``python benchmarks/roofline.py``.

For the e+ calorimeter (3 x 96, 12 x 12, 12 x 6 cells) and a sampling calorimeter of 45 x 16 x 9 cells: operations and
bytes of each part, counted from weights and activations (each read or written once), its time on one core, and its
rate as a share of that of a large matrix product and of a large copy, both measured in the same run. The larger of
the two shares says how near the part is to a physical limit. In single precision, and, where the processor multiplies
such numbers, in half precision, as a training does by default.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measuring import median, turns

from hepgan.config import Config
from hepgan.data.tensors import TensorEvents
from hepgan.models import MODELS
from hepgan.models.network import has_half
from hepgan.objectives import linear_gradient_penalty

BATCH = 256
LAYERS = {
    "e+, 3 layers": [
        {"shape": [3, 96], "x": [-240, 240], "y": [-240, 240], "z": [-240, -150]},
        {"shape": [12, 12], "x": [-240, 240], "y": [-240, 240], "z": [-150, 197]},
        {"shape": [12, 6], "x": [-240, 240], "y": [-240, 240], "z": [197, 240]},
    ],
    "45 x 16 x 9": [
        {"shape": [16, 9], "x": [0, 6.2832], "y": [0, 45], "z": [k, k + 1], "coordinates": "polar"}
        for k in range(45)
    ],
}


@dataclass
class Part:
    """A part of a step.

    Attributes:
        name: What it does.
        function: Does it once.
        operations: Multiplications and additions.
        numbers: Numbers that are read or written at least once.
    """

    name: str
    function: Callable[[], object]
    operations: float
    numbers: float


def parts(layers: list[dict[str, object]], batch: int) -> list[Part]:
    """Parts of a step of the shower recipe; weights and events are drawn, because speed does not depend on them."""
    calorimeter = {"branches": [f"layer_{k}" for k in range(len(layers))], "layers": layers}
    conditions = [{"name": "incident_energy", "unit": "GeV", "transform": "log"}]
    config = Config.model_validate(
        {"data": {"files": ["-"], "conditions": conditions, "calorimeter": calorimeter}}
    )
    torch.manual_seed(1)
    generator_class, critic_class = MODELS[config.model.name]
    generator = generator_class(config.data, config.model)
    generator.in_half = torch.is_autocast_enabled("cpu")
    generator.start.quantile.table.copy_(torch.linspace(-3, 3, generator.start.quantile.knots))
    critic = critic_class(generator, config.model)
    n_cells = generator.calorimeter.n_cells
    condition = 10 ** (2 * torch.rand(4 * batch, 1))
    cells = 10 * torch.relu(torch.randn(4 * batch, n_cells))
    events = TensorEvents(condition, (cells, cells[:, :0]), torch.ones(4 * batch))
    critic.fit(generator, events)
    events = events.mapped(lambda part: critic.represented(generator, part))
    first = events[:batch]
    view = critic.view(generator, first)
    latent = torch.randn(generator.n_latent, batch).T
    energy = generator.incident_energy(first.condition)
    with torch.no_grad():
        normal = generator.normal(first.condition, latent)
        logs = generator.start.quantile.from_normal(normal, energy)
        showers = generator.start.scaling.inverse(logs, energy)
        fake = view.fake(latent)
    both = torch.cat([view.real.T, fake.T], 1).T
    context = view.context.repeat(2, 1)
    optimizer = torch.optim.Adam(critic.parameters(), fused=True)

    def judge() -> None:
        critic.zero_grad()
        critic.scores(both, context).mean().backward()

    def penalise() -> None:
        def traced(x):
            scores, along = critic.traced(x, view.context)
            return scores[:, 0], along

        critic.zero_grad()
        rng = torch.Generator().manual_seed(1)
        linear_gradient_penalty(traced, view.real, fake, first.weights, rng=rng).backward()

    def learn() -> None:
        generator.zero_grad()
        generator.normal(first.condition, latent).sum().backward()

    def weights(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    g, c, features, variables = weights(generator), weights(critic), view.real.shape[1], logs.shape[1]
    product, shower, seen = 2.0 * batch, variables * batch, features * batch
    quiet = torch.no_grad()
    rows: list[tuple[str, Callable[[], object], float, float]] = [
        (
            "network of the generator",
            quiet(lambda: generator.normal(first.condition, latent)),
            product * g,
            g + 3 * shower,
        ),
        (
            "its quantiles",
            quiet(lambda: generator.start.quantile.from_normal(normal, energy)),
            12 * shower,
            2 * shower,
        ),
        (
            "its energies",
            quiet(lambda: generator.start.scaling.inverse(logs, energy)),
            25 * shower,
            2 * shower,
        ),
        (
            "what the critic sees",
            quiet(lambda: critic.representation(*showers, energy)),
            40 * shower,
            4 * seen,
        ),
        ("critic, real and generated, with derivatives", judge, 6 * product * c, 3 * c + 4 * seen),
        ("gradient penalty, with derivatives", penalise, 4 * product * c, 3 * c + 4 * seen),
        ("generator with derivatives", learn, 3 * product * g, 3 * g + 6 * shower),
        ("optimizer of the critic", optimizer.step, 12.0 * c, 7 * c),
    ]
    return [Part(*row) for row in rows]


def seconds(action: Callable[[], object], *, rounds: int) -> float:
    """Median time of a call by the clock."""
    return median(turns("", {"": action}, rounds=rounds, show=False)[""]).wall


def table(title: str, layers: list[dict[str, object]], peak: float, bandwidth: float, repeats: int) -> None:
    """Print the parts of a step, given the rates of a product (operations/s) and of a copy (bytes/s)."""
    print(f"\n{title}")
    print(f"{'part':46}{'Mflop':>9}{'MB':>8}{'ms':>9}{'Gflop/s':>9}{'of product':>12}{'of copy':>9}")
    for part in parts(layers, BATCH):
        taken = seconds(part.function, rounds=repeats)
        rate, flow = part.operations / taken, 4 * part.numbers / taken
        print(
            f"{part.name:46}{part.operations / 1e6:9.1f}{4e-6 * part.numbers:8.2f}{1e3 * taken:9.2f}"
            f"{rate / 1e9:9.1f}{rate / peak:12.0%}{flow / bandwidth:9.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    large = torch.randn(2**25)
    other = large.clone()
    bandwidth = 2 * 4 * large.numel() / seconds(lambda: other.copy_(large), rounds=5)
    print(f"one core: {bandwidth / 1e9:.1f} GB/s in a copy")
    for half in [False, True] if has_half() else [False]:
        a = b = torch.randn(2048, 2048, dtype=torch.bfloat16 if half else torch.float32)
        peak = 2 * 2048**3 / seconds(lambda a=a, b=b: torch.mm(a, b), rounds=5)
        precision = "half precision" if half else "single precision"
        print(f"\n{precision}: {peak / 1e9:.0f} Gflop/s in a matrix product")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            for name, layers in LAYERS.items():
                table(f"{name}, batch {BATCH}, {precision}", layers, peak, bandwidth, arguments.repeats)


if __name__ == "__main__":
    main()
