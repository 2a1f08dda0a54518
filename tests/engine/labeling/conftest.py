from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.labeling.embeddings import EmbeddingCache, EmbeddingFolder, Precomputer
from engine.labeling.prompting import Prompter
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.folded_decoder import FoldedMasks
from model.folded_image import SharedImage
from model.predictor import Predictor
from model.sam import Sam, build_sam
from tests.engine.labeling.prompters import HEIGHT, MODEL_ID, PICTURE, WIDTH, Clock
from tests.peers.published import draw_weights
from tests.pictures import encoded as picture_bytes
from tests.pictures import shapes


@pytest.fixture(scope="module")
def shared_sam() -> Sam:
    sam = build_sam(SamConfig(EfficientNetConfig(img_size=96), high_res_features=True))
    draw_weights(sam, seed=10)  # masks of every prompt below have pixels
    return sam


@pytest.fixture
def sam(shared_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> Sam:
    """Notes what it decodes."""
    noted: list[dict[str, Any]] = []
    prompt = shared_sam.prompt

    def noting_prompt(image: SharedImage, **prompts: Any) -> FoldedMasks:
        noted.append(prompts)
        return prompt(image, **prompts)

    monkeypatch.setattr(shared_sam, "prompt", noting_prompt)
    monkeypatch.setattr(shared_sam, "noted", noted, raising=False)
    return shared_sam


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace" / "labeling" / "images" / PICTURE
    path.parent.mkdir(parents=True)
    path.write_bytes(picture_bytes(shapes(0, height=HEIGHT, width=WIDTH)[0]))
    return tmp_path / "workspace"


@pytest.fixture
def start(workspace: Path, sam: Sam, clock: Clock) -> Callable[[], Prompter]:
    """Starts a backend's prompter as after a restart."""

    def make() -> Prompter:
        folder = EmbeddingFolder(workspace / "labeling" / "embeddings", MODEL_ID, limit_mb=10)
        cache = EmbeddingCache(sam, folder, in_memory=2)
        return Prompter(workspace, sam, model_id=MODEL_ID, cache=cache, ahead=Precomputer(cache), clock=clock)

    return make


@pytest.fixture
def prompter(start: Callable[[], Prompter]) -> Prompter:
    return start()


@pytest.fixture
def direct(shared_sam: Sam) -> Predictor:
    predictor = Predictor(shared_sam)
    predictor.set_image(shapes(0, height=HEIGHT, width=WIDTH)[0])
    return predictor
