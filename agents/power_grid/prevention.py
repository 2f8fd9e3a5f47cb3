"""Prevention: finds topologies in which every loss of a line can be answered.

What a loss loads is a poor measure of how bad it is: overloads may stand for some steps, and what
counts is whether an answer takes them away in time. So losses are answered here by the same search
that would answer them if they happened.

Shape letters: A actions, B answers to a loss, C lines that may be lost, E element ends, L lines.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agents.power_grid.beam import NEAR_LIMIT, BeamSearch, Plan
from agents.power_grid.screening import Screening
from envs import REFERENCE_BUSBAR, ForecastRollouts, GridLayout, Rollouts, Steps

_END = 100.0  # danger of a loss that ends the game at once
_HOPELESS = 60.0  # danger of one after which no answer keeps it going; less, since there is time
_TRIP = 2.0  # loading at which a line trips at once
_SPREAD = 0.03  # how far a loading may drift until the loss comes
_EXPOSURE = 2.0  # weight of a loading above ``margin`` before the answer, per unit
_UNANSWERED = 3.0  # danger of a line that is overloaded in the end of the best answer
_LONGEST = 3  # calm actions in a row
_LOSSES = 320  # of those of each length, of which all losses are solved
_LOOKED_AT = 40  # of those of each length, whose danger is looked at in full
_RISK = 0.02  # lines that may be expected to trip in an answer that is kept
_WORSE = 0.3  # by which the score of an answer that is kept may have risen
_RETURNS = 8  # actions towards the reference topology, looked at where there is no danger
_BOTH = 10.0  # weight of a line that is overloaded after the loss and after the answer still


class Course(NamedTuple):
    """What to do in calm."""

    actions: tuple[int, ...] = ()  # one after another; none if there is nothing to be done
    danger: float = 0.0  # that is left then


class Prevention:
    """Chooses calm actions by the losses that they make harmless.

    The danger of a state is summed over the lines at risk. For each it is 20 times the number of
    lines expected to trip after the best answer to its loss, and 3 if some line is overloaded in
    the end: overloads can often be passed on until the line is back. 60 where no answer keeps the
    game going, 100 where the loss itself ends it. What is overloaded before the answer counts
    little, unless a line is near to tripping at once. Answers found once are tried first again.

    Args:
        layout: of the grid.
        lines: ``[C]`` int, that may be lost.
        answers: searches answers.
        safe: forecast loading below which an action may be taken in calm.
        margin: loading after a loss below which no answer is needed.
        tolerance: danger that is let be.
        gain: danger that an action must take away.
        candidates: actions whose danger is looked at, those that estimates find the best.
        grave: danger from which on several actions in a row are searched.
        courses: of those, how many of each length are followed on; 0 for none.
    """

    def __init__(
        self,
        layout: GridLayout,
        lines: np.ndarray,
        answers: BeamSearch,
        *,
        safe: float,
        margin: float,
        tolerance: float,
        gain: float,
        candidates: int,
        grave: float,
        courses: int,
    ):
        self._layout = layout
        self._lines = lines
        self._answers = answers
        self._safe = safe
        self._margin = margin
        self._tolerance = tolerance
        self._gain = gain
        self._candidates = candidates
        self.grave = grave
        self._courses = courses

    def choose(
        self,
        rollouts: ForecastRollouts,
        root: Rollouts,
        prepared: dict[int, Plan],
        tables: dict[int, Screening],
        *,
        far: bool,
    ) -> Course:
        """Return what to do from ``root``, ``[1]``, which is calm.

        Args:
            rollouts: begun there.
            root: the present state.
            prepared: line -> the answer to its loss that was found last; brought up to date.
            tables: line -> estimates after its loss, from a time not long ago; filled in.
            far: whether courses of several are searched where a single action leaves a grave one.
        """
        steps = rollouts.choices(root)
        nothing = steps.of(np.array([0]))  # it comes first
        rollouts.losses(nothing.topology, self._lines)  # together, which takes less time
        now = {
            line: self.danger(rollouts, root, nothing, prepared, tables, np.array([line]))
            for line in self._lines.tolist()
        }
        danger = sum(now.values())
        if danger <= self._tolerance:
            return Course(self._return(rollouts, steps), danger)
        lines = np.array(sorted(now, key=lambda line: -now[line]))  # the gravest first
        steps = self._kept(rollouts, steps)
        departed = (steps.topology != REFERENCE_BUSBAR).sum(axis=1)
        order = np.lexsort((departed, self._estimate(rollouts, root, steps, tables)))
        steps = steps.of(order[order != 0][: self._candidates])
        least = danger - self._gain
        dangers = self._dangers(rollouts, root, steps, prepared, tables, lines, least)
        course = Course((), danger)
        if dangers.min(initial=np.inf) < least:
            course = Course((int(steps.actions[dangers.argmin()]),), float(dangers.min()))
        if course.danger > self.grave and far and self._courses:
            least = course.danger - self._gain
            found = self._several(rollouts, root, prepared, lines, least)
            course = found if found.actions else course
        return course

    def _kept(self, rollouts: ForecastRollouts, steps: Steps) -> Steps:
        """Return the steps that leave the grid calm and open no line; the first one is kept."""
        opened = (steps.topology < 0).sum(axis=1)
        rho = rollouts.loadings(steps.topology).max(axis=1)
        kept = (rho < self._safe) & (opened <= opened[0])
        kept[0] = True
        return steps.of(kept)

    def _dangers(
        self,
        rollouts: ForecastRollouts,
        states: Rollouts,
        steps: Steps,
        prepared: dict[int, Plan],
        tables: dict[int, Screening] | None,
        lines: np.ndarray,
        most: float,
    ) -> np.ndarray:
        """Return the danger after m steps, ``[m]``.

        Where it is not below ``most`` and all before, a lower bound. The first one within the
        tolerance ends the search, and those behind it are inf.

        Args:
            rollouts: begun at some time before.
            states: those that the steps are made from.
            steps: m of them.
            prepared: see ``choose``; brought up to date where a step is the best so far.
            tables: see ``choose``; None: estimates are made anew for each step.
            lines: ``[C]`` int, in the order in which their losses are looked at.
            most: danger that has to be fallen short of.
        """
        dangers = np.full(len(steps.rows), np.inf)
        for place, row in enumerate(steps.rows.tolist()):
            answers = dict(prepared) if tables is not None else {}
            step = steps.of(np.array([place]))._replace(rows=np.zeros(1, dtype=np.int64))
            state, near = states.of(np.array([row])), {} if tables is None else tables
            danger = self.danger(rollouts, state, step, answers, near, lines, most=most)
            dangers[place] = danger
            if danger < most:
                most = danger
                prepared.clear()
                prepared.update(answers)
                if danger <= self._tolerance:
                    break
        return dangers

    def _several(
        self,
        rollouts: ForecastRollouts,
        root: Rollouts,
        prepared: dict[int, Plan],
        lines: np.ndarray,
        most: float,
    ) -> Course:
        """Return up to three calm actions in a row that leave the least danger, below ``most``.

        A beam search by danger. Only a few in a hundred topologies have an answer to a grave loss,
        and not those in which it loads the least, so many are looked at, single actions included.
        """
        states, actions = root, np.zeros((1, 0), dtype=np.int64)
        found = Course()
        for _ in range(_LONGEST):
            steps = self._bearable(rollouts, root, states, lines, most)
            dangers = self._dangers(rollouts, states, steps, prepared, None, lines, most)
            if not len(dangers):
                break
            actions = np.column_stack([actions[steps.rows], steps.actions])
            best = np.argsort(dangers, kind="stable")[: self._courses]
            if dangers[best[0]] < most:
                most = float(dangers[best[0]])
                found = Course(tuple(actions[best[0]].tolist()), most)
                if most <= self._tolerance:
                    break
            states, actions = rollouts.step(states, steps.of(best)), actions[best]
        return found

    def _bearable(
        self,
        rollouts: ForecastRollouts,
        root: Rollouts,
        states: Rollouts,
        lines: np.ndarray,
        most: float,
    ) -> Steps:
        """Return calm steps from n states whose danger may be below ``most``, likely ones first.

        First come those in which the gravest loss, the first of ``lines``, overloads the least.
        Left out are those in which the other losses, before any answer, are as great a danger.
        """
        steps = rollouts.choices(states)
        opened = (steps.topology < 0).sum(axis=1)
        rho = rollouts.loadings(steps.topology).max(axis=1)
        steps = steps.of((rho < self._safe) & (opened <= (root.topology < 0).sum()))
        _, first = np.unique(steps.topology, axis=0, return_index=True)
        steps = steps.of(np.sort(first))
        over = np.clip(rollouts.losses(steps.topology, lines[:1])[:, 0] - NEAR_LIMIT, 0, None)
        over = over.sum(axis=1)
        order = np.argsort(over, kind="stable")
        steps = steps.of(order[np.isfinite(over[order])][:_LOSSES])
        worst = rollouts.losses(steps.topology, lines[1:]).max(axis=2)
        exposed = np.where(np.isinf(worst), _END, self._exposure(worst)).sum(axis=1)
        return steps.of(np.flatnonzero(exposed < most)[:_LOOKED_AT])

    def _return(self, rollouts: ForecastRollouts, steps: Steps) -> tuple[int, ...]:
        """Return an action, if there is one, that leads towards the reference topology.

        It is taken if no loss needs an answer then: what needs one may soon have none.
        """
        if (steps.topology[0] == REFERENCE_BUSBAR).all():
            return ()
        steps = self._kept(rollouts, steps)
        departed = (steps.topology != REFERENCE_BUSBAR).sum(axis=1)
        steps, departed = steps.of(departed < departed[0]), departed[departed < departed[0]]
        rho = rollouts.loadings(steps.topology).max(axis=1)
        steps = steps.of(np.lexsort((rho, departed))[:_RETURNS])
        worst = rollouts.losses(steps.topology, self._lines).max(axis=(1, 2), initial=0)
        secure = np.flatnonzero(worst < self._margin)
        return (int(steps.actions[secure[0]]),) if len(secure) else ()

    def danger(
        self,
        rollouts: ForecastRollouts,
        root: Rollouts,
        step: Steps,
        prepared: dict[int, Plan],
        tables: dict[int, Screening],
        lines: np.ndarray | None = None,
        *,
        most: float = np.inf,
    ) -> float:
        """Return the danger after one step from ``root``.

        Args:
            rollouts: begun there.
            root: the present state.
            step: one, from it.
            prepared: see ``choose``.
            tables: see ``choose``.
            lines: ``[*]`` int, whose losses are looked at, in this order; None for all.
            most: danger beyond which no more is looked at.
        """
        total = 0.0
        lines = self._lines if lines is None else lines
        closed = step.topology[0, self._layout.line_or_position[lines]] > 0
        rollouts.losses(step.topology, lines[closed])  # together, which takes less time
        for line in lines[closed].tolist():
            lost = rollouts.step(root, step, np.array([line]))
            if lost.over[0]:
                total += _END
            elif lost.tripped[0] or lost.rho.max() >= self._margin:
                if line not in tables:
                    tables[line] = Screening(self._layout)
                total += 20 * float(lost.tripped[0])
                total += float(self._exposure(lost.rho.max()))
                total += self._answered(rollouts, lost, line, prepared, tables[line])
            if total >= most:
                break
        return total

    def _exposure(self, worst: np.ndarray) -> np.ndarray:
        """Return the danger in the highest loadings, ``[n]``, between a loss and its answer."""
        trips = 1 / (1 + np.exp((_TRIP - worst) / _SPREAD))
        return 20 * trips + _EXPOSURE * np.clip(worst - self._margin, 0, 1)

    def _answered(
        self,
        rollouts: ForecastRollouts,
        lost: Rollouts,
        line: int,
        prepared: dict[int, Plan],
        table: Screening,
    ) -> float:
        """Return the danger that is left of a loss after the best answer."""
        known, plan = prepared.get(line), None
        if known is not None:
            plan = self._answers.follow(rollouts, lost, known.actions)
            worse = plan.rho >= self._margin and plan.score > known.score + _WORSE
            if plan.risk > _RISK or worse:
                plan = None
        if plan is None:
            plan = self._answers.search(rollouts, lost, table)
            prepared.pop(line, None)
            if np.isfinite(plan.risk):
                prepared[line] = plan
        overload = plan.rho - self._margin  # that no answer takes away, so more lines will trip
        unanswered = 1 / (1 + math.exp(-min(max(overload / _SPREAD, -50.0), 50.0)))
        return min(20 * plan.risk + _UNANSWERED * unanswered + max(overload, 0.0), _HOPELESS)

    def _estimate(
        self,
        rollouts: ForecastRollouts,
        root: Rollouts,
        steps: Steps,
        tables: dict[int, Screening],
    ) -> np.ndarray:
        """Return the danger after A steps, ``[A]``, estimated; the first is doing nothing.

        It is about one answer alone, and loadings after loss, action and answer are taken to be
        those after loss and action plus what the answer does after the loss alone.
        """
        total = np.zeros(len(steps.actions))
        now = rollouts.losses(steps.topology[:1], self._lines)[0].max(axis=1)
        grave = self._lines[now >= self._margin]  # others are looked at when it is chosen
        lost = rollouts.losses(steps.topology, grave)  # [A, C, L]
        for number, line in enumerate(grave.tolist()):
            after = lost[:, number]
            worst = after.max(axis=1)
            over = np.isinf(worst)
            total[over] += _END
            total[~over] += self._exposure(worst[~over])
            rows = np.flatnonzero((worst >= self._margin) & ~over)
            if not len(rows):
                continue
            if over[0]:  # nothing is known of answers
                total[rows] += _weight(after[rows], after[rows])
                continue
            alone = rollouts.step(root, steps.of(np.array([0])), np.array([line]))
            answers = rollouts.choices(alone)
            table = tables.get(line)
            if table is None or not table.learned:
                answered = rollouts.loadings(answers.topology)
            else:
                answered = table.estimate(alone._replace(rho=after[:1]), answers)
            kept = np.flatnonzero(np.isfinite(answered).all(axis=1))
            answers, answered = answers.of(kept), answered[kept]
            if not len(answered):
                total[rows] += _weight(after[rows], after[rows])
                continue
            change = (answered - after[0]).astype(np.float32)  # [B, L]
            moved = self._moved(steps.topology[:1], steps.topology[rows])
            moved_by = self._moved(alone.topology, answers.topology)
            for row, at in zip(rows.tolist(), moved, strict=True):
                both = after[row] + change
                same = moved_by == at
                both[same] = answered[same]
                total[row] += _weight(after[row], both).min()
        return total

    def _moved(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return the first substation at which ``[n, E]`` topologies differ from ``[1, E]``."""
        return self._layout.element_substation[(before != after).argmax(axis=1)]


def _weight(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how bad loadings ``[..., L]`` of two steps after each other are, ``[...]``."""
    over = second > NEAR_LIMIT
    excess = np.maximum(second - NEAR_LIMIT, 0).sum(axis=-1)
    return _BOTH * (over & (first > NEAR_LIMIT)).sum(axis=-1) + over.sum(axis=-1) + 3 * excess
