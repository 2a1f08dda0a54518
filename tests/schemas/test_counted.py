from schemas.counted import counted


def test_one_has_no_s() -> None:
    assert [counted(count, "image") for count in (0, 1, 2, 1562)] == ["0 images", "1 image", "2 images", "1,562 images"]
    assert [counted(count, "person", plural="people") for count in (1, 3)] == ["1 person", "3 people"]
