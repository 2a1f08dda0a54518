"""Weights that others publish: where they are, what they must be like, and how they become models here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.download import Progress, download
from model.files import file_sha256
from model.registry import ModelInfo, check_name, list_models
from model.storage import import_weights
from schemas.errors import InputError

_META_URL = "https://dl.fbaipublicfiles.com/segment_anything"
_SAM2_URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
_MOBILE_SAM_URL = "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights"


@dataclass(frozen=True)
class PublishedWeights:
    """A file that others publish, and what it must be like."""

    url: str
    sha256: str
    size_bytes: int
    terms: str = "Apache-2.0"


# Sizes and checksums as several independent projects record them for these files.
PUBLISHED: dict[str, PublishedWeights] = {
    "vit_h": PublishedWeights(
        f"{_META_URL}/sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        size_bytes=2_564_550_879,
    ),
    "vit_l": PublishedWeights(
        f"{_META_URL}/sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        size_bytes=1_249_524_607,
    ),
    "vit_b": PublishedWeights(
        f"{_META_URL}/sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        size_bytes=375_042_383,
    ),
    "vit_t": PublishedWeights(
        f"{_MOBILE_SAM_URL}/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        size_bytes=40_728_226,
    ),
    "sam2.1_hiera_tiny": PublishedWeights(
        f"{_SAM2_URL}/sam2.1_hiera_tiny.pt",
        sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        size_bytes=156_008_466,
    ),
    "sam2.1_hiera_small": PublishedWeights(
        f"{_SAM2_URL}/sam2.1_hiera_small.pt",
        sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        size_bytes=184_416_285,
    ),
    "sam2.1_hiera_base_plus": PublishedWeights(
        f"{_SAM2_URL}/sam2.1_hiera_base_plus.pt",
        sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        size_bytes=323_606_802,
    ),
    "sam2.1_hiera_large": PublishedWeights(
        f"{_SAM2_URL}/sam2.1_hiera_large.pt",
        sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        size_bytes=898_083_611,
    ),
}


def fetch(
    name: str,
    root: Path,
    *,
    progress: Progress | None = None,
    published: Mapping[str, PublishedWeights] = PUBLISHED,
) -> ModelInfo:
    """Download published weights, check them and import them. What is already here is not downloaded again.

    progress: called with (bytes so far, bytes in all).
    Raises InputError for an unknown name, one that another model has here, or a wrong checksum, WaitError where the
    connection fails.
    """
    if name not in published:
        raise InputError(f"no published weights {name!r}; choose one of {', '.join(published)}")
    wanted = published[name]
    for model in list_models([root]):
        if model.card.source.get("sha256") == wanted.sha256:
            return model
    check_name(root, name)
    file = root / ".downloads" / wanted.url.rsplit("/", 1)[-1]
    if not file.is_file() or file_sha256(file) != wanted.sha256:
        download(wanted.url, file, sha256=wanted.sha256, size_bytes=wanted.size_bytes, progress=progress)
    source = {"url": wanted.url, "terms": wanted.terms}
    info = import_weights(file, root, name=name, source=source, notes="published weights")
    file.unlink()
    return info
