"""``powergrid-evaluate``: an agent, with its weights if it learns, over a split's fixed list."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from agents.base import Agent
from agents.checkpoints import restore_agent
from agents.checkpoints import restore_weights
from agents.commands import plain
from agents.commands import run_command
from agents.compare import COMMAND as COMPARE
from agents.compare import main as compare
from agents.composition import build_agent
from agents.composition import build_evaluation_factory
from agents.composition import build_plan
from agents.composition import build_result_logger
from agents.composition import preflight_logger
from agents.composition import probe_spaces
from agents.entries import Entry
from agents.entries import agent_name
from agents.entries import agent_notes
from agents.entries import baseline_entries
from agents.entries import draw
from agents.entries import evaluate_entries
from agents.entries import log_results
from agents.entries import report
from agents.evaluation import replay_episodes
from agents.folders import UnwritableFolderError
from agents.folders import output_folder
from agents.loggers import RunInfo
from agents.paths import given_path
from agents.paths import given_text
from agents.plots import write_plots
from agents.pretrained import is_installed
from agents.pretrained import locate
from agents.pretrained import ships
from agents.report import grid_of
from agents.report import write_report
from agents.results import EvaluationResult
from agents.results.statistics import score
from agents.runs import CONFIG
from agents.runs import RUNS
from agents.runs import RunFolder
from agents.saved_configs import change_saved
from agents.search_trees import record_searches
from agents.search_trees import write_searches
from envs.checks import check_count
from envs.names import choose

_OWN_KEYS = (
    *("split", "seed", "name", "run", "checkpoint", "folder", "evaluation", "logger"),
    *("weights", "agent.weights"),
)


_log = logging.getLogger(__name__)


def main() -> None:
    """Run the command, or its subcommand ``compare``."""
    if sys.argv[1:2] == [COMPARE]:
        compare(sys.argv[2:])
    run_command(evaluate, "evaluate")


@dataclass(frozen=True)
class _Source:
    """Where the weights come from."""

    run: RunFolder | None  # whose configuration is used
    weights: Path | None  # a file, in place of the run's own checkpoint

    @property
    def name(self) -> str:
        """As it stands in results; "" for none."""
        if self.weights is not None:
            shipped = ships(self.weights)
            return self.weights.parents[1].name if shipped else str(self.weights)
        return "" if self.run is None else str(self.run.path)


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
    reported = check_count("evaluation.report", evaluation["report"], least=0)
    rho_plots = check_count("evaluation.rho_plots", evaluation["rho_plots"], least=0)
    preflight_logger(config["logger"])
    source = _source(config)
    if source.run is not None:
        config = _config_of_run(source, composed, config)
    env, split = config["env"], evaluation["split"]
    plan = build_plan(env, split=split, episodes=evaluation["episodes"], seed=evaluation["seed"])
    limits = {"split": split, "max_steps": evaluation["max_steps"]}
    make_environment = build_evaluation_factory(env, **limits)
    observation_space, action_space = probe_spaces(make_environment)
    if reported:
        grid_of(make_environment)  # refuses what is no power grid
    spaces = {"observation_space": observation_space, "action_space": action_space}
    agent = build_agent(config["agent"], **spaces, seed=config["seed"])
    named = config["name"] is not None
    name = given_text(config["name"], "name") if named else agent_name(config["agent"])
    learns = _load_weights(agent, name, source, config["checkpoint"])
    notes = agent_notes(config["agent"], seed=config["seed"], weights=source.name if learns else "")
    entry = Entry(name=name, agent=agent, make_environment=make_environment, notes=notes)
    entries = [entry]
    if evaluation["baselines"]:
        baselines = baseline_entries(env, **limits, **spaces, seed=config["seed"])
        entries = [*(one for one in baselines if one.name != name), entry]
    with _results_folder(config, source) as folder:
        searched = (
            record_searches(agent, make_environment, plan[0], decisions=decisions)
            if decisions
            else []
        )
        results = evaluate_entries(
            entries,
            plan,
            split=split,
            num_envs=evaluation["num_envs"],
            num_workers=evaluation["num_workers"],
        )
        report(results, folder=folder)
        plots: list[Path] = []
        if evaluation["plots"]:
            own = results[-1]
            first = own.episodes[:rho_plots] if own.protocol.grid else ()
            traces = replay_episodes(make_environment, first) if first else ()
            plots = write_plots(folder, results, traces)
            print(f"Drew {', '.join(path.name for path in plots)}")
        if reported:
            own = results[-1]
            write_report(
                folder / "report.html",
                agent,
                make_environment,
                plan,
                name=name,
                episodes=min(reported, len(plan)),
                num_envs=evaluation["num_envs"],
                protocol=own.protocol,
                evaluated=own.episodes,
            )
            print(f"Wrote {folder / 'report.html'}: open it in a browser, it needs nothing else")
        if evaluation["gif"]:
            draw(entry, plan[0], folder / "evaluation.gif")
        if searched:
            episode = plan[0].scenario or f"{env['id']}, seed {plan[0].seed}"
            write_searches(searched, folder / "trees", episode=episode)
            print(f"Drew the searches of {len(searched)} decisions into {folder / 'trees'}")
        _log_results(config, folder, results, plots)
    return score(results[-1].episodes)


def _source(config: Mapping[str, Any]) -> _Source:
    """Return where the weights come from; a file in a run folder brings the run along."""
    run, weights = config["run"], config["weights"]
    own = config["agent"].get("weights")
    if weights is not None and own is not None:
        raise ValueError(f"weights={weights} and agent.weights={own} were given; name one of them.")
    weights = own if weights is None else weights
    if run is not None and weights is not None:
        raise ValueError(f"run={run} and weights={weights} were given; name one of them.")
    if weights is None:
        folder = None if run is None else RunFolder.open_existing(given_path(run, "run"))
        return _Source(folder, None)
    path = locate(weights)
    folder = path.parent.parent
    has_run = (folder / CONFIG).is_file()
    return _Source(RunFolder.open_existing(folder) if has_run else None, path)


def _config_of_run(
    source: _Source, composed: DictConfig, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the command's own keys, with the environment and agent of the source's run."""
    assert source.run is not None
    overrides = HydraConfig.get().overrides.task
    if config["agent"].get("weights") is not None:  # agent=muzero names the kind; which, the run
        overrides = [one for one in overrides if one.partition("=")[0] != "agent"]
    changed = change_saved(
        source.run.load_config(),
        composed,
        overrides,
        changeable=("env", "agent", "trainer"),
        ignored=_OWN_KEYS,
    )
    changed["agent"].pop("weights", None)  # what training began with
    return {**config, "env": changed["env"], "agent": changed["agent"]}


