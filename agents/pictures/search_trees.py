"""Plays an episode and writes the search behind each decision."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.agent import Agent
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation import EpisodeSpec
from agents.muzero.search.drawing import to_svg
from agents.muzero.search.record import TreeRecord
from agents.power_grid.grid_access import first_grid
from agents.runs.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class SearchedDecision:
    """A decision of an episode and the search behind it."""

    number: int  # 1 for the first of the episode
    step: int  # environment steps played before it; under an idle gate the calm ones count
    tree: TreeRecord


def action_texts(env: VectorEnvironment) -> Sequence[str] | None:
    """Return what each of the A actions does, in words; None where there are no words.

    Args:
        env: the vector environment to be played.
    """
    grid = first_grid(env)
    return None if grid is None else grid.catalogue.texts


def record_searches(
    agent: Agent, make_environment: EnvironmentFactory, spec: EpisodeSpec, *, decisions: int
) -> list[SearchedDecision]:
    """Play an episode's first decisions and return the searches behind them.

    Args:
        agent: one that ``explains``; a copy of it plays.
        make_environment: of the environment.
        spec: the episode.
        decisions: how many; the episode may end before.

    Raises:
        ValueError: the agent searches no trees.
    """
    if not agent.explains:
        agent.explain()  # says so
    agent = pickle.loads(pickle.dumps(agent))
    env = make_environment(1, autoreset="disabled")
    try:
        agent.bind(env)
        texts = action_texts(env)
        options = {"scenario": [spec.scenario]} if spec.scenario else None
        observations, infos = env.reset(seed=[spec.seed], options=options)
        step = int(infos.get("duration", [0])[0])
        searched: list[SearchedDecision] = []
        over = False
        while not over and len(searched) < decisions:
            actions = agent.act(observations, infos, np.ones(1, dtype=bool))
            tree = agent.explain(texts)[0]
            searched.append(SearchedDecision(number=len(searched) + 1, step=step, tree=tree))
            observations, _, terminated, truncated, infos = env.step(actions)
            step += int(infos.get("duration", [1])[0])
            over = bool(terminated[0] or truncated[0])
    finally:
        env.close()
    return searched


def write_searches(searched: Sequence[SearchedDecision], folder: Path, *, episode: str) -> None:
    """Write each search as JSON and as a picture: ``decision_001_step_513.json``, ``.svg``.

    Args:
        searched: of one episode.
        folder: made if it is not there.
        episode: its name, for the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for one in searched:
        name = f"decision_{one.number:03d}_step_{one.step}"
        title = f"{episode}, decision {one.number} after {one.step} steps"
        for suffix, text in (
            ("json", one.tree.to_json() + "\n"),
            ("svg", to_svg(one.tree, title=title)),
        ):
            with atomic_write(folder / f"{name}.{suffix}") as file:
                file.write(text.encode())
