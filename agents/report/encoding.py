"""Packs an episode's series into text: a tenth of the size of JSON, and read without a library.

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
    """Return the text of a series; ``unpack_series`` gives it back to half a ``resolution``.

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


def unpack_series(text: str, *, columns: int, resolution: float) -> np.ndarray:
    """Return the series ``[T, C]`` float64 that ``pack_series`` wrote.

    Args:
        text: of ``pack_series``.
        columns: C.
        resolution: as it was packed with.

    Raises:
        ValueError: the text is damaged, or of another number of columns.
    """
    numbers = _read_numbers(base64.b64decode(text, validate=True))
    if columns < 1 or len(numbers) % columns:
        raise ValueError(f"{len(numbers)} numbers do not make {columns} columns.")
    differences = _unfold(numbers).reshape(columns, -1).T
    return np.cumsum(differences, axis=0) * resolution


def _fold(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint64)


def _unfold(folded: np.ndarray) -> np.ndarray:
    half = (folded >> np.uint64(1)).astype(np.int64)
    return np.where(folded & np.uint64(1), -half - 1, half)


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


def _read_numbers(raw: bytes) -> np.ndarray:
    """Return the ``[N]`` uint64 that ``_write_numbers`` wrote."""
    octets = np.frombuffer(raw, dtype=np.uint8)
    if not len(octets):
        return np.zeros(0, dtype=np.uint64)
    last = octets < 0x80
    if not last[-1]:
        raise ValueError("the series is cut short.")
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.append(starts, len(octets)))
    if (lengths > _MOST_BYTES).any():
        raise ValueError("the series holds a number that is too large.")
    place = np.arange(len(octets)) - np.repeat(starts, lengths)
    bits = (octets & 0x7F).astype(np.uint64) << (place * _PAYLOAD_BITS).astype(np.uint64)
    return np.add.reduceat(bits, starts)
