"""Mask filters by name: they come last, after all filters of the generator, and look at finished masks."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from schemas.errors import InputError
from schemas.mask import Mask
from schemas.plugins import Registry, settings_of
from schemas.presets import MASK_FILTERS_GROUP


class MaskFilter(Protocol):
    """A function with one argument by position; those by keyword are its settings, each with a default.

    Whether a mask stays should follow from that mask, so that dropping others first changes nothing.
    """

    def __call__(self, masks: Sequence[Mask], /) -> Sequence[bool]:
        """masks: of one image, best first. Returns for each whether it stays."""
        ...


MASK_FILTERS: Registry[MaskFilter] = Registry("mask filter", group=MASK_FILTERS_GROUP, needs=("__call__",), builtin={})


def pass_filters(masks: Sequence[Mask], filters: Mapping[str, Mapping[str, Any]]) -> tuple[list[int], dict[str, int]]:
    """The places of the masks that pass all these filters, and how many each dropped.

    filters: names with settings, in the order in which they are applied (`GeneratorConfig.filters`).
    Raises InputError for an unknown name or setting, or for a filter that does not answer for every mask.
    """
    kept, dropped = list(range(len(masks))), {}
    for name, settings in filters.items():
        accepted = settings_of(f"mask filter {name!r}", MASK_FILTERS[name], settings)
        stay = list(MASK_FILTERS[name]([masks[place] for place in kept], **accepted))
        if len(stay) != len(kept):
            raise InputError(f"mask filter {name!r}: was given {len(kept)} masks and answered for {len(stay)}")
        passed = [place for place, stays in zip(kept, stay, strict=True) if stays]
        dropped[name] = len(kept) - len(passed)
        kept = passed
    return kept, dropped
