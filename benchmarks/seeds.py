"""Aggregates the results of several seeds of one recipe.

    python -m benchmarks.seeds RESULT RESULT ... [--against RESULT ...] [--output FILE.csv]

Each RESULT is an evaluation's folder (or its JSON file) with one agent, all of one protocol, so of
the same scenarios. The 95 % interval draws seeds and scenarios with replacement: another training
would have other weights, another month other weather. ``--against`` compares with the seeds of
another agent on the same scenarios: the interval of the difference draws the seeds of each, and for
both the same scenarios. The last line is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.commands.command_line import OneLineParser, path_argument, run_guarded
from agents.evaluation import EvaluationResult, read_results
from agents.evaluation.statistics import METRIC, RESAMPLES, Estimate, values
from agents.runs.files import atomic_write

SHOWN = ("steps_percent", "completed_percent", "reward", "decisions", "mean_distance")


def main() -> None:
    """Read, compare and print."""
    parser = OneLineParser(description="The mean of several seeds, with its interval.")
    parser.add_argument("results", nargs="+", type=path_argument, metavar="RESULT")
    parser.add_argument(
        "--against", nargs="+", type=path_argument, metavar="RESULT", help="another agent's"
    )
    parser.add_argument(
        "--output", type=path_argument, help="a CSV file: one row a seed, and their mean"
    )
    arguments = parser.parse_args()
    results = [read_one(path) for path in arguments.results]
    samples = scores_by_seed(results)
    estimates = {name: estimate_over_seeds(scores) for name, scores in samples.items()}
    lines = [["seed", *SHOWN, "median_ms"]]
    for number, (path, result) in enumerate(zip(arguments.results, results, strict=True)):
        means = [f"{samples[name][number].mean():.2f}" for name in SHOWN]
        lines.append([path.resolve().name, *means, f"{result.latency.median:.2f}"])
    for heading, which in (("mean", 0), ("low", 1), ("high", 2)):
        lines.append([heading, *(f"{estimates[name][which]:.2f}" for name in SHOWN), ""])
    for line in lines:
        print("".join(f"{cell:>19}" for cell in line))
    if arguments.output is not None:
        with atomic_write(arguments.output) as file:
            file.write("".join(",".join(line) + "\n" for line in lines).encode())
    summary = {
        "seeds": len(results),
        "scenarios": len(results[0].episodes),
        "protocol": results[0].protocol.short_hash,
        **{name: [round(number, 3) for number in estimates[name]] for name in SHOWN},
    }
    if arguments.against:
        others = [read_one(path) for path in arguments.against]
        differences = differences_over_seeds(results, others)
        for name, (mean, low, high) in differences.items():
            print(f"{name:>19} {mean:+.2f} [{low:+.2f}, {high:+.2f}] above {others[0].agent}")
        summary["above"] = {
            name: [round(number, 3) for number in given] for name, given in differences.items()
        }
    print(json.dumps(summary))


def read_one(path: Path) -> EvaluationResult:
    """Return the one result at ``path``.

    Raises:
        ValueError: it holds several agents' results, or see ``read_results``.
    """
    found = read_results(path)
    if len(found) != 1:
        agents = ", ".join(result.agent for result in found)
        raise ValueError(
            f"{path} holds {len(found)} agents ({agents}), expected one: evaluate the run again "
            "with evaluation.baselines=false"
        )
    return found[0]


def scores_by_seed(results: Sequence[EvaluationResult]) -> dict[str, np.ndarray]:
    """Return name -> ``[S, N]`` of S results over N scenarios.

    Raises:
        ValueError: the results are not of one protocol, or not of PowerGrid-v0.
    """
    hashes = [result.protocol.short_hash for result in results]
    if len(set(hashes)) > 1:
        raise ValueError(f"the results are of several protocols ({', '.join(hashes)}).")
    found: dict[str, np.ndarray] = {}
    for name in SHOWN:
        rows = [values(result.episodes, METRIC[name]) for result in results]
        if any(row is None for row in rows):
            raise ValueError(f"these episodes have no {name}: expected those of PowerGrid-v0.")
        found[name] = np.stack([row for row in rows if row is not None])
    return found


def estimate_over_seeds(scores: np.ndarray, *, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of ``[S, N]`` and its 95 % bootstrap interval over seeds and scenarios."""
    seeds, scenarios = scores.shape
    rng = np.random.default_rng(0)
    drawn = [
        (rng.integers(seeds, size=seeds), rng.integers(scenarios, size=scenarios))
        for _ in range(resamples)
    ]
    low, high = np.percentile(_resampled_means(scores, *zip(*drawn, strict=True)), [2.5, 97.5])
    return Estimate(float(scores.mean()), float(low), float(high))


def _resampled_means(
    scores: np.ndarray, seeds: Sequence[np.ndarray], scenarios: Sequence[np.ndarray]
) -> np.ndarray:
    """Return ``[R]``: means of ``scores [S, N]`` over R drawn sets of seeds and of scenarios."""
    rows, columns = np.stack(seeds), np.stack(scenarios)
    counts = np.zeros((len(rows), len(scores)))  # how often each seed was drawn
    np.add.at(counts, (np.arange(len(rows))[:, None], rows), 1)
    totals = np.take_along_axis(counts @ scores, columns, axis=1)
    return totals.mean(axis=1) / rows.shape[1]


def differences_over_seeds(
    results: Sequence[EvaluationResult], others: Sequence[EvaluationResult]
) -> dict[str, Estimate]:
    """Return by how much ``results`` are above ``others`` on the same scenarios, by metric.

    Raises:
        ValueError: see ``scores_by_seed``, or the scenarios are not the same.
    """
    names = [[episode.scenario for episode in result.episodes] for result in (*results, *others)]
    if any(one != names[0] for one in names):
        raise ValueError("the results to compare are not of the same scenarios in the same order.")
    ours, theirs = scores_by_seed(results), scores_by_seed(others)
    rng = np.random.default_rng(0)
    count = len(names[0])
    drawn = [
        (
            rng.integers(count, size=count),
            rng.integers(len(results), size=len(results)),
            rng.integers(len(others), size=len(others)),
        )
        for _ in range(RESAMPLES)
    ]
    scenarios, own, other = zip(*drawn, strict=True)  # the same for every metric
    found = {}
    for name in SHOWN:
        means = _resampled_means(ours[name], own, scenarios)
        means -= _resampled_means(theirs[name], other, scenarios)
        low, high = np.percentile(means, [2.5, 97.5])
        mean = float(ours[name].mean() - theirs[name].mean())
        found[name] = Estimate(mean, float(low), float(high))
    return found


if __name__ == "__main__":
    run_guarded(main)
