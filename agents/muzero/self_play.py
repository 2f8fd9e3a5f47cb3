"""Self-play: a group of environments that share one search batch.

The group is the unit of arithmetic. Its size fixes the shapes of every network call, so its games
do not depend on which process plays it or on how many groups there are beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.agent import full_masks
from agents.environments import EnvironmentFactory, final_observations, final_values
from agents.muzero.auxiliary import Moment
from agents.muzero.decision import Decision, decision_fields, empty_decisions, write_row
from agents.muzero.model import LearnedModel
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.planning import LearnedPlanning, PlanningModelMaker
from agents.muzero.search.base import Search
from agents.muzero.targets import TERMINATED, TRUNCATED
from agents.muzero.teacher import Teacher
from powergrid_muzero.copies import Copyable


class EpisodeSummary(NamedTuple):
    """One finished training episode."""

    reward: float  # sum over the episode, the calm steps before the first decision included
    env_steps: int  # environment steps played; with an idle gate more than decisions
    decisions: int
    terminated: bool  # ended by a blackout or failure, not by the end of the scenario or a limit


@dataclass(frozen=True)
class Experience:
    """What one group played in one round: T decisions in each of its G environments."""

    group: int  # index of the group
    decisions: Decision[np.ndarray]  # [T, G, ...]
    env_steps: int  # steps played in the round, those of resets (idle gate) included
    episodes: tuple[EpisodeSummary, ...]  # finished in this round
    search: Mapping[str, float]  # means over the round: depth, width, entropy, value
    state: dict[str, Any] = field(repr=False)  # of the group after the round, to resume from


class SelfPlayGroup(Copyable):
    """Plays G environments with one search, decision by decision.

    Args:
        group: index of this group; with ``seed`` it fixes every random number of the group.
        make_environment: recipe of the environments.
        num_envs: G.
        network: makes a network of its own, which plays with the weights that it is given.
        search: makes what plans.
        seed: of the run.
        discount: gamma of an edge, where the model has none of its own.
        device: where the network runs.
        model: makes what the search plans in, from ``learned``.
        teacher: makes what names the policies of rounds that are taught; None where none is.

    Raises:
        ValueError: no plans can be made in these environments, or nothing taught.
    """

    def __init__(
        self,
        group: int,
        *,
        make_environment: EnvironmentFactory,
        num_envs: int,
        network: Callable[[], MuZeroNetwork],
        search: Callable[[], Search],
        seed: int,
        discount: float,
        device: torch.device | str = "cpu",
        model: PlanningModelMaker = LearnedPlanning,
        teacher: Callable[[], Teacher] | None = None,
    ) -> None:
        self.group = group
        self._env = make_environment(num_envs)
        self._search = search()
        own = network()
        self._learned = LearnedModel(own, discount=discount, device=device)
        self._planning = model(learned=self._learned)
        self._teacher = None if teacher is None else teacher()
        self._auxiliary_targets = own.auxiliary_targets
        self._fields = decision_fields(
            observation_shape=own.observation_shape,
            num_actions=own.num_actions,
            extras=own.recorded_fields,
        )
        self._rebuild()
        self._rows = np.arange(num_envs)
        self._seed = seed
        self._generators = [
            np.random.default_rng([seed, group, index]) for index in range(num_envs)
        ]
        self._observations: np.ndarray | None = None
        self._infos: Mapping[str, Any] = {}
        self._rewards = np.zeros(num_envs)  # of the episodes under way
        self._env_steps = np.zeros(num_envs, np.int64)
        self._decisions = np.zeros(num_envs, np.int64)

    def _rebuild(self) -> None:
        """See ``Copyable``: let model and teacher meet the environments."""
        self._planning.bind(self._env)
        if self._teacher is not None:
            self._teacher.bind(self._env)

    @property
    def num_envs(self) -> int:
        """G, environments of the group."""
        return self._env.num_envs

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Play with these weights from now on."""
        self._learned.network.load_state_dict(weights)

    def play(self, num_decisions: int, temperature: float, *, taught: bool = False) -> Experience:
        """Play ``num_decisions`` in every environment; episodes go on from round to round.

        Args:
            num_decisions: T.
            temperature: of the search's choice of action.
            taught: the policies to learn are the teacher's, which leads some environments.
        """
        if forget := getattr(self._search, "forget", None):
            forget()  # what it keeps between decisions: runs resume between rounds
        skipped = 0
        if self._observations is None:
            skipped = self._start()
        num_envs, num_actions = self.num_envs, self._env.num_actions
        decisions = empty_decisions(self._fields, (num_decisions, num_envs))
        statistics = np.zeros((num_decisions, 4))
        episodes: list[EpisodeSummary] = []

        for t in range(num_decisions):
            assert self._observations is not None and decisions.action_mask is not None
            legal = decisions.action_mask[t]
            legal[:] = full_masks(self._infos, num_envs, num_actions)
            result = self._search.run(
                self._planning.at(self._rows),
                self._observations,
                legal,
                self._generators,
                temperature=temperature,
            )
            chosen, improved, advice = result.action, result.policy, None
            if taught:
                assert self._teacher is not None
                advice = self._teacher.advise(legal)
                chosen, improved = self._follow(advice.policy, chosen), advice.policy
            moment = Moment(self._observations, legal, result, advice, self._generators)
            extras: dict[str, np.ndarray] = {}
            for target in self._auxiliary_targets:
                extras.update(target.collect(moment))
            stepped = self._env.step(chosen)
            next_observations, rewards, terminations, truncations, infos = stepped
            played = final_values(infos, "duration")
            cut_short = truncations & ~terminations
            finals = np.zeros(num_envs, np.float32)
            if cut_short.any():
                # The whole batch, so that the shapes, and with them the bits, never vary.
                last = final_observations(next_observations, infos)
                finals = np.where(cut_short, self._learned.policy_value(last).value, 0.0)
            decision = Decision(
                observation=self._observations,
                action=chosen,
                reward=rewards,
                policy=improved,
                root_value=result.value,
                duration=np.ones(num_envs) if played is None else played,
                end=np.where(terminations, TERMINATED, truncations * TRUNCATED),
                final_value=finals,
                action_mask=legal,
                extras=extras,
            )
            write_row(decisions, t, decision)
            statistics[t] = (
                result.statistics.depth.mean(),
                result.statistics.width.mean(),
                result.statistics.visit_entropy.mean(),
                result.value.mean(),
            )
            self._rewards += rewards
            self._env_steps += decisions.duration[t]
            self._decisions += 1
            ended = np.flatnonzero(terminations | truncations)
            for index in ended:
                episodes.append(self._finish_episode(int(index), bool(terminations[index])))
            skipped += self._count_reset_steps(infos, ended)
            self._observations, self._infos = next_observations, infos

        means = statistics.mean(axis=0)
        return Experience(
            group=self.group,
            decisions=decisions,
            env_steps=int(decisions.duration.sum()) + skipped,
            episodes=tuple(episodes),
            search=dict(zip(("depth", "width", "visit_entropy", "root_value"), means, strict=True)),
            state=self.state_dict(),
        )

    def _follow(self, policy: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return ``actions [G]``, the first drawn from the teacher's ``policy [G, A]``."""
        assert self._teacher is not None
        actions = actions.copy()
        for index in range(round(self._teacher.lead * self.num_envs)):
            share = np.cumsum(policy[index], dtype=np.float64)
            draw = self._generators[index].random() * share[-1]
            actions[index] = np.searchsorted(share, draw, side="right")
        return actions

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs to go on exactly here."""
        if self._observations is None:
            return {}
        return {
            "env": self._env.state_dict(),
            "generators": [generator.bit_generator.state for generator in self._generators],
            "rewards": self._rewards.tolist(),
            "env_steps": self._env_steps.tolist(),
            "decisions": self._decisions.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        if not state:
            return
        self._observations, self._infos = self._env.load_state_dict(state["env"])
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._rewards[:] = state["rewards"]
        self._env_steps[:] = state["env_steps"]
        self._decisions[:] = state["decisions"]

    def close(self) -> None:
        """Close the environments."""
        self._env.close()

    def _start(self) -> int:
        """Reset every environment; return the calm steps that an idle gate played."""
        sequence = np.random.SeedSequence([self._seed, self.group])
        seeds = [int(seed) for seed in sequence.generate_state(self.num_envs)]
        self._observations, self._infos = self._env.reset(seed=seeds)
        return self._count_reset_steps(self._infos, np.arange(self.num_envs))

    def _count_reset_steps(self, infos: Mapping[str, Any], started: np.ndarray) -> int:
        """Add what an idle gate played before the first decision; return its steps."""
        if "reset_reward" not in infos:
            return 0
        steps = infos["duration"][started]
        self._env_steps[started] += steps
        self._rewards[started] += infos["reset_reward"][started]
        return int(steps.sum())

    def _finish_episode(self, index: int, terminated: bool) -> EpisodeSummary:
        summary = EpisodeSummary(
            reward=float(self._rewards[index]),
            env_steps=int(self._env_steps[index]),
            decisions=int(self._decisions[index]),
            terminated=terminated,
        )
        self._rewards[index] = 0.0
        self._env_steps[index] = 0
        self._decisions[index] = 0
        return summary
