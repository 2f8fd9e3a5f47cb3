"""Plays self-play groups in this process or in worker processes.

A round is: every group plays some decisions with given weights. Groups, not processes, own the
random numbers and the batch shapes, so the number of processes never changes a result.
A process that dies is reported, replaced, and its groups go on from their last known state:
the round is played again, with the same outcome.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn, Protocol

import torch

from agents.muzero.self_play import Experience, SelfPlayGroup
from agents.runs.devices import torch_threads
from agents.runs.interrupt import leave_interrupts_to_parent
from powergrid_muzero.copies import Copyable

_LOG = logging.getLogger(__name__)
_MAX_REPLACEMENTS = 3  # in a row without a finished round: then something kills them on purpose

GroupMaker = Callable[[int], SelfPlayGroup]  # group index -> the group; picklable
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Round:
    """What a group is asked to play."""

    weights: Weights  # on the CPU
    num_decisions: int  # in each environment of the group
    temperature: float
    taught: bool = False  # see SelfPlayGroup.play


class SelfPlayPool(Protocol):
    """Plays rounds of every group."""

    num_groups: int

    def start(self, groups: Sequence[int], work: Round) -> None:
        """Ask these groups, all idle, to play ``work``."""
        ...

    def finished(self) -> list[Experience]:
        """Wait until at least one group has finished, and return all that have, by group."""
        ...

    def states(self) -> list[dict[str, Any]]:
        """Return the state of every group after its last finished round."""
        ...

    def close(self) -> None:
        """Stop playing and free everything; may be called twice."""
        ...


class LocalPool(Copyable):
    """Plays every group in this process, one after another, when its result is asked for.

    Args:
        make_group: makes a group by its index.
        num_groups: how many there are.
        states: of the groups, to go on from; None to begin.
    """

    def __init__(
        self,
        make_group: GroupMaker,
        num_groups: int,
        states: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.num_groups = num_groups
        self._groups = _make_groups(make_group, range(num_groups), states)
        self._pending: dict[int, Round] = {}

    def start(self, groups: Sequence[int], work: Round) -> None:
        """See ``SelfPlayPool.start``."""
        self._pending.update(dict.fromkeys(groups, work))

    def finished(self) -> list[Experience]:
        """See ``SelfPlayPool.finished``: here one group is played to its end."""
        group = min(self._pending)
        work = self._pending.pop(group)
        return [_play(self._groups[group], work)]

    def states(self) -> list[dict[str, Any]]:
        """See ``SelfPlayPool.states``."""
        return [group.state_dict() for group in self._groups.values()]

    def close(self) -> None:
        """See ``SelfPlayPool.close``."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()


