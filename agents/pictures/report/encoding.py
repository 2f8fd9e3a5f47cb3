"""Encodes an episode's series as quantised differences in base64.

A series is quantised to whole numbers. Of each column, its differences in time are taken, since
five minutes change little; negative ones are folded onto odd numbers (zigzag), so that small ones
are small; and each is written in as many bytes of seven bits as it needs (LEB128), then base64.
``assets/series.js`` reads it back.
"""

from __future__ import annotations

import base64

import numpy as np

_PAYLOAD_BITS = 7
_MOST_BYTES = 10  # of a 64-bit number
_LARGEST = 2**52  # what JavaScript's numbers hold exactly, differences included


def pack_series(values: np.ndarray, *, resolution: float) -> str:
    """Return the text of a series, which ``assets/series.js`` reads to half a resolution.

    Args:
        values: ``[T, C]``, any unit.
        resolution: of the values, in their unit: a larger one makes a shorter text.

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
    differences = np.diff(steps.astype(np.int64), axis=0, prepend=0).T.ravel()
    return base64.b64encode(_write_numbers(_fold(differences))).decode("ascii")


def _fold(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint64)


def _write_numbers(numbers: np.ndarray) -> bytes:
    """Return ``[N]`` uint64 in bytes of seven bits, low ones first; the eighth: more follow."""
    shifts = np.arange(_MOST_BYTES, dtype=np.uint64) * np.uint64(_PAYLOAD_BITS)
    groups = numbers[:, None] >> shifts  # [N, bytes]
    more = np.zeros_like(groups, dtype=np.bool_)
    more[:, :-1] = groups[:, 1:] > 0
    needed = np.ones_like(more)
    needed[:, 1:] = more[:, :-1]
    octets = (groups & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
    return octets[needed].tobytes()
