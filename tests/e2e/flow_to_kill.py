"""Runs the fully automatic flow and kills itself (SIGKILL) at a named moment. Run as a program: WORKSPACE MOMENT."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

STAGE = "fully_automatic"


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def after_first_shard(workspace: Path) -> None:
    """The masks of one shard are committed, those of the others not begun."""
    _after_replacing(STAGE, count=1)


def between_the_commits_of_a_shard(workspace: Path) -> None:
    """The second shard's `generation` rows are committed, its masks are not."""
    _after_replacing("generation", count=2)


def while_a_data_file_is_written(workspace: Path) -> None:
    """The Parquet file of the first shard's masks has appeared; the commit that makes it count may not be there."""
    folder = workspace / "tables" / STAGE

    def watch() -> None:
        while not any(folder.glob("shard=*/*.parquet")):
            pass
        die()

    threading.Thread(target=watch, daemon=True).start()


def during_the_retraining(workspace: Path) -> None:
    """All shards are committed, the model is half trained."""
    from stages import retraining

    train = retraining.train

    def train_and_die(*arguments: Any, on_step: Callable[[Any], None], **others: Any) -> Any:
        return train(*arguments, on_step=lambda report: die() if report.step == 1 else on_step(report), **others)

    retraining.train = train_and_die


def before_the_round_is_closed(workspace: Path) -> None:
    """The model is registered, the round does not name it yet."""
    from stages import retraining

    save_model = retraining.save_model

    def save_and_die(*arguments: Any) -> NoReturn:
        save_model(*arguments)
        die()

    retraining.save_model = save_and_die


def _after_replacing(table: str, *, count: int) -> None:
    from engine.store import Store

    replace_shard, done = Store.replace_shard, []

    def replace_and_die(self: Store, name: str, *arguments: Any, **others: Any) -> bool:
        result = replace_shard(self, name, *arguments, **others)
        done.append(name)
        if done.count(table) == count:
            die()
        return result

    Store.replace_shard = replace_and_die  # type: ignore[method-assign]


MOMENTS = (
    after_first_shard,
    between_the_commits_of_a_shard,
    while_a_data_file_is_written,
    during_the_retraining,
    before_the_round_is_closed,
)


def main() -> None:
    workspace, moment = Path(sys.argv[1]), sys.argv[2]
    from engine.store import Store
    from flows.running import run_flow
    from stages.progress import silent

    next(function for function in MOMENTS if function.__name__ == moment)(workspace)
    run_flow(Store(workspace), STAGE, silent)


if __name__ == "__main__":
    main()