def _load_weights(agent: Agent, name: str, source: _Source, which: str) -> bool:
    """Give the agent its weights, if it has any; say whether it has."""
    if not agent.learns:
        if source.weights is not None:
            raise ValueError(f"agent {name} learns nothing: leave out weights={source.weights}")
        return False
    if source.weights is not None:
        restore_weights(agent, source.weights)
    elif source.run is not None:
        checkpoints = source.run.checkpoints
        weights = checkpoints.load_weights(which)
        restore_agent(agent, weights, origin=f"the {which} checkpoint in {checkpoints.folder}")
    else:
        raise ValueError(
            f"agent {name} needs the weights of a run: add run=FOLDER or weights=FILE, or evaluate "
            "one that learns nothing, such as agent=greedy."
        )
    return True


@contextmanager
def _results_folder(config: Mapping[str, Any], source: _Source) -> Iterator[Path]:
    """Make the folder of the results: the one asked for, or a new one in the run's or ``runs/``."""
    asked = None if config["folder"] is None else given_path(config["folder"], "folder")
    parent = RUNS
    if source.run is not None and not is_installed(source.run.path):
        parent = source.run.path
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(output_folder(asked, parent=parent / "evaluation"))
        except UnwritableFolderError as error:
            if asked is not None or parent == RUNS:
                raise
            _log.warning("%s", error)
            folder = stack.enter_context(output_folder(None, parent=RUNS / "evaluation"))
        _log.info("results go to %s", folder)
        yield folder


def _log_results(
    config: Mapping[str, Any], folder: Path, results: list[EvaluationResult], plots: list[Path]
) -> None:
    """Log figures and plots where ``logger`` says."""
    run = RunInfo(
        name="evaluation", folder=folder, config=config, total_env_steps=0, job="evaluate"
    )
    logger = build_result_logger(config["logger"], run=run)
    failed = True
    try:
        log_results(results, logger, prefix=config["evaluation"]["split"])
        for path in plots:
            logger.log_image(f"plots/{path.stem}", path, env_steps=0)
        failed = False
    finally:
        logger.close(failed=failed)


if __name__ == "__main__":
    main()
