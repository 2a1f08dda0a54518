import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mask_generation import main
from benchmarks.peers.equality import Verdict, same_logits, same_masks
from benchmarks.peers.report import Report, Row
from benchmarks.peers.setting import shown_logits

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "mask_generation.py"
PUBLISHED, OURS = "segment-anything", "sam-data-engine"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)


@pytest.mark.slow
def test_the_benchmark_says_that_the_masks_are_equal_beside_every_time(tmp_path: Path) -> None:
    contests = [part for name in ("post", "decoder", "whole") for part in ("--contest", name)]
    quick = ["--model", "small", "--points-per-side", "4", "--repeats", "2", "--threads", "1", "--sizes", "150x200"]
    found = run(*contests, *quick, "--output", str(tmp_path / "results.md"))
    assert found.returncode == 0, found.stdout + found.stderr
    post, decoder, whole = found.stdout.split("\npost: ")[1].replace("\nwhole: ", "\ndecoder: ").split("\ndecoder: ")
    for table, verdicts in (
        (post, ["EQUAL: "]),
        (decoder, ["EQUAL up to rounding: "]),
        (whole, ["EQUAL: ", "EQUAL up to rounding: "]),
    ):
        rows = [line for line in table.splitlines() if line.startswith((PUBLISHED, OURS))]
        assert len(rows) == 2
        for row in rows:
            assert all(verdict in row for verdict in verdicts), row
    assert "no masks" not in found.stdout
    for fact in ("command", "hardware", "load before", "versions", "stands in", "load after"):
        assert f"\n{fact} " in f"\n{found.stdout}"
    assert "| contender |" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("arguments", [["--sizes", "20"], ["--repeats", "0"], ["--weights", "no_such_file.pth"]])
def test_bad_input_is_told_in_a_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--contest", "post", *arguments])
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_masks_in_another_order_or_with_another_score_are_different() -> None:
    one, other = {"segmentation": "a", "predicted_iou": 0.9}, {"segmentation": "b", "predicted_iou": 0.9}
    assert same_masks([one, other], [one, other]).equal
    assert not same_masks([one, other], [other, one]).equal
    assert not same_masks([one, other], [one]).equal
    assert not same_masks([one], [one | {"predicted_iou": 0.8}]).equal
    assert not same_masks([], [one]).equal
    assert "compared: segmentation" in same_masks([one], [{"segmentation": "a"}]).text


def test_logits_are_equal_bit_by_bit_or_up_to_rounding_or_not() -> None:
    logits = np.full((2, 3, 4), 5, np.float32)
    assert same_logits(logits, logits.copy()).text == "EQUAL: 2 masks bit by bit"
    assert same_logits(logits + np.float32(1e-5), logits).text.startswith("EQUAL up to rounding: ")
    assert not same_logits(logits + 1, logits).equal


def test_logits_of_padding_are_not_compared() -> None:
    logits = np.zeros((2, 16, 16))
    assert logits[shown_logits((33, 64))].shape == (2, 9, 16)
    assert logits[shown_logits((64, 32))].shape == (2, 16, 8)


@pytest.mark.parametrize(("equal", "expected"), [(True, True), (None, True), (False, False)])
def test_one_verdict_of_different_makes_the_report_unequal(equal: bool | None, expected: bool) -> None:
    report = Report()
    report.times([Row("ours", [2.0], Verdict(True, "fine")), Row("peer", [4.0], Verdict(equal, "told"))], ours="ours")
    assert report.equal is expected
    assert "| peer | 4.000 | 4.000 | 4.000 | 2.00 | told |" in report.markdown
