"""Workspaces of older versions: found by their number of format, and brought up to date when they are opened.

1  every version before this file was written; what people did in Label Studio lay in the folder `labeling`
2  tables `published`, `collected`, `questions`, `gates`, `returned` and `removed`; a local Label Studio's own data in
   the folder `label_studio`
3  the images of rounds in the table `round_images`, run by run; before, `rounds` had all of a round in one row

Columns that a table gained since it was made need no step here; see `engine.delta`.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.delta import ShardedTable
from engine.files import make_folder, open_lock, publish, storage_errors, take
from engine.json_files import read_json
from engine.labeling.folder import Scope
from engine.labeling.published import Prefilled, PublishedImage
from engine.places import Place
from engine.table_files import as_rows_of
from engine.workspace import Workspace
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.labeling import GATES
from schemas.round_metrics import RoundMetrics
from schemas.stages import STAGES
from schemas.tables import MASKS, ROUNDS, table_of

if TYPE_CHECKING:
    from engine.store import Store

FORMAT = 3
FORMAT_FILE = "format.json"
_ROUNDS_WITH_IMAGES = pa.schema(
    [
        *(field for field in ROUNDS if field.name not in ("images", "images_key")),
        pa.field("image_ids", pa.list_(pa.int64()), nullable=False),
    ]
)


def write_format(workspace: Workspace) -> None:
    """Say that a workspace is of this version's format."""
    (workspace.tables / FORMAT_FILE).write(json.dumps({"format": FORMAT}).encode())


def read_format(workspace: Workspace) -> int:
    """The format of a workspace; 1 where nothing says so. Raises InputError for a damaged file."""
    file = workspace.tables / FORMAT_FILE
    try:
        return int(json.loads(file.text())["format"])
    except FileNotFoundError:
        return 1
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{file}: damaged; write {{"format": {FORMAT}}} into it, or restore it') from error


def refuse_newer(workspace: Workspace) -> int:
    """The format of a workspace. Raises InputError where a newer version made it."""
    found = read_format(workspace)
    if found > FORMAT:
        raise InputError(
            f"{workspace}: format {found}, and this version of sam-data-engine reads formats up to {FORMAT}; "
            "update it, or use the version that made the workspace"
        )
    return found


def bring_up_to_date(store: "Store") -> None:
    """Add what an older version did not have. Done again after an interruption it gives the same.

    Raises InputError where a newer version made the workspace, or a table with masks is gone.
    """
    found = refuse_newer(store.files)
    missing = store.missing_tables()
    if found == FORMAT and not missing:
        return
    tables = store.files.tables.on_disk()  # a lock of this machine
    with storage_errors(store.files), open_lock(tables / ".migration.lock") as lock:
        take(lock, wait=True)
        _create(store, missing)
        if found < 3:
            _images_of_rounds_to_a_table(store)
        if found < 2:
            _labeling_folder_to_tables(store)
            _move_label_studio(store.files)
        if found < FORMAT:
            write_format(store.files)


def _create(store: "Store", missing: Sequence[str]) -> None:
    """Tables that came with a later version; one that must have had rows is not replaced by an empty one."""
    rounds = [] if "rounds" in missing else store.read_table("rounds", ["stage", "metrics"]).to_pylist()
    made = {row["stage"] for row in rounds if RoundMetrics.from_json(row["metrics"]).masks}
    for name in missing:
        if name == "rounds" or name in made:
            raise InputError(f"{store.files}: the table {name!r} is gone; restore tables/{name} from a backup")
        store.create_table(name)


def _images_of_rounds_to_a_table(store: "Store") -> None:
    """The columns of `rounds` change in one commit, after all images of rounds are in their table."""
    table = ShardedTable(str(store.files.tables / "rounds"), _ROUNDS_WITH_IMAGES)
    if not table.has_column("image_ids"):
        return  # killed after that commit
    rows = table.read().to_pylist()
    found = []
    for row in rows:
        ids = ImageIds(row.pop("image_ids"))
        store.put_images_of_round(row["stage"], row["round"], ids)
        found.append(row | {"images": len(ids), "images_key": ids.key})
    table.replace_all(table_of("rounds", found))


def _labeling_folder_to_tables(store: "Store") -> None:
    # These stand on the store, which opens workspaces.
    from engine.labeling.collect import kept_of_task
    from engine.labeling.records import RoundRecords

    folder = store.files.labeling
    for path, purpose, stage, number in _rounds_in(folder / "rounds"):
        scope = Scope(purpose, stage, number)
        records = RoundRecords(store, scope)
        records.put_published([PublishedImage.from_json(read_json(file)) for file in _files(path / "published")])
        tasks = {
            int(file.name.removesuffix(".json")): kept_of_task(read_json(file)) for file in _files(path / "collected")
        }
        cursor = str(read_json(path / "cursor.json", {}).get("updated_at", ""))
        records.put_collected(tasks, seen_until=cursor)
    _returned_to_tables(store, read_json(folder / "returned.json", []))
    for path, purpose, stage, number in _rounds_in(folder / "rounds"):
        if purpose == "verification" and (path / "sample.parquet").exists():
            _sample_to_tables(store, path, stage, number)


