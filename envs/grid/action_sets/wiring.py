"""Which element is where at which substation: what an action set depends on.

Two grids with the same wiring take the same actions, whatever their elements are called:
l2rpn_wcci_2020, l2rpn_neurips_2020_track1 and l2rpn_icaps_2021 have one wiring and two naming
schemes.

Shape letters: D loads, E element ends (grid2op's ``topo_vect``), G generators, L lines,
S substations.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from envs.grid.action_text import element_names
from envs.grid.state import GridLayout

_ELEMENT = re.compile(r"(line)_(\d+) \((or|ex)\)|(gen|load)_(\d+)|(storage)")


@dataclass(frozen=True)
class Wiring:
    """The element ends at each substation, in the order of their positions.

    Raises:
        ValueError: an element is missing, is there twice, or is called otherwise.
    """

    substations: tuple[tuple[str, ...], ...]  # [S] names such as "line_3 (or)", "gen_0", "load_2"

    def __post_init__(self) -> None:
        """Check that lines have two ends, and that numbers have no gaps."""
        kinds: dict[str, list[int]] = {"line or": [], "line ex": [], "gen": [], "load": []}
        for name in self._names:
            found = _ELEMENT.fullmatch(name)
            if found is None:
                raise ValueError(
                    f"its wiring has an element {name!r}; expected names such as 'line_3 (or)', "
                    "'gen_0', 'load_2' and 'storage'"
                )
            if found[1]:
                kinds[f"line {found[3]}"].append(int(found[2]))
            elif found[4]:
                kinds[found[4]].append(int(found[5]))
        for kind, numbers in kinds.items():
            if sorted(numbers) != list(range(len(numbers))):
                raise ValueError(
                    f"its wiring does not have every {kind} from 0 on, each of them once"
                )
        if len(kinds["line or"]) != len(kinds["line ex"]):
            raise ValueError("its wiring has lines with one end")

    @classmethod
    def of(cls, layout: GridLayout) -> Wiring:
        """Return the wiring of a grid.

        Args:
            layout: of the grid.

        Raises:
            ValueError: its ``topo_vect`` does not go from substation to substation.
        """
        if (np.diff(layout.element_substation) < 0).any():
            raise ValueError(
                f"grid {layout.name!r} orders its elements otherwise than by substation: action "
                "sets do not cover that"
            )
        names = element_names(layout)
        ends = [
            np.flatnonzero(layout.element_substation == substation).tolist()
            for substation in range(layout.num_substations)
        ]
        return cls(tuple(tuple(names[end] for end in some) for some in ends))

    @cached_property
    def sha256(self) -> str:
        """Hash of it."""
        text = json.dumps(self.substations, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Element ends at each of S substations."""
        return tuple(len(names) for names in self.substations)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The position in ``topo_vect`` of the first element end of each of S substations."""
        return tuple(int(start) for start in np.cumsum([0, *self.sizes[:-1]]))

    @property
    def num_substations(self) -> int:
        """S."""
        return len(self.substations)

    @property
    def num_elements(self) -> int:
        """E."""
        return sum(self.sizes)

    @property
    def num_lines(self) -> int:
        """L."""
        return len(self.line_or_position)

    @property
    def num_generators(self) -> int:
        """G."""
        return len(self.generator_position)

    @cached_property
    def num_storage_units(self) -> int:
        """N; which of them is where is not known."""
        return self._names.count("storage")

    @cached_property
    def element_substation(self) -> np.ndarray:
        """``[E]`` int, the substation of each element end."""
        return np.repeat(np.arange(self.num_substations), self.sizes)

    @cached_property
    def line_or_position(self) -> np.ndarray:
        """``[L]`` int, the origin end of each line."""
        return self._positions("line_{} (or)")

    @cached_property
    def line_ex_position(self) -> np.ndarray:
        """``[L]`` int, the extremity end of each line."""
        return self._positions("line_{} (ex)")

    @cached_property
    def generator_position(self) -> np.ndarray:
        """``[G]`` int."""
        return self._positions("gen_{}")

    @cached_property
    def load_position(self) -> np.ndarray:
        """``[D]`` int."""
        return self._positions("load_{}")

    @property
    def generator_substation(self) -> np.ndarray:
        """``[G]`` int."""
        return self.element_substation[self.generator_position]

    @property
    def line_or_substation(self) -> np.ndarray:
        """``[L]`` int."""
        return self.element_substation[self.line_or_position]

    @property
    def line_ex_substation(self) -> np.ndarray:
        """``[L]`` int."""
        return self.element_substation[self.line_ex_position]

    def __str__(self) -> str:
        """Say how large it is."""
        return (
            f"{self.num_substations} substations, {self.num_lines} lines and {self.num_elements} "
            "element ends"
        )

    @property
    def _names(self) -> list[str]:
        return [name for names in self.substations for name in names]

    def _positions(self, pattern: str) -> np.ndarray:
        """Return where the elements called by ``pattern`` are, from number 0 on."""
        places = {name: place for place, name in enumerate(self._names)}
        found: list[int] = []
        while (name := pattern.format(len(found))) in places:
            found.append(places[name])
        return np.array(found, dtype=np.int64)


def read_wiring(substations: Sequence[Sequence[str]]) -> Wiring:
    """Return the wiring of a file.

    Args:
        substations: element names by substation.

    Raises:
        ValueError: it is none.
    """
    rows = substations if isinstance(substations, list) else None
    if not rows or not all(
        isinstance(row, list) and all(isinstance(name, str) for name in row) for row in rows
    ):
        raise ValueError("its wiring is no list of the element names at each substation")
    return Wiring(tuple(tuple(row) for row in rows))
