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

Attacks may be left to chance (``chance="attacks"``): after each action nothing happens, or one of
the opponent's lines is lost. An operator knows that list, and how often attacks come, but neither
when the next one will nor which line it will be. So every step without an attack has the same
chance of one, and each closed line the same share of it. While an attack is under way no other
begins. What the opponent will really do is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from agents.environments import VectorEnvironment
from agents.muzero.losses import ILLEGAL_LOGIT
from agents.muzero.model import LearnedModel, PolicyValue
from agents.muzero.search.base import Afterstates, ModelOutput
from agents.power_grid.grid_access import require_fast_grids
from envs import DO_NOTHING, ForecastPlanner, GridLayout, PlannedStep, PowerGridVectorEnv
from powergrid_muzero.checks import is_number
from powergrid_muzero.names import choose

GUIDANCE = ("network", "none")
CALM_VALUES = ("held_forecast", "network")
CHANCE = ("none", "attacks")


class AttackOdds(NamedTuple):
    """What an operator knows of attacks to come."""

    lines: np.ndarray  # [K] int, that may be lost
    names: tuple[str, ...]  # [K], of these lines, for people
    probability: float  # that an attack begins in a step, while none is under way
    duration: int  # steps that it holds a line out


def attack_odds(grids: PowerGridVectorEnv, probability: float | None = None) -> AttackOdds:
    """Return what is known of the opponent of ``grids``.

    Args:
        grids: about to be played.
        probability: of an attack in a step while none is under way; None for one attack in each of
            the opponent's mean intervals.

    Raises:
        ValueError: nobody attacks, or several areas are attacked at once.
    """
    opponent = grids.opponent
    if opponent is None:
        raise ValueError(
            "agent.model.chance=attacks needs somebody who attacks: set opponent=rl4pnc or "
            "another one, or agent.model.chance=none"
        )
    if opponent.kind == "areas":
        raise ValueError(
            "agent.model.chance=attacks is for opponents that hold out one line at a time, not for "
            "kind 'areas': take another opponent, or agent.model.chance=none"
        )
    lines = opponent.number_lines(grids.layout.line_names)
    if probability is None:
        probability = 1.0 / max(opponent.mean_interval - opponent.mean_duration, 1.0)
    return AttackOdds(
        lines=lines,
        names=_line_names(grids.layout, lines),
        probability=probability,
        duration=round(opponent.mean_duration),
    )


def _line_names(layout: GridLayout, lines: np.ndarray) -> tuple[str, ...]:
    """Return lines by their substations, "line 6-8", and by number where there are several."""
    substations = np.stack([layout.line_or_substation, layout.line_ex_substation])
    ends = list(zip(*np.sort(substations, axis=0).tolist(), strict=True))
    return tuple(
        f"line {ends[line][0]}-{ends[line][1]}"
        + (f" (line {line})" if ends.count(ends[line]) > 1 else "")
        for line in lines.tolist()
    )


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
        return self._judged(self._planner.step(states.numpy(), actions))

    def _judged(self, played: PlannedStep) -> ModelOutput:
        """Return what is thought of what a step led to."""
        planner = self._planner
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


