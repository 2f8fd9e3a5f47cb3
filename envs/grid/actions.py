"""The action catalogue of a grid: order, text, legality and effect.

Shape letters: A actions, B grids, E element ends, L lines, S substations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from envs.grid.action_sets import ActionSet
from envs.grid.action_text import describe, line_text
from envs.grid.connectivity import Connectivity
from envs.grid.distinct_results import DistinctResults
from envs.grid.state import GridLayout, GridState, LegalityState
from powergrid_muzero.checks import check_action, check_action_list
from powergrid_muzero.names import choose

if TYPE_CHECKING:
    from grid2op.Action import ActionSpace, BaseAction

DO_NOTHING = 0  # the action that changes nothing, first of every grid's catalogue
REFERENCE_BUSBAR = 1  # of every element end in the reference topology
MASKS = ("legal", "distinct", "connected")
# what grid2op calls the tables of a set, in their order
_KINDS = ("set_bus", "change_bus", "set_line_status", "change_line_status")


def unitary_actions(action_space: ActionSpace) -> list[BaseAction]:
    """Return doing nothing and every unitary topology action, in grid2op's own order.

    It is that of ``DiscreteActSpace(attr_to_keep=["set_bus", "change_bus", "set_line_status",
    "change_line_status"])``, which goes through the kinds by alphabet. A kind that the grid's
    action class does not have is left out.
    """
    makers = {
        "change_bus": action_space.get_all_unitary_topologies_change,
        "change_line_status": action_space.get_all_unitary_line_change,
        "set_bus": action_space.get_all_unitary_topologies_set,
        "set_line_status": action_space.get_all_unitary_line_set,
    }
    offered: Any = action_space.supports_type
    actions = [action_space({})]
    for kind, make in makers.items():
        if offered(kind):
            actions += make(action_space)
    return actions


class _ActionsOfSet(Sequence["BaseAction"]):
    """grid2op's objects of the actions of a set, made when they are asked for."""

    def __init__(self, action_space: ActionSpace, actions: ActionSet):
        self._action_space = action_space
        self._actions = actions
        self._made: dict[int, BaseAction] = {}

    def __len__(self) -> int:
        """Return A."""
        return len(self._actions)

    @overload
    def __getitem__(self, number: int) -> BaseAction: ...
    @overload
    def __getitem__(self, number: slice) -> list[BaseAction]: ...
    def __getitem__(self, number: int | slice) -> BaseAction | list[BaseAction]:
        """Return an action, or several."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        place = range(len(self))[number]
        found = self._made.get(place)
        if found is None:
            tables = zip(_KINDS, self._actions.tables, strict=True)
            rows = {kind: table[place] for kind, table in tables}
            settings: Any = {
                kind: row if row.dtype == np.bool_ else row.astype(np.int32)
                for kind, row in rows.items()
                if row.any()
            }
            found = self._made[place] = self._action_space(settings)
        return found


class ActionCatalogue:
    """The actions of a grid: those of a set, or all unitary ones, 487 on l2rpn_case14_sandbox.

    Legality follows ``grid2op.Rules.DefaultRules`` and effects
    ``grid2op.Action._BackendAction``: a line's status counts as one line, however many of its ends
    are named; moving element ends counts for their substation; setting the busbar of one end of an
    open line closes it, its other end going where it was last connected.

    Args:
        action_space: of the grid2op environment.
        layout: of the same grid.
        actions: to choose from; None for all unitary topology actions.
        max_lines_changed: line statuses an action may change (MAX_LINE_STATUS_CHANGED).
        max_substations_changed: substations an action may change (MAX_SUB_CHANGED).

    Raises:
        ValueError: the set is of another grid, or has a kind of actions that the grid has not.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        layout: GridLayout,
        *,
        actions: ActionSet | None = None,
        max_lines_changed: int = 1,
        max_substations_changed: int = 1,
    ):
        self.layout = layout
        self.max_lines_changed = max_lines_changed
        self.max_substations_changed = max_substations_changed
        self.action_set = actions
        self.grid2op_actions: Sequence[BaseAction]  # A, what grid2op's step takes
        if actions is None:
            self._take_all(action_space)
        else:
            self._take(action_space, actions)
        for table in (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line):
            table.setflags(write=False)

        # [L] the action that closes an open line at its former busbars (and opens a closed one);
        # 0, which does nothing, where a set has none
        self.switch_line_action = self.switch_line.argmax(axis=0)
        self._prepare_rules()
        self._prepare_effects()

    def _take_all(self, action_space: ActionSpace) -> None:
        self.grid2op_actions = unitary_actions(action_space)
        # [A, E] int8 busbar to connect to, 0 for as it is; [A, E] bool other busbar;
        # [A, L] int8 1 close, -1 open, 0 as it is; [A, L] bool close if open, open if closed
        # (the public attributes raise for kinds that the grid's action class does not have)
        acts = self.grid2op_actions
        self.set_busbar = np.array([act._set_topo_vect for act in acts], dtype=np.int8)
        self.switch_busbar = np.array([act._change_bus_vect for act in acts], dtype=np.bool_)
        self.set_line = np.array([act._set_line_status for act in acts], dtype=np.int8)
        self.switch_line = np.array([act._switch_line_status for act in acts], dtype=np.bool_)
        assert (self.set_busbar >= 0).all()  # grid2op opens lines by their status only

    def _take(self, action_space: ActionSpace, actions: ActionSet) -> None:
        actions.check_layout(self.layout)
        offered: Any = action_space.supports_type
        for kind, table in zip(_KINDS, actions.tables, strict=True):
            if table.any() and not offered(kind):
                raise ValueError(
                    f"the action set has actions that {kind}, and the actions of grid "
                    f"{self.layout.name!r} cannot do that"
                )
        self.grid2op_actions = _ActionsOfSet(action_space, actions)
        self.set_busbar, self.switch_busbar, self.set_line, self.switch_line = actions.tables

    def __deepcopy__(self, memo: dict[int, Any]) -> ActionCatalogue:
        """Return itself: nothing in it changes."""
        return self

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.grid2op_actions)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What each action does, for people; A of them."""
        tables = (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line)
        return tuple(describe(self.layout, *rows) for rows in zip(*tables, strict=True))

    @property
    def sha256(self) -> str:
        """Hash of the whole list: what every action does, in order."""
        digest = hashlib.sha256()
        for table in (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line):
            digest.update(np.ascontiguousarray(table, dtype=np.int8).tobytes())
        return digest.hexdigest()

    def text(self, action: int) -> str:
        """Return what ``action`` does, for people; ValueError if there is no such action."""
        return self.texts[check_action(action, self.num_actions)]

    def need_line_switches(self, who: str) -> None:
        """Refuse a set in which a line cannot be closed at its former busbars.

        Args:
            who: needs them, for the message.

        Raises:
            ValueError: it names the first line.
        """
        missing = np.flatnonzero(~self.switch_line.any(axis=0))
        if len(missing):
            raise ValueError(
                f"{who} needs an action that switches each line, and the action set has none for "
                f"{line_text(self.layout, int(missing[0]))} ({len(missing)} lines in all): add "
                "them with powergrid-actions merge --line-switches"
            )

    def mask(self, kind: str, state: GridState) -> np.ndarray:
        """Return the mask called ``kind``, one of ``MASKS``: ``[B, A]`` int8."""
        return getattr(self, choose("action mask", kind, MASKS))(state)

    # ------------------------------------------------------------------------------- legality

    def _prepare_rules(self) -> None:
        layout = self.layout
        num_actions, num_elements = self.set_busbar.shape
        num_lines = layout.num_lines
        set_end = (self.set_busbar[:, layout.line_or_position] > 0) | (
            self.set_busbar[:, layout.line_ex_position] > 0
        )
        touched = (self.set_line != 0) | self.switch_line
        # acting on an open line by its status, or setting the busbar of one of its ends, is about
        # the line and no longer about the substations at its ends
        spared_if_open = touched | set_end

        line_of_element = np.full(num_elements, -1)
        line_of_element[layout.line_or_position] = np.arange(num_lines)
        line_of_element[layout.line_ex_position] = np.arange(num_lines)
        moved = (self.set_busbar != 0) | self.switch_busbar
        pairs: dict[tuple[int, int], int] = {}  # (action, substation) -> number
        always: list[bool] = []
        while_closed: list[np.ndarray] = []
        for action, element in np.argwhere(moved):
            pair = (int(action), int(layout.element_substation[element]))
            if pair not in pairs:
                pairs[pair] = len(pairs)
                always.append(False)
                while_closed.append(np.zeros(num_lines, dtype=np.float32))
            line = line_of_element[element]
            if line >= 0 and spared_if_open[action, line]:
                while_closed[pairs[pair]][line] = 1
            else:
                always[pairs[pair]] = True

        self._recent: dict[tuple[bytes, bytes, bytes], np.ndarray] = {}
        self._touched = touched
        self._closes = set_end & ~touched  # [A, L] changes the status of the line if it is open
        self._touched_f = np.ascontiguousarray(touched.T, dtype=np.float32)  # [L, A]
        self._closes_f = np.ascontiguousarray(self._closes.T, dtype=np.float32)  # [L, A]
        self._num_touched = touched.sum(axis=1).astype(np.float32)  # [A]
        # P pairs of an action and a substation it may change; the last one is none at all
        self._pair_substation = np.array([s for _, s in pairs] + [0])  # [P]
        self._pair_always = np.array([*always, False])  # [P]
        self._pair_while_closed = np.ascontiguousarray(
            np.array([*while_closed, np.zeros(num_lines)], dtype=np.float32).T
        )  # [L, P]
        per_action: list[list[int]] = [[] for _ in range(num_actions)]
        for (action, _), number in pairs.items():
            per_action[action].append(number)
        width = max(1, *(len(numbers) for numbers in per_action))
        self._action_pairs = np.array(
            [numbers + [len(pairs)] * (width - len(numbers)) for numbers in per_action]
        ).T.copy()  # [width, A]

    def _substations_changed(self, closed: np.ndarray) -> np.ndarray:
        """Return ``[B, P]`` bool: does the pair's action change the pair's substation."""
        return self._pair_always | (closed @ self._pair_while_closed > 0)

    def legal(self, state: GridState | LegalityState) -> np.ndarray:
        """Return ``[B, A]`` int8, 1 = grid2op would play the action now (limits, cooldowns)."""
        if len(state.line_status) > 1:
            return self._legal(state)
        # one grid seldom changes what the rules look at, so its last masks are kept
        key = (
            state.line_status.tobytes(),
            (state.line_cooldown > 0).tobytes(),
            (state.substation_cooldown > 0).tobytes(),
        )
        mask = self._recent.get(key)
        if mask is None:
            if len(self._recent) >= 256:
                self._recent.clear()
            mask = self._recent[key] = self._legal(state)
        return mask.copy()

    def _legal(self, state: GridState | LegalityState) -> np.ndarray:
        open_lines = ~state.line_status
        closed = state.line_status.astype(np.float32)
        pairs = self._substations_changed(closed)
        lines = self._num_touched
        if open_lines.any():
            lines = lines + open_lines.astype(np.float32) @ self._closes_f
        substations = pairs[:, self._action_pairs[0]].astype(np.int8)
        for numbers in self._action_pairs[1:]:
            substations += pairs[:, numbers]
        legal = (substations <= self.max_substations_changed) & (lines <= self.max_lines_changed)
        cooling_lines = state.line_cooldown > 0
        if cooling_lines.any():
            too_soon = cooling_lines.astype(np.float32) @ self._touched_f
            too_soon += (cooling_lines & open_lines).astype(np.float32) @ self._closes_f
            legal &= too_soon == 0
        cooling_substations = state.substation_cooldown > 0
        if cooling_substations.any():
            pairs &= cooling_substations[:, self._pair_substation]
            for numbers in self._action_pairs:
                legal &= ~pairs[:, numbers]
        return legal.view(np.int8)

    def illegal_reason(self, action: int, state: GridState | LegalityState, row: int = 0) -> str:
        """Return why grid2op would refuse ``action`` in grid ``row``, "" if it would not.

        Raises:
            ValueError: there is no such action or row.
        """
        action = check_action(action, self.num_actions)
        if not 0 <= row < len(state.line_status):
            raise ValueError(f"row is {row}, but the state is of {len(state.line_status)} grids")
        layout = self.layout
        open_lines = ~state.line_status[row]
        lines = np.flatnonzero(self._touched[action] | (self._closes[action] & open_lines))
        pairs = self._substations_changed(state.line_status[row : row + 1].astype(np.float32))[0]
        numbers = self._action_pairs[:, action]
        substations = self._pair_substation[numbers[pairs[numbers]]]
        if len(lines) > self.max_lines_changed:
            names = ", ".join(layout.line_names[line] for line in lines)
            return (
                f"changes the status of {len(lines)} lines ({names}), "
                f"{self.max_lines_changed} allowed"
            )
        if len(substations) > self.max_substations_changed:
            names = ", ".join(str(substation) for substation in substations)
            return (
                f"changes {len(substations)} substations ({names}), "
                f"{self.max_substations_changed} allowed"
            )
        for line in lines:
            if steps := int(state.line_cooldown[row, line]):
                return f"line {layout.line_names[line]} is in cooldown for {_steps(steps)}"
        for substation in substations:
            if steps := int(state.substation_cooldown[row, substation]):
                return f"substation {substation} is in cooldown for {_steps(steps)}"
        return ""

    # -------------------------------------------------------------------------------- effects

    def _prepare_effects(self) -> None:
        layout = self.layout
        self._connectivity = Connectivity(layout)
        self._is_set = self.set_busbar != 0
        self._opens, self._opened_lines = np.nonzero(self.set_line < 0)
        self._switches, self._switched_lines = np.nonzero(self.switch_line)
        at_or = self.set_busbar[:, layout.line_or_position] > 0
        at_ex = self.set_busbar[:, layout.line_ex_position] > 0
        self._closes_from_or = [np.flatnonzero(column) for column in (at_or & ~at_ex).T]
        self._closes_from_ex = [np.flatnonzero(column) for column in (at_ex & ~at_or).T]
        self._distinct = DistinctResults(
            layout, self.set_busbar, self.switch_busbar, self.set_line, self.switch_line
        )

    def results(
        self,
        topo_vect: np.ndarray,
        last_busbar: np.ndarray,
        actions: Sequence[int] | np.ndarray | slice = slice(None),
    ) -> np.ndarray:
        """Return the topology that each action makes of each grid's, legal or not.

        Args:
            topo_vect: ``[B, E]`` int8, present busbars, -1 for the ends of open lines.
            last_busbar: ``[B, E]`` int8, busbars where last connected (``GridState.last_busbar``).
            actions: ``[K]`` which ones; all by default.

        Returns:
            ``[B, K, E]`` int8, as ``topo_vect``; lines that trip afterwards are not foreseen.

        Raises:
            ValueError: there is no such action.
        """
        rows: Sequence[int] | slice = (
            actions
            if isinstance(actions, slice)
            else check_action_list(actions, self.num_actions).tolist()
        )
        layout, present = self.layout, topo_vect
        other = np.where(present > 0, np.int8(3) - present, present)
        result = np.where(self.switch_busbar, other[:, None], present[:, None])
        np.copyto(result, self.set_busbar, where=self._is_set)

        result[:, self._opens, layout.line_or_position[self._opened_lines]] = -1
        result[:, self._opens, layout.line_ex_position[self._opened_lines]] = -1
        line_open = present[:, layout.line_or_position] < 0  # [B, L], both ends open together
        for ends in (layout.line_or_position, layout.line_ex_position):
            switched = ends[self._switched_lines]
            result[:, self._switches, switched] = np.where(
                line_open[:, self._switched_lines], last_busbar[:, switched], np.int8(-1)
            )
        for grid, line in np.argwhere(line_open):
            position_or, position_ex = layout.line_or_position[line], layout.line_ex_position[line]
            result[grid, self._closes_from_or[line], position_ex] = last_busbar[grid, position_ex]
            result[grid, self._closes_from_ex[line], position_or] = last_busbar[grid, position_or]
        return result[:, rows]

    def distinct(self, state: GridState) -> np.ndarray:
        """Return ``[B, A]`` int8: one legal action for each distinct topology within reach.

        The first of each is kept, and action 0, but no other that changes nothing.
        """
        legal = self.legal(state).view(np.bool_)
        grids, actions, _ = self._distinct.find(legal, state.topo_vect, state.last_busbar)
        return self._mask(len(legal), grids, actions)

    def connected(self, state: GridState) -> np.ndarray:
        """Return ``[B, A]`` int8: of the distinct actions those that hold the grid together.

        What cuts off an element or a part of the grid ends the game at once, which takes no power
        flow to tell. Action 0 is always kept.
        """
        grids, actions, _ = self.choices(state, state.topo_vect, state.last_busbar)
        return self._mask(len(state.topo_vect), grids, actions)

    def _mask(self, num_grids: int, grids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        mask = np.zeros((num_grids, self.num_actions), dtype=np.int8)
        mask[grids, actions] = 1
        return mask

    def connected_topologies(self, topologies: np.ndarray) -> np.ndarray:
        """Return ``[n]`` bool: which of ``[n, E]`` int8 topologies hold the grid together."""
        return self._connectivity.connected(topologies)

    def choices(
        self, rules: GridState | LegalityState, topo_vect: np.ndarray, last_busbar: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the ``connected`` actions of B grids one after another, with what they lead to.

        Args:
            rules: of the grids.
            topo_vect: ``[B, E]`` int8.
            last_busbar: ``[B, E]`` int8.

        Returns:
            Of m actions the grid ``[m]`` int, the number ``[m]`` int and the topology ``[m, E]``.
        """
        legal = self.legal(rules).view(np.bool_)
        return self._distinct.find(legal, topo_vect, last_busbar, connected=True)

    def impacts(
        self, actions: np.ndarray, line_status: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what m actions count as acting on, for the cooldowns.

        Args:
            actions: ``[m]`` int.
            line_status: ``[m, L]`` bool, True = closed, before each of them.

        Returns:
            ``[m, L]`` bool lines, and ``[m, S]`` bool substations.
        """
        lines = self._touched[actions] | (self._closes[actions] & ~line_status)
        changed = self._substations_changed(line_status.astype(np.float32))
        rows = np.arange(len(actions))
        substations = np.zeros((len(actions), self.layout.num_substations), dtype=np.bool_)
        for numbers in self._action_pairs[:, actions]:
            substations[rows, self._pair_substation[numbers]] |= changed[rows, numbers]
        return lines, substations


def _steps(count: int) -> str:
    return "1 more step" if count == 1 else f"{count} more steps"
