"""The store: the images, masks and rounds of a workspace, on top of its tables."""

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.changed_pictures import ChangedPictures
from engine.delta import ShardedTable, rows_where
from engine.image_index import ImageIndex, read_index
from engine.images import decode_image, read_original
from engine.keys import content_key
from engine.mask_index import MaskIndex
from engine.migrations import bring_up_to_date, write_format
from engine.places import Place, place
from engine.round_images import read_runs, round_images
from engine.tables import Tables
from engine.workspace import Workspace
from schemas.default_settings import DEFAULT_YAML
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.round_metrics import RoundMetrics
from schemas.stages import INSTALLED_STAGES, STAGES, Stage
from schemas.tables import IMAGES, MASK_TABLES, TABLES, Round, table_of


class Store(Tables):
    """A workspace. Cheap to keep open; safe to use from several threads."""

    def __init__(self, workspace: str | Path | Workspace) -> None:
        """Open a workspace; one that an older version made is brought up to date.

        Raises InputError if it is none, if a newer version made it, or if a table with masks is gone.
        """
        super().__init__(Workspace(workspace))
        if not self._tables["images"].exists():
            with suppress(FileNotFoundError):
                self.files.config.read()  # where even the bucket is missing, this says so
            raise InputError(
                f"{self.files}: not a workspace (no table 'images'); make one with: sam-engine init {self.files}"
            )
        self._index: tuple[int, ImageIndex] | None = None
        self._index_lock = threading.Lock()
        bring_up_to_date(self)

    @classmethod
    def create(cls, workspace: str | Path | Workspace) -> "Store":
        """Make a workspace: folders, tables and a commented engine.yaml. What exists stays as it is.

        Raises InputError if the folder cannot be written.
        """
        files = Workspace(workspace)
        if files.root.size() is not None:
            raise InputError(f"{files}: a file of this name exists; choose another name for the workspace")
        if not files.config.exists():
            files.config.write(DEFAULT_YAML.encode())
        for folder in (files.images, files.tables, files.models, files.releases, files.reports):
            folder.make_folder()
        if not cls.is_made(files):
            write_format(files)
        # `images` last: what has it is a workspace
        for name in reversed([name for name in TABLES if name not in INSTALLED_STAGES]):
            ShardedTable(str(files.tables / name), TABLES[name]).create()
        return cls(files)

    @staticmethod
    def is_made(files: Workspace) -> bool:
        """Whether `create` came to its end there."""
        return ShardedTable(str(files.tables / "images"), IMAGES).exists()

    @property
    def workspace(self) -> Path:
        """Its folder. Raises InputError for a workspace at a URL."""
        return self.files.local_path("a workspace whose folder is asked for")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that the workspace has tables of masks for, in their order."""
        return tuple(stage for stage in STAGES if stage in self._tables)

    def read_image(self, table: str, image_id: int) -> pa.Table:
        """Rows of one image. Raises InputError for an image that the workspace does not have."""
        return rows_where(self._tables[table].read(self.shard_of(image_id)), image_id=image_id)

    def find_mask(self, mask_id: int) -> dict[str, Any] | None:
        """The row of a mask, with the name of its table under "table"; None if there is none.

        mask_id: as in the tables, or the number that releases call the mask by. The first call reads the ids of all
        masks (`engine.mask_index`).
        """
        numbered = self._tables["mask_numbers"].query(f"number = {int(mask_id)}")["content_id"].to_pylist()
        mask_id = int(numbered[0] if numbered else mask_id)
        names = (*self.stages, *(name for name in MASK_TABLES if name not in STAGES), "removed")
        tables = {name: self.files_at(name) for name in names}
        for table, shard in self._masks.shards_of(mask_id, tables):
            found = self.read_rows(table, shard=shard, mask_id=mask_id).to_pylist()
            if found:
                return {"table": table, **found[0]}
        return None

    @cached_property
    def _masks(self) -> MaskIndex:
        return MaskIndex(place(self.files.cache.on_disk() / "masks"))

    def images(self, columns: list[str] | None = None) -> pa.Table:
        """All images, sorted by shard and image_id. Reads the whole table: `image_index` is for many."""
        names = columns or IMAGES.names
        rows = self.read_table("images", columns=list(dict.fromkeys([*names, "shard", "image_id"])))
        return rows.sort_by([("shard", "ascending"), ("image_id", "ascending")]).select(names)

    def picture(self, row: dict[str, Any]) -> Place:
        """Where the file of a row of `images` lies."""
        return self.files.picture(row["path"])

    def load_image(self, image_id: int) -> npt.NDArray[np.uint8]:
        """The picture, (height, width, 3) uint8 RGB, upright. Raises InputError if its file is gone or was changed."""
        file = self.picture(self.read_image("images", image_id).to_pylist()[0])
        # The limit was checked when the picture came in; it stays readable when the setting is lowered later.
        data = read_original(file, image_id)
        return decode_image(data, max_megapixels=float("inf"), name=str(file), bit_depth=self.bit_depth)

    def intact(self, image_ids: Collection[int]) -> set[int]:
        """Those of these images whose file is there as it was ingested. Reads each file, but for those that were found
        to be others and have not changed since."""
        wanted, found = set(image_ids), set()
        changed = ChangedPictures(place(self.files.cache.on_disk() / "changed.json"))
        for shard in sorted({shard for image_id in wanted if (shard := self._found(image_id))}):
            for row in self.read_shard("images", shard, columns=["image_id", "path"]).to_pylist():
                if row["image_id"] in wanted and changed.is_intact(row["image_id"], self.picture(row)):
                    found.add(row["image_id"])
        changed.write()
        return found

    @cached_property
    def bit_depth(self) -> int | None:
        """`images.bit_depth` of its settings, by which all pictures are read."""
        return self.files.settings().images.bit_depth

    def has_image(self, image_id: int) -> bool:
        """Whether the workspace has an image."""
        return self._found(image_id) is not None

    def shard_of(self, image_id: int) -> str:
        """The shard of an image. Raises InputError for an image that the workspace does not have."""
        shard = self._found(image_id)
        if shard is None:
            raise InputError(f"{self.files}: no image {image_id}; sam-engine status {self.files} shows what is in it")
        return shard

    def _found(self, image_id: int) -> str | None:
        """An image stays in its shard for good, so that the table is looked at only for one that was not there."""
        known = self._index and self._index[1].shard_of(image_id)
        return known or self.image_index().shard_of(image_id)

    def put_round(self, record: Round) -> bool:
        """Write the row of one round of a stage. Returns False and writes nothing where it is the same already.

        Its images are written before it, where they are not those that it has: until then nobody asks for them.
        """
        ids = ImageIds.of(record.image_ids)
        scope: dict[str, str | int] = {"stage": record.stage, "round": record.round}
        self.put_images_of_round(record.stage, record.round, ids)
        row = {
            **scope,
            "images": len(ids),
            "images_key": ids.key,
            "state": record.state,
            "model_before": record.model_before,
            "model_after": record.model_after,
            "metrics": record.metrics.to_json(),
        }
        return self._replace("rounds", scope, table_of("rounds", [row]), content_key(sorted(row.items())))

    def put_images_of_round(self, stage: Stage, round: int, ids: ImageIds) -> None:
        """Write the images of a round, where it does not have these already, shard by shard."""
        scope: dict[str, str | int] = {"stage": stage, "round": round}
        if self._key_of("round_images", scope) != ids.key:
            runs = self.image_index().runs(ids.array)
            self._replace("round_images", scope, round_images(stage, round, runs), ids.key)

    def rounds(self, stage: str | None = None) -> list[Round]:
        """Rounds of a stage, or of all, in the order of stages and rounds. Their images are read once they are needed.

        Those of stages that no installed package brings are left out; `foreign_stages` names them.
        """
        rows = [row for row in self.read_table("rounds").to_pylist() if row["stage"] in STAGES]
        records = [self._round(row) for row in rows if stage in (None, row["stage"])]
        return sorted(records, key=lambda record: (STAGES.index(record.stage), record.round))

    def _round(self, row: dict[str, Any]) -> Round:
        table, scope = self._tables["round_images"], {name: row[name] for name in ("stage", "round")}
        ids = ImageIds.stored(row.pop("images"), row.pop("images_key"), partial(read_runs, table, **scope))
        return Round(**row | {"image_ids": ids, "metrics": RoundMetrics.from_json(row["metrics"])})

    def foreign_stages(self) -> list[str]:
        """Stages that the workspace has rounds of, but that no installed package brings."""
        stages = self.read_table("rounds", ["stage"])["stage"].to_pylist()
        return sorted({stage for stage in stages if stage not in STAGES})

    def image_index(self, version: int | None = None) -> ImageIndex:
        """Where each image is, whether it is held out: now, or at a version of the table. See `engine.image_index`."""
        table, file = self._tables["images"], place(self.files.cache.on_disk() / "images.arrow")
        latest = table.version()
        with self._index_lock:
            if self._index is None or self._index[0] != latest:
                known, stamp = self._index[1] if self._index else read_index(file), table.stamp(latest)
                # Only where its version is another one its files are listed, which takes memory.
                index = known if stamp and known.stamp == stamp else known.changed_to(table.files_at())
                if index is not known or index.stamp != stamp:
                    index = replace(index, stamp=stamp).write(file)
                self._index = (latest, index)
            index = self._index[1]
        return index if version in (None, latest) else index.changed_to(table.files_at(version))
