"""A fixed list of attacked or stressed grids to judge models on, made anew from a seed.

A cheap policy plays validation months under an opponent: of some actions drawn it takes that with
the lowest loading on the forecast, now and then any. Some of the states that it meets are kept:
those in which an attack holds a line out, or in which a line is or will be near its limit, most
readily those in which doing nothing overloads one.

Shape letters: A actions, B grids, L lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from agents.environments import EnvironmentFactory
from agents.power_grid.grid_access import fast_grids
from envs import DO_NOTHING, PowerGridVectorEnv, make_source

SPLIT = "val"
SCENARIOS = "recombined_more"
STRESS = 0.95  # loading, per unit, from which on a grid counts as stressed
_SEED = 20_190_106  # of the first episode's reset
_GRIDS = 4  # side by side
_EPISODE = 576  # five-minute steps: two days, from a random row of a month
_LOOKED_AT = 40  # actions drawn of those that a stressed grid offers
_AT_RANDOM = 0.15  # share of decisions in which one of these is played at random
# share of states that are kept: where doing nothing overloads a line, under stress, and in calm
_OVERLOADED, _STRESSED, _CALM = 0.5, 0.15, 0.03
_PER_EPISODE = 2  # of one episode, at most
_APART = 12  # steps from one state of an episode to the next, at least
_MOST_EPISODES_A_STATE = 20  # before giving up: an opponent that never stresses the grid


class StressedState(NamedTuple):
    """One state of the list."""

    scenario: str
    episode: int  # number of the episode; two states may be of the same one
    step: int  # row of the scenario
    observation: np.ndarray  # [...] float32
    topology: np.ndarray  # [E] int8
    attacked: bool  # an attack holds a line out
    rho: float  # the highest loading now
    idle_rho: float  # the highest on the forecast of doing nothing; inf where that ends the game
    saved: Any  # of ``PowerGridVectorEnv.save_state``


class StressedStates:
    """The list, and the grids in which its states are put back.

    Args:
        kwargs: keywords of ``PowerGrid-v0`` that observations and rewards depend on; what the list
            itself depends on is set here.
        opponent: that attacks.
        count: states.
        seed: of the policy.

    Raises:
        ValueError: an opponent that is unknown or no opponent of this grid, or no list can be made.
    """

    def __init__(
        self, kwargs: Mapping[str, Any], *, opponent: str, count: int, seed: int = 0
    ) -> None:
        own = {
            "opponent": opponent,
            "scenarios": SCENARIOS,
            "scenario_folder": None,
            "split": SPLIT,
            "start": "random",
            "max_steps": _EPISODE,
            "action_mask": "connected",
            "idle_gate": STRESS,
            "ask_every": 12,
            "ask_at_attacks": True,
            "n1_gate": None,
            "reconnect_lines": False,
        }
        make = EnvironmentFactory("envs:PowerGrid-v0", {**kwargs, **own}, vector=True)
        self.opponent = opponent
        self.seed = seed
        env = fast_grids(make(_GRIDS, autoreset="disabled"))
        assert env is not None  # made by its vector entry point
        self.env: PowerGridVectorEnv = env
        try:
            self.states = tuple(self._collect(count))
        except BaseException:
            env.close()
            raise

    def close(self) -> None:
        """Close the grids."""
        self.env.close()

    def __enter__(self) -> StressedStates:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def sha256(self) -> str:
        """Hash of the states: scenario, row, topology and whether a line is held out, in order."""
        told = [
            (one.scenario, one.step, one.topology.tolist(), one.attacked) for one in self.states
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def restore(self, state: StressedState) -> None:
        """Put grid 0 of ``env`` into ``state``."""
        self.env.load_state(0, state.saved)

    def _collect(self, count: int) -> Iterator[StressedState]:
        source = make_source(SCENARIOS, grid=self.env.layout.name)
        names = source.names(SPLIT)
        left = count
        for first in range(0, _MOST_EPISODES_A_STATE * count + _GRIDS, _GRIDS):
            numbers = range(first, first + _GRIDS)
            played = [names[number % len(names)] for number in numbers]
            for state in self._play(numbers, played):
                yield state
                left -= 1
                if not left:
                    return
        raise ValueError(
            f"opponent {self.opponent} leads to too few stressed grids: {count - left} of {count} "
            "states were found; ask for fewer, or name another opponent."
        )

    def _play(self, numbers: range, scenarios: list[str]) -> list[StressedState]:
        """Return what is kept of B episodes, one after another."""
        env, num_grids = self.env, len(numbers)
        rng = np.random.default_rng([self.seed, numbers[0]])
        observations, infos = env.reset(
            seed=[_SEED + number for number in numbers], options={"scenario": scenarios}
        )
        kept: list[list[StressedState]] = [[] for _ in numbers]
        while True:
            playing = np.flatnonzero(~env.over)
            playing = [int(grid) for grid in playing if len(kept[grid]) < _PER_EPISODE]
            if not playing:
                return [state for episode in kept for state in episode]
            drawn: list[np.ndarray | None] = [None] * num_grids
            at_random = rng.random(num_grids) < _AT_RANDOM
            for grid in playing:
                others = np.flatnonzero(infos["action_mask"][grid])
                others = others[others != DO_NOTHING]
                wanted = _LOOKED_AT if infos["rho_max"][grid] >= STRESS else 0
                wanted = min(1 if at_random[grid] else wanted, len(others))
                some = rng.choice(others, wanted, replace=False)
                drawn[grid] = np.concatenate([[DO_NOTHING], np.sort(some)])
            looked = env.simulate(drawn)
            actions = np.zeros(num_grids, dtype=np.int64)
            for grid in playing:
                ahead, some = looked[grid], drawn[grid]
                assert ahead is not None and some is not None
                attacked = bool((infos["attack_steps"][grid] > 0).any())
                rho, idle_rho = float(infos["rho_max"][grid]), float(ahead.rho_max[0])
                stressed = max(rho, idle_rho) >= STRESS
                step = int(infos["step"][grid])
                due = not kept[grid] or step - kept[grid][-1].step >= _APART
                share = _CALM if attacked else 0.0
                share = _STRESSED if stressed else share
                share = _OVERLOADED if idle_rho >= 1.0 else share
                if rng.random() < share and due:
                    kept[grid].append(
                        StressedState(
                            scenario=scenarios[grid],
                            episode=numbers[grid],
                            step=step,
                            observation=np.array(observations[grid], np.float32),
                            topology=env.state.topo_vect[grid].copy(),
                            attacked=attacked,
                            rho=rho,
                            idle_rho=idle_rho,
                            saved=env.save_state(grid),
                        )
                    )
                actions[grid] = some[-1 if at_random[grid] else ahead.rho_max.argmin()]
            observations, _, _, _, infos = env.step(actions)
