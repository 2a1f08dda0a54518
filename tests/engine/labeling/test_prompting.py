import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.labeling import prompt_log
from engine.labeling.embeddings import EmbeddingCache, EmbeddingFolder, Precomputer, from_bytes, to_bytes
from engine.labeling.prompting import Prompter
from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.predictor import Predictor
from model.sam import Sam, build_sam
from tests.engine.labeling.bodies import (
    TASK,
    batch_body,
    box,
    click_body,
    point,
    task_body,
)
from tests.engine.labeling.prompters import HEIGHT, MODEL_ID, PICTURE, WIDTH, Clock, ask, mask_of, meta_of, same
from tests.peers.published import draw_weights
from tests.pictures import encoded as picture_bytes
from tests.pictures import shapes


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
