"""Wiring and action tables of a grid, for the flow network.

Nothing here is of the grid's physics: no impedance, no limit, no power flow. Those are learned.

Shape letters: B observations, M rows (an observation and an action each), A actions, E element
ends, L lines, S substations, K elements that inject (generators, then loads).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from agents.power_grid.potentials import Wiring
from envs import FeaturesEncoder, GridLayout, describe_grid

OPEN = -1  # busbar of an end of an open line


class GridTables(nn.Module):
    """Tables of one grid as buffers, and what they say of topologies.

    Args:
        grid: grid2op name or folder.
        observation_size: of the observations that will be read.
        num_actions: A that there will be.
        actions: of the grid, as in ``PowerGridEnv``.

    Raises:
        ValueError: no such grid, the sizes are not those of its ``features`` and actions, or an
            action changes powers.
    """

    def __init__(
        self, grid: str, *, observation_size: int, num_actions: int, actions: str = "all"
    ) -> None:
        super().__init__()
        layout, catalogue = describe_grid(grid, actions)
        if catalogue.action_set is not None:
            catalogue.action_set.refuse_powers(
                "network=flow foresees", instead="take network=residual"
            )
        encoder = FeaturesEncoder(layout)
        expected = (math.prod(encoder.space.shape or ()), catalogue.num_actions)
        if (observation_size, num_actions) != expected:
            raise ValueError(
                f"network=flow reads observation=features of grid {grid!r}, {expected[0]} numbers, "
                f"and chooses of its {expected[1]} actions, but was given {observation_size} and "
                f"{num_actions}; set observation=features, or take network=residual"
            )
        self.layout: GridLayout = layout
        self._blocks = encoder.blocks
        self.num_lines = layout.num_lines
        self.num_injections = layout.num_generators + layout.num_loads
        self.num_nodes = 2 * layout.num_substations  # a busbar each
        injecting = np.concatenate([layout.generator_position, layout.load_position])
        sizes = (layout.p_max, layout.load_reference)
        tables = {
            "substation": layout.element_substation.astype(np.int64),
            "origin": layout.line_or_position.astype(np.int64),
            "extremity": layout.line_ex_position.astype(np.int64),
            "injecting": injecting.astype(np.int64),
            "set_busbar": catalogue.set_busbar,
            "switch_busbar": catalogue.switch_busbar,
            "set_line": catalogue.set_line,
            "switch_line": catalogue.switch_line,
            # generators give, loads take; of the order of 1
            "scale": np.concatenate([sizes[0], -sizes[1]]).astype(np.float32) / np.float32(100.0),
        }
        for name, table in tables.items():
            # read from the grid, so no part of the weights
            self.register_buffer(name, torch.from_numpy(np.array(table)), persistent=False)
        self.substation: torch.Tensor  # [E]
        self.origin: torch.Tensor  # [L], in the order of element ends
        self.extremity: torch.Tensor  # [L]
        self.injecting: torch.Tensor  # [K]
        self.set_busbar: torch.Tensor  # [A, E]
        self.switch_busbar: torch.Tensor  # [A, E]
        self.set_line: torch.Tensor  # [A, L]
        self.switch_line: torch.Tensor  # [A, L]
        self.scale: torch.Tensor  # [K]

    def block(self, observations: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        """Return the blocks called ``names`` of ``observations [B, N]``, side by side."""
        return torch.cat([observations[:, self._blocks[name]] for name in names], dim=1)

    def busbars(self, observations: torch.Tensor) -> torch.Tensor:
        """Return ``[B, E]`` int8 of ``observations [B, N]``: 1, 2, or ``OPEN``."""
        sign = observations[:, self._blocks["busbar"]]
        return torch.where(sign > 0, 1, torch.where(sign < 0, 2, OPEN)).to(torch.int8)

    def injections(self, observations: torch.Tensor, *, forecast: bool) -> torch.Tensor:
        """Return ``[B, K, 4]``: active and reactive power, voltage, 1, of order 1.

        Args:
            observations: ``[B, N]``.
            forecast: active powers of the five-minute forecast instead of the present ones; the
                observation forecasts nothing else.
        """
        active = ("forecast_gen_p", "forecast_load_p") if forecast else ("gen_p", "load_p")
        power = self.block(observations, active) * self.scale
        reactive = self.block(observations, ("gen_q", "load_q")) * self.scale
        voltage = self.block(observations, ("gen_v", "load_v")) / 10
        return torch.stack([power, reactive, voltage, torch.ones_like(power)], dim=-1)

    def after(self, busbars: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return ``[M, E]`` int8: what ``actions [M]`` make of ``busbars [M, E]``.

        As ``ActionCatalogue.results``, but that a line which is closed by its status goes to
        busbar 1 at both ends: where it last was is not in the observation.
        """
        was_open = busbars[:, self.origin] == OPEN
        to = self.set_busbar[actions]
        switched = torch.where(self.switch_busbar[actions] & (busbars > 0), 3 - busbars, busbars)
        result = torch.where(to > 0, to, switched)
        by_status = self.switch_line[actions]
        opens = (self.set_line[actions] < 0) | (by_status & ~was_open)
        ends = result[:, self.origin], result[:, self.extremity]
        # one end put on a busbar closes an open line, its other end with it
        closes = was_open & ((ends[0] > 0) | (ends[1] > 0) | by_status) & ~opens
        for place, end in zip((self.origin, self.extremity), ends, strict=True):
            closed = torch.where(closes & (end == OPEN), 1, end)
            result[:, place] = torch.where(opens, OPEN, closed).to(torch.int8)
        return result

    def wiring(self, busbars: torch.Tensor) -> Wiring:
        """Return which nodes lines and injections are at: substation s has nodes 2 s and 2 s + 1.

        Args:
            busbars: ``[M, E]``.
        """
        node = 2 * self.substation + (busbars == 2)
        closed = busbars[:, self.origin] > 0
        return Wiring(
            torch.where(closed, node[:, self.origin], -1),
            torch.where(closed, node[:, self.extremity], -1),
            node[:, self.injecting],
            self.num_nodes,
        )

    @staticmethod
    def departures(busbars: torch.Tensor) -> torch.Tensor:
        """Return ``[M]`` float: ends of ``busbars [M, E]`` that are not on busbar 1."""
        return (busbars != 1).sum(dim=1).float()
