"""Agents that misbehave: told of with scenario and step, counted, and never silently replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from agents.agent import Infos
from agents.configuration.composition import build_agent, probe_spaces
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, EpisodeRecord, EvaluationResult, list_episodes
from agents.evaluation.tables import tell_incidents
from agents.power_grid.baselines import DoNothingAgent, RandomAgent
from agents.runs.saved_configs import plain
from envs.scenarios import make_source
from tests.agents.test_evaluation import make_agent, without_times

CARTPOLE = EnvironmentFactory("CartPole-v1")
GRID = EnvironmentFactory(
    "PowerGrid-v0", {"split": "test", "max_steps": 40, "text_infos": True}, vector=True
)
SCENARIOS = make_source("recombined").names("test")


class Spoilt(DoNothingAgent):
    """Does nothing, and something else at its third decision."""

    spoil: Callable[[np.ndarray], Any]
    rows: tuple[int, ...] = (0,)
    decision = 3

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        self.count = getattr(self, "count", 0) + 1
        actions = super().act(observations, infos, active)
        return type(self).spoil(actions) if self.count == self.decision else actions


class OutOfRange(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        actions[0] = 487
        return actions


class Negative(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        actions[0] = -1
        return actions


class NotANumber(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        return np.where(actions == 0, np.nan, actions)


class Floating(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        return actions.astype(np.float32)


class TooMany(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        return np.zeros((len(actions), 2), np.int64)


class Nothing(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> Any:
        return None


class Raising(Spoilt):
    @staticmethod
    def spoil(actions: np.ndarray) -> np.ndarray:
        raise KeyError("no such\nline")


class FirstScenarioFails(DoNothingAgent):
    """Raises for one scenario's batch, wherever that is in it."""

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        assert active is not None
        if SCENARIOS[1] in infos["scenario"][active] and infos["step"][active].max() >= 5:
            raise RuntimeError("I do not know this month")
        return super().act(observations, infos, active)


def play(agent: Any, factory: EnvironmentFactory = GRID, **options: Any) -> EvaluationResult:
    plan = list_episodes(SCENARIOS, episodes=3)
    options = {"num_envs": 3, "record_errors": True, **options}
    evaluator = EpisodeEvaluator(factory, plan, **options)
    try:
        return evaluator.evaluate(agent, name="spoilt")
    finally:
        evaluator.close()


@pytest.fixture(scope="module")
def calm() -> list[EpisodeRecord]:
    """What happens if nobody does anything."""
    return without_times(play(make_agent(DoNothingAgent, GRID)))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (OutOfRange, "it returned action 487; expected 0 to 486"),
        (Negative, "it returned action -1; expected 0 to 486"),
    ],
)
def test_an_action_out_of_range_ends_its_own_episode(
    kind: Any, text: str, calm: list[EpisodeRecord]
) -> None:
    result = play(make_agent(kind, GRID))
    first, *others = without_times(result)
    assert first.agent_error is not None
    assert (first.agent_error.decision, first.agent_error.step) == (3, 2)
    assert first.agent_error.text == text
    assert first.end == f"agent error: {text}"
    assert (first.steps, first.decisions, first.completed) == (2, 3, False)
    assert others == calm[1:]  # as if nothing had been
    (told,) = tell_incidents(result)
    assert told.startswith("spoilt failed in 1 of 3 episodes")
    assert f"scenario {SCENARIOS[0]}, decision 3 at step 2" in told


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (NotANumber, "it returned NaN among float64 actions; expected integers"),
        (Floating, "it returned float32 actions; expected integers"),
        (TooMany, r"it returned actions of shape (1, 2); expected (1,), one for each environment"),
        (Nothing, r"it returned actions of shape (); expected (1,), one for each environment"),
        (Raising, r"KeyError: 'no such\nline'"),
    ],
)
def test_no_actions_at_all_end_every_episode_that_they_were_for(kind: Any, text: str) -> None:
    for episode in play(make_agent(kind, GRID)).episodes:
        assert episode.agent_error is not None
        assert episode.agent_error.text == text
        assert episode.steps == 2


