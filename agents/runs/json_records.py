"""Reads JSON back into the frozen dataclasses that it was written from, strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

_LARGEST = 2**63


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that ``text`` is.

    Raises:
        ValueError: it is something else, or cut short; the message says where.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at line {error.lineno} ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, found {_short(document)}")
    return document


def read_record(value: Any, kind: type[Record], where: str) -> Record:
    """Return the JSON ``value`` as the dataclass ``kind``, all entries there and no other.

    Args:
        value: of ``parse_object``, or an entry of it.
        kind: whose fields are int, float, str, bool, a dataclass, a tuple of one of these, or one
            of these or None.
        where: its name, for messages.

    Raises:
        ValueError: an entry is missing, unknown, of another type, or not finite.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected an object, found {_short(value)}")
    known = [one.name for one in fields(kind)]
    missing = [name for name in known if name not in value]
    if missing:
        raise ValueError(f"{where}: {missing[0]} is missing")
    unknown = [name for name in value if name not in known]
    if unknown:
        raise ValueError(f"{where}: unknown entry {unknown[0]!r}; known are {', '.join(known)}")
    hints = get_type_hints(kind)
    return kind(**{name: _read(value[name], hints[name], f"{where}.{name}") for name in known})


def _read(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, found {_short(value)}")
        one = get_args(kind)[0]
        return tuple(_read(entry, one, f"{where}[{number}]") for number, entry in enumerate(value))
    if NoneType in get_args(kind):
        return None if value is None else _read(value, get_args(kind)[0], where)
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: expected true or false, found {_short(value)}")
        return value
    if kind not in (int, float, str):
        return read_record(value, kind, where)
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        expected = "a number" if kind is float else kind.__name__
        raise ValueError(f"{where}: expected {expected}, found {_short(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a finite number")
    if isinstance(value, int | float) and abs(value) >= _LARGEST:
        raise ValueError(f"{where}: {_short(value)} is too large")
    return kind(value)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
