"""What pydantic finds wrong, in one line."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from schemas.problems import Problem, first_problem


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side_px: int = 1

    @field_validator("side_px")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2 and value > 1:
            raise ValueError(f"{value} is odd")
        return value


class Outer(BaseModel):
    inner: Inner


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"inner": {"side_px": 3}}, Problem("inner.side_px", "3 is odd", 3, False)),
        ({"inner": {"depth": 3}}, Problem("inner.depth", "Extra inputs are not permitted", 3, True)),
        ([], Problem("", "Input should be a valid dictionary or instance of Outer", [], False)),
    ],
)
def test_the_first_problem(values: object, problem: Problem) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    assert first_problem(caught.value) == problem
