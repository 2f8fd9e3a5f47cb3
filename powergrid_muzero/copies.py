"""``Copyable``: objects whose copies and pickles continue independently."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np


class Copyable:
    """An object whose copies share nothing with it that changes.

    Some attributes cannot travel, or would still point into the original: handles of C++ objects,
    views of its memory, threads. A class names them in ``_rebuilt``. In a copy they are None, until
    they are next needed or ``_rebuild`` makes them anew.

    Arrays that a class writes in place arrive read-only where out-of-band buffers (pickle's
    protocol 5) lie in shared memory, as in Ray's object store. A copy gets its own instead.

    A shallow copy would share what changes, so ``copy.copy`` copies deeply, too.
    """

    _rebuilt: ClassVar[tuple[str, ...]] = ()  # attributes that do not travel

    def _rebuild(self) -> None:
        """Make anew what does not travel and cannot wait until it is needed."""

    def __copy__(self) -> Self:
        """Return a deep copy."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels."""
        return {**vars(self), **dict.fromkeys(self._rebuilt)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Go on from what arrived."""
        vars(self).update({name: writable(value) for name, value in state.items()})
        self._rebuild()


def writable(value: Any) -> Any:
    """Return ``value`` with arrays of its own for those in it that are read-only.

    Args:
        value: anything; lists, dicts and tuples are looked into, other objects are left alone.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.writeable else value.copy()
    if type(value) is dict:
        value.update({key: writable(entry) for key, entry in value.items()})
    elif type(value) is list:
        value[:] = [writable(entry) for entry in value]
    elif isinstance(value, tuple):
        entries = [writable(entry) for entry in value]
        if any(new is not old for new, old in zip(entries, value, strict=True)):
            make = getattr(type(value), "_make", tuple)  # of a NamedTuple
            return make(entries)
    return value
