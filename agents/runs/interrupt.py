"""Handles Ctrl-C, SIGTERM and a lost terminal during a long job.

SIGTERM is what schedulers and sweeps send, SIGHUP what a lost terminal (of ssh) does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import stat
import threading
from collections.abc import Iterator
from typing import Any

_LOG = logging.getLogger(__name__)
_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # none on Windows
_ENDINGS = tuple(number for number in (signal.SIGTERM, _HANGUP) if number is not None)
_TERMINAL = (1, 2)  # descriptors of standard output and error


def end_as_by_interrupt() -> None:
    """Let what ends a process raise KeyboardInterrupt, unless it is ignored (``nohup``)."""
    if threading.current_thread() is threading.main_thread():
        for number in _ENDINGS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _interrupt)


def leave_interrupts_to_parent() -> None:
    """Let a worker process go on at Ctrl-C and without a terminal: its parent says when it ends."""
    for number in (signal.SIGINT, _HANGUP):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


class Interrupt:
    """A signal to stop, kept until the loop is at a place where everything is consistent."""

    def __init__(self) -> None:
        self.requested = False
        self._immediate = False

    def handle(self, signum: int, frame: Any) -> None:
        """Note it; raise at the second Ctrl-C, or where nothing can be left half-done."""
        if signum == _HANGUP:
            _leave_terminal()
        insisted = self.requested and signum == signal.SIGINT
        noted, self.requested = self.requested, True
        if not noted:
            _LOG.warning("interrupted: writing a last checkpoint")
        if self._immediate or insisted:
            self._immediate = False  # once: kernel and shell both tell of a lost terminal
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Let a signal raise at once inside."""
        if self.requested:
            raise KeyboardInterrupt
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Handle signals as ``Interrupt`` says; only a main thread can (others are not interrupted).

    SIGTERM and SIGHUP stay with whoever else handles or ignores them.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    taken = [one for one in _ENDINGS if signal.getsignal(one) in (signal.SIG_DFL, _interrupt)]
    before = {one: signal.signal(one, interrupt.handle) for one in (signal.SIGINT, *taken)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(signum: int, frame: Any) -> None:
    if signum == _HANGUP:
        signal.signal(signum, signal.SIG_IGN)  # it comes twice, from the kernel and from the shell
        _leave_terminal()
    raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Write nowhere what was for the terminal: writing to a lost one fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _TERMINAL:
        with contextlib.suppress(OSError):  # closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)
