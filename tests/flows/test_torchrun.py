"""The documented line for several processes, started beside a user's own modules of the same names as ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

from model.registry import read_info
from tests.flows.test_train_detector import models as models
from tests.pictures import write_coco

ROOT = Path(__file__).parents[2]
SMALL = "phases=[{until: 2, batch_size: 2, masks_per_image: 1, correction_points: 0}]"


def test_own_modules_of_a_user_do_not_stand_in_for_ours(models: Path, tmp_path: Path) -> None:
    write_coco(tmp_path, count=2)
    for name in ("schemas", "model", "engine", "stages", "flows"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('this is the module of the user')\n")
    scripts = Path(sys.executable).parent
    launcher = [scripts / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", scripts / "sam-engine"]
    options = ["--model", "tiny", "--name", "mine", "--device", "cpu", "--set", SMALL, "--json"]
    run = subprocess.run(
        [*launcher, "train", "--coco", "shapes.json", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "2 processes" in run.stderr
    assert json.loads(run.stdout)["model"] == read_info(models / "mine").model_id
