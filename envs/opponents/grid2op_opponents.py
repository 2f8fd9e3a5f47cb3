"""Configures grid2op to play an opponent, and to simulate an attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from grid2op.Action import DontAct, PowerlineSetAction
from grid2op.Opponent import (
    BaseActionBudget,
    BaseOpponent,
    GeometricOpponent,
    GeometricOpponentMultiArea,
    NeverAttackBudget,
    RandomLineOpponent,
    WeightedRandomOpponent,
)

from envs.opponents import kinds


class _EpisodeGeometricOpponent(GeometricOpponent):
    """grid2op's, whose attacks follow from the episode's seed.

    grid2op draws an episode's attacks for as many steps as the episode before it had.
    """

    def reset(self, initial_budget: float) -> None:
        """Draw the attacks of the episode that begins."""
        self._episode_max_time = self._get_episode_duration()
        super().reset(initial_budget)


class _EpisodeMultiAreaOpponent(GeometricOpponentMultiArea):
    """grid2op's, with the same correction."""

    def reset(self, initial_budget: float) -> None:
        """Draw the attacks of the episode that begins."""
        for opponent in self.list_opponents or ():
            opponent._episode_max_time = opponent._get_episode_duration()
        super().reset(initial_budget)


_CLASSES: dict[type[kinds.Opponent], type[BaseOpponent]] = {
    kinds.RandomOpponent: RandomLineOpponent,
    kinds.WeightedOpponent: WeightedRandomOpponent,
    kinds.GeometricOpponent: _EpisodeGeometricOpponent,
    kinds.AreaOpponent: _EpisodeMultiAreaOpponent,
}
# options of some kinds: what grid2op calls it -> what it is called here
OPTIONS: Mapping[str, str] = {
    "rho_normalization": "usual_rho",
    "attack_period": "within",
    "attack_every_xxx_hour": "every_hours",
    "average_attack_duration_hour": "mean_hours",
    "minimum_attack_duration_hour": "least_hours",
    "pmax_pmin_ratio": "ratio",
}


def grid2op_opponent(opponent: kinds.Opponent | None) -> dict[str, Any]:
    """Return keywords of ``grid2op.make`` for ``opponent``; for None, those of nobody."""
    if opponent is None:
        return {
            "opponent_class": BaseOpponent,
            "opponent_action_class": DontAct,
            "opponent_budget_class": NeverAttackBudget,
            "opponent_init_budget": 0.0,
            "opponent_budget_per_ts": 0.0,
            "opponent_attack_duration": 0,
            "opponent_attack_cooldown": 99999,
        }
    areas = isinstance(opponent, kinds.AreaOpponent)
    own: dict[str, Any] = {
        "lines_attacked": [list(area) for area in opponent.lines] if areas else list(opponent.lines)
    }
    for theirs, ours in OPTIONS.items():
        if hasattr(opponent, ours):
            value = getattr(opponent, ours)
            own[theirs] = list(value) if isinstance(value, tuple) else value
    return {
        "opponent_class": _CLASSES[type(opponent)],
        "opponent_action_class": PowerlineSetAction,
        "opponent_budget_class": BaseActionBudget,
        "opponent_init_budget": opponent.budget,
        "opponent_budget_per_ts": opponent.budget_per_step,
        "opponent_attack_duration": opponent.duration,
        "opponent_attack_cooldown": opponent.period,
        "kwargs_opponent": own,
    }


@contextmanager
def losing(observation: Any, env: Any, line: int | None) -> Iterator[None]:
    """Let every ``observation.simulate`` in this context lose a line, as an opponent takes it out.

    grid2op's simulator plays an attack that its observation says is under way.

    Args:
        observation: of ``env``.
        env: grid2op's.
        line: by number; None for no loss.
    """
    if line is None:
        yield
        return
    attack = env._helper_action_env({"set_line_status": [(line, -1)]})
    kept = observation._env_internal_params
    # budget, whether the last attack failed, its steps left, steps to the next one, itself
    state = (0.0, False, _GOES_ON, 0, attack)
    observation._env_internal_params = {**kept, "opp_space_state": state, "opp_state": None}
    try:
        yield
    finally:
        observation._env_internal_params = kept
        forecaster = observation._obs_env
        if forecaster is not None:
            forecaster._oppSpace.reset()


_GOES_ON = 2  # steps left of an attack that goes on in the next step
