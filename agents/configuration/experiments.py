"""Fits an experiment's values to the options that were chosen instead of its own.

An experiment chooses options (``override /search: gumbel``) and sets values in them
(``agent.search.max_considered``). An option that is chosen on the command line instead takes those
of the values that it has; for the rest its own file counts. What is typed on the command line
itself always stays: if the option does not take it, that is an error.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException

from agents.configuration.signatures import misfits
from agents.runs.saved_configs import GROUPS, under

_log = logging.getLogger(__name__)

_ABSENT = object()


def without_misfits(
    config: Mapping[str, Any],
    overrides: Sequence[str],
    compose: Callable[[Sequence[str]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return ``config`` without values of its experiment that the options chosen do not take.

    Args:
        config: of a new run, plain.
        overrides: of the command line, as Hydra lists them.
        compose: returns what overrides compose to, plain.
    """
    fitted = copy.deepcopy(dict(config))
    typed = {re.sub(r"^[+~]+", "", one.partition("=")[0]): one for one in overrides}
    experiment = typed.pop("experiment", None)
    chosen = [one for key, one in typed.items() if key in GROUPS]
    parts = [part for key in typed if key in GROUPS for part in GROUPS[key]]
    if experiment is None or not parts:
        return fitted
    wrong = [
        path
        for path in misfits(config["agent"], "agent")
        if under(path, parts) and not any(under(key, [path]) for key in typed)
    ]
    try:
        own = compose(chosen) if wrong else {}
    except HydraException:  # they are of the experiment's own options
        own = {}
    for path in wrong:
        parent, _, name = path.rpartition(".")
        value, part = _at(own, path), _at(fitted, parent)
        if value == part[name]:  # not the experiment's
            continue
        _log.info("%s: %s is not for the option chosen, and left out", experiment, path)
        del part[name]
        if value is not _ABSENT:
            part[name] = value
    return fitted


def _at(config: Any, path: str) -> Any:
    """Return what is at the dotted ``path``, or ``_ABSENT``."""
    for name in path.split("."):
        config = config.get(name, _ABSENT) if isinstance(config, Mapping) else _ABSENT
    return config
