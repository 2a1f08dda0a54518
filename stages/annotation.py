"""The worker of the stages in which annotators work: it gives their tool what to show and stores what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from engine.annotation import AnnotationProgress, AnnotationTool, ShownImage
from engine.labeling.folder import Scope
from engine.labeling.records import RoundRecords
from engine.labeling.usefulness import usefulness
from engine.quality.returned import ReturnedImage, masks_shown_again, returned_images, waiting
from model.predictor import Predictor
from schemas.mask import Mask
from stages.annotation_tools import annotation_tool
from stages.records import ShardRows, Where, add_annotations, add_given
from stages.unreadable import LISTED, told_unreadable
from stages.workers import Picture, ShardWorker


class AnnotationWorker(ShardWorker):
    """Annotates shards in whatever tool the settings name; to that tool it is the open round (`OpenRound`)."""

    @cached_property
    def tool(self) -> AnnotationTool:
        return annotation_tool(self.store, self.config)

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor(self.sam)

    def move(self) -> AnnotationProgress:
        """Show annotators what is missing, read what they have done, and say how far they are.

        Pictures that cannot be read are left out, and shown once they can.
        Raises WaitError where their tool does not answer, InputError where somebody has to mend something, or where
        more than half of the pictures cannot be read.
        """
        self.tool.publish(self)
        progress = self.tool.collect(self)
        left_out = self.unreadable
        self._keep(left_out)
        if not left_out:
            return progress
        told = told_unreadable(len(left_out), left_out.values())
        return replace(progress, message=f"{progress.message}; left out, since they cannot be read: {told}")

    def settings(self, shard: str) -> Sequence[object]:
        return self.tool.settings(self, shard, self.images_by_shard[shard])

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        for image in self.tool.annotated(self, shard, image_ids):
            rows.generation += image.generation
            where = Where(image.image_id, shard, self.stage, self.round, image.model_id)
            add_given(rows, image.annotations, where)
            if image.work is not None:
                add_annotations(rows, image.work, where, annotator=image.annotator)
        return rows

    @property
    def generator_config_hash(self) -> str:
        """Of the settings that make masks which annotators start from; "" where the stage has none."""
        return ""

    @property
    def prefill_settings(self) -> Sequence[object]:
        return ()

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        """Masks that annotators are shown ready-made; none unless the stage has some."""
        return ()

    @property
    def unreadable(self) -> Mapping[int, str]:
        if not self._unreadable:
            return {}
        seen = RoundRecords(self.store, Scope(self.stage, self.stage, self.round)).collected()
        return {image_id: why for image_id, why in self._unreadable.items() if image_id not in seen}

    def most_useful_first(self, image_ids: Sequence[int]) -> list[int]:
        scores: dict[int, float] = {}
        for image_id in image_ids:
            with self.bearing_unreadable(image_id):
                scores[image_id] = self._usefulness(image_id)
        return sorted(scores, key=lambda image_id: (-scores[image_id], image_id))

    def shown(self, image_ids: Sequence[int]) -> Iterator[ShownImage]:
        for picture in self.pictures(image_ids):
            returned = self._returned.get(picture.image_id)
            yield self._as_it_was(picture, returned) if returned else self._fresh(picture)

    def tell(self, what: str, done: int, total: int) -> None:
        self.progress(f"{self.stage} round {self.round}: {what}", done, total)

    def _keep(self, left_out: Mapping[int, str]) -> None:
        """With the round: its later rows come from what was published, and the next round takes these images."""
        record = self.record
        if set(left_out) != set(record.metrics.images_unreadable):
            told = {"images_unreadable": sorted(left_out), "why_unreadable": list(left_out.values())[:LISTED]}
            self.store.put_round(replace(record, metrics=record.metrics.updated(told)))

    def _fresh(self, picture: Picture) -> ShownImage:
        shard, model = self.store.shard_of(picture.image_id), self.record.model_before
        rows = ShardRows()
        masks = tuple(self.prefilled(picture, Where(picture.image_id, shard, self.stage, self.round, model), rows))
        config = self.generator_config_hash if masks else ""
        return ShownImage(picture.image_id, picture.pixels, masks, (), model, config, tuple(rows.generation))

    def _as_it_was(self, picture: Picture, returned: ReturnedImage) -> ShownImage:
        rows = masks_shown_again(self.store, returned)
        masks, ids = tuple(Mask.from_row(row) for row in rows), tuple(row["mask_id"] for row in rows)
        return ShownImage(picture.image_id, picture.pixels, masks, ids, self.record.model_before, "", ())

    @cached_property
    def _returned(self) -> dict[int, ReturnedImage]:
        """Images that a gate of quality sent back, which come with the masks that they had."""
        here = (self.stage, self.round)
        earlier = [record for record in self.store.rounds() if (record.stage, record.round) != here]
        return {image.image_id: image for image in waiting(returned_images(self.store), earlier)}

    def _usefulness(self, image_id: int) -> float:
        self.predictor.set_image(self.store.load_image(image_id))
        return usefulness(self.predictor)
