"""Plays episodes, and looks ahead at all actions of a set in the stressed states that it meets.

A *case* is a state in which something should be done, and what each action makes of it:

- ``relieve``: a line is loaded near its limit, or above;
- ``relieve_lost``: the same, while a line is out that was lost;
- ``protect``: nothing is loaded that much, but the loss of some line would overload others.

In a case an action *relieves* by the share of what is possible: 0 where it is no better than doing
nothing, 1 where no other one is better. Loadings below ``FLOOR`` are as good as each other.

Shape letters: A actions of the set, C lines that may be lost, K actions looked at, N cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from envs import DO_NOTHING, ActionSet, PowerGridVectorEnv, lines_at_risk, make_source

KINDS = ("relieve", "relieve_lost", "protect")
FLOOR = 0.9  # loading below which an action is safe, as agent=greedy has it
CEILING = 2.0  # loading that counts for the end of the game: lines trip at once
LEAST_GAIN = 0.03  # of loading: a case in which nothing does more is none
_EPISODE = 288  # steps, at most: a day
_OUT = 48  # steps that a lost line stays out: four hours
_LOST = 0.67  # share of episodes that begin with the loss of a line
_APART = 3  # steps from one case to the next, at least
_PROTECT_EVERY = 48  # steps between two looks at losses, in calm
_BEST = 0.7  # share of cases after which the best action is played; else one of the good ones
_GOOD = 0.5  # relief of those
_CHUNK = 4096  # actions looked at in one call: bounds the memory


@dataclass(frozen=True, kw_only=True)
class EpisodeSettings:
    """What cases are taken from."""

    grids: tuple[str, ...]  # of the same wiring, played in turn
    scenarios: str  # source, as of PowerGrid-v0
    scenario_folder: str | None
    split: str
    until: float  # share of each scenario that is played; the rest stays unseen
    lines: tuple[int, ...] | None  # that are lost; None: all whose loss the grid survives
    stress: float  # loading from which on a state is stressed
    cases: int  # of an episode, at most
    seed: int


class Cases(NamedTuple):
    """Cases of one episode, or of many."""

    kind: np.ndarray  # [N] int8, number in ``KINDS``
    relief: np.ndarray  # [N, A] float16, from 0 to 1; see the module
    hopeless: int  # stressed states in which no action does anything
    steps: int  # played


class CasePlayer:
    """Plays episodes on grids of one wiring.

    Args:
        settings: of the episodes.
        actions: A to look at, among them one for each line that switches it.
    """

    def __init__(self, settings: EpisodeSettings, actions: ActionSet) -> None:
        self._settings = settings
        self._actions = actions
        self._env = cache(self._make)  # grid -> environment

    def play(self, number: int, *, stage: int) -> Cases:
        """Return the cases of episode ``number``, the same whoever plays it.

        Args:
            number: of the episode.
            stage: episodes of different stages are different.
        """
        settings = self._settings
        rng = np.random.default_rng([settings.seed, stage, number])
        grid = settings.grids[number % len(settings.grids)]
        episode = _Episode(self._env(grid), settings, rng)
        return episode.play()

    def _make(self, grid: str) -> PowerGridVectorEnv:
        settings = self._settings
        return PowerGridVectorEnv(
            1,
            grid=grid,
            actions=self._actions,
            scenarios=settings.scenarios,
            scenario_folder=settings.scenario_folder,
            split=settings.split,
            autoreset="disabled",
        )


class _Episode:
    """One episode, and its cases so far."""

    def __init__(
        self, env: PowerGridVectorEnv, settings: EpisodeSettings, rng: np.random.Generator
    ) -> None:
        self._env, self._settings, self._rng = env, settings, rng
        risk = lines_at_risk(env.layout, None) if settings.lines is None else settings.lines
        self._lines = np.asarray(risk, dtype=np.int64)
        self._kinds: list[int] = []
        self._reliefs: list[np.ndarray] = []
        self._hopeless = 0

    def play(self) -> Cases:
        """Play it to its end."""
        env, rng = self._env, self._rng
        last = self._start()
        lost = int(rng.choice(self._lines)) if rng.random() < _LOST else None
        since = _APART  # steps since the last case
        step = 0
        while step < last and not env.over[0] and len(self._kinds) < self._settings.cases:
            action, done = self._act(step, lost, since)
            since = 0 if done else since + 1
            env.step(np.array([action]))
            step += 1
        relief = np.array(self._reliefs, dtype=np.float16).reshape(-1, env.num_actions)
        return Cases(np.array(self._kinds, dtype=np.int8), relief, self._hopeless, step)

    def _start(self) -> int:
        """Begin at a random row; return how many steps there are to play."""
        env, settings, rng = self._env, self._settings, self._rng
        source = make_source(
            settings.scenarios, grid=env.layout.name, folder=settings.scenario_folder
        )
        names = source.names(settings.split)
        name = names[int(rng.integers(len(names)))]
        rows = int(source.load(name).num_steps * settings.until)
        first = int(rng.integers(max(rows - _EPISODE, 0) + 1))
        env.reset(seed=settings.seed, options={"scenario": name, "first_step": first})
        return min(_EPISODE, rows - first)

    def _act(self, step: int, lost: int | None, since: int) -> tuple[int, bool]:
        """Return the action to play, and whether it ends a case."""
        env, state = self._env, self._env.state
        if lost is not None and step in (0, _OUT):
            due = step == 0  # to be lost; later to be put back
            if state.line_status[0, lost] == due:
                return int(env.catalogue.switch_line_action[lost]), False
        if since < _APART:
            return DO_NOTHING, False
        if state.rho[0].max() >= self._settings.stress:
            out = not state.line_status[0].all()
            return self._case(KINDS.index("relieve_lost" if out else "relieve"), None)
        if step % _PROTECT_EVERY == 1 and state.line_status[0].all():
            ahead = env.simulate([np.array([DO_NOTHING])], self._lines)[0]
            assert ahead is not None
            grave = np.flatnonzero(ahead.rho_max[0, 1:] >= 1.0)
            if len(grave):
                return self._case(KINDS.index("protect"), int(self._lines[self._rng.choice(grave)]))
        return DO_NOTHING, False

    def _case(self, kind: int, loss: int | None) -> tuple[int, bool]:
        """Look at all actions; return what to play, and that this was a case."""
        env, rng = self._env, self._rng
        numbers = np.flatnonzero(env.catalogue.connected(env.state)[0])  # DO_NOTHING first
        rho = look(env, numbers, loss, stress=self._settings.stress)
        shares = relief_of(rho)
        if shares is None:
            self._hopeless += 1
            return DO_NOTHING, True
        relief = np.zeros(env.num_actions, dtype=np.float16)
        relief[numbers] = shares
        self._kinds.append(kind)
        self._reliefs.append(relief)
        good = np.flatnonzero(shares >= _GOOD)
        best = rng.random() < _BEST
        return int(numbers[shares.argmax() if best else rng.choice(good)]), True


def look(
    env: PowerGridVectorEnv, numbers: np.ndarray, loss: int | None, *, stress: float
) -> np.ndarray:
    """Return ``[K]`` foreseen highest loadings of actions on grid 0, inf where the game would end.

    Args:
        env: whose grid 0 plays.
        numbers: ``[K]`` actions.
        loss: the line whose loss is looked at; None for no loss. An action that loads a line by
            itself counts as the end of the game then.
        stress: loading from which on it does.
    """
    outages = None if loss is None else np.array([loss])
    found = []
    for first in range(0, len(numbers), _CHUNK):
        some = numbers[first : first + _CHUNK]
        asked: Sequence[np.ndarray | None] = [some, *([None] * (env.num_envs - 1))]
        ahead = env.simulate(asked, outages)[0]
        assert ahead is not None
        rho = ahead.rho_max
        if loss is not None:
            rho = np.where(rho[:, 0] >= stress, np.inf, rho[:, 1])
        found.append(rho)
    return np.concatenate(found)


def relief_of(rho: np.ndarray) -> np.ndarray | None:
    """Return ``[K]`` reliefs, see the module; None where no action does anything.

    Args:
        rho: ``[K]`` foreseen highest loadings, first that of doing nothing.
    """
    bounded = np.clip(np.nan_to_num(rho, nan=CEILING, posinf=CEILING), FLOOR, CEILING)
    possible = bounded[0] - bounded.min()
    if possible < LEAST_GAIN:
        return None
    return np.clip((bounded[0] - bounded) / possible, 0.0, 1.0)
