"""``MuZeroAgent``: assembles the parts, acts and trains.

Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265. With the simulator as the model it is
AlphaZero (Silver et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import torch

from agents.agent import Agent, Infos, TrainerSettings, TrainingRun, full_masks
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.muzero.learner import Learner
from agents.muzero.model import LearnedModel
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.planning import LearnedPlanning, PlanningModelMaker, check_pair
from agents.muzero.pools import LocalPool, SelfPlayPool, WorkerPool
from agents.muzero.reanalysis import reanalyse
from agents.muzero.replay import Replay
from agents.muzero.search.base import Search, SearchResult
from agents.muzero.search.record import TreeRecord, last_tree, record_tree
from agents.muzero.self_play import SelfPlayGroup
from agents.muzero.teacher import Teacher
from agents.muzero.trainer import LearningPlan, MuZeroTrainer
from agents.parts import KeywordsOf, naming
from agents.runs.checkpoints import checked_weights
from agents.runs.cluster import worker_count
from agents.runs.devices import choose_device
from powergrid_muzero.names import choose

DISCOUNT_UNITS = ("decision", "step")
_OF_LEARNER = ("network", "optimizer_factory", "unroll_steps", "device")  # not among its options


class MuZeroAgent(Agent):
    """Plans in a model with a tree search, and learns from its own play.

    Args:
        observation_space, action_space: of one environment: a Box and a Discrete.
        seed: of weights and play.
        network: makes the network from ``observation_shape`` and ``num_actions``.
        search: makes the search.
        replay: makes the replay from the run's sizes (see ``Replay``).
        optimizer: makes the optimiser from the network's parameters.
        learning: loss weights and the like, keywords of ``Learner``.
        plan: how much is learned from how much play.
        discount: gamma.
        discount_unit: what gamma is of, "decision" or "step": with "step" a decision that lasts d
            environment steps discounts by gamma^d, and its reward is spread over them.
        td_steps: n of the n-step value target, in decisions.
        unroll_steps: K, steps that the model is unrolled in training; 0 trains no dynamics, where
            the simulator is the model.
        model: makes what searches plan in, see ``PlanningModelMaker``.
        teacher: makes who names the policies of the first ``plan.taught_decisions``, see
            ``Teacher``; None where none are taught.
        device: "auto", "cpu", "cuda", ...: where the networks run.

    Raises:
        ValueError: an option is out of range, or does not go with the model or the teacher.
    """

    def __init__(
        self,
        *,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Discrete,
        seed: int,
        network: Callable[..., MuZeroNetwork],
        search: Callable[..., Search],
        replay: Callable[..., Replay],
        optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer],
        learning: Annotated[Mapping[str, Any], KeywordsOf(Learner, supplied=_OF_LEARNER)],
        plan: LearningPlan,
        discount: float = 0.9,
        discount_unit: Literal["decision", "step"] = "decision",
        td_steps: int = 7,
        unroll_steps: int = 5,
        model: PlanningModelMaker = LearnedPlanning,
        teacher: Callable[[], Teacher] | None = None,
        device: str = "auto",
    ) -> None:
        if not 0.0 < discount <= 1.0:
            raise ValueError(f"discount must be in (0, 1], got {discount}")
        if td_steps < 1:
            raise ValueError(f"td_steps must be at least 1, got {td_steps}")
        if unroll_steps < 0:
            raise ValueError(f"unroll_steps must be 0 or more, got {unroll_steps}")
        _check_teaching(teacher, plan)
        self._make_teacher = teacher
        self._num_actions = int(action_space.n)
        self._make_network = partial(
            network, observation_shape=observation_space.shape, num_actions=self._num_actions
        )
        self._make_replay = partial(
            replay,
            observation_shape=observation_space.shape,
            num_actions=self._num_actions,
            discount=discount,
            discount_per_step=choose("discount_unit", discount_unit, DISCOUNT_UNITS) == "step",
            td_steps=td_steps,
            unroll_steps=unroll_steps,
        )
        self._optimizer = optimizer
        self._learning = learning
        self._unroll_steps = unroll_steps
        self._plan = plan
        self._seed = seed
        self._device = choose_device(device)
        self._discount = discount
        self.network = _seeded(self._make_network, seed)
        self._learned = self._model_of(self.network)
        self._make_model = model
        self._model = self._make_model(learned=self._learned)
        if self._model.plans_in_network and unroll_steps == 0:
            raise ValueError(
                "agent.unroll_steps=0 trains no dynamics, which the learned model plans in; set "
                "agent.unroll_steps=1 or more, or agent/model=simulator"
            )
        self._make_search = search
        self._search = self._make_search()
        check_pair(self._model, self._search)
        considered = getattr(self._search, "max_considered", 0)
        if considered > self._num_actions:
            raise ValueError(
                f"agent.search.max_considered={considered}; the environment has "
                f"{self._num_actions} actions: set it to {self._num_actions} or less"
            )
        # environments [B], result, names of outcomes
        self._searched: tuple[np.ndarray, SearchResult, Sequence[str] | None] | None = None

    @property
    def learns(self) -> bool:
        """Whether ``train`` does anything: not where the model uses no network."""
        return self._model.uses_network

    def preflight(self, make_environment: EnvironmentFactory, settings: TrainerSettings) -> None:
        """See ``Agent.preflight``."""
        if not self.learns:
            return
        _check_groups(settings)
        simulates = not self._model.plans_in_network
        if simulates and self._plan.reanalyse_every is not None:
            raise ValueError(
                f"agent.plan.reanalyse_every={self._plan.reanalyse_every} searches from remembered "
                "observations, and the simulator cannot go back to those; set it to null, or take "
                "agent/model=learned"
            )
        teacher = None if self._make_teacher is None else self._make_teacher()
        for target in self.network.auxiliary_targets:
            target.check_teacher(teacher)
        self._make_learner(self.network)
        self._check_budget(settings, self._new_replay(settings))
        env = make_environment(1)
        try:
            if teacher is not None:
                teacher.bind(env)
            self._rehearse(env)
        finally:
            env.close()

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Agent.bind``; ValueError if no plans can be made in this environment."""
        self._model.bind(env)
        self._searched = None

    def act(
        self, observations: np.ndarray, infos: Infos, active: np.ndarray | None = None
    ) -> np.ndarray:
        """See ``Agent.act``: plans for the active environments, without exploration."""
        rows = np.arange(len(observations)) if active is None else np.flatnonzero(active)
        actions = np.zeros(len(observations), np.int64)
        self._searched = None
        if not len(rows):
            return actions
        masks = full_masks(infos, len(observations), self._num_actions)
        result = self.search(np.asarray(observations)[rows], masks[rows], rows)
        actions[rows] = result.action
        return actions

    def search(
        self, observations: np.ndarray, action_mask: np.ndarray, rows: np.ndarray
    ) -> SearchResult:
        """Plan, without exploration.

        Args:
            observations: ``[n, ...]``.
            action_mask: ``[n, A]`` int8, 1 = legal.
            rows: ``[n]`` int, the environments that they are of.
        """
        model = self._model.at(rows)
        result = self._search.run(
            model, observations, action_mask, np.random.default_rng(self._seed), explore=False
        )
        self._searched = rows, result, getattr(model, "outcome_names", None)
        return result

    def train(self, run: TrainingRun) -> None:
        """Learn from self-play; see ``MuZeroTrainer``."""
        if not self.learns:
            return
        settings = run.settings
        self.preflight(run.make_environment, settings)
        network = _seeded(self._make_network, self._seed)
        network.load_state_dict(self.network.state_dict())  # its own, unless it was given others
        learner = self._make_learner(network.to(self._device))
        trainer = MuZeroTrainer(
            run=run,
            plan=self._plan,
            agent=self,
            learner=learner,
            replay=self._new_replay(settings),
            make_pool=partial(self._make_pool, run),
            reanalyse=partial(reanalyse, self._model_of(learner.network), self._make_search()),
            num_actions=self._num_actions,
        )
        trainer.train()
        self.load_state_dict({"network": learner.averaged_weights})

    def _make_learner(self, network: MuZeroNetwork) -> Learner:
        with naming("agent.learning", self._learning):
            return Learner(
                network,
                self._optimizer,
                device=self._device,
                unroll_steps=self._unroll_steps,
                **self._learning,
            )

    def _new_replay(self, settings: TrainerSettings) -> Replay:
        try:
            return self._make_replay(
                num_lanes=settings.num_envs, extras=self.network.recorded_fields
            )
        except MemoryError as error:
            raise ValueError(f"agent.replay.capacity is beyond this machine: {error}") from error

    def _check_budget(self, settings: TrainerSettings, replay: Replay) -> None:
        """Refuse a training that would end before it learns anything."""
        kept = replay.num_lanes * replay.lane_capacity
        for limit, key in (
            (settings.total_env_steps, f"trainer.total_env_steps={settings.total_env_steps}"),
            (kept, f"the {kept} decisions that agent.replay.capacity keeps"),
        ):
            if self._plan.learning_starts > limit:
                raise ValueError(
                    f"agent.plan.learning_starts={self._plan.learning_starts} is beyond {key}: "
                    f"nothing would be learned; set it to {limit} or less"
                )

    def _rehearse(self, env: VectorEnvironment) -> None:
        """Take one decision: parts that do not fit fail here, before a training."""
        model = self._make_model(learned=self._learned)
        model.bind(env)
        observations, infos = env.reset(seed=self._seed)
        mask = full_masks(infos, 1, self._num_actions)
        with naming("agent.search", ()):
            self._make_search().run(
                model.at(np.arange(1)), observations, mask, np.random.default_rng(self._seed)
            )

    def _model_of(self, network: MuZeroNetwork) -> LearnedModel:
        return LearnedModel(network, discount=self._discount, device=self._device)

    def _make_pool(self, run: TrainingRun, states: list[dict[str, Any]] | None) -> SelfPlayPool:
        settings = run.settings
        make_group = partial(
            SelfPlayGroup,
            make_environment=run.make_environment,
            num_envs=settings.envs_per_group,
            network=self._make_network,
            search=self._make_search,
            model=self._make_model,
            teacher=self._make_teacher,
            seed=run.seed,
            discount=self._discount,
            device=self._device if settings.num_workers == 0 else torch.device("cpu"),
        )
        num_groups = settings.num_envs // settings.envs_per_group
        if settings.num_workers == 0:
            return LocalPool(make_group, num_groups, states)
        count = worker_count(settings.num_workers, num_groups, "trainer.num_workers")
        return WorkerPool(make_group, num_groups, count, states)

    def state_dict(self) -> dict[str, Any]:
        """See ``Agent.state_dict``: the network's weights."""
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Agent.load_state_dict``.

        Raises:
            ValueError: the weights are of another network; the message names the first difference.
        """
        weights = checked_weights(
            state,
            "network",
            self.network.state_dict(),
            agent="MuZero",
            choices="network, observation and environment",
        )
        self.network.load_state_dict(weights)

    def explain(self, texts: Sequence[str] | None = None) -> Mapping[int, TreeRecord]:
        """See ``Agent.explain``; {} before the first ``act``.

        Raises:
            ValueError: the search keeps no trees.
        """
        if self._searched is None:
            return {}
        tree = last_tree(self._search)
        rows, result, outcome_texts = self._searched
        return {
            int(env): record_tree(tree, row, result, texts=texts, outcome_texts=outcome_texts)
            for row, env in enumerate(rows)
        }


def _seeded(make_network: Callable[[], MuZeroNetwork], seed: int) -> MuZeroNetwork:
    """Make a network whose weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_network()


def _check_teaching(teacher: Callable[[], Teacher] | None, plan: LearningPlan) -> None:
    if teacher is None:
        if plan.taught_decisions:
            raise ValueError(
                f"agent.plan.taught_decisions={plan.taught_decisions} needs a teacher: set "
                "agent/teacher=NAME, of conf/agent/teacher, or agent.plan.taught_decisions=0"
            )
        return
    if not plan.taught_decisions:
        raise ValueError(
            "agent/teacher has nothing to teach with agent.plan.taught_decisions=0: set it to the "
            "number of first decisions to be taught, or agent/teacher=none"
        )
    teacher()  # refuses wrong options here, not in a self-play process


def _check_groups(settings: TrainerSettings) -> None:
    if settings.envs_per_group < 1 or settings.num_envs % settings.envs_per_group:
        raise ValueError(
            f"trainer.num_envs={settings.num_envs} is not a multiple of "
            f"trainer.envs_per_group={settings.envs_per_group}; "
            f"set trainer.envs_per_group to a divisor of trainer.num_envs"
        )
    if not settings.synchronous and settings.num_workers == 0:
        raise ValueError(
            "trainer.synchronous=false needs self-play processes; set trainer.num_workers=1 or more"
        )
