"""Training an object detector from label files, on a schedule or when asked."""

from pathlib import Path
from typing import Any

from flows.allocator import keep_freed_memory
from flows.engine_flows import engine_flow
from schemas.errors import InputError


@engine_flow("detector")
def detector(
    workspace: str,
    coco: list[str],
    model: str = "nano",
    images: str | None = None,
    steps: int | None = None,
    min_area: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Train an object detector that stays beside a model of the workspace. The parameters: as of `train-detector`."""
    from flows.detector_job import DetectorJob

    keep_freed_memory()
    if not coco:
        raise InputError("parameter coco: name at least one COCO json with boxes or masks to learn from")
    job = DetectorJob(
        coco=tuple(Path(file) for file in coco),
        model=model,
        images=Path(images) if images else None,
        workspace=workspace,
        steps=steps,
        min_area=min_area,
        seed=seed,
        device="auto",
    )
    found = job.run()
    return {"folder": str(found.folder), "images": found.images}
