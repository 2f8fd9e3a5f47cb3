"""The worker's side: plays a block of grids and answers calls.

Shape letters: B grids.
"""

from __future__ import annotations

import pickle
import signal
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from envs.fast.grids import Grids, GridSave, GridSettings, Shown
from envs.fast.workers.shared_arrays import ArraySpec, SharedArrays
from envs.grid.state import GridState, Lookahead
from envs.scenarios import ScenarioSource

WORDS = ("scenario", "illegal_reason", "end")  # the infos that are str: sent when they change


class Block(NamedTuple):
    """What one worker plays."""

    first: int  # number of its first grid
    end: int  # number behind its last

    @property
    def rows(self) -> slice:
        """Of the arrays of all grids."""
        return slice(self.first, self.end)


class Failure(NamedTuple):
    """An exception in a worker."""

    error: Exception
    traceback: str


class Rest(NamedTuple):
    """What a worker shows that is not in the shared memory."""

    words: dict[str, list[str]]  # of ``WORDS``, those that changed since the last answer
    extras: dict[str, Any]  # of ``Shown``


def serve(
    connection: Connection,
    block: Block,
    settings: GridSettings,
    columns: Mapping[str, ArraySpec],
    num_grids: int,
    memory: Any,
) -> None:
    """Answer calls until the other side closes the connection. The body of a process."""
    for name in ("SIGINT", "SIGHUP"):  # Ctrl-C, a lost terminal: for the main process to handle
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    service: Service | None = None
    try:
        while True:
            call, arguments = connection.recv()
            try:
                if service is None:
                    service = Service(block, settings, SharedArrays(columns, num_grids, memory))
                answer = service.answer(call, arguments)
            except Exception as error:  # raised again by the one who called
                answer = Failure(_sendable(error), traceback.format_exc())
            connection.send(answer)
    except (EOFError, OSError):
        return  # the other side is gone or has closed


def _sendable(error: Exception) -> Exception:
    """Return ``error``, or, if it cannot be pickled, one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign class's pickling raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def without_scenario(saved: GridSave) -> GridSave:
    """Return ``saved`` fit to be sent: a scenario is megabytes, and its name will do."""
    grid = saved.episode.grid._replace(scenario=None)
    return saved._replace(episode=saved.episode._replace(grid=grid))


def with_scenario(saved: GridSave, source: ScenarioSource) -> GridSave:
    """Return ``saved`` with its scenario, which ``source`` keeps; without one before a reset."""
    name = saved.records["scenario"]
    if name is None:
        return saved
    grid = saved.episode.grid._replace(scenario=source.load(name))
    return saved._replace(episode=saved.episode._replace(grid=grid))


class Service:
    """Plays a block of grids, and writes what they show to the shared memory."""

    def __init__(self, block: Block, settings: GridSettings, shared: SharedArrays):
        self._grids = Grids(settings, block.end - block.first, first=block.first)
        self._first = block.first
        self._source = settings.scenarios
        self._rows = {name: array[block.rows] for name, array in shared.arrays.items()}
        self._words: dict[str, list[str]] = {}  # as sent last

    def answer(self, call: str, arguments: Sequence[Any]) -> Any:
        """Make one call; whether it fails or not, say which episodes are running after it."""
        try:
            return getattr(self, call)(*arguments)
        finally:
            self._rows["over"][:] = self._grids.over
            self._rows["started"][:] = self._grids.started

    def ready(self) -> None:
        """Say that the grids are made."""

    def state(self) -> GridState:
        """See ``Grids.state``."""
        return self._grids.state()

    def reset(
        self,
        chosen: np.ndarray,
        seeds: Sequence[int | None],
        options: Sequence[dict[str, Any] | None],
    ) -> Rest:
        """See ``Grids.reset``."""
        return self._show(self._grids.reset(chosen, seeds, options))

    def step(self, actions: np.ndarray) -> Rest:
        """See ``Grids.step``."""
        rewards, terminations, truncations, shown = self._grids.step(actions)
        rows = self._rows
        rows["reward"][:] = rewards
        rows["termination"][:] = terminations
        rows["truncation"][:] = truncations
        return self._show(shown)

    def simulate(
        self, action_ids: Sequence[np.ndarray | None], outages: np.ndarray | None
    ) -> list[Lookahead | None]:
        """See ``Grids.simulate``."""
        return self._grids.simulate(action_ids, outages)

    def episodes(self) -> list[dict[str, Any]]:
        """See ``Grids.episodes``."""
        return self._grids.episodes()

    def restore(self, episodes: Sequence[Mapping[str, Any]]) -> Rest:
        """See ``Grids.restore``."""
        return self._show(self._grids.restore(episodes))

    def save(self, grid: int) -> GridSave:
        """See ``Grids.save``; the scenario is left out."""
        return without_scenario(self._grids.save(grid - self._first))

    def load(self, grid: int, saved: GridSave) -> Rest:
        """See ``Grids.load``; the scenario is found again by its name."""
        self._grids.load(grid - self._first, with_scenario(saved, self._source))
        return Rest(self._changed_words(), {})

    def _show(self, shown: Shown) -> Rest:
        """Write the numbers; return the rest."""
        rows = self._rows
        several = isinstance(shown.observations, dict)
        observations = shown.observations if several else {"": shown.observations}
        for name, array in observations.items():
            rows[f"observation {name}"][:] = array
        for name, values in shown.values.items():
            if name not in WORDS:
                rows[name][:] = values
        return Rest(self._changed_words(), shown.extras)

    def _changed_words(self) -> dict[str, list[str]]:
        words = {}
        for name, texts in self._grids.info_texts().items():
            now = texts.tolist()
            if now != self._words.get(name):
                words[name] = self._words[name] = now
        return words
