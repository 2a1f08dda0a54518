"""What Label Studio is told of a study."""

from xml.etree import ElementTree

from schemas.labeling import (
    COMMENT,
    IMAGE,
    MASKS_CONFIG,
    QUESTIONS,
    RATING,
    RATINGS,
    STUDY_CONFIG,
    instructions,
    labeling_config,
    project_title,
    study_purpose,
)


def test_a_study_has_a_project_of_its_own() -> None:
    purpose = study_purpose("nano_2")
    assert project_title("work", purpose) == "work: study-nano 2"
    assert labeling_config(purpose) == STUDY_CONFIG
    assert labeling_config("assisted_manual") == MASKS_CONFIG
    text = instructions(purpose)
    assert all(f"<b>{mark}</b>" in text for mark in ("1", "2 to 4", "5 to 6", "7 to 9", "10"))
    assert instructions("assisted_manual") != text


def test_it_asks_for_a_rating_and_three_questions() -> None:
    root = ElementTree.fromstring(STUDY_CONFIG)
    named = {tag.get("name"): tag for tag in root.iter() if tag.get("name")}
    assert set(named) == {IMAGE, *QUESTIONS, RATING, COMMENT}
    assert all(tag.get("toName") == IMAGE for name, tag in named.items() if name != IMAGE)
    assert named[RATING].get("required") == "true"
    assert [choice.get("value") for choice in named[RATING]] == list(map(str, RATINGS)) == list(map(str, range(1, 11)))
    assert [choice.get("value") for choice in named["object"]] == ["yes", "no"]
    keys = [choice.get("hotkey") for choice in root.iter("Choice")]
    assert len(set(keys)) == len(keys) == 10 + 2 * len(QUESTIONS)
    assert all(named[name].get("required") is None for name in QUESTIONS)
