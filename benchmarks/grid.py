"""Speed of the grids: the vector environment beside the reference.

    python -m benchmarks.grid [--seconds 3]
    python -m benchmarks.grid --grid l2rpn_wcci_2020 [--actions FILE] [--opponent grid]

Every step is a whole one: observation, reward, action mask and infos are built, but for the calm
steps under an idle gate, which nobody looks at. Rates are per second of the process's own processor
time, so that other programs on the machine do not count. The last line is one JSON object; memory
in it is MiB.

On another grid, 16 grids are measured beside the reference, and look-ahead, with 208 actions: ways
to split a substation, drawn at random, or those of a file.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

import envs
from agents.commands.command_line import OneLineParser, positive_number, run_guarded
from benchmarks.profiling import functions_by_time, resident_mb
from envs.fast.vector import PowerGridVectorEnv
from envs.opponents import OPPONENTS
from envs.reference.power_grid import PowerGridEnv

GRIDS = (1, 16, 64, 256)
GATE = 0.95  # rho from which on the agent decides
# lines whose loss a grid survives for some days with nothing done, so that resets do not count
MILD = {"lines": ["11_12_13", "12_13_14"], "duration": 48, "period": 144, "budget_per_step": 0.34}
ATTACKED: dict[str, dict[str, Any]] = {
    "asked hourly": {"ask_every": 12},
    "asked at attacks": {"ask_at_attacks": True},
    "loading gate": {"idle_gate": GATE},
    "N-1 gate": {"n1_gate": 2.0},
}
BURST = 10  # steps between two looks at the clock, which takes its time too
SPLITS = 207  # actions beside doing nothing, on other grids
_MOST_SPLITS = 64  # of one substation, that these are drawn from
SHARE = 0.1  # of decisions that are a random legal action, where not all do nothing


def pick_nothing(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``[B]`` zeros for ``[B, A]`` masks."""
    del rng
    return np.zeros(len(masks), dtype=np.int64)


