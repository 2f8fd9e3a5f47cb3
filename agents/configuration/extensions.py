"""Finds configuration in other installed packages: agents, networks, searches, rewards, ...

A package names its module of YAML files as an entry point of ``ENTRY_POINTS``; the files' folders
are the groups of ``conf/``. They need neither ``# @package`` nor ``_partial_``: where a group's
values go, and which of its classes are finished later, is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from hydra._internal.core_plugins.importlib_resources_config_source import (
    ImportlibResourcesConfigSource,
)
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig

ENTRY_POINTS = "powergrid_muzero.conf"  # name = module with YAML files of another package

_SCHEME = "powergrid"
PACKAGES: Mapping[str, str] = {  # group -> where its values go, if not to the group's own name
    "network": "agent.network",
    "search": "agent.search",
    "replay": "agent.replay",
    "optimizer": "agent.optimizer",
    "scenarios": "env.kwargs",
    "observation": "env.kwargs",
    "reward": "env.kwargs",
    "opponent": "env.kwargs",
    "wrappers": "env.kwargs",
    "cluster": "ray",
    "experiment": "_global_",
    "sweep": "_global_",
}
_OF_ENVIRONMENT = ("scenarios", "observation", "reward", "opponent")  # options, each of its group's
_FINISHED_LATER = (
    *("network", "search", "replay", "optimizer", "agent/model", "agent/teacher"),
    *("observation", "reward", "wrappers"),
)


class PackageSource(ImportlibResourcesConfigSource):
    """YAML files in a module of another package: ``powergrid://MODULE``."""

    @staticmethod
    def scheme() -> str:
        """Return what such a path begins with."""
        return _SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file, and add what it leaves out."""
        found: Any = super().load_config(config_path)
        group, _, option = config_path.removesuffix(".yaml").rpartition("/")
        values = found.config
        component = isinstance(values, DictConfig) and "_target_" in values
        if found.header.get("package") is None:
            found.header["package"] = _place(group, option, component=component)
        if component and group in _FINISHED_LATER:
            values.setdefault("_partial_", True)
        return found


def _place(group: str, option: str, *, component: bool) -> str | None:
    """Return where the values of a file go: options of the environment, or a component of it."""
    if component and group in _OF_ENVIRONMENT:
        return f"env.kwargs.{group}"
    if component and group == "wrappers":
        return f"env.wrappers.{option}"
    return PACKAGES.get(group)


class EntryPointSearchPath(SearchPathPlugin):
    """Adds the configuration of installed packages that name it in ``ENTRY_POINTS``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append ``powergrid://MODULE`` for each entry point."""
        for point in metadata.entry_points(group=ENTRY_POINTS):
            search_path.append(provider=point.name, path=f"{_SCHEME}://{point.value}")


def find_extensions() -> None:
    """Let Hydra find what other packages bring, in this process."""
    Plugins.instance().register(PackageSource)
    Plugins.instance().register(EntryPointSearchPath)
