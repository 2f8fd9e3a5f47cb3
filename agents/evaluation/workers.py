"""Shares groups of episodes out over worker processes, on one machine or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from agents.environments import EnvironmentFactory
from agents.evaluation.episode_list import Group
from agents.evaluation.episode_log import PlayedEpisode
from agents.evaluation.player import EpisodePlayer
from agents.runs.cluster import Workers


def play_in_workers(
    make_environment: EnvironmentFactory,
    payload: bytes,
    groups: Sequence[Group],
    num_workers: int,
    *,
    record_errors: bool,
) -> Iterator[tuple[int, list[PlayedEpisode]]]:
    """Yield (group number, its episodes) as workers finish them.

    A worker that dies is replaced, and its group is played again, with the same outcome.

    Args:
        make_environment: of the environments.
        payload: the pickled agent.
        groups: at least ``num_workers``.
        num_workers: at least 1, of which there are no more than groups.
        record_errors: see ``EpisodePlayer``.

    Raises:
        RuntimeError: a worker failed.
        WorkersLostError: a worker was lost again and again.
        ValueError: what a worker said that the user did wrong.
    """
    recipe = partial(_player, make_environment, payload, record_errors=record_errors)
    workers = Workers(
        lambda worker: recipe,
        num_workers,
        what="evaluation worker",
        advice="Short of memory? Try fewer evaluation.num_workers.",
        cores=0.1,  # what self-play, which waits meanwhile, leaves of each
    )
    waiting = list(enumerate(groups))[::-1]
    try:
        for worker in range(num_workers):
            _send(workers, worker, waiting)
        remaining = len(groups)
        while remaining:
            for result in workers.receive():
                remaining -= 1
                _send(workers, result.worker, waiting)
                assert isinstance(result.key, int)
                yield result.key, result.value
    finally:
        workers.close()


def _send(workers: Workers, worker: int, waiting: list[tuple[int, Group]]) -> None:
    if waiting:
        number, group = waiting.pop()
        workers.send(worker, number, group)


def _player(
    make_environment: EnvironmentFactory, payload: bytes, *, record_errors: bool
) -> Callable[[Group], list[PlayedEpisode]]:
    player = EpisodePlayer(make_environment, record_errors=record_errors)
    return partial(player.play, payload)
