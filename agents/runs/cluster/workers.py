"""Processes that work on tasks for this one, and are replaced when they die."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import torch

from agents.runs.cluster import connection
from agents.runs.interrupt import leave_interrupts_to_parent

_LOG = logging.getLogger(__name__)
_MOST_DEATHS = 3  # of a worker in a row without a result: then something kills it on purpose
_LOOK = 1.0  # seconds between two looks at whether the cluster is still there
_SETTLED = 30.0  # seconds in which it is known what a dead worker had finished
_WAIT = 30.0  # seconds after which is said that a worker has not begun

Work = Callable[..., Any]

_told: set[str] = set()  # keys of which was said that fewer workers are used


class WorkersLostError(ChildProcessError):
    """A worker was lost again and again."""


class Result(NamedTuple):
    """What a worker has done."""

    worker: int
    key: Hashable  # of the task
    value: Any


class Shared:
    """A value that many tasks take: it travels to each node once.

    Args:
        value: with its arrays as NumPy arrays, which workers then read where they lie.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        self._stored: tuple[int, Any] | None = None  # connection, reference

    def reference(self) -> Any:
        """Return Ray's reference to it, in the present connection."""
        number = connection.connection_number()
        if self._stored is None or self._stored[0] != number:
            import ray

            self._stored = number, ray.put(self._value)
        return self._stored[1]


class _Host:
    """What lives in a worker process."""

    def __init__(self, recipe: Callable[[], Work]) -> None:
        leave_interrupts_to_parent()
        torch.set_num_threads(1)
        self._recipe = recipe
        self._work: Work | None = None

    def pid(self) -> int:
        return os.getpid()

    def work(self, *arguments: Any) -> Any:
        if self._work is None:  # here, where an exception is told of, and not taken for a death
            self._work = self._recipe()
        return self._work(*arguments)


