"""The evaluation protocol: what two results must have in common to be compared, and its hash.

Everything that moves the figures without being the agent's doing is in it: the scenarios with
their contents, the rules, the versions of what simulates, and what surrounds the agent (an idle
gate alone moves published completion from 1.8 to 91.6 %).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

import envs
import powergrid_muzero

if TYPE_CHECKING:
    from agents.environments import EnvironmentFactory
    from agents.evaluation.episode_list import EpisodeSpec
    from envs import Scenario, ScenarioSource

PACKAGE = "powergrid-muzero"
SIMULATORS = ("grid2op", "lightsim2grid")
OWN_REWARD = "the environment's own"
_MOST_TOLD = 3  # fields of a difference

# keywords of PowerGrid-v0 that are the agent's business or nobody's
_NOT_OF_THE_PROTOCOL = (
    *("observation", "planning_reward", "render_mode"),
    *("scenario_folder", "split"),  # the split is named by the caller, contents are hashed
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value under its name."""

    name: str
    value: str  # a version, or JSON


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What was played, by which rules. Results of different protocols are not compared."""

    environment: str  # Gymnasium id
    grid: str  # grid2op name; "" where the environment is no power grid, as below
    simulator: str  # "lightsim2grid" or "grid2op"
    scenarios: str  # source: "recombined", "bundled", "dataset", ...
    split: str  # "train", "val", "test", ...
    episodes: int
    scenarios_sha256: str  # of all names, series and clocks, in order
    seed: int  # of the first episode's reset; the next ones follow by 1
    max_steps: int | None  # cap of an episode, environment steps; None: to the scenario's end
    start: str  # row at which episodes start: "beginning" or "random"
    idle_gate: float | None  # rho below which the agent is not asked; None: it decides every step
    reconnect_lines: bool  # lines are closed again for the agent
    action_mask: str  # which actions it is offered, one of envs.grid.actions.MASKS
    reward: str  # that scores, whatever the agent was trained with
    parameters: tuple[Setting, ...]  # grid2op's, where they differ from the grid's own
    options: tuple[Setting, ...]  # whatever else the environment was made with
    versions: tuple[Setting, ...]  # of what simulates, and of this package

    @property
    def sha256(self) -> str:
        """Hash of everything above."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def short_hash(self) -> str:
        """The first 12 digits of the hash, for tables."""
        return self.sha256[:12]


def describe_protocol(
    make_environment: EnvironmentFactory,
    episode_list: Sequence[EpisodeSpec],
    *,
    split: str | None = None,
) -> Protocol:
    """Return the protocol of playing ``episode_list`` in what ``make_environment`` makes.

    Args:
        make_environment: of the environments; its power grid, if any, is recognised by its
            scenarios.
        episode_list: the episodes, at least one.
        split: that they were taken from; None for the environment's own.

    Raises:
        ValueError: a scenario that the source does not have.
    """
    kwargs = dict(make_environment.kwargs)
    wrappers = [
        Setting(name="wrapper", value=_name(one))
        for one in make_environment.wrappers
        if not _only_shows(one)
    ]
    if "scenarios" not in kwargs and not episode_list[0].scenario:
        return _describe_plain(make_environment, episode_list, wrappers, split or "")
    grid = kwargs.pop("grid", "l2rpn_case14_sandbox")
    source = kwargs.pop("scenarios", "recombined")
    folder, own_split = kwargs.get("scenario_folder"), kwargs.get("split", "train")
    source_name = source if isinstance(source, str) else type(source).__name__
    if isinstance(source, str):
        source = envs.make_source(source, grid=grid, folder=folder)
    parameters = {**envs.PARAMETERS, **(kwargs.pop("parameters", None) or {})}
    known = {
        "max_steps": kwargs.pop("max_steps", None),
        "start": kwargs.pop("start", "beginning"),
        "idle_gate": _gate(kwargs.pop("idle_gate", None)),
        "reconnect_lines": bool(kwargs.pop("reconnect_lines", False)),
        "action_mask": kwargs.pop("action_mask", "legal"),
        "reward": _called(kwargs.pop("reward", "l2rpn")),
    }
    actions = envs.find_action_set(kwargs.pop("actions", "all"), grid)
    if actions is not None:
        kwargs["actions"] = actions.sha256
    opponent = envs.make_opponent(kwargs.pop("opponent", None), grid)
    if opponent is not None:
        kwargs["opponent"] = {"kind": opponent.kind, **asdict(opponent)}
    others = {
        name: value
        for name, value in kwargs.items()
        if name not in _NOT_OF_THE_PROTOCOL and value not in (None, {}, False)
    }
    return Protocol(
        environment=_id(make_environment),
        grid=grid,
        simulator=SIMULATORS[make_environment.vector],
        scenarios=source_name,
        split=own_split if split is None else split,
        episodes=len(episode_list),
        scenarios_sha256=hash_scenarios(
            pickle.dumps(source), tuple(episode.scenario for episode in episode_list)
        ),
        seed=episode_list[0].seed,
        parameters=_settings(parameters),
        options=(*_settings(others), *wrappers),
        versions=_versions("grid2op", "lightsim2grid", PACKAGE),
        **known,
    )


