import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.labeling import prompt_log
from engine.labeling.brush import decode_brush
from engine.labeling.embeddings import EmbeddingCache, EmbeddingFolder, Precomputer, from_bytes, to_bytes
from engine.labeling.prompting import Prompter
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig, ViTConfig
from model.folded_decoder import FoldedMasks
from model.folded_image import SharedImage
from model.predictor import Predictor
from model.promptable import DecodedMasks
from model.sam import Sam, build_sam
from tests.engine.labeling.bodies import (
    CHOICES_CONFIG,
    JSON,
    OTHER_NAMES_CONFIG,
    TASK,
    batch_body,
    box,
    click_body,
    point,
    task_body,
)
from tests.peers.published import draw_weights
from tests.pictures import encoded as picture_bytes
from tests.pictures import shapes

MODEL_ID = "0123456789abcdef"
PICTURE = "assisted_manual-1/42.png"
HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def shared_sam() -> Sam:
    sam = build_sam(SamConfig(EfficientNetConfig(img_size=96), high_res_features=True))
    draw_weights(sam, seed=10)  # masks of every prompt below have pixels
    return sam


@pytest.fixture
def sam(shared_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> Sam:
    """Notes what it decodes."""
    noted: list[dict[str, Any]] = []
    prompt = shared_sam.prompt

    def noting_prompt(image: SharedImage, **prompts: Any) -> FoldedMasks:
        noted.append(prompts)
        return prompt(image, **prompts)

    monkeypatch.setattr(shared_sam, "prompt", noting_prompt)
    monkeypatch.setattr(shared_sam, "noted", noted, raising=False)
    return shared_sam


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace" / "labeling" / "images" / PICTURE
    path.parent.mkdir(parents=True)
    path.write_bytes(picture_bytes(shapes(0, height=HEIGHT, width=WIDTH)[0]))
    return tmp_path / "workspace"


@pytest.fixture
def start(workspace: Path, sam: Sam, clock: Clock) -> Callable[[], Prompter]:
    """Starts a backend's prompter as after a restart."""

    def make() -> Prompter:
        folder = EmbeddingFolder(workspace / "labeling" / "embeddings", MODEL_ID, limit_mb=10)
        cache = EmbeddingCache(sam, folder, in_memory=2)
        return Prompter(workspace, sam, model_id=MODEL_ID, cache=cache, ahead=Precomputer(cache), clock=clock)

    return make


@pytest.fixture
def prompter(start: Callable[[], Prompter]) -> Prompter:
    return start()


@pytest.fixture
def direct(shared_sam: Sam) -> Predictor:
    predictor = Predictor(shared_sam)
    predictor.set_image(shapes(0, height=HEIGHT, width=WIDTH)[0])
    return predictor


def ask(prompter: Prompter, *regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The region that is answered."""
    body = json.loads(json.dumps(click_body(task_body(PICTURE), *regions, **more)))
    (result,) = prompter.predict(body)["results"]
    (region,) = result["result"]
    assert result["model_version"] == MODEL_ID
    assert result["score"] == region["score"]
    answer: dict[str, Any] = json.loads(json.dumps(region, allow_nan=False))
    return answer


def mask_of(region: dict[str, Any]) -> np.ndarray:
    assert region["value"]["format"] == "rle"
    return decode_brush(region["value"]["rle"], height=region["original_height"], width=region["original_width"])


def same(mask: np.ndarray, wanted: np.ndarray) -> bool:
    """But for rounding, which may turn a pixel whose logit is nearly zero: the backend shares work among prompts."""
    return mask.shape == wanted.shape and np.count_nonzero(mask != wanted) <= 2


def meta_of(region: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = region["meta"]["sa"]
    return meta


def test_the_mask_is_that_of_the_predictor(prompter: Prompter, direct: Predictor) -> None:
    """A single point: of three masks the one of the highest predicted IoU."""
    masks, ious, _ = direct.predict([[0.25 * WIDTH, 0.5 * HEIGHT]], [1])
    region = ask(prompter, point(25.0, 50.0, id="p", width=WIDTH, height=HEIGHT))
    best = int(ious.argmax())
    assert 0 < masks[best].sum() < masks[best].size  # there is something to get wrong
    assert same(mask_of(region), masks[best])
    assert meta_of(region)["predicted_iou"] == pytest.approx(float(ious[best]), abs=1e-4)
    assert meta_of(region)["other_predicted_iou"] == pytest.approx(sorted(np.delete(ious, best))[::-1], abs=1e-4)
    assert region["score"] == pytest.approx(np.clip(float(ious[best]), 0, 1))
    assert {key: region[key] for key in ("type", "from_name", "to_name", "image_rotation")} == {
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "image_rotation": 0,
    }
    assert region["value"]["brushlabels"] == ["object"]
    assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)


def test_points_with_a_box_are_one_object(prompter: Prompter, direct: Predictor) -> None:
    masks, _, _ = direct.predict(
        [[0.25 * WIDTH, 0.5 * HEIGHT], [0.1 * WIDTH, 0.9 * HEIGHT]],
        [1, 0],
        box=[0.2 * WIDTH, 0.25 * HEIGHT, 0.75 * WIDTH, 0.75 * HEIGHT],
        multimask_output=False,
    )
    region = ask(
        prompter, point(25, 50, id="p"), point(10, 90, id="n", positive=False), box(20.0, 25.0, 55.0, 50.0, id="b")
    )
    assert same(mask_of(region), masks[0])
    meta = meta_of(region)
    assert (meta["n_points"], meta["n_boxes"], meta["call"]) == (2, 1, 1)
    assert meta["points"] == [[25.0, 50.0, 1], [10.0, 90.0, 0]]
    assert meta["box"] == [20.0, 25.0, 75.0, 75.0]
    assert "other_predicted_iou" not in meta


def test_a_box_alone_gives_the_best_of_three(prompter: Prompter, direct: Predictor) -> None:
    masks, ious, _ = direct.predict(box=[0.2 * WIDTH, 0.25 * HEIGHT, 0.75 * WIDTH, 0.75 * HEIGHT])
    region = ask(prompter, box(20.0, 25.0, 55.0, 50.0, id="b"))
    assert same(mask_of(region), masks[ious.argmax()])
    assert meta_of(region)["points"] == []


def test_refinement_feeds_the_logits_of_the_mask_before(prompter: Prompter, direct: Predictor) -> None:
    first, second, third = point(25, 50, id="a"), point(70, 60, id="b"), point(40, 10, id="c", positive=False)
    coords = np.array([[0.25 * WIDTH, 0.5 * HEIGHT], [0.7 * WIDTH, 0.6 * HEIGHT], [0.4 * WIDTH, 0.1 * HEIGHT]])
    _, ious, logits = direct.predict(coords[:1], [1])
    masks, _, fed = direct.predict(coords[:2], [1, 1], mask_input=logits[[ious.argmax()]], multimask_output=False)
    plain = direct.predict(coords[:2], [1, 1], multimask_output=False)[0]
    assert not same(masks, plain)
    ask(prompter, first)
    assert same(mask_of(ask(prompter, first, second)), masks[0])
    masks, _, _ = direct.predict(coords, [1, 1, 0], mask_input=fed, multimask_output=False)
    assert same(mask_of(ask(prompter, first, second, third)), masks[0])
    # Asked again, or after one was taken back: the same as before.
    assert same(mask_of(ask(prompter, first, second, third)), masks[0])


def test_points_after_a_box_refine_it_and_a_box_after_points_does_not(prompter: Prompter, sam: Sam) -> None:
    drawn, click = box(20, 25, 55, 50, id="b"), point(25, 50, id="a")
    ask(prompter, drawn)
    ask(prompter, drawn, click)
    assert sam.noted[-1]["masks"] is not None
    ask(prompter, point(30, 50, id="c"))
    ask(prompter, point(30, 50, id="c"), box(20, 25, 55, 50, id="d"))
    assert sam.noted[-1]["masks"] is None


@pytest.mark.parametrize("other", [{"task": 8}, {"project": 2}])
def test_other_tasks_logits_are_not_fed(prompter: Prompter, sam: Sam, other: dict[str, int]) -> None:
    ask(prompter, point(25, 50, id="a"))
    project, task = other.get("project", 1), other.get("task", TASK)
    body = click_body(task_body(PICTURE, task=task), point(25, 50, id="a"), point(70, 60, id="b"), project=project)
    assert prompter.predict(body)["results"][0]["result"]
    assert sam.noted[-1]["masks"] is None


def test_a_point_that_was_moved_is_another_point(prompter: Prompter, sam: Sam) -> None:
    ask(prompter, point(25, 50, id="a"))
    ask(prompter, point(45, 50, id="a"), point(70, 60, id="b"))
    assert sam.noted[-1]["masks"] is None


def test_a_restart_between_two_clicks(
    prompter: Prompter, start: Callable[[], Prompter], direct: Predictor, clock: Clock
) -> None:
    """The prompts alone are decoded, the embedding comes from disk, and the object keeps its first time."""
    started = clock.now
    before = ask(prompter, point(25, 50, id="a"))
    clock.now += 4
    after_restart = start()
    region = ask(after_restart, point(25, 50, id="a"), point(70, 60, id="b"))
    masks, _, _ = direct.predict(
        [[0.25 * WIDTH, 0.5 * HEIGHT], [0.7 * WIDTH, 0.6 * HEIGHT]], [1, 1], multimask_output=False
    )
    assert same(mask_of(region), masks[0])
    assert region.keys() == before.keys()
    assert after_restart._cache.counts == {"disk": 1}
    meta = meta_of(region)
    assert (meta["t_first"], meta["t_last"], meta["call"]) == (started, started + 4, 2)


# A click at the same place


def best_first(direct: Predictor, x: float, y: float) -> list[np.ndarray]:
    masks, ious, _ = direct.predict([[x * WIDTH / 100, y * HEIGHT / 100]], [1])
    return [masks[index] for index in (-ious).argsort()]


def test_clicks_at_one_place_bring_up_the_three_masks_in_turn(
    prompter: Prompter, direct: Predictor, clock: Clock
) -> None:
    masks = best_first(direct, 25, 50)
    assert len({mask.tobytes() for mask in masks}) == 3
    for number in range(7):
        region = ask(prompter, point(25 + 0.9 * (number % 2), 50, id=f"p{number}"))
        assert same(mask_of(region), masks[number % 3])
        clock.now += 10


def test_without_automatic_acceptance_the_clicks_add_up(prompter: Prompter, direct: Predictor, clock: Clock) -> None:
    masks = best_first(direct, 25, 50)
    clicks = [point(25 + 0.3 * number, 50, id=f"p{number}") for number in range(4)]
    for count in range(1, 5):
        region = ask(prompter, *clicks[:count])
        assert same(mask_of(region), masks[(count - 1) % 3])
        assert meta_of(region)["n_points"] == count
        again = ask(prompter, *clicks[:count])  # asked twice for the same: no turn
        assert same(mask_of(again), masks[(count - 1) % 3])
        clock.now += 2


@pytest.mark.parametrize(
    ("x", "seconds", "task"), [(26.1, 1, TASK), (25, 10.5, TASK), (25, 1, 8)], ids=["elsewhere", "later", "task"]
)
def test_other_clicks_begin_with_the_best(
    prompter: Prompter, direct: Predictor, clock: Clock, x: float, seconds: float, task: int
) -> None:
    ask(prompter, point(25, 50, id="a"))
    clock.now += seconds
    body = click_body(task_body(PICTURE, task=task), point(x, 50, id="b"))
    (region,) = prompter.predict(body)["results"][0]["result"]
    assert same(mask_of(region), best_first(direct, x, 50)[0])


def test_the_mask_that_was_chosen_is_refined(prompter: Prompter, sam: Sam, direct: Predictor) -> None:
    clicks = [point(25, 50, id="a"), point(25.5, 50, id="b"), point(70, 60, id="c", positive=False)]
    ask(prompter, clicks[0])
    ask(prompter, *clicks[:2])
    ask(prompter, *clicks)
    _, ious, logits = direct.predict([[0.25 * WIDTH, 0.5 * HEIGHT]], [1])
    fed: Tensor = sam.noted[-1]["masks"]
    wanted = torch.from_numpy(logits[[(-ious).argsort()[1]]])
    torch.testing.assert_close(fed[0], wanted, atol=1e-3, rtol=1e-3)


# Ids, times and the log


def test_every_answer_is_logged_and_has_an_id_of_its_own(prompter: Prompter, workspace: Path, clock: Clock) -> None:
    first = ask(prompter, point(25, 50, id="a"))
    clock.now += 3
    second = ask(prompter, point(25, 50, id="a"), point(70, 60, id="b"))
    other = ask(prompter, point(80, 20, id="c"))
    assert len({region["id"] for region in (first, second, other)}) == 3
    calls = prompt_log.read(workspace, 1)
    assert [call.region_id for call in calls] == [region["id"] for region in (first, second, other)]
    assert calls[1].prompt_ids == ("a", "b")
    assert calls[1].points == ((25.0, 50.0, 1), (70.0, 60.0, 1))
    assert (calls[1].at, calls[1].task, calls[1].image_id) == (clock.now, TASK, "9223372036854775807")
    assert calls[1].model_id == MODEL_ID
    assert calls[1].predicted_iou == pytest.approx(meta_of(second)["predicted_iou"], abs=1e-4)
    assert 0 < calls[1].server_ms < 60_000
    assert meta_of(other)["t_first"] == clock.now


def test_a_log_that_cannot_be_written_does_no_harm(
    prompter: Prompter, workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (workspace / "labeling" / "prompts").write_text("a file where a folder should be")
    ask(prompter, point(25, 50, id="a"))
    assert "not in the prompt log" in caplog.text


def test_a_restart_gives_no_id_a_second_time(prompter: Prompter, start: Callable[[], Prompter]) -> None:
    click = point(25, 50, id="a")
    assert ask(prompter, click)["id"] != ask(start(), click)["id"]


# Nothing to answer


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


# Batches


def test_a_batch_gets_no_predictions_and_its_pictures_are_encoded_ahead(prompter: Prompter, workspace: Path) -> None:
    other = workspace / "labeling" / "images" / "other.png"
    other.write_bytes(picture_bytes(shapes(1)[0]))
    tasks = [task_body(PICTURE), task_body("gone.png"), task_body("other.png"), {"id": 3}, {"id": 4, "data": None}]
    results = prompter.predict(batch_body(*tasks))["results"]
    assert results == [[]] * 5, "an empty result would be kept as a prediction of nothing"
    assert prompter._ahead.wait(30)
    assert len(list((workspace / "labeling" / "embeddings" / MODEL_ID).iterdir())) == 2
    prompter._ahead.close()


def test_a_task_that_is_opened_is_in_memory_before_the_first_click(prompter: Prompter) -> None:
    prompter.predict(batch_body(task_body(PICTURE)))
    assert prompter._ahead.wait(30)
    ask(prompter, point(25, 50, id="a"))
    assert prompter._cache.counts == {"encoded": 1, "memory": 1}
    prompter._ahead.close()


def test_clicks_of_several_threads_do_not_mix(start: Callable[[], Prompter], direct: Predictor) -> None:
    prompter, threads_at_once = start(), 4
    places = [(10.0 + 12 * number, 20.0 + 8 * number) for number in range(threads_at_once)]
    wanted = [best_first(direct, x, y)[0] for x, y in places]
    right: list[bool] = []

    def click(number: int) -> None:
        x, y = places[number]
        for each in range(5):
            body = click_body(task_body(PICTURE, task=100 + number), point(x, y, id=f"{number}-{each}"))
            (region,) = prompter.predict(body)["results"][0]["result"]
            if each % 3 == 0:
                right.append(same(mask_of(region), wanted[number]))

    threads = [threading.Thread(target=click, args=(number,)) for number in range(threads_at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 2 * threads_at_once


# Objects one after the other


def accepted(*regions: dict[str, Any]) -> dict[str, Any]:
    """A task whose draft has these regions already."""
    return task_body(PICTURE) | {"drafts": [{"id": 1, "result": list(regions)}]}


def ask_on(prompter: Prompter, task: dict[str, Any], *regions: dict[str, Any]) -> dict[str, Any]:
    body = click_body(task, *regions)
    body["tasks"] = [task]
    (result,) = prompter.predict(json.loads(json.dumps(body)))["results"]
    (region,) = result["result"]
    found: dict[str, Any] = region
    return found


def draft_of(region: dict[str, Any]) -> dict[str, Any]:
    """A prompt as the editor sends it after a reload: it says no more whether it is positive."""
    return {key: value for key, value in region.items() if key != "is_positive"}


def told(region: dict[str, Any]) -> tuple[float, float, list[float]]:
    """First and last act in seconds of the session, and x of the points."""
    meta = meta_of(region)
    began = Clock().now
    return round(meta["t_first"] - began, 3), round(meta["t_last"] - began, 3), [x for x, _, _ in meta["points"]]


def test_a_session_of_many_kinds_of_acts_is_told_as_it_was(
    start: Callable[[], Prompter], clock: Clock, workspace: Path
) -> None:
    """Clicks, a reload, a click that another mask follows, an undone accept, a box, and a restart of the backend."""
    prompter, began = start(), clock.now
    one, two, three, four, five, six = (point(x, 50, id=f"p{x}") for x in (10, 20, 30, 40, 50, 60))

    def at(second: float) -> None:
        clock.now = began + second

    at(1)
    ask(prompter, one)
    at(4)
    first = ask(prompter, one, two)
    assert told(first) == (1.0, 4.0, [10.0, 20.0])
    at(100)  # reloaded before it was accepted: the draft's prompts are sent along
    second = ask(prompter, draft_of(one), draft_of(two), three)
    assert told(second) == (100.0, 100.0, [30.0])
    at(110)  # `three` was accepted; what the draft had stays
    third = ask(prompter, draft_of(one), draft_of(two), four)
    assert told(third) == (110.0, 110.0, [40.0])
    at(120)  # the draft has the mask of `four`; its accept was undone, so that its point is there again
    fourth = ask_on(prompter, accepted(third), four, five)
    assert told(fourth) == (120.0, 120.0, [50.0])
    at(130)
    boxed = ask(prompter, box(10, 10, 50, 50, id="b"))
    assert told(boxed) == (130.0, 130.0, [])
    at(133)
    prompter = start()
    again = ask(prompter, box(10, 10, 50, 50, id="b"), box(10, 10, 60, 60, id="c"))
    assert told(again) == (130.0, 133.0, [])
    at(200)
    later = ask(prompter, box(10, 10, 60, 60, id="c"), box(20, 20, 40, 40, id="d"))
    assert told(later) == (200.0, 200.0, [])
    at(210)
    assert told(ask(prompter, six)) == (210.0, 210.0, [60.0])
    kept = [call.prompt_ids for call in prompt_log.read(workspace, 1)]
    assert kept == [("p10",), ("p10", "p20"), ("p30",), ("p40",), ("p50",), ("b",), ("b", "c"), ("d",), ("p60",)]


def test_what_an_accept_leaves_behind_is_another_objects(prompter: Prompter) -> None:
    """A point that stayed although one that was sent with it went."""
    one, two, three = (point(x, 50, id=f"p{x}") for x in (10, 20, 30))
    ask(prompter, one)
    ask(prompter, one, two)
    assert told(ask(prompter, one, three))[2] == [30.0]


def test_points_and_boxes_of_one_object_may_alternate(prompter: Prompter) -> None:
    one, two, drawn = point(10, 50, id="p"), point(20, 50, id="q"), box(10, 10, 50, 50, id="b")
    ask(prompter, one)
    ask(prompter, drawn)
    assert told(ask(prompter, one, two))[2] == [10.0, 20.0]


def test_a_point_that_is_taken_back_leaves_the_others(prompter: Prompter) -> None:
    one, two, three = (point(x, 50, id=f"p{x}") for x in (10, 20, 30))
    ask(prompter, one, two)
    assert told(ask(prompter, one))[2] == [10.0]
    assert told(ask(prompter, one, three))[2] == [10.0, 30.0]


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


def test_a_model_that_gives_one_mask_gives_it_to_each_click_at_a_place(workspace: Path, clock: Clock) -> None:
    encoder = ViTConfig(32, 1, 2, global_attn_indexes=(0,), img_size=96, window_size=3)
    sam = build_sam(SamConfig(encoder, decoder="sam_hq"))
    draw_weights(sam, seed=10)
    cache = EmbeddingCache(sam, EmbeddingFolder(workspace / "embeddings", MODEL_ID, limit_mb=10), in_memory=2)
    prompter = Prompter(workspace, sam, model_id=MODEL_ID, cache=cache, ahead=Precomputer(cache), clock=clock)
    first, second = point(25.0, 50.0, id="a"), point(25.2, 50.0, id="b")
    found = [ask(prompter, first), ask(prompter, first, second)]
    assert np.array_equal(*(mask_of(region) for region in found))
    assert all("other_predicted_iou" not in meta_of(region) for region in found)
    encoded = cache.get(workspace / "labeling" / "images" / PICTURE).encoded
    for stored, kept in zip(from_bytes(to_bytes(encoded)).embedding.high_res, encoded.embedding.high_res, strict=True):
        assert torch.equal(stored, kept)
