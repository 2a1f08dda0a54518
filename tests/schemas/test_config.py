from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.workspace import Workspace
from schemas.config import CONFIG_FILE, EngineConfig
from schemas.default_settings import DEFAULT_YAML
from schemas.errors import InputError
from schemas.stages import STAGES


def load(folder: Path, text: str) -> EngineConfig:
    (folder / CONFIG_FILE).write_text(text)
    return Workspace(folder).settings()


def test_the_commented_file_says_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, DEFAULT_YAML) == EngineConfig()


def test_the_commented_file_names_every_key() -> None:
    def keys(values: dict[str, Any]) -> dict[str, Any]:
        return {key: keys(value) if isinstance(value, dict) else None for key, value in values.items()}

    assert keys(yaml.safe_load(DEFAULT_YAML)) == keys(EngineConfig().model_dump())


@pytest.mark.parametrize("text", ["", "# nothing\n", "seed: 0\n"])
def test_what_is_left_out_is_the_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == EngineConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: {shard_sise: 5}", ["'images.shard_sise'", "did you mean 'shard_size'"]),
        ("sed: 1", ["'sed'", "did you mean 'seed'"]),
        ("zzzzzz: 1", ["'zzzzzz'", "known keys here", "retraining"]),
        ("images: {shard_size: 0}", ["images.shard_size", "greater than or equal to 1", "0"]),
        ("images: {shard_size: many}", ["images.shard_size", "'many'"]),
        ("images: 3", ["images", "3"]),
        ("retraining: {selection: all}", ["retraining.selection", "'new_only' or 'accumulated'", "'all'"]),
        ("retraining: {oversampling: {manual: 3}}", ["retraining.oversampling", "assisted_manual"]),
        ("- 1\n- 2", ["expected keys and values", "list"]),
        ("seed: [1", ["not valid YAML"]),
        ("seed: 1\n\tx: 2", ["not valid YAML"]),
        ("semi_automatic: {generator_preset: best}", ["'best'", "paper-sa1b, library-default, nano"]),
        ("fully_automatic: {generator: {points_per_sid: 3}}", ["points_per_sid"]),
    ],
)
def test_a_wrong_file_gives_one_line_that_names_file_key_and_way_out(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / CONFIG_FILE) in message
    assert "\n" not in message
    for part in said:
        assert part in message


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sam-engine init"):
        Workspace(tmp_path).settings()


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(InputError, match=CONFIG_FILE):
        Workspace(tmp_path).settings()


@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda x: st.dictionaries(st.text(max_size=8), x)))
def test_nothing_but_an_input_error_comes_of_any_yaml(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    folder = tmp_path_factory.mktemp("config")
    message = ""
    try:
        load(folder, yaml.safe_dump(values))
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_stages_are_in_the_order_of_the_paper() -> None:
    assert STAGES == ("assisted_manual", "semi_automatic", "fully_automatic")


def test_a_generator_setting_replaces_that_of_the_preset(tmp_path: Path) -> None:
    config = load(
        tmp_path, "semi_automatic: {generator_preset: paper-sa1b, generator: {points_per_side: 16}}"
    ).semi_automatic.generator_config()
    assert (config.points_per_side, config.pred_iou_thresh) == (16, 0.88)
