"""Rewards, computed from ``GridState`` and the outcome of a step, by name.

Shape letters: B grids, L lines, E element ends.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from inspect import isabstract
from typing import Any, NamedTuple, Protocol

import grid2op.Reward
import numpy as np
from grid2op.Reward import BaseReward, CombinedReward, CombinedScaledReward

from envs.grid.state import GridLayout, GridState
from powergrid_muzero.names import choose, where_not_found


class StepOutcome(NamedTuple):
    """What a step of B grids came to, beside the state that it led to."""

    action: np.ndarray  # [B] int64, what was asked for
    illegal: np.ndarray  # [B] bool, the action was refused and nothing was done
    blackout: np.ndarray  # [B] bool, the game is over
    complete: np.ndarray  # [B] bool, the scenario has no more rows
    # [B] float64, highest loading foreseen after the worst loss of a line, inf where that would end
    # the game; only N1Reward needs it
    worst_loss: np.ndarray | None = None


class Reward(Protocol):
    """Pays for a step."""

    range: tuple[float, float]  # least and most that one step pays

    def __init__(self, layout: GridLayout): ...

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32 for the step that led to ``state``."""
        ...


RewardMaker = Callable[[GridLayout], Reward]  # such as a class of rewards, or a partial of one


class L2RPNReward:
    """``grid2op.Reward.L2RPNReward``: sum over lines of 1 - min(loading, 1)^2.

    Loading is current / (thermal limit + 0.1 A). 0 after a blackout, and, as in grid2op, 0 for the
    step that completes the scenario.
    """

    def __init__(self, layout: GridLayout):
        self._limit = layout.thermal_limit + np.float32(0.1)
        self.range = (0.0, float(layout.num_lines))

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        loading = np.minimum(np.abs(state.a_or) / self._limit, np.float32(1))
        reward = (np.float32(1) - loading**2).sum(axis=1)
        reward[outcome.blackout | outcome.complete] = 0
        return reward


class SurvivalReward:
    """1 for each step survived, 0 for a blackout."""

    range = (0.0, 1.0)

    def __init__(self, layout: GridLayout):
        del layout

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        del state
        return (~outcome.blackout).astype(np.float32)


class BlackoutReward:
    """-1 for a blackout, 0 for each step survived.

    Discounted, a state's value is minus the chance of a blackout soon, and needs no telling when.
    """

    range = (-1.0, 0.0)

    def __init__(self, layout: GridLayout):
        del layout

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        del state
        return -outcome.blackout.astype(np.float32)


class NearReferenceReward:
    """For each step survived 1 / (1 + distance / 10); 0 for a blackout.

    The distance counts the element ends off busbar 1, where all are in the reference topology, as
    an evaluation's ``mean_distance`` does. One split substation is two to four of them and leaves
    about 0.75; ten leave half. Of two ways to survive the simpler pays more, and the grid stays
    where the agent has seen most of it.
    """

    range = (0.0, 1.0)

    def __init__(self, layout: GridLayout):
        del layout

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        distance = (state.topo_vect != 1).sum(axis=1)
        reward = (10 / (10 + distance)).astype(np.float32)
        reward[outcome.blackout] = 0
        return reward


class MarginReward:
    """Mean over lines of 1 - rho^2, each line's kept within [-1, 1]; -10 for a blackout.

    An open line carries nothing and counts 0, so opening lines does not pay; an overloaded one
    costs up to 1. A grid at rest earns about 0.8 a step.

    Args:
        layout: of the grid.
        blackout: what a blackout pays.
    """

    def __init__(self, layout: GridLayout, *, blackout: float = -10.0):
        del layout
        self._blackout = np.float32(blackout)
        self.range = (min(float(blackout), -1.0), 1.0)

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        margin = np.maximum(np.float32(1) - state.rho**2, np.float32(-1))
        reward = (margin * state.line_status).mean(axis=1, dtype=np.float32)
        reward[outcome.blackout] = self._blackout
        return reward


class N1Reward:
    """1 - the highest loading foreseen after the worst loss of a line, from -1 to 1.

    A loading of 2 or more, an ending, and a blackout count as 2; the step that completes the
    scenario pays 0. Which lines, see ``envs.lines_at_risk``; nothing is done in the step that is
    foreseen. grid2op's ``N1Reward`` and lightsim2grid's look at the present step, one line
    or the number of lines that are not safe.
    """

    range = (-1.0, 1.0)

    def __init__(self, layout: GridLayout):
        del layout

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        del state
        assert outcome.worst_loss is not None
        reward = (1 - np.minimum(outcome.worst_loss, 2)).astype(np.float32)
        reward[outcome.complete] = 0
        reward[outcome.blackout] = -1
        return reward


