"""Tasks of the gates as Label Studio gives them back."""

from typing import Any

from engine.quality.verdicts import exhaustivity_task, verification_task

BRUSH = {"from_name": "brush", "type": "brushlabels", "value": {"format": "rle", "rle": [0], "brushlabels": ["object"]}}
PLACE = {"stage": "semi_automatic", "round": 2}


def annotation(choice: str | None, *, number: int = 1, at: int = 0, **other: Any) -> dict[str, Any]:
    """An annotation of a choices project as the API gives it; at: minutes after noon."""
    result: list[dict[str, Any]] = []
    if choice is not None:
        place = {"id": "aB3_x", "from_name": "verdict", "to_name": "image", "origin": "manual"}
        result.append({**place, "type": "choices", "value": {"choices": [choice]}})
    given = {"id": number, "result": result, "was_cancelled": False, "ground_truth": False, "lead_time": 4.5}
    given |= {"created_at": "2026-01-05T11:00:00.123456Z", "updated_at": f"2026-01-05T12:{at:02}:00.000001Z"}
    return given | {"completed_by": 7, "parent_prediction": None} | other


def mask_task(mask_id: int, *annotations: dict[str, Any], image_id: int = 50, **place: Any) -> dict[str, Any]:
    row = {"mask_id": mask_id, "image_id": image_id} | PLACE | place
    return {"id": mask_id + 900, **verification_task(row, "/data/x.jpg"), "annotations": list(annotations)}


def image_task(image_id: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    task = exhaustivity_task(image_id, "/data/x.jpg", **PLACE, masks=3)
    return {"id": image_id + 900, **task, "annotations": list(annotations)}
