"""Draws the pictures of the site, and plays the report that it shows, with the weights that ship.

    python docs/hooks/pictures.py     # writes docs/images anew

MkDocs plays the report whenever it builds. The pictures are kept in the repository, so that the
pages have them wherever they are read; ``tests/test_pictures_of_pages.py`` says if one is outdated.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import agents
import envs
from agents.muzero.search.drawing import to_svg

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

IMAGES = Path(__file__).parents[1] / "images"
REPORT = "sample_report.html"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the report that ``evaluate.md`` shows."""
    from mkdocs.structure.files import File  # the pictures need none of it

    files.append(File.generated(config, REPORT, content=report()))
    return files


@cache
def report() -> str:
    """Return ``report.html`` of five days of a varied validation month, five decisions long."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        agents.evaluate(
            "case14",
            *("scenarios=varied", "evaluation.first=3", "evaluation.episodes=1"),
            *("evaluation.max_steps=1500", "evaluation.report=1", "evaluation.plots=false"),
            folder=f"{folder}/played",
        )
        return Path(folder, "played", "report.html").read_text(encoding="utf-8")


def pictures() -> dict[str, bytes]:
    """Return the files of ``docs/images`` that are drawn here, by name."""
    return {**_grids(), "tree.svg": _tree(), "tree_with_chance.svg": _tree_with_chance()}


def _grids() -> dict[str, bytes]:
    """Return a grid under stress, after an action, and under attack."""
    agent = agents.load("case14", "wrappers=none")  # no gate: one step at a time
    env = agent.make_env(1)
    observations, infos = env.reset(seed=[0])
    while infos["rho_max"][0] < 0.95:
        observations, *_, infos = env.step(np.zeros(1, np.int64))
    stressed = envs.draw_grid(env, 0).to_png()
    env.step(agent.act(observations, infos))
    relieved = envs.draw_grid(env, 0).to_png()
    env.close()
    attacked = agents.load("do_nothing", "opponent=rl4pnc", "wrappers=preventive").make_env(1)
    _, infos = attacked.reset(seed=[0])
    while not infos["attack_steps"].any():
        *_, infos = attacked.step(np.zeros(1, np.int64))
    drawn = envs.draw_grid(attacked, 0).to_png()
    attacked.close()
    return {"stressed.png": stressed, "relieved.png": relieved, "attacked.png": drawn}


def _tree() -> bytes:
    agent = agents.load("case14", "agent.search.num_simulations=16")
    env = agent.make_env(1)
    agent.act(*env.reset(seed=[0]))
    env.close()
    return to_svg(agent.explain()[0]).encode()


def _tree_with_chance() -> bytes:
    agent = agents.load(
        "case14",
        *("opponent=rte_case14", "wrappers=preventive"),
        *("search=gumbel", "agent/model=simulator", "agent.model.chance=attacks"),
        *("agent.search.num_simulations=32", "agent.search.max_considered=2"),
        "agent.search.chance_backup=worst",
    )
    env = agent.make_env(1)
    observations, infos = env.reset(seed=[2])
    while infos["attack_steps"].any():
        observations, *_, infos = env.step(np.zeros(1, np.int64))
    agent.act(observations, infos)
    env.close()
    return to_svg(agent.explain()[0]).encode()


if __name__ == "__main__":
    for name, content in pictures().items():
        (IMAGES / name).write_bytes(content)
