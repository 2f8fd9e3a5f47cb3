"""Quality of a trained MuZero's model: predictions beside play and simulation.

    python -m benchmarks.model RUN [--checkpoint best] [--split val] [--episodes 16]
                               [--scenarios varied] [--explore SHARE] [--depth K] [--output FILE]
                               [--opponents rl4pnc rte_case14] [--attacked-states 64]
                               [--only-attacked] [--folder FOLDER]

RUN is the folder of a run, or weights that ship, such as ``case14``. It is played over its
evaluation's scenarios, paid by the reward it was trained with, and what is reported is:

1. The error of predicted rewards and values, by depth of the unroll along the actions played. A
   value is compared with the return really observed, by the training's own discount. A truncated
   episode would have gone on, so there the network's value of the last observation stands for the
   rest, as in training; a second table keeps only returns with little of that.
2. Whether the predicted end of the episode is calibrated, where the network predicts discounts.
   With ``agent.discount_unit=step`` a discount mixes the end with the decision's duration, and is
   compared itself.
3. How the prior, the loadings foreseen (by a network that does), the model's Q one step ahead and
   the search rank the legal actions beside the simulator's look-ahead on the five-minute forecast.
   A decision's value is about all that follows, so no agent should agree with it fully; but an
   unsafe choice where a safe one was there is a mistake.

``--explore`` plays a share of legal actions at random: episodes that end, and states that the agent
avoids. Returns are then those of such play. Without power grids (CartPole) the third is left out. A
run without trained dynamics (``agent.unroll_steps=0``, as AlphaZero's) has no model of its own:
values of observations, the prior and the search, which plans in the simulator, are left.

4. Of power grids, a fixed list of attacked or stressed validation states for each opponent, made
anew by seeded play, whose hash is printed. The legal actions of distinct effect are ranked by the
prior, the loadings foreseen, the model's Q, the search's improved policy and plans on what the
network foresees (where it has learned what plans lead to), beside the simulator's own plans of
several actions (``agents.model_quality.planned_values``). Loadings foreseen 1, 3 and 5
actions deep are compared with those of the simulator, and endings within as many.
``--attacked-states 0`` leaves this out, ``--only-attacked`` leaves out the rest. ``--folder``
writes plots (PNG) and all figures of it (``attacked.csv``).

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.configuration.composition import (
    build_agent,
    build_episode_list,
    build_evaluation_factory,
    build_options,
    evaluation_environment,
    probe_spaces,
)
from agents.environments import EnvironmentFactory
from agents.evaluation import DEFAULT_SEED, EpisodeSpec
from agents.evaluation.protocol import describe_protocol
from agents.model_quality import (
    Assessment,
    AttackedAssessment,
    StressedStates,
    assess,
    assess_attacked,
    find_truth,
    play_decisions,
    write_attacked_plots,
)
from agents.muzero.agent import MuZeroAgent
from agents.power_grid.foreseen import foresight_of
from agents.runs.devices import torch_threads
from agents.runs.files import atomic_write
from agents.runs.output_folders import check_writable
from agents.runs.weights import WHICH, find_weights
from benchmarks.model_tables import attacked_csv, tell, tell_attacked
from envs.scenarios import SPLITS
from powergrid_muzero.names import choose

OPPONENTS = ("rl4pnc", "rte_case14")  # of l2rpn_case14_sandbox
_THEIR_GRID = "l2rpn_case14_sandbox"
SAFE_WITHOUT_GATE = 0.95  # rho, of environments without an idle gate


class _Loaded(NamedTuple):
    """A run, ready to be played."""

    config: dict[str, Any]
    agent: MuZeroAgent
    make_environment: EnvironmentFactory
    episode_list: tuple[EpisodeSpec, ...]


def main() -> None:
    """Play, compare and print."""
    parser = OneLineParser(description="How good a trained MuZero's model is.")
    parser.add_argument("run", type=path_argument, help="a run of MuZero, or weights that ship")
    parser.add_argument("--checkpoint", default="best", help="best or latest")
    parser.add_argument("--split", default="val", help="train, val or test")
    parser.add_argument("--episodes", type=whole_number(1), default=16, help="of the split's list")
    parser.add_argument("--scenarios", help="varied, recombined, ...; the evaluation's by default")
    parser.add_argument("--explore", type=float, default=0.0, help="share of random legal actions")
    parser.add_argument(
        "--depth", type=whole_number(1), help="K; the training's unroll_steps by default"
    )
    parser.add_argument(
        "--max-steps", type=whole_number(1), help="cap of an episode, environment steps"
    )
    parser.add_argument(
        "--decisions", type=whole_number(1), default=300, help="cap of an episode, decisions"
    )
    parser.add_argument("--opponents", nargs="+", metavar="NAME", help=f"of {', '.join(OPPONENTS)}")
    parser.add_argument(
        "--attacked-states", type=whole_number(0), default=64, help="of each opponent; 0: none"
    )
    parser.add_argument(
        "--only-attacked", action="store_true", help="judge on attacked grids alone"
    )
    parser.add_argument(
        "--folder", type=path_argument, help="an existing one, for plots and attacked.csv"
    )
    parser.add_argument("--output", type=path_argument, help="JSON file to write")
    run(parser.parse_args())


def run(options: argparse.Namespace) -> None:
    """Do what the command line says.

    Args:
        options: of ``main``.

    Raises:
        ValueError: a user's mistake.
    """
    begin = time.perf_counter()
    if not 0.0 <= options.explore <= 1.0:
        raise ValueError(f"--explore {options.explore}: expected a share, 0 to 1")
    for file in (options.output, options.folder and options.folder / "attacked.csv"):
        if file is not None:
            check_writable(file)
    loaded = load(options)
    opponents = _opponents(options, loaded.config["env"]["kwargs"])
    agent = loaded.config["agent"]
    depth = _depth(options, int(agent["unroll_steps"]))
    with torch_threads(1):
        found = None if options.only_attacked else _played(options, loaded, depth)
        attacked = [_attacked(options, loaded, opponent) for opponent in opponents]
    protocol = None
    if found is not None:
        protocol = describe_protocol(
            loaded.make_environment, loaded.episode_list, split=options.split
        )
    config = {
        "run": str(options.run),
        "checkpoint": options.checkpoint,
        "explore": options.explore,
        "depth": depth,
        "most_decisions": options.decisions,
        "safe_rho": _gate(loaded),
        "discount": agent["discount"],
        "discount_per_step": agent.get("discount_unit") == "step",
        "predict_discount": loaded.agent.network.predicts_discount,
        "unroll_steps": agent["unroll_steps"],
        "td_steps": agent["td_steps"],
        "seeds": {"agent": 0, "exploration": 0, "environments": loaded.episode_list[0].seed},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "protocol_sha256": protocol and protocol.sha256,
        "protocol": protocol and asdict(protocol),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    lines = []
    if found is not None:
        trained_cap = loaded.config["env"]["kwargs"].get("max_steps")
        lines += tell(found, config, trained_cap=trained_cap)
    for one in attacked:
        lines += tell_attacked(one)
    print("\n".join(lines))
    if options.folder is not None and attacked:
        with atomic_write(options.folder / "attacked.csv") as file:
            file.write(attacked_csv(attacked).encode())
        write_attacked_plots(options.folder, attacked)
    judged = {} if found is None else _plain(found)
    judged |= {"attacked": [_plain(one._replace(foreseen=())) for one in attacked]}
    report = json.dumps({"config": config, **judged}, allow_nan=False)
    if options.output is not None:
        with atomic_write(options.output) as file:
            file.write((report + "\n").encode())
    print(report)


def _played(options: argparse.Namespace, loaded: _Loaded, depth: int) -> Assessment:
    agent = loaded.config["agent"]
    decisions = play_decisions(
        loaded.agent,
        loaded.make_environment,
        loaded.episode_list,
        explore=options.explore,
        most_decisions=options.decisions,
    )
    return assess(
        loaded.agent.network,
        decisions,
        discount=agent["discount"],
        discount_per_step=agent.get("discount_unit") == "step",
        depth=depth,
        gate=_gate(loaded),
    )


def _attacked(options: argparse.Namespace, loaded: _Loaded, opponent: str) -> AttackedAssessment:
    agent, config = loaded.agent, loaded.config
    kwargs = build_options(
        {
            key: value
            for key, value in config["env"]["kwargs"].items()
            if key in ("grid", "parameters", "observation", "reward")
        }
    )
    with StressedStates(kwargs, opponent=opponent, count=options.attacked_states) as listed:
        agent.bind(listed.env)
        truth = find_truth(
            listed,
            lambda seen, mask: agent.search(seen, mask, np.zeros(1, np.int64)).policy,
            foresight_of(agent.network),
        )
        return assess_attacked(
            agent.network,
            listed,
            truth,
            discount=config["agent"]["discount"],
            with_model=config["agent"]["unroll_steps"] > 0,
        )


def _gate(loaded: _Loaded) -> float:
    return loaded.make_environment.kwargs.get("idle_gate") or SAFE_WITHOUT_GATE


def _opponents(options: argparse.Namespace, kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Return the opponents of the attacked grids to judge on."""
    given = {
        "--only-attacked": options.only_attacked,
        "--opponents": options.opponents is not None,
        "--folder": options.folder is not None,
    }
    wanted = " and ".join(name for name, there in given.items() if there)
    if "grid" not in kwargs:
        if wanted:
            raise ValueError(
                f"{options.run} plays no power grids, so there are none to attack: leave out "
                f"{wanted}"
            )
        return ()
    if not options.attacked_states:
        if wanted:
            raise ValueError(
                "--attacked-states 0 leaves out the attacked grids, which "
                f"{wanted} asks for: leave out one of them"
            )
        return ()
    if options.opponents is not None:
        return tuple(choose("opponent", name, OPPONENTS) for name in options.opponents)
    if kwargs["grid"] == _THEIR_GRID:
        return OPPONENTS
    if wanted:
        raise ValueError(
            f"the opponents {', '.join(OPPONENTS)} are of {_THEIR_GRID}, and {options.run} plays "
            f"{kwargs['grid']}: leave out {wanted}"
        )
    return ()


