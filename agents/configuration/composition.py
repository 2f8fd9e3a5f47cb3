"""Builds environments, agents and loggers: the one place that calls Hydra's ``instantiate``.

What comes in is plain Python (dicts with ``_target_``), what goes out are objects; nothing below
the commands sees a configuration.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gymnasium as gym
import hydra
from hydra.errors import InstantiationException

import envs
from agents.agent import Agent, TrainerSettings
from agents.configuration.settings import SIMULATORS, SINGLE, EnvironmentSection
from agents.configuration.signatures import TARGET, builds, check_component, check_keywords
from agents.environments import OF_GYMNASIUM, EnvironmentFactory, environment_class
from agents.evaluation import EpisodeSpec, list_episodes
from agents.parts import Part, naming
from agents.runs.loggers import CompositeLogger, CsvLogger, ProgressLogger, RunInfo, RunLogger
from powergrid_muzero.names import choose

_log = logging.getLogger(__name__)

FROM_PROGRAM = ("observation_space", "action_space", "seed")  # what an agent gets beside its own


def build_environment_factory(
    env: Mapping[str, Any], *, changes: Mapping[str, Any] | None = None
) -> EnvironmentFactory:
    """Return the recipe of the environment that ``env`` (the config group) describes.

    Args:
        env: ``id``, ``kwargs``, ``wrappers`` and, where there is a choice, ``simulator``.
        changes: keywords of ``gymnasium.make`` to change.

    Raises:
        ValueError: no such simulator.
    """
    return EnvironmentFactory(
        env_id=env["id"],
        kwargs=build_options({**env["kwargs"], **(changes or {})}),
        wrappers=tuple(
            instantiate(wrapper, f"env.wrappers.{name}")
            for name, wrapper in env["wrappers"].items()
        ),
        vector=choose("simulator", env.get("simulator", SINGLE), SIMULATORS) != SINGLE,
    )


def build_options(options: Mapping[str, Any], key: str = "env.kwargs") -> dict[str, Any]:
    """Return keywords of an environment in which all that has a ``_target_`` is built.

    Args:
        options: the keywords.
        key: of ``options``, for messages.

    Raises:
        ValueError: see ``instantiate``.
    """
    return {
        name: instantiate(value, f"{key}.{name}") if builds(value) else value
        for name, value in options.items()
    }


def check_environment(env: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
    """Refuse what ``env`` (the config group) must not hold, without making an environment.

    Args:
        env: the config group.
        changes: ``evaluation.env``; None where nothing is evaluated.

    Raises:
        ValueError: no such environment or class, wrong names or types.
    """
    check_keywords(EnvironmentSection, env, "env")
    if env.get("simulator", SINGLE) != SINGLE:
        made = environment_class(env["id"], vector=True)
        if made is not envs.PowerGridVectorEnv:
            raise ValueError(
                f"env.simulator={env['simulator']} plays PowerGrid-v0, not {env['id']}: set "
                f"env.simulator={SINGLE}, which plays single environments, or leave it out."
            )
    check_environment_options(env, env["kwargs"], "env.kwargs")
    check_environment_options(env, changes or {}, "evaluation.env")
    for name, wrapper in env["wrappers"].items():
        _check_part(wrapper, f"env.wrappers.{name}", supplied=("env",))
    for name, baseline in env.get("baselines", {}).items():
        _check_part(baseline, f"env.baselines.{name}", supplied=FROM_PROGRAM)


def check_environment_options(env: Mapping[str, Any], options: Mapping[str, Any], key: str) -> None:
    """Refuse keywords of ``gymnasium.make`` that the environment does not take.

    Args:
        env: the config group.
        options: the keywords.
        key: of ``options``, for messages.

    Raises:
        ValueError: no such environment, or wrong names or types.
    """
    vector = env.get("simulator", SINGLE) != SINGLE
    check_keywords(
        environment_class(env["id"], vector=vector),
        {name: value for name, value in options.items() if name not in OF_GYMNASIUM},
        key,
        supplied=("num_envs", "autoreset"),
        complete=False,
    )


# options of the environment that an evaluation sets itself, by keys of its own
KEYS_OF_EVALUATION = {
    "split": "evaluation.split",
    "max_steps": "evaluation.max_steps (in powergrid-train evaluation.interim.max_steps and "
    "evaluation.final.max_steps)",
}


def evaluation_environment(env: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``env`` (the config group) as agents are evaluated in it.

    Args:
        env: as they are trained.
        changes: ``evaluation.env``, or others of ``env["kwargs"]``.

    Raises:
        ValueError: an option of ``KEYS_OF_EVALUATION`` among the changes.
    """
    for name, key in KEYS_OF_EVALUATION.items():
        if name in changes:
            raise ValueError(
                f"evaluation.env.{name}={changes[name]} has no effect; set {key} instead."
            )
    kwargs = {**env["kwargs"], **changes}
    trained = env["kwargs"].get("reward")
    if kwargs.get("reward") != trained and env.get("simulator", SINGLE) != SINGLE:
        kwargs.setdefault("planning_reward", trained)  # who plans goes on as it was trained
    return {**env, "kwargs": kwargs}


