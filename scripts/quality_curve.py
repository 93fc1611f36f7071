"""Quality against training time: classifier AUC of copies of a run folder, on showers not used in the training.

A training overwrites its checkpoint; copy the run folder now and then (``config.toml`` and ``checkpoint/``), and give
the copies to ``python scripts/quality_curve.py --data test.root COPY [COPY ...]``. For each copy it prints the step,
the minutes of training, the physics distance on the validation events, and the AUC of gradient boosting on all shower
shapes and the conditions, between the averaged generator and the data. The last line compares the data with itself.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.metrics import two_sample_test
from hepgan.training import checkpoint
from hepgan.training.run_folder import load_generator
from hepgan.transforms.shower_shapes import ShowerShapes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("copies", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'step':>8} {'minutes':>8} {'distance':>9} {'AUC':>7} {'+-':>6}")
    for copy in arguments.copies:
        generator, config, progress = load_generator(copy)
        events = TensorEvents.of(read(config.data, files=[arguments.data]))
        energy = generator.incident_energy(events.condition)
        shapes = ShowerShapes(generator.calorimeter, n_overflow=generator.n_overflow)
        conditions = np.log(events.condition.numpy())

        def features(cells: torch.Tensor, overflow: torch.Tensor) -> np.ndarray:
            """Shower shapes and conditions (N, F)."""
            return np.concatenate([shapes(cells, overflow, energy).numpy(), conditions], 1)  # noqa: B023

        reference = features(events.cells, events.overflow)
        tensors, _ = checkpoint.load(copy / "checkpoint" / "state.safetensors")
        generator.load_state_dict(checkpoint.part(tensors, "ema"))
        noise = torch.Generator().manual_seed(arguments.seed)
        with torch.no_grad():
            parts = [
                generator(c, torch.randn(len(c), generator.n_latent, generator=noise))
                for c in events.condition.split(1000)
            ]
        sample = features(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
        auc, error = two_sample_test(
            sample, reference, rng=np.random.default_rng(arguments.seed), paired=True
        ).auc
        print(
            f"{progress.step:8d} {progress.elapsed / 60:8.1f} {progress.best_distance:9.4f} {auc:7.4f} {error:6.4f}",
            flush=True,
        )
    half = len(reference) // 2
    auc, error = two_sample_test(
        reference[half:], reference[:half], rng=np.random.default_rng(arguments.seed)
    ).auc
    print(f"{'data':>8} {'':8} {'':9} {auc:7.4f} {error:6.4f}")


if __name__ == "__main__":
    main()
