"""The fast simulator beside the reference for a long time; every disagreement is counted.

    python -m tests.envs.nightly [--states 200000] [--seed 0] [--opponent NAME | --opponent all]
    python -m tests.envs.nightly --grid NAME [--states 20000] [--seed 0]

Exits with 1 if there is any. ``make test-nightly`` runs it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from agents.commands.command_line import OneLineParser, run_guarded, whole_number
from tests.envs import big_grids
from tests.envs.equality import Compared, Policy, about_lines, compare, now_and_then
from tests.envs.equality_cases import (
    ATTACKED,
    CASES,
    GATED,
    INTERRUPTED,
    OPPONENTS,
    OTHER_GRIDS,
    Interrupted,
)


def _runs(states: int, opponent: str) -> Iterator[tuple[str, Policy, int, dict[str, Any]]]:
    """Yield a name, a policy, the states to compare, and options."""
    if opponent != "none":
        yield from _attacked(states, opponent)
        return
    for name, case in (CASES | GATED).items():
        yield name, case.policy, states * case.thousandths // 1000, case.options
    for name, case in INTERRUPTED.items():
        options = {**case.options, "scenarios": Interrupted()}
        yield f"outages, {name}", case.policy, states // 5 * case.thousandths // 1000, options
    for grid in OTHER_GRIDS:
        options = {"grid": grid, "scenarios": "bundled"}
        yield grid, now_and_then, states // 100, options
        yield f"{grid}, gate", about_lines, states // 1000, {**options, "idle_gate": 0.9}
    for one in OPPONENTS:
        yield from _attacked(states // 50, one)


def _on_a_big_grid(states: int, grid: str) -> Iterator[tuple[str, Policy, int, dict[str, Any]]]:
    opponent = "grid" if grid in big_grids.ATTACKED else "none"
    options = {
        "grid": grid,
        "scenarios": "bundled",
        "actions": big_grids.some_actions(grid),
        "opponent": opponent,
        "looking": 0.005,
    }
    for name, case in big_grids.CASES.items():
        run = states * case.thousandths // 1000, {**options, **case.options}
        yield f"{grid}, {name}", case.policy, *run


def _attacked(states: int, opponent: str) -> Iterator[tuple[str, Policy, int, dict[str, Any]]]:
    for name, case in ATTACKED.items():
        options = {**case.options, "opponent": OPPONENTS[opponent]}
        yield f"{opponent}, {name}", case.policy, states * case.thousandths // 1000, options


def main() -> None:
    """Compare and print."""
    parser = OneLineParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--states",
        type=whole_number(1),
        help="to compare, at least; by default 200,000, with --grid 20,000",
    )
    parser.add_argument(
        "--opponent",
        choices=["none", *OPPONENTS, "all"],
        default="none",
        help="who attacks in all states; all: each of them, that many states each; none: each in a "
        "fiftieth of the states besides",
    )
    parser.add_argument(
        "--grid",
        choices=[*big_grids.GRIDS, "all"],
        help="compare on this grid of 36 or 118 substations; all: on each of them",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of the first episode of each case"
    )
    arguments = parser.parse_args()
    total = Compared()
    start = time.perf_counter()
    opponents = list(OPPONENTS) if arguments.opponent == "all" else [arguments.opponent]
    states = arguments.states or (200_000 if arguments.grid is None else 20_000)
    runs = (run for opponent in opponents for run in _runs(states, opponent))
    if arguments.grid is not None:
        grids = big_grids.GRIDS if arguments.grid == "all" else (arguments.grid,)
        runs = (run for grid in grids for run in _on_a_big_grid(states, grid))
    for name, policy, count, options in runs:
        found = compare(policy, count, seed=arguments.seed, stop=False, **options)
        total += found
        print(
            f"{name}: {found.states} states, {found.steps} steps, {found.episodes} episodes, "
            f"{found.illegal} illegal actions, {found.blackouts} blackouts, {found.attacks} "
            f"attacks, {found.lookaheads} "
            f"look-aheads; {len(found.disagreements)} disagreements",
            flush=True,
        )
        for disagreement in found.disagreements:
            print(f"  {disagreement}", flush=True)
    print(
        f"{total.states} states compared ({total.steps} grid steps, {total.episodes} episodes, "
        f"{total.illegal} illegal actions, {total.blackouts} blackouts, {total.attacks} "
        f"attacks) and {total.lookaheads} "
        f"actions looked ahead at in {time.perf_counter() - start:.0f} s: "
        f"{len(total.disagreements)} disagreements"
    )
    sys.exit(1 if total.disagreements else 0)


if __name__ == "__main__":
    run_guarded(main)
