"""``powergrid-train``: checks everything, trains, then evaluates beside the baselines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym

from agents.agent import Agent, TrainerSettings, TrainingRun
from agents.commands import entry
from agents.commands.side_by_side import (
    EvaluatedAgent,
    agent_name,
    agent_notes,
    baseline_entries,
    draw,
    evaluate_entries,
    log_results,
    report,
)
from agents.configuration.composed import Composed, compose_unexplained
from agents.configuration.composition import (
    FROM_PROGRAM,
    build_agent,
    build_environment_factory,
    build_episode_list,
    build_evaluation_factory,
    build_logger,
    build_settings,
    check_environment,
    check_environment_options,
    evaluation_environment,
    preflight_logger,
    probe_spaces,
)
from agents.configuration.experiments import without_misfits
from agents.configuration.settings import TrainConfiguration
from agents.configuration.signatures import check_component, check_keywords
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodeEvaluator, EvaluationResult, read_results, result_paths
from agents.pictures.gif import check_drawable
from agents.pictures.plots import write_learning_curve
from agents.runs.action_sets import kept_action_sets
from agents.runs.checkpoints import BEST, INITIAL, CheckpointFolder, restore_agent
from agents.runs.cluster import WorkersLostError, connected
from agents.runs.folder import CONFIG, RunFolder, attach_log_file
from agents.runs.loggers import CompositeLogger, RunInfo
from agents.runs.loggers.csv import logged_until
from agents.runs.paths import as_argument, folder_name, given_path
from agents.runs.saved_configs import change_saved, plain, with_absolute_paths
from agents.runs.weights import Weights, find_weights, with_shapes_of

_SHAPES = ("num_envs", "envs_per_group")  # of what a checkpoint holds
_CHANGEABLE = (
    *(f"trainer.{one.name}" for one in fields(TrainerSettings) if one.name not in _SHAPES),
    *("evaluation", "logger", "progress", "agent.total_decisions", "ray"),
)

_log = logging.getLogger(__name__)


class FinishedTraining(NamedTuple):
    """A training that has ended."""

    folder: Path  # of the run
    results: tuple[EvaluationResult, ...]  # of the final evaluation; the trained agent comes last


def train(
    composed: Composed,
    *,
    command: Sequence[str] = (),
    started: Callable[[Path], None] = lambda folder: None,
) -> FinishedTraining:
    """Train as configured.

    Args:
        composed: of ``conf/train.yaml``.
        command: that began it, to be kept in the run's folder.
        started: gets the run's folder as soon as it is made.

    Raises:
        ValueError: what is wrong with the configuration; nothing was written.
        KeyboardInterrupt: on Ctrl-C; says how to continue.
        WorkersLostError: a worker was lost again and again; says so, too.
    """
    config = plain(composed.config)
    check_keywords(TrainConfiguration, config, "")
    asked = None if config["folder"] is None else given_path(config["folder"], "folder")
    resumed = config["resume"] is not None
    run = RunFolder.open_existing(given_path(config["resume"], "resume")) if resumed else None
    if run is None:
        config["name"] = folder_name(config["name"], "name")
        config = without_misfits(config, composed.overrides, _compose)
    else:
        config = _resumed_config(run, composed)
    initial = _initial_weights(config, run)
    if run is None:
        config = _self_contained(config, initial, composed)

    choices = composed.choices
    prepared = prepare(config, choices["agent"] if run is None else run.agent_option)
    if initial is not None:
        initial.restore(prepared.agent)
    workers = {
        f"{part}.num_workers": config[part]["num_workers"] for part in ("trainer", "evaluation")
    }
    with connected(config.get("ray", {}).get("address"), workers):  # absent in older runs
        writing = (
            RunFolder.create(asked, config, command=command, choices=choices)
            if run is None
            else run.resume()
        )
        with writing as run:
            started(run.path)
            return _train(config, prepared, run, initial, resumed=resumed)


def _train(
    config: Mapping[str, Any],
    prepared: PreparedTraining,
    run: RunFolder,
    initial: Weights | None,
    *,
    resumed: bool,
) -> FinishedTraining:
    """Train in a run's folder."""
    agent, settings, final = prepared.agent, prepared.settings, prepared.final
    evaluator, checkpoints = prepared.evaluator, run.checkpoints
    if initial is not None and not resumed:
        checkpoints.save_initial(agent.state_dict())
    saved = checkpoints.peek_latest() if resumed else None
    if resumed and saved is None:
        _log.warning("%s holds no checkpoint yet: starting from the beginning", run.path)
    if saved is not None and "agent" in saved:
        restore_agent(agent, saved["agent"], origin=f"the checkpoint in {checkpoints.folder}")
    limit = None if saved is None else agent.used_up(saved, settings)
    if limit is not None and final.logged_until(run.path) >= _env_steps(saved):
        _log.warning(
            "%s is finished: %s is used up. Go on with a larger one: powergrid-train %s "
            "%s=..., or evaluate it: powergrid-evaluate %s",
            *(run.path, limit, as_argument("resume", run.path), limit),
            as_argument("run", run.path),
        )
        return FinishedTraining(run.path, tuple(read_results(run.path)))

    handler = attach_log_file(run.path / "train.log")
    try:
        logger = build_logger(
            config["logger"],
            run=RunInfo(
                name=config["name"],
                folder=run.path,
                config=config,
                total_env_steps=settings.total_env_steps,
                max_minutes=settings.max_minutes,
                resumed_at=_env_steps(saved) if resumed else None,
            ),
            show=config["progress"],
        )
        failed = True
        try:
            _log.info("run folder: %s", run.path)
            training = TrainingRun(
                settings=settings,
                make_environment=prepared.make_environment,
                evaluate=evaluator,
                logger=logger,
                checkpoints=checkpoints,
                folder=run.path,
                seed=config["seed"],
            )
            agent.train(training)
            evaluator.close()
            curve = write_learning_curve(run.path)
            if curve is not None:
                logger.log_image("plots/learning_curve", curve, env_steps=logger.env_steps)
            results = final.run(run.path, checkpoints, logger)
            if (best := checkpoints.folder / BEST).exists():
                files = [best, run.path / CONFIG, *kept_action_sets(run.path)]
                logger.keep_files("best", files, kind="model")
            logger.keep_files("evaluation", result_paths(run.path), kind="evaluation")
            failed = False
        finally:
            evaluator.close()
            logger.close(failed=failed)
    except (KeyboardInterrupt, WorkersLostError) as error:
        told = str(error) or "interrupted."
        raise type(error)(
            f"{told} Continue with: powergrid-train {as_argument('resume', run.path)}"
        ) from error
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    return FinishedTraining(run.path, tuple(results))


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """A training whose parts are built and go together."""

    settings: TrainerSettings
    make_environment: EnvironmentFactory
    evaluator: EpisodeEvaluator
    agent: Agent
    final: FinalEvaluation


