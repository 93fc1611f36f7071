"""Toy Monte Carlo with known truth: quick samples to develop on and to test against closed forms."""

from hepgan.toys.jets import jet_images
from hepgan.toys.mixtures import GRID_SIGMA, RING_SIGMA, grid, grid_centres, ring, ring_centres
from hepgan.toys.rich import rich_tracks
from hepgan.toys.shower_shapes import shower_shape
from hepgan.toys.writer import TOYS, Toy, write

__all__ = [
    "GRID_SIGMA",
    "RING_SIGMA",
    "TOYS",
    "Toy",
    "grid",
    "grid_centres",
    "jet_images",
    "rich_tracks",
    "ring",
    "ring_centres",
    "shower_shape",
    "write",
]
