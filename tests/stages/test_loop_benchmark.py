"""The bench of the loop: what it counts, and that it goes from the start model to the last round."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.loop import calibration_error, main
from model.registry import ModelCard
from model.storage import save_model
from tests.stages.workspaces import tiny_sam, write_pictures


def test_calibration_error_by_hand() -> None:
    """Bins of a tenth: two masks at .05 that reach .15 on average, one at .95 that reaches .45."""
    found = calibration_error(np.array([0.05, 0.05, 0.95]), np.array([0.1, 0.2, 0.45]))
    assert found == pytest.approx((2 * 0.1 + 0.5) / 3)
    assert calibration_error(np.array([0.3, 1.0]), np.array([0.3, 1.0])) == pytest.approx(0)


def test_every_round_is_a_row_and_intervals_are_since_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    domain = write_pictures(tmp_path / "domain", images=6, holdout=2)
    old = write_pictures(tmp_path / "old", images=2, first_seed=70)
    main(
        domain=domain,
        workspace=tmp_path / "workspace",
        holdout=None,
        images=None,
        old=[old],
        model="tiny",
        rounds=1,
        semi_rounds=1,
        seed=0,
        new_masks=150,
        old_masks=80,
        automatic="never",
        settings=[
            "retraining.steps=2",
            "annotator.max_clicks=1",
            "semi_automatic.prefill=generator",
            "semi_automatic.generator={points_per_side: 3}",
            "fully_automatic.generator={points_per_side: 3}",
        ],
    )
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("| ")]
    titles = [row[0].strip() for row in rows]
    assert titles == ["round", "---", "start", "assisted manual 1", "semi automatic 1", "fully automatic 1"]
    assert len({len(row) for row in rows}) == 1
    one_click = rows[0].index(" held out: 1 click ")
    assert "(" not in rows[2][one_click]
    assert all(" to " in row[one_click] for row in rows[3:])
    assert "Masks measured: 6 held out, 6 old." in printed
    assert (tmp_path / "workspace" / "loop.png").is_file()
