"""Tracks per second of the toy RICH Monte Carlo, in memory and into a ROOT file, on one core.

``python benchmarks/rich_toy.py``.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hepgan import toys


def rate(work: Callable[[], object], *, tracks: int, repeats: int) -> float:
    """Largest rate of a few runs in tracks/s: other work on the machine can only lower it."""
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = max(best, tracks / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    n, repeats = arguments.tracks, arguments.repeats
    rng = np.random.default_rng(1)
    memory = rate(lambda: toys.rich_tracks(n, rng=rng), tracks=n, repeats=repeats)
    mixture = rate(lambda: toys.rich_tracks(n, rng=rng, background=0.3), tracks=n, repeats=repeats)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "tracks.root")
        file = rate(lambda: toys.write("rich", out, n=n), tracks=n, repeats=repeats)
    print(f"in memory        {memory:10,.0f} tracks/s")
    print(f"with background  {mixture:10,.0f} tracks/s")
    print(f"into a file      {file:10,.0f} tracks/s")


if __name__ == "__main__":
    main()
