"""Reads what W&B has written offline: its records, in LevelDB's log format."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_HEADER = 7  # bytes before a part: checksum, length, kind; and before all of them
_BLOCK = 32_768  # bytes; the rest of one that has no room for a header is empty
_PATIENCE = 600  # tenths of a second
_WHOLE, _LAST = 1, 4  # kinds of parts that end a record


def read_records(folder: Path) -> list[Any]:
    """Return the records of the offline run in a run's folder, which has ended.

    W&B's service may still be writing it: the last record is awaited.
    """
    for _ in range(_PATIENCE):
        (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        records = list(_parse(path.read_bytes()))
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} does not end")


def _parse(data: bytes) -> Iterator[Any]:
    place, record = _HEADER, b""
    while place + _HEADER <= len(data):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += _HEADER
        record += data[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            read = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
            read.ParseFromString(record)
            record = b""
            yield read


def artifacts(folder: Path) -> dict[str, set[str]]:
    """Return type -> paths of the files in artifacts of that type."""
    found: dict[str, set[str]] = {}
    for record in read_records(folder):
        if record.WhichOneof("record_type") == "artifact":
            contents = {entry.path for entry in record.artifact.manifest.contents}
            found.setdefault(record.artifact.type, set()).update(contents)
    return found


def summary(folder: Path) -> dict[str, Any]:
    """Return the final summary: keys, joined by "|" where they are nested, -> values."""
    found: dict[str, Any] = {}
    for record in read_records(folder):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                name, value = "|".join(item.nested_key) or item.key, json.loads(item.value_json)
                nested = (
                    value.items() if isinstance(value, dict) else ()
                )  # W&B writes it in either way
                found |= {f"{name}|{key}": one for key, one in nested} or {name: value}
    return found
