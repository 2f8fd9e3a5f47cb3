"""Renders a grid with grid2op's own plotter."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from grid2op.Observation import BaseObservation
from grid2op.PlotGrid import PlotMatplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class GridPlotter:
    """Draws observations of one grid, without a display and without pyplot's global figures.

    Args:
        observation_space: of the grid2op environment.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """

    def __init__(self, observation_space: Any, *, width: int = 1280, height: int = 720):
        self._plotter: Any = PlotMatplot(observation_space, width=width, height=height)
        self._figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)

    def draw(self, observation: BaseObservation) -> np.ndarray:
        """Return ``[height, width, 3]`` uint8."""
        self._plotter.plot_obs(observation, figure=self._figure, redraw=True)
        with warnings.catch_warnings():  # on a busy machine only, where drawing takes a second
            warnings.filterwarnings("ignore", message='Creating legend with loc="best"')
            self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def close(self) -> None:
        """Forget the picture."""
        self._figure.clear()
