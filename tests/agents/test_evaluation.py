"""Evaluation: the same outcome whatever the number of processes, and honest figures."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents.agent import Infos
from agents.environments import EnvironmentFactory
from agents.evaluation import (
    EpisodeEvaluator,
    EpisodeRecord,
    EvaluationResult,
    list_episodes,
    log_metrics,
)
from agents.pictures.gif import record_episode
from agents.power_grid.baselines import DoNothingAgent, GreedyAgent, RandomAgent, ReconnectAgent
from agents.runs.cluster import WorkersLostError
from envs.scenarios import make_source

CARTPOLE = EnvironmentFactory("CartPole-v1")
SCENARIOS = make_source("recombined").names("val")


def make_agent(kind: Any, factory: EnvironmentFactory, **options: Any) -> Any:
    env = factory.make()
    agent = kind(observation_space=env.observation_space, action_space=env.action_space, **options)
    env.close()
    return agent


def without_times(result: EvaluationResult) -> list[EpisodeRecord]:
    return [without_time(episode) for episode in result.episodes]


def without_time(episode: EpisodeRecord) -> EpisodeRecord:
    return replace(episode, seconds=0.0, median_ms=0.0, p99_ms=0.0)


class DyingAgent(RandomAgent):
    """Ends its process, unless that is the one in which it is at home."""

    home = 0  # process

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        if os.getpid() != self.home:
            os._exit(7)
        return super().act(observations, infos, active)


class FailingAgent(RandomAgent):
    """Raises."""

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        raise RuntimeError("the agent gave up")


def test_a_record_counts_the_attacks_that_came_and_were_survived() -> None:
    kwargs = {"opponent": "rl4pnc", "split": "val", "max_steps": 200}
    attacked = EnvironmentFactory("envs:PowerGrid-v0", kwargs, vector=True)
    agent = make_agent(DoNothingAgent, attacked)
    plan = list_episodes(SCENARIOS, episodes=6, seed=3)
    records = EpisodeEvaluator(attacked, plan, num_envs=3).evaluate(agent, name="x").episodes
    for one in records:  # attacks strike at random, once in 144 steps, and last for 48
        assert one.attacks is not None and one.attacks_survived is not None
        assert one.attacks in (one.attacks_survived, one.attacks_survived + 1)
        assert one.attacks <= 1 + one.steps // 144
    assert len({one.attacks for one in records}) > 1
    quiet = EnvironmentFactory("envs:PowerGrid-v0", {"max_steps": 3}, vector=True)
    [record] = EpisodeEvaluator(quiet, plan[:1], num_envs=1).evaluate(agent, name="x").episodes
    assert record.attacks is None and record.attacks_survived is None


def test_cartpole_figures_are_those_of_a_plain_loop() -> None:
    agent = make_agent(RandomAgent, CARTPOLE, seed=5)
    plan = list_episodes(None, episodes=3, seed=10)
    result = EpisodeEvaluator(CARTPOLE, plan, num_envs=1).evaluate(agent, name="random")
    env = gym.make("CartPole-v1")
    expected = []
    for seed in (10, 11, 12):
        rng = np.random.default_rng(5)  # each group is played by a fresh copy of the agent
        env.reset(seed=seed)
        steps, over = 0, False
        while not over:
            action = rng.random((1, 2)).argmax()
            _, _, terminated, truncated, _ = env.step(action)
            steps, over = steps + 1, terminated or truncated
        expected.append(steps)
    assert [episode.steps for episode in result.episodes] == expected
    assert [episode.reward for episode in result.episodes] == expected
    metrics = log_metrics(result.episodes)
    assert metrics["reward"] == metrics["score"] == np.mean(expected)
    assert metrics["steps_percent"] == pytest.approx(np.mean(expected) / 5.0)
    assert all(episode.end == "terminated" for episode in result.episodes)


def test_the_agent_stays_as_it_was_and_episodes_are_told_of() -> None:
    agent = make_agent(RandomAgent, CARTPOLE, seed=1)
    seen: list[EpisodeRecord] = []
    plan = list_episodes(None, episodes=6)
    evaluator = EpisodeEvaluator(CARTPOLE, plan, num_envs=2, on_episode=seen.append)
    first = evaluator.evaluate(agent, name="random")
    assert len(seen) == 6
    assert without_times(first) == without_times(evaluator.evaluate(agent, name="random"))


@pytest.mark.slow
def test_a_dead_or_failing_worker_is_named() -> None:
    plan = list_episodes(None, episodes=2)
    evaluator = EpisodeEvaluator(CARTPOLE, plan, num_envs=1, num_workers=1)
    dying = make_agent(DyingAgent, CARTPOLE)
    dying.home = os.getpid()
    with pytest.raises(WorkersLostError, match=r"evaluation worker 0 was lost 3 times .* ended"):
        evaluator.evaluate(dying, name="dying")
    with pytest.raises(RuntimeError, match=r"(?s)evaluation worker 0 failed.*gave up"):
        evaluator.evaluate(make_agent(FailingAgent, CARTPOLE), name="failing")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a script", "-c", "standard input"])
def test_scripts_without_a_guard_play_in_workers(how: str, tmp_path: Path) -> None:
    """Their own agents too: its class travels to the workers, which cannot import the script."""
    text = (
        "import agents, numpy as np\n"
        "class Mine(agents.Agent):\n"
        "    def act(self, observations, infos, active=None):\n"
        "        return np.zeros(len(observations), np.int64)\n"
        "words = ('env=cartpole', 'evaluation.episodes=2', 'evaluation.num_envs=1')\n"
        "found = agents.evaluate(Mine(), *words, 'evaluation.num_workers=1')\n"
        "print(len(found.episodes), 'episodes')\n"
    )
    script = tmp_path / "unguarded.py"
    script.write_text(text)
    program = {"a script": [str(script)], "-c": ["-c", text], "standard input": ["-"]}[how]
    finished = subprocess.run(
        [sys.executable, *program],
        input=text if how == "standard input" else None,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert finished.stdout.splitlines()[-1] == "2 episodes", finished.stderr


def test_steps_and_rewards_are_the_same_under_the_idle_gate() -> None:
    bare = EnvironmentFactory("PowerGrid-v0", {"split": "val", "max_steps": 400})
    gated = replace(bare, kwargs={**bare.kwargs, "idle_gate": 0.9})
    plan = list_episodes(SCENARIOS, episodes=1)
    agent = make_agent(DoNothingAgent, bare)
    first = EpisodeEvaluator(bare, plan).evaluate(agent, name="bare")
    second = EpisodeEvaluator(gated, plan).evaluate(agent, name="gated")
    for one, two in zip(first.episodes, second.episodes, strict=True):
        assert (one.steps, one.max_steps, one.end) == (two.steps, 400, two.end)
        assert one.reward == pytest.approx(two.reward)
        assert one.decisions == one.steps
        assert 1 < two.decisions < one.decisions


def test_greedy_outlives_doing_nothing_and_counts_its_simulations() -> None:
    factory = EnvironmentFactory("PowerGrid-v0", {"idle_gate": 0.95, "max_steps": 700})
    evaluator = EpisodeEvaluator(factory, list_episodes([SCENARIOS[6]]))
    (nothing,) = evaluator.evaluate(make_agent(DoNothingAgent, factory), name="nothing").episodes
    assert nothing.end.startswith("blackout")
    (greedy,) = evaluator.evaluate(make_agent(GreedyAgent, factory), name="greedy").episodes
    assert greedy.steps == 700
    assert greedy.completed
    assert nothing.steps < greedy.steps
    assert nothing.simulator_calls == 0
    assert greedy.simulator_calls > 50 * greedy.decisions  # of some 150 distinct actions each


@pytest.mark.parametrize("kind", [GreedyAgent, ReconnectAgent])
def test_both_simulators_tell_the_same(kind: Any) -> None:
    """Records agree episode by episode: single grids on grid2op, and many on lightsim2grid."""
    single = EnvironmentFactory(
        "PowerGrid-v0", {"scenarios": "bundled", "split": "val", "idle_gate": 0.95}
    )
    names = make_source("bundled").names("val")
    plan = list_episodes([name for name in names if name.startswith("educ")][3:5])
    agent = make_agent(kind, single)
    first = EpisodeEvaluator(single, plan).evaluate(agent, name="single")
    second = EpisodeEvaluator(replace(single, vector=True), plan).evaluate(agent, name="many")
    for one, two in zip(first.episodes, second.episodes, strict=True):
        assert two.reward == pytest.approx(one.reward, rel=1e-5)
        assert without_time(replace(two, reward=one.reward)) == without_time(one)


@pytest.mark.parametrize("vector", [False, True])
def test_reconnect_closes_the_line_that_it_can(vector: bool) -> None:
    rules = {"NB_TIMESTEP_COOLDOWN_LINE": 3}
    factory = EnvironmentFactory(
        "PowerGrid-v0", {"action_mask": "distinct", "parameters": rules}, vector=vector
    )
    env = factory(2, autoreset="disabled")
    agent = make_agent(ReconnectAgent, factory)
    agent.bind(env)
    observations, infos = env.reset(seed=0, options={"scenario": list(SCENARIOS[:2])})
    assert agent.act(observations, infos).tolist() == [0, 0]
    env.step(np.array([agent.catalogue.switch_line_action[4], 0]))
    assert not agent.state.line_status[0, 4]
    waited = 0
    while True:  # the cooldown makes it wait
        actions = agent.act(observations, infos)
        assert actions[1] == 0
        if actions[0] != 0:
            break
        observations, *_, infos = env.step(actions)
        waited += 1
        assert waited < 10
    assert waited > 0
    observations, *_, infos = env.step(actions)
    assert agent.state.line_status[0, 4]
    assert infos["illegal"].tolist() == [False, False]
    env.close()


def test_random_draws_legal_actions_only_and_all_of_them() -> None:
    agent = RandomAgent(
        observation_space=gym.spaces.Box(0, 1, (1,)), action_space=gym.spaces.Discrete(4), seed=0
    )
    mask = np.array([[1, 0, 1, 0], [0, 0, 0, 1]], np.int8)
    draws = np.stack([agent.act(np.zeros((2, 1)), {"action_mask": mask}) for _ in range(200)])
    assert set(draws[:, 0]) == {0, 2}
    assert set(draws[:, 1]) == {3}
    assert 60 < (draws[:, 0] == 0).sum() < 140


def test_grid_agents_name_other_environments() -> None:
    agent = make_agent(GreedyAgent, CARTPOLE)
    with pytest.raises(ValueError, match=r"agent greedy plays PowerGrid-v0 only; .* CartPoleEnv"):
        agent.bind(CARTPOLE(1))
    with pytest.raises(ValueError, match="agent reconnect was not bound"):
        make_agent(ReconnectAgent, CARTPOLE).act(np.zeros((1, 4)), {})


@pytest.mark.parametrize(
    ("scenarios", "first", "episodes", "message"),
    [
        (None, 0, None, "episodes is None"),
        (None, 0, 0, "episodes is 0"),
        ([], 0, None, "list of scenarios is empty"),
        (["a", "b"], 0, 3, "expected 1 to 2, the scenarios there are"),
        (["a", "b"], 1, 2, "expected 1 to 1, the scenarios from number 1 on"),
        (["a", "b"], 2, None, "first is 2; expected 0 to 1"),
        (["a", "b"], -1, None, "first is -1; expected 0 to 1"),
    ],
)
def test_wrong_plans_are_named(scenarios: Any, first: int, episodes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_episodes(scenarios, first=first, episodes=episodes)


def test_wrong_evaluators_are_named() -> None:
    plan = list_episodes(None, episodes=1)
    with pytest.raises(ValueError, match="num_envs is 0"):
        EpisodeEvaluator(CARTPOLE, plan, num_envs=0)
    with pytest.raises(ValueError, match="num_workers is -1"):
        EpisodeEvaluator(CARTPOLE, plan, num_workers=-1)
    with pytest.raises(ValueError, match="no episodes"):
        EpisodeEvaluator(CARTPOLE, ())


@pytest.mark.parametrize("vector", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_episode_is_drawn(vector: bool, tmp_path: Path) -> None:
    factory = EnvironmentFactory("PowerGrid-v0", {"max_steps": 4})
    agent = make_agent(DoNothingAgent, factory)
    if vector:  # single environments take all but what planners are paid
        kwargs = {**factory.kwargs, "planning_reward": "survival"}
        factory = replace(factory, kwargs=kwargs, vector=True)
    path = tmp_path / "episode.gif"
    plan = list_episodes(SCENARIOS, episodes=1)[0]
    frames = record_episode(agent, factory, plan, path, max_frames=3)
    assert 2 <= frames <= 3
    assert path.read_bytes()[:6] == b"GIF89a"
