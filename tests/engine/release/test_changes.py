"""What two releases differ in, and which of several is the one before."""

from hypothesis import given
from hypothesis import strategies as st

from engine.places import place
from engine.release.changes import Difference, find_previous
from schemas.config import ReleaseConfig
from schemas.release import FORMAT, MANIFEST_FILE, Manifest

STATES = st.dictionaries(st.integers(1, 20), st.sampled_from("ab"))


@given(before=STATES, after=STATES)
def test_a_difference_leads_from_one_to_the_other(before: dict[int, str], after: dict[int, str]) -> None:
    found = Difference.between(before, after)
    kept = {number: said for number, said in before.items() if number not in {*found.removed, *found.changed}}
    assert kept | {number: after[number] for number in (*found.added, *found.changed)} == after
    assert not set(found.added) & before.keys()
    assert set(found.removed) <= before.keys()
    assert all(before[number] != after[number] for number in found.changed)


def test_the_one_before_is_of_the_latest_earlier_versions() -> None:
    folder = place("memory://releases-in-order")
    assert find_previous(folder, {"images": 9}, withheld=False) is None
    for name, versions, more in (
        ("first", {"images": 1, "fully_automatic": 3}, {}),
        ("second", {"images": 1, "fully_automatic": 5}, {}),
        ("now", {"images": 2, "fully_automatic": 5}, {}),
        ("later", {"images": 2, "fully_automatic": 6}, {}),
        ("withheld", {"images": 1, "fully_automatic": 6}, {"withheld": True}),
        ("third, a part", {"images": 1, "fully_automatic": 5}, {"parents": ("0123456789abcdef",)}),
        ("of-content-ids", {"images": 2, "fully_automatic": 4}, {"format": "sam-data-engine release 1"}),
    ):
        counts = dict.fromkeys(("images", "masks", "masks_lost", "images_without_masks"), 0)
        said = {"format": FORMAT, "name": name, "key": "", "stages": (), "tars": (), "config": ReleaseConfig()}
        manifest = Manifest.model_validate({**said, **counts, "table_versions": versions, **more})
        (folder / name / MANIFEST_FILE).write(manifest.model_dump_json().encode())
    (folder / "damaged" / MANIFEST_FILE).write(b"{}")

    def previous(versions: dict[str, int], *, withheld: bool = False) -> str | None:
        found = find_previous(folder, versions, withheld=withheld)
        return found and found.name

    assert previous({"images": 2, "fully_automatic": 5}) == "second"
    assert previous({"images": 1, "fully_automatic": 4}) == "first"
    assert previous({"images": 2, "fully_automatic": 7}) == "later"
    assert previous({"images": 2, "fully_automatic": 7}, withheld=True) == "withheld"
    assert previous({"images": 0, "fully_automatic": 7}) is None