def _move_label_studio(workspace: Workspace) -> None:
    """The data of a local server to a folder of its own. Raises InputError while that server runs."""
    old, new = (each.local_path("a local Label Studio") for each in (workspace.labeling, workspace.label_studio))
    names = [name for name in ("server", "credentials.json", "server.log") if (old / name).exists()]
    if not names:
        return
    with open_lock(old / ".server.lock") as lock:
        if not take(lock):
            raise InputError(f"{workspace}: was made by an older version whose Label Studio still runs; end it first")
        make_folder(new)
        for name in names:
            publish(old / name, new / name, is_synced=True)


def _sample_to_tables(store: "Store", path: Place, stage: Any, number: int) -> None:
    """The kept sample of a verification gate, with the answers that were read so far."""
    from engine.quality.gate_records import Answer, GateRecords
    from engine.quality.gate_sample import GateSample

    file = path / "sample.parquet"
    try:
        masks = pq.read_table(io.BytesIO(file.read()))
        meta = json.loads(masks.schema.metadata[b"sample"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged ({' '.join(str(error).split())}); restore it from a backup") from error
    masks = as_rows_of(MASKS, masks)
    _keep_removed(store, masks.to_pylist(), stage, number, shown_again=False)
    sample = GateSample(
        masks,
        {int(each): verdict for each, verdict in meta["pre_answers"].items()},
        frozenset(map(int, meta["audited"])),
        meta["verifier"],
    )
    records = GateRecords(store, Scope("verification", stage, number))
    records.put_sample(sample)
    given = read_json(path / "answers.json", {})
    records.put_answers({int(each): Answer(verdict, "", None, "") for each, verdict in given.items()})


def _returned_to_tables(store: "Store", returned: Sequence[Mapping[str, Any]]) -> None:
    """Images that a gate sent back. Which gate it was, old workspaces do not say."""
    for image in returned:
        image_id, stage, number = int(image["image_id"]), image["stage"], int(image["round"])
        place = {"stage": stage, "round": number, "image_id": image_id, "shard": store.shard_of(image_id)}
        store.put_rows("returned", table_of("returned", [{"gate": "", **place}]), by=("stage", "round", "image_id"))
        wanted = {int(mask["region_id"].removeprefix("mask-")) for mask in image["masks"]}
        rows = _as_they_were(store, stage, number, image_id, wanted)
        _keep_removed(store, rows, stage, number, shown_again=True)
        found = {row["mask_id"] for row in rows}
        rest = [mask for mask in image["masks"] if int(mask["region_id"].removeprefix("mask-")) not in found]
        full_hw = (int(image["full_hw"][0]), int(image["full_hw"][1]))
        _keep_removed(store, [_row_of_json(m, full_hw, place) for m in rest], stage, number, shown_again=True)


def _as_they_were(store: "Store", stage: str, number: int, image_id: int, mask_ids: set[int]) -> list[dict[str, Any]]:
    """Rows of masks that a gate took out, from the table's history: an older version of it still has them."""
    found: dict[int, dict[str, Any]] = {}
    shard = store.shard_of(image_id)
    for version in range(store.versions()[stage], -1, -1):
        if mask_ids <= found.keys():
            break
        for row in store.read_shard(stage, shard, round=number, version=version).to_pylist():
            if row["mask_id"] in mask_ids:
                found.setdefault(row["mask_id"], row)
    return [found[each] for each in sorted(found)]


def _row_of_json(mask: Mapping[str, Any], full_hw: tuple[int, int], place: Mapping[str, Any]) -> dict[str, Any]:
    """A row from what `returned.json` says of a mask, where the table's history has it no more."""
    return Prefilled.from_json(dict(mask), full_hw).mask.to_row(**place)


def _keep_removed(
    store: "Store", rows: Sequence[Mapping[str, Any]], stage: str, number: int, *, shown_again: bool
) -> None:
    """Those of the rows that are in no table yet."""
    known = {
        mask_id
        for table, where in ((stage, {"round": number}), ("removed", {"stage": stage, "round": number}))
        for mask_id in store.read_rows(table, **where)["mask_id"].to_pylist()
    }
    fresh = [{**row, "gate": "verification", "shown_again": shown_again} for row in rows if row["mask_id"] not in known]
    store.put_rows("removed", table_of("removed", fresh), by=("mask_id",))


def _rounds_in(folder: Place) -> Iterator[tuple[Place, Any, Any, int]]:
    """(folder, purpose, stage, round) of the folders `<purpose>-<stage>-<round>`."""
    for path in folder.find("*"):
        purpose, _, rest = path.name.partition("-")
        stage, _, number = rest.rpartition("-")
        if purpose in (*STAGES, *GATES) and stage in STAGES and number.isdecimal():
            yield path, purpose, stage, int(number)


def _files(folder: Place) -> list[Place]:
    return folder.find("[!.]*.json")
