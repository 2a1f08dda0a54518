import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "mask_generation.py"


@pytest.mark.slow
@pytest.mark.parametrize(("models", "verdict"), [([], "EQUAL: "), (["--random", "small"], "EQUAL up to rounding: ")])
def test_the_benchmark_says_that_the_masks_are_equal_beside_every_time(models: list[str], verdict: str) -> None:
    command = [sys.executable, str(SCRIPT), "--points-per-side", "2", "--repeats", "2", *models]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    lines = {line.split("  ")[0].split(" ")[0]: line for line in run.stdout.splitlines()}
    for start in ("segment_anything", "sam-data-engine", "ratio"):
        assert verdict in lines[start]
    assert "hardware" in lines
    assert "versions" in lines
