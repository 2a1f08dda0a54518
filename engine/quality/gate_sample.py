"""The sample of a verification gate, as it was drawn: its masks, which of them people are asked about, and what the
verifier said of the others. It is kept because the gate itself takes masks out of the tables.

A sample appears whole or not at all, before anything is published: whatever is killed later, the same masks are asked.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.files import write_atomic
from engine.labeling.folder import LabelingFolder, Scope, read_json, write_json
from schemas.errors import InputError
from schemas.labeling import Verdict

_SAMPLE_FILE, _ANSWERS_FILE = "sample.parquet", "answers.json"
_META = b"sample"


@dataclass(frozen=True)
class GateSample:
    """masks: rows of a masks table, in the order of the draw. pre_answers: what the verifier said, by mask. audited:
    masks that it answered and people are asked all the same. verifier: "stated_precision", "learnt_from" (answers),
    then "id" and "out_of_fold" where it was trained, "reason" where people are asked everything; empty where the
    workspace wants none.
    """

    masks: pa.Table
    pre_answers: Mapping[int, Verdict] = field(default_factory=dict)
    audited: frozenset[int] = frozenset()
    verifier: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> list[int]:
        """Masks that people are asked about, in the order of the draw."""
        return [each for each in self.mask_ids if each not in self.pre_answers or each in self.audited]

    @property
    def mask_ids(self) -> list[int]:
        ids: list[int] = self.masks["mask_id"].to_pylist()
        return ids

    def without_verifier(self, reason: str) -> "GateSample":
        """The same, with all of it asked."""
        return replace(self, pre_answers={}, audited=frozenset(), verifier={**self.verifier, "reason": reason})


class GateFolder:
    """What is kept of the verification of one round."""

    def __init__(self, folder: LabelingFolder, scope: Scope) -> None:
        self.path = folder.round(scope).path

    def sample(self) -> GateSample | None:
        """None before the sample was drawn. Raises InputError naming a file that is damaged."""
        path = self.path / _SAMPLE_FILE
        if not path.is_file():
            return None
        try:
            masks = pq.read_table(path)
            meta = json.loads(masks.schema.metadata[_META])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({' '.join(str(error).split())}); restore it from a backup") from error
        return GateSample(
            masks.replace_schema_metadata(None),
            {int(each): verdict for each, verdict in meta["pre_answers"].items()},
            frozenset(map(int, meta["audited"])),
            meta["verifier"],
        )

    def put_sample(self, sample: GateSample) -> None:
        meta = {
            "pre_answers": {str(each): verdict for each, verdict in sample.pre_answers.items()},
            "audited": sorted(map(str, sample.audited)),
            "verifier": dict(sample.verifier),
        }
        buffer = io.BytesIO()
        pq.write_table(sample.masks.replace_schema_metadata({_META: json.dumps(meta).encode()}), buffer)
        write_atomic(self.path / _SAMPLE_FILE, buffer.getvalue())

    def answers(self) -> dict[int, Verdict]:
        """What people said so far, by mask."""
        return {int(each): verdict for each, verdict in read_json(self.path / _ANSWERS_FILE, {}).items()}

    def put_answers(self, verdicts: Mapping[int, Verdict]) -> None:
        """Add what people said; what was read before stays, the last answer of a mask counts."""
        known = self.answers()
        found = known | dict(verdicts)
        if found != known:
            write_json(self.path / _ANSWERS_FILE, {str(each): found[each] for each in sorted(found)})

    def features_file(self, name: str) -> Path:
        """Where the features of the sample's masks are kept, once made; name: of what they follow from besides."""
        return self.path / f"features-{name}.safetensors"
