"""Ablations of ``experiment=best`` and of the weights for attacked grids: one part changed.

    python -m benchmarks.ablations train [NAME ...] [--minutes M] [--env-steps N] [--seeds 0 1 2]
                                         [--jobs J] [--results FOLDER] [--rest] [--output FILE.csv]
    python -m benchmarks.ablations decide RUN [RUN ...] [--only NAME ...] [--output FILE.csv]
    python -m benchmarks.ablations attacked [WEIGHTS ...] [--opponent NAME] [--first N]
                                            [--episodes N] [--only NAME ...] [--output FILE.csv]

``train`` trains each variant on one core for ``--minutes`` of wall-clock time, ``--jobs`` of them
side by side, and evaluates its best weights on the validation list. Shown are that list and the
harder one of varied months, which chose the weights. ``--minutes`` counts the evaluations in
between; ``--env-steps`` (of the schedules) replaces the recipe's own, so that it fits. ``decide``
plays trained runs, other seeds of one recipe, with another search at decision time, on the longer
list of varied months of validation. ``attacked`` does so with weights of ``experiment=robust`` on
attacked months of validation. ``--rest`` keeps what is there. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import envs
from agents.commands.command_line import (
    OneLineParser,
    path_argument,
    positive_number,
    run_guarded,
    whole_number,
)
from agents.evaluation.statistics import METRIC, values
from agents.runs.files import atomic_write
from agents.runs.output_folders import check_writable
from benchmarks.curves import read_curve
from benchmarks.ladder import PREVENTIVE
from benchmarks.seeds import estimate_over_seeds, read_one, scores_by_seed
from powergrid_muzero.names import choose

_LONG = (  # scalar returns of hundreds need the quickstart's heads and rescaled values
    *("agent.network.value_codec.num_bins=121", "agent.network.value_codec.support_size=120"),
    *("agent.network.reward_codec.num_bins=101", "agent.network.reward_codec.support_size=100"),
    *("agent.network.value_codec.transform=true", "agent.network.reward_codec.transform=true"),
    "agent.search.normalization=siblings",
)
_ON_VARIED = ("scenarios=varied", "env.kwargs.max_steps=2016")
_UNTAUGHT = ("agent/teacher=none", "agent.plan.taught_decisions=0")
_PUCT = ("~agent.search.max_considered", "~agent.search.value_scale")

TRAINED: Mapping[str, tuple[str, ...]] = {  # name -> overrides
    "best": ("experiment=best",),
    "not_taught": ("experiment=best", "network=residual", *_UNTAUGHT),
    "plain_months": ("experiment=best", "scenarios=recombined"),
    "survival_reward": ("experiment=best", "reward=survival", *_LONG),
    "little_decay": ("experiment=best", "agent.optimizer.weight_decay=1e-4"),
    "residual": ("experiment=best", "network=residual"),
    "puct": ("experiment=best", "search=puct", *_PUCT, "agent.search.normalization=tree"),
    "consistency": (
        "experiment=best",
        "agent.learning.consistency_weight=2.0",
        "agent.network.consistency_size=256",
        "agent.replay.unroll_observations=true",
    ),
    "fewer_updates": (  # half as many, each of twice the decisions and two unrolled steps
        *("experiment=best", "agent.plan.updates_per_decision=0.125"),
        *("agent.plan.batch_size=256", "agent.unroll_steps=2"),
    ),
    "reanalysis": (  # never while taught, so teaching ends early
        *("experiment=best", "agent.plan.reanalyse_every=100", "agent.plan.taught_decisions=3_000"),
    ),
    "taught_at_first": ("experiment=best", "agent.plan.taught_decisions=16_000"),
    "per_decision": (*("experiment=best", "agent.discount=0.95", "agent.discount_unit=decision"),),
    "4_simulations": (
        *("experiment=best", "agent.search.num_simulations=4", "agent.search.max_considered=4"),
    ),
    "64_simulations": (
        *("experiment=best", "agent.search.num_simulations=64", "agent.search.max_considered=32"),
    ),
    "no_gate": (  # asked at every step while it learns, evaluated as the others are
        *("experiment=best", "env.kwargs.idle_gate=null", "+evaluation.env.idle_gate=0.95"),
    ),
    "ppo": ("experiment=ppo", *_ON_VARIED),
    "alphazero": ("experiment=alphazero", *_ON_VARIED, "agent.learning.averaging=0.99"),
}
_ONE_CORE = (
    *("logger=csv", "trainer.num_workers=0", "trainer.learner_threads=1", "trainer.device=cpu"),
    *("trainer.evaluation_interval=2_000_000", "trainer.checkpoint_interval=100_000_000"),
    *("evaluation.interim.episodes=32", "evaluation.interim.scenarios=varied"),
    *("evaluation.num_workers=0", "evaluation.final.baselines=false"),
)

DECIDED: Mapping[str, tuple[str, ...]] = {
    "as_trained": (),
    "prior_alone": ("agent.search.num_simulations=1",),
    "4_simulations": ("agent.search.num_simulations=4",),
    "8_simulations": ("agent.search.num_simulations=8",),
    "32_simulations": ("agent.search.num_simulations=32",),
    "75_simulations": ("agent.search.num_simulations=75",),
    "puct": ("search=puct", "agent.search.num_simulations=16"),
    "values_x5": ("agent.search.value_scale=0.5",),
    "simulator": ("agent/model=simulator", "agent.model.calm_values=held_forecast"),
    "distinct_mask": ("env.kwargs.action_mask=distinct",),
    "foreseen_alone": ("+agent.network.prior_weight=0",),
    "habit_as_much": ("+agent.network.prior_weight=1",),
    "no_caution": ("+agent.network.termination_penalty=1",),
}
_VARIED = (
    *(
        "split=val",
        "evaluation.env.scenarios=varied_more",
        "env.kwargs.action_mask=connected",
    ),
    *("checkpoint=latest", "evaluation.plots=false"),
)
_SHOWN = ("steps_percent", "completed_percent", "decisions")

_PLANS = ("search=planner", "agent/model=foreseen")
_TREE = ("search=gumbel", "agent.search.max_considered=16")
_AHEAD_1 = ("agent.search.depth=1", "agent.search.answer_depth=1", "agent.search.courses=0")
_AHEAD_2 = ("agent.search.depth=2", "agent.search.answer_depth=2", "agent.search.courses=0")
_NARROW = (
    *("agent.search.width=10", "agent.search.solved=30", "agent.search.answer_width=3"),
    *("agent.search.answer_solved=12", "agent.search.candidates=10", "agent.search.courses=6"),
)
_IN_NETWORK = (*_TREE, "agent/model=learned")
_IN_SIMULATOR = (*_TREE, "agent/model=simulator")
_WITH_CHANCE = (*_IN_SIMULATOR, "agent.model.chance=attacks")
ATTACKED: Mapping[str, tuple[str, ...]] = {  # at decision time, of weights of experiment=robust
    "as_shipped": _PLANS,
    "prior_alone": (*_IN_NETWORK, "agent.search.num_simulations=1"),
    "one_calm_action": (*_PLANS, "agent.search.courses=0"),
    "answers_of_one": (*_PLANS, "agent.search.answer_depth=1"),
    "answers_of_two": (*_PLANS, "agent.search.answer_depth=2"),
    "one_ahead": (*_PLANS, *_AHEAD_1),
    "two_ahead": (*_PLANS, *_AHEAD_2),
    "half_as_wide": (*_PLANS, *_NARROW),
    **{
        f"{name}_{simulations}": (*parts, f"agent.search.num_simulations={simulations}")
        for name, parts in (
            ("tree_in_network", _IN_NETWORK),
            ("tree_in_simulator", _IN_SIMULATOR),
            ("tree_in_simulator_with_chance", _WITH_CHANCE),
        )
        for simulations in (8, 32, 128)
    },
}


def main() -> None:
    """Read the command line and measure."""
    parser = OneLineParser(description="What each part of experiment=best is worth.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    train = kinds.add_parser("train", help="with one part of the recipe changed")
    train.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TRAINED)}")
    train.add_argument("--minutes", type=positive_number, default=7.2)
    train.add_argument("--env-steps", type=whole_number(1), default=8_000_000)
    train.add_argument("--seeds", nargs="+", type=whole_number(0, below=2**32), default=[0])
    decide = kinds.add_parser("decide", help="with another search at decision time")
    decide.add_argument("runs", nargs="+", type=path_argument, metavar="RUN")
    decide.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(DECIDED)}")
    attacked = kinds.add_parser("attacked", help="the same under attack")
    attacked.add_argument("weights", nargs="*", default=["case14_robust"], metavar="WEIGHTS")
    attacked.add_argument("--opponent", default="rl4pnc")
    attacked.add_argument("--first", type=whole_number(0), default=16, help="month to begin with")
    attacked.add_argument("--episodes", type=whole_number(1), default=8, help="months")
    attacked.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(ATTACKED)}")
    for one in (train, decide, attacked):
        one.add_argument("--jobs", type=whole_number(1), default=os.cpu_count())
        one.add_argument("--results", type=path_argument, default=Path("runs/ablations"))
        one.add_argument("--rest", action="store_true", help="keep results that are there")
        one.add_argument("--output", type=path_argument, help="CSV file")
    options = parser.parse_args()
    {"train": _train, "decide": _decide, "attacked": _attacked}[options.kind](options)


def _train(options: argparse.Namespace) -> None:
    names = [choose("ablation", name, TRAINED) for name in options.names] or list(TRAINED)
    jobs: list[tuple[Path, list[str]]] = []
    for name in names:
        for seed in options.seeds:
            arguments = [*TRAINED[name], *_ONE_CORE, f"trainer.max_minutes={options.minutes}"]
            if "experiment=best" in arguments:
                arguments.append(f"trainer.total_env_steps={options.env_steps}")
            if name == "alphazero":  # a minute for a few months
                arguments.append("evaluation.final.episodes=4")
            folder = options.results / name / f"seed{seed}"
            jobs.append(
                (folder, ["agents.commands.train", *arguments, f"seed={seed}", f"folder={folder}"])
            )
    _run(jobs, options)
    rows = [trained_row(folder.parent.name, folder) for folder, _ in jobs]
    _report(rows, options.output)


def trained_row(name: str, folder: Path) -> dict[str, str]:
    """Return what a training came to, as strings by column."""
    best = max(read_curve(folder), key=lambda point: (point.steps_percent, point.env_steps))
    last = read_curve(folder)[-1]
    plain = read_one(folder).episodes
    row = {
        "variant": name,
        "seed": folder.name.removeprefix("seed"),
        "decisions": str(last.decisions),
        "minutes": f"{last.minutes:.1f}",
        "varied_steps_percent": f"{best.steps_percent:.1f}",
        "varied_completed_percent": f"{best.completed_percent:.1f}",
        "plain_scenarios": str(len(plain)),
    }
    for metric in ("steps_percent", "completed_percent"):
        scores = values(plain, METRIC[metric])
        assert scores is not None
        row[f"plain_{metric}"] = f"{scores.mean():.1f}"
    return row


def _decide(options: argparse.Namespace) -> None:
    names = [choose("ablation", name, DECIDED) for name in options.only or DECIDED]
    folders = {
        name: [options.results / "decide" / name / run.resolve().name for run in options.runs]
        for name in names
    }
    jobs = [
        (
            folder,
            [
                "agents.commands.evaluate",
                f"run={run}",
                *_VARIED,
                *DECIDED[name],
                f"folder={folder}",
            ],
        )
        for name in names
        for run, folder in zip(options.runs, folders[name], strict=True)
    ]
    _run(jobs, options)
    _report([decided_row(name, folders[name]) for name in names], options.output)


def _attacked(options: argparse.Namespace) -> None:
    choose("opponent", options.opponent, tuple(envs.OPPONENTS))
    names = [choose("ablation", name, ATTACKED) for name in options.only or ATTACKED]
    place = options.results / "attacked" / options.opponent
    folders = {
        name: [place / name / Path(weights).resolve().name for weights in options.weights]
        for name in names
    }
    months = (
        *(f"opponent={options.opponent}", PREVENTIVE, "split=val"),
        *("evaluation.env.scenarios=recombined_more", "evaluation.plots=false"),
        *(f"evaluation.first={options.first}", f"evaluation.episodes={options.episodes}"),
        *("evaluation.num_workers=0", "evaluation.num_envs=4"),
    )
    jobs = [
        (
            folder,
            [
                "agents.commands.evaluate",
                f"weights={weights}",
                *months,
                *ATTACKED[name],
                f"folder={folder}",
            ],
        )
        for name in names
        for weights, folder in zip(options.weights, folders[name], strict=True)
    ]
    _run(jobs, options)
    _report([decided_row(name, folders[name]) for name in names], options.output)


def decided_row(name: str, folders: Sequence[Path]) -> dict[str, str]:
    """Return the mean of several seeds' evaluations, with intervals, as strings by column."""
    results = [read_one(folder) for folder in folders]
    scores = scores_by_seed(results)
    row = {"variant": name, "seeds": str(len(results))}
    for metric in _SHOWN:
        mean, low, high = estimate_over_seeds(scores[metric])
        row[metric] = f"{mean:.1f}"
        if metric != "decisions":
            row[f"{metric}_low"], row[f"{metric}_high"] = f"{low:.1f}", f"{high:.1f}"
    medians = sorted(result.latency.median for result in results)
    row["median_ms"] = f"{medians[len(medians) // 2]:.2f}"
    row["mean_ms"] = f"{sum(result.latency.mean for result in results) / len(results):.2f}"
    return row


