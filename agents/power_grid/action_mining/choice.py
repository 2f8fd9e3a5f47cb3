"""Chooses few actions that relieve nearly as well as all.

The *coverage* of a set is the mean over cases of the relief by its best action there, from 0 to 1.
It is submodular, so taking one by one the action that adds most comes within 1 - 1/e of the best
set of that size (Nemhauser, Wolsey and Fisher 1978), and in practice much closer. Where nothing
adds to it any more, the relief by the second best action of each case goes on: the best one may be
in cooldown, and cases to come are others.

Shape letters: A actions, N cases, K actions chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

AS_GOOD = 0.95  # relief from which on an action counts as among the best of a case


class Choice(NamedTuple):
    """Actions in the order in which they were taken."""

    numbers: np.ndarray  # [K] int, of actions; those that are always there first
    coverage: np.ndarray  # [K] float, of the first 1, 2, ... of them
    among_best: np.ndarray  # [K] float, share of cases in which one of those is among the best


def choose_actions(
    relief: np.ndarray,
    *,
    always: np.ndarray,
    needs: np.ndarray,
    size: int,
) -> Choice:
    """Return at most ``size`` actions, greedily by coverage, then by that of the second best.

    Args:
        relief: ``[N, A]`` from 0 to 1, at least one case.
        always: ``[*]`` int, actions that are there in any case.
        needs: ``[A]`` int, the action that each one needs beside it: itself where it needs none.
        size: of the set, at least that of ``always``.
    """
    values = relief.astype(np.float32)
    taken = [int(number) for number in always]
    inside = np.zeros(values.shape[1], dtype=np.bool_)
    inside[taken] = True
    best, second = np.zeros((2, len(values)), dtype=np.float32)
    trace = []

    def take(one: int) -> None:
        nonlocal best, second
        second = np.maximum(second, np.minimum(best, values[:, one]))
        best = np.maximum(best, values[:, one])
        trace.append(best)

    for one in taken:
        take(one)
    while len(taken) < size:
        gains = np.maximum(values - best[:, None], 0.0).sum(axis=0)
        if gains[~inside].max(initial=0.0) <= 0.0:
            gains = np.maximum(np.minimum(values, best[:, None]) - second[:, None], 0.0).sum(axis=0)
        cost = 1 + (~inside[needs] & (needs != np.arange(len(needs))))
        gains = np.where(inside | (cost > size - len(taken)), 0.0, gains / cost)
        number = int(gains.argmax())
        if gains[number] <= 0.0:
            break
        for one in dict.fromkeys((number, int(needs[number]))):
            if not inside[one]:
                inside[one] = True
                taken.append(one)
                take(one)
    return Choice(
        numbers=np.array(taken, dtype=np.int64),
        coverage=np.array([one.mean() for one in trace]),
        among_best=np.array([(one >= AS_GOOD).mean() for one in trace]),
    )


def coverage_elsewhere(
    relief: np.ndarray, fold: np.ndarray, *, always: np.ndarray, needs: np.ndarray, size: int
) -> np.ndarray:
    """Return ``[size]`` the coverage of cases by sets of 1, 2, ... that were not chosen on them.

    Args:
        relief: ``[N, A]``.
        fold: ``[N]`` int, the part of each case; a set is chosen on all parts but one.
        always: see ``choose_actions``; so are the others.
        needs: ``[A]``.
        size: of the sets.
    """
    total, count = np.zeros(size), 0
    for part in np.unique(fold):
        there = fold == part
        if there.all():
            return np.full(size, np.nan)
        numbers = choose_actions(relief[~there], always=always, needs=needs, size=size).numbers
        reached = np.maximum.accumulate(relief[there][:, numbers].astype(np.float32), axis=1)
        some = reached.sum(axis=0)
        total += np.concatenate([some, np.full(size - len(some), some[-1])])
        count += int(there.sum())
    return total / count


def missed_without(relief: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return ``[K]`` the coverage that would be lost without each action of a set.

    One that loses nothing is redundant: others relieve its cases as well.

    Args:
        relief: ``[N, A]``.
        chosen: ``[K]`` actions.
    """
    values = relief[:, chosen].astype(np.float32)
    if values.shape[1] < 2:
        return values.mean(axis=0)
    ordered = np.sort(values, axis=1)
    lost = np.where(values >= ordered[:, -1:], ordered[:, -1:] - ordered[:, -2:-1], 0.0)
    return lost.mean(axis=0)
