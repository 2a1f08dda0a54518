import json
import shutil
from pathlib import Path

from engine.ingest import ingest
from engine.store import Store
from schemas.tables import GROUND_TRUTH
from tests.engine.ingest_cases import run_cases

NOT_READ: set[str] = set()


def test_label_files_arrive_as_their_exporters_mean_them(shared_cases: Path, tmp_path: Path) -> None:
    outcomes = run_cases(shared_cases / "ingest", tmp_path)
    assert len(outcomes) == 46
    assert {outcome.name for outcome in outcomes if not outcome.good} == NOT_READ
    assert not [outcome for outcome in outcomes if outcome.crash]


def test_files_that_exporters_wrote(shared_cases: Path, empty_store: Store, tmp_path: Path) -> None:
    for tool, masks in (("datumaro", 4), ("sv", 2)):
        store = Store.create(tmp_path / tool)
        report = ingest(store, [shared_cases / "real_exports" / tool])
        assert (report.added, report.masks, report.crowds, report.rejected) == (2, masks, 0, [])
        assert "single objects" in report.notes[0]


def test_text_that_is_no_unicode_does_not_end_a_batch(shared_cases: Path, empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(shared_cases / "ingest_surrogate", folder)
    report = ingest(empty_store, [folder / "name.json", folder / "label.json"])
    assert (report.added, report.masks) == (1, 1)
    assert [json.dumps(problem.source) for problem in report.rejected] == [json.dumps(f"{folder}/name.json: image 2")]
    assert empty_store.counts()[GROUND_TRUTH] == 1
