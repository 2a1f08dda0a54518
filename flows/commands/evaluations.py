"""`sam-engine evaluate`: commands of their own beside the general one, which takes every other name."""

from typing import Any

import typer
from typer.core import TyperGroup

from flows.commands.evaluate import evaluate
from flows.commands.evaluate_groups import groups
from flows.commands.evaluate_suite import suite

_general = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
_general.command()(evaluate)


class Evaluations(TyperGroup):
    """`evaluate NAME ...`, unless NAME is one of these commands."""

    @property
    def general(self) -> Any:
        """The command of every name that has none of its own."""
        return typer.main.get_command(_general)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self.general.make_context(info_name, args, parent, **extra)


app = typer.Typer(cls=Evaluations, help="Measure a model against ground truth in COCO format.")
app.command()(groups)
app.command()(suite)


@app.callback()
def _() -> None:
    """A group even with a single command."""
