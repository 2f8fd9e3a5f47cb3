"""``agent/teacher=plans``: the look-ahead teacher, which finds what whole plans lead to, too.

Shape letters: B environments, E element ends, L lines, P topologies of a state.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from agents.environments import VectorEnvironment
from agents.muzero.teacher import Advice
from agents.parts import KeywordsOf
from agents.power_grid.grid_access import require_fast_grids
from agents.power_grid.lookahead_teacher import LOADINGS, LookaheadTeacher
from agents.power_grid.plan_target import PLANNED_LOADINGS, TOPOLOGIES
from envs import ForecastRollouts, PowerGridVectorEnv, Rollouts, lines_at_risk
from powergrid_muzero.checks import check_count


class PlanTeacher(LookaheadTeacher):
    """Teaches as ``LookaheadTeacher`` does, and finds what plans lead to on the forecast held.

    Plans are drawn: of each length any, of which some of the best are continued; and after some
    of them a line at risk is lost.

    Args:
        length: actions of a plan, at most.
        drawn: plans of each length that are looked at.
        losses: of those, plans of any length, after which lines are lost.
        seed: of what is drawn, together with the state.
        lookahead: of ``LookaheadTeacher``.

    Raises:
        ValueError: a number is out of its range.
    """

    findings: tuple[str, ...] = (LOADINGS, TOPOLOGIES, PLANNED_LOADINGS)
    _rebuilt = (*LookaheadTeacher._rebuilt, "_grids", "_rollouts")  # by ``bind``

    _followed = 3  # plans of each length that are continued,
    _best = 8  # drawn of so many
    _lines = 3  # lost after a plan, each by itself

    def __init__(
        self,
        *,
        length: int = 4,
        drawn: int = 20,
        losses: int = 6,
        seed: int = 0,
        **lookahead: Annotated[Any, KeywordsOf(LookaheadTeacher)],
    ) -> None:
        super().__init__(**lookahead)
        self._length = check_count("length", length)
        self._drawn = check_count("drawn", drawn)
        self._losses = check_count("losses", losses)
        self._seed = check_count("seed", seed, least=0)
        self._grids: PowerGridVectorEnv | None = None
        self._rollouts: ForecastRollouts | None = None

    def bind(self, env: VectorEnvironment) -> None:
        """See ``Teacher.bind``; ValueError if the fast simulator does not play these grids."""
        super().bind(env)
        instead = "agent/teacher=none and agent.plan.taught_decisions=0"
        grids = require_fast_grids(env, "agent/teacher=plans", instead=instead)
        self._grids = grids
        self._rollouts = grids.rollouts(unusual=False)

    def advise(self, action_mask: np.ndarray) -> Advice:
        """See ``Teacher.advise``; ValueError if it was bound to no environment.

        Beside ``LOADINGS`` it finds topologies ``[B, P, E]``, 0 beyond those that there are, and
        the loadings ``[B, P, L]`` in them, inf where there are none.
        """
        advice = super().advise(action_mask)
        assert self._grids is not None and self._rollouts is not None  # bound
        layout, rollouts = self._grids.layout, self._rollouts
        num_grids = len(action_mask)
        size = 1 + self._length * self._drawn + self._losses * self._lines
        topologies = np.zeros((num_grids, size, layout.num_elements), dtype=np.int8)
        planned = np.zeros((num_grids, size, layout.num_lines), dtype=np.float32)
        for grid, step in enumerate(self._grids.state.step.tolist()):
            root = rollouts.begin(grid)
            found = self._plan(rollouts, root, np.random.default_rng([self._seed, grid, step]))
            topologies[grid, : len(found)] = found
            planned[grid, : len(found)] = rollouts.loadings(found)
        findings = {TOPOLOGIES: topologies, PLANNED_LOADINGS: planned}
        return advice._replace(findings={**advice.findings, **findings})

    def _plan(
        self, rollouts: ForecastRollouts, root: Rollouts, rng: np.random.Generator
    ) -> np.ndarray:
        """Return ``[n, E]`` topologies, n at most P, that plans from ``root``, ``[1]``, lead to."""
        assert self._grids is not None
        layout = self._grids.layout
        states, found = root, [root.topology]
        for _ in range(self._length):
            steps = rollouts.choices(states)
            steps = steps.of(rng.permutation(len(steps.rows))[: self._drawn])
            if not len(steps.rows):
                break
            found.append(steps.topology)
            worst = rollouts.loadings(steps.topology).max(axis=1)
            best = rng.permutation(np.argsort(worst)[: self._best])[: self._followed]
            states = rollouts.step(states, steps.of(best))
        planned = np.concatenate(found)
        lines = lines_at_risk(layout, self._grids.opponent)
        for topology in rng.permutation(planned)[: self._losses]:
            for line in rng.permutation(lines)[: self._lines]:
                lost = topology.copy()
                for ends in (layout.line_or_position, layout.line_ex_position):
                    lost[ends[line]] = -1
                found.append(lost[None])
        return np.unique(np.concatenate(found), axis=0)
