"""Do the tests notice mistakes? One mistake at a time is made in a copy of the repository, and its tests run.

    python -m benchmarks.mutation                                    # 100 mutants: an hour or two of one core
    python -m benchmarks.mutation --state runs/mutation.jsonl        # goes on where it was stopped
    python -m benchmarks.mutation --state runs/mutation.jsonl --again    # and tries survivors once more
    python -m benchmarks.mutation --only engine/store.py --count 20

Mutants are a seeded sample of all small mistakes (`benchmarks.mutants`) in the files below. Each has to fall to the
mirrored test of its file, or to the tests that `MORE` names; the first failure ends its run, and the test that failed
must pass without the mutant. One whose tests take too long counts as fallen. Tests run in forks of a process that has
the libraries imported, each of which imports our own files anew; none touches this checkout.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Literal, NamedTuple

import pytest
import typer

from benchmarks.mutants import mutants, mutated

ROOT = Path(__file__).resolve().parent.parent
FILES = ("engine/store.py", "engine/tables.py", "engine/delta.py", "engine/files.py", "engine/places.py")
FILES += ("engine/workspace.py", "engine/migrations.py", "stages/*.py", "model/training/*.py")
# Tests besides the mirrored one: of files that have none, and of those that only whole rounds show at work.
_ROUNDS, _PEOPLE, _GATES = "tests/stages/test_rounds.py", "tests/stages/test_people.py", "tests/stages/test_quality.py"
_VERIFIER = "tests/stages/test_verifier_at_gates.py"
MORE: dict[str, tuple[str, ...]] = {
    "engine/delta.py": ("tests/engine/test_tables.py", "tests/engine/test_store.py"),
    "stages/annotation.py": (_PEOPLE, _GATES, _ROUNDS),
    "stages/annotation_tools.py": (_PEOPLE, "tests/examples/test_cvat_tool.py"),
    "stages/assisted_manual.py": (_ROUNDS, _PEOPLE),
    "stages/audits.py": (_GATES,),
    "stages/fully_automatic.py": (_ROUNDS, "tests/stages/test_generator_threshold.py"),
    "stages/gates.py": (_GATES, _VERIFIER),
    "stages/generation.py": (_ROUNDS,),
    "stages/planning.py": (_ROUNDS, _PEOPLE),
    "stages/prefill_detector.py": ("tests/stages/test_learned_detector.py",),
    "stages/prefill_threshold.py": (
        "tests/stages/test_prefill.py",
        "tests/stages/test_learned_detector.py",
        "tests/stages/test_generator_threshold.py",
    ),
    "stages/progress.py": (_ROUNDS,),
    "stages/retraining.py": (
        "tests/stages/test_one_retraining.py",
        "tests/stages/test_retraining_keeps_old_knowledge.py",
        "tests/stages/test_retraining_of_new_kinds.py",
    ),
    "stages/semi_automatic.py": ("tests/stages/test_prefilling.py", _PEOPLE),
    "stages/shards.py": (_ROUNDS,),
    "stages/simulated_tool.py": (_ROUNDS, "tests/stages/test_prefilling.py"),
    "stages/steps.py": (_ROUNDS, _PEOPLE),
    "stages/verification.py": (_GATES, _VERIFIER),
    "stages/verifier.py": (_VERIFIER,),
    "stages/workers.py": (_ROUNDS,),
    "model/training/trainer.py": ("tests/model/training/test_processes.py",),
    "model/training/interaction.py": (
        "tests/model/training/test_golden_interaction.py",
        "tests/model/training/test_mask_prompts.py",
    ),
    "model/training/regions.py": ("tests/model/training/test_interaction.py",),
    "model/training/samples.py": ("tests/model/training/test_batches.py", "tests/model/training/test_augment.py"),
}
LIBRARIES = ["pytest", "hypothesis.strategies", "torch", "torch.utils.data", "accelerate", "safetensors.torch", "numba"]
LIBRARIES += ["deltalake", "pyarrow.dataset", "pyarrow.compute", "pydantic", "yaml", "fsspec", "filelock", "cv2"]
LIBRARIES += [
    "PIL.Image",
    "scipy.ndimage",
    "scipy.stats",
    "skimage.morphology",
    "pycocotools.mask",
    "matplotlib.pyplot",
]
LIBRARIES += ["label_studio_sdk.client", "httpx", "rich.progress", "typer"]

Outcome = Literal["killed", "timed out", "survived"]


class Task(NamedTuple):
    """A mutant of a file: the whole source with it. key: of file and source; says whether it was tried before."""

    file: str
    line: int
    change: str
    source: str

    @property
    def key(self) -> str:
        return _digest(self.file, self.source)[:16]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


class Result(NamedTuple):
    """by: the test that fell first, "" where none did."""

    key: str
    file: str
    line: int
    change: str
    outcome: Outcome
    by: str
    seconds: float


class _FirstFailure:
    """Remembers which test fell first."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


