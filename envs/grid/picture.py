"""Draws a grid at one step, as the HTML report does: ``rgb_array``, the GIF and notebooks show it.

Substations lie where grid2op puts them. A line's colour and width are its loading, which is written
beside it in per cent; arrows show where power flows. Generators and loads hang from substations,
with their MW. A split substation is drawn as two nodes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.grid.action_text import line_text
from envs.grid.actions import ActionCatalogue
from envs.grid.positions import substation_positions
from envs.grid.state import GridLayout, GridState

if TYPE_CHECKING:
    from PIL import Image

Point = tuple[float, float]


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class GridPicture:
    """A grid at one step. A notebook shows it; elsewhere ``to_png`` and ``to_array`` draw it."""

    layout: GridLayout
    positions: tuple[Point, ...]  # [S], x to the right and y downwards, any unit
    kinds: tuple[str, ...]  # [G] "wind", "solar", ..., "" where it is not known
    state: GridState  # of this grid alone: arrays have no batch axis
    end: str  # why the episode is over, "" if it is not

    def __repr__(self) -> str:
        return f"GridPicture({self.layout.name!r}, {self.when})"

    def to_array(self, width: int = 1280, height: int = 720) -> np.ndarray:
        """Return ``[height, width, 3]`` uint8.

        Args:
            width: pixels, at least 320.
            height: pixels, at least 240.

        Raises:
            ValueError: too small to draw.
        """
        return np.asarray(self._image(width, height)).copy()

    def to_png(self, width: int = 960, height: int = 600) -> bytes:
        """Return it as a PNG file. For the arguments see ``to_array``."""
        file = io.BytesIO()
        self._image(width, height).quantize(96).save(file, format="PNG", optimize=True)
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.to_png()

    def _image(self, width: int, height: int) -> Image.Image:
        if width < 320 or height < 240:
            raise ValueError(f"a picture of {width} x {height} pixels; expected at least 320 x 240")
        from envs.grid.drawing import Drawing  # Pillow, which nothing else of an environment needs

        return Drawing(self, width, height).image()

    @property
    def when(self) -> str:
        """Date, time and step."""
        clock = str(self.state.clock.astype("datetime64[m]")).replace("T", " ")
        return f"{clock}, step {int(self.state.step):,} of {int(self.state.max_step):,}"

    @property
    def standing(self) -> str:
        """Which line is loaded most, and what is not as usual."""
        worst = int(self.state.rho.argmax())
        line = line_text(self.layout, worst)
        told = [f"{line} is loaded most: {100 * self.state.rho[worst]:.0f} %"]
        for count, one, many in (
            (int(self.open_lines.sum()), "1 line is open", "{} lines are open"),
            (int(self.split.sum()), "1 substation is split", "{} substations are split"),
        ):
            if count:
                told.append(one if count == 1 else many.format(count))
        return "; ".join(told)

    @cached_property
    def open_lines(self) -> np.ndarray:
        """``[L]`` bool, lines that are disconnected."""
        return ~self.state.line_status

    @cached_property
    def split(self) -> np.ndarray:
        """``[S]`` bool, substations with elements on more than one busbar."""
        return np.array(
            [
                len(set(busbars[busbars > 0].tolist())) > 1
                for busbars in (
                    self.state.topo_vect[self.layout.element_substation == substation]
                    for substation in range(self.layout.num_substations)
                )
            ]
        )


def draw_grid(env: Any, grid: int = 0) -> GridPicture:
    """Return a picture of a grid as it stands now.

        envs.draw_grid(env)  # the last line of a notebook's cell shows it

    Args:
        env: ``PowerGridEnv`` or ``PowerGridVectorEnv``, in wrappers or not.
        grid: which one of a vector environment.

    Raises:
        ValueError: it is no such environment, or has no such grid.
        gymnasium.error.ResetNeeded: no episode was started.
    """
    env = getattr(env, "unwrapped", env)
    catalogue = getattr(env, "catalogue", None)
    if not isinstance(catalogue, ActionCatalogue):
        raise ValueError(
            f"{type(env).__name__} is no power grid; expected envs.PowerGridEnv or "
            "envs.PowerGridVectorEnv"
        )
    state: GridState = env.state
    if not 0 <= grid < len(state.rho):
        raise ValueError(f"grid is {grid}; expected 0 to {len(state.rho) - 1}")
    end = env.info_texts()["end"]
    return GridPicture(
        layout=catalogue.layout,
        positions=drawn_positions(catalogue),
        kinds=generator_kinds(catalogue),
        state=GridState(*(field[grid].copy() for field in state)),
        end=end if isinstance(end, str) else str(end[grid]),
    )


def drawn_positions(catalogue: ActionCatalogue) -> tuple[Point, ...]:
    """Return where substations ``[S]`` are drawn, see ``substation_positions``."""
    grid2op: Any = type(catalogue.grid2op_actions[0])
    given = getattr(grid2op, "grid_layout", None)
    return substation_positions(catalogue.layout.substation_names, given)


def generator_kinds(catalogue: ActionCatalogue) -> tuple[str, ...]:
    """Return what generators ``[G]`` are, such as "wind"; "" where grid2op does not know."""
    grid2op: Any = type(catalogue.grid2op_actions[0])
    kinds = getattr(grid2op, "gen_type", None)
    return tuple(map(str, kinds)) if kinds is not None else ("",) * catalogue.layout.num_generators
