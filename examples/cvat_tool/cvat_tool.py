"""CVAT as an annotation tool: tasks go out as files, and come back as files that its users export.

    pip install --no-deps -e examples/cvat_tool    # then, in engine.yaml:  annotator: {kind: cvat}
    sam-engine labeling setup WORKSPACE            # makes WORKSPACE/cvat/STAGE, with labels.json for a project of CVAT
    sam-engine run assisted_manual WORKSPACE       # a round goes to WORKSPACE/cvat/STAGE/ROUND/to_annotate

Make a task of the pictures there and upload `annotations.xml` ("CVAT 1.1"): masks that are shown ready-made. When a job
is done, export it as "CVAT for images 1.1" and put the XML into `done`; the next run reads it. All pictures of such a
file count as annotated. Times are not in these files, so that masks cost 0 seconds here.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cvat_xml import CvatImage, CvatShape, read_annotations, write_annotations
from PIL import Image

from engine.annotation import (
    AnnotatedImage,
    AnnotationProgress,
    Check,
    Event,
    EventKind,
    ImageWork,
    Link,
    OpenRound,
    ShownImage,
)
from engine.files import atomic_file, make_folder, storage_errors, write_atomic
from engine.keys import content_key
from engine.labeling.folder import Scope
from engine.labeling.published import Prefilled, PublishedImage, prefilled_of
from engine.labeling.records import RoundRecords
from engine.rle import measured
from engine.store import Store
from schemas.config import EngineConfig
from schemas.errors import InputError
from schemas.mask import Mask, Prompt
from schemas.rle import Rle
from schemas.stages import Stage
from schemas.tables import Origin

LABEL, MADE_FROM = "object", "made_from"  # the attribute names the mask that a shape was at first


class CvatTool:
    """See `engine.annotation.AnnotationTool`."""

    def __init__(self, store: Store, config: EngineConfig) -> None:
        self.store, self.config = store, config

    def setup(self, stage: Stage) -> Link:
        file = self._folder(stage) / "labels.json"
        attribute = {"name": MADE_FROM, "input_type": "text", "mutable": False, "values": [""]}
        wanted = json.dumps([{"name": LABEL, "attributes": [attribute]}], indent=1).encode()
        changed = () if file.is_file() and file.read_bytes() == wanted else (f"wrote {file.name}",)
        write_atomic(file, wanted)
        return Link(stage, str(file.parent), changed)

    def doctor(self, stage: Stage) -> Iterator[Check]:
        there = (self._folder(stage) / "labels.json").is_file()
        yield Check("labels", "" if there else f"run: sam-engine labeling setup {self.store.workspace}")
        for file in sorted(self._folder(stage).glob("*/done/*.xml")):
            try:
                problems = [problem for image in _read(file) for problem in image.problems]
                yield Check(str(file), "; ".join(problems))
            except InputError as error:
                yield Check(str(file), str(error))

    def publish(self, work: OpenRound) -> None:
        """A picture's record comes after its file, and annotations.xml last: what is missing is done again."""
        records, folder = self._records(work), self._round_folder(work)
        with storage_errors(folder):
            make_folder(folder / "done")
        known = records.published()
        missing = [image_id for image_id in work.record.image_ids if image_id not in known]
        for done, image in enumerate(work.shown(missing)):
            work.tell("publish", done, len(missing))
            with atomic_file(folder / "to_annotate" / f"{image.image_id}.jpg") as file:
                Image.fromarray(image.pixels).save(file, format="JPEG", quality=95)
            records.put_published([self._published(image)])
        listed = [_to_annotate(image) for _, image in sorted(records.published().items())]
        xml = write_annotations(listed, labels=[LABEL], attribute=MADE_FROM)
        write_atomic(folder / "to_annotate" / "annotations.xml", xml)

    def collect(self, work: OpenRound) -> AnnotationProgress:
        """Of a picture that several files have, the one that was written last counts."""
        records, folder = self._records(work), self._round_folder(work)
        published, collected = records.published(), records.collected()
        problems: list[str] = []
        files = sorted((folder / "done").glob("*.xml"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        found: dict[int, dict[str, Any]] = {}
        for file in files:
            for image in _read(file):
                image_id = _image_id(image.name)
                if image_id not in published or image.problems:
                    problems += image.problems or [f"{file}: {image.name} was not published in this round"]
                else:
                    _check_size(file, image, published[image_id])
                    found[image_id] = _task(image, submitted_s=file.stat().st_mtime)
        changed = {image_id: task for image_id, task in found.items() if collected.get(image_id) != task}
        if changed:
            records.put_collected(changed, seen_until="")
        done, total = len(collected | found), len(work.record.image_ids) - len(work.unreadable)
        message = f"{done} of {total} images are annotated; tasks are in {folder}"
        message += f"; {len(problems)} to be looked at, the first: {problems[0]}" if problems else ""
        return AnnotationProgress(done >= math.ceil(self.config.labeling.done_frac * total), message)

    def annotated(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Iterator[AnnotatedImage]:
        records = self._records(work)
        collected = records.collected(shard)
        for image_id, shown in records.published(shard).items():
            if image_id in image_ids:
                done = _work(shown, collected[image_id]) if image_id in collected else None
                yield AnnotatedImage(image_id, "cvat", shown.model_id, done, shown.generation)

    def settings(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Sequence[object]:
        records = self._records(work)
        shown = {image_id: image.to_json() for image_id, image in records.published(shard).items()}
        collected = records.collected(shard)
        return (content_key([(shown.get(each), collected.get(each)) for each in image_ids]),)

    def _published(self, image: ShownImage) -> PublishedImage:
        hw = (image.pixels.shape[0], image.pixels.shape[1])
        again = tuple(Prefilled(f"mask-{each}", mask) for each, mask in zip(image.mask_ids, image.masks, strict=False))
        fresh = prefilled_of(list(image.masks), limit=self.config.semi_automatic.max_prefilled_masks)
        shown, config = again or fresh, image.generator_config
        return PublishedImage(image.image_id, 0, hw, hw, image.model_id, config, shown, image.generation)

    def _records(self, work: OpenRound) -> RoundRecords:
        return RoundRecords(self.store, Scope(work.record.stage, work.record.stage, work.record.round))

    def _folder(self, stage: Stage) -> Path:
        return Path(self.store.workspace) / "cvat" / stage

    def _round_folder(self, work: OpenRound) -> Path:
        return self._folder(work.record.stage) / str(work.record.round)


def _to_annotate(image: PublishedImage) -> CvatImage:
    shapes = tuple(CvatShape(LABEL, one.mask.rle, {MADE_FROM: one.region_id}, "auto") for one in image.prefilled)
    return CvatImage(f"{image.image_id}.jpg", *image.full_hw, shapes)


def _read(file: Path) -> list[CvatImage]:
    return read_annotations(file.read_bytes(), name=str(file))


def _image_id(name: str) -> int:
    stem = Path(name).stem
    return int(stem) if stem.isdecimal() else -1


def _check_size(file: Path, image: CvatImage, published: PublishedImage) -> None:
    if (image.height, image.width) != published.full_hw:
        height, width = published.full_hw
        raise InputError(
            f"{file}: {image.name} is {image.width}x{image.height} px, and was published as {width}x{height}"
        )


def _task(image: CvatImage, *, submitted_s: float) -> dict[str, Any]:
    shapes = [asdict(shape) | {"rle": shape.rle.counts.decode("ascii")} for shape in image.shapes]
    return {"submitted_s": submitted_s, "shapes": shapes}


def _work(shown: PublishedImage, task: dict[str, Any]) -> ImageWork:
    """Shapes that name the mask they were at first are that mask, kept or mended; the others are new."""
    work, at_s = ImageWork(clock_s=task["submitted_s"]), task["submitted_s"]
    left = {one.region_id: one.mask for one in shown.prefilled}
    for shape in task["shapes"]:
        rle = Rle(*shown.full_hw, shape["rle"].encode("ascii"))
        before = left.pop(shape["attributes"].get(MADE_FROM, ""), None)
        kind: EventKind = "draw" if before is None else "accept" if before.rle == rle else "edit"
        mask = measured(rle) if before is None else before if before.rle == rle else _mended(before, rle)
        work.events.append(Event(kind, at_s, 0.0, len(work.masks), {"clicks": 0, "over_limit": False}))
        work.masks.append(replace(mask, seconds=0.0, clicks=0))
    work.events += [Event("delete", at_s, 0.0, detail={"reason": "deleted by the annotator"}) for _ in left]
    return work


def _mended(before: Mask, rle: Rle) -> Mask:
    counted = measured(rle)
    origin: Origin = "manual" if before.origin == "manual" else "automatic_corrected"
    return replace(before, rle=rle, area=counted.area, box=counted.box, prompt=Prompt(mask=before.rle), origin=origin)
