"""What Prefect's page shows of finished work: a table a round, a report a stage, links to releases."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_logger

from engine.analysis.report import TITLES, as_markdown, draw_curves, round_cells
from engine.analysis.rounds import round_reports
from engine.places import Place, full_name
from engine.store import Store
from engine.workspace import Workspace
from flows.deployments import name_of
from schemas.stages import Stage

_CURVES_DPI = 60  # the picture travels inside the text: 30 kB of it
_log = get_logger("sam_engine")


def show_round(store: Store, stage: Stage, number: int) -> None:
    """A table of what a round cost and brought."""
    found = [report for report in round_reports(store) if (report.stage, report.round) == (stage, number)]
    for report in found:
        rows = [[title, cell] for title, cell in zip(TITLES, round_cells(report), strict=True)]
        with may_fail():
            create_table_artifact(
                [{"": title, "Value": cell} for title, cell in rows],
                key=artifact_key(name_of(store.files), stage, "round", str(number), "summary"),
                description=f"{store.files.name}: {stage} round {number}",
            )


def show_stage(store: Store, stage: Stage) -> None:
    """The report of a stage's rounds, with their curves."""
    reports = [report for report in round_reports(store) if report.stage == stage]
    picture = io.BytesIO()
    draw_curves(reports).savefig(picture, dpi=_CURVES_DPI, format="png")
    curves = base64.b64encode(picture.getvalue()).decode()
    with may_fail():
        create_markdown_artifact(
            f"{as_markdown(reports)}\n![The curves of the rounds](data:image/png;base64,{curves})\n",
            key=artifact_key(name_of(store.files), stage, "report"),
            description=f"{store.files.name}: {stage}",
        )


def link_to(workspace: Workspace, what: str, target: Place | str) -> None:
    """A link to something that lies on a disk, or at a URL."""
    address = target if isinstance(target, str) else full_name(target)
    with may_fail():
        create_link_artifact(
            address if "://" in address else f"file://{quote(address)}",
            link_text=address,
            key=artifact_key(name_of(workspace), what, "link"),
            description=f"{workspace.name}: {what}",
        )


def artifact_key(*parts: str) -> str:
    """Keys are of small letters, digits and hyphens."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in " ".join(parts).lower())
    return "-".join(letters.split()) or "workspace"


@contextmanager
def may_fail() -> Iterator[None]:
    """What is only shown must not end the work, where Prefect's server does not answer just now."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("not shown: %s", " ".join(str(error).split()))
