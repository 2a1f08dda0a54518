"""Times our mask generator beside the published one: one run, one process, the same picture, turn by turn.

    python benchmarks/mask_generation.py                          # decoder outputs that stand in for trained weights
    python benchmarks/mask_generation.py --weights sam_vit_b.pth  # whole models with published weights
    python benchmarks/mask_generation.py --random small           # whole models with random weights

Beside every time stands whether the masks were equal. Needs the extra `test`.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tests.peers, which is no part of the package

import numpy as np
import numpy.typing as npt
import skimage.data
import torch

from engine import rle
from engine.images import decode_image
from engine.masks.generator import GenerationResult, MaskGenerator
from model.checkpoints import load_weights_file
from model.image_encoder import ViTConfig
from model.predictor import Predictor, resize_longest_side
from model.sam import MODEL_SIZES, SamConfig
from schemas.errors import InputError
from schemas.presets import GeneratorConfig, generator_preset
from tests.peers.decoder_outputs import StandInSam, standin_peer_sam
from tests.peers.published import ours_and_published, published_sam
from tests.peers.records import as_published
from tests.peers.torchvision_standin import install_torchvision_standin

OURS = "sam-data-engine"
PEERS = {"segment_anything": "segment-anything", "mobile_sam": "mobilesam-mirror"}  # module and distribution
SMALL = SamConfig(ViTConfig(64, 4, 4, global_attn_indexes=(1, 3), img_size=256, window_size=5))
RANDOM_MODELS: dict[str, Callable[[], SamConfig]] = {"small": lambda: SMALL} | MODEL_SIZES
# Untrained masks are alike and their scores mean nothing: with open filters there is something to compare.
OPEN_FILTERS = {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.5,
    "stability_score_offset": 0.1,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}
ONLY_OURS = {"drop_small_masks", "max_mask_area_frac"}  # settings that the published generator does not have


@dataclass(frozen=True)
class Contest:
    """Our model, a peer's with the same weights, and what they are. `exact`: the masks have to be equal byte for byte;
    otherwise the networks round differently, and masks are matched by their prompts."""

    title: str
    model: Any
    peer: str
    peer_model: Any
    exact: bool = False
    settings: dict[str, float] = field(default_factory=dict)


def main() -> int:
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    install_torchvision_standin()
    try:
        image = _picture(arguments)
        contest = _contest(arguments)
        config = generator_preset(
            "library-default",
            points_per_side=arguments.points_per_side,
            crop_n_layers=arguments.crop_layers,
            min_mask_region_area=arguments.min_region_area,
            **contest.settings,
        )
    except (InputError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    _print_header(contest, config, image)
    return 0 if _run(contest, config, image, repeats=arguments.repeats) else 1


def _run(contest: Contest, config: GeneratorConfig, image: npt.NDArray[np.uint8], *, repeats: int) -> bool:
    """Time both, turn by turn, and print the table. Returns whether the masks were equal."""
    ours, peer = MaskGenerator(Predictor(contest.model), config).generate, _peer_generator(contest, config)
    if contest.exact:  # the stand-in computes its region maps once and keeps them: no part of the times
        ours(image)
        peer(image)
    seconds: dict[str, list[float]] = {contest.peer: [], OURS: []}
    for repeat in range(1, repeats + 1):
        theirs = _timed(f"repeat {repeat} of {repeats}", contest.peer, lambda: peer(image), seconds)
        mine: GenerationResult = _timed(f"repeat {repeat} of {repeats}", OURS, lambda: ours(image), seconds)
    equal, verdict = _compare(as_published(mine.masks), theirs, exact=contest.exact)
    for name, spent in seconds.items():
        listed = " ".join(f"{each:8.2f}" for each in spent)
        print(f"{name:17} s {listed}   best {min(spent):.2f}  median {statistics.median(spent):.2f}   {verdict}")
    ratio = statistics.median(seconds[contest.peer]) / statistics.median(seconds[OURS])
    print(f"ratio of medians  {ratio:.2f}   {verdict}")
    print("our phases, s     " + "  ".join(f"{phase} {spent:.2f}" for phase, spent in mine.seconds.items()))
    print("our drops         " + "  ".join(f"{reason} {count}" for reason, count in mine.dropped.items() if count))
    return equal


def _timed(what: str, name: str, call: Callable[[], Any], seconds: dict[str, list[float]]) -> Any:
    print(f"{what}: {name} ...", file=sys.stderr, flush=True)
    started = time.perf_counter()
    result = call()
    seconds[name].append(time.perf_counter() - started)
    return result


def _compare(mine: list[dict[str, Any]], theirs: list[dict[str, Any]], *, exact: bool) -> tuple[bool, str]:
    """Whether the masks are equal, and a few words on it."""
    same = sum(a == b for a, b in zip(mine, theirs, strict=False))
    if exact:
        equal = len(mine) == len(theirs) == same
        return equal, f"{'EQUAL' if equal else 'DIFFERENT'}: {len(mine)} and {len(theirs)} masks, {same} the same"
    prompts = [[record["point_coords"] for record in records] for records in (mine, theirs)]
    if prompts[0] != prompts[1]:
        return False, f"DIFFERENT: {len(mine)} and {len(theirs)} masks, not in the same order"
    worst = min((_overlap(a, b) for a, b in zip(mine, theirs, strict=True)), default=1.0)
    equal = worst > 0.99
    text = "EQUAL up to rounding" if equal else "DIFFERENT"
    return equal, f"{text}: {len(mine)} masks in the same order, least IoU of a pair {worst:.5f}"


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> float:
    pair = [rle.from_coco(record["segmentation"], *record["segmentation"]["size"]) for record in (a, b)]
    return float(rle.iou_matrix(pair[:1], pair[1:])[0, 0])


def _contest(arguments: argparse.Namespace) -> Contest:
    if arguments.weights is not None:
        size, model = load_weights_file(arguments.weights)
        if size == "nano":
            raise InputError(f"{arguments.weights}: no peer has this architecture; give vit_h, vit_l, vit_b or vit_t")
        peer_model = published_sam(model.config)
        peer_model.load_state_dict(model.state_dict(), strict=True)
        return Contest(f"{size}, weights of {arguments.weights.name}", model.eval(), _peer_of(size), peer_model)
    if arguments.random is not None:
        model, peer_model = ours_and_published(RANDOM_MODELS[arguments.random]())
        title = f"{arguments.random} with random weights (seed 0): no trained weights, hence open filters"
        return Contest(title, model.eval(), _peer_of(arguments.random), peer_model, settings=OPEN_FILTERS)
    title = "decoder outputs made from region maps stand in for trained weights: what follows the decoder is timed"
    return Contest(title, StandInSam(), "segment_anything", standin_peer_sam(), exact=True)


def _peer_of(size: str) -> str:
    return "mobile_sam" if size == "vit_t" else "segment_anything"


def _peer_generator(contest: Contest, config: GeneratorConfig) -> Callable[[Any], Any]:
    module = __import__(contest.peer)
    settings = config.model_dump(exclude=ONLY_OURS)
    generator = module.SamAutomaticMaskGenerator(contest.peer_model, output_mode="coco_rle", **settings)
    generate: Callable[[Any], Any] = generator.generate
    return generate


def _picture(arguments: argparse.Namespace) -> npt.NDArray[np.uint8]:
    image = skimage.data.coffee() if arguments.image is None else decode_image(arguments.image, max_megapixels=500)
    return resize_longest_side(image, longest_side=arguments.longest_side) if arguments.longest_side else image


def _print_header(contest: Contest, config: GeneratorConfig, image: npt.NDArray[np.uint8]) -> None:
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    peers = ", ".join(f"{name} {version(name)}" for name in (PEERS[contest.peer], "torch", "numpy", "pycocotools"))
    torchvision = "torchvision" if hasattr(sys.modules["torchvision"], "__file__") else "a stand-in for torchvision"
    print(f"command           python {' '.join(sys.argv)}")
    print(f"hardware          {_processor()}, {os.cpu_count()} cores, {gibibytes:.0f} GiB; load {load}")
    print(f"versions          python {platform.python_version()}, {peers}, {torchvision}")
    print(f"models            {contest.title}")
    print(f"picture           {image.shape[1]} x {image.shape[0]} px; {torch.get_num_threads()} threads, fp32, CPU")
    print(f"settings          {config.model_dump(exclude=ONLY_OURS)}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", type=Path, help="published weights for both sides (.pth or .safetensors)")
    weights.add_argument("--random", choices=[name for name in RANDOM_MODELS if name != "nano"])
    parser.add_argument("--image", type=Path, help="a picture (default: the cup of coffee of scikit-image)")
    parser.add_argument("--longest-side", type=_at_least_one, help="scale the picture to this many pixels first")
    parser.add_argument("--points-per-side", type=_at_least_one, default=32)
    parser.add_argument("--crop-layers", type=int, default=0)
    parser.add_argument("--min-region-area", type=int, default=0)
    parser.add_argument("--repeats", type=_at_least_one, default=3)
    parser.add_argument("--threads", type=_at_least_one, help="threads of torch (default: its own choice)")
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
