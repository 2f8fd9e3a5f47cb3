"""The action catalogue of a grid: order, text, legality and effect.

Shape letters: A actions, B grids, E element ends, L lines, S substations, m actions asked about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from envs.grid.action_sets import ActionSet, PowerSettings
from envs.grid.action_text import describe_all, line_text
from envs.grid.connectivity import Connectivity
from envs.grid.distinct_results import DistinctResults
from envs.grid.legality import Legality, RedispatchLimits
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
            if self._actions.powers is not None:
                settings |= self._actions.powers.grid2op_settings(place)
            found = self._made[place] = self._action_space(settings)
        return found


class ActionCatalogue:
    """The actions of a grid: those of a set, or all unitary ones, 487 on l2rpn_case14_sandbox.

    Legality follows grid2op's rules, see ``Legality`` and ``RedispatchLimits``, and effects
    ``grid2op.Action._BackendAction``: setting the busbar of one end of an open line closes it, its
    other end going where it was last connected.

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
        # what they do with generators and storage units; None if nothing
        self.powers: PowerSettings | None = None if actions is None else actions.powers
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
        tables = (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line)
        self._legality = Legality(
            layout,
            *tables,
            max_lines_changed=max_lines_changed,
            max_substations_changed=max_substations_changed,
        )
        self._connectivity = Connectivity(layout)
        powers = self.powers
        self._redispatch = None if powers is None else RedispatchLimits(layout, powers.redispatch)
        self._distinct = DistinctResults(
            layout, *tables, None if powers is None else powers.alike()
        )

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
        if actions.powers is not None:
            try:
                actions.powers.check_grid(action_space)
            except ValueError as error:
                grid = self.layout.name
                raise ValueError(f"the action set does not suit grid {grid!r}: {error}") from error
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
        return describe_all(self.layout, tables, self.powers)

    @property
    def sha256(self) -> str:
        """Hash of the whole list: what every action does, in order."""
        digest = hashlib.sha256()
        for table in (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line):
            digest.update(np.ascontiguousarray(table, dtype=np.int8).tobytes())
        if self.powers is not None:
            digest.update(self.powers.joined().tobytes())
        return digest.hexdigest()

    def text(self, action: int) -> str:
        """Return what ``action`` does, for people; ValueError if there is no such action."""
        return self.texts[check_action(action, self.num_actions)]

    def powered_substations(self, action: int) -> np.ndarray:
        """Return ``[*]`` int, where the generators and storage units are that ``action`` sets."""
        if self.powers is None:
            return np.zeros(0, dtype=np.int64)
        storages: Any = type(self.grid2op_actions[DO_NOTHING]).storage_to_subid
        generators = self.layout.generator_substation
        at = np.concatenate([generators, generators, storages])
        return np.unique(at[self.powers.changes()[action]])

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

    def legal(self, state: GridState | LegalityState) -> np.ndarray:
        """Return ``[B, A]`` int8, 1 = grid2op would play the action now (limits, cooldowns)."""
        legal = self._legality.legal(state)
        if self._redispatch is not None:
            assert isinstance(state, GridState)  # the fast simulator plays no redispatching
            legal = legal & self._redispatch.legal(state)
        return legal

    def illegal_reason(self, action: int, state: GridState | LegalityState, row: int = 0) -> str:
        """Return why grid2op would refuse ``action`` in grid ``row``, "" if it would not.

        Raises:
            ValueError: there is no such action or row.
        """
        action = check_action(action, self.num_actions)
        if not 0 <= row < len(state.line_status):
            raise ValueError(f"row is {row}, but the state is of {len(state.line_status)} grids")
        reason = self._legality.reason(action, state, row)
        if not reason and self._redispatch is not None:
            assert isinstance(state, GridState)
            reason = self._redispatch.reason(action, state, row)
        return reason

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
        return self._legality.impacts(actions, line_status)

    # -------------------------------------------------------------------------------- effects

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
        if not isinstance(actions, slice):
            actions = check_action_list(actions, self.num_actions)
        set_busbar, switch_busbar, set_line, switch_line = (
            table[actions]
            for table in (self.set_busbar, self.switch_busbar, self.set_line, self.switch_line)
        )
        layout, present = self.layout, topo_vect
        other = np.where(present > 0, np.int8(3) - present, present)
        result = np.where(switch_busbar, other[:, None], present[:, None])
        np.copyto(result, set_busbar, where=set_busbar != 0)

        ends_or, ends_ex = layout.line_or_position, layout.line_ex_position
        opens, opened = np.nonzero(set_line < 0)
        switches, switched = np.nonzero(switch_line)
        line_open = present[:, ends_or] < 0  # [B, L], both ends open together
        for ends in (ends_or, ends_ex):
            result[:, opens, ends[opened]] = -1
            result[:, switches, ends[switched]] = np.where(
                line_open[:, switched], last_busbar[:, ends[switched]], np.int8(-1)
            )
        for grid, line in np.argwhere(line_open):
            end_or, end_ex = ends_or[line], ends_ex[line]
            at_or, at_ex = set_busbar[:, end_or] > 0, set_busbar[:, end_ex] > 0
            result[grid, at_or & ~at_ex, end_ex] = last_busbar[grid, end_ex]
            result[grid, at_ex & ~at_or, end_or] = last_busbar[grid, end_or]
        return result

    def distinct(self, state: GridState) -> np.ndarray:
        """Return ``[B, A]`` int8: one legal action for each distinct topology within reach.

        The first of each is kept, and action 0, but no other that changes nothing. Actions that do
        different things with power are distinct in any case.
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
