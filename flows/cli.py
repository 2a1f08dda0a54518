"""The command line `sam-engine`. Exit status: 0 done, 1 failed, 2 bad input; never a traceback for what a user did."""

import errno
import json
import os
import sys

import typer

from flows.allocator import keep_freed_memory
from flows.commands import evaluations, labeling, models, release, schedule, study
from flows.commands.ablate import ablate
from flows.commands.approve import approve
from flows.commands.demo import demo
from flows.commands.explain import explain
from flows.commands.generate import generate
from flows.commands.ingest import ingest
from flows.commands.init import init
from flows.commands.janitor import janitor
from flows.commands.masks import masks
from flows.commands.run import run
from flows.commands.status import status
from flows.commands.train import train
from flows.commands.train_detector import train_detector
from flows.commands.train_text import train_text
from flows.commands.vacuum import vacuum
from flows.console import note
from flows.startup import keep_pandas_out, let_idle_threads_sleep, skip_collection_at_exit
from schemas.errors import DivergedError, InputError, WaitError

app = typer.Typer(
    name="sam-engine",
    help="The data engine of Segment Anything: images in; people, model and masks improve each other; a dataset out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    demo,
    init,
    ingest,
    run,
    status,
    approve,
    janitor,
    generate,
    masks,
    train,
    train_detector,
    train_text,
    ablate,
    explain,
    vacuum,
):
    app.command()(command)
app.add_typer(evaluations.app, name="evaluate")
app.add_typer(models.app, name="models")
app.add_typer(labeling.app, name="labeling")
app.add_typer(study.app, name="study")
app.add_typer(release.app, name="release")
app.add_typer(schedule.app, name="schedule")

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the process with its exit status."""
    keep_freed_memory()
    let_idle_threads_sleep()
    skip_collection_at_exit()
    if "--help" not in sys.argv[1:] and len(sys.argv) > 1:
        keep_pandas_out()
    try:
        app()
    except InputError as error:
        sys.exit(_fail(str(error), status=2))
    except (WaitError, DivergedError) as error:
        sys.exit(_fail(str(error), status=1))
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer has swallowed the KeyboardInterrupt
            _fail("stopped; the same command goes on from here", status=_INTERRUPTED)
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            _close_stdout()
            sys.exit(1)
        sys.exit(_fail(_os_error_line(error), status=1))


def _fail(message: str, *, status: int) -> int:
    """Say in one line what went wrong, for programs (`--json`) as an object too; gives back `status`."""
    line = " ".join(message.split())
    note(f"error: {line}")
    if "--json" in sys.argv:
        print(json.dumps({"error": line}, ensure_ascii=False))
    return status


def _os_error_line(error: OSError) -> str:
    """What the system refused, with the path it was about and the way out for the common cases."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = {
        errno.ENOSPC: "; free some space, then run the same command again: it goes on from here",
        errno.EDQUOT: "; free some space, then run the same command again: it goes on from here",
        errno.EACCES: "; check the permissions of this path",
        errno.EROFS: "; choose a place that can be written to",
        errno.ESTALE: "; mount it again, then run the same command again: it goes on from here",
        errno.EIO: "; look at the disk and its cable or network, then run the same command again: it goes on from here",
    }.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}{remedy}"


def _close_stdout() -> None:
    """Let a closed pipe (`| head`) end the program without a second complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