def prepare(config: Mapping[str, Any], option: str | None = None) -> PreparedTraining:
    """Find everything that can be wrong with a training, and write nothing.

    Args:
        config: of ``conf/train.yaml``, plain.
        option: of the group ``agent`` that was chosen; None where it is not known.

    Raises:
        ValueError: what is wrong.
    """
    check_keywords(TrainConfiguration, config, "")
    check_environment(config["env"], config["evaluation"]["env"])
    check_component(config["agent"], "agent", supplied=FROM_PROGRAM)
    preflight_logger(config["logger"])
    settings = build_settings(config["trainer"])
    env = config["env"]
    make_environment = build_environment_factory(env)
    evaluator, make_evaluation = _interim_evaluator(env, config["evaluation"])
    spaces = probe_spaces(make_environment)
    probe_spaces(make_evaluation, "evaluation.env")
    agent = build_agent(
        config["agent"],
        observation_space=spaces[0],
        action_space=spaces[1],
        seed=config["seed"],
    )
    if not agent.learns:
        name = agent_name(config["agent"], option)
        raise ValueError(f"agent {name} learns nothing: play it with powergrid-evaluate.")
    agent.preflight(make_environment, settings)
    return PreparedTraining(
        settings=settings,
        make_environment=make_environment,
        evaluator=evaluator,
        agent=agent,
        final=FinalEvaluation(config, agent, spaces, option),
    )


