"""Packs what a report shows: series as quantised differences, all of it as deflated JSON.

A series is quantised to whole numbers, and of each column its differences in time are taken: five
minutes change little, so they are small and compress well. ``assets/series.js`` reads both back.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

_LARGEST = 2**52  # what JavaScript's numbers hold exactly, differences included


def pack_json(document: Any) -> str:
    """Return ``document`` as JSON, compressed by zlib, in base64."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8"), level=9)).decode("ascii")


def pack_series(values: np.ndarray, *, resolution: float) -> list[list[int]]:
    """Return the differences in time of each column, in resolutions: ``C`` lists of length ``T``.

    Args:
        values: ``[T, C]``, any unit.
        resolution: of the values, in their unit: a larger one compresses better.

    Raises:
        ValueError: another shape, or a value that is not finite or too large.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"the series has shape {values.shape}; expected [time, columns].")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"the series is {values[row, column]} in row {row}, column {column}.")
    steps = np.rint(values / resolution)
    if (np.abs(steps) >= _LARGEST).any():
        raise ValueError(f"the series goes beyond {_LARGEST:.0e} times its resolution.")
    return np.diff(steps.astype(np.int64), axis=0, prepend=0).T.tolist()
