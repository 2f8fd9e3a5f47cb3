"""What grid2op would refuse, and what an action counts as acting on.

Most actions of a large grid differ only in which busbars they choose, and that is all the same to
the rules. So legality is told for each kind of action: 300 kinds of 134,083 actions on 36
substations.

Shape letters: A actions, B grids, E element ends, G generators, K kinds of actions, L lines, P
pairs of a kind and a substation, S substations, m actions asked about.
"""

from __future__ import annotations

import numpy as np

from envs.grid.state import GridLayout, GridState, LegalityState

_CHUNK = 4096  # actions looked at together
_REMEMBERED = 256  # masks
_LEAST_STEP = 1e-7  # MW of redispatching that grid2op heeds


class Legality:
    """The rules of ``grid2op.Rules.DefaultRules`` or ``RulesByArea``, for given actions.

    A line's status counts as one line, however many of its ends are named; moving element ends
    counts for their substation; setting the busbar of one end of an open line closes the line, and
    counts for the line alone. With areas, limits hold in each of them; a line belongs to that of
    its origin.

    Args:
        layout: of the grid.
        set_busbar: ``[A, E]`` int8, see ``ActionCatalogue``; so are the others.
        switch_busbar: ``[A, E]`` bool.
        set_line: ``[A, L]`` int8.
        switch_line: ``[A, L]`` bool.
        max_lines_changed: line statuses an action may change (MAX_LINE_STATUS_CHANGED).
        max_substations_changed: substations an action may change (MAX_SUB_CHANGED).
    """

    def __init__(
        self,
        layout: GridLayout,
        set_busbar: np.ndarray,
        switch_busbar: np.ndarray,
        set_line: np.ndarray,
        switch_line: np.ndarray,
        *,
        max_lines_changed: int,
        max_substations_changed: int,
    ):
        self._layout = layout
        self._max_lines = max_lines_changed
        self._max_substations = max_substations_changed
        ends = layout.line_or_position, layout.line_ex_position
        self._line_of_end = np.full(layout.num_elements, -1)
        for positions in ends:
            self._line_of_end[positions] = np.arange(layout.num_lines)
        first, self._kind = self._kinds(set_busbar, switch_busbar, set_line, switch_line)
        self._recent: dict[tuple[bytes, bytes, bytes], np.ndarray] = {}

        set_end = (set_busbar[first][:, ends[0]] > 0) | (set_busbar[first][:, ends[1]] > 0)
        touched = (set_line[first] != 0) | switch_line[first]
        self._touched = touched  # [K, L] names the status of the line
        self._closes = set_end & ~touched  # [K, L] changes the status of the line if it is open
        self._prepare_pairs((set_busbar[first] != 0) | switch_busbar[first], touched | set_end)
        one = np.zeros(layout.num_substations, dtype=np.int64)
        area = one if layout.areas is None else layout.areas
        lines = area[layout.line_or_substation]
        # for each area: [P] pairs of its substations; [L] its lines; [K] how many of them are named
        self._areas = [
            (
                area[self._pair_substation] == number,
                lines == number,
                touched[:, lines == number].sum(axis=1),
            )
            for number in np.unique(area)
        ]
        self._touched_f = np.ascontiguousarray(touched.T, dtype=np.float32)  # [L, K]
        self._closes_f = np.ascontiguousarray(self._closes.T, dtype=np.float32)  # [L, K]

    def _kinds(self, *tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``[K]`` int, the first action of each kind, and ``[A]`` int, the kind of each.

        Two actions are of a kind if they name the same lines, and the same substations by the same
        ends of lines that are spared, or else by any others.
        """
        layout, count = self._layout, len(tables[0])
        at = np.zeros((layout.num_elements, layout.num_substations), dtype=np.float32)
        at[np.arange(layout.num_elements), layout.element_substation] = 1
        is_line = self._line_of_end >= 0
        kinds: dict[bytes, int] = {}
        first, kind = [], np.empty(count, dtype=np.int64)
        for start in range(0, count, _CHUNK):
            set_busbar, switch_busbar, set_line, switch_line = (
                table[start : start + _CHUNK] for table in tables
            )
            moved = (set_busbar != 0) | switch_busbar
            touched = (set_line != 0) | switch_line
            set_end = (set_busbar[:, layout.line_or_position] > 0) | (
                set_busbar[:, layout.line_ex_position] > 0
            )
            spared = (touched | set_end)[:, self._line_of_end] & is_line & moved
            always = (moved & ~spared).astype(np.float32) @ at > 0
            rows = np.packbits(np.concatenate([touched, set_end, spared, always], axis=1), axis=1)
            for place, row in enumerate(rows, start):
                key = row.tobytes()
                number = kinds.setdefault(key, len(kinds))
                if number == len(first):
                    first.append(place)
                kind[place] = number
        return np.array(first), kind

    def _prepare_pairs(self, moved: np.ndarray, spared_if_open: np.ndarray) -> None:
        """Find the substations that each kind may change.

        Args:
            moved: ``[K, E]`` bool, element ends that it names.
            spared_if_open: ``[K, L]`` bool, lines whose ends count for the line alone while the
                line is open: it is named by its status, or by the busbar of one of its ends.
        """
        layout = self._layout
        pairs: dict[tuple[int, int], int] = {}  # (kind, substation) -> number
        always: list[bool] = []
        while_closed: list[np.ndarray] = []
        for kind, element in np.argwhere(moved):
            pair = (int(kind), int(layout.element_substation[element]))
            if pair not in pairs:
                pairs[pair] = len(pairs)
                always.append(False)
                while_closed.append(np.zeros(layout.num_lines, dtype=np.float32))
            line = self._line_of_end[element]
            if line >= 0 and spared_if_open[kind, line]:
                while_closed[pairs[pair]][line] = 1
            else:
                always[pairs[pair]] = True
        # the last pair is none at all
        self._pair_substation = np.array([s for _, s in pairs] + [0])  # [P]
        self._pair_always = np.array([*always, False])  # [P]
        self._pair_while_closed = np.ascontiguousarray(
            np.array([*while_closed, np.zeros(layout.num_lines)], dtype=np.float32).T
        )  # [L, P]
        per_kind: list[list[int]] = [[] for _ in range(len(moved))]
        for (kind, _), number in pairs.items():
            per_kind[kind].append(number)
        width = max(1, *(len(numbers) for numbers in per_kind))
        self._kind_pairs = np.array(
            [numbers + [len(pairs)] * (width - len(numbers)) for numbers in per_kind]
        ).T.copy()  # [width, K]

    def _substations_changed(self, closed: np.ndarray) -> np.ndarray:
        """Return ``[B, P]`` bool: does the pair's kind change the pair's substation."""
        return self._pair_always | (closed @ self._pair_while_closed > 0)

    def legal(self, state: GridState | LegalityState) -> np.ndarray:
        """Return ``[B, A]`` int8, 1 = grid2op would play the action now (limits, cooldowns)."""
        if len(state.line_status) > 1:
            return self._legal(state)[:, self._kind]
        # one grid seldom changes what the rules look at, so its last masks are kept
        key = (
            state.line_status.tobytes(),
            (state.line_cooldown > 0).tobytes(),
            (state.substation_cooldown > 0).tobytes(),
        )
        mask = self._recent.get(key)
        if mask is None:
            if len(self._recent) >= _REMEMBERED:
                self._recent.clear()
            mask = self._recent[key] = self._legal(state)
        return mask[:, self._kind]

    def _legal(self, state: GridState | LegalityState) -> np.ndarray:
        """Return ``[B, K]`` int8, as ``legal``."""
        open_lines = ~state.line_status
        pairs = self._substations_changed(state.line_status.astype(np.float32))
        legal = np.ones((len(pairs), len(self._touched)), dtype=np.bool_)
        for own_pairs, own_lines, named in self._areas:
            lines = named
            closing = open_lines & own_lines
            if closing.any():
                lines = lines + closing.astype(np.float32) @ self._closes_f
            own = pairs & own_pairs
            substations = np.zeros(legal.shape, dtype=np.int8)
            for numbers in self._kind_pairs:
                substations += own[:, numbers]
            legal &= (substations <= self._max_substations) & (lines <= self._max_lines)
        cooling_lines = state.line_cooldown > 0
        if cooling_lines.any():
            too_soon = cooling_lines.astype(np.float32) @ self._touched_f
            too_soon += (cooling_lines & open_lines).astype(np.float32) @ self._closes_f
            legal &= too_soon == 0
        cooling_substations = state.substation_cooldown > 0
        if cooling_substations.any():
            pairs &= cooling_substations[:, self._pair_substation]
            for numbers in self._kind_pairs:
                legal &= ~pairs[:, numbers]
        return legal.view(np.int8)

    def reason(self, action: int, state: GridState | LegalityState, row: int) -> str:
        """Return why grid2op would refuse ``action`` in grid ``row``, "" if it would not."""
        layout, kind = self._layout, self._kind[action]
        open_lines = ~state.line_status[row]
        lines = np.flatnonzero(self._touched[kind] | (self._closes[kind] & open_lines))
        pairs = self._substations_changed(state.line_status[row : row + 1].astype(np.float32))[0]
        numbers = self._kind_pairs[:, kind]
        changed = numbers[pairs[numbers]]
        where = "" if layout.areas is None else " in an area"
        for own_pairs, own_lines, _ in self._areas:
            some = lines[own_lines[lines]]
            if len(some) > self._max_lines:
                names = ", ".join(layout.line_names[line] for line in some)
                return (
                    f"changes the status of {len(some)} lines{where} ({names}), "
                    f"{self._max_lines} allowed"
                )
            found = self._pair_substation[changed[own_pairs[changed]]]
            if len(found) > self._max_substations:
                names = ", ".join(str(substation) for substation in found)
                return (
                    f"changes {len(found)} substations{where} ({names}), "
                    f"{self._max_substations} allowed"
                )
        for line in lines:
            if steps := int(state.line_cooldown[row, line]):
                return f"line {layout.line_names[line]} is in cooldown for {_steps(steps)}"
        for substation in self._pair_substation[changed]:
            if steps := int(state.substation_cooldown[row, substation]):
                return f"substation {substation} is in cooldown for {_steps(steps)}"
        return ""

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
        kinds = self._kind[actions]
        lines = self._touched[kinds] | (self._closes[kinds] & ~line_status)
        changed = self._substations_changed(line_status.astype(np.float32))
        rows = np.arange(len(kinds))
        substations = np.zeros((len(kinds), self._layout.num_substations), dtype=np.bool_)
        for numbers in self._kind_pairs[:, kinds]:
            substations[rows, self._pair_substation[numbers]] |= changed[rows, numbers]
        return lines, substations


class RedispatchLimits:
    """What grid2op lets redispatching ask of a generator: p_max - p_min at most, up or down.

    ``BaseEnv._prepare_redisp`` refuses what asks for more, whatever the generator gives at present.

    Args:
        layout: of the grid.
        redispatch: ``[A, G]`` float32 MW, see ``PowerSettings``.
    """

    def __init__(self, layout: GridLayout, redispatch: np.ndarray):
        self._layout = layout
        self._steps, kind = np.unique(redispatch, axis=0, return_inverse=True)  # [K, G]
        self._kind = kind.ravel()  # [A]
        self._most = layout.p_max - layout.p_min  # [G]

    def legal(self, state: GridState) -> np.ndarray:
        """Return ``[B, A]`` int8, 1 = grid2op would play the action now."""
        beyond = np.asarray(self._beyond(state, self._steps).any(axis=2))  # [B, K]
        return (~beyond).view(np.int8)[:, self._kind]

    def _beyond(self, state: GridState, steps: np.ndarray) -> np.ndarray:
        """Return ``[B, K, G]`` bool, where steps of MW ``[K, G]`` ask for too much."""
        asked = state.redispatch_target[:, None] + steps
        moved = np.abs(steps) > _LEAST_STEP
        return moved & ((asked > self._most) | (asked < -self._most))

    def reason(self, action: int, state: GridState, row: int) -> str:
        """Return why grid2op would refuse ``action`` in grid ``row``, "" if it would not."""
        steps = self._steps[self._kind[action]]
        beyond = self._beyond(state, steps[None])[row, 0]
        if not beyond.any():
            return ""
        one = int(beyond.argmax())
        asked = state.redispatch_target[row, one] + steps[one]
        return (
            f"redispatches gen_{one} ({self._layout.generator_names[one]}) by {asked:+.1f} MW in "
            f"all, {self._most[one]:.1f} up or down allowed"
        )


def _steps(count: int) -> str:
    return "1 more step" if count == 1 else f"{count} more steps"
