"""Arrays that lie in C++ memory, copied into one of ours.

A solution is some thirty arrays. numpy looks at each of them for longer than it copies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic


class Parts:
    """Arrays that keep their places while their values change.

    Args:
        views: ``[*]`` float64 each, of memory that others own; they are kept, and so is that.
    """

    def __init__(self, views: Sequence[np.ndarray]):
        assert all(view.dtype == np.float64 and view.flags.c_contiguous for view in views)
        self._views = views
        self._addresses = np.array([view.ctypes.data for view in views], dtype=np.int64)
        self._sizes = np.array([len(view) for view in views], dtype=np.int64)

    def copy_to(self, out: np.ndarray) -> None:
        """Write all after each other to ``out``, float64 of as many numbers."""
        _copy(self._addresses, self._sizes, out)


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """Return an address as a pointer to numbers."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float64)(address), generate


@numba.njit(cache=True)
def _copy(addresses, sizes, out):
    """See ``Parts.copy_to``."""
    place = 0
    for part in range(len(sizes)):
        values = numba.carray(_pointer(addresses[part]), sizes[part])
        for value in values:
            out[place] = value
            place += 1