def pick_now_and_then(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``[B]`` actions, one in ten of them random and legal."""
    actions = np.zeros(len(masks), dtype=np.int64)
    for grid in np.flatnonzero(rng.random(len(masks)) < SHARE):
        actions[grid] = rng.choice(np.flatnonzero(masks[grid]))
    return actions


Pick = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def play_reference(pick: Pick, **options: Any) -> Generator[int]:
    """Play on the reference for ever; yield the grid steps of each burst."""
    env = gym.make("PowerGrid-v0", disable_env_checker=True, **options)
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    while True:
        for _ in range(BURST):
            _, _, terminated, truncated, info = env.step(pick(info["action_mask"][None], rng)[0])
            if terminated or truncated:
                _, info = env.reset()
        yield BURST


def play_vector(num_grids: int, pick: Pick, **options: Any) -> Generator[int]:
    """Play on the vector environment for ever; yield the grid steps of each burst."""
    env = PowerGridVectorEnv(num_grids, **options)
    try:
        rng = np.random.default_rng(0)
        _, infos = env.reset(seed=0)
        while True:
            steps = 0
            for _ in range(BURST):
                *_, infos = env.step(pick(infos["action_mask"], rng))
                steps += int(infos["duration"].sum())
                if "final_info" in infos:  # there, infos["duration"] is what the reset played
                    steps += int(infos["final_info"]["duration"].sum())
            yield steps
    finally:
        env.close()


def rates_in_turns(plays: Mapping[str, Generator[int]], seconds: float) -> dict[str, float]:
    """Return the grid steps per second of each of several, measured in turns.

    What else the machine does slows them all alike, so ratios hold.
    """
    steps, spent = dict.fromkeys(plays, 0), dict.fromkeys(plays, 0.0)
    for play in plays.values():
        next(play)  # makes the environment
    while min(spent.values()) < seconds:
        name = min(spent, key=lambda one: spent[one])
        start = time.process_time()
        steps[name] += next(plays[name])
        spent[name] += time.process_time() - start
    for play in plays.values():
        play.close()
    return {name: steps[name] / spent[name] for name in plays}


def lookahead_ms(seconds: float) -> tuple[float, float, int]:
    """Return milliseconds for all actions distinct at first: fast, reference; their number."""
    reference, env = PowerGridEnv(), PowerGridVectorEnv(1)
    reference.reset(seed=0)
    env.reset(seed=0)
    actions = np.flatnonzero(reference.catalogue.distinct(reference.state)[0])
    reference.simulate(actions)  # grid2op remembers some things of an action's first use
    slow, fast = [], []
    while 1000 * seconds > sum(slow) + sum(fast) or len(slow) < 5:
        reference.step(0)  # so that neither looks ahead from the same state again
        env.step([0])
        slow.append(_ms(lambda: reference.simulate(actions)))
        fast += [_ms(lambda: env.simulate([actions])) for _ in range(BURST)]
    reference.close()
    env.close()
    return float(np.median(fast)), float(np.median(slow)), len(actions)


def losses_ms(seconds: float) -> tuple[float, int, int]:
    """Return milliseconds for all distinct actions, each with each loss; their numbers."""
    env = PowerGridVectorEnv(1)
    env.reset(seed=0)
    lines = OPPONENTS["rte_case14"].number_lines(env.layout.line_names)
    actions = np.flatnonzero(env.catalogue.distinct(env.state)[0])
    spent: list[float] = []
    while 1000 * seconds > sum(spent) or len(spent) < 5:
        env.step([0])
        spent.append(_ms(lambda: env.simulate([actions], lines)))
    env.close()
    return float(np.median(spent)), len(actions), len(lines)


def _ms(function: Callable[[], Any]) -> float:
    """Return the milliseconds of processor time that ``function`` takes."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


def greedy_ms(seconds: float) -> float:
    """Return milliseconds of a decision of greedy look-ahead, its mask and its step included."""
    env = PowerGridVectorEnv(1, action_mask="distinct", idle_gate=GATE, start="random")
    _, infos = env.reset(seed=0)
    spent, decisions = 0.0, 0
    while spent < seconds:
        start = time.process_time()
        actions = np.flatnonzero(infos["action_mask"][0])
        found = env.simulate([actions])[0]
        assert found is not None
        spent += time.process_time() - start
        decisions += 1
        *_, infos = env.step([actions[found.rho_max.argmin()]])
    env.close()
    return 1000 * spent / decisions


def split_some(grid: str) -> envs.ActionSet:
    """Return 207 ways to split a substation of ``grid``, drawn at random, and doing nothing."""
    splits = envs.substation_splits(envs.grid_wiring(grid), grid=grid, most=_MOST_SPLITS)
    rng = np.random.default_rng(0)
    return splits.subset(1 + rng.choice(len(splits) - 1, SPLITS, replace=False))


def measure_grid(options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure 16 grids beside the reference, and look-ahead at all actions of a set; print it."""
    options = {**options, "scenarios": "bundled"}
    rates = rates_in_turns(
        {
            "reference": play_reference(pick_nothing, **options),
            "vector": play_vector(16, pick_nothing, **options),
        },
        seconds,
    )
    ratio = rates["vector"] / rates["reference"]
    for who, rate in rates.items():
        print(f"do nothing: {who} {rate:.0f} grid steps/s, {rate / rates['reference']:.1f} x")
    env = PowerGridVectorEnv(1, **options)
    env.reset(seed=0)
    actions, spent = np.arange(env.num_actions), list[float]()
    env.simulate([actions])  # the first one describes each topology in C++
    while 1000 * seconds > sum(spent) or len(spent) < 5:
        env.step([0])
        if env.over[0]:
            env.reset()
        spent.append(_ms(lambda: env.simulate([actions])))
    env.close()
    ahead = float(np.median(spent))
    print(f"looking ahead at {len(actions)} actions: {ahead:.1f} ms")
    return {
        "grid": options["grid"],
        "reference_steps_per_s": round(rates["reference"]),
        "vector_steps_per_s": round(rates["vector"]),
        "ratio": round(ratio, 1),
        "actions": len(actions),
        "lookahead_ms": round(ahead, 1),
    }


def _memory(num_grids: int) -> float:
    """Return the MiB that ``num_grids`` grids add, at most, to those of one and of the series.

    To be called in a process of its own, where nothing else has left memory to be used again.
    """
    one = PowerGridVectorEnv(1, scenarios="bundled")
    for name in one.scenarios.names("train"):
        one.reset(options={"scenario": name})
    one.step([0])
    before = resident_mb()
    env = PowerGridVectorEnv(num_grids, scenarios="bundled")
    _, infos = env.reset(seed=0)
    rng = np.random.default_rng(0)
    peak = before
    for _ in range(60):  # into hundreds of topologies, the latest of whose power flows are kept
        *_, infos = env.step(pick_now_and_then(infos["action_mask"], rng))
        peak = max(peak, resident_mb())
    return peak - before


def where_the_time_goes(num_grids: int, steps: int, **options: Any) -> str:
    """Return the functions that take most of the time, a line each."""
    env = PowerGridVectorEnv(num_grids, **options)
    env.reset(seed=0)
    nothing = np.zeros(num_grids, dtype=np.int64)
    return functions_by_time(lambda: env.step(nothing), repeats=steps)


def main() -> None:
    """Measure and print."""
    options: dict[str, Any]
    parser = OneLineParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=positive_number, default=3.0, help="of each measurement")
    parser.add_argument("--grid", help="another grid, such as l2rpn_wcci_2020")
    parser.add_argument("--actions", help="on another grid: a file of actions, or a set's name")
    parser.add_argument("--opponent", default="none", help="on another grid: who attacks")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    if arguments.grid is not None:
        options = {
            "grid": arguments.grid,
            "actions": arguments.actions or split_some(arguments.grid),
            "opponent": arguments.opponent,
        }
        print(json.dumps(measure_grid(options, seconds)))
        return
    if arguments.actions is not None or arguments.opponent != "none":
        parser.error("--actions and --opponent go with --grid")

    rates: dict[str, dict[str, float]] = {}
    for name, pick, options in (
        ("do nothing", pick_nothing, {}),
        # episodes are short, so scenarios that need not be built anew for each
        ("one random in ten", pick_now_and_then, {"scenarios": "bundled"}),
    ):
        found = rates[name] = rates_in_turns(
            {
                "reference": play_reference(pick, **options),
                **{str(count): play_vector(count, pick, **options) for count in GRIDS},
            },
            seconds,
        )
        for who, rate in found.items():
            print(f"{name}: {who} {rate:.0f} grid steps/s, {rate / found['reference']:.1f} x")
    # in turns with a gate without an opponent, which they are to be as fast as
    gated = rates_in_turns(
        {
            **{
                reward: play_vector(16, pick_nothing, idle_gate=GATE, reward=reward)
                for reward in ("survival", "l2rpn")
            },
            **{
                name: play_vector(16, pick_nothing, reward="survival", opponent=MILD, **options)
                for name, options in ATTACKED.items()
            },
        },
        seconds,
    )
    attacked = {name: gated.pop(name) for name in ATTACKED}
    print(f"gated at {GATE}, 16 grids:", {key: round(rate) for key, rate in gated.items()})
    print("under an opponent, 16 grids:", {key: round(rate) for key, rate in attacked.items()})

    fast_ms, slow_ms, count = lookahead_ms(seconds)
    print(
        f"looking ahead at {count} actions: {fast_ms:.1f} ms, reference {slow_ms:.0f} ms, "
        f"{slow_ms / fast_ms:.1f} x"
    )
    loss_ms, count, lines = losses_ms(seconds)
    print(
        f"looking ahead at {count} actions and the loss of {lines} lines: {loss_ms:.1f} ms, "
        f"{loss_ms / fast_ms:.1f} x without"
    )
    decision_ms = greedy_ms(seconds)
    print(f"greedy look-ahead: {decision_ms:.1f} ms a decision")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        mb_per_grid = pool.apply(_memory, (256,)) / 256
    print(f"memory: at most {mb_per_grid:.2f} MiB a grid beyond the shared series")
    for name, num_grids, options in (
        ("64 grids doing nothing", 64, {}),
        ("16 grids under the gate", 16, {"idle_gate": GATE}),
    ):
        print(f"where the time goes, {name}:")
        print(where_the_time_goes(num_grids, 60, **options))

    nothing, acting = rates["do nothing"], rates["one random in ten"]
    result = {
        "reference_steps_per_s": round(nothing["reference"]),
        "vector_steps_per_s": {str(count): round(nothing[str(count)]) for count in GRIDS},
        "ratio": round(nothing["64"] / nothing["reference"], 1),
        "ratio_one_random_in_ten": round(acting["64"] / acting["reference"], 1),
        "gated_steps_per_s": {reward: round(rate) for reward, rate in gated.items()},
        "lookahead_ms": round(fast_ms, 1),
        "reference_lookahead_ms": round(slow_ms, 1),
        "lookahead_ratio": round(slow_ms / fast_ms, 1),
        "lookahead_losses_ms": round(loss_ms, 1),
        "losses_over_plain": round(loss_ms / fast_ms, 1),
        "attacked_steps_per_s": {key: round(rate) for key, rate in attacked.items()},
        "greedy_ms": round(decision_ms, 1),
        "mb_per_grid": round(mb_per_grid, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_guarded(main)
