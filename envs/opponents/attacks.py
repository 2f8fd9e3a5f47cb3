"""Computes the attacks of grid2op's opponents step by step, without its objects.

Numbers are drawn, and budgets added up, in the order and precision of grid2op, so that the attacks
are the very same; the tests compare them.

Shape letters: L lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.opponents.kinds import (
    STEPS_PER_HOUR,
    AreaOpponent,
    GeometricOpponent,
    Opponent,
    WeightedOpponent,
)

_LARGEST_SEED = np.iinfo(np.int32).max
_DRAWN_BEFORE = 5  # seeds that grid2op draws before the opponent's


class Attack(NamedTuple):
    """What an opponent does in one step."""

    lines: np.ndarray  # [*] int, held out
    duration: int  # steps that it goes on for, this one included


def opponent_seed(grid_seed: int) -> int:
    """Return the seed that grid2op gives the opponent of an environment seeded with this one."""
    generator = np.random.RandomState(grid_seed)
    for _ in range(_DRAWN_BEFORE):
        generator.randint(_LARGEST_SEED)
    return int(generator.randint(_LARGEST_SEED))


class Attacker:
    """The opponent of one grid, during an episode.

    Args:
        opponent: which.
        line_names: of the grid.

    Raises:
        ValueError: a line that the grid lacks.
    """

    def __init__(self, opponent: Opponent, line_names: Sequence[str]):
        self._target = _target(opponent, opponent.number_lines(line_names))
        self._longest = opponent.duration
        self._period = opponent.period
        self._start_budget = np.float32(opponent.budget)
        self._per_step = np.float32(opponent.budget_per_step)
        self.reset(0, 1)

    def reset(self, grid_seed: int, num_steps: int) -> None:
        """Begin an episode of ``num_steps`` steps, seeded as grid2op seeds its environment."""
        self._target.seed(opponent_seed(grid_seed))
        self._target.begin(num_steps)
        self._budget: Any = self._start_budget
        self._failed = False
        self._steps_left = 0  # of the present attack
        self._wait = self._period
        self._lines: np.ndarray | None = None  # of the present attack
        self._next: tuple[Attack | None] | None = None  # decided, but not played yet

    def foresee(self, status: np.ndarray, rho: np.ndarray) -> Attack | None:
        """Decide about the next step, and remember it until ``attack`` plays it.

        Args:
            status: ``[L]`` bool, lines that are closed before the step.
            rho: ``[L]`` float32, loadings before the step.
        """
        if self._next is None:
            self._next = (self._decide(status, rho),)
        return self._next[0]

    def attack(self, status: np.ndarray, rho: np.ndarray) -> Attack | None:
        """Return what the opponent does in the next step. Arguments as in ``foresee``."""
        found = self.foresee(status, rho)
        self._next = None
        return found

    def pass_quiet(self, status: np.ndarray, most: int) -> int:
        """Play on while nothing comes of it, whatever the loadings.

        An attack goes on, the period is not over, there is a wait, or no attack can be paid.

        Args:
            status: ``[L]`` bool, lines that are closed in all of these steps.
            most: steps, at most.

        Returns:
            Steps played; not all that there are.
        """
        if self._next is not None:
            return 0
        attacking = self._steps_left > 1
        ahead = self._steps_left if attacking else self._wait - self._period
        count = min(most, ahead - 1)
        if count > 0:
            self._target.attack_continues()
            self._failed = False
        else:
            count, self._failed = self._target.pass_quiet(
                status, self._failed, most, self._unpaid(most)
            )
        if count < 1:
            return 0
        if not attacking:
            self._lines = None
        cost = 0 if self._lines is None else np.int64(len(self._lines))
        for _ in range(count):
            self._budget = self._budget + self._per_step - cost
        self._steps_left = max(0, self._steps_left - count)
        self._wait = max(0, self._wait - count)
        return count

    def _unpaid(self, most: int) -> int:
        """Return in how many of the next steps the longest attack on one line cannot be paid."""
        budget = self._budget
        for count in range(most):
            budget = budget + self._per_step
            if not self._longest > budget:
                return count
        return most

    def _decide(self, status: np.ndarray, rho: np.ndarray) -> Attack | None:
        """Follow ``grid2op.Opponent.OpponentSpace.attack``."""
        self._budget = self._budget + self._per_step
        self._steps_left = max(0, self._steps_left - 1)
        self._wait = max(0, self._wait - 1)
        if self._steps_left > 0:
            lines = self._lines
        elif self._wait > self._period:
            lines = None
        else:
            lines = self._begin(status, rho)
            return self._pay(lines)
        self._target.attack_continues()
        self._failed = False
        return self._pay(lines)

    def _begin(self, status: np.ndarray, rho: np.ndarray) -> np.ndarray | None:
        lines, duration = self._target.choose(status, rho, self._failed)
        if duration is None:
            duration = self._longest
        self._failed = False
        if duration > self._longest:
            lines, self._failed = None, True
        if duration * (0 if lines is None else len(lines)) > self._budget:
            lines, self._failed = None, True
        if lines is not None:
            self._steps_left = duration
            self._wait += self._period
        return lines

    def _pay(self, lines: np.ndarray | None) -> Attack | None:
        self._lines = lines
        if lines is None:
            return None
        # a number of numpy's, as in grid2op: from the first attack on, budgets are float64
        self._budget = self._budget - np.int64(len(lines))
        return Attack(lines, self._steps_left)

    def save(self) -> dict[str, Any]:
        """Return all of its state, for ``load``."""
        kept = {name: value for name, value in vars(self).items() if name != "_target"}
        return {**kept, "_target": self._target.save()}

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to where ``save`` was called, on this one or on another of the same opponent."""
        kept = dict(saved)
        self._target.load(kept.pop("_target"))
        vars(self).update(kept)


