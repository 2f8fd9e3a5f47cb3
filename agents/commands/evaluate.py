"""``powergrid-evaluate``: evaluates an agent on the fixed episode list of a split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agents import pretrained
from agents.agent import Agent
from agents.commands import entry
from agents.commands.side_by_side import (
    EvaluatedAgent,
    agent_name,
    agent_notes,
    baseline_entries,
    draw,
    evaluate_entries,
    log_results,
    meet,
    report,
)
from agents.configuration.composed import Composed
from agents.configuration.composition import (
    KEYS_OF_EVALUATION,
    build_agent,
    build_episode_list,
    build_evaluation_factory,
    build_result_logger,
    check_environment,
    evaluation_environment,
    preflight_logger,
    probe_spaces,
)
from agents.configuration.settings import EvaluateConfiguration
from agents.configuration.signatures import check_keywords
from agents.evaluation import AgentNotes, EpisodeSpec, EvaluationResult, play_back, result_paths
from agents.pictures.gif import check_drawable
from agents.pictures.plots import write_plots
from agents.pictures.report import grid_of, write_report
from agents.pictures.search_trees import record_searches, write_searches
from agents.pretrained import is_installed
from agents.runs.cluster import connected
from agents.runs.folder import RUNS, RunFolder
from agents.runs.loggers import RunInfo
from agents.runs.output_folders import UnwritableFolderError, output_folder
from agents.runs.paths import given_path, given_text
from agents.runs.saved_configs import plain
from agents.runs.weights import Weights, configuration_of, weights_asked_for

_OWN_KEYS = (
    *("split", "seed", "name", "run", "checkpoint", "folder", "evaluation", "logger"),
    *("weights", "ray"),
)
REPORT = "report.html"  # in the folder of the results
_LISTED = "listed"  # what results call the split of scenarios that somebody listed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PreparedEvaluation:
    """An evaluation whose parts are built and go together."""

    config: Mapping[str, Any]  # plain, with what a run brings along
    run: RunFolder | None  # that the weights are of
    entries: Sequence[EvaluatedAgent]  # baselines first, the agent last
    episode_list: Sequence[EpisodeSpec]

    def play(self) -> list[EvaluationResult]:
        """Return what each entry did, in their order."""
        evaluation = self.config["evaluation"]
        with self.connected():
            return evaluate_entries(
                self.entries,
                self.episode_list,
                split=evaluation["split"],
                num_envs=evaluation["num_envs"],
                num_workers=evaluation["num_workers"],
            )

    def connected(self) -> AbstractContextManager[None]:
        """Return what surrounds playing: the workers' cluster."""
        workers = {"evaluation.num_workers": self.config["evaluation"]["num_workers"]}
        return connected(self.config["ray"]["address"], workers)


class ConfiguredAgent(NamedTuple):
    """An agent where it plays, as an evaluation is configured."""

    entry: EvaluatedAgent
    config: Mapping[str, Any]  # plain, with what a run brings along
    run: RunFolder | None  # that the weights are of


def configured_agent(composed: Composed, given: Agent | None = None) -> ConfiguredAgent:
    """Build the agent and its environment, and load its weights.

    Args:
        composed: of ``conf/evaluate.yaml``.
        given: plays in place of the configured agent, as it is.

    Raises:
        ValueError: what is wrong.
    """
    config = plain(composed.config)
    check_keywords(EvaluateConfiguration, config, "")
    _check_typed(composed.overrides)
    evaluation = config["evaluation"]
    weights = weights_asked_for(config)
    run = None if weights is None else weights.run
    option = composed.choices["agent"]
    if run is not None:
        trained = configuration_of(
            run, composed.config, composed.overrides, option=option, ignored=_OWN_KEYS
        )
        option = trained.option
        evaluation = {**evaluation, "env": trained.evaluation_env}
        config = {**config, "env": trained.env, "agent": trained.agent}
    evaluation = {**evaluation, "env": _with_typed(evaluation["env"], composed.overrides)}
    config = {**config, "evaluation": evaluation}
    check_environment(config["env"], evaluation["env"])
    make_environment = build_evaluation_factory(
        evaluation_environment(config["env"], evaluation["env"]),
        split=evaluation["split"],
        max_steps=evaluation["max_steps"],
    )
    observation_space, action_space = probe_spaces(make_environment)
    named = None if config["name"] is None else given_text(config["name"], "name")
    if given is None:
        agent = build_agent(
            config["agent"],
            observation_space=observation_space,
            action_space=action_space,
            seed=config["seed"],
        )
        name = named or agent_name(config["agent"], option)
        loaded = _load(agent, name, weights, config)
        origin = weights.name if loaded and weights is not None else ""
        notes = agent_notes(config["agent"], seed=config["seed"], weights=origin)
    else:
        agent, name, notes = given, named or type(given).__name__, AgentNotes()
    entry = EvaluatedAgent(name=name, agent=agent, make_environment=make_environment, notes=notes)
    return ConfiguredAgent(entry, config, run)


