"""Small workspaces with pictures of shapes, their ground truth, and a tiny model with random weights."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.store import Store
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.registry import ModelCard
from model.sam import Sam, build_sam
from model.storage import save_model
from schemas.config import CONFIG_FILE
from schemas.stages import Stage
from stages.planning import next_step
from stages.rounds import tick
from tests.templates import new_store, new_template

TINY = SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder_mlp_dim=64, high_res_features=True)
# No filter stands in the way of a model that has learned nothing.
ALL_MASKS = {
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 0.95,
    "crop_n_layers": 0,
    "min_mask_region_area": 0,
    "drop_small_masks": False,
    "max_mask_area_frac": 1.0,
}
SETTINGS: dict[str, Any] = {
    "images": {"shard_size": 3, "holdout_frac": 0.0},
    "model": {"start": "tiny", "device": "cpu"},
    "annotator": {"max_clicks": 1},
    "assisted_manual": {"rounds": 2},
    "semi_automatic": {"rounds": 1, "prefill": "generator", "max_prefilled_masks": 5, "generator": ALL_MASKS},
    "fully_automatic": {"generator": ALL_MASKS},
    "retraining": {"steps": 2, "masks_per_image": 2},
    "flow": {"shards_per_task": 2, "retries": 0},
}


def tiny_sam() -> Sam:
    """A model of seconds, not minutes. Its IoU head calls every mask good, so that the generator keeps some."""
    torch.manual_seed(0)
    sam = build_sam(TINY)
    with torch.no_grad():
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(0.9)
    return sam


def shapes(seed: int, *, side: int = 48) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture of two rectangles and a disc, (H, W, 3) uint8, and their masks (H, W) bool."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (side, side + 8, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:side, : side + 8]
    x, y = rng.integers(2, 10, 2)
    masks = [
        (rows >= y) & (rows < y + 12) & (columns >= x) & (columns < x + 14),
        (rows >= y + 20) & (rows < y + 28) & (columns >= x) & (columns < x + 30),
        (rows - 14) ** 2 + (columns - 40) ** 2 < 60,
    ]
    for mask in masks:
        image[mask] = rng.integers(90, 256, 3)
    return image, masks


def write_pictures(folder: Path, *, images: int, holdout: int = 0, first_seed: int = 0) -> Path:
    """Write PNG files and a COCO json that describes them; the last `holdout` images are held out."""
    folder.mkdir(parents=True)
    records, annotations = [], []
    for number in range(images):
        image, masks = shapes(first_seed + number)
        Image.fromarray(image).save(folder / f"{number}.png")
        split = "holdout" if number >= images - holdout else "train"
        size = {"height": image.shape[0], "width": image.shape[1]}
        records.append({"id": number, "file_name": f"{number}.png", "split": split, **size})
        for mask in masks:
            segmentation = rle_codec.encode(mask).to_coco()
            annotations.append({"id": len(annotations), "image_id": number, "segmentation": segmentation, "iscrowd": 0})
    path = folder / "masks.json"
    path.write_text(json.dumps({"images": records, "annotations": annotations}), encoding="utf-8")
    return path


def make_workspace(
    folder: Path, *, images: int = 6, holdout: int = 1, through: Sequence[Stage] = (), **settings: Any
) -> Store:
    """A workspace with its own tiny model, and its pictures in `folder / "pictures"`.

    through: stages that are done. settings: sections of engine.yaml that replace those of SETTINGS, but for `images`,
    by which pictures come in.
    """
    assert "images" not in settings
    config = yaml.safe_dump(SETTINGS | settings)
    made = _worked_through(images, holdout, tuple(through), config) if through else _ingested(images, holdout)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    (folder / "workspace" / CONFIG_FILE).write_text(config, encoding="utf-8")
    return Store(folder / "workspace")


@cache
def _ingested(images: int, holdout: int) -> Path:
    folder = new_template()
    store = new_store(folder / "workspace")
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    save_model(tiny_sam(), store.workspace / "models", ModelCard(name="tiny"))
    report = ingest(store, [write_pictures(folder / "pictures", images=images, holdout=holdout)])
    assert not report.rejected, report.rejected[0]
    return folder


@cache
def _worked_through(images: int, holdout: int, stages: tuple[Stage, ...], config: str) -> Path:
    folder = shutil.copytree(_ingested(images, holdout), new_template())
    (folder / "workspace" / CONFIG_FILE).write_text(config, encoding="utf-8")
    store = Store(folder / "workspace")
    for stage in stages:
        while tick(store, stage).state == "advanced":
            pass
        assert next_step(store, stage).action == "none"
    return folder