class Copy:
    """A copy of the working tree, in which one mutant at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # Compiled files that are known by content: a mutant as long as, and no younger than, its file is compiled anew.
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
        subprocess.run([*compiled, "schemas", "model", "engine", "stages", "flows"], cwd=folder, check=True)
        self._passed: set[str] = set()

    def tried(self, task: Task, *, limit_s: float) -> Result:
        """Raises RuntimeError where the test that noticed the mutant fails without it, too."""
        original = (self.folder / task.file).read_bytes()
        (self.folder / task.file).write_text(task.source, encoding="utf-8")
        try:
            outcome, by, seconds = self._run(covering_tests(task.file), limit_s=limit_s)
        finally:
            (self.folder / task.file).write_bytes(original)
        if by and by not in self._passed:
            # A test file that cannot be imported has no test yet.
            alone = (by,) if "::" in by else ("--collect-only", by)
            if self._run(alone, limit_s=limit_s)[0] != "survived":
                raise RuntimeError(f"{by} fails without any mutant")
            self._passed.add(by)
        return Result(task.key, task.file, task.line, task.change, outcome, by, round(seconds, 1))

    def _run(self, tests: tuple[str, ...], *, limit_s: float) -> tuple[Outcome, str, float]:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("forkserver").Process(
            target=_run_tests, args=(self.folder, tests, theirs)
        )
        started = time.perf_counter()
        process.start()
        theirs.close()
        process.join(limit_s)
        seconds = time.perf_counter() - started
        if late := process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        # A mutant may end the whole process.
        code, by = ours.recv() if not late and ours.poll() else (1, "")
        ours.close()
        if code not in (0, 1, 2):
            raise RuntimeError(f"pytest cannot run {' '.join(tests)}: exit code {code}")
        return (
            ("timed out", "", seconds) if late else ("survived", "", seconds) if code == 0 else ("killed", by, seconds)
        )


def _run_tests(folder: Path, tests: Sequence[str], result: Connection) -> None:
    os.setsid()  # so that all of it can be stopped
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() != ROOT)]
    os.environ |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    os.environ.setdefault("SAM_ENGINE_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]  # that of the copy, should tests import it
    first = _FirstFailure()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    code = pytest.main(["-n", "0", "-x", "-q", "-p", "no:cacheprovider", *tests], plugins=[first])
    result.send((int(code), first.name))


def covering_tests(file: str) -> tuple[str, ...]:
    """Test files that have to notice the mutants of a file. Raises ValueError where there are none."""
    path = Path(file)
    mirrored = Path("tests") / path.parent / f"test_{path.name}"
    found = ((str(mirrored),) if (ROOT / mirrored).is_file() else ()) + MORE.get(file, ())
    if not found:
        raise ValueError(f"{file} has no test file that mirrors it; write one, or name its tests in MORE")
    return found


def sampled(patterns: Sequence[str], *, count: int, seed: int) -> tuple[list[Task], int]:
    """Some mutants of the files, in random order, and how many there are.

    Each has a rank of its own, so that a change of some lines leaves the sample as it is elsewhere.
    """
    ranked = []
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        source, seen = path.read_text(encoding="utf-8"), Counter[str]()
        file = path.relative_to(ROOT).as_posix()
        for number, mutant in enumerate(mutants(source)):
            ranked.append((_digest(seed, file, mutant.change, seen[mutant.change]), file, number, mutant, source))
            seen[mutant.change] += 1
    chosen = sorted(ranked, key=itemgetter(0))[:count]
    return [Task(file, *mutant, mutated(source, number)) for _, file, number, mutant, source in chosen], len(ranked)


def read_state(state: Path | None) -> dict[str, Result]:
    """What was tried before; of a mutant that was tried twice, what came last."""
    if state is None or not state.is_file():
        return {}
    found = [Result(*json.loads(line)) for line in state.read_text(encoding="utf-8").splitlines()]
    return {result.key: result for result in found}


def tried(tasks: Sequence[Task], *, jobs: int, limit_s: float) -> Iterator[Result]:
    """The results, each as soon as it and all before it are there."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(LIBRARIES)
    copies: SimpleQueue[Copy] = SimpleQueue()

    def one(task: Task) -> Result:
        mine = copies.get()
        try:
            return mine.tried(task, limit_s=limit_s)
        finally:
            copies.put(mine)

    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        for number in range(jobs):
            copies.put(Copy(Path(folder) / str(number)))
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(one, tasks)


