"""The table of toys, and the writer of their events to a ROOT file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hepgan
from hepgan.files import near
from hepgan.progress import event_bar
from hepgan.toys.jets import jet_images
from hepgan.toys.mixtures import grid, ring
from hepgan.toys.rich import rich_tracks
from hepgan.toys.shower_shapes import shower_shape
from hepgan.trees import COMPRESSION, check_compression, cluster_rows, tree_file

__all__ = ["TOYS", "Toy", "write"]

_LOG = logging.getLogger(__name__)
_CHUNK = 50_000  # events drawn at once; another number gives other events of the same seed


@dataclass(frozen=True)
class Toy:
    """A toy.

    Args:
        tree: Name of the tree to write.
        title: Title of the tree: its content and the units.
        sample: Function that draws the branches, from a number of events, ``rng=`` and the options of the toy.
        options: Names of these options.
    """

    tree: str
    title: str
    sample: Callable[..., dict[str, NDArray[Any]]]
    options: tuple[str, ...] = ()


TOYS = {
    "rich": Toy("tracks", "tracks in a toy RICH: Brunel_P MeV", rich_tracks, ("species", "background")),
    "shower-shape": Toy("showers", "centres (mm, rad) and log energies (GeV) of toy showers", shower_shape),
    "ring": Toy("points", "points in eight Gaussian modes on a circle", ring),
    "grid": Toy("points", "points in 25 Gaussian modes on a square lattice", grid),
    "jets": Toy("jets", "jet images: pT in pixels of eta by phi, GeV", jet_images),
}


def write(
    name: str,
    out: str | Path,
    *,
    n: int,
    seed: int = 1,
    compression: str = COMPRESSION,
    progress: bool = False,
    **options: Any,
) -> int:
    """Write events of a toy to a ROOT file; memory does not grow with their number.

    Args:
        name: A name in `TOYS`.
        out: The file; it appears when it is complete, and replaces a file of that name.
        n: Number of events.
        seed: The same seed gives the same events.
        compression: See `hepgan.trees.CODECS`.
        progress: Show a progress bar.
        options: Options of the toy, such as ``species`` and ``background`` of `rich_tracks`.

    Returns:
        The number of events.

    Raises:
        ValueError: If there is no such toy or compression, or it has no such option, or an option is out of range.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    if name not in TOYS:
        raise ValueError(f"toy {name!r}: there is none of this name; {near(name, TOYS)}")
    for option in options:
        if option not in TOYS[name].options:
            having = [other for other, toy in TOYS.items() if option in toy.options]
            remedy = (
                f"leave it out, only {' and '.join(map(repr, having))} has it" if having else "leave it out"
            )
            raise ValueError(f"{option}: the toy {name!r} has no such option; {remedy}")
    if n < 1:
        raise ValueError(f"n: expected a positive number of events, got {n}; add -n N")
    check_compression(compression)
    toy, seeds = TOYS[name], np.random.SeedSequence(seed)
    samples = (
        toy.sample(min(_CHUNK, n - start), rng=np.random.default_rng(seeds.spawn(1)[0]), **options)
        for start in range(0, n, _CHUNK)
    )
    first = next(samples)  # checks the options before anything is made
    origin = {"hepgan": hepgan.__version__, "toy": name, "events": n, "seed": seed, "options": options}

    rows = cluster_rows(sum(int(np.prod(values.shape[1:])) for values in first.values()))
    with (
        event_bar("generating", total=n, show=progress) as show_done,
        tree_file(
            out,
            toy.tree,
            content="events",
            rows=rows,
            title=toy.title,
            compression=compression,
            notes={"generated_by": json.dumps(origin)},
        ) as tree,
    ):
        done = 0
        for branches in chain([first], samples):
            tree.extend(branches)
            done += len(next(iter(branches.values())))
            show_done(done)
    _LOG.info("%s: %d events", out, n)
    return n