# what is attacked, and when: grid2op's opponents; arrays are replaced, never written to


class _Target:
    """grid2op's ``RandomLineOpponent``, and what the others have in common."""

    def __init__(self, lines: np.ndarray):
        self._candidates = lines
        self._rng = np.random.RandomState(0)

    def seed(self, seed: int) -> None:
        self._rng.seed(seed)

    def begin(self, num_steps: int) -> None:
        """Begin an episode."""

    def attack_continues(self) -> None:
        """Be told that this step is not for a new attack."""

    def choose(
        self, status: np.ndarray, rho: np.ndarray, failed: bool
    ) -> tuple[np.ndarray | None, int | None]:
        """Return the lines to attack, None for none; and for how long, None for the longest."""
        del rho, failed
        closed = status[self._candidates]
        if not closed.any():
            return None, 0
        return np.array([self._rng.choice(self._candidates[closed])]), None

    def pass_quiet(
        self, status: np.ndarray, failed: bool, most: int, unpaid: int
    ) -> tuple[int, bool]:
        """Pass steps as ``choose`` would in each, where nothing comes of it.

        Args:
            status: ``[L]`` bool, in all of these steps.
            failed: whether the attack chosen last could not be paid.
            most: steps, at most.
            unpaid: steps, the next ones, in which the longest attack cannot be paid.

        Returns:
            Steps passed, and whether the attack chosen last could not be paid after them.
        """
        closed = int(status[self._candidates].sum())
        if not closed:
            return most, False
        self._rng.randint(closed, size=unpaid)  # as choice draws
        return unpaid, failed or unpaid > 0

    def save(self) -> dict[str, Any]:
        return {**vars(self), "_rng": self._rng.get_state(legacy=False)}

    def load(self, saved: dict[str, Any]) -> None:
        kept = dict(saved)
        self._rng.set_state(kept.pop("_rng"))
        vars(self).update(kept)


class _WeightedTarget(_Target):
    """grid2op's ``WeightedRandomOpponent``."""

    def __init__(self, lines: np.ndarray, usual_rho: Sequence[float], within: int):
        super().__init__(lines)
        self._usual_rho = np.array(usual_rho)
        self._within = within
        self._next_time: int | None = None

    def begin(self, num_steps: int) -> None:
        del num_steps
        self._next_time = None

    def attack_continues(self) -> None:
        self._next_time = None

    def pass_quiet(
        self, status: np.ndarray, failed: bool, most: int, unpaid: int
    ) -> tuple[int, bool]:
        del status, unpaid
        if self._next_time is None:
            return 0, failed
        count = min(most, self._next_time - 1)
        self._next_time -= max(count, 0)
        return count, failed and count < 1

    def choose(
        self, status: np.ndarray, rho: np.ndarray, failed: bool
    ) -> tuple[np.ndarray | None, int | None]:
        del failed
        if self._next_time is None:
            self._next_time = 1 + self._rng.randint(self._within)
        self._next_time -= 1
        if self._next_time > 0:
            return None, 0
        closed = status[self._candidates]
        if not closed.any():
            return None, 0
        weights = rho[self._candidates][closed] / self._usual_rho[closed]
        total = weights.sum()
        if total <= 0:
            return None, 0
        return np.array([self._rng.choice(self._candidates[closed], p=weights / total)]), None


