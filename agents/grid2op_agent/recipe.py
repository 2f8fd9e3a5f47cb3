"""The recipe of an agent for grid2op's tools: configuration, weights and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from agents.agent import Agent
from agents.commands.side_by_side import agent_name
from agents.configuration.arguments import for_hydra
from agents.configuration.composed import compose_here
from agents.configuration.composition import build_agent, build_options, check_environment
from agents.configuration.extensions import find_extensions
from agents.configuration.settings import EvaluateConfiguration
from agents.configuration.signatures import check_keywords
from agents.runs.checkpoints import restore_agent
from agents.runs.paths import given_text
from agents.runs.saved_configs import plain, refuse_unused, with_absolute_paths
from agents.runs.weights import configuration_of, weights_asked_for
from envs import ENV_ID, UNGATED

_COMMAND = "evaluate"  # its groups are those that agents are evaluated with
_OWN_WORDS = ("run", "checkpoint", "weights", "name")
_GRID_OPTIONS = ("grid", "actions", "observation", "action_mask", "parameters")
_KEPT = (*_GRID_OPTIONS, "idle_gate", "reconnect_lines")
_USED = (
    *("agent", "seed", "trainer.device", "env.id", "env.wrappers"),
    *(
        f"env.kwargs.{name}" for name in dict.fromkeys((*_KEPT, *UNGATED))
    ),  # or refused for a reason
)


@dataclass(frozen=True, kw_only=True)
class AgentRecipe:
    """An agent that can be made anywhere; plain Python and tensors, so it pickles.

    Raises:
        ValueError: the agent plays another environment.
    """

    name: str  # for tables, such as "greedy"
    agent: Mapping[str, Any]  # the config group: ``_target_`` and keywords
    env: Mapping[str, Any]  # of the config group: ``id``, ``kwargs`` and ``wrappers``
    weights: Mapping[str, Any] | None = None  # ``Agent.state_dict``; None for an agent without
    origin: str = ""  # where the weights come from, for messages
    seed: int = 0  # of the agent, where grid2op gives none

    def __post_init__(self) -> None:
        """Refuse what cannot be played on grid2op's observations; keep what is needed there."""
        env = self.env
        if str(env["id"]).rpartition(":")[2] != ENV_ID:
            raise ValueError(
                f"agent {self.name} plays {env['id']}; grid2op's tools have agents of {ENV_ID} only"
            )
        others = [key for key in UNGATED if key != "idle_gate" and env["kwargs"].get(key)]
        if others:
            raise ValueError(
                f"agent {self.name}: {' and '.join(others)} cannot be had in grid2op's tools, "
                "where an agent is asked by idle_gate alone; leave them out"
            )
        wrappers = {name: dict(one) for name, one in (env.get("wrappers") or {}).items()}
        kept = {key: env["kwargs"][key] for key in _KEPT if env["kwargs"].get(key) is not None}
        object.__setattr__(self, "env", {"id": ENV_ID, "kwargs": kept, "wrappers": wrappers})

    @property
    def grid_options(self) -> dict[str, Any]:
        """Keywords of ``ObservedPowerGrid``."""
        kwargs = self.env["kwargs"]
        return build_options({key: kwargs[key] for key in _GRID_OPTIONS if key in kwargs})

    @property
    def idle_gate(self) -> float | None:
        """Rho below which nothing is done and the agent is not asked; None to ask it always."""
        return self.env["kwargs"].get("idle_gate")

    @property
    def reconnect_lines(self) -> bool:
        """Whether open lines are closed where the agent does nothing."""
        return bool(self.env["kwargs"].get("reconnect_lines", False))

    def build(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int | None = None,
    ) -> Agent:
        """Return the agent, with its weights.

        Args:
            observation_space: of one grid.
            action_space: of one grid.
            seed: of the agent; None for the recipe's.

        Raises:
            ValueError: no such class or option, no weights, or those of another network.
        """
        agent = build_agent(
            self.agent,
            observation_space=observation_space,
            action_space=action_space,
            seed=self.seed if seed is None else seed,
        )
        if not agent.learns:
            if self.weights is not None:
                raise ValueError(
                    f"agent {self.name} learns nothing: leave out the weights ({self.origin})"
                )
            return agent
        if self.weights is None:
            raise ValueError(
                f"agent {self.name} needs weights: name the folder of a run (run=FOLDER), a file "
                "of weights (weights=FILE), or weights that ship (weights=case14)"
            )
        restore_agent(agent, self.weights, origin=self.origin)
        return agent


def recipe_from(words: Sequence[str]) -> AgentRecipe:
    """Return the recipe that words of the command line describe.

    Args:
        words: as ``powergrid-evaluate`` takes them: ``run=FOLDER`` (with ``checkpoint=best`` or
            ``latest``) or ``weights=`` for a trained agent, see ``find_weights``; ``name=`` and
            other Hydra overrides, such as ``agent=greedy``, ``wrappers=gated``.

    Raises:
        ValueError: a word that is not KEY=VALUE, an unknown name, one that is not used here, no
            such run, damaged weights.
    """
    own: dict[str, str] = {}
    overrides = []
    for word in for_hydra(words):
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not KEY=VALUE, such as agent=greedy or run=FOLDER")
        if key in _OWN_WORDS:  # paths need not be in Hydra's grammar
            own[key] = value
        else:
            overrides.append(word)
    weights = weights_asked_for(own)
    find_extensions()
    composed = compose_here(_COMMAND, overrides)
    refuse_unused(overrides, _USED, "grid2op's tools")
    config, option = plain(composed.config), composed.choices["agent"]
    check_keywords(EvaluateConfiguration, config, "")
    env, agent, seed = config["env"], config["agent"], config["seed"]
    if weights is not None and weights.run is not None:
        env, agent, _, option = configuration_of(
            weights.run, composed.config, overrides, option=option, ignored=("seed",)
        )
    check_environment(env)
    return AgentRecipe(
        name=given_text(own["name"], "name") if "name" in own else agent_name(agent, option),
        agent=agent,
        env=with_absolute_paths(env),
        weights=None if weights is None else weights.state(),
        origin="" if weights is None else weights.origin,
        seed=seed,
    )