def prepare(composed: Composed, given: Agent | None = None) -> PreparedEvaluation:
    """Find everything that can be wrong with an evaluation, and write nothing.

    Args:
        composed: of ``conf/evaluate.yaml``.
        given: see ``configured_agent``.

    Raises:
        ValueError: what is wrong.
    """
    entry, config, run = configured_agent(composed, given)
    preflight_logger(config["logger"])
    evaluation = config["evaluation"]
    env = evaluation_environment(config["env"], evaluation["env"])
    episode_list = build_episode_list(
        env,
        **{
            name: evaluation[name]
            for name in ("split", "first", "episodes", "seed", "scenarios_list")
        },
    )
    if evaluation["report"] > len(episode_list):
        raise ValueError(
            f"evaluation.report={evaluation['report']}; expected at most {len(episode_list)} "
            "episodes."
        )
    if evaluation["report"]:
        grid_of(entry.make_environment)  # refuses what is no power grid
    entries = [entry]
    if evaluation["baselines"]:
        observation_space, action_space = probe_spaces(entry.make_environment)
        baselines = baseline_entries(
            env,
            split=evaluation["split"],
            max_steps=evaluation["max_steps"],
            observation_space=observation_space,
            action_space=action_space,
            seed=config["seed"],
        )
        entries = [*(one for one in baselines if one.name != entry.name), entry]
    for one in entries:
        meet(one)
    if evaluation["scenarios_list"] is not None:
        config = {**config, "evaluation": {**evaluation, "split": _LISTED}}
    if evaluation["gif"]:
        check_drawable(entry.agent, entry.make_environment, "evaluation.gif")
    if evaluation["trees"] and not entry.agent.explains:
        entry.agent.explain()  # says so
    return PreparedEvaluation(config=config, run=run, entries=entries, episode_list=episode_list)


def evaluate(
    prepared: PreparedEvaluation, *, started: Callable[[Path], None] = lambda folder: None
) -> list[EvaluationResult]:
    """Play, print and write the results, and draw what was asked for.

    Args:
        prepared: what to play.
        started: gets the folder of the results as soon as it is made.
    """
    config, entry, episode_list = prepared.config, prepared.entries[-1], prepared.episode_list
    evaluation, make_environment = config["evaluation"], entry.make_environment
    decisions, reported = evaluation["trees"], evaluation["report"]
    with prepared.connected(), _results_folder(config, prepared.run) as folder:
        started(folder)
        searched = (
            record_searches(entry.agent, make_environment, episode_list[0], decisions=decisions)
            if decisions
            else []
        )
        results = prepared.play()
        report(results, folder=folder)
        plots: list[Path] = []
        if evaluation["plots"]:
            own = results[-1]
            shown = own.episodes[: evaluation["rho_plots"]] if own.protocol.grid else ()
            traces = play_back(make_environment, shown) if shown else ()
            plots = write_plots(folder, results, traces)
            print(f"Drew {', '.join(path.name for path in plots)}")
        if reported:
            own = results[-1]
            write_report(
                folder / REPORT,
                entry.agent,
                make_environment,
                episode_list,
                name=entry.name,
                episodes=reported,
                num_envs=evaluation["num_envs"],
                protocol=own.protocol,
                evaluated=own.episodes,
            )
            print(f"Wrote {folder / REPORT}: open it in a browser, it needs nothing else")
        if evaluation["gif"]:
            draw(entry, episode_list[0], folder / "evaluation.gif")
        if searched:
            first = episode_list[0]
            episode = first.scenario or f"{config['env']['id']}, seed {first.seed}"
            write_searches(searched, folder / "trees", episode=episode)
            print(f"Drew the searches of {len(searched)} decisions into {folder / 'trees'}")
        _log_results(config, folder, results, plots)
    return results


def _with_typed(changes: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return what an evaluation changes of the environment, less what hides something typed.

    A training on ``scenarios=varied`` is scored on plain months. Typed for an evaluation, such an
    option says what is to be played. The reward alone remains the usual one: what is typed is what
    an agent plans by.

    Args:
        changes: of the environment's options, ``evaluation.env``.
        overrides: of the command line.
    """
    keys = [one.lstrip("+~").partition("=")[0] for one in overrides]
    typed = {key.removeprefix("env.kwargs.").partition(".")[0] for key in keys}
    kept = {
        key.removeprefix("evaluation.env.").partition(".")[0]
        for key in keys
        if key.startswith("evaluation.env")
    }
    return {
        name: value
        for name, value in changes.items()
        if name not in typed - {"reward"} or name in kept or "evaluation.env" in kept
    }


def _check_typed(overrides: Sequence[str]) -> None:
    """Refuse options of the environment that an evaluation sets itself; a run may have them."""
    for typed in overrides:
        given = typed.lstrip("+").partition("=")[0]
        for name, key in KEYS_OF_EVALUATION.items():
            if given == f"env.kwargs.{name}":
                raise ValueError(f"{typed} has no effect in an evaluation; set {key} instead.")


def _load(agent: Agent, name: str, weights: Weights | None, config: Mapping[str, Any]) -> bool:
    """Give the agent its weights, if it has any; say whether it has."""
    if not agent.learns:
        if config["weights"] is not None:
            raise ValueError(f"agent {name} learns nothing: leave out weights={config['weights']}")
        return False
    if weights is None:
        raise ValueError(
            f"agent {name} needs weights: add run=FOLDER, weights=FILE or weights="
            f"{' or weights='.join(pretrained.names())}, or evaluate one that learns nothing, such "
            "as agent=greedy."
        )
    weights.restore(agent)
    return True


@contextmanager
def _results_folder(config: Mapping[str, Any], run: RunFolder | None) -> Iterator[Path]:
    """Make the folder of the results: the one asked for, or a new one in the run's or ``runs/``."""
    asked = None if config["folder"] is None else given_path(config["folder"], "folder")
    parent = RUNS
    if run is not None and not is_installed(run.path):
        parent = run.path
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
        logger.keep_files("evaluation", result_paths(folder), kind="evaluation")
        if (page := folder / REPORT).exists():
            logger.keep_files("report", [page], kind="report")
        failed = False
    finally:
        logger.close(failed=failed)


if __name__ == "__main__":
    entry.evaluate()
