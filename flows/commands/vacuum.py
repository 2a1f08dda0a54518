"""`sam-engine vacuum`: space taken back from the history of tables."""

from typing import Annotated

import typer

from flows.console import JsonFlag, emit
from schemas.counted import counted


def vacuum(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    days: Annotated[
        int, typer.Option(min=1, help="Versions that were there within so many days stay; longer than any run takes.")
    ] = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="First put small files together, of tables and of shards that have many.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove the files of tables that no model, detector or release of the workspace names, nor anybody lately.

    What they name can be read as before. Models that were moved elsewhere are not known: bring them back first.
    """
    from engine.store import Store
    from engine.unused_files import COMPACTED_ABOVE, COMPACTED_IN_SHARD_ABOVE, remove_unused

    store = Store(workspace)
    fewer = {}
    if compact and not dry_run:
        fewer = store.compact(more_than=COMPACTED_ABOVE, in_shard=COMPACTED_IN_SHARD_ABOVE)
    found = remove_unused(store, older_than_h=24 * days, dry_run=dry_run)
    result = {
        "removed": {} if dry_run else {table: unused._asdict() for table, unused in found.items()},
        "unused": {table: unused._asdict() for table, unused in found.items()},
        "compacted": fewer,
    }
    said = "would be removed" if dry_run else "removed"
    lines = [f"{table}: {counted(count, 'file')} fewer, put together" for table, count in fewer.items()]
    lines += [
        f"{table}: {counted(unused.files, 'file')} {said}, {unused.size_bytes / 1e6:.1f} MB"
        for table, unused in found.items()
    ]
    emit(result, as_json=as_json, text="\n".join(lines or ["nothing to remove"]))
