"""Workers: decisions per second with 0, 1 and 2, what travels, and what the learner takes in.

    python -m benchmarks.scaling [--experiment seed] [--seconds 60]

Plays an experiment's own environments, network and search (the specification's by default) with
the same fresh weights, in 32 environments of two groups: in one process, with one and two workers,
and with two Ray nodes of one core each that talk over loopback; two processes that share nothing
show what the machine allows. They take turns, so that what else it does slows them all alike. Then
the learner updates alone, on a replay of played decisions, for that experiment and for quickstart.
What 10, 100 and 1000 machines need is computed from all that, see docs/cluster.md. The last line is
one JSON object; memory in it is MiB.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.commands.command_line import OneLineParser, positive_number, run_guarded
from agents.muzero.decision import read_row
from agents.muzero.learner import Learner
from agents.muzero.pools import LocalPool, Round, SelfPlayPool, WorkerPool
from agents.muzero.self_play import Experience
from agents.muzero.trainer import LearningPlan
from agents.runs.cluster import Workers, connect, disconnect, worker_count
from benchmarks.playing import GROUPS, SelfPlay, compose_self_play, no_work, play_round
from benchmarks.profiling import resident_mb

ENVS = 32  # in all groups
TURNS = 10  # of each way to play; short ones, since the machine's speed may change meanwhile
ALSO_LEARNED = "quickstart"
MACHINES = (10, 100, 1000)
CORES = 8  # of each of them, one a group
LONG_ROUND = 64  # decisions in each environment between two exchanges of weights


class Way(NamedTuple):
    """To play."""

    workers: int  # 0 plays in the process
    nodes: int = 1  # of Ray
    decisions_per_round: int | None = None  # None: as the experiment's
    processes: int = 1  # that play so at the same time and know nothing of each other


WAYS = {
    "0 workers": Way(0),
    "1 worker": Way(1),
    "2 workers": Way(2),
    "2 nodes": Way(2, nodes=2),
    f"2 workers, rounds of {LONG_ROUND}": Way(2, decisions_per_round=LONG_ROUND),
    "2 processes apart": Way(0, processes=2),
}


class Slice(NamedTuple):
    """What was played in one turn."""

    decisions: int
    seconds: float
    grown_mb: float  # most memory so far of the process that takes rounds in, beyond its start


class Player:
    """A process that plays one way when it is asked to, with a Ray of its own.

    Args:
        experiment: whose self-play.
        way: to play it.

    Raises:
        ValueError: the process cannot play so; from each method, too.
    """

    def __init__(self, experiment: str, way: Way) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, experiment, way))
        self._process.start()
        theirs.close()
        self.started: dict[str, float] = self._answer()

    def start(self, seconds: float) -> None:
        """Let it play whole rounds for at least ``seconds``."""
        self._pipe.send(seconds)

    def played(self) -> Slice:
        """Wait for what it was asked to play."""
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it has ended already, as was told
            self._pipe.send(None)
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError("a process that plays has ended; see above.") from error
        if isinstance(answer, ValueError):
            raise answer
        return answer


def _serve(pipe: Connection, experiment: str, way: Way) -> None:
    try:
        torch.set_num_threads(1)
        play = compose_self_play(experiment, num_envs=ENVS)
        with _pool(play, way.workers, way.nodes) as (pool, started):
            work = _round(play, way.decisions_per_round)
            before, begin = resident_mb(), time.perf_counter()
            play_round(pool, work)  # makes environments and compiles
            pipe.send({**started, "first round": round(time.perf_counter() - begin, 2)})
            most = resident_mb()
            while (seconds := pipe.recv()) is not None:
                decisions, begin = 0, time.perf_counter()
                while time.perf_counter() - begin < seconds:
                    experiences = play_round(pool, work)
                    decisions += sum(one.decisions.action.size for one in experiences)
                    most = max(most, resident_mb())
                pipe.send(Slice(decisions, time.perf_counter() - begin, most - before))
    except ValueError as error:
        pipe.send(ValueError(str(error)))


@contextmanager
def _pool(
    play: SelfPlay, workers: int, nodes: int
) -> Iterator[tuple[SelfPlayPool, dict[str, float]]]:
    """Yield a pool, and the seconds that Ray and a first worker took to start."""
    if not workers:
        pool = LocalPool(play.make_group, GROUPS)
        yield pool, {}
        pool.close()
        return
    begin = time.perf_counter()
    cluster = None
    if nodes > 1:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
    try:
        connect(None if cluster is None else cluster.address)
        started = {"ray": round(time.perf_counter() - begin, 2)}
        begin = time.perf_counter()
        first = Workers(lambda worker: no_work, 1, what="worker", advice="Free memory.", cores=0.9)
        first.pids()
        started["first worker"] = round(time.perf_counter() - begin, 2)
        first.close()
        if worker_count(workers, GROUPS, "workers of this benchmark") < workers:
            raise ValueError(f"this benchmark needs {workers} cores, one for each worker.")
        pool = WorkerPool(play.make_group, GROUPS, workers)
        yield pool, started
        pool.close()
    finally:
        disconnect()
        if cluster is not None:
            cluster.shutdown()


def _round(play: SelfPlay, num_decisions: int | None = None) -> Round:
    plan: LearningPlan = play.agent["plan"]
    num_decisions = num_decisions or plan.decisions_per_round
    return Round(play.make_network().state_dict(), num_decisions, temperature=1.0)


def play_in_turns(experiment: str, seconds: float) -> dict[str, Any]:
    """Return decisions per second of each of ``WAYS``, and what starting and memory took.

    Rates are means over all turns.
    """
    players: dict[str, list[Player]] = {name: [] for name in WAYS}
    played: dict[str, list[Slice]] = {name: [] for name in WAYS}
    try:
        for name, way in WAYS.items():
            players[name].extend(Player(experiment, way) for _ in range(way.processes))
        for _ in range(TURNS):
            for name, theirs in players.items():
                for player in theirs:
                    player.start(seconds / TURNS)
                played[name].extend(player.played() for player in theirs)
    finally:
        for player in chain.from_iterable(players.values()):
            player.close()
    rates: dict[str, float] = {}
    for name, slices in played.items():
        seconds_of_one = sum(one.seconds for one in slices) / WAYS[name].processes
        rates[name] = sum(one.decisions for one in slices) / seconds_of_one
    alone = rates["0 workers"]
    return {
        "decisions_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "times_0_workers": {name: round(rate / alone, 2) for name, rate in rates.items()},
        "start_s": {name: theirs[0].started for name, theirs in players.items()},
        "driver_grown_mb": {name: round(slices[-1].grown_mb, 1) for name, slices in played.items()},
    }


def learn(experiment: str, seconds: float) -> dict[str, Any]:
    """Return what travels for a decision of an experiment, and what its learner takes in."""
    play = compose_self_play(experiment, num_envs=ENVS)
    plan: LearningPlan = play.agent["plan"]
    work = _round(play)
    pool = LocalPool(play.make_group, GROUPS)
    experiences: list[Experience] = []
    decisions = 0
    while decisions < plan.learning_starts:
        experiences.extend(play_round(pool, work))
        decisions = sum(one.decisions.action.size for one in experiences)
    pool.close()
    network = play.make_network()
    replay = play.agent["replay"](
        num_lanes=ENVS,
        observation_shape=network.observation_shape,
        num_actions=network.num_actions,
        unroll_steps=play.agent["unroll_steps"],
        td_steps=play.agent["td_steps"],
        discount=play.agent["discount"],
        extras=network.recorded_fields,
    )
    learner = Learner(
        network,
        play.agent["optimizer"],
        unroll_steps=play.agent["unroll_steps"],
        **play.agent["learning"],
    )
    begin = time.perf_counter()
    for one in experiences:
        num_decisions, num_envs = one.decisions.action.shape
        lanes = one.group * num_envs + np.arange(num_envs)
        for t in range(num_decisions):
            replay.append(lanes, read_row(one.decisions, t))
    append_seconds = time.perf_counter() - begin
    rng = np.random.default_rng(0)
    updates, begin = 0, time.perf_counter()
    for index in range(10**9):
        if index == 1:  # the first makes the optimiser's state
            updates, begin = 0, time.perf_counter()
        batch = replay.sample(plan.batch_size, rng)
        replay.update_priorities(batch.indices, learner.update(batch).priorities)
        updates += 1
        if index and time.perf_counter() - begin > seconds:
            break
    per_s = updates / (time.perf_counter() - begin)
    weight_bytes = sum(tensor.nbytes for tensor in work.weights.values())
    of_a_round = play.config["trainer"]["num_envs"] * plan.decisions_per_round
    return {
        "weights_bytes": weight_bytes,
        "decisions_of_a_round": of_a_round,
        "weights_bytes_per_decision": round(weight_bytes / of_a_round),
        "experience_bytes_per_decision": round(sum(map(_size, experiences)) / decisions),
        "experience_bytes_per_decision_without_state": round(
            sum(_size(replace(one, state={})) for one in experiences) / decisions
        ),
        "updates_per_s": round(per_s, 1),
        "updates_per_decision": plan.updates_per_decision,
        "learner_decisions_per_s": round(per_s / plan.updates_per_decision, 1)
        if plan.updates_per_decision
        else None,
        "replay_appends_per_s": round(decisions / append_seconds),
    }


def needs(machines: int, decisions_per_s: float, plan: LearningPlan, learned: Any) -> Any:
    """Return what machines that play at full speed need of a learner and its network.

    Args:
        machines: N, of ``CORES`` cores.
        decisions_per_s: of a core.
        plan: of the experiment.
        learned: what ``learn`` found.
    """
    played = machines * CORES * decisions_per_s
    weights = machines * learned["weights_bytes"] * decisions_per_s / (ENVS // GROUPS)
    return {
        "decisions_per_s": round(played),
        "experience_mb_per_s": round(played * learned["experience_bytes_per_decision"] / 1e6, 1),
        "weights_mb_per_s": round(weights / plan.decisions_per_round / 1e6, 1),
        f"weights_mb_per_s_rounds_of_{LONG_ROUND}": round(weights / LONG_ROUND / 1e6, 1),
        "decisions_per_update": round(played / learned["updates_per_s"]),
        "replays": round(played / learned["replay_appends_per_s"], 2),
    }


def _size(experience: Experience) -> int:
    """Return the bytes of what a worker sends, as Ray pickles it: arrays apart."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(experience, protocol=5, buffer_callback=buffers.append)
    return len(pickled) + sum(buffer.raw().nbytes for buffer in buffers)


def main() -> None:
    """Measure and print."""
    parser = OneLineParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiment", default="seed")
    parser.add_argument("--seconds", type=positive_number, default=60.0, help="of each measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    learned: dict[str, Any] = {}
    for experiment in dict.fromkeys((options.experiment, ALSO_LEARNED)):
        learned[experiment] = learn(experiment, options.seconds)
        print(f"{experiment}: {learned[experiment]}", flush=True)
    report = {
        "experiment": options.experiment,
        "envs": ENVS,
        "machine": f"{platform.machine()}, {platform.python_version()}, torch {torch.__version__}",
        **play_in_turns(options.experiment, options.seconds),
        "learner": learned,
    }
    plan = compose_self_play(options.experiment, num_envs=ENVS).agent["plan"]
    report["needs"] = {
        machines: needs(
            machines, report["decisions_per_s"]["1 worker"], plan, learned[options.experiment]
        )
        for machines in MACHINES
    }
    for name, rate in report["decisions_per_s"].items():
        print(f"{name}: {rate} decisions/s, {report['times_0_workers'][name]} x")
    print(json.dumps(report))


if __name__ == "__main__":
    run_guarded(main)