def differing_fields(first: Protocol, second: Protocol) -> tuple[str, ...]:
    """Return the names of the fields in which two protocols differ, in their order."""
    return tuple(
        one.name
        for one in fields(Protocol)
        if getattr(first, one.name) != getattr(second, one.name)
    )


def explain_difference(first: Protocol, second: Protocol) -> str:
    """Return the first differing fields with both values, such as "idle_gate (0.95, None)"."""
    names = differing_fields(first, second)
    told = [f"{name} ({_told(first, second, name)})" for name in names[:_MOST_TOLD]]
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(told) + more


def package_version(name: str) -> str:
    """Return the version of an installed distribution, or of this package's checkout.

    Args:
        name: of the distribution.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a checkout that is run without being installed
        project = Path(powergrid_muzero.__file__).parent / "pyproject.toml"
        if name != PACKAGE or not project.is_file():
            return "not installed"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _describe_plain(
    make_environment: EnvironmentFactory,
    episode_list: Sequence[EpisodeSpec],
    wrappers: Sequence[Setting],
    split: str,
) -> Protocol:
    """Return the protocol of an environment without scenarios, told apart by seeds."""
    spec = gym.registry.get(_id(make_environment))
    return Protocol(
        environment=_id(make_environment),
        grid="",
        simulator="",
        scenarios="",
        split=split,
        episodes=len(episode_list),
        scenarios_sha256="",
        seed=episode_list[0].seed,
        max_steps=make_environment.kwargs.get(
            "max_episode_steps", None if spec is None else spec.max_episode_steps
        ),
        start="",
        idle_gate=None,
        reconnect_lines=False,
        action_mask="",
        reward=OWN_REWARD,
        parameters=(),
        options=(*_settings(make_environment.kwargs), *wrappers),
        versions=_versions("gymnasium", PACKAGE),
    )


@lru_cache(maxsize=16)
def hash_scenarios(pickled_source: bytes, names: tuple[str, ...]) -> str:
    """Return the SHA-256 of scenarios' names, series and clocks, in order.

    Args:
        pickled_source: that has them.
        names: of the scenarios.

    Raises:
        ValueError: a scenario that the source does not have.
    """
    source: ScenarioSource = pickle.loads(pickled_source)
    digest = hashlib.sha256()
    for name in names:
        scenario = source.load(name)
        digest.update(json.dumps([name, str(scenario.start), scenario.minutes_per_step]).encode())
        if scenario.maintenance_plan is not None:
            digest.update(json.dumps(asdict(scenario.maintenance_plan)).encode())
        for series in _series(scenario):
            digest.update(str((series.dtype.str, series.shape)).encode())
            digest.update(np.ascontiguousarray(series).tobytes())
    return digest.hexdigest()


def _series(scenario: Scenario) -> list[np.ndarray]:
    values = (getattr(scenario, one.name) for one in fields(scenario))
    return [value for value in values if isinstance(value, np.ndarray)]


def _id(make_environment: EnvironmentFactory) -> str:
    return make_environment.env_id.rpartition(":")[2]


def _gate(threshold: Any) -> float | None:
    return None if threshold is None else float(threshold)


def _settings(values: Mapping[str, Any]) -> tuple[Setting, ...]:
    return tuple(
        Setting(name=name, value=json.dumps(values[name], sort_keys=True, default=_name))
        for name in sorted(values)
    )


def _versions(*names: str) -> tuple[Setting, ...]:
    return tuple(Setting(name=name, value=package_version(name)) for name in names)


def _called(reward: Any) -> str:
    return reward if isinstance(reward, str) else _name(reward)


def _name(value: Any) -> str:
    """Return what an object is called, for what JSON does not know."""
    function = getattr(value, "func", value)  # of a functools.partial
    options = getattr(value, "keywords", None)
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{named.__module__}.{named.__qualname__}"
    return f"{name}({json.dumps(options, sort_keys=True, default=_name)})" if options else name


def _only_shows(wrapper: Any) -> bool:
    """Whether a wrapper changes what the agent sees, which is its own business, and no more."""
    kind = getattr(wrapper, "func", wrapper)
    return isinstance(kind, type) and issubclass(kind, gym.ObservationWrapper)


def _told(first: Protocol, second: Protocol, name: str) -> str:
    ours, theirs = getattr(first, name), getattr(second, name)
    if isinstance(ours, tuple):
        ours, theirs = (
            {setting.name: setting.value for setting in settings} for settings in (ours, theirs)
        )
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        if not keys:
            return "in another order"
        return f"{keys[0]} {ours.get(keys[0], 'absent')}, {theirs.get(keys[0], 'absent')}"
    if name.endswith("sha256"):
        return f"{ours[:12]}, {theirs[:12]}"
    return f"{ours!r}, {theirs!r}".replace("'", "")
