"""Memory of an experiment's agent, and the time that it takes to decide.

    python -m benchmarks.decisions --experiment case36 [--batches 1 16] [--seconds 20]

Fresh weights decide on states that the environment comes to from random starts, as often as there
is time for; times are medians, on one thread. Memory is that of the process, MiB: with everything
imported, with the grids made, with the agent, and at its most while it decides. The last line is
one JSON object. The memory of a training is what ``/usr/bin/time -v powergrid-train`` tells.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from typing import Any

import numpy as np
import torch

from agents.commands.command_line import (
    OneLineParser,
    positive_number,
    run_guarded,
    whole_number,
)
from agents.configuration.composed import compose_here
from agents.configuration.composition import build_agent, build_environment_factory, probe_spaces
from agents.runs.saved_configs import plain
from benchmarks.profiling import resident_mb


def main() -> None:
    """Measure and print."""
    parser = OneLineParser(description="Memory and decision time of an experiment's agent.")
    parser.add_argument("--experiment", default="case36")
    parser.add_argument("--batches", type=whole_number(1), nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=positive_number, default=20.0, help="for each batch")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    words = [f"experiment={arguments.experiment}", *arguments.overrides]
    config = plain(compose_here("train", words).config)
    report: dict[str, Any] = {"experiment": arguments.experiment, "imported": resident_mb()}
    make_environment = build_environment_factory(config["env"])
    observation_space, action_space = probe_spaces(make_environment)
    for batch in arguments.batches:
        environment = make_environment(batch)
        report.setdefault("grids", resident_mb())
        agent = build_agent(
            config["agent"],
            observation_space=observation_space,
            action_space=action_space,
            seed=config["seed"],
        )
        agent.bind(environment)
        report.setdefault("agent", resident_mb())
        observations, infos = environment.reset(seed=0)
        times: list[float] = []
        end = time.perf_counter() + arguments.seconds
        while len(times) < 4 or time.perf_counter() < end:
            began = time.perf_counter()
            actions = agent.act(observations, infos)
            times.append(1000 * (time.perf_counter() - began))
            observations, _, _, _, infos = environment.step(actions)
        environment.close()
        found = statistics.median(times[2:])  # the first compile and warm up
        report[f"batch {batch}, ms"] = round(found, 2)
        print(f"batch {batch}: {found:.1f} ms, {found / batch:.2f} ms a decision")
    report["most"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report["actions"] = int(action_space.n)
    report["observation"] = int(np.prod(observation_space.shape or (1,)))
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in report.items()}))


if __name__ == "__main__":
    run_guarded(main)
