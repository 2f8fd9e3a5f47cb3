"""Ctrl-C during a long job: finish what must not be left half-done, then stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

_LOG = logging.getLogger(__name__)


class Interrupt:
    """Ctrl-C, kept until the loop is at a place where everything is consistent."""

    def __init__(self) -> None:
        self.requested = False
        self._immediate = False

    def handle(self, signum: int, frame: Any) -> None:
        """Note the first Ctrl-C; raise at the second, or where nothing can be left half-done."""
        if self._immediate or self.requested:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
        _LOG.warning("interrupted: finishing the round, then writing a last checkpoint")

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Let Ctrl-C raise at once inside."""
        if self.requested:
            raise KeyboardInterrupt
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Handle SIGINT as ``Interrupt`` says; only a main thread can (others are not interrupted)."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
