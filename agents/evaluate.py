"""``powergrid-evaluate``: an agent, with the weights of a run if it learns, over a fixed list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from agents.base import Agent
from agents.checkpoints import restore_agent
from agents.commands import plain
from agents.commands import run_command
from agents.comparison import Entry
from agents.comparison import agent_name
from agents.comparison import baseline_entries
from agents.comparison import compare
from agents.comparison import draw
from agents.comparison import report
from agents.composition import build_agent
from agents.composition import build_evaluation_factory
from agents.composition import build_plan
from agents.composition import probe_spaces
from agents.runs import RunFolder
from agents.runs import new_folder
from agents.saved_configs import change_saved
from agents.search_trees import record_searches
from agents.search_trees import write_searches
from envs.checks import check_count
from envs.names import choose

_OWN_KEYS = ("run", "checkpoint", "folder", "seed", "evaluation")


def main() -> None:
    """Run the command."""
    run_command(evaluate, "evaluate")


def evaluate(composed: DictConfig) -> float:
    """Evaluate as configured; return the agent's score.

    Args:
        composed: of ``conf/evaluate.yaml``.

    Raises:
        ValueError: what is wrong with the configuration; nothing was written.
    """
    config = plain(composed)
    evaluation = config["evaluation"]
    choose("checkpoint", config["checkpoint"], ("best", "latest"))
    decisions = check_count("evaluation.trees", evaluation["trees"], least=0)
    run = None if config["run"] is None else RunFolder.open_existing(Path(config["run"]))
    if run is not None:
        config = _config_of_run(run, composed, config)
    env = config["env"]
    plan = build_plan(
        env, split=evaluation["split"], episodes=evaluation["episodes"], seed=evaluation["seed"]
    )
    limits = {"split": evaluation["split"], "max_steps": evaluation["max_steps"]}
    make_environment = build_evaluation_factory(env, **limits)
    observation_space, action_space = probe_spaces(make_environment)
    spaces = {"observation_space": observation_space, "action_space": action_space}
    agent = build_agent(config["agent"], **spaces, seed=config["seed"])
    name = agent_name(config["agent"])
    _load_weights(agent, name, run, config["checkpoint"])
    entries = [Entry(name=name, agent=agent, make_environment=make_environment)]
    if evaluation["baselines"]:
        baselines = baseline_entries(env, **limits, **spaces, seed=config["seed"])
        entries = [*(entry for entry in baselines if entry.name != name), *entries]
    folder = _folder(config["folder"], run)
    searched = (
        record_searches(agent, make_environment, plan[0], decisions=decisions) if decisions else []
    )

    results = compare(
        entries, plan, num_envs=evaluation["num_envs"], num_workers=evaluation["num_workers"]
    )
    folder.mkdir(parents=True, exist_ok=True)
    report(results, env, split=evaluation["split"], folder=folder)
    if evaluation["gif"]:
        draw(entries[-1], plan[0], folder / "evaluation.gif")
    if searched:
        episode = plan[0].scenario or f"{env['id']}, seed {plan[0].seed}"
        write_searches(searched, folder / "trees", episode=episode)
        print(f"Drew the searches of {len(searched)} decisions into {folder / 'trees'}")
    return results[-1].metrics()["score"]


def _config_of_run(
    run: RunFolder, composed: DictConfig, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the command's own keys, with the environment and agent of ``run``."""
    changed = change_saved(
        run.load_config(),
        composed,
        HydraConfig.get().overrides.task,
        changeable=("env", "agent", "trainer"),
        ignored=_OWN_KEYS,
    )
    return {**config, "env": changed["env"], "agent": changed["agent"]}


def _load_weights(agent: Agent, name: str, run: RunFolder | None, which: str) -> None:
    if not agent.learns:
        return
    if run is None:
        raise ValueError(
            f"agent {name} needs the weights of a run: add run=FOLDER, or evaluate one that learns "
            "nothing, such as agent=greedy."
        )
    checkpoints = run.checkpoints
    weights = checkpoints.load_weights(which)
    restore_agent(agent, weights, origin=f"the {which} checkpoint in {checkpoints.folder}")


def _folder(asked: str | None, run: RunFolder | None) -> Path:
    if asked is None:
        return new_folder(run.path if run is not None else Path("runs"), "evaluation")
    folder = Path(asked)
    RunFolder.check_free(folder)
    return folder


if __name__ == "__main__":
    main()
