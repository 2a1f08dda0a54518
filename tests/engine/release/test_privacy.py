"""Faces and plates: found, blurred in releases, told in the index; nothing of machines or people goes out."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image, ImageCms

from engine.ingest import ingest
from engine.release import privacy
from engine.release.build import build_release
from engine.release.faces import CenterFace
from engine.release.plates import PlateCascade
from engine.release.privacy import Anonymizer
from engine.release.reader import Release, read_manifest
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import add_masks, draw
from tests.templates import new_store

PLAIN = ReleaseConfig(blur=False)
# Where the faces are, XYXY, by eye.
ASTRONAUT, HOPPER = (173, 62, 277, 184), (180, 105, 355, 335)


def hopper() -> np.ndarray:
    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return np.asarray(Image.open(path).convert("RGB"))


def plate() -> np.ndarray:
    """A car's plate on its dark rear, drawn."""
    picture = np.full((300, 420, 3), 45, dtype=np.uint8)
    cv2.rectangle(picture, (130, 130), (290, 166), (235, 235, 235), -1)
    cv2.rectangle(picture, (130, 130), (290, 166), (20, 20, 20), 2)
    cv2.putText(picture, "A123BC 77", (137, 157), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (15, 15, 15), 3, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (3, 3), 0))


def covered(wanted: tuple[int, int, int, int], box: tuple[int, int, int, int]) -> float:
    """The share of a box that another covers."""
    x0, y0, x1, y1 = wanted
    width, height = min(x1, box[2]) - max(x0, box[0]), min(y1, box[3]) - max(y0, box[1])
    return max(width, 0) * max(height, 0) / ((x1 - x0) * (y1 - y0))


def half_size(*pictures: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(picture[::2, ::2]) for picture in pictures]


@pytest.fixture
def portraits(tmp_path: Path) -> Store:
    """A workspace with a face, a plate and a picture with neither, and masks of all."""
    folder = tmp_path / "pictures of somebody"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "a camera of somebody"
    exif.get_ifd(0x8825)[1] = "N"
    for name, pixels in (("face", skimage.data.astronaut()), ("plate", plate()), ("plain", draw(60, 90, 1))):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(pixels).save(
            folder / f"{name}.jpg",
            quality=97,
            exif=exif,
            icc_profile=profile,
            comment="somebody",
            xmp=b"<somebody/>",
        )
    made = new_store(tmp_path / "workspace_of_somebody")
    ingest(made, [folder])
    add_masks(made, "fully_automatic")
    return made


def by_source(path: Path) -> dict[str, Any]:
    return {picture.row["source"]: picture for picture in Release(path)}


@pytest.mark.parametrize(
    ("picture", "face"), [(skimage.data.astronaut(), ASTRONAUT), (hopper(), HOPPER)], ids=["astronaut", "hopper"]
)
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_a_face_is_found_small_and_large_and_once(
    picture: np.ndarray, face: tuple[int, int, int, int], scale: float
) -> None:
    scaled = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    (found,) = Anonymizer(("faces",)).regions(scaled)
    x0, y0, x1, y1 = (round(value / scale) for value in found.box)
    assert covered(face, (x0, y0, x1, y1)) > 0.85
    assert (x1 - x0) * (y1 - y0) < 3.5 * (face[2] - face[0]) * (face[3] - face[1])
    assert found.score > 0.3


def test_a_face_in_a_picture_too_large_to_be_looked_at_as_a_whole() -> None:
    canvas = np.full((2600, 4200, 3), 128, dtype=np.uint8)
    canvas[1300:1428, 3000:3128] = cv2.resize(skimage.data.astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    found = Anonymizer(("faces",)).regions(canvas)
    x0, y0, x1, y1 = (round(value / 4) for value in ASTRONAUT)
    assert max(covered((3000 + x0, 1300 + y0, 3000 + x1, 1300 + y1), region.box) for region in found) > 0.85


def test_what_is_found_does_not_depend_on_the_pictures_before() -> None:
    """OpenCV's network once gave other numbers from its second size of picture on."""
    pictures = half_size(skimage.data.coffee(), skimage.data.astronaut(), skimage.data.chelsea(), hopper())
    alone = [CenterFace()(picture) for picture in pictures]
    after_others = CenterFace()
    for picture, (boxes, scores) in zip(pictures, alone, strict=True):
        found = after_others(picture)
        np.testing.assert_array_equal(found[0], boxes)
        np.testing.assert_array_equal(found[1], scores)


def test_threads_find_the_same() -> None:
    anonymizer = Anonymizer(("faces", "plates"))
    pictures = half_size(skimage.data.astronaut(), hopper(), skimage.data.coffee(), plate())
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(anonymizer.regions, pictures * 2))
    assert found == [anonymizer.regions(picture) for picture in pictures] * 2
    assert any(found)


