"""``Composed``: a configuration, with the words that it was composed of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from agents.configuration.extensions import find_extensions
from agents.configuration.override_errors import NO_OPTION, explain


class Composed(NamedTuple):
    """What some overrides make of a primary configuration."""

    config: DictConfig
    overrides: tuple[str, ...]  # as they were given: a ``${...}`` in them is no value yet
    choices: Mapping[str, str | None]  # config group -> the option chosen


@contextmanager
def own_configuration() -> Iterator[None]:
    """Compose of ``conf/`` inside, also where another program has set Hydra up for its own."""
    find_extensions()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before  # of another object, perhaps: Hydra makes new ones


def compose_here(config_name: str, overrides: Sequence[str]) -> Composed:
    """Compose outside of a command, or once more in one.

    Args:
        config_name: primary configuration.
        overrides: of a command line.

    Raises:
        ValueError: see ``explain``.
    """
    try:
        return compose_unexplained(config_name, overrides)
    except (HydraException, ValueError) as error:
        if isinstance(error, HydraException) or NO_OPTION in str(error):
            raise ValueError(explain(error, config_name, overrides)) from error
        raise


def compose_unexplained(config_name: str, overrides: Sequence[str]) -> Composed:
    """Compose as ``compose_here`` does, where a mistake is to be told apart, not told.

    Raises:
        HydraException: a mistake, in Hydra's words.
    """
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_module("conf", version_base="1.3"))
        config = compose(config_name, overrides=list(overrides), return_hydra_config=True)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return Composed(config, tuple(overrides), choices)


def options_of(group: str) -> list[str]:
    """Return the options of a config group, within ``own_configuration`` or a command."""
    return sorted(GlobalHydra.instance().config_loader().get_group_options(group))


def composed_by_command(config: DictConfig) -> Composed:
    """Return what the command line of this process, or of this job of a multirun, made.

    Args:
        config: that Hydra gave the command.
    """
    return Composed(config, tuple(typed_overrides()), dict(HydraConfig.get().runtime.choices))


def check_single(overrides: Sequence[str]) -> None:
    """Refuse ``sweep=`` where a single run is asked for.

    Raises:
        ValueError: it was chosen.
    """
    for typed in overrides:
        if typed.startswith("sweep=") and typed != "sweep=null":
            raise ValueError(f"{typed} starts several runs: it needs powergrid-train --multirun.")


def typed_overrides() -> list[str]:
    """Return the overrides of this job of a command as they were typed."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(one) for one in typed]
