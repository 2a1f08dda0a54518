"""The user's own words for releases that are merged."""

from collections.abc import Sequence

from schemas.config import CardConfig
from schemas.release import Manifest

_PROSE = ("citation", "motivation", "pictures", "annotators", "uses", "limits", "maintenance")
_SHORT = ("holder", "contact")


def merged_card(manifests: Sequence[Manifest]) -> CardConfig:
    """What all say stays; of what they say differently, prose is set one below the other and people side by side.

    A name, licence, version, date or page that is not one for all is left empty.
    """
    cards = [manifest.config.card for manifest in manifests]
    merged: dict[str, str] = {}
    for name in CardConfig.model_fields:
        said = list(dict.fromkeys(getattr(card, name).strip() for card in cards))
        if len(said) == 1:
            merged[name] = said[0]
        elif name in _PROSE:
            merged[name] = "\n\n".join(words for words in said if words)
        elif name in _SHORT:
            merged[name] = "; ".join(words for words in said if words)
    return CardConfig.model_validate(merged)
