"""Agents, trainings and grid2op's tools on 36 and 118 substations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grid2op.Runner import Runner
from grid2op.utils import ScoreICAPS2021

import agents
from agents.commands import entry
from agents.evaluation import read_results
from agents.grid2op_agent import Grid2OpAgent, recipe_from
from agents.grid2op_agent.scores import open_folder, score_l2rpn_2020
from envs.scenarios import export_scenarios
from tests.agents.command_runs import run_main
from tests.agents.large_grid_pieces import NAME, STEPS, Piece

TRACK_1, ICAPS = "l2rpn_neurips_2020_track1", "l2rpn_icaps_2021"
ONE_SHORT = ("evaluation.episodes=1", "evaluation.num_envs=1", "evaluation.plots=false")


def on(grid: str, actions: str = "case36") -> tuple[str, ...]:
    return (f"env.kwargs.grid={grid}", f"env.kwargs.actions={actions}")


@pytest.mark.parametrize(
    ("agent", "wrappers", "steps"),
    [
        ("greedy", "gated", 200),
        pytest.param("n1", "preventive", 60, marks=pytest.mark.slow),
        pytest.param("planner", "preventive", 60, marks=pytest.mark.slow),
    ],
)
def test_agents_play_under_the_opponent_of_track_1(agent: str, wrappers: str, steps: int) -> None:
    played = agents.evaluate(
        agent,
        *on(TRACK_1),
        *("opponent=grid", f"wrappers={wrappers}", f"evaluation.max_steps={steps}", *ONE_SHORT),
    )
    (episode,) = played.episodes
    assert episode.steps == steps and not episode.illegal_actions and episode.agent_error is None
    assert episode.decisions > 0


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["case36", "case118"])
def test_an_experiment_trains_evaluates_and_saves(experiment: str, working_folder: Path) -> None:
    words = (
        *(f"experiment={experiment}", "folder=run", "logger=csv", "trainer.num_workers=0"),
        *("evaluation.num_workers=0", "trainer.total_env_steps=150", "trainer.num_envs=2"),
        *("trainer.envs_per_group=2", "trainer.log_interval=50", "env.kwargs.max_steps=20"),
        *("agent.plan.learning_starts=4", "agent.plan.batch_size=4", "evaluation.num_envs=1"),
        *("evaluation.final.episodes=1", "evaluation.final.max_steps=12"),
    )
    assert run_main(entry.train, *words) == 0
    results = read_results(Path("run"))
    assert results[-1].agent == "muzero" and results[-1].episodes[0].steps > 0
    losses = np.genfromtxt("run/metrics.csv", delimiter=",", names=True)["traintotal"]
    assert np.isfinite(losses).any()  # rows of evaluations have none
    loaded = agents.load("run", "checkpoint=latest")
    env = loaded.make_env(1)
    observations, infos = env.reset(seed=0)
    assert infos["action_mask"][0, loaded.act(observations, infos)[0]]
    env.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pieces")
    return {
        grid: export_scenarios(Piece(grid), place / grid, grid=grid, names=[NAME])
        for grid in (TRACK_1, ICAPS)
    }


@pytest.mark.slow
@pytest.mark.parametrize("grid", [TRACK_1, ICAPS])
def test_grid2ops_runner_plays_our_agents(grid: str, folders: dict[str, Path]) -> None:
    env = open_folder(folders[grid])
    survived = {}
    for name in ("do_nothing", "greedy"):
        agent = Grid2OpAgent(env.action_space, recipe_from([f"agent={name}", *on(grid)]))
        options = {**env.get_params_for_runner(), "agentClass": None, "agentInstance": agent}
        runner = Runner(**options)
        results: Any = runner.run(nb_episode=1, env_seeds=[0])
        survived[name] = results[0][3]
    env.close()
    assert survived["do_nothing"] < STEPS
    assert survived["greedy"] == STEPS


@pytest.mark.slow
def test_the_score_of_track_1(folders: dict[str, Path]) -> None:
    scores = {
        name: score_l2rpn_2020(recipe_from([f"agent={name}", *on(TRACK_1)]), folders[TRACK_1])[0]
        for name in ("do_nothing", "greedy")
    }
    assert scores["do_nothing"].score == 0 < scores["greedy"].score <= 100
    assert scores["greedy"].steps == STEPS


@pytest.mark.slow
def test_the_score_of_icaps_2021_counts_alarms_that_our_agents_do_not_raise(
    folders: dict[str, Path],
) -> None:
    env = open_folder(folders[ICAPS])
    score: Any = ScoreICAPS2021(env, nb_scenario=1, env_seeds=[0], agent_seeds=[0])
    told = {}
    for name in ("do_nothing", "greedy"):
        agent = Grid2OpAgent(env.action_space, recipe_from([f"agent={name}", *on(ICAPS)]))
        ((told[name],), _, _) = score.get(agent)
    env.close()
    for total, operation, alarms in told.values():
        assert total == pytest.approx(0.7 * operation + 0.3 * alarms)
    assert told["do_nothing"][1:] == (0, -200)  # lost without an alarm
    assert told["greedy"][1] > 0 and told["greedy"][2] == 100  # completed: none was needed