def test_a_failing_batch_is_played_again_one_by_one(calm: list[EpisodeRecord]) -> None:
    result = play(make_agent(FirstScenarioFails, GRID))
    first, second, third = without_times(result)
    assert (first, third) == (calm[0], calm[2])
    assert second.end == "agent error: RuntimeError: I do not know this month"
    assert second.steps == 5


@pytest.mark.slow
def test_workers_tell_the_same() -> None:
    agent = make_agent(OutOfRange, GRID)
    alone = play(agent, num_envs=2)
    assert without_times(play(agent, num_envs=2, num_workers=2)) == without_times(alone)
    assert [one.agent_error is not None for one in alone.episodes] == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Raising, "no such"),
        (NotANumber, "NaN among float64 actions"),
        (
            OutOfRange,
            f"scenario {SCENARIOS[0]}, decision 3 at step 2: the agent failed: it returned",
        ),
    ],
)
def test_training_stops_where_its_agent_fails(kind: Any, message: str) -> None:
    evaluator = EpisodeEvaluator(GRID, list_episodes(SCENARIOS, episodes=2), num_envs=2)
    with pytest.raises((KeyError, ValueError), match=message):
        evaluator(make_agent(kind, GRID))
    evaluator.close()


class Bad(RandomAgent):
    """Takes an action that CartPole does not have."""

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        return np.full(len(observations), 2)


def test_without_scenarios_the_seed_names_the_episode() -> None:
    plan = list_episodes(None, episodes=2, seed=30)
    evaluator = EpisodeEvaluator(CARTPOLE, plan, num_envs=1, record_errors=True)
    result = evaluator.evaluate(make_agent(Bad, CARTPOLE), name="bad")
    (told,) = tell_incidents(result)
    assert told == (
        "bad failed in 2 of 2 episodes, which ended there: seed 30, decision 1 at step 0: it "
        "returned action 2; expected 0 to 1; seed 31, decision 1 at step 0: it returned action 2; "
        "expected 0 to 1"
    )


def test_a_network_of_nan_is_an_agents_error() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        overrides = ["experiment=cartpole", "agent.search.num_simulations=2", "trainer.device=cpu"]
        config = plain(compose("train", overrides=overrides))
    observation, action = probe_spaces(CARTPOLE)
    agent: Any = build_agent(
        config["agent"], observation_space=observation, action_space=action, seed=0
    )
    with torch.no_grad():
        for weights in agent.network.parameters():
            weights.fill_(torch.nan)
    plan = list_episodes(None, episodes=2, seed=30)
    evaluator = EpisodeEvaluator(CARTPOLE, plan, num_envs=2, record_errors=True)
    for episode in evaluator.evaluate(agent, name="diverged").episodes:
        assert episode.agent_error is not None
        assert episode.agent_error.text.startswith("ValueError: the model's")
        assert "is not finite in row 0" in episode.agent_error.text
        assert (episode.steps, episode.decisions) == (0, 1)


class Stubborn(DoNothingAgent):
    """Opens the same line again and again: illegal while it cools down."""

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        return np.full(len(observations), self.action, dtype=np.int64)

    action = 189  # switch line 0


@pytest.mark.parametrize("vector", [False, True])
def test_illegal_actions_do_nothing_and_are_counted(vector: bool) -> None:
    rules = {"NB_TIMESTEP_COOLDOWN_LINE": 3}
    kwargs = {"split": "test", "max_steps": 6, "parameters": rules}
    factory = EnvironmentFactory("PowerGrid-v0", kwargs, vector=vector)
    result = play(make_agent(Stubborn, factory), factory)
    for episode in result.episodes:
        assert episode.completed and episode.agent_error is None
        assert episode.decisions == 6 and len(episode.actions) == 6
        assert episode.action_steps == (0, 1, 2, 3, 4, 5)
        assert episode.illegal_actions == 4
        assert episode.first_illegal is not None
        assert (episode.first_illegal.decision, episode.first_illegal.step) == (2, 1)
        assert episode.first_illegal.text.startswith("action 189 line 0_1_0 is in cooldown for")
        assert episode.line_actions[0] == sum(episode.line_actions) == 2
        assert sum(episode.substation_actions) == 0
    (told,) = tell_incidents(result)
    assert told.startswith("spoilt chose 12 illegal actions in 3 of 3 episodes")