class RedispatchCostReward:
    """``grid2op.Reward.RedispReward``, nobody redispatching: losses at the marginal cost.

    (largest conceivable cost - cost of the losses) / load; 0 for an illegal action; -10 for a
    blackout, and for an illegal action as the scenario's last.

    Args:
        layout: of the grid.
        minutes_per_step: of the series.
    """

    def __init__(self, layout: GridLayout, *, minutes_per_step: int = 5):
        if not layout.cost_per_mwh.max() > 0:
            raise ValueError(
                f"reward 'redispatch_cost' needs generators' costs, which {layout.name!r} does not "
                "have; take another reward, such as 'l2rpn'"
            )
        hours = minutes_per_step / 60
        capacity = layout.p_max.sum()
        worst_losses = np.float32(0.05) * capacity
        worst_redispatch = np.float32(5) * capacity
        self._worst = (worst_losses + worst_redispatch) * layout.cost_per_mwh.max() * hours
        self._hours = hours
        self._cost = layout.cost_per_mwh
        least_load = 0.1 * capacity
        self.range = (-10.0, float(self._worst / least_load))

    def __call__(self, state: GridState, outcome: StepOutcome) -> np.ndarray:
        """Return ``[B]`` float32."""
        load = state.load_p.sum(axis=1)
        losses = (state.gen_p.sum(axis=1) - load) * self._hours  # MWh
        marginal_cost = np.where(state.gen_p > 0, self._cost, 0).max(axis=1)
        supplied = np.where(load > 0, load, 1)
        reward = ((self._worst - losses * marginal_cost) / supplied).astype(np.float32)
        reward[outcome.illegal] = 0
        reward[outcome.blackout | (outcome.illegal & outcome.complete)] = -10
        return reward


REWARDS: dict[str, type[Reward]] = {
    "blackout": BlackoutReward,
    "l2rpn": L2RPNReward,
    "margin": MarginReward,
    "n1": N1Reward,
    "near_reference": NearReferenceReward,
    "redispatch_cost": RedispatchCostReward,
    "survival": SurvivalReward,
}


def grid2op_rewards() -> dict[str, type[BaseReward]]:
    """Return the reward classes that grid2op offers, by their own names.

    Those that are nothing by themselves, but made of others, are left out.
    """
    found = {}
    for name in dir(grid2op.Reward):
        entry = getattr(grid2op.Reward, name)
        if (
            isinstance(entry, type)
            and issubclass(entry, BaseReward)
            and entry not in (BaseReward, CombinedReward, CombinedScaledReward)
            and not isabstract(entry)
            and not name.startswith("_")
        ):
            found[name] = entry
    return found


def make_reward(reward: str | RewardMaker, layout: GridLayout) -> Reward:
    """Return the reward that ``reward`` names or makes.

    Args:
        reward: a name of ``REWARDS`` (spaces and hyphens stand for underscores), ``module:Class``
            of a ``Reward`` in any installed package, or what makes one for a grid.
        layout: of the grid.

    Raises:
        ValueError: there is none of that name, and the message names the nearest one; or what is
            made is no reward.
    """
    maker: RewardMaker = reward if callable(reward) else _named(reward)
    if _is_grid2ops(maker):
        name = reward if isinstance(reward, str) else getattr(reward, "func", reward).__name__
        raise ValueError(
            f"reward {name!r} is grid2op's own and needs its objects: only PowerGridEnv (one grid, "
            f"on grid2op) has it. Here one of: {', '.join(REWARDS)}"
        )
    made = maker(layout)
    if not callable(made) or not hasattr(made, "range"):
        raise ValueError(
            f"reward {reward!r} makes a {type(made).__name__}; expected a Reward, which has a "
            "range and is called with a state and an outcome"
        )
    return made


def find_grid2op_reward(reward: str | RewardMaker) -> type[BaseReward] | None:
    """Return grid2op's reward class, None if ``reward`` is, names or makes a ``Reward``.

    Raises:
        ValueError: it is neither, and the message names the nearest one; or options for grid2op's.
    """
    if not callable(reward):
        plain = _plain(reward)
        if plain in REWARDS:
            return None
        theirs = grid2op_rewards()
        if ":" not in plain:
            return theirs[choose("reward", reward, [*REWARDS, *theirs])]
        reward = _imported(reward)
    if not _is_grid2ops(reward):
        return None
    kind: Any = getattr(reward, "func", reward)
    if kind is not reward and reward.keywords:
        raise ValueError(
            f"reward {kind.__name__!r} is grid2op's own and takes no options here, but got "
            f"{reward.keywords}"
        )
    return kind


def _named(name: str) -> Any:
    plain = _plain(name)
    if ":" in plain:
        return _imported(name)
    if plain in REWARDS:
        return REWARDS[plain]
    theirs = grid2op_rewards()
    return theirs[name] if name in theirs else REWARDS[choose("reward", name, REWARDS)]


def _is_grid2ops(maker: Any) -> bool:
    kind = getattr(maker, "func", maker)  # of a partial
    return isinstance(kind, type) and issubclass(kind, BaseReward)


def _imported(name: str) -> type[Any]:
    """Return the class that ``name``, as in ``my_agents.rewards:Calm``, stands for."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = where_not_found(name)
        raise ValueError(f"reward {name!r} cannot be imported: {error}{hint}") from error
    if not isinstance(found, type) or found is Reward:  # which only says what rewards have
        raise ValueError(f"reward {name!r} is no class; expected one such as MarginReward")
    return found


def _plain(name: str) -> str:
    if not isinstance(name, str):
        choose("reward", name, REWARDS)
    return name.strip().replace(" ", "_").replace("-", "_").lower()
