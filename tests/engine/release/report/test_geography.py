"""Countries of names, codes and captions; table 1 by hand; tables that cannot be used."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.places import place
from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.report.geography import CountryTable, geography_section, read_countries
from engine.release.report.released import ReleasedMasks
from engine.release.report.world import INCOME_GROUPS, REGIONS, World
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("name", "code", "region", "income"),
    [
        ("Kenya", "KE", "Africa", "Middle income"),
        (" uganda ", "UG", "Africa", "Low income"),
        ("Viet Nam", "VN", "Asia & Oceania", "Middle income"),
        ("South Korea", "KR", "Asia & Oceania", "High income"),
        ("Australia", "AU", "Asia & Oceania", "High income"),
        ("de", "DE", "Europe", "High income"),
        ("Côte d'Ivoire", "CI", "Africa", "Middle income"),
        ("Ivory Coast", "CI", "Africa", "Middle income"),
        ("MEX", "MX", "Latin America & Caribbean", "Middle income"),
        ("Chile", "CL", "Latin America & Caribbean", "High income"),
        ("USA", "US", "North America", "High income"),
        ("Venezuela", "VE", "Latin America & Caribbean", ""),
        ("Antarctica", "AQ", "", ""),
        ("Narnia", "", "", ""),
        ("", "", "", ""),
    ],
)
def test_countries_by_name_and_code(world: World, name: str, code: str, region: str, income: str) -> None:
    found = world.country(name)
    assert (found, world.region(found), world.income_group(found)) == (code, region, income)


@pytest.mark.parametrize(
    ("caption", "code"),
    [
        ("A market in Hanoi, Vietnam", "VN"),
        ("A street in Rome, Texas", "US"),  # a province goes before a city
        ("Sunset over Bayern", "DE"),
        ("Paris at night", "FR"),
        ("A man in Kenya with a jersey of Brazil", "KE"),  # the first that is named
        ("Nice view of the sea", ""),
        ("Can the dog and the cat play? And are they friends?", ""),
        ("the coast of france", ""),
        ("", ""),
    ],
)
def test_countries_of_captions(world: World, caption: str, code: str) -> None:
    assert world.country_of_caption(caption) == code


def test_income_groups_are_those_of_fiscal_year_2024(world: World) -> None:
    groups = Counter(world.income_group(code) for code in world.countries)
    assert groups["Low income"] == 26
    assert groups["High income"] == 84  # the World Bank's 83: Guernsey and Jersey are one there


@pytest.mark.parametrize(
    ("codes", "group"),
    [
        ("GN ZM", "Middle income"),  # low the year before
        ("GY AS", "High income"),  # middle the year before
        ("RU BG PW MN UA", "Middle income"),  # the first three were high the year after
        ("VE", ""),  # not classified
        ("SY YE KP AF ER", "Low income"),
    ],
)
def test_countries_that_moved_are_where_they_were_in_that_year(world: World, codes: str, group: str) -> None:
    assert {world.income_group(code) for code in codes.split()} == {group}


def test_every_country_is_in_one_region(world: World) -> None:
    found = {world.region(code) for code in world.countries}
    assert found == {*REGIONS, ""}
    assert {code for code in world.countries if not world.region(code)} == {"AQ", "BV", "GS", "HM", "TF"}


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_country_goes_before_a_caption(world: World, tmp_path: Path) -> None:
    text = 'source,country,caption\na,Kenya,"Rome, Italy"\nb,,"Rome, Italy"\nc,Narnia,somewhere\nd,,\n'
    table = read_countries(written(tmp_path / "t.csv", text), world)
    found = [table.countries[code] if code >= 0 else None for code in table.of(["b", "a", "c", "d", "e"])]
    assert found == ["IT", "KE", "", "", None]
    assert (table.key, table.from_captions, dict(table.unknown)) == ("source", True, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,country\n1,Kenya\n", "needs a header with source or image_id or content_id or file_name"),
        ("source,place\n1,Kenya\n", "needs a column country or caption, found place"),
        ("source,country\na,Kenya\nb,Kenya\na,Italy\n", "a source stands there twice"),
        ("source,country\na,Narnia\n", "no country is known in it, such as 'Narnia'"),
        ("source,caption\na,a dog\n", "no country is known in it; write names"),
        ("source,country\n", "no country is known in it"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(world: World, text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", text)
    with pytest.raises(InputError, match=said) as error:
        read_countries(path, world)
    assert str(error.value).startswith(f"{path}: ")


class TestSection:
    @pytest.fixture
    def release(self, store: Store) -> Path:
        return build_release(store, config=ReleaseConfig(images_per_tar=3)).path

    def rows(self, release: Path) -> list[dict[str, Any]]:
        return [picture.row for picture in Release(release)]

    def table(self, world: World, path: Path, key: str, countries: dict[Any, str]) -> CountryTable:
        lines = "".join(f"{picture},{country}\n" for picture, country in countries.items())
        return read_countries(written(path / "t.csv", f"{key},country\n{lines}"), world)

    @pytest.mark.parametrize("key", ["source", "image_id", "content_id", "file_name"])
    def test_table_1_by_hand(self, release: Path, world: World, tmp_path: Path, key: str) -> None:
        rows = self.rows(release)
        named = dict(zip((row[key] for row in rows), ("Kenya", "Kenya", "Uganda", "USA", "Oz", "Oz"), strict=False))
        table = self.table(world, tmp_path, key, named)
        found = geography_section(ReleasedMasks(place(release)), table=table, world=world)
        assert list(found.values["regions"]) == list(REGIONS)
        assert list(found.values["income_groups"]) == list(INCOME_GROUPS)
        masks = sum(row["masks"] for row in rows[:3])
        assert found.values["regions"]["Africa"] == {
            "countries": 2,
            "pictures": 3,
            "masks": masks,
            "masks_per_picture": masks / 3,
            "share": 0.75,
        }
        assert found.values["income_groups"]["Low income"]["pictures"] == 1
        assert found.values["countries"]["US"] == {"pictures": 1, "masks": rows[3]["masks"]}
        assert found.values["without_country"] == 3
        notes = "\n".join(found.notes)
        assert "Pictures without a country: 3, of which 1 are not in the table." in notes
        assert "What is no country in the table, lines each: Oz (2)." in notes
        assert found.tables[0].rows[0] == ("Africa", "2", "3", str(masks), f"{masks / 3:.1f}", "75.0%", "2.8%")

    def test_a_table_of_other_pictures_is_one_line(self, release: Path, world: World, tmp_path: Path) -> None:
        table = self.table(world, tmp_path, "source", {"elsewhere.jpg": "Kenya"})
        with pytest.raises(InputError, match="has no country for any of its pictures"):
            geography_section(ReleasedMasks(place(release)), table=table, world=world)
