"""Checks configuration values against the type hints of what they are passed to.

One mechanism for every setting: the type hints of a class's constructor, or of a dataclass, say
which names there are and of which type their values must be; pydantic compares. Nothing is
converted: 1.5 is no whole number, "yes" is neither true nor false, and only what is hinted as
optional may be null. Not a number and infinity are refused.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import is_dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import annotated_types
import hydra
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import SchemaError

from agents.parts import KeywordsOf
from powergrid_muzero.names import choose, where_not_found

TARGET = "_target_"  # of a mapping that says what to build from its other entries
PARTIAL = "_partial_"  # true: a function that makes it from what is still missing
_ABSENT = Parameter.empty
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    type(None): "null",
}


class _Setting(NamedTuple):
    hint: Any  # _ABSENT: none
    required: bool


def check_keywords(
    target: Callable[..., Any],
    given: Mapping[str, Any],
    key: str,
    *,
    supplied: Collection[str] = (),
    complete: bool = True,
) -> None:
    """Refuse what ``target`` does not take: wrong names, wrong types, nothing where it needs some.

    Args:
        target: a class or function.
        given: plain Python; entries with ``_target_`` are checked as what they build.
        key: of ``given`` in the configuration, for the message; "" for all of it.
        supplied: parameters that ``given`` must leave to the program.
        complete: whether all parameters without a default must be given.

    Raises:
        ValueError: one line: the key, what was given, what is expected, the nearest right name.
    """
    known, others = settings_of(target)
    for name, value in given.items():
        path = _join(key, name)
        if name in supplied:
            raise ValueError(f"{path} is set by the program: leave it out.")
        if name in known:
            _check(value, known[name].hint, path)
        elif not others:
            options = [_join(key, one) for one in known if one not in supplied]
            choose("configuration key", path, options)
        elif builds(value):
            check_component(value, path)
    if complete:
        for name, setting in known.items():
            if setting.required and name not in given and name not in supplied:
                raise ValueError(f"{_join(key, name)} is missing; expected {_told(setting.hint)}.")


def check_component(
    config: Mapping[str, Any], key: str, *, supplied: Collection[str] = ()
) -> Callable[..., Any]:
    """Check what ``_target_`` names with the other entries; return it.

    Args:
        config: plain Python with ``_target_``.
        key: of ``config``.
        supplied: see ``check_keywords``.

    Raises:
        ValueError: see ``check_keywords``; or there is no such class.
    """
    target = _locate(config, key)
    given = {name: value for name, value in config.items() if name not in (TARGET, PARTIAL)}
    complete = not config.get(PARTIAL, False)
    check_keywords(target, given, key, supplied=supplied, complete=complete)
    return target


def misfits(config: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield the keys at and below ``key`` that the classes there do not take, or not so valued."""
    known, others = {}, True
    if TARGET in config:
        known, others = settings_of(_locate(config, key))
    for name, value in config.items():
        path = _join(key, name)
        if name in (TARGET, PARTIAL):
            continue
        hint = known[name].hint if name in known else Any
        if name not in known and not others:
            yield path
        elif isinstance(value, Mapping):
            yield from misfits(value, path)
        elif hint not in (_ABSENT, Any) and not _allows(hint, value):
            yield path


def settings_of(target: Callable[..., Any]) -> tuple[dict[str, _Setting], bool]:
    """Return the keywords of ``target``, by name, and whether it takes others as well."""
    try:
        parameters = signature(target).parameters.values()
    except (TypeError, ValueError):  # compiled, without one
        return {}, True
    hints = _hints(target)
    known: dict[str, _Setting] = {}
    others = False
    for one in parameters:
        hint = hints.get(one.name, _ABSENT)
        if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            known[one.name] = _Setting(hint, one.default is Parameter.empty)
        elif one.kind is Parameter.VAR_KEYWORD:
            passed_on = _passed_on(hint)
            theirs, others = ({}, True) if passed_on is None else settings_of(passed_on.target)
            known = {**theirs, **known}
    return known, others


