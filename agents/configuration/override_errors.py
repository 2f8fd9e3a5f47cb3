"""Explains in one line what is wrong with a command line, with the nearest right name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from agents.runs.paths import as_argument
from powergrid_muzero.names import choose

NO_OPTION = "group override must be a string"  # of a ValueError that Hydra raises while composing

_PLUGINS = {  # option of Hydra's groups -> the extra of this package that brings it
    ("hydra/sweeper", "optuna"): "sweeps",
    ("hydra/launcher", "joblib"): "sweeps",
    ("hydra/launcher", "submitit_slurm"): "slurm",
    ("hydra/launcher", "submitit_local"): "slurm",
}


def explain(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """Return one line: what was given, what was expected, the nearest right name.

    Args:
        error: what Hydra raised while composing.
        config_name: primary configuration.
        arguments: the command line, without the program.
    """
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if (group, option) in _PLUGINS:
            extra = _PLUGINS[group, option]
            return (
                f"{group}={option} needs a plugin of Hydra that is not installed: "
                f"pip install 'powergrid-muzero[{extra}]'"
            )
        return _refusal(group or "configuration", option, sorted(error.options))
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    text = str(error)
    match = re.search(r"Could not override '([^'@]+)(@[^']*)?'", text)
    if match:
        key, package = match.groups()
        if package:
            return (
                f"{key}{package} chooses again what was chosen before, and nothing was; put + "
                "before it to add it."
            )
        return (
            _clash(key, config_name, arguments)
            or _taken_away(key, config_name, arguments)
            or _unknown_key(key, config_name, arguments)
        )
    if NO_OPTION in text:
        return _no_option(text, config_name, arguments)
    cause = error.__cause__
    if cause is not None and str(cause) and str(cause) not in text:
        text = f"{text}: {cause}"
    return " ".join(text.split())


def _no_option(text: str, config_name: str, arguments: Sequence[str]) -> str:
    """Say which ``group=value`` is no option's name: null, a number, a mapping."""
    _, groups = _without("", config_name, ())
    for argument in arguments:
        group, equals, _ = argument.partition("=")
        if not equals or group not in ("", *groups):
            continue
        [override] = OverridesParser.create().parse_overrides([argument])
        if not group:
            return f"cannot read the argument {argument!r}: expected key=value or group=option."
        if not isinstance(override.value(), str | list):
            return f"{argument}: expected an option of this group; leave it out for the usual one."
    return text


def _unreadable(argument: str) -> str:
    """Say how a value is quoted that Hydra's grammar refuses, such as ``données`` or ``~/x``."""
    told = f"cannot read the argument {argument!r}: expected key=value or group=option"
    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"\+{0,2}[\w./@-]+", key) or value.startswith(("'", '"')):
        return f"{told}."
    return f"{told}. A text with such characters is quoted: {as_argument(key, value)}"


def _clash(key: str, config_name: str, arguments: Sequence[str]) -> str:
    """Say which two arguments do not go together, one of which chooses ``key``; "" if none do."""
    chosen = [one for one in arguments if re.match(r"\w+(/\w+)*=", one)]  # group=option
    typed = [one for one in chosen if one.partition("=")[0] == key]
    experiments = [one for one in chosen if one.startswith("experiment=")]
    wanted = [*typed, *experiments][:1]  # what names the group: typed, or by the experiment
    others = [one for one in chosen if one not in wanted]
    given = [one for one in arguments if "=" in one and not one.startswith("-")]
    for other in sorted(others, key=lambda one: one in experiments):
        if wanted and _composes([one for one in given if one != other], config_name):
            return (
                f"{wanted[0]} does not go with {other}: it chooses {key}, and there is none to "
                "choose. Leave out one of them."
            )
    return ""


def _taken_away(key: str, config_name: str, arguments: Sequence[str]) -> str:
    """Say that a ``~group`` leaves nothing for ``key`` to belong to; "" if there is none."""
    taken = [one for one in arguments if one.startswith("~")]
    if not taken or not _composes([one for one in arguments if one not in taken], config_name):
        return ""
    return f"{' '.join(taken)} takes away what {key} is part of; leave it out."


def _composes(arguments: Sequence[str], config_name: str) -> bool:
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        try:
            compose(config_name, overrides=list(arguments))
        except HydraException:
            return False
    return True


def _unknown_key(key: str, config_name: str, arguments: Sequence[str]) -> str:
    """Name the nearest right key: of this name elsewhere, or beside it, or among all."""
    config, groups = _without(key, config_name, arguments)
    if key in groups:
        given = next(one for one in arguments if one.partition("=")[0] == key)
        return f"{given}: expected an option of this group; leave it out for the usual one."
    if isinstance(OmegaConf.select(config, key), DictConfig):
        return f"{key} has no such entries: put + before it to add them."
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    while parent and not isinstance(node, DictConfig):
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
    beside = [str(one) for one in node] if isinstance(node, DictConfig) else []
    prefix = f"{parent}." if parent else ""
    nearest = difflib.get_close_matches(name, beside, n=1, cutoff=0.6)
    options = [f"{prefix}{one}" for one in beside]
    if not parent:
        options = sorted({*options, *groups})
    everywhere = [*_leaves(OmegaConf.to_container(config), ""), *groups]
    alike = [one for one in everywhere if one.endswith(f".{key.rpartition('.')[2]}")]
    if alike:
        options = alike
    elif not nearest:
        close = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.6)
        if close and close[0] not in options:
            options = [close[0], *options]
    told = _refusal("configuration key", key, options)
    saved = next((one for one in arguments if re.match("(run|weights|resume)=", one)), None)
    if saved is not None:
        told += f" (if the configuration of {saved} has it, put + before it)"
    return told


def _without(
    key: str, config_name: str, arguments: Sequence[str]
) -> tuple[DictConfig, tuple[str, ...]]:
    """Compose again without ``key``; return the configuration and the names of its groups."""
    good = [
        argument
        for argument in arguments
        if "=" in argument
        and not argument.startswith(("-", "hydra."))
        and argument.partition("=")[0].lstrip("+~").partition("@")[0] != key
    ]
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        for overrides in (good, []):
            try:
                config = compose(config_name, overrides=overrides, return_hydra_config=True)
                break
            except HydraException:
                continue
        else:
            raise AssertionError(f"{config_name} does not compose by itself")
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    groups = tuple(
        group for group in map(str, choices) if not group.startswith("hydra/") and "@" not in group
    )
    del_hydra = {name: node for name, node in config.items_ex(resolve=False) if name != "hydra"}
    return OmegaConf.create(del_hydra), groups


def _leaves(node: Any, prefix: str) -> Iterable[str]:
    if isinstance(node, Mapping):
        for name, entry in node.items():
            path = f"{prefix}.{name}" if prefix else str(name)
            yield path
            yield from _leaves(entry, path)


def _refusal(kind: str, name: str, options: Sequence[str]) -> str:
    try:
        choose(kind, name, options)
    except ValueError as error:
        return str(error)
    return f"{kind} {name!r} cannot be set here."
