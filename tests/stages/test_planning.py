"""What a stage does next, and what is missing, told from the rows of a store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.store import Store
from model.registry import ModelCard
from model.storage import save_model
from schemas.config import CONFIG_FILE, EngineConfig
from schemas.errors import InputError
from schemas.round_metrics import Guard, RoundMetrics
from schemas.stages import STAGES, Stage
from schemas.tables import Round
from stages.planning import (
    Step,
    gates_of,
    is_finished,
    model_for,
    model_of_annotators,
    next_step,
    parse_stage,
    use_of_last,
)
from tests.engine.stores import store_of_images
from tests.stages.workspaces import tiny_sam

MANUAL: Stage = "assisted_manual"
SEMI: Stage = "semi_automatic"
AUTOMATIC: Stage = "fully_automatic"
IMAGES = (11, 12, 13, 14, 15, 16)
SETTINGS: dict[str, Any] = {
    "model": {"start": "first"},
    MANUAL: {"rounds": 2, "images_per_round": 2},
    SEMI: {"rounds": 1, "images_per_round": 1},
}
PEOPLE = {"annotator": {"kind": "label_studio"}, "gates": {"verification": "sample", "exhaustivity": "all"}}
FIRST = Round(MANUAL, 1, (11, 12), "retrained", "start", "model-1")
SECOND = Round(MANUAL, 2, (13, 14), "retrained", "model-1", "model-2")
THIRD = Round(SEMI, 1, (15,), "retrained", "model-2", "model-3")
LAST = Round(AUTOMATIC, 1, IMAGES, "retrained", "model-3", "model-4")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six images with ground truth, two rounds of two images and one of one; nothing was done yet."""
    return settings_of(store_of_images(tmp_path, IMAGES, has_ground_truth=True))


def settings_of(store: Store, **changes: Any) -> Store:
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(SETTINGS | changes))
    return store


def after(store: Store, *rounds: Round) -> Store:
    for record in rounds:
        store.put_round(record)
    return store


def test_it_opens_rounds_of_its_images_until_all_are_done(store: Store) -> None:
    assert next_step(store, MANUAL) == Step(MANUAL, "open", 1, "open round 1 with 2 images", (11, 12))
    after(store, FIRST)
    assert next_step(store, MANUAL) == Step(MANUAL, "open", 2, "open round 2 with 2 images", (13, 14))
    after(store, SECOND)
    assert next_step(store, MANUAL) == Step(MANUAL, "none", 2, "all 2 rounds are done")


def test_the_last_round_of_the_stage_is_moved_on(store: Store) -> None:
    after(store, FIRST, replace(SECOND, state="open", model_after=""))
    assert next_step(store, MANUAL) == Step(MANUAL, "annotate", 2, "annotate 2 images")
    after(store, replace(SECOND, state="annotated"))
    assert next_step(store, MANUAL) == Step(MANUAL, "retrain", 2, "retrain on the masks so far")
    after(store, SECOND, replace(THIRD, state="open"))
    assert next_step(store, MANUAL).action == "none", "another stage's open round is none of its own"
    assert next_step(store, SEMI) == Step(SEMI, "annotate", 1, "annotate 1 image")


def test_people_are_waited_for_and_asked_at_the_gates(store: Store) -> None:
    settings_of(store, **PEOPLE)
    after(store, replace(FIRST, state="open"))
    assert next_step(store, MANUAL) == Step(MANUAL, "annotate", 1, "annotate 2 images, by people in Label Studio")
    after(store, replace(FIRST, state="annotated"))
    asked = "people answer at the gates: verification, exhaustivity"
    assert next_step(store, MANUAL) == Step(MANUAL, "verify", 1, asked)
    after(store, replace(FIRST, state="verified"))
    assert next_step(store, MANUAL) == Step(MANUAL, "retrain", 1, "retrain on the masks so far")


def test_the_generator_works_alone_and_passes_no_gate(store: Store) -> None:
    settings_of(store, **PEOPLE)
    after(store, replace(LAST, state="open"))
    assert next_step(store, AUTOMATIC) == Step(AUTOMATIC, "generate", 1, "generate 6 images")
    after(store, replace(LAST, state="annotated"))
    assert next_step(store, AUTOMATIC) == Step(AUTOMATIC, "retrain", 1, "retrain on the masks so far")