@pytest.mark.parametrize("picture", [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.brick()])
def test_nothing_is_found_where_nothing_is(picture: np.ndarray) -> None:
    pixels = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    same, found = Anonymizer(("faces", "plates"))(pixels)
    assert found == []
    np.testing.assert_array_equal(same, pixels)


def test_a_plate_is_found() -> None:
    found = Anonymizer(("plates",)).regions(plate())
    assert max(covered((130, 130, 290, 166), region.box) for region in found) > 0.9


def test_a_released_face_cannot_be_seen_and_everything_else_can(portraits: Store) -> None:
    shown = by_source(build_release(portraits, config=PLAIN).path)
    info = build_release(portraits)
    assert verify_release(info.path) == []
    hidden = by_source(info.path)
    for name, picture in hidden.items():
        assert picture.masks() == shown[name].masks()
        changed = (picture.pixels() != shown[name].pixels()).any(axis=2)
        for region in picture.row["blurred"]:
            x0, y0, x1, y1 = region["box_xyxy"]
            assert changed[y0:y1, x0:x1].mean() > 0.5  # of a plate, much is of one colour
            changed[max(0, y0 - 16) : y1 + 16, max(0, x0 - 16) : x1 + 16] = False  # JPEG writes blocks of 16 px
        assert not changed.any()
    assert Anonymizer(("faces",)).regions(hidden["face.jpg"].pixels()) == []
    x0, y0, x1, y1 = ASTRONAUT
    kept, left = (cv2.Laplacian(each["face.jpg"].pixels()[y0:y1, x0:x1], cv2.CV_64F).var() for each in (shown, hidden))
    assert left < kept / 50


def test_index_and_manifest_tell_what_was_blurred_by_what(portraits: Store) -> None:
    info = build_release(portraits)
    versions = {"faces": "centerface 1", "plates": "opencv plates 2"}
    assert read_manifest(info.path).blur_versions == versions
    rows = {name: picture.row for name, picture in by_source(info.path).items()}
    assert {tuple(row["blur_detectors"]) for row in rows.values()} == {("faces", "plates")}
    (face,) = [region for region in rows["face.jpg"]["blurred"] if region["detector"] == "faces"]
    assert covered(ASTRONAUT, tuple(face["box_xyxy"])) > 0.85
    assert "plates" in {region["detector"] for region in rows["plate.jpg"]["blurred"]}
    assert rows["plain.jpg"]["blurred"] == []
    for row in rows.values():
        for region in row["blurred"]:
            x0, y0, x1, y1 = region["box_xyxy"]
            assert 0 <= x0 < x1 <= row["width"]
            assert 0 <= y0 < y1 <= row["height"]
            assert region["version"] == versions[region["detector"]]


def test_without_blur_manifest_and_index_say_so(portraits: Store) -> None:
    info = build_release(portraits, config=PLAIN)
    assert verify_release(info.path) == []
    manifest = json.loads((info.path / "manifest.json").read_text())
    assert manifest["config"]["blur"] is False
    assert manifest["blur_versions"] == {}
    rows = [picture.row for picture in Release(info.path)]
    assert [(row["blur_detectors"], row["blurred"]) for row in rows] == [([], [])] * 3
    assert build_release(portraits).path != info.path


def _marked(jpeg: bytes) -> Iterator[int]:
    """The markers of a JPEG up to its pixels."""
    place = 2
    while jpeg[place + 1] != 0xDA:
        yield jpeg[place + 1]
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")


def test_nothing_stands_beside_the_pixels_of_a_released_jpeg(portraits: Store) -> None:
    for picture in Release(build_release(portraits).path):
        # JFIF, tables, size: no EXIF or XMP (E1), profile (E2), other applications' notes (E3 to EF), comment (FE).
        assert set(_marked(picture.jpeg)) <= {0xE0, 0xDB, 0xC0, 0xC4}
        with Image.open(io.BytesIO(picture.jpeg)) as image:
            assert not image.getexif()
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, but for masks: RLE uses '@' as one of its digits."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key != "counts":
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _all_texts(path: Path) -> Iterator[str]:
    for file in sorted(path.rglob("*")):
        if file.suffix == ".json":
            yield from _texts(json.loads(file.read_text()))
        elif file.suffix == ".parquet":
            table = pq.read_table(file)
            yield from _texts(table.to_pylist())
            yield from _texts([text.decode() for pair in (table.schema.metadata or {}).items() for text in pair])
        elif file.suffix == ".tar":
            with tarfile.open(file) as tar:
                for member in tar:
                    yield from (member.name, member.uname, member.gname, *member.pax_headers.values())
                    content = tar.extractfile(member)
                    if content is not None and member.name.endswith(".json"):
                        yield from _texts(json.load(content))


