import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from engine.analysis.report import SIMULATED_NOTE, as_markdown, as_table, draw_curves, write_report
from engine.analysis.rounds import round_reports
from engine.masks.difference import MaskDifference
from engine.store import Store
from schemas.round_metrics import RoundMetrics, Score
from schemas.tables import Round
from tests.templates import new_store

FIRST = Round(
    "assisted_manual",
    1,
    (1, 2),
    "retrained",
    "aaaa",
    "bbbb",
    RoundMetrics(
        images=2,
        masks=7,
        masks_per_image=3.5,
        seconds_per_mask=12.34,
        clicks_per_mask=2.5,
        drawn=2,
        annotators=("simulated",),
        scores={"miou": Score(before=0.25, after=0.5)},
    ),
)
SECOND = Round(
    "semi_automatic",
    1,
    (3,),
    "annotated",
    "bbbb",
    metrics=RoundMetrics(images=1, masks=4, prefilled_kept_frac=0.5, prefilled_edited_frac=0.125, annotators=("ann",)),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = new_store(tmp_path / "workspace")
    for record in (SECOND, FIRST):
        store.put_round(record)
    return store


def test_rounds_come_in_the_order_of_the_stages(store: Store) -> None:
    first, second = round_reports(store)
    assert (first.stage, first.seconds_per_mask, first.miou_after, first.simulated) == (
        "assisted_manual",
        12.34,
        0.5,
        True,
    )
    assert (second.kept, second.edited, second.deleted, second.miou_before) == (0.5, 0.125, None, None)
    assert second.simulated is False


def test_the_table_in_markdown(store: Store) -> None:
    lines = as_markdown(round_reports(store)).splitlines()
    assert "| assisted manual | 1 | 2 | 7 | 3.5 | 12.3 | 2.5 | 29% | - | - | - | 0.250 | 0.500 |" in lines
    assert "| semi automatic | 1 | 1 | 4 | - | - | - | - | 50% | 12% | - | - | - |" in lines
    assert SIMULATED_NOTE in lines


def test_what_people_did_is_not_called_simulated(store: Store) -> None:
    people = round_reports(store)[1:]
    assert "simulated" not in as_markdown(people).lower()
    assert "simulated" not in "".join(axes.get_title() for axes in draw_curves(people).axes)


def test_the_table_for_the_terminal(store: Store) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(as_table(round_reports(store)))
    text = console.export_text()
    assert "assisted manual 1" in text
    assert "0.500" in text
    assert "…" not in text, "nothing is cut off"
    assert "simulated" in text


def test_the_files_are_replaced_whole(store: Store) -> None:
    files = write_report(store)
    assert files.markdown.text().startswith("# Rounds")
    assert files.curves.read().startswith(b"\x89PNG")
    assert sorted(file.name for file in store.files.reports.find("*")) == ["rounds.md", "rounds.png"]


def test_a_workspace_without_rounds_has_an_empty_report(tmp_path: Path) -> None:
    assert write_report(new_store(tmp_path / "empty")).curves.exists()


def test_what_the_generator_took_and_dropped_is_a_table_of_its_own(store: Store) -> None:
    assert "Mask generation" not in as_markdown(round_reports(store))
    generation = {
        "images_per_s": 0.4567,
        "seconds": {"encode": 1.26, "nms": 0.5},
        "dropped": {"empty": 0, "stability": 7},
        "difference_to_exact": [vars(MaskDifference(3, 2, 1, 0, 0.99, 0.97))],
    }
    store.put_round(replace(SECOND, metrics=SECOND.metrics.updated({"generation": generation})))
    markdown = as_markdown(round_reports(store))
    assert "| semi automatic | 1 | 0.457 | encode 1.3, nms 0.5 | stability 7 |" in markdown.splitlines()
    assert "3 masks matched (2 identical, mean IoU 0.9900, least 0.9700), 1 lost, 0 extra." in markdown
