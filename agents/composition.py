"""Builds the parts that a configuration names: the one place that calls Hydra's ``instantiate``.

What comes in is plain Python (dicts with ``_target_``), what goes out are objects; nothing below
the commands sees a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import fields
from dataclasses import replace
from functools import partial
from inspect import Parameter
from inspect import signature
from typing import Any

import gymnasium as gym
import hydra
from hydra.errors import InstantiationException

from agents.base import Agent
from agents.base import TrainerSettings
from agents.environments import EnvironmentFactory
from agents.evaluation import EpisodePlan
from agents.evaluation import plan_episodes
from agents.loggers import CompositeLogger
from agents.loggers import CsvLogger
from agents.loggers import ProgressLogger
from agents.loggers import RunInfo
from agents.loggers import RunLogger
from envs.names import choose
from envs.scenarios import SPLITS
from envs.scenarios import make_source

SINGLE = "grid2op"  # single environments side by side
SIMULATORS = ("lightsim2grid", SINGLE)


def build_environment_factory(
    env: Mapping[str, Any], *, changes: Mapping[str, Any] | None = None
) -> EnvironmentFactory:
    """Return the recipe of the environment that ``env`` (the config group) describes.

    Args:
        env: ``id``, ``kwargs``, ``wrappers`` and, where there is a choice, ``simulator`` and
            ``num_workers``.
        changes: keywords of ``gymnasium.make`` to change.

    Raises:
        ValueError: no such simulator, or worker processes for one that has none.
    """
    kwargs = {**env["kwargs"], **(changes or {})}
    vector = choose("simulator", env.get("simulator", SINGLE), SIMULATORS) != SINGLE
    num_workers = env.get("num_workers", 0)
    _require_count("env.num_workers", num_workers, least=0)
    if num_workers and not vector:
        raise ValueError(
            f"env.num_workers={num_workers} shares out the grids of env.simulator=lightsim2grid; "
            "this environment is played one by one: set env.num_workers=0."
        )
    if num_workers:
        kwargs["num_workers"] = num_workers
    return EnvironmentFactory(
        env_id=env["id"],
        kwargs=kwargs,
        wrappers=tuple(instantiate(wrapper) for wrapper in env["wrappers"]),
        vector=vector,
    )


def build_evaluation_factory(
    env: Mapping[str, Any], *, split: str, max_steps: int | None = None, plain: bool = False
) -> EnvironmentFactory:
    """Return the recipe of the environment that agents are evaluated in.

    Args:
        env: the config group.
        split: of the scenarios, where the environment has them.
        max_steps: cap of an episode, environment steps; None for none.
        plain: without the environment's own wrappers, such as the idle gate.

    Raises:
        ValueError: a cap, and an environment that takes none.
    """
    changes = dict(env["evaluation_kwargs"])
    if "split" in env["kwargs"] and split in SPLITS:  # other lists are played by name alone
        changes["split"] = split
    if "max_steps" in env["kwargs"]:
        changes["max_steps"] = max_steps
    elif max_steps is not None:
        raise ValueError(
            f"max_steps is {max_steps}, but environment {env['id']} takes no max_steps. Set "
            "+env.kwargs.max_episode_steps instead, or leave it null."
        )
    if plain:
        changes.update(env["plain_kwargs"])
    trained = env["kwargs"].get("reward")
    if changes.get("reward", trained) != trained and env.get("simulator", SINGLE) != SINGLE:
        changes["planning_reward"] = trained  # an agent that plans goes on as it was trained
    return build_environment_factory(env, changes=changes)


def build_plan(
    env: Mapping[str, Any], *, split: str, episodes: int | None, seed: int
) -> tuple[EpisodePlan, ...]:
    """Return the episodes to evaluate on: the split's fixed scenarios, or seeds without scenarios.

    Scenarios are those of the evaluation, where it has others than the training.

    Args:
        env: the config group.
        split: "train", "val" or "test".
        episodes: how many; None for all scenarios.
        seed: of the first episode's reset.

    Raises:
        ValueError: no such source, folder or split, an empty one, or too many episodes.
    """
    kwargs = {**env["kwargs"], **env["evaluation_kwargs"]}
    if "scenarios" not in kwargs:
        if episodes is None:
            raise ValueError(
                f"environment {env['id']} has no list of scenarios: set the number of evaluation "
                "episodes."
            )
        return plan_episodes(None, episodes=episodes, seed=seed)
    source = kwargs["scenarios"]
    named = source if isinstance(source, str) else type(source).__name__
    if isinstance(source, str):
        source = make_source(source, grid=kwargs["grid"], folder=kwargs["scenario_folder"])
    names = source.names(split)
    if not names:
        raise ValueError(
            f"split {split!r} of scenarios={named} is empty: there is nothing to play. Choose "
            "another split, or other scenarios."
        )
    count = None if episodes is None else min(episodes, len(names))
    return plan_episodes(names, episodes=count, seed=seed)


def probe_spaces(factory: EnvironmentFactory) -> tuple[gym.spaces.Box, gym.spaces.Discrete]:
    """Make one environment; return the spaces of its observations and actions.

    Raises:
        ValueError: what is wrong with the environment's options, or with its spaces.
    """
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
) -> Agent:
    """Build the agent that ``agent`` (the config group) describes.

    Raises:
        ValueError: no such class, an option that it does not take, or what it refuses.
    """
    make = instantiate(agent, partially=True)
    built = call(
        make, "agent", observation_space=observation_space, action_space=action_space, seed=seed
    )
    if not isinstance(built, Agent):
        raise ValueError(
            f"agent._target_={agent['_target_']} makes a {type(built).__name__}; expected a "
            "subclass of agents.base.Agent."
        )
    return built


def build_settings(trainer: Mapping[str, Any]) -> TrainerSettings:
    """Return the trainer's settings, checked.

    Raises:
        ValueError: an unknown name, or a value of the wrong kind or range.
    """
    known = {one.name: one for one in fields(TrainerSettings)}
    for name in trainer:
        choose("trainer setting", name, known)
    for name, one in known.items():
        if name not in trainer and one.default is MISSING:
            raise ValueError(f"trainer.{name} is missing.")
    settings = TrainerSettings(**trainer)
    for name in (
        "total_env_steps",
        "num_envs",
        "envs_per_group",
        "evaluation_interval",
        "checkpoint_interval",
        "log_interval",
        "learner_threads",
    ):
        _require_count(f"trainer.{name}", getattr(settings, name), least=1)
    _require_count("trainer.num_workers", settings.num_workers, least=0)
    if not isinstance(settings.synchronous, bool):
        raise ValueError(f"trainer.synchronous={settings.synchronous!r}; expected true or false.")
    minutes = settings.max_minutes
    if minutes is not None and (not isinstance(minutes, (int, float)) or not minutes > 0):
        raise ValueError(f"trainer.max_minutes={minutes!r}; expected minutes above 0, or null.")
    return replace(settings, device=str(settings.device))


def preflight_logger(logger: Mapping[str, Any]) -> None:
    """Let the logger refuse what cannot work, before anything is written.

    Raises:
        ValueError: what it refuses.
    """
    make = instantiate(logger, partially=True)
    check = getattr(make.func, "preflight", None)
    if check is not None:
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
    chosen = call(instantiate(logger, partially=True), "logger", run=run)
    loggers: list[RunLogger] = [chosen, ProgressLogger(run=run, show=show)]
    if not isinstance(chosen, CsvLogger):
        loggers.insert(0, CsvLogger(run=run))
    return CompositeLogger(loggers, env_steps=run.resumed_at or 0)


def build_result_logger(logger: Mapping[str, Any], *, run: RunInfo) -> CompositeLogger:
    """Build what logs the results of an evaluation, beside the files that it writes anyway.

    Args:
        logger: the config group; the CSV logger has nothing to add.
        run: the evaluation.

    Raises:
        ValueError: no such class, or an option that it does not take.
    """
    make = instantiate(logger, partially=True)
    return CompositeLogger(() if make.func is CsvLogger else (call(make, "logger", run=run),))


def instantiate(config: Mapping[str, Any], *, partially: bool = False) -> Any:
    """Build what ``config["_target_"]`` names from the other entries, as plain Python objects.

    Args:
        config: plain Python with ``_target_``; nested ones are built first.
        partially: return a ``functools.partial`` that still wants arguments.

    Raises:
        ValueError: no such class, or what it refuses.
    """
    if "_target_" not in config:
        raise ValueError(f"no _target_ names what to build from {dict(config)}.")
    changes = {"_partial_": True} if partially else {}
    try:
        return hydra.utils.instantiate(dict(config), _convert_="all", **changes)
    except InstantiationException as error:
        cause = error.__cause__
        reason = str(cause) if isinstance(cause, (ValueError, TypeError)) else str(error)
        raise ValueError(" ".join(reason.split())) from error


def call(make: partial[Any], what: str, **arguments: Any) -> Any:
    """Call ``make``; a keyword that its class does not take becomes a ValueError.

    Args:
        make: from ``instantiate(..., partially=True)``.
        what: config group, for the message.
        arguments: the arguments still wanted.

    Raises:
        ValueError: an option that the class does not take.
    """
    try:
        return make(**arguments)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        keys = list(_not_taken(make, what))
        fix = f"; leave out {keys[0]} (~{keys[0]} where an experiment sets it)" if keys else ""
        raise ValueError(f"{what}: {error}{fix}") from error


def _not_taken(make: partial[Any], key: str) -> Iterator[str]:
    """Yield the configuration keys at and below ``key`` that their classes have no use for."""
    taken = signature(make.func).parameters
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in taken.values())
    for name, value in make.keywords.items():
        if name not in taken and not takes_any:
            yield f"{key}.{name}"
        if isinstance(value, partial):
            yield from _not_taken(value, f"{key}.{name}")


def _require_count(name: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}; expected a whole number of at least {least}.")
