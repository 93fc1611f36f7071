"""``python -m hepgan`` is the program ``hepgan``."""

from hepgan.cli import main

main()
