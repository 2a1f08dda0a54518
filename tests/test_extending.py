"""docs/extending.md: its table is that of the registries, its samples do what they say, its files exist."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.evaluation.evaluations import EVALUATIONS
from engine.labels.importers import IMPORTERS
from engine.masks.named_filters import MASK_FILTERS
from engine.release.exporters import EXPORTERS
from engine.release.privacy import PRIVACY_DETECTORS
from model.config import MODEL_SIZES, SamConfig
from model.encoder_configs import ENCODERS
from model.sam import build_sam
from model.text_encoders import TEXT_ENCODERS
from schemas.plugins import Registry
from schemas.stages import STAGE_INFOS
from stages.annotation_tools import ANNOTATION_TOOLS
from stages.prefilling import PREFILL_DETECTORS
from tests.documents import ROOT, blocks, prose

PAGE = ROOT / "docs" / "extending.md"
REGISTRIES: tuple[Registry[Any], ...] = (
    ENCODERS,
    MODEL_SIZES,
    TEXT_ENCODERS,
    MASK_FILTERS,
    PREFILL_DETECTORS,
    ANNOTATION_TOOLS,
    EVALUATIONS,
    IMPORTERS,
    PRIVACY_DETECTORS,
    EXPORTERS,
    STAGE_INFOS,
)


def samples() -> dict[str, Any]:
    """What the page's Python samples define."""
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.text, str(PAGE), "exec"), names)
    return names


def test_the_table_names_every_registry() -> None:
    groups = re.findall(r"^\| [\w ]+ \| `(sam_data_engine\.\w+)` \|", prose(PAGE), re.MULTILINE)
    assert groups == [registry.group for registry in REGISTRIES]


def test_protocols_and_files_exist() -> None:
    for name in re.findall(r"`((?!engine\.yaml)(?:model|engine|stages|schemas)(?:\.\w+)+)`", prose(PAGE)):
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
    for name in re.findall(r"`((?:model|engine|stages|schemas|examples|tests)/[\w/.]*)`", prose(PAGE)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("example", ["toy_encoder", "cvat_tool", "labelme_exporter", "detector_boxes"])
def test_an_example_has_at_most_three_files(example: str) -> None:
    assert 2 <= len(_files(ROOT / "examples" / example)) <= 3


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".py", ".toml", ".md"}]


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (ENCODERS, "PatchConfig"),
        (TEXT_ENCODERS, "Letters"),
        (MASK_FILTERS, "at_least"),
        (PREFILL_DETECTORS, "WholePicture"),
        (ANNOTATION_TOOLS, "KeepAll"),
        (EVALUATIONS, "sizes"),
        (IMPORTERS, "OutlineImporter"),
        (PRIVACY_DETECTORS, "TopRightStamp"),
        (EXPORTERS, "export_areas"),
        (STAGE_INFOS, "GRID"),
    ],
)
def test_a_sample_has_what_its_registry_needs(registry: Registry[Any], name: str) -> None:
    sample = samples()[name]
    assert [need for need in registry._needs if not hasattr(sample, need)] == []


def test_the_sample_of_an_encoder_works(monkeypatch: pytest.MonkeyPatch) -> None:
    config = samples()["PatchConfig"]
    monkeypatch.setitem(ENCODERS._loaded, "patch", config)
    assert build_sam(SamConfig(config())).encode(torch.zeros(1, 3, 256, 256)).features.shape == (1, 256, 16, 16)


@pytest.mark.parametrize(
    ("sample", "protocol"),
    [("WholePicture", "PrefillDetector"), ("KeepAll", "AnnotationTool"), ("Letters", "TextEncoder")],
)
def test_the_sample_of_a_class_has_all_members_of_its_protocol(sample: str, protocol: str) -> None:
    of: Mapping[str, str] = {
        "PrefillDetector": "stages.prefilling",
        "AnnotationTool": "engine.annotation",
        "TextEncoder": "model.text_encoders",
    }
    wanted = getattr(importlib.import_module(of[protocol]), protocol)
    assert {name for name in vars(wanted) if not name.startswith("_")} <= set(dir(samples()[sample]))
