"""Label files as exporters write them: which arrive as their tool's user expects.

Run with a folder of cases (`expect.json` beside them): `python -m tests.engine.ingest_cases FOLDER`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from engine.store import Store
from flows.cli import app


class Outcome(NamedTuple):
    """What came of a case: pictures and masks in the workspace and as expected, and a traceback's last line or ""."""

    name: str
    got: tuple[int, int]
    wanted: tuple[int, int]
    crash: str

    @property
    def good(self) -> bool:
        """Whether all arrived that should, and nothing else."""
        return not self.crash and self.got == self.wanted


def run_cases(folder: Path, scratch: Path) -> list[Outcome]:
    """Ingest each case of `folder` by the command line into a workspace of its own below `scratch`."""
    expected = json.loads((folder / "expect.json").read_text(encoding="utf-8"))
    return [_run_case(folder, scratch, name, case) for name, case in expected.items()]


def _run_case(folder: Path, scratch: Path, name: str, case: dict[str, object]) -> Outcome:
    store = Store.create(scratch / name)
    sources, args = case["sources"], case["args"]
    assert isinstance(sources, list)
    assert isinstance(args, list)
    arguments = [arg if arg.startswith("--") else str(folder / arg) for arg in args]
    command = ["ingest", str(store.workspace), *(str(folder / source) for source in sources), *arguments]
    result = CliRunner().invoke(app, command)
    crash = "" if result.exception is None or isinstance(result.exception, SystemExit) else repr(result.exception)
    counts = store.counts()
    return Outcome(
        name,
        (counts["images"], counts["ground_truth"]),
        (int(str(case["images"])), int(str(case["masks"]))),
        crash,
    )


def main() -> None:
    """Print every case that did not arrive as expected, and the figure."""
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = run_cases(Path(sys.argv[1]), Path(scratch))
    for outcome in outcomes:
        if not outcome.good:
            print(f"{outcome.name}: (images, masks) {outcome.got}, expected {outcome.wanted} {outcome.crash}".rstrip())
    print(f"{sum(outcome.good for outcome in outcomes)} of {len(outcomes)} arrive as expected")


if __name__ == "__main__":
    main()