def _run(jobs: Sequence[tuple[Path, list[str]]], options: argparse.Namespace) -> None:
    """Run the commands, some side by side, each on one thread."""
    if options.output is not None:
        check_writable(options.output)
    left = [job for job in jobs if not (options.rest and job[0].exists())]
    taken = [str(folder) for folder, _ in left if folder.exists()]
    if taken:
        raise ValueError(f"{', '.join(taken)} exist; remove them, or keep them with --rest.")
    with ThreadPoolExecutor(options.jobs) as threads:
        list(threads.map(_command, left))


def _command(job: tuple[Path, list[str]]) -> None:
    folder, (module, *arguments) = job
    print(f"python -m {module} {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if finished.returncode:
        last = (finished.stderr.strip() or finished.stdout.strip() or "no output").splitlines()[-1]
        raise ValueError(f"{folder} failed with exit code {finished.returncode}: {last}")


def _report(rows: Sequence[Mapping[str, str]], output: Path | None) -> None:
    lines = [list(rows[0]), *([*row.values()] for row in rows)]
    for line in lines:
        print("".join(f"{cell:>25}" for cell in line))
    if output is not None:
        with atomic_write(output) as file:
            file.write("".join(",".join(line) + "\n" for line in lines).encode())
    print(json.dumps(list(rows)))


if __name__ == "__main__":
    run_guarded(main)
