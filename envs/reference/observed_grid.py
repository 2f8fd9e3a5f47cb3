"""The reference environment shown the observations of a grid2op environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from grid2op.Action import ActionSpace
from grid2op.Observation import BaseObservation

from envs.grid.action_sets import ALL_ACTIONS
from envs.grid.actions import ActionCatalogue
from envs.grid.observations import EncoderMaker
from envs.grid.state import Lookahead
from envs.reference.grid2op_state import observed_state
from envs.reference.grid_description import Actions
from envs.reference.power_grid import ENV_ID, PowerGridEnv
from envs.scenarios import Scenario
from powergrid_muzero.checks import closed_if_refused

# what must be the same for actions and observations to mean the same
_PARTS = {
    "substations": ("name_sub",),
    "lines": ("name_line", "line_or_to_subid", "line_ex_to_subid"),
    "generators": ("name_gen", "gen_to_subid"),
    "loads": ("name_load", "load_to_subid"),
    "positions in topo_vect": (
        "line_or_pos_topo_vect",
        "line_ex_pos_topo_vect",
        "gen_pos_topo_vect",
        "load_pos_topo_vect",
    ),
}


class ObservedPowerGrid(PowerGridEnv):
    """A ``PowerGridEnv`` that is shown grid2op's observations instead of being stepped.

    State, encoded observation, action mask and look-ahead (``obs.simulate``) of what was shown last
    are those of the reference environment. Who plays is grid2op's Runner, a score, a competition.

    Args:
        action_space: of the grid2op environment that is played.
        grid: as in ``PowerGridEnv``; what the agent was made for.
        actions: as in ``PowerGridEnv``.
        observation: as in ``PowerGridEnv``.
        action_mask: as in ``PowerGridEnv``.
        parameters: as in ``PowerGridEnv``; those of the played environment are its own.

    Raises:
        ValueError: it is another grid, or its actions are others; or see ``PowerGridEnv``.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        *,
        grid: str = "l2rpn_case14_sandbox",
        actions: Actions = ALL_ACTIONS,
        observation: str | EncoderMaker = "features",
        action_mask: str = "legal",
        parameters: Mapping[str, Any] | None = None,
    ):
        super().__init__(
            grid=grid,
            actions=actions,
            scenarios=_PlayedElsewhere(),
            observation=observation,
            action_mask=action_mask,
            parameters=parameters,
            reward="survival",
        )
        self.spec = gym.spec(ENV_ID)
        with closed_if_refused(self):
            self._look_through(action_space, grid)

    def _look_through(self, action_space: ActionSpace, grid: str) -> None:
        """Take over the actions of the environment that is played."""
        _check_same_grid(type(self._grid2op), type(action_space), grid)
        own = self.catalogue
        self.catalogue = ActionCatalogue(
            action_space,
            self.layout,
            actions=own.action_set,
            max_lines_changed=own.max_lines_changed,
            max_substations_changed=own.max_substations_changed,
        )
        if self.catalogue.sha256 != own.sha256:
            raise ValueError(
                f"the agent chooses among {own.num_actions} actions on lines and substations, and "
                f"this grid2op environment offers {self.catalogue.num_actions} others: open it "
                "with action_class=grid2op.Action.PlayableAction"
            )

    @property
    def grid2op_env(self) -> NoReturn:
        """Refuse: the environment that is played is not at hand."""
        _refuse()

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "this grid is played by grid2op and cannot be copied or pickled: make an "
            "ObservedPowerGrid from the action space of the environment that the copy looks at"
        )

    def show(self, observation: BaseObservation) -> None:
        """Take ``observation``, of a game that goes on, as the present state."""
        self._observation = observation
        self._state = observed_state(observation)
        self._mask = None
        self._over = False

    def present(self, **more: Any) -> tuple[Any, dict[str, Any]]:
        """Return what ``reset`` and ``step`` of the reference would return of the present state.

        Args:
            more: infos to add or change.

        Returns:
            The encoded observation, and info as in ``PowerGridEnv``.
        """
        info = {
            "step": int(self.state.step[0]),
            "rho_max": float(self.state.rho.max()),
            "illegal": False,
            "duration": 0,
        }
        return self.complete({**info, **more})

    def simulate(
        self,
        action_ids: Sequence[int] | np.ndarray,
        outages: Sequence[int] | np.ndarray | None = None,
    ) -> Lookahead:
        """See ``PowerGridEnv.simulate``.

        Raises:
            ValueError: also if the played environment has no forecasts.
        """
        if len(self.grid2op_observation._forecasted_inj) < 2:
            raise ValueError(
                "this grid2op environment has no forecasts to look ahead on: play series that "
                "have some, such as envs.export_scenarios writes"
            )
        return super().simulate(action_ids, outages)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Refuse: see the class."""
        _refuse()

    def advance(self, action: Any) -> tuple[float, bool, bool, dict[str, Any]]:
        """Refuse: see the class."""
        _refuse()


class _PlayedElsewhere:
    """A source of no scenarios."""

    def names(self, split: str) -> tuple[str, ...]:
        del split
        return ()

    def draw(self, split: str, rng: np.random.Generator) -> str:
        _refuse()

    def load(self, name: str) -> Scenario:
        _refuse()


def _refuse() -> NoReturn:
    raise ValueError("this grid is played by grid2op: it can be looked at, not stepped or reset")


def _check_same_grid(ours: Any, theirs: Any, grid: str) -> None:
    """Raise ValueError unless both classes of grid2op are of the same grid."""
    for part, attributes in _PARTS.items():
        for attribute in attributes:
            if not np.array_equal(getattr(ours, attribute), getattr(theirs, attribute)):
                raise ValueError(
                    f"the agent is made for grid {grid!r}, and the grid2op environment "
                    f"{theirs.env_name!r} has other {part}: play a copy of that grid, such as "
                    "envs.export_scenarios writes"
                )