class Workers:
    """Keeps a number of worker processes, wherever Ray places them.

    A task goes to the worker that is named and is done after those sent to it before. Where a
    worker, its node or the connection is lost, it is made anew, and is sent what it had not done.

    Args:
        recipe_of: worker -> what makes its work: picklable, and called in the worker. It is asked
            for again when the worker is replaced, after ``receive`` has returned all that it did.
        count: number of workers, from 0 on.
        what: they are, in messages: "self-play worker".
        advice: what to do when they keep dying.
        cores: that each takes of the cluster; workers that take turns share one.
    """

    def __init__(
        self,
        recipe_of: Callable[[int], Callable[[], Work]],
        count: int,
        *,
        what: str,
        advice: str,
        cores: float,
    ) -> None:
        connection.connect()
        self._recipe_of = recipe_of
        self._what = what
        self._advice = advice
        self._tasks: list[dict[Hashable, tuple[Any, ...]]] = [{} for _ in range(count)]
        self._references: dict[Any, tuple[int, Hashable]] = {}  # of results to come
        self._deaths = [0] * count  # in a row without a result
        self._lost: set[int] = set()
        self._look_for_waiting = time.monotonic() + _WAIT
        self._pids: list[Any] = [None] * count  # references to them, there once a worker has begun
        self._actors = [self._make(worker, cores=cores) for worker in range(count)]

    def pids(self) -> list[int]:
        """Return the process of each worker, once all have begun."""
        import ray

        return list(ray.get(self._pids))

    def send(self, worker: int, key: Hashable, *arguments: Any) -> None:
        """Give a task to a worker.

        Args:
            worker: who does it.
            key: unique among the worker's tasks that are not done.
            arguments: of its work; a ``Shared`` arrives as its value.
        """
        self._tasks[worker][key] = arguments
        if len(self._lost) < len(self._actors) and not connection.is_alive():
            self._lose_all()
        if worker not in self._lost:
            self._dispatch(worker, key)

    def receive(self) -> list[Result]:
        """Wait until a task is done; return all that are.

        Raises:
            ValueError: what a task says that the user did wrong.
            RuntimeError: a task failed; the traceback is in the message.
            WorkersLostError: a worker died several times without doing a task, or the connection
                was lost and cannot be made anew.
        """
        import ray

        results: list[Result] = []
        while not results:
            self._revive()
            waiting = list(self._references)
            ready, _ = ray.wait(waiting, num_returns=1, timeout=_LOOK)
            if not connection.is_alive():
                self._lose_all()
                continue
            if not ready:
                self._tell_of_waiting()
                continue
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            for reference in ready:
                results.extend(self._fetch(reference))
        return results

    def close(self) -> None:
        """End the processes; may be called twice."""
        import ray

        if connection.is_alive():
            for actor in self._actors:
                ray.kill(actor)
        self._actors.clear()
        self._references.clear()

    def _tell_of_waiting(self) -> None:
        """Say once which workers have not begun: others may use all cores of a cluster."""
        import ray

        if time.monotonic() < self._look_for_waiting:
            return
        self._look_for_waiting = float("inf")
        _, waiting = ray.wait(self._pids, num_returns=len(self._pids), timeout=0)
        if waiting:
            _LOG.warning(
                "%d of %d %ss have not begun after %.0f s: all cores of the cluster may be in use",
                *(len(waiting), len(self._actors), self._what, _WAIT),
            )

    def _make(self, worker: int, *, cores: float) -> Any:
        import ray

        host = ray.remote(max_restarts=0, max_task_retries=0)(_Host)
        options = {"num_cpus": cores, "scheduling_strategy": "SPREAD"}
        actor = host.options(**options).remote(self._recipe_of(worker))
        self._pids[worker] = actor.pid.remote()
        return actor

    def _dispatch(self, worker: int, key: Hashable) -> None:
        arguments = (
            one.reference() if isinstance(one, Shared) else one for one in self._tasks[worker][key]
        )
        self._references[self._actors[worker].work.remote(*arguments)] = worker, key

    def _fetch(self, reference: Any) -> list[Result]:
        """Return the result behind a reference that is ready, or note that its worker is lost."""
        import ray
        from ray import exceptions

        if reference not in self._references:  # of a worker that was lost meanwhile
            return []
        worker, key = self._references[reference]
        try:
            value = ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, ValueError):
                raise ValueError(str(error.cause)) from error
            told = re.sub(r"\x1b\[\d+m", "", str(error))  # without colours
            raise RuntimeError(f"{self._what} {worker} failed:\n{told}") from error
        except exceptions.RayError as error:
            if connection.is_alive():
                return self._lose(worker, _cause(error))
            self._lose_all()
            return []
        del self._references[reference]
        del self._tasks[worker][key]
        self._deaths[worker] = 0
        return [Result(worker, key, value)]

    def _lose(self, worker: int, cause: str) -> list[Result]:
        """Note that a worker is gone; return what it had done before.

        Raises:
            WorkersLostError: it was lost too often.
        """
        results = self._finished_by(worker)
        self._count_loss([worker], cause)
        return results

    def _lose_all(self) -> None:
        """Note that all workers are gone, with the node of this process or the connection."""
        self._references.clear()
        self._count_loss(range(len(self._actors)), "the connection to Ray was lost")

    def _count_loss(self, lost: Iterable[int], cause: str) -> None:
        self._lost.update(lost)
        for worker in lost:
            self._deaths[worker] += 1
            if self._deaths[worker] >= _MOST_DEATHS:
                raise WorkersLostError(
                    f"{self._what} {worker} was lost {self._deaths[worker]} times without doing a "
                    f"task: {cause}; giving up. {self._advice}"
                )
        names = ", ".join(map(str, lost))
        _LOG.warning("%s %s: %s; replaced, and its task is done again", self._what, names, cause)

    def _finished_by(self, worker: int) -> list[Result]:
        """Forget references to what a lost worker was asked for; return what it had finished."""
        import ray
        from ray import exceptions

        theirs = [one for one, (whose, _) in self._references.items() if whose == worker]
        results: list[Result] = []
        for reference in theirs:
            _, key = self._references.pop(reference)
            try:
                value = ray.get(reference, timeout=_SETTLED)
            except exceptions.RayError:  # not done
                continue
            del self._tasks[worker][key]
            self._deaths[worker] = 0
            results.append(Result(worker, key, value))
        return results

    def _revive(self) -> None:
        """Make lost workers anew, and send them what they have not done."""
        if not self._lost:
            return
        if not connection.is_alive():
            try:
                connection.reconnect()
            except (ChildProcessError, ValueError) as error:  # the run ends, with a checkpoint
                raise WorkersLostError(str(error)) from error
            self._lost.update(range(len(self._actors)))
            self._references.clear()
        for worker in sorted(self._lost):
            self._actors[worker] = self._make(worker, cores=0)  # it has to find a place
        lost, self._lost = sorted(self._lost), set()
        for worker in lost:
            for key in self._tasks[worker]:
                self._dispatch(worker, key)


def worker_count(asked: int, tasks: int, key: str) -> int:
    """Return how many workers are of use, and say so where that is fewer than were asked for.

    Args:
        asked: workers.
        tasks: that are done side by side, at most.
        key: of the configuration.
    """
    connection.connect()
    cores = connection.cores()
    count = min(asked, tasks, cores)
    if count < asked and key not in _told:
        _told.add(key)
        _LOG.warning(
            "%s=%d: more than %d would not help (groups to play: %d, cores: %d)",
            *(key, asked, count, tasks, cores),
        )
    return count


def _cause(error: Exception) -> str:
    """Return in a few words why a worker is gone."""
    text = str(error)
    pid, address = re.search(r"pid: (\d+)", text), re.search(r"ip: (\S+)", text)
    where = f" (process {pid[1]} on {address[1]})" if pid and address else ""
    if "low on memory" in text:
        return "its node ran out of memory"
    if "node" in text and "worker process has died" not in text:
        return f"its node was lost{where}"
    return f"its process ended{where}, killed or out of memory"
