"""Opening, running and checking a file needs neither torch nor the exporter, and no ROOT library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[1] / "versions" / "v0_1"
SHOWERS = f"""
from hepgan.inference.generator import Generator
model = Generator({str(MODELS / "showers")!r})
assert all(check.passed for check in model.check())
showers = model.generate(incident_energy=[10, 20])
assert len(showers["layer_0"]) == 2
"""
BULK = """
from hepgan.inference.bulk import generate
showers.to_root("own.root")
generate(model, "bulk.root", n=10, conditions={"incident_energy": (1.5, 60.0)})
generate(model, "again.root", conditions_from="bulk.root")
"""
REPORT = """
import json, sys, time
names = {name for module in sys.modules for name in (module.split(".")[0], ".".join(module.split(".")[:2]))}
print(json.dumps({"modules": sorted(names), "seconds": time.process_time()}))
"""
TRAINING = {
    "torch",
    "hepgan.exporting",
    "hepgan.training",
    "hepgan.models",
    "hepgan.transforms",
    "hepgan.metrics",
}
ROOT = {"awkward", "uproot", "hepgan.data", "scipy.stats", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("program", "absent"), [(SHOWERS, TRAINING | ROOT), (SHOWERS + BULK, TRAINING)], ids=["model", "bulk"]
)
def test_imports(program: str, absent: set[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program + REPORT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert not absent & set(result["modules"])
    if "hepgan.data" in absent:
        assert result["seconds"] < 1.5, "CPU time of opening, checking and generating"
