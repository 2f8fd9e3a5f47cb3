"""The configuration saved in a run folder, with what the command line changes in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from omegaconf import OmegaConf

from envs.names import choose

# config group -> what it fills in
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "env": ("env",),
    "scenarios": (
        *("env.kwargs.scenarios", "env.kwargs.scenario_folder", "env.evaluation_kwargs.scenarios"),
    ),
    "observation": ("env.kwargs.observation", "env.simulator", "env.wrappers"),
    "reward": ("env.kwargs.reward",),
    "wrappers": ("env.kwargs.idle_gate", "env.kwargs.reconnect_lines"),
    "agent": ("agent",),
    "agent/model": ("agent.model",),
    "agent/teacher": ("agent.teacher",),
    "network": ("agent.network",),
    "search": ("agent.search",),
    "replay": ("agent.replay",),
    "optimizer": ("agent.optimizer",),
    "logger": ("logger",),
}

# names in the configurations of older runs -> today's
_RENAMED: Mapping[str, str] = {"agents.logging.": "agents.loggers."}

_ABSENT = object()


def with_present_names(saved: Any) -> Any:
    """Return a saved configuration whose ``_target_`` classes have the names they have today."""
    if isinstance(saved, Mapping):
        return {
            name: _present_name(value) if name == "_target_" else with_present_names(value)
            for name, value in saved.items()
        }
    return [with_present_names(value) for value in saved] if isinstance(saved, list) else saved


def _present_name(target: str) -> str:
    for former, present in _RENAMED.items():
        if target.startswith(former):
            return present + target.removeprefix(former)
    return target


def change_saved(
    saved: Mapping[str, Any],
    composed: DictConfig,
    overrides: Sequence[str],
    *,
    changeable: Sequence[str],
    ignored: Sequence[str],
) -> dict[str, Any]:
    """Return ``saved`` with the values that ``overrides`` set in ``composed``.

    What they name and ``composed`` does not have is left out.

    Args:
        saved: resolved configuration of a run.
        composed: what the command line composes to by itself.
        overrides: of the command line, as Hydra lists them.
        changeable: keys that may be changed, with all below them.
        ignored: keys of the command itself.

    Raises:
        ValueError: a key that must stay as it was saved, or that the saved one does not have.
    """
    config = OmegaConf.create(dict(saved))
    for override in overrides:
        key = re.sub(r"^[+~]+", "", override.partition("=")[0]).partition("@")[0]
        if _under(key, ignored):
            continue
        for target in _GROUPS.get(key, (key,)):
            if not _under(target, changeable):
                raise ValueError(
                    f"{override}: a saved run is continued as it was; only {', '.join(changeable)} "
                    "may be changed. Start a new run for another configuration."
                )
            value = OmegaConf.select(composed, target, default=_ABSENT)
            if key not in _GROUPS and override[0] not in "+~":
                _require_key(config, target)
            if value is _ABSENT:
                _remove(config, target)
                continue
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            OmegaConf.update(config, target, value, merge=False, force_add=True)
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()}


def _under(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _remove(config: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if isinstance(node, DictConfig):
        node.pop(name, None)


def _require_key(config: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        raise ValueError(f"the saved configuration has no {parent!r}, so {key} cannot be changed.")
    choose(f"key below {parent!r}" if parent else "key", name, [str(one) for one in node])