def test_only_people_pass_the_gates_that_are_wanted() -> None:
    config = EngineConfig.model_validate(PEOPLE)
    assert gates_of(config, MANUAL) == gates_of(config, SEMI) == ("verification", "exhaustivity")
    assert gates_of(config, AUTOMATIC) == ()
    assert gates_of(config.model_copy(update={"annotator": EngineConfig().annotator}), MANUAL) == ()
    one = EngineConfig.model_validate(PEOPLE | {"gates": {"exhaustivity": "all"}})
    assert gates_of(one, MANUAL) == ("exhaustivity",)
    assert gates_of(one.model_copy(update={"gates": EngineConfig().gates}), MANUAL) == ()


@pytest.mark.parametrize(
    ("stage", "rounds", "earlier", "done", "of"),
    [
        (SEMI, [], MANUAL, 0, 2),
        (SEMI, [FIRST, replace(SECOND, state="verified")], MANUAL, 1, 2),
        (AUTOMATIC, [FIRST, replace(THIRD, state="retrained")], MANUAL, 1, 2),
        (AUTOMATIC, [FIRST, SECOND], SEMI, 0, 1),
        (AUTOMATIC, [FIRST, SECOND, replace(THIRD, state="open")], SEMI, 0, 1),
    ],
)
def test_a_stage_waits_for_the_first_one_before_it_that_is_not_through(
    store: Store, stage: Stage, rounds: list[Round], earlier: Stage, done: int, of: int
) -> None:
    after(store, *rounds)
    rounds_asked = {1: "1 round", 2: "2 rounds"}[of]
    message = (
        f"{stage} needs the model that is retrained at the end of {earlier}, which has finished {done} of "
        f"{rounds_asked}; run: sam-engine run {earlier} {store.files} --until-done"
    )
    assert next_step(store, stage) == Step(stage, "wait", 0, message)


def test_a_stage_waits_for_the_model_that_it_starts_from(store: Store) -> None:
    after(store, FIRST, SECOND)
    gone = (
        f"semi_automatic needs model model-2, which the last retraining made, but it is not in {store.files.models}; "
        "put its folder back"
    )
    assert next_step(store, SEMI) == Step(SEMI, "wait", 0, gone)
    made = save_model(tiny_sam(), store.workspace / "models", ModelCard(name="second"))
    after(store, replace(SECOND, model_after=made))
    assert next_step(store, SEMI) == Step(SEMI, "open", 1, "open round 1 with 1 image", (15,))
    assert next_step(store, MANUAL).action == "none", "the first stage starts from what the settings name"


def test_a_stage_that_has_begun_does_not_look_back(store: Store) -> None:
    after(store, THIRD)
    assert next_step(store, SEMI).action == "none"


def test_without_an_image_to_start_with_it_says_what_to_ingest(tmp_path: Path) -> None:
    empty = settings_of(store_of_images(tmp_path / "empty", []))
    command = f"run: sam-engine ingest {empty.files} SOURCE..."
    assert next_step(empty, MANUAL) == Step(MANUAL, "wait", 0, f"{empty.files} has no images; {command}")
    plain = settings_of(store_of_images(tmp_path / "plain", IMAGES))
    step = next_step(plain, MANUAL)
    assert (step.action, step.round, step.image_ids) == ("wait", 0, ())
    assert step.message == (
        f"none of the 6 images of {plain.files} has ground truth outside the holdout, which the simulated annotator "
        f"clicks from; add a COCO json with masks: sam-engine ingest {plain.files} SOURCE..."
    )


def test_why_nothing_is_left_to_do(store: Store) -> None:
    settings_of(store, assisted_manual={"rounds": 3, "images_per_round": 3}, semi_automatic={"rounds": 1})
    after(store, replace(FIRST, image_ids=IMAGES))
    assert next_step(store, MANUAL).message == (
        "ended early after 1 of 3 rounds: no image with ground truth is left that is neither annotated nor held out"
    )
    after(store, LAST)
    assert next_step(store, AUTOMATIC).message == (
        "all images have automatic masks, and the model is retrained on them" + use_of_last(store, LAST)
    )


