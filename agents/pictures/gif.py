"""Draws an episode as a GIF."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
from PIL import Image

from agents.agent import Agent
from agents.environments import EnvironmentFactory, ResumableVectorEnv
from agents.evaluation import EpisodeSpec
from agents.runs.files import atomic_write

_FRAME_MS = 200  # milliseconds that a frame is shown


def record_episode(
    agent: Agent,
    make_environment: EnvironmentFactory,
    spec: EpisodeSpec,
    path: Path,
    *,
    max_frames: int = 200,
) -> int:
    """Play one episode and write its frames, one per decision of the agent.

    Args:
        agent: what plays; it is bound to the environment.
        make_environment: of an environment that can render "rgb_array".
        spec: the episode.
        path: the GIF; its folder must exist.
        max_frames: a longer episode is thinned out to between half of this and this.

    Returns:
        The number of frames.

    Raises:
        ValueError: the environment draws nothing.
    """
    env = _drawn(make_environment)
    try:
        agent.bind(env)
        options = {"scenario": [spec.scenario]} if spec.scenario else None
        observations, infos = env.reset(seed=[spec.seed], options=options)
        frames = [_frame(env.render())]
        stride, decisions, over = 1, 0, False
        while not over:
            actions = agent.act(observations, infos, np.ones(1, dtype=bool))
            observations, _, terminated, truncated, infos = env.step(actions)
            over = bool(terminated[0] or truncated[0])
            decisions += 1
            if over or decisions % stride == 0:
                frames.append(_frame(env.render()))
            if len(frames) > max_frames:
                frames, stride = frames[::2], 2 * stride
    finally:
        env.close()
    with atomic_write(path) as file:
        frames[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=_FRAME_MS,
            loop=0,
        )
    return len(frames)


def check_drawable(agent: Agent, make_environment: EnvironmentFactory, key: str) -> None:
    """Refuse an episode that could not be drawn, before anything is played.

    Args:
        agent: a copy of it meets the environment.
        make_environment: as in ``record_episode``.
        key: of the option that asks for it, for messages.

    Raises:
        ValueError: the agent does not play such an environment, or it draws nothing.
    """
    env = None
    try:
        env = _drawn(make_environment)
        pickle.loads(pickle.dumps(agent)).bind(env)
        env.reset(seed=0)
        _frame(env.render())
    except (ValueError, gym.error.Error) as error:
        raise ValueError(
            f"{key}=true draws a single environment, which does not go here ({error}): leave it out"
        ) from error
    finally:
        if env is not None:
            env.close()


def _drawn(make_environment: EnvironmentFactory) -> ResumableVectorEnv:
    """Make one environment that draws; single ones do, and they play the same."""
    kwargs = {**make_environment.kwargs, "render_mode": "rgb_array"}
    kwargs.pop("planning_reward", None)  # of planners, which vector environments alone make
    env = replace(make_environment, kwargs=kwargs, vector=False)(1, autoreset="disabled")
    assert isinstance(env, ResumableVectorEnv)
    return env


def _frame(rendered: tuple) -> Image.Image:
    if rendered[0] is None:
        raise ValueError("the environment draws nothing: it has no render mode 'rgb_array'.")
    return Image.fromarray(np.asarray(rendered[0], dtype=np.uint8)).convert(
        "P", palette=Image.Palette.ADAPTIVE
    )
