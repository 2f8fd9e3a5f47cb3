"""Quality of a trained MuZero's model: predictions beside play and simulation.

    python -m benchmarks.model RUN [--checkpoint best] [--split val] [--episodes 16]
                               [--scenarios varied] [--explore SHARE] [--depth K] [--output FILE]

Plays a run over its evaluation's scenarios, paid by the reward it was trained with, and reports:

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
values of observations, the prior and the search, which plans in the simulator, are left. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.configuration.composition import (
    build_agent,
    build_episode_list,
    build_evaluation_factory,
    evaluation_environment,
    probe_spaces,
)
from agents.environments import EnvironmentFactory
from agents.evaluation import DEFAULT_SEED, EpisodeSpec
from agents.evaluation.protocol import describe_protocol
from agents.evaluation.tables import align, number
from agents.model_quality import Assessment, Calibration, Errors, Ranked, assess, play_decisions
from agents.model_quality.assessment import MOST_UNSEEN, TOP
from agents.muzero.agent import MuZeroAgent
from agents.runs.checkpoints import restore_agent
from agents.runs.devices import torch_threads
from agents.runs.files import atomic_write
from agents.runs.folder import RunFolder
from agents.runs.output_folders import check_writable
from envs.scenarios import SPLITS
from powergrid_muzero.names import choose

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
    parser.add_argument("run", type=path_argument, help="folder of a trained MuZero run")
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
    if options.output is not None:
        check_writable(options.output)
    loaded = load(options)
    agent = loaded.config["agent"]
    depth = _depth(options, int(agent["unroll_steps"]))
    per_step = agent.get("discount_unit") == "step"
    gate = loaded.make_environment.kwargs.get("idle_gate") or SAFE_WITHOUT_GATE
    with torch_threads(1):
        decisions = play_decisions(
            loaded.agent,
            loaded.make_environment,
            loaded.episode_list,
            explore=options.explore,
            most_decisions=options.decisions,
        )
        found = assess(
            loaded.agent.network,
            decisions,
            discount=agent["discount"],
            discount_per_step=per_step,
            depth=depth,
            gate=gate,
        )
    protocol = describe_protocol(loaded.make_environment, loaded.episode_list, split=options.split)
    config = {
        "run": str(options.run),
        "checkpoint": options.checkpoint,
        "explore": options.explore,
        "depth": depth,
        "most_decisions": options.decisions,
        "safe_rho": gate,
        "discount": agent["discount"],
        "discount_per_step": per_step,
        "predict_discount": loaded.agent.network.predicts_discount,
        "unroll_steps": agent["unroll_steps"],
        "td_steps": agent["td_steps"],
        "seeds": {"agent": 0, "exploration": 0, "environments": loaded.episode_list[0].seed},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "protocol_sha256": protocol.sha256,
        "protocol": asdict(protocol),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print("\n".join(tell(found, loaded, config)))
    report = json.dumps({"config": config, **_plain(found)}, allow_nan=False)
    if options.output is not None:
        with atomic_write(options.output) as file:
            file.write((report + "\n").encode())
    print(report)


def load(options: argparse.Namespace) -> _Loaded:
    """Return the run that the command line names.

    Args:
        options: of ``main``.

    Raises:
        ValueError: no run of MuZero, nothing learned, or no such checkpoint, split or scenarios.
    """
    choose("checkpoint", options.checkpoint, ("best", "latest"))
    choose("split", options.split, SPLITS)
    folder = RunFolder.open_existing(options.run)
    config = folder.load_config()
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
    weights = folder.checkpoints.load_weights(options.checkpoint)
    restore_agent(agent, weights, origin=f"the {options.checkpoint} checkpoint of {options.run}")
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


def tell(found: Assessment, loaded: _Loaded, config: dict[str, Any]) -> list[str]:
    """Return the report's lines.

    Args:
        found: what is said of the model.
        loaded: the run.
        config: how it was found.
    """
    protocol = config["protocol"]
    where = f"{protocol['scenarios']}, split {protocol['split']}" if protocol["grid"] else "seeds"
    lines = [
        f"{config['run']}, {config['checkpoint']}: {protocol['environment']}, "
        f"{protocol['episodes']} episodes ({where}), {found.decisions} decisions; "
        f"{found.terminated} ended for good, {found.truncated} truncated"
    ]
    if config["explore"]:
        lines.append(f"{config['explore']:.0%} of the actions were drawn at random")
    trained_cap = loaded.config["env"]["kwargs"].get("max_steps")
    if trained_cap is not None and (protocol["max_steps"] or math.inf) > trained_cap:
        lines.append(
            f"the training's episodes were capped at {trained_cap} steps: longer decisions were "
            f"never learned from; --max-steps {trained_cap} compares like with like"
        )
    dynamics = config["depth"] > 0
    if not dynamics:
        lines.append(
            "the run trained no dynamics (agent.unroll_steps=0): rewards, ends and the model's "
            "Q are left out"
        )
    accuracy = found.accuracy
    unit = "environment step" if config["discount_per_step"] else "decision"
    lines += [
        "",
        f"value by depth k, against the return (discount {config['discount']} per {unit}, "
        "truncated episodes bootstrapped)",
        _error_table(accuracy.value, 0),
    ]
    if accuracy.observed_value[0].count < accuracy.value[0].count:
        lines += [
            "",
            f"of these, returns of which at most {MOST_UNSEEN:.0%} is bootstrapped",
            _error_table(accuracy.observed_value, 0),
        ]
    if dynamics:
        lines += ["", "reward by depth k", _error_table(accuracy.reward, 1)]
        after = accuracy.after_end
        if any(one.count for one in after):
            lines += ["", "after an end for good, where 0 is right"]
            columns = [
                ["k", *(str(k) for k in range(1, len(after) + 1))],
                ["n", *(str(one.count) for one in after)],
                ["mean |value|", *(_shown(one.value) for one in after)],
                ["mean |reward|", *(_shown(one.reward) for one in after)],
            ]
            lines.append(align(columns))
    if dynamics:
        lines += ["", *_tell_endings(found, per_step=config["discount_per_step"])]
    lines.append("")
    if found.ranking is None:
        lines.append(
            f"ranking of actions: left out, {protocol['environment']} has no simulator to look "
            "ahead with"
        )
    else:
        some = found.ranking[0].choices
        lines += [
            f"ranking of actions beside the simulator's look-ahead, {found.candidates:.0f} a "
            f"decision; some are safe (rho below {config['safe_rho']}) in {some.safe_count} "
            f"decisions, some survive in {some.survivable_count}",
            _ranking_table(found.ranking),
        ]
    lines.append("")
    return lines


def _tell_endings(found: Assessment, *, per_step: bool) -> list[str]:
    what = "discounts" if per_step else "end of the episode"
    if found.endings is None:
        return [
            f"calibration of the predicted {what}: left out, the network predicts no discounts "
            "(network.predict_discount=false)"
        ]
    title = "gamma^duration, or 0 where it ends" if per_step else "probability that it ends here"
    first = found.endings[0]
    return [
        f"calibration of the predicted {what} by depth k: {title}",
        _calibration_table(found.endings),
        "",
        "reliability at depth 1",
        _bin_table(first),
    ]


def _error_table(errors: Sequence[Errors], first: int) -> str:
    return align(
        [
            ["k", *(str(first + position) for position in range(len(errors)))],
            ["n", *(str(one.count) for one in errors)],
            ["observed", *(_shown(one.observed) for one in errors)],
            ["mean abs. error", *(_shown(one.mae) for one in errors)],
            ["of the mean", *(_shown(one.baseline_mae) for one in errors)],
            ["bias", *(_shown(one.bias, sign="+") for one in errors)],
            ["correlation", *(_shown(one.correlation) for one in errors)],
            ["R^2", *(_shown(one.r_squared) for one in errors)],
        ]
    )


def _calibration_table(depths: Sequence[Calibration]) -> str:
    return align(
        [
            ["k", *(str(position) for position in range(1, len(depths) + 1))],
            ["n", *(str(one.count) for one in depths)],
            ["predicted", *(_shown(one.predicted, 4) for one in depths)],
            ["observed", *(_shown(one.observed, 4) for one in depths)],
            ["Brier score", *(_shown(one.brier, 4) for one in depths)],
            ["of the mean", *(_shown(one.baseline_brier, 4) for one in depths)],
            ["calibration error", *(_shown(one.calibration_error, 4) for one in depths)],
        ]
    )


def _bin_table(calibration: Calibration) -> str:
    filled = [one for one in calibration.bins if one.count]
    return align(
        [
            ["prediction", *(f"{one.low:g} to {one.high:g}" for one in filled)],
            ["n", *(str(one.count) for one in filled)],
            ["predicted", *(_shown(one.predicted, 4) for one in filled)],
            ["observed", *(_shown(one.observed, 4) for one in filled)],
        ]
    )


def _ranking_table(ranking: Sequence[Ranked]) -> str:
    return align(
        [
            ["choice", *(one.name for one in ranking)],
            ["Spearman", *(_shown(one.correlation) for one in ranking)],
            [f"best in top {TOP} %", *(_percent(one.hits_best) for one in ranking)],
            ["safe %", *(_percent(one.choices.safe) for one in ranking)],
            ["ends the game %", *(_percent(one.choices.ends_game) for one in ranking)],
            ["regret, rho", *(_shown(one.choices.regret, 3) for one in ranking)],
        ]
    )


def _shown(value: float | None, digits: int = 2, *, sign: str = "") -> str:
    return "-" if value is None or math.isnan(value) else number(value, digits, sign=sign)


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def _plain(value: Any) -> Any:
    """Return named tuples as objects and NaN as null, for JSON."""
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    run_guarded(main)
