"""Memories of what the tests of a session would have parsed and composed again and again.

Hydra composes our groups of options in a fifth of a second, hundreds of times in a session, which
was a sixth of its time. What chooses among groups is composed once; values are set in copies of it,
by Hydra.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from omegaconf import DictConfig

KEPT = ("pkg", "structured")  # schemes of sources that do not change in a session


def remembering_file(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``parse``, whose first argument is a file, with a memory of what that holds."""
    known: dict[Any, Any] = {}

    def remember(*arguments: Any) -> Any:
        file = str(arguments[0])
        key = file, os.stat(file).st_mtime_ns
        if key not in known:
            known[key] = parse(*arguments)
        return copy.deepcopy(known[key])

    return remember


def remember_compositions(patch: pytest.MonkeyPatch) -> None:
    """Give Hydra a memory of files, of which of them overrides choose, and what they compose to."""
    loading: Any = config_loader_impl
    loader: Any = loading.ConfigLoaderImpl
    choose: Callable[..., DefaultsList] = loading.create_defaults_list
    compose = loader._compose_config_from_defaults_list
    load = ConfigRepository.load_config
    chosen: dict[Any, DefaultsList] = {}
    known: dict[Any, bytes] = {}  # pickled, since what is loaded is changed; and faster than copies

    def remember(repo: Any, key: Any, make: Callable[[], Any]) -> Any:
        there = sources(repo)
        if there is None:
            return make()
        if (there, key) not in known:
            known[there, key] = pickle.dumps(make())
        return pickle.loads(known[there, key])

    def sources(repo: Any) -> tuple[str, ...] | None:
        if any(source.scheme() not in KEPT for source in repo.get_sources()):
            return None
        return tuple(source.path for source in repo.get_sources())

    def remember_choice(
        repo: Any, config_name: str | None, overrides_list: Sequence[Any], **options: bool
    ) -> DefaultsList:
        there = sources(repo)
        if there is None:
            return choose(repo, config_name, overrides_list, **options)
        values = Overrides(repo, list(overrides_list)).config_overrides  # which choose no file
        others = [one for one in overrides_list if all(one is not value for value in values)]
        lines = tuple(one.input_line for one in others)
        key = there, config_name, lines, tuple(options.items())
        if key not in chosen:
            chosen[key] = choose(repo, config_name, others, **options)
        found = copy.copy(chosen[key])
        found.config_overrides = values
        return found

    def remember_config(self: Any, defaults: Sequence[Any], repo: Any) -> DictConfig:
        return remember(repo, repr(defaults), lambda: compose(self, defaults, repo))

    def remember_file(self: ConfigRepository, config_path: str) -> Any:
        return remember(self, (config_path,), lambda: load(self, config_path))

    patch.setattr(ConfigRepository, "load_config", remember_file)
    patch.setattr(loading, "create_defaults_list", remember_choice)
    patch.setattr(loader, "_compose_config_from_defaults_list", remember_config)
