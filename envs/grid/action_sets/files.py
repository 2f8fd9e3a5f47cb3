"""Reads and writes action sets: JSON, which people can read, or NPZ.

JSON: ``wiring.substations`` lists the element ends of each substation, and every action has the
settings of grid2op's that it makes: ``set_bus`` and ``change_bus`` by substation, a number for each
of its element ends in that order (a busbar, 0 for as it is; 1 for to the other one),
``set_line_status`` by line (1, -1) and ``change_line_status``, a list of lines; ``redispatch`` (MW)
and ``curtail`` (ratio of p_max) by generator, and ``set_storage`` (MW) by storage unit. ``text``
says the same in words, and is not read. NPZ has the same as whole tables, and the rest as JSON;
those of powers are there only if an action changes some.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from envs.grid.action_sets.action_set import ActionSet
from envs.grid.action_sets.powers import (
    CURTAIL,
    NOT_CURTAILED,
    POWER_KINDS,
    SET_STORAGE,
    PowerSettings,
    plain_number,
)
from envs.grid.action_sets.wiring import Wiring, read_wiring
from powergrid_muzero.checks import is_integer, is_number, shown

FORMAT = "powergrid-actions"
VERSION = 1
ALL_ACTIONS = "all"
SHIPPED = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))
_TABLES = ("set_bus", "change_bus", "set_line_status", "change_line_status")
_ABOUT = "about"


def shipped_file(name: str) -> Path:
    """Return the file of a set that ships."""
    return Path(__file__).parent / f"{name}.json"


def read_action_set(path: Path) -> ActionSet:
    """Return the action set of a JSON or NPZ file.

    Args:
        path: of the file.

    Raises:
        ValueError: it is not there, is cut short, or is no action set; the message names it.
    """
    reading = _read_npz if path.suffix == ".npz" else _read_json
    try:
        return reading(path)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path} with an action set") from None
    except (OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read as an action set (is it cut short?): {error}"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not whole JSON (is it cut short?): line {error.lineno}, {error.msg}"
        ) from error
    except ValueError as error:
        raise ValueError(f"action set {path}: {error}") from error


def write_action_set(file: IO[bytes], actions: ActionSet, *, binary: bool) -> None:
    """Write an action set.

    Args:
        file: to write to.
        actions: what to write.
        binary: NPZ instead of JSON.
    """
    about = {
        "format": FORMAT,
        "version": VERSION,
        "grid": actions.grid,
        "provenance": dict(actions.provenance),
        "wiring": {
            "sha256": actions.wiring.sha256,
            "substations": [list(names) for names in actions.wiring.substations],
        },
    }
    if binary:
        tables: dict[str, Any] = dict(zip(_TABLES, actions.tables, strict=True))
        if actions.powers is not None:
            tables.update(zip(POWER_KINDS, actions.powers, strict=True))
        np.savez_compressed(file, **{_ABOUT: np.array(json.dumps(about))}, **tables)
        return
    wiring = about.pop("wiring")
    head = json.dumps(about, indent=1, ensure_ascii=False)[:-2]
    names = ",\n".join(f"   {json.dumps(row)}" for row in wiring["substations"])
    rows = ",\n".join(
        f"  {json.dumps(_settings(actions, number), ensure_ascii=False)}"
        for number in range(len(actions))
    )
    text = (
        f'{head},\n "wiring": {{\n  "sha256": "{wiring["sha256"]}",\n  "substations": [\n'
        f'{names}\n  ]\n }},\n "actions": [\n{rows}\n ]\n}}\n'
    )
    file.write(text.encode())


def _settings(actions: ActionSet, number: int) -> dict[str, Any]:
    """Return what one action sets, as JSON has it."""
    wiring = actions.wiring
    set_bus, change_bus, set_line, change_line = (table[number] for table in actions.tables)
    settings: dict[str, Any] = {"text": actions.texts[number]}
    for kind, row in (("set_bus", set_bus), ("change_bus", change_bus.astype(np.int8))):
        moved = np.unique(wiring.element_substation[row != 0]).tolist()
        if moved:
            settings[kind] = {
                str(substation): row[_ends(wiring, substation)].tolist() for substation in moved
            }
    lines = np.flatnonzero(set_line).tolist()
    if lines:
        settings["set_line_status"] = {str(line): int(set_line[line]) for line in lines}
    if change_line.any():
        settings["change_line_status"] = np.flatnonzero(change_line).tolist()
    if actions.powers is not None:
        for kind, table in zip(POWER_KINDS, actions.powers, strict=True):
            row = table[number]
            places = np.flatnonzero(row != (NOT_CURTAILED if kind == CURTAIL else 0)).tolist()
            if places:
                settings[kind] = {str(place): plain_number(row[place]) for place in places}
    return settings


def _ends(wiring: Wiring, substation: int) -> slice:
    start = wiring.starts[substation]
    return slice(start, start + wiring.sizes[substation])


def _read_json(path: Path) -> ActionSet:
    given = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    wiring = _check_about(given)
    actions = given.get("actions")
    if not isinstance(actions, list):
        raise ValueError("it has no list of actions")
    set_bus, change_bus = np.zeros((2, len(actions), wiring.num_elements), dtype=np.int64)
    set_line, change_line = np.zeros((2, len(actions), wiring.num_lines), dtype=np.int64)
    powers = PowerSettings.none(len(actions), wiring)
    for number, settings in enumerate(actions):
        try:
            rows = set_bus[number], change_bus[number], set_line[number], change_line[number]
            _fill(wiring, settings, rows)
            _fill_powers(settings, powers, number)
        except ValueError as error:
            raise ValueError(f"action {number}: {error}") from error
    about = _origin(given)
    return ActionSet(wiring, set_bus, change_bus, set_line, change_line, powers=powers, **about)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the entries of an object of JSON.

    Raises:
        ValueError: one of them is there twice, which JSON allows.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice in {shown(entries)}")
    return entries


def _fill(wiring: Wiring, settings: Any, rows: tuple[np.ndarray, ...]) -> None:
    """Write the settings of an action into its rows of the tables.

    Raises:
        ValueError: they are none, or of elements that are not there.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"its settings must be by name, but are {shown(settings)}")
    for name in settings:
        if name not in (*_TABLES, *POWER_KINDS, "text"):
            known = ", ".join((*_TABLES, *POWER_KINDS))
            raise ValueError(f"unknown setting {name!r}; there are {known}")
    set_bus, change_bus, set_line, change_line = rows
    for kind, row in (("set_bus", set_bus), ("change_bus", change_bus)):
        for substation, values in _items(settings, kind):
            place = _number(substation, wiring.num_substations, "substation")
            whole = isinstance(values, list) and all(is_integer(one) for one in values)
            if not whole or len(values) != wiring.sizes[place]:
                raise ValueError(
                    f"{kind} of substation {place} must be {wiring.sizes[place]} integers, one for "
                    f"each of its element ends, but is {shown(values)}"
                )
            row[_ends(wiring, place)] = values
    for line, status in _items(settings, "set_line_status"):
        place = _number(line, wiring.num_lines, "line")
        if not is_integer(status) or status not in (-1, 1):
            raise ValueError(f"set_line_status of line {place} must be 1 or -1, but is {status!r}")
        set_line[place] = status
    lines = settings.get("change_line_status", [])
    if not isinstance(lines, list):
        raise ValueError(f"change_line_status must be a list of lines, but is {shown(lines)}")
    for line in lines:
        change_line[_number(line, wiring.num_lines, "line")] = 1


