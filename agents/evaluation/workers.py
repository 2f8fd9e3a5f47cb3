"""Shares groups of episodes out over processes."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from agents.environments import EnvironmentFactory
from agents.evaluation.episode_list import Group
from agents.evaluation.episode_log import PlayedEpisode
from agents.evaluation.player import EpisodePlayer
from agents.runs.interrupt import leave_interrupts_to_parent

_PATIENCE = 2.0  # seconds that all workers have to end


@dataclass(frozen=True)
class _WorkerFailure:
    """What a worker says that failed."""

    mistake: bool  # of the user's, to be told in one line
    text: str


def play_in_workers(
    make_environment: EnvironmentFactory,
    payload: bytes,
    groups: Sequence[Group],
    num_workers: int,
    *,
    record_errors: bool,
) -> Iterator[tuple[int, list[PlayedEpisode]]]:
    """Yield (group number, its episodes) as worker processes finish them.

    Args:
        make_environment: of the environments.
        payload: the pickled agent.
        groups: at least ``num_workers``.
        num_workers: processes, at least 1.
        record_errors: see ``EpisodePlayer``.

    Raises:
        RuntimeError: a worker died or failed; the message names it.
        ValueError: what a worker said that the user did wrong.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, Any] = {}
    waiting = list(enumerate(groups))[::-1]
    try:
        for number in range(num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_worker,
                args=(theirs, make_environment, payload, record_errors),
                name=f"evaluation worker {number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            workers[ours] = process
            ours.send(waiting.pop())
        remaining = len(groups)
        while remaining:
            for ready in wait(list(workers)):
                connection = ready
                assert isinstance(connection, Connection)
                process = workers[connection]
                try:
                    number, outcome = connection.recv()
                except (EOFError, ConnectionResetError) as error:
                    process.join(timeout=5.0)
                    raise RuntimeError(
                        f"{process.name} (process {process.pid}) died with exit code "
                        f"{process.exitcode}; no result of its episodes came back. "
                        f"{_advice(process.exitcode)}"
                    ) from error
                if isinstance(outcome, _WorkerFailure):
                    if outcome.mistake:
                        raise ValueError(outcome.text)
                    raise RuntimeError(f"{process.name} failed:\n{outcome.text}")
                remaining -= 1
                if waiting:
                    connection.send(waiting.pop())
                yield number, outcome
    finally:
        for connection in workers:
            with suppress(BrokenPipeError):  # the worker may be gone already
                connection.send(None)
            connection.close()
        deadline = time.monotonic() + _PATIENCE
        for process in workers.values():
            process.join(timeout=max(deadline - time.monotonic(), 0.0))
            if process.is_alive():
                process.terminate()
                process.join()


def _advice(exit_code: int | None) -> str:
    """Return what to do about a worker that ended so; negative: by a signal."""
    if exit_code is None or exit_code <= 0:
        return "Short of memory? Try fewer evaluation.num_workers."
    return (
        "What it said, if anything, stands above. A script that evaluates with workers needs "
        "`if __name__ == '__main__':` around that, since each worker imports it."
    )


def _worker(
    connection: Connection,
    make_environment: EnvironmentFactory,
    payload: bytes,
    record_errors: bool,
) -> None:
    """Play the groups that come through ``connection`` until None comes."""
    leave_interrupts_to_parent()
    torch.set_num_threads(1)
    player = EpisodePlayer(make_environment, record_errors=record_errors)
    try:
        while (task := connection.recv()) is not None:
            number, group = task
            try:
                outcome: Any = player.play(payload, group)
            except ValueError as error:
                outcome = _WorkerFailure(True, str(error))
            except Exception:  # reported by the parent, with this text
                outcome = _WorkerFailure(False, traceback.format_exc())
            connection.send((number, outcome))
    except (EOFError, BrokenPipeError):  # the parent is gone or going
        pass
    finally:
        player.close()