class AttackedSimulatorModel(SimulatorModel):
    """The same, with attacks left to chance; a ``ChanceModel``.

    The number of an afterstate is slot * A + action: nothing is played before chance has its say.

    Args:
        planner: see ``SimulatorModel``, as the other arguments.
        rows: of the roots.
        odds: of attacks.
        learned: gives values and priors.
        discount: gamma of a grid step.
        held: see ``SimulatorModel``.
    """

    def __init__(
        self,
        planner: ForecastPlanner,
        rows: np.ndarray,
        odds: AttackOdds,
        *,
        learned: LearnedModel | None,
        discount: float,
        held: bool = False,
    ) -> None:
        super().__init__(planner, rows, learned=learned, discount=discount, held=held)
        self._odds = odds
        self._lost = np.concatenate([[-1], odds.lines])  # of each outcome
        self.num_outcomes = len(self._lost)
        self.outcome_names: Sequence[str] | None = (
            "nothing happens",
            *(f"{name} is lost" for name in odds.names),
        )

    def afterstate(self, states: torch.Tensor, actions: np.ndarray) -> Afterstates:
        """Return the odds of attacks in slots ``states [n]``; see ``ChanceModel``."""
        slots, count, odds = states.numpy(), len(actions), self._odds
        state = self._planner.state(slots)
        quiet = ~(state.attack_steps > 0).any(axis=1, keepdims=True)
        closed = state.line_status[:, odds.lines] & quiet  # [n, K]
        share = odds.probability / np.maximum(closed.sum(axis=1), 1)
        probabilities = np.zeros((count, self.num_outcomes), np.float32)
        probabilities[:, 1:] = closed * share[:, None]
        probabilities[:, 0] = 1.0 - probabilities[:, 1:].sum(axis=1)
        return Afterstates(
            reward=np.zeros(count, np.float32),
            discount=np.ones(count, np.float32),
            probabilities=probabilities,
            states=states * self.num_actions + torch.from_numpy(actions),
        )

    def outcome(self, states: torch.Tensor, outcomes: np.ndarray) -> ModelOutput:
        """Play the actions of afterstates ``states [n]``, and attacks; see ``ChanceModel``."""
        slots, actions = np.divmod(states.numpy(), self.num_actions)
        lost = self._lost[outcomes]
        return self._judged(self._planner.step(slots, actions, lost, duration=self._odds.duration))


class SimulatorPlanning:
    """Plans in the simulator of the environment being played; see ``PlanningModel``.

    Args:
        learned: the network's model; its discount is that of a grid step.
        guidance: where values and priors come from: "network", or "none": 0 and uniform.
        calm_values: what states below the idle gate are worth: "held_forecast": their reward for
            ever, and nothing is done there; "network": as others. The first goes with values
            trained with ``discount_unit="step"``.
        chance: what is left to chance: "none", or "attacks" of the opponent that is played.
        attack_probability: that an attack begins in a step, while none is under way; None for what
            the opponent's interval says, which a search of few simulations hardly sees.

    Raises:
        ValueError: no such guidance, calm_values or chance, no probability, or rewards for ever
            that are not discounted.
    """

    plans_in_network = False

    def __init__(
        self,
        *,
        learned: LearnedModel,
        guidance: str = "network",
        calm_values: str = "network",
        chance: str = "none",
        attack_probability: float | None = None,
    ) -> None:
        self.uses_network = choose("guidance", guidance, GUIDANCE) == "network"
        self._learned = learned
        self._held = choose("calm_values", calm_values, CALM_VALUES) == "held_forecast"
        if self._held and not 0.0 <= learned.discount < 1.0:
            raise ValueError(
                "agent.model.calm_values=held_forecast needs a discount of at least 0 and below 1, "
                f"not {learned.discount}; set agent.discount, or agent.model.calm_values=network"
            )
        self._attacks = choose("chance", chance, CHANCE) == "attacks"
        if attack_probability is not None and not (
            is_number(attack_probability) and 0.0 <= attack_probability <= 1.0
        ):
            raise ValueError(
                "agent.model.attack_probability must be from 0 to 1, or null for what the "
                f"opponent's interval says, but is {attack_probability!r}"
            )
        self._attack_probability = attack_probability
        self._odds: AttackOdds | None = None
        self._planner: ForecastPlanner | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """Meet the environment about to be played.

        Raises:
            ValueError: it is not the vector environment of PowerGrid-v0, or has no opponent whose
                attacks could be left to chance.
        """
        grids = require_fast_grids(env, "agent/model=simulator", instead="agent/model=learned")
        self._odds = attack_odds(grids, self._attack_probability) if self._attacks else None
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
        learned = self._learned if self.uses_network else None
        discount, held = self._learned.discount, self._held
        if self._odds is None:
            return SimulatorModel(
                self._planner, rows, learned=learned, discount=discount, held=held
            )
        return AttackedSimulatorModel(
            self._planner, rows, self._odds, learned=learned, discount=discount, held=held
        )

    def __getstate__(self) -> dict[str, object]:
        """Leave the environment behind."""
        return {**self.__dict__, "_planner": None, "_odds": None}
