"""`croissant.json`: what machines read of a release, in MLCommons' Croissant 1.0 with its RAI 1.0 vocabulary.

Files are named relative to the folder, so its records load from wherever that lies. `pictures` and `annotations` come
from the tars, `image_index` and `mask_index` from the Parquet files.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from engine.release.licences import known_licence
from engine.release.statistics import Statistics
from schemas.config import SIMULATED, CardConfig
from schemas.counted import counted
from schemas.release import IMAGE_INDEX, MASK_INDEX, Manifest, ReleasedFile
from schemas.stages import ANNOTATED_STAGES

CROISSANT_FILE = "croissant.json"
_CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
# The context that Croissant 1.0 recommends, and the names of its RAI vocabulary.
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_PARQUET, _TAR = "application/x-parquet", "application/x-tar"


def croissant_text(manifest: Manifest, statistics: Statistics) -> str:
    """The whole file. It names the tars with their checksums; those of all files are in the manifest."""
    card = manifest.config.card
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": card.name or manifest.name,
        "description": _description(manifest),
        **_terms(card),
        "keywords": ["segmentation", "masks", "SA-1B"],
        "isLiveDataset": False,
        **{f"rai:{name}": said for name, said in _responsible(manifest, statistics).items() if said},
        "distribution": list(_distribution(manifest)),
        "recordSet": list(_record_sets()),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _description(manifest: Manifest) -> str:
    text = f"{counted(manifest.masks, 'mask')} on {counted(manifest.images, 'picture')}, in the form of SA-1B."
    return f"{text} {manifest.config.card.pictures.strip()}".strip()


def _terms(card: CardConfig) -> dict[str, Any]:
    known = known_licence(card)
    said = {
        "version": card.version,
        "datePublished": card.published,
        "license": f"https://spdx.org/licenses/{known.spdx}.html" if known else card.license,
        "url": card.url,
        "citeAs": card.citation.strip(),
        "creator": {"@type": "sc:Organization", "name": card.holder} if card.holder else "",
    }
    return {name: value for name, value in said.items() if value}


def _responsible(manifest: Manifest, statistics: Statistics) -> dict[str, Any]:
    """Of the RAI vocabulary, what is known. Names are those of its version 1.0."""
    card, people = manifest.config.card, [stage for stage in manifest.stages if stage in ANNOTATED_STAGES]
    alone = [stage for stage in manifest.stages if stage not in ANNOTATED_STAGES]
    protocol = []
    if people:
        protocol.append(f"{', '.join(people)}: annotators worked with the model's help, which learned from each round.")
    if alone:
        protocol.append(f"{', '.join(alone)}: the model worked alone, and its masks were filtered.")
    if simulated := statistics.annotators.get(SIMULATED, 0):
        protocol.append(f"{simulated:,} masks come from a simulated annotator: a program in place of people.")
    blurred = [f"{name} ({version})" for name, version in manifest.blur_versions.items()]
    private = (
        f"Blurred where found: {', '.join(blurred)}; on "
        f"{counted(statistics.pictures_blurred, 'picture')}. Others can remain."
        if blurred
        else "Nothing was blurred: faces and licence plates are as they were photographed."
    )
    each = statistics.masks_per_picture
    limits = ["What no mask shows is not background.", "Masks made with a model share its faults."]
    return {
        "dataCollection": card.pictures.strip(),
        "dataCollectionMissingData": f"Pictures without a mask are left out: {manifest.images_without_masks:,}.",
        "dataPreprocessingProtocol": [
            f"Upright, sRGB, shortest side at most {manifest.config.shortest_side_px} px, JPEG; masks scaled with them."
        ],
        "dataAnnotationProtocol": protocol,
        "dataAnnotationPlatform": sorted(set(statistics.annotators) & {"label_studio"}),
        "annotationsPerItem": f"{each.least} to {each.most} masks a picture, {each.mean:.1f} on average",
        "annotatorDemographics": [card.annotators.strip()] if card.annotators else [],
        "machineAnnotationTools": ["Segment Anything, as sam-data-engine"],
        "dataUseCases": [card.uses.strip()] if card.uses else [],
        "dataLimitations": [*([card.limits.strip()] if card.limits else []), *limits],
        "personalSensitiveInformation": [private],
        "dataReleaseMaintenancePlan": card.maintenance.strip(),
    }


def _distribution(manifest: Manifest) -> Iterator[dict[str, Any]]:
    for tar in manifest.tars:
        yield _file(tar.tar, _TAR)
    tars = [{"@id": tar.tar.name} for tar in manifest.tars]
    for name, ending, kind in (("jpg-files", "jpg", "image/jpeg"), ("json-files", "json", "application/json")):
        yield {
            "@type": "cr:FileSet",
            "@id": name,
            "containedIn": tars[0] if len(tars) == 1 else tars,
            "encodingFormat": kind,
            "includes": f"*.{ending}",
        }
    for kind in ("images", "masks"):
        yield {
            "@type": "cr:FileSet",
            "@id": f"{kind}-index-files",
            "encodingFormat": _PARQUET,
            "includes": f"index/{kind}/*.parquet",
        }


def _file(file: ReleasedFile, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": kind,
        "sha256": file.sha256,
    }


def _record_sets() -> Iterator[dict[str, Any]]:
    for name, files, what, kind in (
        ("pictures", "jpg-files", "picture", "sc:ImageObject"),
        ("annotations", "json-files", "json", "sc:Text"),
    ):
        yield {
            "@type": "cr:RecordSet",
            "@id": name,
            "description": f"The {what} of each picture of the release; `name` is the file's.",
            "field": [
                _field(f"{name}/name", "sc:Text", {"fileSet": {"@id": files}, "extract": {"fileProperty": "filename"}}),
                _field(f"{name}/{what}", kind, {"fileSet": {"@id": files}, "extract": {"fileProperty": "content"}}),
            ],
        }
    for name, files, schema in (
        ("image_index", "images-index-files", IMAGE_INDEX),
        ("mask_index", "masks-index-files", MASK_INDEX),
    ):
        yield {
            "@type": "cr:RecordSet",
            "@id": name,
            "description": f"A row of `{files.removesuffix('-index-files')}` of the index.",
            "field": [
                _field(
                    f"{name}/{column.name}",
                    kind,
                    {"fileSet": {"@id": files}, "extract": {"column": column.name}},
                    repeated=pa.types.is_list(column.type),
                )
                for column in schema
                if (kind := _data_type(column.type))
            ],
        }


def _field(name: str, kind: str, source: dict[str, Any], *, repeated: bool = False) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": name, "name": name, "dataType": kind, "source": source}
    return field | {"repeated": True} if repeated else field


def _data_type(kind: pa.DataType) -> str:
    """Schema.org's name; "" for what has no flat one (lists of structures)."""
    if pa.types.is_list(kind):
        return _data_type(kind.value_type)
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text" if pa.types.is_string(kind) else ""
