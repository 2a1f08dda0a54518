"""The mistakes that benchmarks/mutation.py makes."""

import ast

import pytest

from benchmarks.mutants import mutants, mutated
from benchmarks.mutation import FILES, ROOT, covering_tests, sampled


def changes(source: str) -> list[str]:
    """What is put for what in each mutant, and that the whole file says so."""
    found = []
    for number, mutant in enumerate(mutants(source)):
        whole = mutated(source, number)
        assert whole != ast.unparse(ast.parse(source)) + "\n", mutant.change
        ast.parse(whole)
        found.append(whole.strip())
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a <= b"]),
        ("x = a < b == c", ["x = a <= b == c", "x = a < b != c"]),
        ("x = a is None", ["x = a is not None"]),
        ("x = a + b", ["x = a - b"]),
        ("x //= b", ["x *= b"]),
        ("x = not a", ["x = a"]),
        ("x = a and b", ["x = a or b"]),
        ("x = a if b else c", ["x = a if not b else c"]),
        ("x = 3", ["x = 4", "x = 2"]),
        ("x = True", ["x = False"]),
        ("x = min(a, b)", ["x = max(a, b)"]),
        ("x = a.minimum(b)", ["x = a.maximum(b)"]),
        ("f(a)", ["pass"]),
        ("x = f(a, b=c, d=e)", ["x = f(a, d=e)", "x = f(a, b=c)"]),
        ("x = load(a, strict=True)", ["x = load(a)", "x = load(a, strict=False)"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("def f():\n    return False", ["def f():\n    return True"]),
    ],
)
def test_mutants_by_hand(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 3 lines."""',
        "x: list[Literal[3]]",
        "def f(x: int | None) -> Literal[True]: ...",
        "@cache(maxsize=3)\ndef f(): ...",
        "raise ValueError(f'{a + 1} of 3')",
        "_log.warning('%d', 3)",
        "__all__ = ['a'] + ['b']",
        "x = f'{a + 1:.3f}'",
        "Number = int | None",
        "x = zip(a, b, strict=c)",
        "x = zip(a, b, strict=True)",
        "x = Field(description='a share of 3')",
        "x = load(a, prefetch_factor=4 if b else None)",
        "x = a.to(b, non_blocking=True)",
        "x = folder / 'name'",
        "def f():\n    return None",
    ],
)
def test_what_no_test_could_tell_apart_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_every_file_has_tests_that_its_mutants_must_fall_to() -> None:
    for pattern in FILES:
        for path in ROOT.glob(pattern):
            file = path.relative_to(ROOT).as_posix()
            if mutants(path.read_text(encoding="utf-8")):
                assert all((ROOT / test).is_file() for test in covering_tests(file)), file


def test_a_sample_is_the_first_part_of_a_larger_one() -> None:
    few, total = sampled(["stages/selection.py"], count=3, seed=1)
    more, _ = sampled(["stages/selection.py"], count=9, seed=1)
    others, _ = sampled(["stages/selection.py"], count=9, seed=2)
    assert more[:3] == few
    assert others != more
    assert total > 9
