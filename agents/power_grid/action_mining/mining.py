"""Mines an action set in two stages, in a folder, so that it can be interrupted.

First *screening*: in some cases every way to split a substation is looked at (of those that have
many, a part drawn at random), and the best of each case become candidates. Then *scoring*: in many
more cases the candidates are looked at. Of them the set is chosen. A piece of work is one episode
of a stage, and one file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.power_grid.action_mining.cases import KINDS, CasePlayer, Cases, EpisodeSettings
from agents.power_grid.action_mining.choice import (
    AS_GOOD,
    Choice,
    choose_actions,
    coverage_elsewhere,
    missed_without,
)
from agents.runs.cluster import Workers, worker_count
from agents.runs.files import atomic_write
from envs import ActionSet, Wiring, grid_wiring, line_switches, merge_action_sets, substation_splits

STAGES = ("screen", "score")
_SETTINGS = "mining.json"
_FOLDS = 5  # parts of the episodes, to cover cases by sets that were chosen without them


@dataclass(frozen=True, kw_only=True)
class MiningSettings:
    """What is mined, and how much."""

    episodes: EpisodeSettings
    most: int  # ways to split a substation that are looked at; of more, some are drawn
    screen: int  # episodes in which they are
    score: int  # episodes in which the candidates are
    keep: int  # best actions of a screened case that become candidates


class MinedActions(NamedTuple):
    """What was found."""

    candidates: ActionSet  # A: do nothing, a switch for each line, and the candidates
    kind: np.ndarray  # [N] int, of the cases
    choice: Choice  # K of the candidates, in the order in which they were taken
    elsewhere: np.ndarray  # [K] float, coverage of cases that a set was not chosen on
    times_best: np.ndarray  # [K] float, share of cases in which each is among the best
    times_protecting: np.ndarray  # [K] float, the same of the cases of protection
    missed: np.ndarray  # [K] float, coverage that would be lost without each
    screened: int  # cases
    splits: int  # that were looked at in each of those
    hopeless: int  # stressed states that no action relieves
    steps: int  # played

    @property
    def chosen(self) -> ActionSet:
        """The set."""
        return self.candidates.subset(self.choice.numbers)

    def counts(self) -> dict[str, int]:
        """Return the number of scored cases of each kind."""
        return {name: int((self.kind == number).sum()) for number, name in enumerate(KINDS)}


def mine(
    settings: MiningSettings,
    folder: Path,
    *,
    size: int,
    workers: int,
    told: Callable[[str, int, int], None],
) -> MinedActions:
    """Mine actions; what is in the folder already is not done again.

    Args:
        settings: of the mining; what is in the folder must be of the same, but for the numbers
            of episodes.
        folder: an existing one, written to by nobody else.
        size: of the set, at most.
        workers: processes; 0 for this one.
        told: is told stage, pieces done and pieces to do, as they are done.

    Raises:
        ValueError: grids of other wirings, a folder of other settings, a piece cut short, a size
            below what is always there, or no stressed state.
        RuntimeError: a worker failed.
    """
    wiring = _wiring_of(settings.episodes.grids)
    grid = settings.episodes.grids[0]
    switches = line_switches(wiring, grid=grid)
    if size <= len(switches):
        raise ValueError(
            f"size is {size}; expected more than {len(switches)}: doing nothing and a switch for "
            f"each of {wiring.num_lines} lines are always there"
        )
    _check_lines(settings.episodes, wiring)
    _keep_settings(folder, settings, wiring)
    splits = substation_splits(wiring, grid=grid, most=settings.most, seed=settings.episodes.seed)
    everything = merge_action_sets([switches, splits])
    run = partial(_pieces, settings, folder, workers=workers, told=told)
    kept: set[int] = set()
    screened = 0
    for piece in run("screen", everything):
        kept.update(piece["best"].ravel().tolist())
        screened += len(piece["best"])
    numbers = sorted(number for number in kept if number >= len(switches))
    if not numbers:
        raise _nothing_found(settings.episodes, settings.screen)
    candidates = _with_joins(everything, len(switches), numbers)
    scored = list(run("score", candidates))
    relief = np.concatenate([piece["relief"] for piece in scored])
    if not len(relief):
        raise _nothing_found(settings.episodes, settings.score)
    episode = np.repeat(np.arange(len(scored)), [len(piece["relief"]) for piece in scored])
    kind = np.concatenate([piece["kind"] for piece in scored])
    return _choose(
        candidates,
        relief,
        kind,
        episode,
        size=size,
        always=len(switches),
        screened=screened,
        splits=len(splits),
        hopeless=sum(int(piece["hopeless"]) for piece in scored),
        steps=sum(int(piece["steps"]) for piece in scored),
    )


def _choose(
    candidates: ActionSet,
    relief: np.ndarray,
    kind: np.ndarray,
    episode: np.ndarray,
    *,
    size: int,
    always: int,
    **about: int,
) -> MinedActions:
    first, needs = np.arange(always), _joins(candidates)
    choice = choose_actions(relief, always=first, needs=needs, size=size)
    elsewhere = coverage_elsewhere(
        relief, episode % _FOLDS, always=first, needs=needs, size=len(choice.numbers)
    )
    best = relief[:, choice.numbers] >= AS_GOOD
    protecting = best[kind == KINDS.index("protect")]
    return MinedActions(
        candidates=candidates,
        kind=kind,
        choice=choice,
        elsewhere=elsewhere,
        times_best=best.mean(axis=0),
        times_protecting=protecting.sum(axis=0) / max(len(protecting), 1),
        missed=missed_without(relief, choice.numbers),
        **about,
    )


def _wiring_of(grids: Sequence[str]) -> Wiring:
    wirings = [grid_wiring(grid) for grid in grids]
    for grid, wiring in zip(grids, wirings, strict=True):
        if wiring.sha256 != wirings[0].sha256:
            raise ValueError(
                f"grids {grids[0]!r} and {grid!r} are wired otherwise: mine a set for each"
            )
    return wirings[0]


def _check_lines(episodes: EpisodeSettings, wiring: Wiring) -> None:
    for line in episodes.lines or ():
        if not 0 <= line < wiring.num_lines:
            raise ValueError(f"there is no line {line}; they are 0 to {wiring.num_lines - 1}")


def _keep_settings(folder: Path, settings: MiningSettings, wiring: Wiring) -> None:
    """Write the settings into a new folder; compare them with those of an old one."""
    path = folder / _SETTINGS
    given = {"wiring": wiring.sha256, **asdict(settings)}
    for stage in STAGES:  # more or fewer episodes may be asked for: the others stay as they are
        del given[stage]
    now = json.loads(json.dumps(given))
    if not path.exists():
        with atomic_write(path) as file:
            file.write(json.dumps(now, indent=1).encode())
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not whole: name another folder") from error
    if before != now:
        pairs = {**_flat(before), **_flat(now)}
        other = [key for key in pairs if _flat(before).get(key) != _flat(now).get(key)]
        key = other[0] if other else "another version"
        raise ValueError(
            f"{folder} holds a mining of other settings ({key} was {_flat(before).get(key)!r} and "
            f"is {_flat(now).get(key)!r}): name another folder, or give the same"
        )


def _flat(record: dict[str, object]) -> dict[str, object]:
    episodes = record.get("episodes")
    return {**record, "episodes": None, **(episodes if isinstance(episodes, dict) else {})}


def _joins(actions: ActionSet) -> np.ndarray:
    """Return ``[A]`` int, the action that joins the substation again which an action splits."""
    needs = np.arange(len(actions))
    wiring = actions.wiring
    joins: dict[int, int] = {}
    split = (actions.set_busbar == 2).any(axis=1)
    moved = (actions.set_busbar != 0).any(axis=1)
    substation = wiring.element_substation[(actions.set_busbar != 0).argmax(axis=1)]
    for number in np.flatnonzero(moved & ~split).tolist():
        joins[int(substation[number])] = number
    for number in np.flatnonzero(split).tolist():
        needs[number] = joins.get(int(substation[number]), number)
    return needs


def _with_joins(everything: ActionSet, always: int, numbers: Sequence[int]) -> ActionSet:
    """Return what is always there, some others, and what joins the substations that they split."""
    joins = set(_joins(everything)[list(numbers)].tolist())
    return everything.subset([*range(always), *sorted({*numbers, *joins})])


def _nothing_found(episodes: EpisodeSettings, count: int) -> ValueError:
    return ValueError(
        f"no stressed state that an action relieves was met in {count} episodes on "
        f"{', '.join(episodes.grids)}: ask for more episodes, or a lower stress than "
        f"{episodes.stress:g}"
    )


# ------------------------------------------------------------------------------------- pieces


_Piece = dict[str, np.ndarray]  # arrays of a piece, by name


def _pieces(
    settings: MiningSettings,
    folder: Path,
    stage: str,
    actions: ActionSet,
    *,
    workers: int,
    told: Callable[[str, int, int], None],
) -> Iterator[_Piece]:
    """Yield the pieces of a stage in order, after making those that are not in the folder."""
    count = getattr(settings, stage)
    place = folder / (stage if stage == "screen" else f"{stage}_{actions.sha256[:12]}")
    place.mkdir(exist_ok=True)
    paths = [place / f"{number:05d}.npz" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    told(stage, count - len(missing), count)
    keep = settings.keep if stage == "screen" else 0
    recipe = partial(_worker, settings.episodes, actions, STAGES.index(stage), keep)
    done = _in_workers(recipe, missing, workers) if workers else _here(recipe, missing)
    for finished, (number, piece) in enumerate(done, start=count - len(missing) + 1):
        with atomic_write(paths[number]) as file:
            np.savez_compressed(file, allow_pickle=False, **piece)
        told(stage, finished, count)
    for path in paths:
        yield _read(path)


def _here(
    recipe: Callable[[], Callable[[int], _Piece]], numbers: Sequence[int]
) -> Iterator[tuple[int, _Piece]]:
    if numbers:
        work = recipe()
        yield from ((number, work(number)) for number in numbers)


def _in_workers(
    recipe: Callable[[], Callable[[int], _Piece]], numbers: Sequence[int], asked: int
) -> Iterator[tuple[int, _Piece]]:
    if not numbers:
        return
    count = worker_count(asked, len(numbers), "--workers")
    workers = Workers(
        lambda worker: recipe,
        count,
        what="mining worker",
        advice="Short of memory? Try fewer --workers.",
        cores=1.0,
    )
    waiting = list(numbers)[::-1]
    try:
        for worker in range(count):
            number = waiting.pop()
            workers.send(worker, number, number)
        remaining = len(numbers)
        while remaining:
            for result in workers.receive():
                remaining -= 1
                if waiting:
                    number = waiting.pop()
                    workers.send(result.worker, number, number)
                assert isinstance(result.key, int)
                yield result.key, result.value
    finally:
        workers.close()


def _worker(
    episodes: EpisodeSettings, actions: ActionSet, stage: int, keep: int
) -> Callable[[int], _Piece]:
    """Return what makes a piece of its number."""
    player = CasePlayer(episodes, actions)

    def work(number: int) -> _Piece:
        cases = player.play(number, stage=stage)
        piece: _Piece = {
            "kind": cases.kind,
            "hopeless": np.array(cases.hopeless),
            "steps": np.array(cases.steps),
        }
        if keep:
            piece["best"] = _best(cases, keep)
        else:
            piece["relief"] = cases.relief
        return piece

    return work


def _best(cases: Cases, keep: int) -> np.ndarray:
    """Return ``[N, keep]`` int32, the best actions of each case; 0 where fewer relieve."""
    order = np.argsort(-cases.relief, axis=1, kind="stable")[:, :keep]
    relieving = np.take_along_axis(cases.relief, order, axis=1) > 0
    return np.where(relieving, order, 0).astype(np.int32)


def _read(path: Path) -> _Piece:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is cut short: delete it, and it is made again") from error
