"""What has no answer, and says so: no prompt, no picture, no mask."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.labeling import prompt_log
from engine.labeling.embeddings import EmbeddingCache, EmbeddingFolder, Precomputer
from engine.labeling.prompting import Prompter
from model.promptable import DecodedMasks
from model.sam import Sam
from tests.engine.labeling.bodies import (
    CHOICES_CONFIG,
    JSON,
    OTHER_NAMES_CONFIG,
    click_body,
    point,
    task_body,
)
from tests.engine.labeling.prompters import MODEL_ID, PICTURE, ask


@pytest.mark.parametrize(
    "context",
    [[], {}, {"result": []}, {"result": None}, {"result": "text"}, "text", 7, {"result": [{"type": "relation"}, None]}],
    ids=str,
)
def test_contexts_without_prompts(prompter: Prompter, workspace: Path, context: Any) -> None:
    body = click_body(task_body(PICTURE))
    body["params"]["context"] = context
    assert prompter.predict(body) == {"results": [{"model_version": MODEL_ID, "score": 0.0, "result": []}]}
    assert prompt_log.read(workspace, 1) == []


@given(st.dictionaries(st.sampled_from(["tasks", "project", "label_config", "params"]), JSON))
def test_any_request_is_answered(
    shared_sam: Sam, tmp_path_factory: pytest.TempPathFactory, odd: dict[str, Any]
) -> None:
    workspace = tmp_path_factory.mktemp("workspace")
    cache = EmbeddingCache(shared_sam, EmbeddingFolder(workspace, "aa", limit_mb=0), in_memory=1)
    prompter = Prompter(workspace, shared_sam, model_id=MODEL_ID, cache=cache, ahead=Precomputer(cache))
    body = click_body(task_body("gone.png"), point(1, 2, id="p"))
    results = prompter.predict(body | odd)["results"]
    assert len(results) >= 1
    assert all(result == [] or result["result"] == [] for result in results)


def test_negative_points_alone_name_no_object_but_are_logged(prompter: Prompter, workspace: Path, sam: Sam) -> None:
    body = click_body(task_body(PICTURE), point(25, 50, id="n", positive=False))
    assert prompter.predict(body)["results"][0]["result"] == []
    (call,) = prompt_log.read(workspace, 1)
    assert (call.region_id, call.predicted_iou, call.points) == ("", None, ((25.0, 50.0, 0),))
    assert sam.noted == []


@pytest.mark.parametrize("picture", ["gone.png", "../../engine.yaml", "/etc/hostname"])
def test_pictures_that_are_not_there(
    prompter: Prompter, workspace: Path, picture: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = click_body(task_body(picture), point(25, 50, id="a"))
    with caplog.at_level(logging.ERROR):
        assert prompter.predict(body)["results"][0]["result"] == []
    assert len(caplog.messages) == 1
    assert "task 7" in caplog.messages[0]
    assert picture in caplog.messages[0]
    assert prompt_log.read(workspace, 1)[0].region_id == ""


def test_an_empty_mask_is_no_answer(prompter: Prompter, sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = DecodedMasks(torch.zeros(1, 3), torch.full((1, 3, 24, 24), -1.0))
    monkeypatch.setattr(sam, "prompt", lambda *args, **kwargs: nothing)
    body = click_body(task_body(PICTURE), point(25, 50, id="a"))
    assert prompter.predict(body)["results"][0]["result"] == []


def test_a_model_without_numbers_is_no_answer(
    prompter: Prompter, sam: Sam, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = DecodedMasks(torch.full((1, 3), float("nan")), torch.ones(1, 3, 24, 24))
    monkeypatch.setattr(sam, "prompt", lambda *args, **kwargs: broken)
    body = click_body(task_body(PICTURE), point(25, 50, id="a"))
    assert prompter.predict(body)["results"][0]["result"] == []
    assert "weights are damaged" in caplog.text


def test_names_of_another_config(prompter: Prompter) -> None:
    body = click_body(
        task_body("no", picture=f"/data/local-files/?d={PICTURE}"),
        point(25, 50, id="a"),
        label_config=OTHER_NAMES_CONFIG,
    )
    (region,) = prompter.predict(body)["results"][0]["result"]
    assert (region["from_name"], region["to_name"], region["value"]["brushlabels"]) == ("tag", "photo", ["thing"])
    without_brush = click_body(task_body(PICTURE), point(25, 50, id="a"), label_config=CHOICES_CONFIG)
    assert prompter.predict(without_brush)["results"] == [{"model_version": MODEL_ID, "score": 0.0, "result": []}]


def test_too_many_prompts_for_one_object(prompter: Prompter, workspace: Path) -> None:
    points = [point(number % 100, number % 90, id=f"p{number}") for number in range(65)]
    assert ask(prompter, *points[:64])
    (result,) = prompter.predict(click_body(task_body(PICTURE), *points))["results"]
    assert result["result"] == []
    assert result["error"].startswith("65 prompts for one object; at most 64")
    assert len(prompt_log.read(workspace, 1)) == 1


def test_why_there_is_no_mask_is_in_the_answer(prompter: Prompter) -> None:
    (result,) = prompter.predict(click_body(task_body("gone.png"), point(25, 50, id="p")))["results"]
    assert result["result"] == []
    assert "gone.png" in result["error"]
    assert "publish the image again" in result["error"]
