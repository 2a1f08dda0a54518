"""The section on geography: from which countries the pictures come (SAM paper, section 5, figure 7 and table 1)."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.figures import COLOURS
from engine.label_tables import read_rows
from engine.release.reader import cannot_be_read
from engine.release.report.released import ReleasedMasks
from engine.release.report.sections import Section, Table
from engine.release.report.world import INCOME_GROUPS, REGIONS, UNKNOWN, World
from engine.release.statistics import STATISTICS_FILE
from schemas.counted import counted
from schemas.errors import InputError
from schemas.release import FIRST_FORMAT

# Columns by which a picture may be called, as in the index of a release.
KEYS = ("source", "image_id", "content_id", "file_name")
_COUNTRY, _CAPTION = "country", "caption"
_TOP = 30
GEOGRAPHY = "geography"  # key of the section
# Shares of the pictures of SA-1B in table 1 of the paper.
_SA1B = dict(zip((*REGIONS, *INCOME_GROUPS), (0.028, 0.362, 0.498, 0.035, 0.077, 0.540, 0.450, 0.009), strict=True))


class PictureCountries(Protocol):
    """Countries by picture. key: the column of the image index by which pictures are called.

    countries: codes, the first of them `UNKNOWN`. unknown: what was written where no country was found; how often.
    """

    @property
    def key(self) -> str: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def unknown(self) -> Counter[str]: ...
    @property
    def note(self) -> str: ...

    def of(self, pictures: Sequence[str]) -> npt.NDArray[np.int16]:
        """Places in `countries`; -1 for a picture of which nothing is said."""
        ...


class IndexCountries:
    """What the index of a release says itself, by the place in photographs' EXIF."""

    key, note = "country", "Countries: of the city nearest to the place that a photograph's EXIF tells, told at ingest."

    def __init__(self, world: World) -> None:
        self.countries = (UNKNOWN, *sorted(world.countries))
        self.unknown: Counter[str] = Counter()
        self._places = {code: place for place, code in enumerate(self.countries)}

    def of(self, pictures: Sequence[str]) -> npt.NDArray[np.int16]:
        return np.array([self._places.get(code, 0) for code in pictures], dtype=np.int16)


@dataclass(frozen=True)
class CountryTable:
    """Countries by picture, ten bytes each. key: the column by which pictures are called.

    hashes: sorted. codes: places in `countries`. unknown: what was written where no country was found; how often.
    """

    key: str
    hashes: npt.NDArray[np.uint64]
    codes: npt.NDArray[np.int16]
    countries: tuple[str, ...]
    unknown: Counter[str]
    from_captions: bool

    @property
    def note(self) -> str:
        told = "Countries that a caption tells are estimates: the first country, else province, else city named."
        return told if self.from_captions else ""

    def of(self, pictures: Sequence[str]) -> npt.NDArray[np.int16]:
        """Places in `countries`; -1 for a picture that the table does not have."""
        hashes = np.array([_hashed(picture) for picture in pictures], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[places] == hashes, self.codes[places], np.int16(-1))


def read_countries(path: Path, world: World) -> CountryTable:
    """Read a table with a column of `KEYS` and `country` or `caption`; a country counts before a caption.

    Raises InputError if it cannot be read or used, or if no country is found in it.
    """
    hashes, codes, unknown = array("Q"), array("h"), Counter[str]()
    countries = (UNKNOWN, *sorted(world.countries))
    places = {code: place for place, code in enumerate(countries)}
    key, columns = "", frozenset[str]()
    for column, picture, row in read_rows(path, KEYS):
        key, columns = column, columns or _checked(path, frozenset(row))
        code = world.country(row.get(_COUNTRY, ""))
        if not code and _CAPTION in columns:
            code = world.country_of_caption(row[_CAPTION])
        elif not code:
            unknown[row[_COUNTRY]] += 1
        hashes.append(_hashed(picture))
        codes.append(places[code])
    found = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, dtype=np.uint64)
    order = np.argsort(found, kind="stable")
    if (np.diff(found[order]) == 0).any():
        raise InputError(f"{path}: a {key} stands there twice; give each picture one line")
    if not any(codes):
        example = f", such as {next(iter(unknown))!r}" if unknown else ""
        raise InputError(f"{path}: no country is known in it{example}; write names or ISO codes of countries")
    known = np.frombuffer(codes, dtype=np.int16)[order]
    return CountryTable(key, found[order], known, countries, unknown, from_captions=_CAPTION in columns)


def geography_section(release: ReleasedMasks, *, table: PictureCountries, world: World) -> Section:
    """Raises InputError for a release that cannot be read or whose pictures are not in the table."""
    pictures, masks, absent = _count(release, table)
    by_country = {
        code: (int(pictures[place]), int(masks[place])) for place, code in enumerate(table.countries) if pictures[place]
    }
    nowhere = by_country.pop(UNKNOWN, (0, 0))[0]
    if not by_country:
        raise InputError(f"{release.place}: the table of countries has no country for any of its pictures")
    regions = _grouped(by_country, world.region, REGIONS)
    incomes = _grouped(by_country, world.income_group, INCOME_GROUPS)
    listed = f", of which {absent:,} are not in the table" if absent else ""
    notes = [f"Pictures without a country: {nowhere + absent:,}{listed}."]
    if table.unknown:
        named = ", ".join(f"{name or 'nothing'} ({count:,})" for name, count in table.unknown.most_common(10))
        notes.append(f"What is no country in the table, lines each: {named}.")
    if table.note:
        notes.append(table.note)
    notes.append("Income groups: World Bank, fiscal year 2024. SA-1B: share of its pictures, table 1 of the SAM paper.")
    notes.append("Names and cities: GeoNames (CC BY 4.0) and pycountry.")
    return Section(
        GEOGRAPHY,
        "Where pictures come from",
        f"{counted(sum(one for one, _ in by_country.values()), 'picture')} of "
        f"{counted(len(by_country), 'country', plural='countries')}.",
        {
            "countries": {code: {"pictures": one, "masks": other} for code, (one, other) in sorted(by_country.items())},
            "regions": regions,
            "income_groups": incomes,
            "without_country": nowhere + absent,
        },
        figures={
            GEOGRAPHY: (_figure(by_country, world), "Figure 7 of the SAM paper. Disc areas: pictures; dots: cities.")
        },
        tables=[_table("Region", regions), _table("Income group", incomes)],
        notes=notes,
    )


