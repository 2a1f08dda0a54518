"""What a release says of where it comes from leads to no machine and to nobody."""

import pytest

from engine.release.public_names import public_annotator, public_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/jane/photos/cat.jpg", "cat.jpg"),
        ("cat.jpg", "cat.jpg"),
        (r"C:\Users\jane\cat.jpg", "cat.jpg"),
        (r"\\server\share\cat.jpg", "cat.jpg"),
        ("s3://bucket/of/jane/cat.jpg", "cat.jpg"),
        ("https://host/cat.jpg?key=secret&path=/a/b.jpg", "cat.jpg"),
        ("https://host/cat.jpg#jane", "cat.jpg"),
        ("/photos/100% #1.jpg", "100% #1.jpg"),
        ("/photos/jane@example.org.jpg", ""),
        ("", ""),
    ],
)
def test_of_a_source_the_file_name_stays(source: str, name: str) -> None:
    assert public_name(source) == name


@pytest.mark.parametrize(
    ("annotator", "tool"),
    [
        ("label_studio:7", "label_studio"),
        ("simulated", "simulated"),
        ("generator", "generator"),
        ("cvat:jane@example.org", "cvat"),
        ("jane@example.org", "person"),
    ],
)
def test_of_an_annotator_the_tool_stays(annotator: str, tool: str) -> None:
    assert public_annotator(annotator) == tool