def _fill_powers(settings: Mapping[str, Any], powers: PowerSettings, number: int) -> None:
    """Write what action ``number`` does with power into its rows.

    Raises:
        ValueError: it is no number, or of an element that is not there.
    """
    for kind, table in zip(POWER_KINDS, powers, strict=True):
        row = table[number]
        element = "storage unit" if kind == SET_STORAGE else "generator"
        seen: set[int] = set()
        for given, value in _items(settings, kind):
            place = _number(given, len(row), element)
            if place in seen:
                raise ValueError(f"{kind} sets {element} {place} twice")
            seen.add(place)
            if not is_number(value) or (kind == CURTAIL and not 0 <= value <= 1):
                expected = "a ratio from 0 to 1" if kind == CURTAIL else "a number of MW"
                raise ValueError(
                    f"{kind} of {element} {place} must be {expected}, but is {shown(value)}"
                )
            with np.errstate(over="ignore"):  # PowerSettings refuses what is infinite
                row[place] = value


def _items(settings: Mapping[str, Any], kind: str) -> list[tuple[Any, Any]]:
    given = settings.get(kind, {})
    if not isinstance(given, dict):
        raise ValueError(f"{kind} must have what it sets by number, but is {shown(given)}")
    return list(given.items())


def _number(given: Any, count: int, what: str) -> int:
    """Return the number of an element.

    Raises:
        ValueError: there is no such one.
    """
    text = str(given)
    if isinstance(given, bool) or not text.isdecimal() or int(text) >= count:
        there = f"they are numbered from 0 to {count - 1}" if count else "the grid has none"
        raise ValueError(f"there is no {what} {given!r}; {there}")
    return int(text)


def _read_npz(path: Path) -> ActionSet:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        missing = [name for name in (_ABOUT, *_TABLES) if name not in archive]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        given = json.loads(str(archive[_ABOUT]))
        kinds = [kind for kind in POWER_KINDS if kind in archive]
        if 0 < len(kinds) < len(POWER_KINDS):
            raise ValueError(f"it has {kinds[0]}, but not all of {', '.join(POWER_KINDS)}")
        others = sorted(set(archive) - {_ABOUT, *_TABLES, *POWER_KINDS})
        if others:
            raise ValueError(f"{others[0]} is not covered")
        tables = {name: archive[name] for name in (*_TABLES, *kinds)}
    wiring = _check_about(given)
    for name, table in tables.items():
        what, numbers = ("numbers", "biuf") if name in kinds else ("integers", "biu")
        if table.ndim != 2 or table.dtype.kind not in numbers:
            raise ValueError(f"its table {name} is no table of {what}")
        if len(table) != len(tables[_TABLES[0]]):
            raise ValueError("its tables differ in the number of actions")
    powers = PowerSettings(*(tables.pop(kind) for kind in kinds)) if kinds else None
    return ActionSet(wiring, *tables.values(), powers=powers, **_origin(given))


def _check_about(given: Any) -> Wiring:
    """Return the wiring of a file.

    Raises:
        ValueError: it is no action set, or of another version, or its hash is another.
    """
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise ValueError(f'it does not say "format": "{FORMAT}", so it is no action set')
    if given.get("version") != VERSION:
        raise ValueError(
            f"it is of version {given.get('version')!r} of the format; this one reads {VERSION}"
        )
    told = given.get("wiring")
    if not isinstance(told, dict):
        raise ValueError("it does not tell the wiring of its grid")
    wiring = read_wiring(told.get("substations", []))
    if told.get("sha256") != wiring.sha256:
        raise ValueError("the hash of its wiring is not that of its substations: it was changed")
    return wiring


def _origin(given: Mapping[str, Any]) -> dict[str, Any]:
    grid, provenance = given.get("grid", ""), given.get("provenance", {})
    if not isinstance(grid, str) or not isinstance(provenance, dict):
        raise ValueError("its grid must be a name, and its provenance must be by name")
    return {"grid": grid, "provenance": provenance}
