"""Everything that describes a release to people and to programs, written once its tars are there."""

from collections.abc import Mapping

from engine.places import Place
from engine.release.card import CARD_FILE, card_text
from engine.release.croissant import CROISSANT_FILE, croissant_text
from engine.release.datasheet import DATASHEET_FILE, datasheet_text
from engine.release.licences import LICENSE_FILE, licence_text
from engine.release.sample_sheet import PREVIEW_FILE, preview_of
from engine.release.statistics import STATISTICS_FILE, statistics_of
from engine.release.tars import describe_file
from schemas.release import Manifest

DOCUMENTS = (STATISTICS_FILE, PREVIEW_FILE, DATASHEET_FILE, CROISSANT_FILE, LICENSE_FILE)


def documents_of(folder: Place, manifest: Manifest) -> dict[str, bytes]:
    """Name and content of each; they follow from the manifest and the tars with their index, which lie in `folder`.

    Raises InputError, OSError or pa.ArrowException where those cannot be read.
    """
    statistics = statistics_of(folder, manifest.tars)
    return {
        STATISTICS_FILE: statistics.to_json(),
        PREVIEW_FILE: preview_of(folder, manifest.tars),
        DATASHEET_FILE: datasheet_text(manifest, statistics).encode(),
        CROISSANT_FILE: croissant_text(manifest, statistics).encode(),
        LICENSE_FILE: licence_text(manifest.config.card, name=manifest.name).encode(),
        CARD_FILE: card_text(manifest).encode(),
    }


def write_documents(folder: Place, manifest: Manifest, documents: Mapping[str, bytes] | None = None) -> Manifest:
    """Write them beside the tars of a release. Returns the manifest that vouches for them too.

    documents: those of `documents_of`, which are made where None.
    """
    for name, content in (documents_of(folder, manifest) if documents is None else documents).items():
        (folder / name).write(content)
    described = tuple(describe_file(folder, name) for name in DOCUMENTS)
    return manifest.model_copy(update={"card": describe_file(folder, CARD_FILE), "documents": described})
