"""``GridPlanner``: plans several actions ahead, under stress and, to prevent, in calm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from agents.power_grid.baselines.reference_topology import check_loading
from agents.power_grid.beam import BeamSearch, Plan
from agents.power_grid.prevention import Prevention
from agents.power_grid.screening import Screening
from envs import (
    DO_NOTHING,
    ActionCatalogue,
    ForecastRollouts,
    Foresight,
    PowerGridVectorEnv,
    Rollouts,
    Steps,
    lines_at_risk,
)
from powergrid_muzero.checks import check_count
from powergrid_muzero.copies import Copyable

_TABLES_LAST = 36  # steps for which estimates of what answers do are good enough
_FAR_LAST = 24  # steps from a search of several calm actions that found too little to the next
_CALM = 0.02  # loading below the threshold that an action taken in calm must leave
_RISK = 0.02  # lines that may be expected to trip in a plan that is continued


@dataclass
class _Memory:
    """What the planner keeps of one grid from decision to decision."""

    step: int = 0  # of the latest decision
    plan: tuple[int, ...] = ()  # what is left of the plan under stress
    course: tuple[int, ...] = ()  # what is left of several calm actions in a row
    prepared: dict[int, Plan] = field(default_factory=dict)  # line -> the answer to its loss
    tables: dict[int, Screening] = field(default_factory=dict)  # line -> estimates after its loss
    tables_step: int = 0  # at which those were begun
    far_from: int = 0  # step from which on several calm actions in a row are searched
    rests_until: int = 0  # step from which on something is prevented again


class Decision(NamedTuple):
    """What the planner does in one grid."""

    action: int
    ahead: int  # actions of the plan that it is the first of; 0 without any


class GridPlanner(Copyable):
    """Looks several actions ahead on copies of the grid, under stress and in calm.

    Under stress (a loading of ``threshold``, now or in the forecast) a beam search follows the best
    plans of up to ``depth`` actions on the forecast held, cooldowns, overload counters and trips
    included. Where no topology is below its limits, overloads are passed from line to line before
    any line trips. A plan that leads out of the stress is continued while the newest forecast
    agrees and two of its actions are left; else the search begins anew at each step.

    In calm it prevents: for each line that may be lost, it searches the answer to the loss. If
    some loss has no good answer, it looks for an action after which all have one. Lines are closed
    when they may be. While a line is held out, nothing is prevented.

    It sees the present forecast, never a later row, and knows of no attack before it happens.

    Args:
        threshold: loading from which on the grid is under stress.
        safe: loading below which a plan is done.
        depth: actions ahead under stress.
        width: plans that are followed on.
        solved: plans of each length, beyond single actions, whose power flows are solved, chosen by
            estimates.
        expanded: of the plans followed on, the best ones, all of whose next actions are solved.
        widening: times as many plans are followed, solved and expanded where the first search finds
            none in which lines may be expected to hold.
        error: standard deviation of foreseen loadings, per unit, by which risks are reckoned.
        margin: loading after a loss below which it needs no answer.
        answer_depth: actions ahead in an answer to a loss.
        answer_width: the same as ``width``, for answers.
        answer_solved: the same as ``solved``, for answers.
        answer_expanded: the same as ``expanded``, for answers.
        candidates: calm actions whose losses are answered before one is chosen.
        grave: danger from which on several calm actions in a row are searched.
        courses: of those, how many of each length are followed on; 0 searches none.
        tolerance: danger (see ``Prevention``) that is let be.
        gain: danger that a calm action must take away.
        rest: steps from one choice of a calm action to the next.
    """

    _rebuilt = ("_catalogue", "_rollouts", "_beam", "_wide", "_prevention")  # by ``meet``

    def __init__(
        self,
        *,
        threshold: float = 0.99,
        safe: float = 0.95,
        depth: int = 4,
        width: int = 20,
        solved: int = 60,
        expanded: int = 4,
        widening: int = 6,
        error: float = 0.015,
        margin: float = 1.0,
        answer_depth: int = 3,
        answer_width: int = 6,
        answer_solved: int = 24,
        answer_expanded: int = 2,
        candidates: int = 20,
        grave: float = 5.0,
        courses: int = 12,
        tolerance: float = 0.5,
        gain: float = 0.5,
        rest: int = 6,
    ) -> None:
        """Make it.

        Raises:
            ValueError: a setting out of its range.
        """
        self._threshold = check_loading("threshold", threshold)
        self._safe = check_loading("safe", safe)
        self._margin = check_loading("margin", margin)
        self._tolerance = check_loading("tolerance", tolerance, "danger")
        self._gain = check_loading("gain", gain, "danger")
        self._error = check_loading("error", error, "deviation")
        if not self._error:
            raise ValueError("error is 0; expected more: forecasts are never exact.")
        self._size = {
            "depth": check_count("depth", depth),
            "width": check_count("width", width),
            "solved": check_count("solved", solved),
            "expanded": check_count("expanded", expanded, least=0),
        }
        self._widening = check_count("widening", widening)
        self._answer_size = {
            "depth": check_count("answer_depth", answer_depth),
            "width": check_count("answer_width", answer_width),
            "solved": check_count("answer_solved", answer_solved),
            "expanded": check_count("answer_expanded", answer_expanded, least=0),
        }
        self._candidates = check_count("candidates", candidates)
        self._grave = check_loading("grave", grave, "danger")
        self._courses = check_count("courses", courses, least=0)
        self._rest = check_count("rest", rest, least=0)
        self._calm = self._threshold - _CALM
        self._memories: list[_Memory] = []
        self._catalogue: ActionCatalogue | None = None
        self._rollouts: ForecastRollouts | None = None
        self._beam: BeamSearch | None = None
        self._wide: BeamSearch | None = None
        self._prevention: Prevention | None = None

    def meet(self, grids: PowerGridVectorEnv, foresight: Foresight | None = None) -> None:
        """Plan for these grids from now on.

        Args:
            grids: of the fast simulator, whose rules and state are read.
            foresight: what says what topologies lead to; None: the simulator's power flow.
        """
        self._catalogue = grids.catalogue
        rollouts = self._rollouts = grids.rollouts(unusual=False, foresight=foresight)
        shared = {"error": self._error, "endures": rollouts.endures, "trips_at": rollouts.trips_at}
        self._beam = BeamSearch(grids.layout, **self._size, **shared, safe=self._safe)
        more = {name: size * self._widening for name, size in self._size.items()}
        more["depth"] = self._size["depth"]
        self._wide = BeamSearch(grids.layout, **more, **shared, safe=self._safe)
        answers = BeamSearch(grids.layout, **self._answer_size, **shared, safe=self._margin)
        self._prevention = Prevention(
            grids.layout,
            lines_at_risk(grids.layout, grids.opponent),
            answers,
            safe=self._calm,
            margin=self._margin,
            tolerance=self._tolerance,
            gain=self._gain,
            candidates=self._candidates,
            grave=self._grave,
            courses=self._courses,
        )
        if len(self._memories) != grids.num_envs:
            self._memories = [_Memory() for _ in range(grids.num_envs)]

    def forget(self, grid: int | None = None) -> None:
        """Forget what was kept of a grid, where another episode is played; None: of all."""
        for number in range(len(self._memories)) if grid is None else [grid]:
            self._memories[number] = _Memory()

    def latest_steps(self) -> np.ndarray:
        """Return ``[B]`` int, the grid steps at which it decided last."""
        return np.array([memory.step for memory in self._memories])

    def decide(self, grid: int, step: int) -> Decision:
        """Return what to do in a grid, which is at ``step`` of its scenario.

        What is kept from decision to decision (plans, answers to losses) is kept by grid.
        """
        memory = self._memories[grid]
        memory.step = step
        action = self._decide(grid)
        left = len(memory.plan) + len(memory.course)
        return Decision(action, left + (action != DO_NOTHING))

    def _decide(self, grid: int) -> int:
        assert self._rollouts is not None and self._prevention is not None
        rollouts, memory = self._rollouts, self._memories[grid]
        root = rollouts.begin(grid)
        ahead = rollouts.loadings(root.topology)
        if max(root.rho.max(), ahead.max()) >= self._threshold:
            memory.course = ()
            return self._relieve(root, memory)
        memory.plan = ()
        assert self._catalogue is not None
        layout = self._catalogue.layout
        out = root.topology[0, layout.line_or_position] < 0
        if out.any():
            return self._close(root, np.flatnonzero(out & (root.line_cooldown[0] == 0)))
        if memory.step < memory.rests_until and not memory.course:
            return DO_NOTHING
        if memory.step - memory.tables_step >= _TABLES_LAST:
            memory.tables, memory.tables_step = {}, memory.step
        if memory.course:
            going = rollouts.choice(root, memory.course[0])
            if going is not None and rollouts.loadings(going.topology).max() < self._calm:
                action, memory.course = memory.course[0], memory.course[1:]
                return action
        memory.rests_until = memory.step + self._rest
        far = memory.step >= memory.far_from
        course = self._prevention.choose(rollouts, root, memory.prepared, memory.tables, far=far)
        if far and course.danger > self._prevention.grave:
            memory.far_from = memory.step + _FAR_LAST  # no more is found in the next steps either
        if not course.actions:
            return DO_NOTHING
        memory.course = course.actions[1:]
        return course.actions[0]

    def _relieve(self, root: Rollouts, memory: _Memory) -> int:
        """Return the next action under stress."""
        assert self._rollouts is not None and self._beam is not None and self._wide is not None
        if len(memory.plan) > 1:
            plan = self._beam.follow(self._rollouts, root, memory.plan)
            if plan.risk > _RISK or plan.rho >= self._threshold:
                memory.plan = ()  # it may end where there is no way on: look further
        if len(memory.plan) < 2:
            plan = self._beam.search(self._rollouts, root)
            if plan.risk > _RISK and self._widening > 1:
                plan = self._wide.search(self._rollouts, root)
            memory.plan = plan.actions
        if not memory.plan:
            return DO_NOTHING
        memory.plan, action = memory.plan[1:], memory.plan[0]
        return action

    def _close(self, root: Rollouts, lines: np.ndarray) -> int:
        """Return an action that closes one of some lines where the forecast allows it."""
        rollouts, catalogue = self._rollouts, self._catalogue
        assert rollouts is not None and catalogue is not None
        if not len(lines):
            return DO_NOTHING
        actions = catalogue.switch_line_action[lines]
        after = catalogue.results(root.topology, root.last_busbar, actions.tolist())[0]
        worst = rollouts.step(root, Steps(np.zeros(len(lines), np.int64), actions, after)).rho
        best = int(worst.max(axis=1).argmin())
        return int(actions[best]) if worst[best].max() < self._threshold else DO_NOTHING
