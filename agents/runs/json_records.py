"""Reads JSON back into the frozen dataclasses that it was written from, strictly."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
from annotated_types import Interval
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

Record = TypeVar("Record")

_LARGEST = 2**63  # what NumPy's whole numbers hold
# types of a record's fields: pydantic alone would take integers of any size, and infinity
Count = Annotated[int, Interval(ge=0, lt=_LARGEST)]
Whole = Annotated[int, Interval(gt=-_LARGEST, lt=_LARGEST)]
Amount = Annotated[FiniteFloat, Interval(ge=0.0, lt=_LARGEST)]
Number = Annotated[FiniteFloat, Interval(gt=-_LARGEST, lt=_LARGEST)]


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that ``text`` is.

    Raises:
        ValueError: it is something else, or cut short; the message says where.
    """
    try:
        document = from_json(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, found {_short(document)}")
    return document


def read_record(value: Any, kind: type[Record], where: str) -> Record:
    """Return the JSON ``value`` as the dataclass ``kind``, all entries there and no other.

    Args:
        value: of ``parse_object``, or an entry of it; or the keywords of ``kind``.
        kind: a dataclass; annotated ranges of its fields are checked.
        where: its name, for messages.

    Raises:
        ValueError: an entry is missing, unknown, of another type, or out of range.
    """
    text = to_json(value, fallback=np.generic.item)  # of NumPy's numbers
    try:
        return _adapter(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"])
    found = "" if first["type"] == "missing" else f", found {_short(first['input'])}"
    raise ValueError(f"{where}{path}: {first['msg']}{found}")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
