"""Saved configurations: what of them changes when a run is resumed, evaluated or begun from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import envs

# config group -> what it fills in; * is all that is there and no other group's
GROUPS: Mapping[str, tuple[str, ...]] = {
    "env": ("env", "evaluation.env"),
    "scenarios": (
        *("env.kwargs.scenarios", "env.kwargs.scenario_folder", "evaluation.env.scenarios"),
    ),
    "observation": ("env.kwargs.observation", "env.simulator", "env.wrappers.observation"),
    "reward": ("env.kwargs.reward",),
    "opponent": ("env.kwargs.opponent",),
    "wrappers": (
        *("env.kwargs.idle_gate", "env.kwargs.ask_every", "env.kwargs.ask_at_attacks"),
        *("env.kwargs.n1_gate", "env.kwargs.reconnect_lines", "env.wrappers.*"),
    ),
    "agent": ("agent",),
    "agent/model": ("agent.model",),
    "agent/teacher": ("agent.teacher",),
    "network": ("agent.network",),
    "search": ("agent.search",),
    "replay": ("agent.replay",),
    "optimizer": ("agent.optimizer",),
    "logger": ("logger",),
}

# key -> others that refer to it in conf/, and were resolved when a run was saved
_FOLLOWERS: Mapping[str, tuple[str, ...]] = {"trainer.device": ("agent.device",)}

_ABSENT = object()


def plain(config: Any) -> dict[str, Any]:
    """Return a configuration as plain, resolved Python, with ``None`` read as ``null``.

    A W&B sweep writes the null of its YAML as ``None``, which is no more than a text to Hydra.

    Args:
        config: of Hydra.

    Raises:
        ValueError: a value is missing, or refers to one that is not there.
    """
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(container, dict)
    return {str(key): _with_nulls(value) for key, value in container.items()}


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_nulls(one) for one in value]
    return None if value == "None" else value


def change_saved(
    saved: Mapping[str, Any],
    composed: DictConfig,
    overrides: Sequence[str],
    *,
    changeable: Sequence[str],
    ignored: Sequence[str],
) -> dict[str, Any]:
    """Return ``saved`` with the values that ``overrides`` set in ``composed``.

    What they name and ``composed`` does not have is left out; what an older run does not have yet
    is added.

    Args:
        saved: resolved configuration of a run.
        composed: what the command line composes to by itself.
        overrides: of the command line, as Hydra lists them.
        changeable: keys that may be changed, with all below them.
        ignored: keys of the command itself.

    Raises:
        ValueError: a key that must stay as it was saved.
    """
    config = OmegaConf.create(dict(saved))
    for override in overrides:
        key = _key_of(override)
        targets = _keys_set_by(override)
        if _under(key, ignored) and not _under(key, changeable):
            targets = tuple(one for one in changeable if _under(one, [key]))  # in evaluation={...}
        for target in _spelled_out(targets, config, composed):
            if not _under(target, changeable):
                raise ValueError(
                    f"{override}: a saved run is continued as it was; only {', '.join(changeable)} "
                    "may be changed. Start a new run for another configuration."
                )
            before = OmegaConf.select(config, target)
            value = OmegaConf.select(composed, target, default=_ABSENT)
            if value is _ABSENT:
                _remove(config, target)
                continue
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            OmegaConf.update(config, target, value, merge=False, force_add=True)
            for follower in _FOLLOWERS.get(target, ()):
                if OmegaConf.select(config, follower) == before is not None:
                    OmegaConf.update(config, follower, value)
    return plain(config)


def refuse_unused(overrides: Sequence[str], used: Sequence[str], where: str) -> None:
    """Refuse an override of nothing that is used.

    Args:
        overrides: of a command line.
        used: keys that are, with all below them.
        where: who uses them, for the message.

    Raises:
        ValueError: one would change nothing.
    """
    for override in overrides:
        set_by_it = _keys_set_by(override)
        if not any(_under(key, used) or _under(one, [key]) for key in set_by_it for one in used):
            raise ValueError(
                f"{override} is not used by {where}, but {', '.join(used)} is: leave it out."
            )


def adopt(
    config: Mapping[str, Any],
    saved: Mapping[str, Any],
    groups: Sequence[str],
    composed: DictConfig,
    overrides: Sequence[str],
) -> dict[str, Any]:
    """Return ``config`` with what ``groups`` fill in as ``saved`` has it, unless ``overrides`` do.

    Args:
        config: of a new run, resolved.
        saved: resolved configuration of another run.
        groups: config groups, such as "network".
        composed: what ``config`` was made of.
        overrides: of the command line, as Hydra lists them.

    Raises:
        ValueError: see ``change_saved``.
    """
    keys = [key for group in groups for key in GROUPS[group]]
    merged, theirs = OmegaConf.create(dict(config)), OmegaConf.create(dict(saved))
    for key in keys:
        value = OmegaConf.select(theirs, key, default=_ABSENT)
        if value is _ABSENT:
            _remove(merged, key)
        else:
            OmegaConf.update(merged, key, value, merge=False, force_add=True)
    brought = OmegaConf.to_container(merged)
    assert isinstance(brought, dict)
    own = [one for one in overrides if any(_under(key, keys) for key in _keys_set_by(one))]
    return change_saved(
        {str(key): value for key, value in brought.items()},
        composed,
        own,
        changeable=keys,
        ignored=(),
    )


def with_absolute_paths(value: Any) -> Any:
    """Return a configuration whose grids, action sets and scenarios are found from anywhere."""
    if not isinstance(value, Mapping):
        return [with_absolute_paths(one) for one in value] if isinstance(value, list) else value
    changed = {key: with_absolute_paths(entry) for key, entry in value.items()}
    folder, grid = changed.get("scenario_folder"), changed.get("grid")
    if isinstance(folder, str):
        changed["scenario_folder"] = str(Path(folder).expanduser().absolute())
    if isinstance(grid, str):
        changed["grid"] = envs.absolute_grid(grid)
        if isinstance(changed.get("actions"), str):  # beside a grid they are its action set
            changed["actions"] = envs.absolute_actions(changed["actions"])
    return changed


def _keys_set_by(override: str) -> tuple[str, ...]:
    key = _key_of(override)
    package = override.partition("=")[0].partition("@")[2]  # group@package=option
    return (package.rpartition(":")[2],) if package else GROUPS.get(key, (key,))


def _spelled_out(keys: Sequence[str], *configs: DictConfig) -> list[str]:
    """Return ``keys`` with those that a * at the end stands for in any of ``configs``."""
    found = []
    for key in keys:
        parent, star, _ = key.rpartition(".*")
        nodes = [OmegaConf.select(config, parent) for config in configs] if star else []
        names = [f"{parent}.{name}" for node in nodes for name in node or ()]
        others = {one for group in GROUPS.values() for one in group}
        found += [one for one in dict.fromkeys(names) if one not in others] if star else [key]
    return found


def _key_of(override: str) -> str:
    return re.sub(r"^[+~]+", "", override.partition("=")[0]).partition("@")[0]


def _under(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _remove(config: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if isinstance(node, DictConfig):
        node.pop(name, None)
