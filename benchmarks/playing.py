"""Self-play of an experiment with fresh weights, as benchmarks measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from agents.configuration.composed import compose_here
from agents.configuration.composition import (
    FROM_PROGRAM,
    build_environment_factory,
    instantiate,
    probe_spaces,
)
from agents.environments import EnvironmentFactory
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.planning import LearnedPlanning
from agents.muzero.pools import GroupMaker, Round, SelfPlayPool
from agents.muzero.search.base import Search
from agents.muzero.self_play import Experience, SelfPlayGroup
from agents.runs.saved_configs import plain, refuse_unused

GROUPS = 2  # that share the environments
USED = ("env", "agent.network", "agent.search", "agent.discount")  # of the configuration


@dataclass(frozen=True)
class SelfPlay:
    """The parts that an experiment's self-play is made of."""

    config: Mapping[str, Any]  # composed
    agent: Mapping[str, Any]  # its arguments, built
    make_environment: EnvironmentFactory
    make_network: Callable[[], MuZeroNetwork]
    make_search: Callable[[], Search]
    make_group: GroupMaker  # each with an equal share of the environments


def compose_self_play(experiment: str, overrides: Sequence[str] = (), *, num_envs: int) -> SelfPlay:
    """Build the parts of an experiment's self-play.

    Args:
        experiment: of ``conf/experiment``.
        overrides: of what is in ``USED``.
        num_envs: environments in all, a multiple of ``GROUPS``.

    Raises:
        ValueError: no such experiment, an override that is not used, or no MuZero is trained.
    """
    config = plain(compose_here("train", [f"experiment={experiment}", *overrides]).config)
    refuse_unused(overrides, USED, "this benchmark")
    agent = instantiate(config["agent"], "agent", partially=True, supplied=FROM_PROGRAM).keywords
    if "search" not in agent:
        raise ValueError(f"experiment={experiment} trains no MuZero, so nothing plays itself.")
    make_environment = build_environment_factory(config["env"])
    observation_space, action_space = probe_spaces(make_environment)
    make_network = partial(
        _same_network,
        agent["network"],
        observation_shape=observation_space.shape,
        num_actions=int(action_space.n),
    )
    make_group = partial(
        SelfPlayGroup,
        make_environment=make_environment,
        num_envs=num_envs // GROUPS,
        network=make_network,
        search=agent["search"],
        model=LearnedPlanning,
        teacher=None,
        seed=0,
        discount=agent["discount"],
        device=torch.device("cpu"),
    )
    return SelfPlay(config, agent, make_environment, make_network, agent["search"], make_group)


def _same_network(make: Callable[..., MuZeroNetwork], **sizes: Any) -> MuZeroNetwork:
    """Make a network with the same fresh weights in every process.

    What is played depends on them, and with it what a decision costs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(**sizes)


def play_round(pool: SelfPlayPool, work: Round) -> list[Experience]:
    """Let every group play a round; return what they played."""
    pool.start(range(pool.num_groups), work)
    experiences: list[Experience] = []
    while len(experiences) < pool.num_groups:
        experiences.extend(pool.finished())
    return experiences


def no_work() -> Callable[..., None]:
    """Return the work of a worker that only has to start."""
    return lambda *arguments: None
