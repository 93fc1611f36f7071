"""Conditional WGAN-GP generators of detector response, from MC ROOT files to C++."""

__version__ = "0.1.0"
