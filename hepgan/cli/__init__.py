"""The command line: a thin shell over `hepgan.workflow`, one module a topic.

Exit code 0: done; 1: a check failed; 2: bad input, with one message on stderr.
"""

from hepgan.cli import data, demo, evaluation, models, training  # noqa: F401 (each adds its commands)
from hepgan.cli.app import app, main, sort_commands

__all__ = ["app", "main"]

sort_commands(
    *(
        "demo",
        "inspect",
        "convert",
        "prepare",
        "train",
        "tune",
        "evaluate",
        "compare",
        "export",
        "check",
        "generate",
        "models",
        "toy",
    ),
    "benchmark",
)
