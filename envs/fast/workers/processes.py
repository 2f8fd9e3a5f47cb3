"""The main process's side: starts, asks, watches and ends workers.

Each worker process plays a block of neighbouring grids (``Grids``). A call of the vector
environment is one message to each worker, and one back. What is large (observations, masks,
rewards, numbers of the infos) comes back through memory that all share; the message holds the rest.
What grid i plays depends on its own seed and actions only, so the number of workers changes nothing
in the results.

Shape letters: B grids.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import selectors
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import numpy as np

from envs.fast.grids import Grids, GridSave, GridSettings, Shown, Stepped
from envs.fast.workers.service import (
    WORDS,
    Block,
    Failure,
    Rest,
    serve,
    with_scenario,
    without_scenario,
)
from envs.fast.workers.shared_arrays import ATTACKS, SharedArrays, columns_of
from envs.grid.state import GridState, Lookahead

_PATIENCE = 5.0  # s that a worker gets to end by itself
_NAME = "grids"  # of worker processes, before the numbers of their grids
_MADE_AGAIN = 78  # exit code of a worker whose import of the script makes the environment again
_GUARD = 'make the environment under  if __name__ == "__main__":  because each worker imports the'


class GridProcesses:
    """B grids in several processes, with the interface of ``Grids``.

    A worker that dies is noticed while its answer is awaited, or at the next call: it is named,
    the others are closed, and every later call says so again. An exception in a worker is raised
    here, with the worker's own traceback as its cause; the workers go on.

    Args:
        settings: of the grids.
        num_grids: B.
        num_workers: processes, at most one for each grid.

    Raises:
        ValueError: see ``Grids``; or this process may not start others, or what the grids are made
            of cannot be sent to them.
    """

    def __init__(self, settings: GridSettings, num_grids: int, num_workers: int):
        self._check_startable(settings, num_workers)
        one = Grids(settings, 1)  # refuses what there is to refuse before any process starts
        one.close()
        self.num_grids = num_grids
        self.layout = one.layout
        self.catalogue = one.catalogue
        self.encoder = one.encoder
        self._source = settings.scenarios
        self._text_infos = settings.text_infos
        attackable = 0 if settings.opponent is None else self.layout.num_lines
        columns = columns_of(self.encoder.space, self.catalogue.num_actions, attackable)
        self._shared = SharedArrays(columns, num_grids)
        self._words = {name: np.full(num_grids, None, dtype=object) for name in WORDS}
        self._end = ""  # why there are no workers any more
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._shared.arrays["over"][:] = True
        edges = np.linspace(0, num_grids, min(num_workers, num_grids) + 1).astype(int).tolist()
        try:
            for number, (first, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
                block = Block(first, end)
                worker = _Worker(number, block, (settings, columns, num_grids, self._shared.memory))
                self._workers.append(worker)
                self._selector.register(worker.connection, selectors.EVENT_READ, worker)
                self._selector.register(worker.process.sentinel, selectors.EVENT_READ, worker)
            self._ask("ready", [()] * len(self._workers))
        except BaseException as error:
            self._stop("the workers could not be started", at_once=True)
            if isinstance(error, _DiedError):
                raise self._death_at_start(error, num_workers) from None
            raise

    @staticmethod
    def _check_startable(settings: GridSettings, num_workers: int) -> None:
        process = multiprocessing.current_process()
        if getattr(process, "_inheriting", False):  # it imports the script that started it
            if process.name.startswith(_NAME):
                sys.exit(_MADE_AGAIN)  # the main process says why
            raise ValueError(f"num_workers is {num_workers}: {_GUARD} script")
        main = sys.modules["__main__"]
        path = getattr(main, "__file__", None)
        if path is not None and main.__spec__ is None and not os.path.exists(path):
            raise ValueError(
                f"num_workers is {num_workers}, but each worker imports the program, and {path} "
                "is no file: save the program as one, with the environment made under  "
                'if __name__ == "__main__":  or set num_workers=0'
            )
        if process.daemon:
            raise ValueError(
                f"num_workers is {num_workers}, but this process is a worker itself and may not "
                "start others; set num_workers=0 here (env.num_workers=0, or trainer.num_workers=0 "
                "and evaluation.num_workers=0)"
            )
        try:
            ForkingPickler.dumps(settings)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"num_workers is {num_workers}, but the scenario source or another option cannot "
                f"be sent to a process ({error}); define it in a module, or set num_workers=0"
            ) from error

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"these grids are played by {len(self._workers)} worker processes, which cannot be "
            "copied or pickled: make an environment with num_workers=0, or a second one and "
            "load_state_dict() the first one's state_dict()"
        )

    # -------------------------------------------------------------------------- what they show

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, in the order of their grids."""
        return [worker.pid for worker in self._workers]

    @property
    def over(self) -> np.ndarray:
        """See ``Grids.over``."""
        return self._shared.arrays["over"].copy()

    @property
    def started(self) -> np.ndarray:
        """See ``Grids.started``."""
        return self._shared.arrays["started"].copy()

    def state(self) -> GridState:
        """See ``Grids.state``; here it is a copy."""
        parts = self._ask("state", [()] * len(self._workers))
        return GridState(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def info_texts(self) -> dict[str, np.ndarray]:
        """See ``Grids.info_texts``."""
        return {name: words.copy() for name, words in self._words.items()}

    def _shown(self, answers: Sequence[Rest]) -> Shown:
        arrays = self._shared.arrays
        values = {
            "action_mask": arrays["action_mask"].copy(),
            "step": arrays["step"].copy(),
            "rho_max": arrays["rho_max"].copy(),
            "illegal": arrays["illegal"].copy(),
            "duration": arrays["duration"].copy(),
            **(self.info_texts() if self._text_infos else {}),
        }
        values |= {name: arrays[name].copy() for name in ATTACKS if name in arrays}
        extras = [answer.extras for answer in answers]
        sizes = [worker.block.end - worker.block.first for worker in self._workers]
        return Shown(self._shared.observations(), values, self.started, _join(extras, sizes))

    # --------------------------------------------------------------------------------- playing

    def reset(
        self,
        chosen: np.ndarray,
        seeds: Sequence[int | None],
        options: Sequence[dict[str, Any] | None],
    ) -> Shown:
        """See ``Grids.reset``."""
        return self._shown(self._ask("reset", self._split(chosen, seeds, options)))

    def step(self, actions: np.ndarray) -> Stepped:
        """See ``Grids.step``."""
        answers = self._ask("step", self._split(actions))
        arrays = self._shared.arrays
        return Stepped(
            arrays["reward"].copy(),
            arrays["termination"].copy(),
            arrays["truncation"].copy(),
            self._shown(answers),
        )

    def simulate(
        self, action_ids: Sequence[np.ndarray | None], outages: np.ndarray | None = None
    ) -> list[Lookahead | None]:
        """See ``Grids.simulate``."""
        wanted = [
            (share, outages) if any(actions is not None for actions in share) else None
            for (share,) in self._split(action_ids)
        ]
        results: list[Lookahead | None] = []
        for worker, found in zip(self._workers, self._ask("simulate", wanted), strict=True):
            results += found or [None] * (worker.block.end - worker.block.first)
        return results

    def close(self) -> None:
        """End the processes; twice is fine."""
        self._stop("this environment is closed; make a new one")

    # ------------------------------------------------------------------------------- snapshots

    def episodes(self) -> list[dict[str, Any]]:
        """See ``Grids.episodes``."""
        return sum(self._ask("episodes", [()] * len(self._workers)), [])

    def restore(self, episodes: Sequence[Mapping[str, Any]]) -> Shown:
        """See ``Grids.restore``."""
        return self._shown(self._ask("restore", self._split(episodes)))

    def save(self, grid: int) -> GridSave:
        """See ``Grids.save``."""
        answers = self._ask("save", self._to(grid, grid))
        saved = next(answer for answer in answers if answer is not None)
        return with_scenario(saved, self._source)

    def load(self, grid: int, saved: GridSave) -> None:
        """See ``Grids.load``."""
        self._ask("load", self._to(grid, grid, without_scenario(saved)))

    # -------------------------------------------------------------------------------- messages

    def _split(self, *values: Any) -> list[tuple[Any, ...]]:
        """Return each worker's share of sequences of length B."""
        return [tuple(value[worker.block.rows] for value in values) for worker in self._workers]

    def _to(self, grid: int, *values: Any) -> list[tuple[Any, ...] | None]:
        """Return ``values`` for the worker that plays ``grid``, None for the others."""
        return [
            values if worker.block.first <= grid < worker.block.end else None
            for worker in self._workers
        ]

    def _ask(self, call: str, arguments: Sequence[tuple[Any, ...] | None]) -> list[Any]:
        """Make one call in each worker that has arguments, and wait for all of them.

        Returns:
            An answer for each worker, None where nothing was asked.

        Raises:
            RuntimeError: a worker died, now or before.
            Exception: what a worker raised, when all have answered.
        """
        if self._end:
            raise RuntimeError(self._end)
        answers: list[Any] = [None] * len(self._workers)
        asked = [number for number, args in enumerate(arguments) if args is not None]
        try:
            for number in asked:
                self._workers[number].send((call, arguments[number]))
            waiting = set(asked)
            while waiting:
                for key, _ in self._selector.select():  # answers, and the ends of processes
                    worker: _Worker = key.data
                    answer = worker.receive(certain=key.fileobj is worker.connection)
                    waiting.discard(worker.number)
                    answers[worker.number] = answer
                    if isinstance(answer, Rest):
                        self._note(worker.block, answer.words)
        except _DiedError as death:
            if call == "ready":
                raise
            self._stop(str(death), at_once=True)
            raise RuntimeError(str(death)) from None
        except BaseException:  # interrupted: answers that nobody waits for are on their way
            self._stop("a call was interrupted, so its workers were closed", at_once=True)
            raise
        for answer in answers:
            if isinstance(answer, Failure):
                raise answer.error from _WorkerTraceback(answer.traceback)
        return answers

    @staticmethod
    def _death_at_start(death: _DiedError, num_workers: int) -> Exception:
        if death.exitcode == _MADE_AGAIN:
            return ValueError(f"num_workers is {num_workers}: {_GUARD} script")
        return RuntimeError(
            f"{death} It died while it started; if the script has no main guard, {_GUARD} script."
        )

    def _note(self, block: Block, words: Mapping[str, list[str]]) -> None:
        for name, values in words.items():
            self._words[name][block.rows] = values

    def _stop(self, why: str, *, at_once: bool = False) -> None:
        """Close all workers; ``why`` is what later calls are told."""
        if self._end:
            return
        self._end = why
        self._selector.close()
        for worker in self._workers:
            worker.hang_up(at_once=at_once)
        for worker in self._workers:
            worker.join()


class _DiedError(Exception):
    """A worker is not there any more."""

    def __init__(self, text: str, exitcode: int | None):
        super().__init__(text)
        self.exitcode = exitcode


class _WorkerTraceback(Exception):
    """The traceback of an exception in a worker, as its cause in this process."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Worker:
    """One process with its connection."""

    def __init__(self, number: int, block: Block, arguments: tuple[Any, ...]):
        self.number = number
        self.block = block
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve,
            args=(theirs, block, *arguments),
            name=f"{_NAME}-{block.first}-to-{block.end - 1}",
            daemon=True,
        )
        try:
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def send(self, message: Any) -> None:
        """Send ``message``; that the worker is dead is noticed when its answer is awaited."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def receive(self, *, certain: bool) -> Any:
        """Return the answer that is there.

        Args:
            certain: something is there to be read, if only the end.

        Raises:
            _DiedError: there is none, and there will be none.
        """
        try:
            if certain or self.connection.poll():
                return self.connection.recv()
        except (EOFError, OSError):
            pass  # its end is closed, perhaps in the middle of a message: it is dead
        self.process.join(timeout=_PATIENCE)
        first, last = self.block.first, self.block.end - 1
        raise _DiedError(
            f"worker {self.number} (process {self.pid}, grids {first} to {last}) died: "
            f"{_reason(self.process.exitcode)}. The other workers were closed. Make the "
            "environment anew; if memory ran out, with fewer num_envs or num_workers.",
            self.process.exitcode,
        )

    def hang_up(self, *, at_once: bool) -> None:
        """Let the process end: between two calls, or at once."""
        self.connection.close()
        if at_once:
            self.process.terminate()

    def join(self) -> None:
        """Wait until the process has ended."""
        self.process.join(timeout=_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _reason(exitcode: int | None) -> str:
    if exitcode is None:
        return "it closed its connection"
    if exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _join(blocks: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """Put infos of neighbouring blocks together; where a block has none, zeros or None are there.

    Args:
        blocks: infos in Gymnasium's form for vectors.
        sizes: grids in each block.
    """
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for block in blocks for name in block):
        there = next(block[name] for block in blocks if name in block)
        if isinstance(there, dict):
            joined[name] = _join([block.get(name, {}) for block in blocks], sizes)
            continue
        empty = None if there.dtype == object else 0
        joined[name] = np.concatenate(
            [
                block.get(name, np.full((size, *there.shape[1:]), empty, dtype=there.dtype))
                for block, size in zip(blocks, sizes, strict=True)
            ]
        )
    return joined
