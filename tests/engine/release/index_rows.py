"""Rows of a release's index that say nothing, for releases that are made up column by column."""

from typing import Any

import pyarrow as pa


def blank_row(schema: pa.Schema) -> dict[str, Any]:
    """0, "" or an empty list in every column, also in those that a later format adds."""
    return {field.name: _blank(field.type) for field in schema}


def _blank(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    return [] if pa.types.is_list(kind) else 0