class _GeometricTarget(_Target):
    """grid2op's ``GeometricOpponent``."""

    def __init__(self, lines: np.ndarray, opponent: GeometricOpponent):
        super().__init__(lines)
        self._least_steps = opponent.least_steps
        hours = opponent.mean_hours - opponent.least_hours
        self._recovery_rate = 1.0 / (STEPS_PER_HOUR * hours)
        hours = opponent.every_hours - opponent.mean_hours
        self._hazard_rate = 1.0 / (STEPS_PER_HOUR * hours)
        self._ratio = opponent.ratio
        self._waits: list[int] = []
        self._durations: list[int] = []
        self._count = 0  # attacks begun
        self._next_time: int | None = None

    def begin(self, num_steps: int) -> None:
        waits, durations, time = [], [], 0
        while time < num_steps:
            wait = int(self._rng.geometric(p=self._hazard_rate))
            time += wait
            if time < num_steps:
                waits.append(wait)
                durations.append(self._least_steps + int(self._rng.geometric(self._recovery_rate)))
                time += durations[-1]
        self._waits, self._durations = waits, durations
        self._count, self._next_time = 0, None

    def attack_continues(self) -> None:
        self._next_time = None

    def pass_quiet(
        self, status: np.ndarray, failed: bool, most: int, unpaid: int
    ) -> tuple[int, bool]:
        del status, unpaid
        if self._count >= len(self._waits):
            return most, False
        if self._next_time is None or failed:
            return 0, failed
        count = min(most, self._next_time - 1)
        self._next_time -= max(count, 0)
        return count, failed and count < 1

    def choose(
        self, status: np.ndarray, rho: np.ndarray, failed: bool
    ) -> tuple[np.ndarray | None, int | None]:
        number = self._count
        if number >= len(self._waits):
            return None, None
        if failed:
            self._next_time = self._waits[number] + self._durations[number - 1]
        if self._next_time is None:
            self._next_time = 1 + self._waits[number]
        self._next_time -= 1
        if self._next_time > 0:
            return None, None
        self._count += 1
        if not status[self._candidates].all():
            return None, None
        duration = self._durations[number]
        if len(self._candidates) == 1:
            return self._candidates, duration
        order = rho[self._candidates].argsort()
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        chances = np.exp(np.log(self._ratio) / (len(order) - 1) * ranks)
        chosen = self._rng.choice(self._candidates, p=chances / chances.sum())
        return np.array([chosen]), duration


class _AreaTarget(_Target):
    """grid2op's ``GeometricOpponentMultiArea``."""

    def __init__(self, areas: Sequence[np.ndarray], opponent: GeometricOpponent):
        super().__init__(np.concatenate(areas))
        self._areas = tuple(_GeometricTarget(lines, opponent) for lines in areas)
        self._left = (-1,) * len(areas)  # steps of each area's attack
        self._held: tuple[np.ndarray | None, ...] = (None,) * len(areas)

    def seed(self, seed: int) -> None:
        super().seed(seed)
        for area in self._areas:
            area.seed(int(self._rng.randint(_LARGEST_SEED)))

    def begin(self, num_steps: int) -> None:
        self._left = (-1,) * len(self._areas)
        for area in self._areas:
            area.begin(num_steps)

    def attack_continues(self) -> None:
        raise AssertionError("attacks of one step do not go on")

    def pass_quiet(
        self, status: np.ndarray, failed: bool, most: int, unpaid: int
    ) -> tuple[int, bool]:
        del status, most, unpaid
        return 0, failed

    def choose(
        self, status: np.ndarray, rho: np.ndarray, failed: bool
    ) -> tuple[np.ndarray | None, int | None]:
        left = [max(steps - 1, -1) for steps in self._left]
        held = list(self._held)
        for number, area in enumerate(self._areas):
            if left[number] >= 0:
                area.attack_continues()
                continue
            held[number], duration = area.choose(status, rho, failed)
            if held[number] is not None:
                assert duration is not None
                left[number] = duration
        self._left, self._held = tuple(left), tuple(held)
        lines = [one for one in held if one is not None]
        return (np.unique(np.concatenate(lines)) if lines else None), 1

    def save(self) -> dict[str, Any]:
        return {**super().save(), "_areas": tuple(area.save() for area in self._areas)}

    def load(self, saved: dict[str, Any]) -> None:
        kept = dict(saved)
        for area, state in zip(self._areas, kept.pop("_areas"), strict=True):
            area.load(state)
        super().load(kept)


def _target(opponent: Opponent, lines: np.ndarray) -> _Target:
    if isinstance(opponent, AreaOpponent):
        ends = np.cumsum([len(area) for area in opponent.lines])[:-1]
        return _AreaTarget(np.split(lines, ends), opponent)
    if isinstance(opponent, GeometricOpponent):
        return _GeometricTarget(lines, opponent)
    if isinstance(opponent, WeightedOpponent):
        return _WeightedTarget(lines, opponent.usual_rho, opponent.within)
    return _Target(lines)