class FinalEvaluation:
    """The table at the end of a training, prepared (and checked) before it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        agent: Agent,
        spaces: tuple[gym.spaces.Box, gym.spaces.Discrete],
        option: str | None = None,
    ) -> None:
        """Build the baselines and plan the episodes.

        Args:
            config: of the run.
            agent: to be trained.
            spaces: of one environment.
            option: of the config group agent, see ``agent_name``.
        """
        self._evaluation = config["evaluation"]
        env = evaluation_environment(config["env"], self._evaluation["env"])
        final, split = self._evaluation["final"], self._evaluation["split"]
        self._episode_list = build_episode_list(
            env,
            split=split,
            episodes=final["episodes"],
            seed=self._evaluation["seed"],
            at_most="evaluation.final.episodes",
        )
        make_environment = build_evaluation_factory(env, split=split, max_steps=final["max_steps"])
        probe_spaces(make_environment, "evaluation.env")
        self._entry = EvaluatedAgent(
            name=agent_name(config["agent"], option),
            agent=agent,
            make_environment=make_environment,
            notes=agent_notes(config["agent"], seed=config["seed"]),
        )
        if final["gif"]:
            check_drawable(agent, make_environment, "evaluation.final.gif")
        self._baselines: list[EvaluatedAgent] = []
        if final["baselines"]:
            self._baselines = [
                entry
                for entry in baseline_entries(
                    env,
                    split=split,
                    max_steps=final["max_steps"],
                    observation_space=spaces[0],
                    action_space=spaces[1],
                    seed=config["seed"],
                )
                if entry.name != self._entry.name
            ]

    def logged_until(self, folder: Path) -> int:
        """Return the env steps at which it was last made, and logged, in a run's folder; or -1."""
        return logged_until(folder, f"final/{self._entry.name}/")

    def run(
        self,
        folder: Path,
        checkpoints: CheckpointFolder,
        logger: CompositeLogger,
    ) -> list[EvaluationResult]:
        """Evaluate the best weights beside the baselines; return what was found, the agent last.

        Args:
            folder: of the run.
            checkpoints: of the run.
            logger: gets the figures, at the last row's env steps.
        """
        env_steps = logger.env_steps
        best = checkpoints.folder / BEST
        if best.exists():
            restore_agent(self._entry.agent, checkpoints.load_weights("best"), origin=str(best))
        entry = replace(self._entry, notes=replace(self._entry.notes, weights=str(folder)))
        results = evaluate_entries(
            [*self._baselines, entry],
            self._episode_list,
            split=self._evaluation["split"],
            num_envs=self._evaluation["num_envs"],
            num_workers=self._evaluation["num_workers"],
        )
        report(results, folder=folder)
        log_results(results, logger, prefix="final", env_steps=env_steps)
        if self._evaluation["final"]["gif"]:
            path = folder / "evaluation.gif"
            draw(self._entry, self._episode_list[0], path)
            logger.log_animation("final/episode", path, env_steps=env_steps)
        return results


def _interim_evaluator(
    env: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> tuple[EpisodeEvaluator, EnvironmentFactory]:
    interim = evaluation["interim"]
    scenarios = interim.get("scenarios")  # absent in older runs
    own = {} if scenarios is None else {"scenarios": scenarios}
    check_environment_options(env, own, "evaluation.interim")
    env = evaluation_environment(env, {**evaluation["env"], **own})
    episode_list = build_episode_list(
        env,
        split=evaluation["split"],
        episodes=interim["episodes"],
        seed=evaluation["seed"],
        at_most="evaluation.interim.episodes",
    )
    factory = build_evaluation_factory(
        env, split=evaluation["split"], max_steps=interim["max_steps"]
    )
    evaluator = EpisodeEvaluator(
        factory,
        episode_list,
        num_envs=evaluation["num_envs"],
        num_workers=evaluation["num_workers"],
    )
    return evaluator, factory


def _initial_weights(config: Mapping[str, Any], run: RunFolder | None) -> Weights | None:
    """Return the weights that a training begins with; a resumed one has them in its folder."""
    if run is not None:
        kept = run.checkpoints.folder / INITIAL
        if kept.is_file():
            return Weights(str(kept), run, kept)
        if run.checkpoints.begun:
            return None
    given = config.get("weights")  # absent in older runs
    return None if given is None else find_weights(given)


def _self_contained(
    config: dict[str, Any], initial: Weights | None, composed: Composed
) -> dict[str, Any]:
    """Return a new run's configuration as it is saved: complete, and the same from any folder."""
    if initial is not None:
        if initial.run is not None:
            config = with_shapes_of(initial.run, config, composed.config, composed.overrides)
        config = {**config, "weights": initial.reference}
    return with_absolute_paths(config)


def _compose(overrides: Sequence[str]) -> dict[str, Any]:
    return plain(compose_unexplained("train", overrides).config)


def _resumed_config(run: RunFolder, composed: Composed) -> dict[str, Any]:
    return change_saved(
        run.load_config(),
        composed.config,
        composed.overrides,
        changeable=_CHANGEABLE,
        ignored=("resume",),
    )


def _env_steps(saved: Mapping[str, Any] | None) -> int:
    """Return the environment steps of a training state, 0 for none."""
    return 0 if saved is None else int(saved.get("progress", {}).get("env_steps", 0))


if __name__ == "__main__":
    entry.train()