def table(results: Sequence[Result]) -> str:
    """How many fell, by part of the code, and the survivors."""
    parts = sorted({_part(result) for result in results})
    lines = [
        "| part | mutants | killed | timed out | survived | noticed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in (*parts, "all"):
        of_part = [result.outcome for result in results if part in ("all", _part(result))]
        killed, late, left = (of_part.count(outcome) for outcome in ("killed", "timed out", "survived"))
        share = (killed + late) / len(of_part)
        lines.append(f"| {part} | {len(of_part)} | {killed} | {late} | {left} | {share:.0%} |")
    survivors = [f"- {one.file}:{one.line}: {one.change}" for one in results if one.outcome == "survived"]
    return "\n".join([*lines, "", "Survivors:", "", *(survivors or ["none"])])


def _part(result: Result) -> str:
    path = Path(result.file)
    return path.as_posix() if path.parent.name == "engine" else path.parent.as_posix()


def main(
    count: Annotated[int, typer.Option(min=1, help="Mutants in the sample.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Files or patterns in place of the usual ones.")] = None,
    state: Annotated[Path | None, typer.Option(help="File that keeps results, so that a run can go on.")] = None,
    again: Annotated[bool, typer.Option(help="Try those that survived earlier once more.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Mutants tried at a time.")] = 1,
    limit_s: Annotated[float, typer.Option(min=1, help="Longest that the tests of a mutant may take.")] = 600,
    list_only: Annotated[bool, typer.Option("--list", help="Only print the sample.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Print how many mutants the tests noticed, and those that they did not."""
    sample, total = sampled(only or FILES, count=count, seed=seed)
    note = partial(print, file=sys.stderr, flush=True)
    note(f"{len(sample)} of {total} mutants, seed {seed}")
    if list_only:
        print("\n".join(f"{task.file}:{task.line}: {task.change}" for task in sample))
        return
    known = read_state(state)
    left = [task for task in sample if task.key not in known or (again and known[task.key].outcome == "survived")]
    for number, result in enumerate(tried(left, jobs=jobs, limit_s=limit_s), start=1):
        known[result.key] = result
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        by = f" by {result.by}" if result.by else ""
        what = f"{result.file}:{result.line}: {result.change}{by}"
        note(f"{number}/{len(left)} {result.outcome} {result.seconds:.0f} s {what}")
    results = [known[task.key] for task in sample]
    print(json.dumps([result._asdict() for result in results], indent=1) if as_json else table(results))


if __name__ == "__main__":
    typer.run(main)
