"""What is done to a command line before Hydra reads it: former names of keys, and needless pluses.

Keys by former names work for one release, with a line that says so; so do those that are gone, if
their value was the usual one. Options of the environment that
an evaluation changes need no ``+``, whether or not they are in the configuration already.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from agents.configuration.extensions import check_search_path

# a key, with all below it -> today's
_FORMER: Mapping[str, str] = {
    "agent.weights": "weights",
    "env.evaluation_kwargs": "evaluation.env",
    "evaluation.interim.kwargs.scenarios": "evaluation.interim.scenarios",
    "agent.replay.discount_per_step": "agent.discount_unit",
}
# today's key -> values by former names, of which several may be given for a --multirun
_FORMER_VALUES: Mapping[str, Mapping[str, str]] = {
    "agent.discount_unit": {"true": "step", "false": "decision"},
}
# a key that is gone -> its usual value, and what to do instead of setting another
_GONE: Mapping[str, tuple[str, str]] = {
    "env.num_workers": (
        "0",
        "grids are no longer shared out over processes. Leave it out; training plays in several "
        "with trainer.num_workers, evaluation with evaluation.num_workers",
    ),
}

_OPEN = "evaluation.env."  # may be given any option of the environment


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """Return a command line's arguments as Hydra reads them; see ``with_present_keys``.

    Raises:
        ValueError: a key is given by both of its names, or is gone, or ``hydra.searchpath`` names
            what is not there.
    """
    check_search_path(arguments)
    return [
        f"++{one}" if one.startswith(_OPEN) and "=" in one else one
        for one in with_present_keys(arguments)
    ]


def with_present_keys(arguments: Sequence[str]) -> list[str]:
    """Return a command line's arguments with today's names of keys; tell of former ones on stderr.

    Raises:
        ValueError: a key is given by both of its names, or is gone.
    """
    given = {_key_of(one): one for one in arguments if "=" in one}
    present = []
    for argument in arguments:
        former = _key_of(argument)
        if former in _GONE:
            usual, instead = _GONE[former]
            if argument.partition("=")[2] not in (usual, ""):
                raise ValueError(f"{argument}: {instead}.")
            print(f"{former} is gone: leave out {argument}", file=sys.stderr)
            continue
        today = _present_key(former)
        if today != former:
            if today in given:
                raise ValueError(f"{argument} and {given[today]} were given; name one of them.")
            argument = _renamed(argument, former, today)
            print(f"{former} is deprecated: write {argument}", file=sys.stderr)
        present.append(argument)
    return present


def _present_key(key: str) -> str:
    for former, today in _FORMER.items():
        if key == former or key.startswith(f"{former}."):
            return today + key.removeprefix(former)
    return key


def _renamed(argument: str, former: str, today: str) -> str:
    name, equals, value = argument.partition("=")
    sign = name.removesuffix(former)
    if former in _FORMER and "+" in sign:  # it is always there, so nothing is to be added
        sign = ""
    present = _FORMER_VALUES.get(today, {})
    value = ",".join(present.get(one.lower(), one) for one in value.split(","))
    return f"{sign}{today}{equals}{value}"


def _key_of(argument: str) -> str:
    return re.sub(r"^[+~]+", "", argument.partition("=")[0])
