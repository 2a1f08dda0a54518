"""Ids that follow from content alone."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from schemas.content_ids import content_id


@given(st.binary(max_size=50))
def test_content_id_is_the_first_63_bits_of_sha256(data: bytes) -> None:
    bits = f"{int(hashlib.sha256(data).hexdigest(), 16):0256b}"
    assert content_id(data) == int(bits[:63], 2)


def test_content_id_is_known() -> None:
    """SHA-256 of nothing begins with e3b0c44298fc1c14."""
    assert content_id(b"") == 0xE3B0C44298FC1C14 >> 1
