"""`--set KEY=VALUE`, and files with names."""

from pathlib import Path

import pytest

from flows.settings import named_files, with_settings
from schemas.config import ReleaseConfig
from schemas.errors import InputError


def test_settings_replace_those_of_a_section() -> None:
    config = ReleaseConfig(jpeg_quality=80)
    changed = with_settings(config, ["masks.min_predicted_iou=0.9", "splits=[train]", "images_per_tar=7"])
    assert (changed.masks.min_predicted_iou, changed.splits, changed.images_per_tar) == (0.9, ("train",), 7)
    assert (changed.jpeg_quality, changed.masks.min_stability_score) == (80, 0)
    assert with_settings(config, []) == config


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("jpeg_quality", "--set jpeg_quality: expected KEY=VALUE"),
        ("speed=3", "--set speed: no such setting; there are: images_per_tar"),
        ("masks.speed=3", "--set speed: no such setting|--set masks.speed"),
        ("jpeg_quality=900", "--set jpeg_quality: .*found 900"),
        ("jpeg_quality.deep=1", "--set jpeg_quality.deep: jpeg_quality has no settings of its own"),
    ],
)
def test_a_setting_that_cannot_be_is_said_in_one_line(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        with_settings(ReleaseConfig(), [setting])
    assert "\n" not in str(error.value)


def test_files_with_names() -> None:
    assert named_files("--source", ["a=x.json", "b=c=d"], example="a=b") == {"a": Path("x.json"), "b": Path("c=d")}
    assert named_files("--source", [], example="a=b") == {}
    for text in ("x.json", "=x.json", "a="):
        with pytest.raises(InputError, match=f"--source {text}: give it as NAME=FILE, for example a=b"):
            named_files("--source", [text], example="a=b")
    with pytest.raises(InputError, match="--source a: given twice"):
        named_files("--source", ["a=x", "a=y"], example="a=b")
