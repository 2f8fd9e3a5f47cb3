"""How near recombined and varied scenarios are to the real series that they are made of.

    python -m benchmarks.scenarios [--grid l2rpn_neurips_2020_track1] [--most 64]

Plays doing nothing on the real series, as they follow each other in the wheel, and on the fixed
lists. Prints a table: loads, loadings of the lines while none is disconnected by its protection,
and how long doing nothing survives under the rules of the grid. The last line is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import envs
from agents.commands.command_line import OneLineParser, run_guarded
from envs.scenarios.compositions import Composition, Periods
from envs.scenarios.recombined import recipe_of

GRIDS_AT_ONCE = 16
STRESSED = 0.95  # rho, per unit


class Played(NamedTuple):
    """A list of scenarios on which nothing was done."""

    scenarios: int
    load: str  # MW, 5 %, median and 95 % of the sums of loads at a time
    rho: float  # per unit, mean of all lines and steps
    highest: str  # per unit, median, 95 % and maximum over steps of the highest line's rho
    stressed_percent: float  # steps with a line at 0.95 or more
    maintenance_percent: float  # scenarios
    steps_percent: float  # survived, of doing nothing
    completed_percent: float  # scenarios


def main() -> None:
    """Play and print."""
    parser = OneLineParser(description="Recombined and varied scenarios beside the real series.")
    parser.add_argument("--grid", default="l2rpn_neurips_2020_track1", help="that is played on")
    parser.add_argument("--most", type=int, default=64, help="scenarios of each list, at most")
    arguments = parser.parse_args()
    periods = recipe_of("recombined", arguments.grid).periods
    rows = {"real": play(arguments.grid, "recombined", real_names(periods))}
    for scenarios in ("recombined", "varied"):
        source = envs.make_source(scenarios, grid=arguments.grid)
        for split in envs.SPLITS:
            names = source.names(split)[: arguments.most]
            rows[f"{scenarios}, {split}"] = play(arguments.grid, scenarios, names)
    print("| |", " | ".join(field.replace("_", " ") for field in Played._fields), "|")
    print("| --- |", " | ".join(["---:"] * len(Played._fields)), "|")
    for name, row in rows.items():
        print(f"| {name} |", " | ".join(str(value) for value in row), "|")
    print(json.dumps({name: row._asdict() for name, row in rows.items()}))


def real_names(periods: Periods) -> tuple[str, ...]:
    """Return the scenarios of real periods that follow each other, all of the same ones.

    A series that is shorter than a scenario is repeated.
    """
    names: list[str] = []
    for series in sorted({series for series, _ in periods.all}):
        own = [period for period in periods.all if period[0] == series]
        for first in range(max(1, len(own) - periods.places + 1)):
            chosen = tuple(own[(first + place) % len(own)] for place in range(periods.places))
            names.append(Composition("all", chosen, chosen, chosen).name)
    return tuple(names)


def play(grid: str, scenarios: str, names: Sequence[str]) -> Played:
    """Return how doing nothing goes in the scenarios called ``names``."""
    source = envs.make_source(scenarios, grid=grid)
    played = [source.load(name) for name in names]
    load = np.concatenate([scenario.load_p.sum(axis=1) for scenario in played])
    unprotected = {"NO_OVERFLOW_DISCONNECTION": True}
    rho = np.concatenate(_loadings(grid, scenarios, names, unprotected))
    survived = [len(steps) for steps in _loadings(grid, scenarios, names, {})]
    lengths = [scenario.num_steps for scenario in played]
    highest = rho.max(axis=1)
    maintained = [played[i].drawn(i).maintenance is not None for i in range(len(played))]
    return Played(
        scenarios=len(names),
        load=" / ".join(f"{x:.0f}" for x in np.percentile(load, [5, 50, 95])),
        rho=round(float(rho.mean()), 3),
        highest=" / ".join(f"{x:.2f}" for x in (*np.percentile(highest, [50, 95]), highest.max())),
        stressed_percent=round(100 * float((highest >= STRESSED).mean()), 1),
        maintenance_percent=round(100 * float(np.mean(maintained)), 1),
        steps_percent=round(100 * float(np.mean(np.divide(survived, lengths))), 1),
        completed_percent=round(100 * float(np.mean(np.equal(survived, lengths))), 1),
    )


def _loadings(
    grid: str, scenarios: str, names: Sequence[str], parameters: dict[str, bool]
) -> list[np.ndarray]:
    """Return ``[T, L]`` per unit of each scenario, until its end or a blackout."""
    loadings: list[np.ndarray] = []
    actions = envs.line_switches(envs.grid_wiring(grid))
    for first in range(0, len(names), GRIDS_AT_ONCE):
        batch = list(names[first : first + GRIDS_AT_ONCE])
        environment = envs.PowerGridVectorEnv(
            len(batch), grid=grid, actions=actions, scenarios=scenarios, parameters=parameters
        )
        environment.reset(seed=0, options={"scenario": batch})
        rows: list[list[np.ndarray]] = [[] for _ in batch]
        playing = np.ones(len(batch), dtype=np.bool_)
        while playing.any():
            before = environment.state.rho
            for number in np.flatnonzero(playing):
                rows[number].append(before[number].copy())
            _, _, terminated, truncated, _ = environment.step([0] * len(batch))
            playing &= ~(terminated | truncated)
        environment.close()
        loadings += [np.stack(steps) for steps in rows]
    return loadings


if __name__ == "__main__":
    run_guarded(main)
