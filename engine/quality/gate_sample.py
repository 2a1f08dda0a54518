"""The sample of a verification gate: its masks, which of them people are asked about, and what the verifier said of the
others."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from schemas.labeling import Verdict


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
