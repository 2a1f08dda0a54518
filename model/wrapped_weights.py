"""Weights under the names that other trainers and libraries give them, and what a file is that holds none."""

import argparse
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

Weights = dict[str, Tensor]
_log = logging.getLogger(__name__)

# Trainers wrap the weights in a dictionary of their own; these are the names they use, the first that is there counts.
_WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "sam", "module", "params", "weights"),
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
)
_ANCHOR = "mask_decoder.iou_token.weight"  # in all weights of SAM and its kin; what stands before it is a prefix
_COMPILED = "_orig_mod."  # what torch.compile adds, also in the middle of names
# Kept beside the weights by trainers and profilers; no weights of SAM end so.
_HARMLESS = frozenset({"pixel_mean", "pixel_std", "n_averaged", "total_ops", "total_params"})

_MLP = {"proj_in": "layers.0", "layers.0": "layers.1", "proj_out": "layers.2"}
# Names of Hugging Face's SamModel, in the order in which they are replaced.
_OF_HUGGING_FACE = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (
        r"^(prompt_encoder\.shared_embedding|shared_image_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
)
_MLP_OF_HUGGING_FACE = re.compile(
    r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.(proj_in|layers\.0|proj_out)\."
)
_MLP_OF_SAM2 = re.compile(r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.(\d)\.")


def unwrapped(content: Any) -> Weights:
    """Tensors by the published names of what a weights file holds; empty where it holds something else."""
    weights = _tensors(content)
    if any(_COMPILED in name for name in weights):
        weights = {name.replace(_COMPILED, ""): tensor for name, tensor in weights.items()}
    weights = _without_prefix(weights)
    if any(name.startswith("vision_encoder.patch_embed.projection.") for name in weights):
        weights = {_of_hugging_face(name): tensor for name, tensor in weights.items()}
    if any(name.startswith("sam_mask_decoder.") for name in weights):
        weights = _of_sam2(weights)
    return {name: tensor for name, tensor in weights.items() if name.rpartition(".")[2] not in _HARMLESS}


def foreign(weights: Weights) -> str | None:
    """Whose weights these are, where they are known to be another architecture's; else None."""
    if any(name.startswith(("image_encoder.trunk.", "mask_decoder.obj_score_token")) for name in weights):
        return "SAM 2, of another size"
    if any(name.startswith(("mask_decoder.hf_token", "mask_decoder.hf_mlp")) for name in weights):
        return "SAM-HQ, of another size"
    if "iou_token.weight" in weights or (
        _ANCHOR in weights and not any(name.startswith("image_encoder.") for name in weights)
    ):
        return "a mask decoder without its image encoder"
    return None


def no_weights_file(head: bytes) -> str | None:
    """What a file is that begins so, where it is known to hold no weights; else None."""
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page, not weights: the download asked for something else first; get the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the weights themselves; get them with git lfs pull"
    return None


def refusal(message: str) -> str:
    """Why torch read no further, of its message: the class that the file needs, where it tells."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None:
        return "damaged, or no plain file of tensors (only those are read)"
    return (
        f"it needs the class {found[1]}, which is code, and only tensors are read; "
        "of a whole pickled module, save its state_dict()"
    )


def harmless_classes() -> list[Any]:
    """What trainers keep beside the weights and what runs nothing when it is read, as torch wants to be told."""
    make_scalar, rebuild = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    dtypes = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    return [
        *(argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.dtype, np.ndarray, *dtypes),
        *((make_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *((rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    ]


def _tensors(content: Any) -> Weights:
    if not isinstance(content, Mapping):
        return {}
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and (found := _tensors(inner)):
            return found
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return {}
    return dict(content)


def _without_prefix(weights: Weights) -> Weights:
    """Names from where the published ones begin; a prefix that all share where none is among them."""
    prefixes = {name.removesuffix(_ANCHOR) for name in weights if name == _ANCHOR or name.endswith(f".{_ANCHOR}")}
    if len(prefixes) == 1:
        (prefix,) = prefixes
        return {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
    for prefix in ("module.", "model.", "sam."):
        if weights and all(name.startswith(prefix) for name in weights):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in weights.items()})
    return weights


def _of_sam2(weights: Weights) -> Weights:
    """The part of SAM 2 that pictures need, by our names; its memory of videos is left out, and a warning says so."""
    found, left_out = {}, set()
    for name, tensor in weights.items():
        ours = _of_picture(name)
        if ours is None:
            left_out.add(name.partition(".")[0])
        else:
            found[ours] = tensor
    if left_out:
        _log.warning("left out, since only videos need it: %s", ", ".join(sorted(left_out)))
    return found


def _of_picture(name: str) -> str | None:
    if name == "no_mem_embed":
        return "image_encoder.no_mem_embed"
    if name.startswith("image_encoder."):
        return name
    if name.startswith(("sam_prompt_encoder.", "sam_mask_decoder.")):
        return _MLP_OF_SAM2.sub(lambda found: f"{found[1]}.lin{int(found[2]) + 1}.", name.removeprefix("sam_"))
    return None


def _of_hugging_face(name: str) -> str:
    for pattern, ours in _OF_HUGGING_FACE:
        name = re.sub(pattern, ours, name)
    return _MLP_OF_HUGGING_FACE.sub(lambda found: f"{found[1]}.{_MLP[found[2]]}.", name)
