"""Bodies that Label Studio 1.23.2 posted to a model backend, as recorded, with sizes and ids to be filled in."""

from typing import Any

from hypothesis import strategies as st

PROJECT, TASK = 1, 7
TOKEN = "0123456789abcdef0123456789abcdef01234567"
LABEL_CONFIG = """<View>
  <BrushLabels name="brush" toName="image"><Label value="object"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true" smartOnly="true"><Label value="foreground"/></KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true" smartOnly="true"><Label value="prompt"/></RectangleLabels>
  <Image name="image" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>
</View>
"""
CHOICES_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Choices name="verdict" toName="image"><Choice value="good"/><Choice value="bad"/></Choices>
</View>
"""
OTHER_NAMES_CONFIG = """<View>
  <Image name="photo" value="$picture"/>
  <BrushLabels name="tag" toName="photo"><Label value="thing"/><Label value="stuff"/></BrushLabels>
</View>
"""


def setup_body() -> dict[str, Any]:
    return {
        "project": f"{PROJECT}.1795516300",
        "schema": LABEL_CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": TOKEN,
        "extra_params": None,
    }


def task_body(image: str, *, task: int = TASK, **data: Any) -> dict[str, Any]:
    return {
        "id": task,
        "data": {"image": f"/data/local-files/?d={image}", "image_id": "9223372036854775807", **data},
        "meta": {},
        "created_at": "2026-11-24T10:11:58.318090Z",
        "updated_at": "2026-11-24T10:11:58.318101Z",
        "is_labeled": False,
        "project": PROJECT,
        "annotations": [],
        "predictions": [],
    }


def batch_body(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {
        "tasks": list(tasks),
        "project": f"{PROJECT}.1795516300",
        "label_config": LABEL_CONFIG,
        "params": {"login": None, "password": None, "context": None},
    }


def click_body(
    task: dict[str, Any], *regions: dict[str, Any], label_config: str = LABEL_CONFIG, project: int = PROJECT
) -> dict[str, Any]:
    """An interactive call: as a batch of one task, with drafts and a context."""
    body = batch_body(task | {"drafts": []}) | {"label_config": label_config, "project": f"{project}.1795516300"}
    return body | {"params": {"login": None, "password": None, "context": {"result": list(regions)}}}


def point(x: float, y: float, *, id: str, positive: bool = True, width: int = 375, height: int = 500) -> dict[str, Any]:
    """x, y: percent. width, height: of the picture."""
    return {
        "id": id,
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "is_positive": positive,
        "origin": "manual",
        "value": {"x": x, "y": y, "width": 0.26, "labels": ["foreground"], "keypointlabels": ["foreground"]},
    }


def box(
    x: float, y: float, box_width: float, box_height: float, *, id: str, rotation: float = 0.0,
    width: int = 375, height: int = 500,
) -> dict[str, Any]:  # fmt: skip
    """x, y, box_width, box_height: percent, from the top left corner."""
    value = {"x": x, "y": y, "width": box_width, "height": box_height, "rotation": rotation}
    return {
        "id": id,
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "is_positive": True,
        "origin": "manual",
        "value": value | {"rectanglelabels": ["prompt"], "labels": ["prompt"]},
    }


def webhook_body(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": PROJECT, "title": "shapes", "token": TOKEN}, **more}


# What JSON may hold where a recorded body has something else.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