def describe(hint: Any) -> str:
    """Return in words which values ``hint`` allows: "a whole number of at least 1, or null"."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _described_range(hint)
    if origin is Literal:
        return _either(list(map(str, get_args(hint))))
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        values = [one for one in options if _is_plain(one) and one is not type(None)]
        kinds = values or [one for one in options if one is not type(None)]  # built ones say less
        kinds += [one for one in options if one is type(None)]
        return _either(list(dict.fromkeys(map(describe, kinds))))
    if hint in _NAMES:
        return _NAMES[hint]
    if hint is Callable or origin is Callable:
        return f"a mapping with {TARGET} and {PARTIAL}: true"
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a mapping of names to values"
    if isinstance(kind, type) and issubclass(kind, Sequence | Set):
        entries = get_args(hint)
        fixed = origin is tuple and ... not in entries
        kind = f"a list of {len(entries)}" if fixed else "a list"
        return f"{kind}, each entry {describe(entries[0])}" if entries else kind
    return f"a mapping with the {TARGET} of {getattr(hint, '__name__', hint)}"


def _check(value: Any, hint: Any, key: str) -> None:
    """Refuse ``value`` unless ``hint`` allows it."""
    if hint is _ABSENT or hint is Any:
        if builds(value):
            check_component(value, key)
        return
    passed_on = _passed_on(hint)
    if passed_on is not None and isinstance(value, Mapping):
        check_keywords(
            passed_on.target,
            value,
            key,
            supplied=passed_on.supplied,
            complete=passed_on.complete,
        )
    elif builds(value) and not _is_plain(hint):
        _check_built(value, hint, key)
    elif _entries(hint) is not Any and isinstance(value, Mapping):
        for name, entry in value.items():
            _check(entry, _entries(hint), _join(key, name))
    elif not _allows(hint, value):
        raise ValueError(f"{key}={_shown(value)}; expected {_told(hint)}{_hint(value, hint)}")


def _check_built(config: Mapping[str, Any], hint: Any, key: str) -> None:
    """Refuse what builds something else than ``hint`` wants, then what it is built from."""
    _check(config.get(PARTIAL, False), bool, _join(key, PARTIAL))
    wanted = [one for one in _alternatives(hint) if not _is_plain(one)]
    makers = [one for one in wanted if get_origin(one) is Callable]
    if len(makers) == len(wanted) and config.get(PARTIAL) is not True:
        raise ValueError(f"{key} is completed by the program: it needs {PARTIAL}: true.")
    target = _locate(config, key)
    results = [get_args(one)[1] for one in makers] or wanted
    classes = [one for one in results if isinstance(one, type)]
    if not isinstance(target, type) or len(classes) < len(results):
        check_component(config, key)  # a function, or a hint that is no class: nothing to compare
        return
    if not any(_is_a(target, one) for one in classes):
        names = _either([one.__name__ for one in classes])
        raise ValueError(f"{_join(key, TARGET)}={config[TARGET]}; expected a kind of {names}.")
    check_component(config, key)


def _is_a(target: type, wanted: type) -> bool:
    # a protocol is a matter of what its methods do, and cannot be told of a class
    return getattr(wanted, "_is_protocol", False) or issubclass(target, wanted)


def _allows(hint: Any, value: Any) -> bool:
    return any(_is_of(value, one) for one in _members(hint))


def _is_of(value: Any, hint: Any) -> bool:
    if getattr(hint, "_is_protocol", False) or is_dataclass(hint):
        return False  # nothing that stands in YAML is of one
    if isinstance(value, list) and get_origin(hint) is tuple:
        value = tuple(value)  # YAML has no other
    try:
        TypeAdapter(hint, config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    except (PydanticSchemaGenerationError, SchemaError):  # a hint that cannot be compared
        return True
    return True


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _locate(config: Mapping[str, Any], key: str) -> Callable[..., Any]:
    name = config[TARGET]
    path = _join(key, TARGET)
    if not isinstance(name, str):
        raise ValueError(f"{path}={_shown(name)}; expected the dotted name of a class.")
    try:
        target = hydra.utils.get_object(name)
    except Exception as error:  # whatever an import may raise
        reason = " ".join(str(error).split()).rstrip(".") + where_not_found(name)
        raise ValueError(f"{path}={name} cannot be imported: {reason}") from error
    if not callable(target):
        raise ValueError(f"{path}={name} is no class or function.")
    return target


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    sources = (target, target.__init__) if isinstance(target, type) else (target,)
    hints: dict[str, Any] = {}
    for source in sources:
        try:
            hints.update(get_type_hints(source, include_extras=True))
        except (NameError, TypeError):  # names that only a type checker imports, or none at all
            continue
    return hints


def _passed_on(hint: Any) -> KeywordsOf | None:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((one for one in marks if isinstance(one, KeywordsOf)), None)


def _alternatives(hint: Any) -> Iterator[Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _alternatives(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _entries(hint: Any) -> Any:
    """Return the hint of a mapping's values; Any for what is no mapping."""
    return get_args(hint)[1] if get_origin(hint) is Mapping else Any


def _is_plain(hint: Any) -> bool:
    """Whether values of ``hint`` stand in YAML as they are, without a ``_target_``."""
    return all(
        one in _NAMES or get_origin(one) in (Literal, list, tuple, Sequence, Mapping)
        for one in _alternatives(hint)
    )


def builds(value: Any) -> bool:
    """Return whether ``value`` is a mapping that says what to build."""
    return isinstance(value, Mapping) and TARGET in value


def _described_range(hint: Any) -> str:
    kind, *marks = get_args(hint)
    if any(isinstance(one, KeywordsOf) for one in marks):
        return "a mapping of names to values"
    limits = []
    for mark in marks:
        if isinstance(mark, annotated_types.Gt):
            above: Any = mark.gt
            limits.append(f"of at least {above + 1}" if kind is int else f"above {above:g}")
        elif isinstance(mark, annotated_types.Ge):
            limits.append(f"of at least {mark.ge}")
        elif isinstance(mark, annotated_types.Lt):
            limits.append(f"below {mark.lt}")
        elif isinstance(mark, annotated_types.Le):
            limits.append(f"of at most {mark.le}")
    return f"{describe(kind)} {' and '.join(limits)}" if limits else describe(kind)


def _told(hint: Any) -> str:
    return "a value" if hint is _ABSENT or hint is Any else describe(hint)


def _hint(value: Any, hint: Any) -> str:
    """Say what was probably meant, and end the sentence."""
    kinds = set(_alternatives(hint))
    if isinstance(value, str):
        options = [str(one) for kind in kinds for one in get_args(kind) if isinstance(one, str)]
        near = get_close_matches(value, options, n=1, cutoff=0.4)
        return f"; did you mean {near[0]!r}?" if near else "."
    if isinstance(value, float) and value.is_integer() and int in kinds:
        return f"; write {int(value)}."
    if isinstance(value, bool | int | float) and str in kinds:
        return f"; in quotes it is a text: '\"{_shown(value)}\"'."
    return "."


def _shown(value: Any) -> str:
    """Return ``value`` as it stands on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _either(options: Sequence[str]) -> str:
    if len(options) < 2:
        return "".join(options)
    return f"{', '.join(options[:-1])} or {options[-1]}"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)
