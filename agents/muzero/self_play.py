"""Self-play: a group of environments that share one search batch.

The group is the unit of arithmetic. Its size fixes the shapes of every network call, so its games
do not depend on which process plays it or on how many groups there are beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import NamedTuple

import numpy as np
import torch

from agents.base import full_masks
from agents.environments import EnvironmentFactory
from agents.environments import final_observations
from agents.environments import final_values
from agents.muzero.model import LearnedModel
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.outlooks import Outlooks
from agents.muzero.outlooks import keep
from agents.muzero.planning import LearnedPlanning
from agents.muzero.planning import PlanningModelMaker
from agents.muzero.search.base import Search
from agents.muzero.targets import CONTINUING
from agents.muzero.targets import TERMINATED
from agents.muzero.targets import TRUNCATED
from agents.muzero.teacher import Advice
from agents.muzero.teacher import Teacher
from envs.copies import Copyable


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
    observation: np.ndarray  # [T, G, ...] float32
    action: np.ndarray  # [T, G] int64
    reward: np.ndarray  # [T, G] float32
    action_mask: np.ndarray  # [T, G, A] int8, 1 = legal
    policy: np.ndarray  # [T, G, A] float32, to learn: the search's improved one, or the teacher's
    root_value: np.ndarray  # [T, G] float32, the search's value
    duration: np.ndarray  # [T, G] int32, environment steps that the decision covered
    end: np.ndarray  # [T, G] uint8, one of targets.END_CODES
    final_value: np.ndarray  # [T, G] float32, model value where an episode was truncated, else 0
    outlooks: Outlooks | None  # of [T, G] decisions, where taught and a network learns from them
    env_steps: int  # steps played in the round, those of resets (idle gate) included
    episodes: tuple[EpisodeSummary, ...]  # finished in this round
    search: Mapping[str, float]  # means over the round: depth, width, entropy, value
    action_counts: np.ndarray  # [A] int64
    state: dict[str, Any] = field(repr=False)  # of the group after the round, to resume from


class SelfPlayGroup(Copyable):
    """Plays G environments with one search, decision by decision.

    Args:
        group: index of this group; with ``seed`` it fixes every random number of the group.
        make_environment: recipe of the environments.
        num_envs: G.
        network: a copy of the network of its own.
        search: plans; shared searches are fine within one process.
        seed: of the run.
        discount: gamma of an edge, where the model has none of its own.
        device: where the network runs.
        model: makes what the search plans in, from ``learned``.
        teacher: names the policies of rounds that are taught; None where none is.
        num_outlooks: actions of each taught decision whose look-ahead is kept.

    Raises:
        ValueError: no plans can be made in these environments, or nothing taught.
    """

    def __init__(
        self,
        *,
        group: int,
        make_environment: EnvironmentFactory,
        num_envs: int,
        network: MuZeroNetwork,
        search: Search,
        seed: int,
        discount: float,
        device: torch.device | str = "cpu",
        model: PlanningModelMaker = LearnedPlanning,
        teacher: Teacher | None = None,
        num_outlooks: int = 0,
    ) -> None:
        self.group = group
        self._env = make_environment(num_envs)
        self._search = search
        self._learned = LearnedModel(network, discount=discount, device=device)
        self._planning = model(learned=self._learned)
        self._teacher = teacher
        self._num_outlooks = num_outlooks
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
        skipped = 0
        if self._observations is None:
            skipped = self._start()
        num_envs, num_actions = self.num_envs, self._env.num_actions
        shape = (num_decisions, num_envs)
        assert self._observations is not None
        observation = np.empty((*shape, *self._observations.shape[1:]), np.float32)
        action = np.empty(shape, np.int64)
        reward = np.empty(shape, np.float32)
        action_mask = np.empty((*shape, num_actions), np.int8)
        policy = np.empty((*shape, num_actions), np.float32)
        root_value = np.empty(shape, np.float32)
        duration = np.empty(shape, np.int32)
        end = np.empty(shape, np.uint8)
        final_value = np.zeros(shape, np.float32)
        outlooks: list[Outlooks] = []
        statistics = np.zeros((num_decisions, 4))
        episodes: list[EpisodeSummary] = []

        for t in range(num_decisions):
            assert self._observations is not None
            action_mask[t] = full_masks(self._infos, num_envs, num_actions)
            result = self._search.run(
                self._planning.at(self._rows),
                self._observations,
                action_mask[t],
                self._generators,
                temperature=temperature,
            )
            chosen, improved = result.action, result.policy
            if taught:
                assert self._teacher is not None
                advice = self._teacher.advise(action_mask[t])
                chosen, improved = self._follow(advice.policy, chosen), advice.policy
                if self._num_outlooks:
                    outlooks.append(self._keep(advice, result.policy))
            stepped = self._env.step(chosen)
            next_observations, rewards, terminations, truncations, infos = stepped
            played = final_values(infos, "duration")
            observation[t] = self._observations
            action[t] = chosen
            reward[t] = rewards
            policy[t] = improved
            root_value[t] = result.value
            duration[t] = 1 if played is None else played
            end[t] = np.where(
                terminations, TERMINATED, np.where(truncations, TRUNCATED, CONTINUING)
            )
            cut_short = truncations & ~terminations
            if cut_short.any():
                # The whole batch, so that the shapes, and with them the bits, never vary.
                finals = final_observations(next_observations, infos)
                final_value[t] = np.where(cut_short, self._learned.policy_value(finals).value, 0.0)
            statistics[t] = (
                result.statistics.depth.mean(),
                result.statistics.width.mean(),
                result.statistics.visit_entropy.mean(),
                result.value.mean(),
            )
            self._rewards += rewards
            self._env_steps += duration[t]
            self._decisions += 1
            ended = np.flatnonzero(terminations | truncations)
            for index in ended:
                episodes.append(self._finish_episode(int(index), bool(terminations[index])))
            skipped += self._count_reset_steps(infos, ended)
            self._observations, self._infos = next_observations, infos

        means = statistics.mean(axis=0)
        return Experience(
            group=self.group,
            observation=observation,
            action=action,
            reward=reward,
            action_mask=action_mask,
            policy=policy,
            root_value=root_value,
            duration=duration,
            end=end,
            final_value=final_value,
            outlooks=Outlooks(*(np.stack(parts) for parts in zip(*outlooks, strict=True)))
            if outlooks
            else None,
            env_steps=int(duration.sum()) + skipped,
            episodes=tuple(episodes),
            search=dict(zip(("depth", "width", "visit_entropy", "root_value"), means, strict=True)),
            action_counts=np.bincount(action.ravel(), minlength=num_actions),
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

    def _keep(self, advice: Advice, preference: np.ndarray) -> Outlooks:
        """Return some of the look-aheads; ``preference [G, A]`` is the agent's own policy."""
        if advice.loadings is None:
            raise ValueError(
                f"{type(self._teacher).__name__} does not look ahead, and the network foresees by "
                "what look-aheads tell; set agent/teacher=lookahead, or take network=residual"
            )
        noise = np.stack(
            [generator.gumbel(size=preference.shape[1]) for generator in self._generators]
        )
        return keep(advice.loadings, advice.policy, preference, noise, self._num_outlooks)

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
