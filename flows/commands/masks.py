"""`sam-engine masks`: boxes or points to masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, progress_bars
from flows.options import DeviceName, ModelName
from flows.rejects import check_something_was_good, report_rejected
from flows.weights import load_sam
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.prompt_files import MaskPrompt
    from model.predictor import Predictor
    from model.promptable import PromptableModel


def masks(
    prompts: Annotated[
        Path,
        typer.Argument(
            help="COCO json or results with boxes, .csv of boxes or points, label files, a folder; see docs/models.md."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="COCO json to write the masks to.")],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the pictures; default: beside the file.")
    ] = None,
    coco: Annotated[Path | None, typer.Option("--coco", help="COCO json whose image ids results refer to.")] = None,
    model: ModelName = "nano",
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of SAM or MobileSAM to use instead of a model.")
    ] = None,
    proposals: Annotated[
        Path | None,
        typer.Option(
            "--proposals", help="Masks of all things by a YOLO-seg or FastSAM, COCO results: choose among these."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output where it is there.")] = False,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Make the mask of every box or point of a file and write them as COCO json.

    Of the three masks of a prompt the one with the highest predicted IoU is written. Prompts without a mask, and
    pictures that cannot be read, are named. What a detector says in words (`phrase`, `label`, `category_name`) becomes
    the label and the category of its mask.
    """
    from engine.fast_sam import FastSam, ProposalFile
    from engine.files import write_atomic
    from engine.prompt_files import folder_of, read_prompt_file
    from engine.prompted_masks import categories_of, ids_of
    from model.predictor import Predictor
    from schemas.errors import InputError

    if output.exists() and not force:
        raise InputError(f"{output}: there already; choose another --output, or overwrite with --force")
    asked = read_prompt_file(prompts, names=coco)
    sam: PromptableModel
    if proposals is None:
        sam, model_name = load_sam(model, weights, device)
    else:
        sam, model_name = FastSam(ProposalFile(proposals, names=coco, images=images)), f"the masks of {proposals.name}"
    made = _Made([problem._asdict() for problem in asked.problems])
    ids = iter(ids_of([prompt for of_picture in asked.prompts.values() for prompt in of_picture]))
    paths = _pictures(list(asked.prompts), (images or folder_of(prompts)).absolute())
    predictor = Predictor(sam)
    with progress_bars() as progress:
        for number, (name, of_picture) in enumerate(asked.prompts.items()):
            progress("pictures", number, len(asked.prompts), name)
            made.add(predictor, paths[name], name, [(next(ids), prompt) for prompt in of_picture])
        progress("pictures", len(asked.prompts), len(asked.prompts))
    categories = asked.categories or categories_of(made.annotations)
    content = {"images": made.images, "annotations": made.annotations, "categories": categories}
    write_atomic(output, _json(content))
    report_rejected(made.rejected, listed_in="the same command with --json")
    text = (
        f"{counted(len(made.annotations), 'mask')} on {counted(len(made.images), 'picture')}, "
        f"with {model_name}: {output}"
    )
    text += f", {len(made.rejected)} rejected" if made.rejected else ""
    result = {"model": model_name, "output": output, "masks": len(made.annotations), "pictures": len(made.images)}
    emit(result | {"rejected": made.rejected}, as_json=as_json, text=text)
    check_something_was_good(len(made.annotations), made.rejected)


class _Made:
    """What the file of masks is made of, picture by picture."""

    def __init__(self, rejected: list[dict[str, Any]]) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.rejected = rejected

    def add(
        self, predictor: "Predictor", path: "Path | Exception", name: str, prompts: "list[tuple[int, MaskPrompt]]"
    ) -> None:
        """prompts: of one picture, each with the id of its mask."""
        from engine.images import decode_image
        from engine.prompted_masks import annotation_of, masks_of_prompts
        from schemas.errors import InputError

        try:
            if isinstance(path, Exception):
                raise path
            image = decode_image(path)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            self.rejected.append(
                {"source": name, "kind": "image", "reason": f"{reason} ({counted(len(prompts), 'prompt')})"}
            )
            return
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
        answers = masks_of_prompts(predictor, image, [prompt for _, prompt in prompts])
        for (number, _), found in zip(prompts, answers, strict=True):
            if found.mask is None:
                self.rejected.append({"source": found.prompt.source, "kind": "mask", "reason": found.reason})
            else:
                self.annotations.append(annotation_of(found, annotation_id=number, image_id=image_id))


def _pictures(names: list[str], root: Path) -> "dict[str, Path | Exception]":
    from collections import Counter

    from engine.labels.pictures import PictureFinder

    found = PictureFinder(root, whole_folder=True).find_all(names, beside=root, mended=Counter())
    return dict(found)


def _json(content: dict[str, Any]) -> bytes:
    import json

    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
