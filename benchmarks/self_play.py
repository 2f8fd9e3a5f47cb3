"""Self-play decisions per second, in all and by part.

    python -m benchmarks.self_play [--experiment seed] [--envs 32] [--seconds 20] [OVERRIDE ...]

Plays an experiment's own environments, network and search (the specification's by default: 75
simulations, networks of 256) with fresh weights: in one process, then in two. Then times a group's
search, its bare network calls and its environments. The last line is one JSON object.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from agents.agent import full_masks
from agents.commands.command_line import (
    OneLineParser,
    positive_number,
    run_guarded,
    whole_number,
)
from agents.muzero.model import LearnedModel
from agents.muzero.pools import LocalPool, Round, SelfPlayPool, WorkerPool
from benchmarks.playing import GROUPS, compose_self_play, play_round

ROUND = 4  # decisions in each environment between two looks at the clock


def main() -> None:
    """Measure and print."""
    parser = OneLineParser(description="Decisions of self-play per second.")
    parser.add_argument("--experiment", default="seed")
    parser.add_argument("--envs", type=whole_number(2), default=32)
    parser.add_argument("--seconds", type=positive_number, default=20.0)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.envs % GROUPS:
        parser.error(f"--envs {options.envs}: expected an even number, two groups share them")
    torch.set_num_threads(1)
    play = compose_self_play(options.experiment, options.overrides, num_envs=options.envs)
    report: dict[str, Any] = {
        "experiment": options.experiment,
        "simulations": play.make_search().num_simulations,
        "envs": options.envs,
        "machine": f"{platform.machine()}, {platform.python_version()}, torch {torch.__version__}",
    }
    weights = play.make_network().state_dict()
    pools: dict[str, Callable[[], SelfPlayPool]] = {
        "decisions_per_s": lambda: LocalPool(play.make_group, GROUPS),
        "decisions_per_s_2_processes": lambda: WorkerPool(play.make_group, GROUPS, 2),
    }
    for name, make_pool in pools.items():
        pool = make_pool()
        report[name] = round(_decisions_per_second(pool, weights, options.seconds), 1)
        pool.close()
        print(f"{name}: {report[name]}", flush=True)
    report["milliseconds_per_decision"] = _parts(
        play.make_environment(options.envs // GROUPS),
        LearnedModel(play.make_network(), discount=play.agent["discount"]),
        play.make_search(),
    )
    print(json.dumps(report))


def _decisions_per_second(pool: SelfPlayPool, weights: Any, seconds: float) -> float:
    work = Round(weights=weights, num_decisions=ROUND, temperature=1.0)
    decisions, start = 0, 0.0
    for index in range(10**9):
        if index == 1:  # the first round makes environments and compiles
            decisions, start = 0, time.perf_counter()
        decisions += sum(one.decisions.action.size for one in play_round(pool, work))
        if index and time.perf_counter() - start > seconds:
            break
    return decisions / (time.perf_counter() - start)


def _parts(env: Any, model: LearnedModel, search: Any, repeats: int = 10) -> dict[str, float]:
    """Return milliseconds per decision of a group: search, bare network calls, environment."""
    observations, infos = env.reset(seed=0)
    mask = full_masks(infos, env.num_envs, env.num_actions)
    rng = np.random.default_rng(0)
    output = model.root(observations)
    actions = np.zeros(env.num_envs, np.int64)

    def network() -> None:
        for _ in range(search.num_simulations):
            model.step(output.states, actions)

    parts = {
        "search": lambda: search.run(model, observations, mask, rng),
        "network_alone": network,
        "environment": lambda: env.step(actions),
    }
    milliseconds = {}
    for name, run in parts.items():
        run()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        elapsed = time.perf_counter() - start
        milliseconds[name] = round(1e3 * elapsed / repeats / env.num_envs, 3)
    env.close()
    return milliseconds


if __name__ == "__main__":
    run_guarded(main)