def build_evaluation_factory(
    env: Mapping[str, Any],
    *,
    split: str,
    max_steps: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> EnvironmentFactory:
    """Return the recipe of the environment that agents are evaluated in.

    Args:
        env: of ``evaluation_environment``.
        split: of the scenarios, where the environment has them.
        max_steps: cap of an episode, environment steps; None for none.
        changes: options that one agent has otherwise, where the environment has them.

    Raises:
        ValueError: a cap, and an environment that takes none.
    """
    kwargs = env["kwargs"]
    changes = {name: value for name, value in (changes or {}).items() if name in kwargs}
    if "split" in kwargs and split in envs.SPLITS:  # other lists are played by name alone
        changes["split"] = split
    if "max_steps" in kwargs:
        changes["max_steps"] = max_steps
    elif max_steps is not None:
        raise ValueError(
            f"max_steps is {max_steps}, but environment {env['id']} takes no max_steps. Set "
            "+env.kwargs.max_episode_steps instead, or leave it null."
        )
    return build_environment_factory(env, changes=changes)


def build_episode_list(
    env: Mapping[str, Any],
    *,
    split: str,
    episodes: int | None,
    seed: int,
    first: int = 0,
    at_most: str | None = None,
    scenarios_list: Sequence[str] | None = None,
) -> tuple[EpisodeSpec, ...]:
    """Return the episodes to evaluate on: the split's fixed scenarios, or seeds without scenarios.

    Args:
        env: of ``evaluation_environment``.
        split: "train", "val" or "test".
        episodes: how many; None for all scenarios from ``first`` on.
        seed: of the reset of the list's episode 0; the next ones follow by 1.
        first: number in the list of the first episode to play, from 0 on.
        at_most: key of ``episodes`` where the whole list will do if it has fewer, which is said;
            None to refuse.
        scenarios_list: names of scenarios in place of the split's; None for those.

    Raises:
        ValueError: no such scenario, source, folder or split, an empty one, or too many episodes.
    """
    kwargs = env["kwargs"]
    if "scenarios" not in kwargs:
        if scenarios_list is not None:
            raise ValueError(
                f"evaluation.scenarios_list: environment {env['id']} has no scenarios; leave it "
                "out."
            )
        if episodes is None:
            raise ValueError(
                f"{at_most or 'evaluation.episodes'}=null: environment {env['id']} has no list of "
                "scenarios; set the number of evaluation episodes."
            )
        return list_episodes(None, first=first, episodes=episodes, seed=seed)
    source = build_options({"scenarios": kwargs["scenarios"]})["scenarios"]
    named = source if isinstance(source, str) else type(source).__name__
    if isinstance(source, str):
        source = envs.make_source(source, grid=kwargs["grid"], folder=kwargs.get("scenario_folder"))
    if scenarios_list is not None:
        names = _check_scenarios(scenarios_list, source)
    else:
        names = source.names(split)
    if not names:
        raise ValueError(
            f"split {split!r} of scenarios={named} is empty: there is nothing to play. Choose "
            "another split, or other scenarios."
        )
    if at_most is not None and episodes is not None and episodes > len(names):
        _log.warning(
            "%s=%d, but split %r of scenarios=%s has %d: each evaluation plays these.",
            *(at_most, episodes, split, named, len(names)),
        )
        episodes = len(names)
    with naming("evaluation", ("first", "episodes")):
        return list_episodes(names, first=first, episodes=episodes, seed=seed)


def _check_scenarios(names: Sequence[str], source: envs.ScenarioSource) -> tuple[str, ...]:
    """Return the scenarios that somebody listed, if there are such, and each is named once."""
    with naming("evaluation", ("scenarios_list",)):
        if not names:
            raise ValueError("scenarios_list is empty; expected names of scenarios, or null.")
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ValueError(f"scenarios_list names {name} twice; its months must differ.")
            try:
                source.load(name)
            except ValueError as error:
                raise ValueError(f"scenarios_list: {error}") from error
    return tuple(names)


def probe_spaces(
    factory: EnvironmentFactory, key: str = "env.kwargs"
) -> tuple[gym.spaces.Box, gym.spaces.Discrete]:
    """Make one environment; return the spaces of its observations and actions.

    Args:
        factory: makes it.
        key: of its options in the configuration, for messages.

    Raises:
        ValueError: what is wrong with the environment's options, or with its spaces.
    """
    with naming(key, factory.kwargs):
        env = factory(1)
    observation, action = env.single_observation_space, env.single_action_space
    env.close()
    assert isinstance(observation, gym.spaces.Box)
    assert isinstance(action, gym.spaces.Discrete)
    return observation, action


def build_agent(
    agent: Mapping[str, Any],
    *,
    observation_space: gym.spaces.Box,
    action_space: gym.spaces.Discrete,
    seed: int,
    key: str = "agent",
) -> Agent:
    """Build the agent that ``agent`` (the config group) describes.

    Args:
        agent: the config group.
        observation_space: of one environment.
        action_space: of one environment.
        seed: of the agent.
        key: of ``agent`` in the configuration, for messages.

    Raises:
        ValueError: no such class, an option that it does not take, or what it refuses.
    """
    make = instantiate(agent, key, partially=True, supplied=FROM_PROGRAM)
    built = make(observation_space=observation_space, action_space=action_space, seed=seed)
    if not isinstance(built, Agent):
        raise ValueError(
            f"{key}.{TARGET}={agent[TARGET]} makes a {type(built).__name__}; expected a "
            "subclass of agents.agent.Agent."
        )
    return built


def build_settings(trainer: Mapping[str, Any]) -> TrainerSettings:
    """Return the trainer's settings, checked.

    Raises:
        ValueError: an unknown name, or a value of the wrong kind or range.
    """
    check_keywords(TrainerSettings, trainer, "trainer")
    return TrainerSettings(**trainer)


def preflight_logger(logger: Mapping[str, Any]) -> None:
    """Let the logger refuse what cannot work, before anything is written.

    Raises:
        ValueError: what it refuses.
    """
    make = instantiate(logger, "logger", partially=True, supplied=("run",))
    check = getattr(make.func, "preflight", None)
    if check is not None:
        with naming("logger", make.keywords):
            check(**make.keywords)


def build_logger(
    logger: Mapping[str, Any], *, run: RunInfo, show: Mapping[str, str]
) -> CompositeLogger:
    """Build the logger that ``logger`` (the config group) describes, with CSV and a progress bar.

    Args:
        logger: the config group.
        run: the run to be logged.
        show: label on the progress bar -> metric.

    Raises:
        ValueError: no such class, or an option that it does not take.
    """
    make = instantiate(logger, "logger", partially=True)
    loggers: list[RunLogger] = [CsvLogger(run=run)]  # first: it refuses a damaged file
    if make.func is not CsvLogger:
        loggers.append(make(run=run))
    loggers.append(ProgressLogger(run=run, show=show))
    return CompositeLogger(loggers, env_steps=run.resumed_at or 0)


def build_result_logger(logger: Mapping[str, Any], *, run: RunInfo) -> CompositeLogger:
    """Build what logs the results of an evaluation, beside the files that it writes anyway.

    Args:
        logger: the config group; the CSV logger has nothing to add.
        run: the evaluation.

    Raises:
        ValueError: no such class, or an option that it does not take.
    """
    make = instantiate(logger, "logger", partially=True)
    return CompositeLogger(() if make.func is CsvLogger else (make(run=run),))


def instantiate(
    config: Mapping[str, Any],
    key: str,
    *,
    partially: bool = False,
    supplied: Collection[str] = (),
) -> Any:
    """Build what ``config["_target_"]`` names from the other entries, as plain Python objects.

    Args:
        config: plain Python with ``_target_``; nested ones are built first.
        key: of ``config``, for messages.
        partially: return a ``Part`` that still wants arguments.
        supplied: names of those that the program gives it.

    Raises:
        ValueError: no such class, wrong names or types, or what it refuses.
    """
    _check_part(config, key, supplied=supplied)
    changes = {"_partial_": True} if partially else {}
    try:
        return Part.of(hydra.utils.instantiate(dict(config), _convert_="all", **changes), key)
    except InstantiationException as error:
        where = re.search(r"full_key: (\S+)", str(error))
        path = key if where is None else f"{key}.{where.group(1)}"
        cause = error.__cause__
        with naming(path, _at(config, path.removeprefix(key))):
            known = isinstance(cause, (ValueError, TypeError))
            raise ValueError(" ".join(str(cause if known else error).split())) from error


def _check_part(config: Any, key: str, *, supplied: Collection[str]) -> None:
    if not builds(config):
        raise ValueError(f"{key}={config}; expected a mapping with {TARGET}, the class to build.")
    check_component(config, key, supplied=supplied)


def _at(config: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the mapping at the dotted ``path`` below ``config``."""
    for name in filter(None, path.split(".")):
        config = config.get(name, {})
    return config
