"""Finds which of many topologies are the same.

Shape letters: E element ends, n topologies.
"""

from __future__ import annotations

import numba
import numpy as np


def distinct(topologies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ones ``[m, E]`` of ``[n, E]`` int8, by their first ones, and ``[n]`` int.

    The latter says which of the distinct ones each of the n is.
    """
    kept, places = np.empty_like(topologies), np.empty(len(topologies), dtype=np.int64)
    slots = np.full(4 << len(topologies).bit_length(), -1)
    count = keep_distinct(topologies, kept, 0, slots, places)
    return kept[:count], places


@numba.njit(cache=True)
def keep_distinct(topologies, kept, count, slots, places):
    """Write where n topologies are kept, and keep those that are not yet.

    Args:
        topologies: ``[n, E]`` int8.
        kept: ``[*, E]`` int8, written to.
        count: how many are kept.
        slots: ``[2^k]`` int, places by hashes of topologies, -1 for none; written to.
        places: ``[n]`` int, written to.

    Returns:
        How many are kept then.
    """
    last = np.uint64(len(slots) - 1)
    num_ends = topologies.shape[1]
    for number in range(len(topologies)):
        key = np.uint64(0)
        for end in range(num_ends):
            key = key * np.uint64(0x100000001B3) + np.uint64(topologies[number, end] + 1)
        slot = (key ^ (key >> np.uint64(29))) & last
        while slots[slot] >= 0:
            other, same = slots[slot], True
            for end in range(num_ends):
                if topologies[number, end] != kept[other, end]:
                    same = False
                    break
            if same:
                break
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0:
            slots[slot] = count
            for end in range(num_ends):
                kept[count, end] = topologies[number, end]
            count += 1
        places[number] = slots[slot]
    return count