def _is_of_json_ld(text: str) -> bool:
    """Whether it is a word of JSON-LD, or an address of a vocabulary, both of croissant.json."""
    return bool(re.fullmatch(r"@(\w+)|https?://(schema\.org|mlcommons\.org|purl\.org|www\.w3\.org)/[\w./#-]*", text))


def test_no_path_and_no_account_is_in_a_release(portraits: Store) -> None:
    add_masks(portraits, "assisted_manual", seed=1)
    rows = portraits.read_table("assisted_manual")
    accounts = pa.array(["label_studio:jane@example.org"] * len(rows))
    signed = rows.set_column(rows.schema.get_field_index("annotator"), "annotator", accounts)
    for shard in portraits.shards():
        of_shard = signed.filter(pa.compute.equal(signed["shard"], shard))
        portraits.replace_shard("assisted_manual", shard, of_shard, round=1, key="0123456789abcdef")
    path = build_release(portraits, stages=["assisted_manual", "fully_automatic"]).path
    texts = list(_all_texts(path))
    assert "face.jpg" in texts
    assert "label_studio" in texts
    ours = [text for text in texts if not _is_of_json_ld(text)]
    assert [
        text for text in ours if "@" in text or text.startswith(("/", "\\")) or ":\\" in text or "://" in text
    ] == []

    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in (b"somebody", b"jane", str(portraits.workspace).encode()):
                assert secret not in content, file


def test_releases_from_before_there_was_a_blur_are_read_as_not_blurred(store: Store) -> None:
    info = build_release(store, config=PLAIN)
    for file in (info.path / "index" / "images").iterdir():
        table = pq.read_table(file)
        pq.write_table(table.drop_columns(["blur_detectors", "blurred"]), file)
    content = json.loads((info.path / "manifest.json").read_text())
    del content["blur_versions"], content["config"]["blur"], content["config"]["blur_detectors"]
    (info.path / "manifest.json").write_text(json.dumps(content))
    assert read_manifest(info.path).config.blur is False
    assert read_manifest(info.path).blur_versions == {}
    for picture in Release(info.path):
        assert picture.row["blur_detectors"] == picture.row["blurred"] == []
    assert not [problem for problem in verify_release(info.path) if "sha256" not in problem and "bytes" not in problem]


class CornerDetector:
    """Finds something in the upper left corner of every picture, twice."""

    version = "corner 3"

    def __call__(self, pixels: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 20, 20]], dtype=np.float32)
        return boxes, np.array([-2, -1, -3], dtype=np.float32)


def test_another_detector_is_used_by_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(privacy.PRIVACY_DETECTORS._loaded, "corner", CornerDetector)
    config = ReleaseConfig.model_construct(**{**ReleaseConfig().model_dump(), "blur_detectors": ("corner",)})
    assert Anonymizer.of(config).versions == {"corner": "corner 3"}
    (region,) = Anonymizer.of(config).regions(draw(40, 60, 0))
    assert region.row() == {"detector": "corner", "version": "corner 3", "score": -1.0, "box_xyxy": (0, 0, 13, 12)}


def test_another_version_of_a_detector_makes_another_release(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_release(store)
    monkeypatch.setattr(CenterFace, "version", "centerface 2")
    second = build_release(store)
    assert second.created
    assert second.path != first.path


def test_an_opencv_that_another_package_brought_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda file: cv2.dnn.Net())
    for detector, what in ((CenterFace, "find faces"), (PlateCascade, "find plates")):
        with pytest.raises(InputError, match=f"OpenCV .* cannot {what}: .*pip uninstall opencv-python and then pip"):
            detector()


def test_a_detector_that_nothing_has_is_named() -> None:
    with pytest.raises(InputError, match="unknown privacy detector 'ears'; known: faces, plates"):
        _ = Anonymizer(("ears",)).versions


def test_two_releases_of_the_same_have_equal_bytes(
    portraits: Store,
) -> None:
    first = build_release(portraits, name="one").path
    second = build_release(portraits, name="two").path
    for file in first.rglob("*"):
        if file.suffix in {".tar", ".parquet"}:  # others tell the name of the release
            assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()
