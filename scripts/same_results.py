"""Does this working tree still compute what an earlier commit did, to the last bit?

Trains the demo and the RICH recipe for a fixed number of steps, resumes nothing, evaluates, and compares with the same
commands run from a git worktree of the other commit, on the same machine: every tensor of the exported models, the
reference vectors in them, and every number of ``metrics.json``. A change of structure alone must leave all of them
identical.

    python scripts/same_results.py 7cdb791            # against a commit
    python scripts/same_results.py 7cdb791 --full     # with the slow metrics too (minutes)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {
    "demo": [
        "training.steps=40",
        "training.warm_up=10",
        "training.validate_every=20",
        "data.max_events=4000",
    ],
    "rich": ["training.steps=200", "training.validate_every=100", "data.max_events=6000"],
}
EVALUATION = {
    "demo": ["evaluation.max_events=1500", "evaluation.condition_bins=4", "evaluation.energy_bins=4"],
    "rich": ["evaluation.max_events=3000", "evaluation.condition_bins=4"],
}
PROGRAM = """
import sys
tree = sys.argv.pop(1)
sys.path.insert(0, tree)
import hepgan
assert hepgan.__file__.startswith(tree), hepgan.__file__
from hepgan.cli import main
sys.argv[0] = "hepgan"
main()
"""
VOLATILE = ("provenance", "schema")  # digests of files and versions; the schema's number
NAMES = {"generated": "sample", "samples": "sample", "rows": "verdict"}  # keys renamed between schemas
NESTED = ("distances",)  # keys that a later schema put between, so that paths are the same without them


def _hepgan(tree: Path, *arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", PROGRAM, str(tree), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise SystemExit(f"{tree}: hepgan {' '.join(arguments)} failed:\n{done.stderr}")


def _digest(model: Any) -> str:
    """The sha256 over the tensors of a model, in the order of their names."""
    total = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        total.update(onnx.numpy_helper.to_array(tensor).tobytes())
    return total.hexdigest()


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested JSON with their paths; a value with its uncertainty looks the same in every schema."""
    if isinstance(value, dict) and {"value", "uncertainty"} == set(value):
        value = [value["value"], value["uncertainty"]]
    if isinstance(value, dict):
        if "uncertainty" in value:  # a row: the two keys are a pair in the earlier schema
            pair = [value["value"], value["uncertainty"]]
            value = {key: entry for key, entry in value.items() if key != "uncertainty"} | {"value": pair}
        for key, entry in value.items():
            if key in NESTED:
                yield from _numbers(entry, path)
            elif key not in VOLATILE:
                yield from _numbers(entry, f"{path}.{NAMES.get(key, key)}")
    elif isinstance(value, list):
        for k, entry in enumerate(value):
            yield from _numbers(entry, f"{path}[{k}]")
    elif value is not None:
        yield path, value


def _results(tree: Path, out: Path, recipe: str, *, full: bool) -> dict[str, Any]:
    run = out / recipe
    changes = [f"--set={setting}" for setting in RECIPES[recipe]]
    _hepgan(tree, "train", f"hepgan/configs/{recipe}.toml", "--out", str(run), *changes)
    changes = [f"--set={setting}" for setting in EVALUATION[recipe]]
    _hepgan(tree, "evaluate", str(run), *changes, *([] if full else ["--fast"]))
    _hepgan(tree, "export", str(run), "--out", str(run / "model.onnx"))
    model = onnx.load(run / "model.onnx")
    metadata = json.loads({entry.key: entry.value for entry in model.metadata_props}["hepgan"])
    metrics = json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    timing = ("time", "samples_per_second")
    return {
        "weights": _digest(model),
        "metadata digest of the weights": metadata["weights_sha256"],
        **{f"reference{path}": number for path, number in _numbers(metadata["reference"])},
        **{f"headline{path}": number for path, number in _numbers(metadata["metrics"])},
        **{
            f"metrics.jsonl{path}": number
            for path, number in _numbers(
                [{k: v for k, v in line.items() if k not in timing} for line in lines]
            )
        },
        **{f"metrics.json{path}": number for path, number in _numbers(metrics)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--full", action="store_true", help="with the metrics that --fast leaves out")
    parser.add_argument("--recipe", choices=list(RECIPES), action="append", help="default: all")
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), given.commit], check=True)
        try:
            for recipe in given.recipe or RECIPES:
                before = _results(tree, Path(folder) / "before", recipe, full=given.full)
                after = _results(ROOT, Path(folder) / "after", recipe, full=given.full)
                missing = [key for key in before if key not in after]
                different = [
                    key
                    for key in before.keys() & after.keys()
                    if before[key] != after[key]
                    and not (
                        isinstance(before[key], float) and math.isnan(before[key]) and math.isnan(after[key])
                    )
                ]
                same = len(before) - len(missing) - len(different)
                print(
                    f"{recipe}: {same} of {len(before)} values identical, {len(after) - len(before)} more now"
                )
                for key in [*missing, *sorted(different)][:20]:
                    print(f"  {key}: was {before[key]!r}, is {after.get(key)!r}")
                failed |= bool(missing or different)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
