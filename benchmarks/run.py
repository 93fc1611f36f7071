"""Run the benchmarks of docs/performance.md one after the other, and print a table of all ratios and their targets.

``make benchmark``, or ``python benchmarks/run.py [SCRIPT...]``: about 8 minutes on two quiet cores. What else runs on
the machine changes the numbers. The exit code says whether all benchmarks ran, not whether targets are reached.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

from hepgan.data.cores import available_cores
from hepgan.progress import duration

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("train_step", "roofline", "parallel", "streaming", "generation", "reading")
TARGETS = {  # a ratio has that of the first pattern that it matches; several have none
    "v0.1": 5.0,
    "plain": 8.0,
    "v0.1-rich": 2.0,
    "workers_2_batch_256": 1.7,
    "workers_2_batch_512": 1.7,
    "stream/eplus": 0.9,
    "stream/rich": 0.9,
    "generation-*-one-core": 0.8,
    "generation-*-two-cores": 1.7,
    "reading-*": 0.8,
}


def ratios_of(script: Path) -> tuple[dict[str, float], int]:
    """Run a benchmark and show what it prints.

    Returns:
        Its lines ``ratio NAME VALUE``, and its exit code.
    """
    found = {}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            match line.split():
                case ["ratio", name, value]:
                    found[name] = float(value)
    return found, process.returncode


def table(ratios: dict[str, float]) -> list[str]:
    """Lines with name, value, target and whether it is reached."""
    lines = [f"{'ratio':44}{'got':>8}{'target':>8}"]
    for name, value in ratios.items():
        target = next((t for pattern, t in TARGETS.items() if fnmatchcase(name, pattern)), None)
        goal = "" if target is None else f"{target:8.2f}  {'reached' if value >= target else 'missed'}"
        lines.append(f"{name:44}{value:8.2f}{goal}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = [FOLDER / f"{name}.py" for name in SCRIPTS]
    parser.add_argument("scripts", nargs="*", type=Path, default=default, help="benchmarks to run")
    scripts = parser.parse_args().scripts
    ratios, failed, started = {}, [], time.monotonic()
    for k, script in enumerate(scripts, 1):
        print(f"== {script.name} ({k} of {len(scripts)})", flush=True)
        found, code = ratios_of(script)
        ratios |= found
        if code != 0:
            failed.append(script.name)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "uproot", "onnxruntime", "numpy"))
    print(
        f"\n{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}"
    )
    print(*table(ratios), sep="\n")
    print(f"took {duration(time.monotonic() - started)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