class ProcessPool:
    """Plays the groups in ``num_workers`` processes.

    Args:
        make_group: makes a group by its index; pickled to the processes.
        num_groups: how many there are; group g is played by process g % num_workers.
        num_workers: processes, at most one per group.
        states: of the groups, to go on from; None to begin.

    Raises:
        RuntimeError: from ``finished``, when a process failed with an exception (its own traceback
            is in the message), or was replaced several times without finishing a round.
    """

    def __init__(
        self,
        make_group: GroupMaker,
        num_groups: int,
        num_workers: int,
        states: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.num_groups = num_groups
        num_workers = min(num_workers, num_groups)
        self._make_group = make_group
        self._states: list[dict[str, Any]] = [dict(s) for s in states or [{}] * num_groups]
        self._pending: dict[int, Round] = {}
        self._replacements = [0] * num_workers
        self._workers = [
            _Worker(make_group, self._groups_of(worker, num_workers), self._states)
            for worker in range(num_workers)
        ]

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"these groups are played by {len(self._workers)} self-play processes, which cannot be "
            "copied or pickled: make another pool from states(), or play in this process with "
            "trainer.num_workers=0"
        )

    def _groups_of(self, worker: int, num_workers: int) -> list[int]:
        return list(range(worker, self.num_groups, num_workers))

    def start(self, groups: Sequence[int], work: Round) -> None:
        """See ``SelfPlayPool.start``."""
        message = pickle.dumps(work)
        for worker in self._workers:
            own = [group for group in groups if group in worker.groups]
            if own:
                self._pending.update(dict.fromkeys(own, work))
                worker.send(own, message)

    def finished(self) -> list[Experience]:
        """See ``SelfPlayPool.finished``."""
        results: list[Experience] = []
        while not results:
            waiting = {}
            for index, worker in enumerate(self._workers):
                if any(group in self._pending for group in worker.groups):
                    waiting[worker.connection] = index
                    waiting[worker.process.sentinel] = index
            ready = {waiting[item] for item in wait(list(waiting))}
            for index in sorted(ready):
                results.extend(self._receive(index))
        return sorted(results, key=lambda result: result.group)

    def _receive(self, index: int) -> list[Experience]:
        """Return what one process has finished; replace it if it died."""
        worker = self._workers[index]
        results: list[Experience] = []
        try:
            while worker.connection.poll():
                kind, payload = pickle.loads(worker.connection.recv_bytes())
                if kind == "failed":
                    raise RuntimeError(f"self-play process {index} failed:\n{payload}")
                results.append(payload)
                # At once: were the process to die now, its groups go on from here.
                del self._pending[payload.group]
                self._states[payload.group] = payload.state
                self._replacements[index] = 0
        except (EOFError, ConnectionResetError):
            self._replace(index)
        return results

    def _replace(self, index: int) -> None:
        dead = self._workers[index]
        dead.close()
        self._replacements[index] += 1
        cause = f"self-play process {index} died ({_exit_reason(dead.process.exitcode)})"
        if self._replacements[index] > _MAX_REPLACEMENTS:
            raise RuntimeError(
                f"{cause}, {self._replacements[index]} times without finishing a round; "
                "giving up. Free memory, or play with fewer trainer.num_workers or num_envs."
            )
        _LOG.warning("%s; replaced, its games go on from the last finished round", cause)
        worker = _Worker(self._make_group, dead.groups, self._states)
        self._workers[index] = worker
        for group in dead.groups:
            if group in self._pending:
                worker.send([group], pickle.dumps(self._pending[group]))

    def states(self) -> list[dict[str, Any]]:
        """See ``SelfPlayPool.states``."""
        return list(self._states)

    def close(self) -> None:
        """See ``SelfPlayPool.close``."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process with its connection."""

    def __init__(
        self, make_group: GroupMaker, groups: Sequence[int], states: Sequence[Mapping[str, Any]]
    ) -> None:
        self.groups = list(groups)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(theirs, make_group, self.groups, [states[group] for group in self.groups]),
            name=f"self-play-{self.groups[0]}",
            daemon=True,
        )
        self.process.start()
        theirs.close()

    def send(self, groups: Sequence[int], message: bytes) -> None:
        """Ask for a round; a process that is already dead is noticed when results are awaited."""
        try:
            self.connection.send_bytes(pickle.dumps(list(groups)))
            self.connection.send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            _LOG.debug("a self-play process died before its round was sent")

    def close(self) -> None:
        """End the process, kindly first."""
        self.connection.close()
        self.process.join(timeout=2.0)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(timeout=5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(
    connection: Connection,
    make_group: GroupMaker,
    indices: Sequence[int],
    states: Sequence[Mapping[str, Any]],
) -> None:
    """Play rounds until the other side closes the connection. The body of a process."""
    leave_interrupts_to_parent()
    try:
        torch.set_num_threads(1)
        groups = _make_groups(make_group, indices, states)
        while True:
            wanted = pickle.loads(connection.recv_bytes())
            work = pickle.loads(connection.recv_bytes())
            for index in wanted:
                experience = _play(groups[index], work)
                connection.send_bytes(pickle.dumps(("played", experience), protocol=5))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the trainer is gone or has closed us
    except Exception:
        connection.send_bytes(pickle.dumps(("failed", traceback.format_exc())))


def _make_groups(
    make_group: GroupMaker,
    indices: Sequence[int],
    states: Sequence[Mapping[str, Any]] | None,
) -> dict[int, SelfPlayGroup]:
    groups = {index: make_group(index) for index in indices}
    for group, state in zip(groups.values(), states or [{}] * len(groups), strict=True):
        group.load_state_dict(state)
    return groups


def _play(group: SelfPlayGroup, work: Round) -> Experience:
    """Play a round on one thread: sums differ in their last bits with the number of threads."""
    with torch_threads(1):
        group.load_weights(work.weights)
        return group.play(work.num_decisions, work.temperature, taught=work.taught)


def _exit_reason(exitcode: int | None) -> str:
    if exitcode is None:
        return "connection lost"
    if exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"