def test_the_last_model_is_for_the_generator_or_another_workspace(store: Store) -> None:
    made = save_model(tiny_sam(), store.workspace / "models", ModelCard(name="fourth"))

    def use(folder: object) -> str:
        return (
            f"; that model made none of the masks here: it is for sam-engine generate -m {folder}, and for model.start "
            "of another workspace"
        )

    assert use_of_last(store, replace(LAST, model_after=made)) == use(store.workspace / "models" / "fourth")
    assert use_of_last(store, LAST) == use(store.workspace / "models"), "gone from where it was"
    refused = RoundMetrics(guard=Guard(accepted=False))
    assert use_of_last(store, replace(LAST, model_after=made, metrics=refused)) == ""
    assert use_of_last(store, replace(THIRD, model_after=made)) == ""
    after(store, replace(LAST, image_ids=IMAGES[:3]), replace(LAST, round=2, image_ids=IMAGES[3:], model_after=made))
    assert next_step(store, AUTOMATIC).message.endswith(use(store.workspace / "models" / "fourth")), "of the last round"


def test_a_stage_is_through_when_its_rounds_are_retrained_and_none_is_due(store: Store, tmp_path: Path) -> None:
    config = store.files.settings()
    empty = store_of_images(tmp_path / "empty", [])
    assert [is_finished(empty, config, stage, []) for stage in STAGES] == [False, True, True], "it must have begun"
    assert not is_finished(store, config, MANUAL, [])
    assert not is_finished(store, config, MANUAL, [FIRST])
    assert is_finished(store, config, MANUAL, [FIRST, SECOND])
    assert not is_finished(store, config, MANUAL, [replace(FIRST, state="verified"), SECOND])
    assert not is_finished(store, config, SEMI, [FIRST, SECOND])
    assert is_finished(store, config, SEMI, [FIRST, SECOND, THIRD])
    nothing_left = settings_of(store, semi_automatic={"rounds": 1, "images_per_round": 9}).files.settings()
    everything = replace(FIRST, image_ids=IMAGES)
    assert is_finished(store, nothing_left, SEMI, [everything]), "it gets no image, so there is nothing to wait for"
    assert not is_finished(settings_of(store), config, MANUAL, [THIRD]), "another stage's rounds do not count"


def test_a_round_starts_from_the_last_model_of_the_annotated_stages_up_to_its_own() -> None:
    config = EngineConfig.model_validate(SETTINGS)
    rounds = [FIRST, SECOND, THIRD, LAST]
    assert [model_for(config, stage, rounds) for stage in STAGES] == ["model-2", "model-3", "model-3"]
    assert [model_for(config, stage, [FIRST]) for stage in STAGES] == ["model-1"] * 3
    assert model_for(config, SEMI, [FIRST, replace(SECOND, model_after="")]) == "model-1", "not retrained yet"
    assert [model_for(config, stage, [LAST]) for stage in STAGES] == ["first"] * 3


def test_people_click_with_the_model_of_the_open_round_else_of_the_next() -> None:
    config = EngineConfig.model_validate(SETTINGS)
    calibrated = Round(MANUAL, 1, (11, 12), "open", "tiny-calibrated")
    assert model_of_annotators(config, []) == config.model.start
    assert model_of_annotators(config, [calibrated]) == "tiny-calibrated", "bent for the first round"
    assert model_of_annotators(config, [replace(FIRST, state="annotated", model_after="")]) == config.model.start
    assert model_of_annotators(config, [FIRST]) == "model-1"
    assert model_of_annotators(config, [FIRST, replace(SECOND, state="open", model_after="")]) == "model-1"
    assert model_of_annotators(config, [FIRST, SECOND, THIRD, LAST]) == "model-3", "no people in the last stage"


def test_a_stage_that_the_settings_do_not_name_has_no_step(store: Store) -> None:
    with pytest.raises(InputError, match=r"engine\.yaml: does not use the stage boxes; name it there"):
        next_step(store, "boxes")


def test_stages_are_called_with_either_stroke() -> None:
    assert [parse_stage(stage) for stage in STAGES] == list(STAGES)
    assert [parse_stage(stage.replace("_", "-")) for stage in STAGES] == list(STAGES)
    with pytest.raises(InputError, match=r"^unknown stage 'auto'; choose one of assisted_manual, semi_"):
        parse_stage("auto")
