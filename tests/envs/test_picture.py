"""Pictures of grids: whatever the simulator, alike, with labels that cover nothing."""

from __future__ import annotations

import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import envs
from envs.fast.vector import PowerGridVectorEnv
from envs.grid.drawing import Drawing, loading_colour
from envs.grid.picture import GridPicture, draw_grid
from envs.reference.power_grid import PowerGridEnv

OPTIONS: dict[str, Any] = {"opponent": "rl4pnc", "scenarios": "bundled"}


@pytest.fixture(scope="module")
def pictures() -> dict[str, GridPicture]:
    """A calm grid, a split one, one under attack and a lost one."""
    env = PowerGridEnv(**OPTIONS)
    env.reset(seed=0, options={"attack_seed": 7})
    found = {"calm": draw_grid(env)}
    legal = np.flatnonzero(env.action_masks())
    for action in legal[~env.simulate(legal).game_over].tolist()[::-1]:
        env.reset(seed=0, options={"attack_seed": 7})
        env.step(action)
        if draw_grid(env).split.any():
            found["split"] = draw_grid(env)
            break
    terminated = False
    while not terminated:
        terminated = env.step(0)[2]
        if env.attack_log.steps.any() and "attacked" not in found:
            found["attacked"] = draw_grid(env)
    found["lost"] = draw_grid(env)
    env.close()
    assert found.keys() == {"calm", "split", "attacked", "lost"}
    return found


def test_states_look_different(pictures: dict[str, GridPicture]) -> None:
    drawn = [one.to_array(640, 360) for one in pictures.values()]
    for number, one in enumerate(drawn):
        assert one.shape == (360, 640, 3) and one.dtype == np.uint8
        assert 0.8 < (one == 255).mean() < 0.999
        assert not any(np.array_equal(one, other) for other in drawn[number + 1 :])
    assert pictures["split"].split.sum() == 1 and not pictures["calm"].split.any()
    assert pictures["attacked"].open_lines.any()
    assert pictures["lost"].end.startswith("blackout: ")


@pytest.mark.parametrize("size", [(1280, 720), (960, 600), (640, 480)])
@pytest.mark.parametrize("state", ["calm", "split", "attacked"])
def test_labels_cover_neither_each_other_nor_symbols(
    pictures: dict[str, GridPicture], state: str, size: tuple[int, int]
) -> None:
    drawing = Drawing(pictures[state], *size)
    drawing.image()
    boxes = np.array(drawing._taken)
    assert len(drawing._labels) == 20 + 17  # lines; generators and loads
    for box in boxes[-len(drawing._labels) :]:
        shared = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
        assert (shared > 0.5).all(axis=1).sum() == 1  # with itself
        assert (box[:2] >= 0).all() and (box[2:] <= size).all()


def test_both_simulators_draw_the_same_picture() -> None:
    single = gym.make("PowerGrid-v0", scenarios="bundled")
    many = PowerGridVectorEnv(2, scenarios="bundled")
    single.reset(seed=3)
    many.reset(seed=[0, 3])
    for _ in range(2):
        one, other = draw_grid(single), draw_grid(many, 1)
        assert np.array_equal(one.to_array(), other.to_array())
        single.step(200)
        many.step(np.array([0, 200]))
    assert not np.array_equal(one.to_array(), draw_grid(many).to_array())
    assert repr(other) == repr(one) and "step 1 of" in repr(one)
    single.close()


def test_a_picture_stays_as_it_was() -> None:
    many = PowerGridVectorEnv(1, scenarios="bundled")
    many.reset(seed=0)
    shown = draw_grid(many)
    before = shown.to_png()
    many.step(np.array([0]))
    assert shown.to_png() == before != draw_grid(many).to_png()


def test_a_notebook_shows_an_environment() -> None:
    env = PowerGridEnv(scenarios="bundled")
    assert env._repr_png_() is None
    env.reset(seed=0)
    shown = env._repr_png_()
    assert shown is not None and shown == draw_grid(env)._repr_png_()
    assert Image.open(io.BytesIO(shown)).size == (960, 600)
    assert len(shown) < 40_000
    env.close()
    assert env._repr_png_() is None


def test_colours_go_from_pale_to_dark_with_an_edge_at_80_percent() -> None:
    assert loading_colour(-1.0) == loading_colour(0.0) == (0xC5, 0xD0, 0xDB)
    assert loading_colour(2.0) == loading_colour(1.25) == (0x7F, 0x14, 0x08)
    assert loading_colour(0.799)[2] > 150 > loading_colour(0.8)[2]


def test_mistakes_get_one_line() -> None:
    with pytest.raises(ValueError, match="CartPoleEnv is no power grid; expected envs.PowerGridEn"):
        envs.draw_grid(gym.make("CartPole-v1"))
    many = PowerGridVectorEnv(2, scenarios="bundled")
    many.reset(seed=0)
    with pytest.raises(ValueError, match="grid is 2; expected 0 to 1"):
        draw_grid(many, 2)
    with pytest.raises(ValueError, match="100 x 100 pixels; expected at least 320 x 240"):
        draw_grid(many).to_array(100, 100)
