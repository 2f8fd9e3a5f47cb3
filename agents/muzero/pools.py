"""Plays self-play groups in this process or in workers on one machine or many.

A round is: every group plays some decisions with given weights. Groups, not processes, own the
random numbers and the batch shapes, so the number of workers never changes a result. A worker that
dies is replaced, and its groups go on from their last known states: the round is played again, with
the same outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, Protocol

import numpy as np
import torch

from agents.muzero.self_play import Experience, SelfPlayGroup
from agents.runs.cluster import Shared, Workers
from agents.runs.devices import torch_threads
from powergrid_muzero.copies import Copyable

GroupMaker = Callable[[int], SelfPlayGroup]  # group index -> the group; picklable
Weights = Mapping[str, torch.Tensor]
Arrays = Mapping[str, np.ndarray]


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
        self._groups = _make_groups(make_group, dict(enumerate(states or [{}] * num_groups)))
        self._pending: dict[int, Round] = {}

    def start(self, groups: Sequence[int], work: Round) -> None:
        """See ``SelfPlayPool.start``."""
        self._pending.update(dict.fromkeys(groups, work))

    def finished(self) -> list[Experience]:
        """See ``SelfPlayPool.finished``: here one group is played to its end."""
        group = min(self._pending)
        work = self._pending.pop(group)
        return [_play(self._groups[group], work)]

    def close(self) -> None:
        """See ``SelfPlayPool.close``."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()


class WorkerPool:
    """Plays the groups in ``num_workers`` worker processes, group g in worker g % num_workers.

    Weights travel to each node once a round, and what a group played comes back in one message:
    both as arrays, which Ray keeps in shared memory. A group is asked for one round at a time, so
    no more than a round of each group is ever on the way.

    Args:
        make_group: makes a group by its index; pickled to the workers.
        num_groups: how many there are.
        num_workers: at most one for each group.
        states: of the groups, to go on from; None to begin.

    Raises:
        Exception: from ``finished``, as ``Workers.receive`` says.
    """

    def __init__(
        self,
        make_group: GroupMaker,
        num_groups: int,
        num_workers: int,
        states: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.num_groups = num_groups
        self._num_workers = min(num_workers, num_groups)
        self._make_group = make_group
        self._states: list[Mapping[str, Any]] = [dict(s) for s in states or [{}] * num_groups]
        self._workers = Workers(
            self._recipe,
            self._num_workers,
            what="self-play worker",
            advice="Free memory, or play with fewer trainer.num_workers or trainer.num_envs.",
            cores=0.9,  # a tenth is left for evaluation, which works while self-play waits
        )

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"these groups are played by {self._num_workers} self-play workers, which cannot be "
            "copied or pickled: play in this process with trainer.num_workers=0"
        )

    def start(self, groups: Sequence[int], work: Round) -> None:
        """See ``SelfPlayPool.start``."""
        weights = Shared({name: tensor.numpy() for name, tensor in work.weights.items()})
        without = replace(work, weights={})
        for group in groups:
            self._workers.send(group % self._num_workers, group, group, weights, without)

    def finished(self) -> list[Experience]:
        """See ``SelfPlayPool.finished``."""
        experiences: list[Experience] = [result.value for result in self._workers.receive()]
        for experience in experiences:
            self._states[experience.group] = experience.state  # a new worker goes on from here
        return sorted(experiences, key=lambda experience: experience.group)

    def close(self) -> None:
        """See ``SelfPlayPool.close``."""
        self._workers.close()

    def _recipe(self, worker: int) -> Callable[[], _GroupPlayer]:
        groups = range(worker, self.num_groups, self._num_workers)
        return partial(
            _GroupPlayer, self._make_group, {group: self._states[group] for group in groups}
        )


class _GroupPlayer:
    """Plays rounds of some groups in a worker."""

    def __init__(self, make_group: GroupMaker, states: Mapping[int, Mapping[str, Any]]) -> None:
        self._groups = _make_groups(make_group, states)

    def __call__(self, group: int, weights: Arrays, work: Round) -> Experience:
        # torch takes no array that cannot be written to, as those in shared memory
        tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
        return _play(self._groups[group], replace(work, weights=tensors))


def _make_groups(
    make_group: GroupMaker, states: Mapping[int, Mapping[str, Any]]
) -> dict[int, SelfPlayGroup]:
    groups = {index: make_group(index) for index in states}
    for index, group in groups.items():
        group.load_state_dict(states[index])
    return groups


def _play(group: SelfPlayGroup, work: Round) -> Experience:
    """Play a round on one thread: sums differ in their last bits with the number of threads."""
    with torch_threads(1):
        group.load_weights(work.weights)
        return group.play(work.num_decisions, work.temperature, taught=work.taught)
