"""Writes a submission folder for competitions: ``make_agent(env, path)``.

agent.yaml    the recipe: name, agent, environment, and the version that wrote it
actions-*     its action set, if it was given as a file
weights.pt    weights, of an agent that has some
__init__.py   ``make_agent``, as competitions import it; needs powergrid-muzero installed
"""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from grid2op.Environment import BaseEnv

from agents.grid2op_agent.agent import Grid2OpAgent
from agents.grid2op_agent.recipe import AgentRecipe
from agents.runs.action_sets import find_action_sets, keep_action_sets
from agents.runs.checkpoints import read_checkpoint, write_checkpoint
from agents.runs.older_configs import of_today
from envs import make_grid2op

RECIPE = "agent.yaml"
WEIGHTS = "weights.pt"
_KEYS = ("name", "agent", "env", "seed", "version")

_CODE = '''\
"""An agent of powergrid-muzero. grid2op's tools make it with ``make_agent(env, path)``."""

try:
    from agents.grid2op_agent import make_agent
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"no module {error.name!r}: this agent plays with powergrid-muzero VERSION; install it"
    ) from error

__all__ = ["make_agent"]
'''


def make_agent(env: BaseEnv, path: str | os.PathLike[str]) -> Grid2OpAgent:
    """Return the agent of a submission folder: what L2RPN competitions call.

    Args:
        env: the grid2op environment; only its ``action_space`` is used.
        path: the folder that ``write_submission`` wrote, or a copy.

    Raises:
        ValueError: the folder is not whole, or the agent cannot play in ``env``.
    """
    return Grid2OpAgent(env.action_space, read_submission(path))


def write_submission(recipe: AgentRecipe, folder: str | os.PathLike[str]) -> Path:
    """Write a folder that plays anywhere; it appears only when all is written.

    Args:
        recipe: of the agent.
        folder: where to; must not exist, or be empty. Competitions want it called "submission".

    Returns:
        The folder's path.

    Raises:
        ValueError: the folder is not empty, or the agent could not play in grid2op's tools.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder: give one that does not exist yet")
    _check(recipe)
    version = _version()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        document = {
            "name": recipe.name,
            "version": version,
            "seed": recipe.seed,
            "agent": dict(recipe.agent),
            "env": dict(recipe.env),
        }
        document = keep_action_sets(document, partial)
        (partial / RECIPE).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        (partial / "__init__.py").write_text(_CODE.replace("VERSION", version), encoding="utf-8")
        if recipe.weights is not None:
            write_checkpoint(partial / WEIGHTS, recipe.weights)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def read_submission(folder: str | os.PathLike[str]) -> AgentRecipe:
    """Return the recipe that ``write_submission`` wrote.

    Raises:
        ValueError: a file is missing, damaged, or of another kind; the message names it.
    """
    folder = Path(folder).expanduser()
    path = folder / RECIPE
    if not path.is_file():
        raise ValueError(f"{folder} is not a submission of powergrid-muzero: it has no {RECIPE}")
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    missing = [key for key in _KEYS if not isinstance(document, dict) or key not in document]
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(missing)}")
    try:
        document = find_action_sets(of_today(document), folder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    weights = folder / WEIGHTS
    return AgentRecipe(
        name=document["name"],
        agent=document["agent"],
        env=document["env"],
        weights=read_checkpoint(weights) if weights.exists() else None,
        origin=str(weights),
        seed=document["seed"],
    )


def _version() -> str:
    try:
        return metadata.version("powergrid-muzero")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "from a checkout"


def _check(recipe: AgentRecipe) -> None:
    """Build the agent once, on its own grid."""
    env = make_grid2op(recipe.grid_options.get("grid", "l2rpn_case14_sandbox"))
    try:
        Grid2OpAgent(env.action_space, recipe)
    finally:
        env.close()
