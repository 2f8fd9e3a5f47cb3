"""Computes grid2op's own score of an agent on a folder of scenarios."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grid2op
from grid2op.Environment import Environment
from grid2op.utils import ScoreL2RPN2020
from lightsim2grid import LightSimBackend

from agents.grid2op_agent.agent import Grid2OpAgent
from agents.grid2op_agent.recipe import AgentRecipe
from powergrid_muzero.checks import check_count


@dataclass(frozen=True, kw_only=True)
class ScenarioScore:
    """What one scenario came to."""

    scenario: str
    score: float  # -100 to 100: 0 as doing nothing, 80 as if nothing had ever tripped
    steps: int  # survived
    max_steps: int  # of the scenario


def open_folder(folder: str | os.PathLike[str]) -> Environment:
    """Open an environment folder, such as ``envs.export_scenarios`` writes, with LightSimBackend.

    Raises:
        ValueError: it is no such folder.
    """
    folder = Path(folder).expanduser()
    if not (folder / "config.py").is_file() or not (folder / "chronics").is_dir():
        raise ValueError(
            f"{folder} is not a grid2op environment with scenarios: it needs config.py and "
            "chronics/, as envs.export_scenarios writes them"
        )
    return grid2op.make(str(folder.absolute()), backend=LightSimBackend())


def score_l2rpn_2020(
    recipe: AgentRecipe,
    folder: str | os.PathLike[str],
    *,
    scenarios: int | None = None,
    seed: int = 0,
) -> list[ScenarioScore]:
    """Return ``grid2op.utils.ScoreL2RPN2020`` of an agent on a folder of scenarios.

    At its first use grid2op plays every scenario twice for reference, doing nothing and putting
    lines back with no line tripping, and keeps what that gave in the folder (``_statistics_*``).

    Args:
        recipe: of the agent.
        folder: see ``open_folder``; it is written to.
        scenarios: how many, of the first in the folder; None for all.
        seed: of environment and agent, the same for all.

    Raises:
        ValueError: no such folder, more scenarios than there are, or an agent that cannot play.
    """
    env = open_folder(folder)
    try:
        chronics: Any = env.chronics_handler.real_data
        names = [Path(path).name for path in chronics.subpaths]
        count = len(names) if scenarios is None else check_count("scenarios", scenarios)
        if count > len(names):
            raise ValueError(f"scenarios is {count}, but {folder} has {len(names)}")
        agent = Grid2OpAgent(env.action_space, recipe)
        seeds = [seed] * count
        score = ScoreL2RPN2020(env, nb_scenario=count, env_seeds=seeds, agent_seeds=seeds)
        values, steps, max_steps = score.get(agent)[:3]
    finally:
        env.close()
    rows = zip(names[:count], values, steps, max_steps, strict=True)
    return [
        ScenarioScore(scenario=name, score=float(value), steps=int(step), max_steps=int(whole))
        for name, value, step, whole in rows
    ]