def geography_of_index(release: ReleasedMasks) -> Section | None:
    """The section on the countries in the index; None where it has none, or where the packages are not installed."""
    if not _tells_countries(release):
        return None
    try:
        world = World()
    except InputError:
        return None
    return geography_section(release, table=IndexCountries(world), world=world)


def _tells_countries(release: ReleasedMasks) -> bool:
    """By its statistics, which `verify` vouches for; those of older releases know no countries."""
    if STATISTICS_FILE not in release.manifest.file_names():
        return False
    told = json.loads((release.place / STATISTICS_FILE).read())
    return any(told.get("pictures_by_country", {}))


def _checked(path: Path, columns: frozenset[str]) -> frozenset[str]:
    if not columns & {_COUNTRY, _CAPTION}:
        raise InputError(f"{path}: needs a column {_COUNTRY} or {_CAPTION}, found {', '.join(sorted(columns))}")
    return columns


def _count(
    release: ReleasedMasks, table: PictureCountries
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int]:
    """Pictures and masks of each country of the table, and how many pictures the table does not have."""
    pictures, masks, absent = np.zeros(len(table.countries)), np.zeros(len(table.countries)), 0
    first_format = release.manifest.format == FIRST_FORMAT  # pictures were called by their content ids
    column = "image_id" if first_format and table.key == "content_id" else table.key
    for done, tar in enumerate(release.manifest.tars, start=1):
        with cannot_be_read(release.place, tar):
            for batch in release.batches(tar.image_index.name, [column, "masks"]):
                codes = table.of([str(name) for name in batch[column].to_pylist()])
                listed = codes >= 0
                absent += int((~listed).sum())
                pictures += np.bincount(codes[listed], minlength=len(pictures))
                masks += np.bincount(codes[listed], batch["masks"].to_numpy()[listed], minlength=len(masks))
        release.told("geography", done)
    return pictures, masks, absent


def _grouped(
    by_country: dict[str, tuple[int, int]], group_of: Callable[[str], str], groups: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Table 1: of each group its countries, pictures, masks, masks per picture and share of the pictures."""
    total = sum(pictures for pictures, _ in by_country.values())
    found: dict[str, dict[str, float]] = {}
    for name in groups:
        own = [counts for code, counts in by_country.items() if group_of(code) == name]
        pictures, masks = (sum(counts[place] for counts in own) for place in (0, 1))
        found[name] = {
            "countries": len(own),
            "pictures": pictures,
            "masks": masks,
            "masks_per_picture": masks / pictures if pictures else 0.0,
            "share": pictures / total,
        }
    return found


def _table(title: str, groups: dict[str, dict[str, float]]) -> Table:
    rows = tuple(
        (
            name,
            *(f"{its[key]:,}" for key in ("countries", "pictures", "masks")),
            f"{its['masks_per_picture']:.1f}",
            f"{its['share']:.1%}",
            f"{_SA1B[name]:.1%}",
        )
        for name, its in groups.items()
    )
    return Table((title, "Countries", "Pictures", "Masks", "Masks / picture", "Share of pictures", "SA-1B"), rows)


def _figure(by_country: dict[str, tuple[int, int]], world: World) -> Figure:
    """A disc for each country amid the world's cities, and bars of the countries with most pictures."""
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1])
    cities = world.cities()
    longitudes, latitudes, people = (np.array([city[place] for city in cities]) for place in (1, 2, 3))
    above.scatter(longitudes, latitudes, s=1.2, color="#c3ccd6", linewidths=0)
    codes = np.array([city[0] for city in cities])
    most = max(pictures for pictures, _ in by_country.values())
    for code, (pictures, _) in by_country.items():
        own = codes == code
        if own.any():
            middle = [np.average(where[own], weights=np.maximum(people[own], 1)) for where in (longitudes, latitudes)]
            above.scatter(*middle, s=max(6.0, 900 * pictures / most), color=COLOURS[0], alpha=0.55, linewidths=0)
    above.set(xlim=(-180, 180), ylim=(-60, 80), aspect=1.2)
    above.axis("off")
    top = sorted(by_country, key=lambda code: (-by_country[code][0], code))[:_TOP]
    below.bar([world.countries[code]["iso3"] for code in top], [by_country[code][0] for code in top], color=COLOURS[0])
    below.set_ylabel("pictures", fontsize=9)
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    below.tick_params(labelsize=8)
    below.tick_params(axis="x", rotation=90)
    below.margins(x=0.01)
    for side in ("top", "right"):
        below.spines[side].set_visible(False)
    return figure


def _hashed(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
