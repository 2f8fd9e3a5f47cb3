"""The simulator as the model of a search (AlphaZero).

States are handles to the simulator's own copies of the grids; rewards and endings are its own.
Values and priors are the network's, of the observation that the environment would show there
(Silver et al. 2018, https://doi.org/10.1126/science.aar6404), or none.

The look-ahead knows no more than an operator does: its first step is played on the five-minute
forecast, as ``simulate`` plays it, and later ones hold that forecast
(``envs.fast.forecast_planner``).

An edge of the tree is one grid step. Under an idle gate decisions are further apart, so train
values with ``discount_unit="step"``: a value then means the same in any state, whether the agent is
asked there or not. And a network is only ever trained on states in which it was asked, so of the
calm ones, to which all good actions lead, it knows nothing. There the held forecast itself says
what follows (``calm_values="held_forecast"``): the environment does nothing and earns the same
reward step after step, in all r / (1 - gamma). In other states the network's value counts as far as
it is below that: else the noise of a young network makes staying overloaded look best now and then,
which is enough to lose the grid.
"""

from __future__ import annotations

import numpy as np
import torch

from agents.environments import VectorEnvironment
from agents.muzero.losses import ILLEGAL_LOGIT
from agents.muzero.model import LearnedModel, PolicyValue
from agents.muzero.search.base import ModelOutput
from agents.power_grid.grid_access import fast_grids, played_name
from envs import DO_NOTHING, ForecastPlanner
from powergrid_muzero.names import choose

GUIDANCE = ("network", "none")
CALM_VALUES = ("held_forecast", "network")


class SimulatorModel:
    """Plans on copies of grids, from where they stand when the root is asked for.

    A blackout is absorbing: the reward of the step into it counts, and its discount is 0.
    At the end of the scenario, or a time limit, nothing is lost: no rewards follow, but the state
    keeps its value, as targets bootstrap there. Illegal actions do nothing, and a prior of 0 keeps
    searches from trying them below the root.

    Each step of n rows copies n grids: memory is that of n (simulations + 1) slots of the planner.

    Args:
        planner: of the environment being played.
        rows: ``[n]`` int, the environments that the roots are of.
        learned: gives values and priors; None for values of 0 and uniform priors.
        discount: gamma of a grid step.
        held: the reward of a state times 1 / (1 - gamma) is the value of a state below the idle
            gate, where only doing nothing is considered, and the most that any other is worth;
            False to take the network's value for all.
    """

    def __init__(
        self,
        planner: ForecastPlanner,
        rows: np.ndarray,
        *,
        learned: LearnedModel | None,
        discount: float,
        held: bool = False,
    ) -> None:
        self.num_actions = planner.num_actions
        self._planner = planner
        self._rows = rows
        self._learned = learned
        self._discount = np.float32(discount)
        self._held_horizon = np.float32(1.0 / (1.0 - discount)) if held else None

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Start a plan on each grid; see ``Model.root``. Illegal actions cost nothing here.

        Raises:
            ValueError: another number of observations than of grids.
        """
        if len(observations) != len(self._rows):
            raise ValueError(
                f"{len(observations)} observations of {len(self._rows)} environments: the "
                "simulator plans from one observation of each of its environments"
            )
        slots = self._planner.begin(self._rows)
        judged = self._judge(observations)
        return ModelOutput(
            value=judged.value,
            reward=np.zeros(len(slots), np.float32),
            discount=np.ones(len(slots), np.float32),
            policy_logits=judged.policy_logits,
            states=torch.from_numpy(slots),
        )

    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Play ``actions [n]`` int64 on the copies ``states [n]`` int64; see ``Model.step``."""
        planner = self._planner
        played = planner.step(states.numpy(), actions)
        judged = self._judge(planner.observations(played.slots))
        value = judged.value
        legal = planner.legal(played.slots).astype(np.bool_)
        if self._held_horizon is not None:
            held = played.reward * self._held_horizon
            calm = planner.calm(played.slots)
            value = np.where(played.over, value, np.where(calm, held, np.minimum(value, held)))
            legal[calm, DO_NOTHING + 1 :] = False
        value = np.where(played.blackout, np.float32(0), value)
        return ModelOutput(
            value=value,
            reward=played.reward,
            discount=np.where(played.blackout, np.float32(0), self._discount),
            policy_logits=np.where(legal, judged.policy_logits, np.float32(ILLEGAL_LOGIT)),
            states=torch.from_numpy(played.slots),
        )

    def _judge(self, observations: np.ndarray) -> PolicyValue:
        if self._learned is not None:
            return self._learned.policy_value(observations)
        count = len(observations)
        return PolicyValue(
            policy_logits=np.zeros((count, self.num_actions), np.float32),
            value=np.zeros(count, np.float32),
        )


class SimulatorPlanning:
    """Plans in the simulator of the environment being played; see ``PlanningModel``.

    Args:
        learned: the network's model; its discount is that of a grid step.
        guidance: where values and priors come from: "network", or "none": 0 and uniform.
        calm_values: what states below the idle gate are worth: "held_forecast": their reward for
            ever, and nothing is done there; "network": as others. The first goes with values
            trained with ``discount_unit="step"``.

    Raises:
        ValueError: no such guidance or calm_values, or rewards for ever that are not discounted.
    """

    plans_in_network = False

    def __init__(
        self,
        *,
        learned: LearnedModel,
        guidance: str = "network",
        calm_values: str = "network",
    ) -> None:
        self.uses_network = choose("guidance", guidance, GUIDANCE) == "network"
        self._learned = learned
        self._held = choose("calm_values", calm_values, CALM_VALUES) == "held_forecast"
        if self._held and not 0.0 <= learned.discount < 1.0:
            raise ValueError(
                "agent.model.calm_values=held_forecast needs a discount of at least 0 and below 1, "
                f"not {learned.discount}; set agent.discount, or agent.model.calm_values=network"
            )
        self._planner: ForecastPlanner | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """Meet the environment about to be played.

        Raises:
            ValueError: it is not the vector environment of PowerGrid-v0.
        """
        grids = fast_grids(env)
        if grids is None:
            raise ValueError(
                "agent/model=simulator plans in the fast simulator of PowerGrid-v0 only, but this "
                f"is {played_name(env)}, played one by one: set env.simulator=lightsim2grid, or "
                "take agent/model=learned"
            )
        self._planner = grids.planner()

    def at(self, rows: np.ndarray) -> SimulatorModel:
        """Return the model of environments ``rows [n]``.

        Raises:
            ValueError: no environment was met.
        """
        if self._planner is None:
            raise ValueError(
                "agent/model=simulator was not bound to an environment: call bind(env) before act()"
            )
        return SimulatorModel(
            self._planner,
            rows,
            learned=self._learned if self.uses_network else None,
            discount=self._learned.discount,
            held=self._held,
        )

    def __getstate__(self) -> dict[str, object]:
        """Leave the environment behind."""
        return {**self.__dict__, "_planner": None}
