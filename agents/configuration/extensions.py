"""Finds configuration in other installed packages: agents, networks, searches, rewards, ...

A package names its module of YAML files as an entry point of ``ENTRY_POINTS``; the files' folders
are the groups of ``conf/``. Where it is not installed, ``hydra.searchpath=[powergrid://MODULE]``
does the same. The files need neither ``# @package`` nor ``_partial_``: where a group's values go,
and which of its classes are finished later, is known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from hydra._internal.core_plugins.importlib_resources_config_source import (
    ImportlibResourcesConfigSource,
)
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig

from powergrid_muzero.names import where_not_found

ENTRY_POINTS = "powergrid_muzero.conf"  # name = module with YAML files of another package

_SCHEME = "powergrid"
_SEARCHED = re.compile(rf"^\+*hydra\.searchpath=.*?\b{_SCHEME}://")
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


def check_search_path(arguments: Sequence[str]) -> None:
    """Refuse modules that ``hydra.searchpath`` names and Python does not find.

    Hydra itself only warns of them, and then misses each option.

    Args:
        arguments: of a command line.

    Raises:
        ValueError: there is no such module.
    """
    for argument in arguments:
        if not _SEARCHED.match(argument):
            continue
        for module in re.findall(rf"{_SCHEME}://([^,\]\s'\"]*)", argument):
            try:
                found = find_spec(module)
            except (ImportError, ValueError):  # its package is missing, or no name at all
                found = None
            if found is None:
                raise ValueError(
                    f"{argument}: no module {module!r} was found{where_not_found(module)}. "
                    "Expected that of the folder with the YAML files, as in my_agents.conf."
                )


def find_extensions() -> None:
    """Let Hydra find what other packages bring, in this process."""
    Plugins.instance().register(PackageSource)
    Plugins.instance().register(EntryPointSearchPath)
