"""The training loop: play, learn, evaluate, save.

A round is ``decisions_per_round`` decisions in every environment. While a round is played with the
weights that stood at its start, the learner works on everything played before it. So self-play and
learning overlap on two cores, and yet the order of events, and with it every weight, is fixed by
the seed alone. ``synchronous=False`` gives that up: each group goes on as soon as it is done, with
the newest weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.agent import Agent, TrainingRun
from agents.muzero.decision import read_row
from agents.muzero.learner import Learner
from agents.muzero.pools import Round, SelfPlayPool
from agents.muzero.replay import Replay
from agents.muzero.schedules import Schedule, check_schedule
from agents.muzero.search.checks import require_positive
from agents.muzero.self_play import EpisodeSummary, Experience
from agents.muzero.training_metrics import TrainingMetrics
from agents.runs.checkpoints import check_entries
from agents.runs.devices import torch_threads
from agents.runs.interrupt import Interrupt
from agents.runs.training_loop import Progress, TrainingLoop

_LOG = logging.getLogger(__name__)

PoolMaker = Callable[[list[dict[str, Any]] | None], SelfPlayPool]  # group states -> pool


@dataclass(frozen=True, kw_only=True)
class LearningPlan:
    """How much is learned from how much play."""

    batch_size: int  # positions per update
    updates_per_decision: float  # learner updates per decision played
    decisions_per_round: int  # decisions in each environment between two exchanges of weights
    learning_starts: int  # decisions in the replay before the first update
    temperature: Schedule  # of the choice of action, by the fraction of training done
    taught_decisions: int = 0  # first ones, over all environments, whose policies a teacher names
    reanalyse_every: int | None = None  # updates between two reanalyses of the replay; None: never.
    # Not while decisions are taught: a young search would replace what the teacher said.

    def __post_init__(self) -> None:
        counts = ["batch_size", "decisions_per_round", "learning_starts"]
        if self.reanalyse_every is not None:
            counts.append("reanalyse_every")
        for name in counts:
            require_positive(name, getattr(self, name))
        if self.taught_decisions < 0:
            raise ValueError(f"taught_decisions must be 0 or more, got {self.taught_decisions}")
        if not 0.0 <= self.updates_per_decision < float("inf"):
            raise ValueError(
                f"updates_per_decision must be 0 or more, got {self.updates_per_decision}"
            )
        check_schedule("temperature", self.temperature)


@dataclass
class MuZeroProgress(Progress):
    """Counters that survive a resume."""

    updates: int = 0
    owed_updates: float = 0.0  # fractions of an update that played decisions still entitle to


class MuZeroTrainer(TrainingLoop):
    """Trains one network.

    Args:
        run: budget, environments, evaluation, loggers and checkpoints.
        plan: how much is learned from how much play.
        agent: plays with the learner's network; evaluated and kept as ``best``.
        learner: updates the network.
        replay: lane g * G + i holds the decisions of environment i of group g.
        make_pool: makes the self-play pool, from the groups' states or anew.
        reanalyse: refreshes the replay's targets with the learner's network.
    """

    _progress: MuZeroProgress

    def __init__(
        self,
        *,
        run: TrainingRun,
        plan: LearningPlan,
        agent: Agent,
        learner: Learner,
        replay: Replay,
        make_pool: PoolMaker,
        reanalyse: Callable[[Replay, np.random.Generator], None],
        num_actions: int,
    ) -> None:
        super().__init__(run, agent, MuZeroProgress())
        self._plan = plan
        self._learner = learner
        self._replay = replay
        self._make_pool = make_pool
        self._reanalyse = reanalyse
        self._rng = np.random.default_rng([run.seed, 1_000_003])  # of replay sampling
        self._metrics = TrainingMetrics(num_actions)
        self._pool: SelfPlayPool | None = None
        self._group_states: dict[int, dict[str, Any]] = {}  # after the last round taken in
        self._unfinished: Round | None = None  # begun, and not taken in (synchronous only)
        # group under way between rounds (asynchronous only) -> updates made when it was sent off
        self._playing: dict[int, int] = {}

    def train(self) -> None:
        """Train to the end of the budget; on Ctrl-C keep a final checkpoint and raise.

        Raises:
            KeyboardInterrupt: after the checkpoint was written.
        """
        saved = self._run.checkpoints.load_latest()
        states = self._restore(saved) if saved is not None else None
        self._group_states = dict(enumerate(states or ()))
        with torch_threads(self._run.settings.learner_threads):
            self._pool = self._make_pool(states)
            try:
                self._metrics.clear()
                self._loop()
            finally:
                self._pool.close()

    def _fraction(self) -> float:
        """Return the share of training done, for schedules: of the steps, or of the minutes.

        Whichever ends the training: one that the clock ends gets to the end of its schedules too.
        """
        settings, progress = self._run.settings, self._progress
        steps = progress.env_steps / settings.total_env_steps
        if settings.max_minutes is None:
            return min(steps, 1.0)
        return min(max(steps, progress.seconds / (60.0 * settings.max_minutes)), 1.0)

    def _play_round(self, interrupt: Interrupt) -> None:
        if self._run.settings.synchronous:
            self._synchronous_round(interrupt)
        else:
            self._asynchronous_round(interrupt)

    def _synchronous_round(self, interrupt: Interrupt) -> None:
        """Let every group play, learn from earlier rounds meanwhile, then take the new ones in.

        Broken off, it is begun again by whoever resumes: what is learned goes on where it was, and
        groups play from where they stood, with the weights of the round's beginning.
        """
        assert self._pool is not None
        groups = range(self._pool.num_groups)
        self._unfinished = self._unfinished or self._round()
        begun = self._progress.updates
        self._pool.start(groups, self._unfinished)
        self._learn(interrupt)
        experiences: list[Experience] = []
        with interrupt.immediate():
            while len(experiences) < len(groups):
                experiences.extend(self._pool.finished())
        for experience in sorted(experiences, key=lambda experience: experience.group):
            self._take_in(experience, weights_of_update=begun)
        self._unfinished = None

    def _asynchronous_round(self, interrupt: Interrupt) -> None:
        """Take in what is done, send those groups on with the newest weights, learn meanwhile."""
        assert self._pool is not None
        self._unfinished = None  # of a synchronous run that goes on like this
        if not self._playing:
            self._send(range(self._pool.num_groups))
        with interrupt.immediate():
            experiences = self._pool.finished()
        for experience in experiences:
            self._take_in(experience, weights_of_update=self._playing.pop(experience.group))
            self._send([experience.group])
        self._learn(interrupt)
        if interrupt.requested:
            raise KeyboardInterrupt  # what is under way is given up: this repeats nothing anyway

    def _send(self, groups: Iterable[int]) -> None:
        """Let groups play on with the newest weights."""
        assert self._pool is not None
        groups = list(groups)
        self._pool.start(groups, self._round())
        self._playing.update(dict.fromkeys(groups, self._progress.updates))

    def _settle(self) -> None:
        """Take in what asynchronous groups are still playing, so that a checkpoint is whole."""
        assert self._pool is not None
        while self._playing:
            for experience in self._pool.finished():
                sent = self._playing.pop(experience.group)
                self._take_in(experience, weights_of_update=sent)

    def _round(self) -> Round:
        weights = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self._learner.network.state_dict().items()
        }
        return Round(
            weights,
            self._plan.decisions_per_round,
            float(self._plan.temperature(self._fraction())),
            taught=self._taught,
        )

    @property
    def _taught(self) -> bool:
        """Whether a teacher names the policies of the decisions to come."""
        return self._progress.decisions < self._plan.taught_decisions

    def _take_in(self, experience: Experience, *, weights_of_update: int) -> None:
        """Keep what a group played.

        Args:
            experience: of the group.
            weights_of_update: updates made when the weights were sent that it was played with.
        """
        decisions = experience.decisions
        assert decisions.action_mask is not None
        if (
            self._plan.reanalyse_every is not None
            and not self._replay.store_action_masks
            and not decisions.action_mask.all()
        ):
            raise ValueError(
                "agent.plan.reanalyse_every would search illegal actions: the environment has "
                "some, and the replay keeps no masks; set agent.replay.store_action_masks=true"
            )
        num_decisions, num_envs = decisions.action.shape
        lanes = experience.group * num_envs + np.arange(num_envs)
        for t in range(num_decisions):
            self._replay.append(lanes, read_row(decisions, t))
        self._group_states[experience.group] = experience.state
        staleness = self._progress.updates - weights_of_update
        self._metrics.add_experience(experience, staleness=staleness)
        self._progress.env_steps += experience.env_steps
        self._progress.decisions += decisions.action.size
        if self._replay.num_decisions >= self._plan.learning_starts:
            self._progress.owed_updates += decisions.action.size * self._plan.updates_per_decision

    def _learn(self, interrupt: Interrupt) -> None:
        """Make the updates that the decisions played so far entitle to, until interrupted."""
        if not self._replay.num_decisions:
            return
        fraction = self._fraction()
        while self._progress.owed_updates >= 1.0 and not interrupt.requested:
            self._progress.owed_updates -= 1.0
            batch = self._replay.sample(self._plan.batch_size, self._rng)
            metrics = self._learner.update(batch, progress=fraction)
            self._replay.update_priorities(batch.indices, metrics.priorities)
            self._progress.updates += 1
            every = self._plan.reanalyse_every
            due = every is not None and self._progress.updates % every == 0
            if due and not self._taught:
                self._reanalyse(self._replay, self._rng)
            self._metrics.add_update(metrics)

    def _log(self) -> None:
        progress = self._progress
        row = self._metrics.metrics()
        row["progress/decisions"] = progress.decisions
        row["progress/updates"] = progress.updates
        row["progress/minutes"] = progress.seconds / 60.0
        row["progress/replay_decisions"] = self._replay.num_decisions
        self._run.logger.log(row, env_steps=progress.env_steps)
        self._run.logger.log_histogram(
            "self_play/actions", self._metrics.action_counts, env_steps=progress.env_steps
        )
        self._metrics.clear()

    def _state(self) -> dict[str, Any]:
        return {
            "progress": dict(vars(self._progress)),
            "agent": self._agent_state(),  # enough to play with, without the rest
            "learner": self._learner.state_dict(),
            "replay": self._replay.state_dict(),
            "groups": [state for _, state in sorted(self._group_states.items())],
            "round": None if self._unfinished is None else dict(vars(self._unfinished)),
            "sampler": self._rng.bit_generator.state,
            "episodes": [tuple(episode) for episode in self._metrics.episodes],
        }

    def _agent_state(self) -> dict[str, Any]:
        """Return the present weights, averaged, in the form ``Agent.load_state_dict`` takes."""
        return {"network": self._learner.averaged_weights}

    def _restore(self, saved: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Go back to a checkpoint; return the groups' states."""
        check_entries(saved, ("progress", "learner", "replay", "groups", "sampler", "episodes"))
        self._learner.load_state_dict(saved["learner"])
        self._replay.load_state_dict(saved["replay"])
        self._rng.bit_generator.state = saved["sampler"]
        self._progress.restore(saved["progress"])
        unfinished = saved.get("round")  # absent in older runs
        self._unfinished = None if unfinished is None else Round(**unfinished)
        self._metrics.episodes.extend(EpisodeSummary(*episode) for episode in saved["episodes"])
        _LOG.info("resumed at %d environment steps", self._progress.env_steps)
        return saved["groups"]
