"""Configured parts: the keywords that they take, and the key that is put before their errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any


@dataclass(frozen=True)
class KeywordsOf:
    """Marks, in ``Annotated``, keywords that are passed on: those of ``target``.

    For ``**options: Annotated[Any, KeywordsOf(Base)]`` as for a mapping of options.
    """

    target: Callable[..., Any]
    complete: bool = False  # whether all that have no default must be given
    supplied: tuple[str, ...] = ()  # those that the program gives


class ConfigurationError(ValueError):
    """What is wrong with a configuration, its key included."""


class Part(partial[Any]):
    """A ``functools.partial`` of a configured class that knows its key in the configuration."""

    key: str

    @classmethod
    def of(cls, built: Any, key: str) -> Any:
        """Return ``built``, and the partials among its arguments, as parts; others as they are.

        Args:
            built: of Hydra.
            key: of ``built`` in the configuration.
        """
        if not isinstance(built, partial):
            return built
        keywords = {name: cls.of(one, f"{key}.{name}") for name, one in built.keywords.items()}
        part = cls(built.func, *built.args, **keywords)
        part.key = key
        return part

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        """Make it.

        Raises:
            ConfigurationError: arguments that it does not take, or was given already, or what it
                refuses (ValueError).
        """
        for name in keywords.keys() & self.keywords.keys():
            raise ConfigurationError(f"{self.key}.{name} is set by the program: leave it out.")
        try:
            signature(self.func).bind(*self.args, *arguments, **{**self.keywords, **keywords})
        except TypeError as error:
            raise ConfigurationError(f"{self.key}: {self.func.__name__}: {error}") from error
        except ValueError:  # compiled, without a signature
            pass
        with naming(self.key, self.keywords):
            return super().__call__(*arguments, **keywords)


@contextmanager
def naming(key: str, names: Collection[str]) -> Iterator[None]:
    """Let a ValueError say where in the configuration it belongs.

    Args:
        key: put before messages.
        names: keys below it, with their values if they are a mapping; a message that begins with
            one of them is joined to it by a dot, and one that names none gets those with the
            values that it tells.

    Raises:
        ConfigurationError: the ValueError, with its key.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except ValueError as error:
        message = str(error)
        first = re.match(r"(\w+)([./=\w]*)", message)
        if first is not None and first.group(1) in names:
            message = f"{key}.{message}"
        elif first is None or not re.match(r"[./][a-z]\w+", first.group(2)):  # is no key itself
            message = f"{key}: {message}{_told(message, names)}"
        raise ConfigurationError(message) from error


def _told(message: str, given: Collection[str]) -> str:
    """Return `` (name=value)`` of the values in ``message``, unless it names one of them."""
    words = set(re.findall(r"[\w.+-]+", message))
    if not isinstance(given, Mapping) or words & set(given):
        return ""
    told = [
        f"{name}={value}"
        for name, value in given.items()
        if words & set(map(str, value if isinstance(value, list) else [value]))
    ]
    return f" ({', '.join(told)})" if told else ""
