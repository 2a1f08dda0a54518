"""A small workspace with pictures of several sizes and masks of two stages."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import rle
from engine.ingest import ingest
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.mask import Prompt
from schemas.stages import Stage
from schemas.tables import table_of
from tests.rows import mask_row
from tests.templates import new_store

SIZES = [(40, 60), (60, 40), (48, 48), (90, 31), (33, 70), (50, 64), (41, 43)]


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of smooth colours, so that JPEG changes little."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC))


def add_masks(store: Store, stage: Stage, *, round: int = 1, seed: int = 0, skip: int = 0, per_image: int = 5) -> None:
    """Boxes with a hole as masks of `stage`, for all images but the first `skip` of each shard."""
    rng = np.random.default_rng(seed)
    for shard in store.shards():
        rows = {}
        images = store.read_shard("images", shard).sort_by("image_id").to_pylist()
        for image in images[skip:]:
            for _ in range(per_image):
                mask = np.zeros((image["height"], image["width"]), dtype=bool)
                y, x = rng.integers(0, image["height"] - 12), rng.integers(0, image["width"] - 12)
                mask[y : y + rng.integers(5, 12), x : x + rng.integers(5, 12)] = True
                mask[y + 2, x + 2] = False
                automatic = stage == "fully_automatic"
                points = ((float(x) + 1.5, float(y) + 1.5, 1), (float(x) + 2.5, float(y) + 2.5, 0))
                row = mask_row(
                    rle.encode(mask),
                    image_id=image["image_id"],
                    shard=shard,
                    stage=stage,
                    round=round,
                    origin="automatic" if automatic else "manual",
                    annotator="generator" if automatic else "simulated",
                    model_id="0123456789abcdef" if automatic else "",
                    generator_config="fedcba9876543210" if automatic else "",
                    prompt=Prompt(points[: 1 if automatic else 2]),
                    predicted_iou=float(rng.uniform(0.8, 1)) if automatic else float("nan"),
                    stability_score=float(rng.uniform(0.9, 1)) if automatic else float("nan"),
                )
                rows[row["mask_id"]] = row
        key = f"{round:08x}{seed:08x}"
        store.replace_shard(stage, shard, table_of(stage, list(rows.values())), round=round, key=key)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workspaces made once: `bare` has pictures, `filled` masks too. Their pictures lie in `pictures`."""
    root = tmp_path_factory.mktemp("templates")
    (root / "pictures").mkdir()
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(draw(height, width, number)).save(root / "pictures" / f"{number}.png")
    ingest(new_store(root / "bare"), [root / "pictures"], config=ImagesConfig(shard_size=3))
    shutil.copytree(root / "bare", root / "filled")
    filled = Store(root / "filled")
    add_masks(filled, "fully_automatic")
    add_masks(filled, "assisted_manual", seed=1)
    return root


@pytest.fixture
def make_store(templates: Path, tmp_path: Path) -> Callable[..., Store]:
    """Makes workspaces with the same 7 pictures in shards of 3, with masks of both stages or without any."""

    def make(name: str, *, template: str = "filled") -> Store:
        return Store(shutil.copytree(templates / template, tmp_path / name))

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """A workspace with automatic masks on all images, and manual ones."""
    return make_store("workspace")