def load(options: argparse.Namespace) -> _Loaded:
    """Return the run that the command line names.

    Args:
        options: of ``main``.

    Raises:
        ValueError: no run of MuZero, nothing learned, or no such checkpoint, split or scenarios.
    """
    choose("checkpoint", options.checkpoint, WHICH)
    choose("split", options.split, SPLITS)
    weights = find_weights(str(options.run), options.checkpoint)
    if weights.run is None:
        raise ValueError(
            f"{options.run} is a checkpoint by itself, which does not tell what it was trained "
            "with: name the folder of its run"
        )
    config = weights.run.load_config()
    env = config["env"]
    changes = {
        key: value
        for key, value in config["evaluation"]["env"].items()
        if key != "reward"  # it stays the training's: that is what is predicted
    }
    if options.scenarios is not None:
        if "scenarios" not in env["kwargs"]:
            raise ValueError(
                f"--scenarios {options.scenarios}: environment {env['id']} has none; leave it out"
            )
        changes["scenarios"] = options.scenarios
    env = evaluation_environment(env, changes)
    episode_list = build_episode_list(
        env, split=options.split, episodes=options.episodes, seed=DEFAULT_SEED
    )
    make_environment = build_evaluation_factory(
        env, split=options.split, max_steps=options.max_steps
    )
    observation_space, action_space = probe_spaces(make_environment)
    agent = build_agent(
        config["agent"], observation_space=observation_space, action_space=action_space, seed=0
    )
    if not isinstance(agent, MuZeroAgent):
        raise ValueError(
            f"{options.run} is a run of {type(agent).__name__}, which has no model; name one of "
            "MuZero"
        )
    if not agent.learns:
        raise ValueError(
            f"{options.run} plans in the simulator without a network (agent.model.guidance=none): "
            "there is no learned model to judge"
        )
    weights.restore(agent)
    return _Loaded(config, agent, make_environment, episode_list)


def _depth(options: argparse.Namespace, unroll_steps: int) -> int:
    if options.depth is None:
        return unroll_steps
    if unroll_steps == 0:
        raise ValueError(
            f"--depth {options.depth}: {options.run} trained no dynamics (agent.unroll_steps=0) "
            "that could be unrolled; leave it out"
        )
    return int(options.depth)


def _plain(value: Any) -> Any:
    """Return named tuples as objects and NaN as null, for JSON."""
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    run_guarded(main)
