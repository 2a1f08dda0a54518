"""Our automatic mask generator beside its peers: one process each, same weights, pictures, grid, thresholds, threads.

    python benchmarks/mask_generation.py                                        # everything: an hour or more
    python benchmarks/mask_generation.py --contest post --sizes 1500x2250
    python benchmarks/mask_generation.py --contest whole --model vit_t --output benchmarks/results/mask_generation.md
    python benchmarks/mask_generation.py --weights sam_vit_b_01ec64.pth         # trained weights: nothing stands in

Contests:
    post     all that follows the decoder, on the same decoder outputs; no network runs
    decoder  prompt encoder and mask decoder on the same image embedding
    whole    from picture to masks; real networks at work
    fast     a row for our contract `fast` in `decoder` and `whole` (in `whole`, if neither is asked for), and how its
             masks differ
    memory   peak resident memory after the image encoder at the largest size, in fresh processes
    nano     the model that ships, with its trained weights: from a JPEG file of the largest size to masks, and its
             decoder, plain and folded; only trained weights bring denormal numbers, which some processors are slow on

Beside every time stands whether the masks were equal; looking up decoder outputs is off the clock. Exit code 0: all
that had to be equal was; 1: it was not; 2: bad input. Needs the extra `test`; transformers joins if it is installed.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for benchmarks.peers and tests.peers, which are no part of the package

from safetensors.torch import save_file  # noqa: E402

from benchmarks.peers.contests import Contests  # noqa: E402
from benchmarks.peers.hugging_face import why_not  # noqa: E402
from benchmarks.peers.report import Report, machine  # noqa: E402
from benchmarks.peers.setting import (  # noqa: E402
    MOBILE_SAM,
    MODELS,
    OURS,
    SEGMENT_ANYTHING,
    TRANSFORMERS,
    Hw,
    Setting,
)
from benchmarks.peers.worker import WorkerError  # noqa: E402
from model.checkpoints import load_weights_file  # noqa: E402
from model.encoder_configs import TinyViTConfig  # noqa: E402
from schemas.errors import InputError  # noqa: E402
from schemas.presets import generator_preset  # noqa: E402
from tests.peers.published import published_sam  # noqa: E402

CONTESTS = ("post", "decoder", "whole", "fast", "memory", "nano")
SIZES = "375x500,683x1024,1500x2250"


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mask_generation_") as folder:
        try:
            setting = _setting(arguments, Path(folder))
            peers, left_out = _peers(arguments, setting)
        except (InputError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        report = Report()
        contests = Contests(
            setting,
            peers,
            arguments.repeats,
            report,
            with_fast="fast" in arguments.contest,
            peer_batches=arguments.peer_batches,
        )
        try:
            _print_header(contests, arguments, left_out)
            _run(contests, arguments)
        except WorkerError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            contests.stop()
    if arguments.output is not None:
        report.write(arguments.output)
    return 0 if report.equal else 1


def _run(contests: Contests, arguments: argparse.Namespace) -> None:
    asked, sizes = set(arguments.contest), arguments.sizes
    largest, middle = max(sizes), sorted(sizes)[len(sizes) // 2]
    if "post" in asked:
        for hw in sizes:
            contests.post(hw)
    if "decoder" in asked:
        contests.decoder(middle)
    if "whole" in asked or ("fast" in asked and "decoder" not in asked):
        for hw in sizes:
            contests.whole(hw)
    if "fast" in asked:
        contests.fast_masks(min(sizes))
    if "memory" in asked:
        contests.memory(largest)
    if "nano" in asked:
        contests.nano(largest)
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    contests.report.title("conditions")
    contests.report.facts(
        {
            "load after": load,
            "waiting": f"processes that waited used at most {contests.idle_s:.2f} s of processor time in a turn",
        }
    )


def _setting(arguments: argparse.Namespace, folder: Path) -> Setting:
    """Writes the weights that all share."""
    config = generator_preset(
        "library-default",
        points_per_side=arguments.points_per_side,
        min_mask_region_area=arguments.min_region_area,
    )
    model = arguments.model or "vit_b"
    if arguments.weights is not None:
        model, sam = load_weights_file(arguments.weights)
        if arguments.model not in (None, model):
            raise InputError(f"{arguments.weights}: weights of {model}, not of {arguments.model}; leave --model out")
        if model not in MODELS:
            raise InputError(f"{arguments.weights}: no peer has this architecture ({model})")
        weights = sam.state_dict()
    else:
        weights = published_sam(MODELS[model]()).state_dict()
    trained = arguments.weights is not None
    setting = Setting(folder, model, trained=trained, generator=config, threads=arguments.threads)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, setting.weights_file)
    return setting


def _peers(arguments: argparse.Namespace, setting: Setting) -> tuple[list[str], list[str]]:
    """Names of the peers, the published one first, and a line on each that is left out."""
    tiny = isinstance(setting.model_config.encoder, TinyViTConfig)
    published, other = (MOBILE_SAM, SEGMENT_ANYTHING) if tiny else (SEGMENT_ANYTHING, MOBILE_SAM)
    left_out = [f"{other}: not for {setting.model}"]
    reason = "not asked for" if arguments.published_only else why_not(setting)
    if reason is not None:
        return [published], [*left_out, f"{TRANSFORMERS}: {reason}"]
    return [published, TRANSFORMERS], left_out


def _print_header(contests: Contests, arguments: argparse.Namespace, left_out: list[str]) -> None:
    setting = contests.setting
    standins = ["nothing for torchvision" if _has("torchvision") else "a stand-in for torchvision (NMS, resize)"]
    if MOBILE_SAM in contests.peers and not _has("timm"):
        standins.append("a stand-in for timm")
    if setting.trained:
        standins.append(f"weights are those of {arguments.weights.name}")
    else:
        standins.append(
            "random weights, the same for all (seed 0), for trained ones, which cannot be had here: networks cost what "
            "they cost, and what follows them goes on from decoder outputs made from region maps of the picture"
        )
    command = [os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]
    contests.report.facts(
        {
            **machine(command, [*contests.peers, OURS]),
            "left out": "; ".join(left_out),
            "stands in": "; ".join(standins),
            "model": f"{setting.model}, fp32 (fast: bf16), {setting.threads} threads each",
            "generator": ", ".join(f"{key} {value}" for key, value in setting.generator.model_dump().items()),
            "pictures": f"scikit-image's coffee at {', '.join(f'{h} x {w}' for h, w in arguments.sizes)} px (H x W)",
            "turns": f"{contests.repeats}, contenders one after the other; one process each",
        }
    )


def _has(module: str) -> bool:
    return hasattr(sys.modules.get(module), "__file__")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contest", action="append", choices=CONTESTS, help="may be repeated; default: all")
    parser.add_argument("--sizes", type=_sizes, help=f"of the picture, HxW,... (default: {SIZES})")
    parser.add_argument("--model", choices=list(MODELS), help="architecture with random weights (default: vit_b)")
    parser.add_argument("--weights", type=Path, help="trained weights for all (.pth or .safetensors) instead")
    parser.add_argument("--points-per-side", type=_at_least_one, help="default: 32")
    parser.add_argument("--repeats", type=_at_least_one, help="turns of each contender; default: 3")
    parser.add_argument("--threads", type=_at_least_one, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--min-region-area", type=int, default=0, help="clean smaller regions, in pixels")
    parser.add_argument("--peer-batches", type=_batches, default=[64], help="of the decoder contest: 64,16,8")
    parser.add_argument("--published-only", action="store_true", help="leave transformers out")
    parser.add_argument("--quick", action="store_true", help="8 x 8 points, one turn, the smallest size")
    parser.add_argument("--output", type=Path, help="also write Markdown to this file")
    arguments = parser.parse_args()
    arguments.contest = arguments.contest or list(CONTESTS)
    arguments.points_per_side = arguments.points_per_side or (8 if arguments.quick else 32)
    arguments.repeats = arguments.repeats or (1 if arguments.quick else 3)
    arguments.sizes = arguments.sizes or _sizes(SIZES)[: 1 if arguments.quick else None]
    return arguments


def _sizes(text: str) -> list[Hw]:
    sizes = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)x(\d+)", part.strip())
        if found is None or min(int(found[1]), int(found[2])) < 16:
            raise argparse.ArgumentTypeError(f"{part!r}: expected HEIGHTxWIDTH in pixels, at least 16 each")
        sizes.append((int(found[1]), int(found[2])))
    return sizes


def _batches(text: str) -> list[int]:
    return [_at_least_one(part) for part in text.split(",")]


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
