"""A lost game is told with the lines that tripped, by both simulators alike."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.fast.vector import PowerGridVectorEnv
from envs.grid.blackout_text import after_cascade, first_line
from envs.reference.power_grid import PowerGridEnv
from envs.scenarios import make_source

NAMES = make_source("recombined").names("test")[:2]


@pytest.fixture(scope="module")
def grids() -> PowerGridVectorEnv:
    return PowerGridVectorEnv(
        2, autoreset="disabled", idle_gate=0.95, split="test", text_infos=True
    )


def test_both_simulators_name_the_same_cascade(grids: PowerGridVectorEnv) -> None:
    _, infos = grids.reset(options={"scenario": list(NAMES)})
    while not grids.over.all():
        *_, infos = grids.step(np.zeros(2, dtype=np.int64))
    single: Any = gym.make("PowerGrid-v0", idle_gate=0.95, text_infos=True)
    for name, end in zip(NAMES, infos["end"], strict=True):
        _, info = single.reset(options={"scenario": name})
        while not info["end"]:
            *_, info = single.step(0)
        assert info["end"] == end
        assert end.startswith("blackout: the grid fell apart: no solution after line ")
        assert " after line 4-5 (line 17) tripped, then line 8-9 (line 10), then line" in end
    single.close()


def test_a_blackout_without_a_cascade_names_no_line(grids: PowerGridVectorEnv) -> None:
    single = PowerGridEnv(text_infos=True)
    grids.reset(options={"scenario": list(NAMES)})
    single.reset(options={"scenario": NAMES[0]})
    losing = int(np.flatnonzero(single.simulate(range(1, 487)).game_over)[0]) + 1
    *_, infos = grids.step(np.array([losing, 0]))
    *_, info = single.step(losing)
    assert info["end"] == infos["end"][0]
    assert info["end"].startswith("blackout: ") and "tripped" not in info["end"]
    single.close()


def test_the_words(grids: PowerGridVectorEnv) -> None:
    rounds = np.full(20, -1)
    assert after_cascade(grids.layout, rounds) == ""
    rounds[[3, 15, 4]] = 0, 1, 1
    assert after_cascade(grids.layout, rounds) == (
        " after line 1-3 (line 3) tripped, then line 1-4 (line 4) and line 3-6 (line 15)"
    )
    assert first_line(' "There is no slack.\nmore" ') == "There is no slack"
    assert first_line("''") == "the power flow has no solution"
    said = "Divergence of DC powerflow (non connected grid) at the initialization of AC powerflow."
    assert first_line(f"{said} Detailed error: SolverFactor") == "the grid fell apart: no solution"
    assert first_line("Divergence of AC powerflow. Detailed error: TooManyIterations") == (
        "the power flow has no solution"
    )
