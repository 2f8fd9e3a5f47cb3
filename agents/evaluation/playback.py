"""Replays recorded episodes step by step, without the idle gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import envs
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation.records import EpisodeRecord


class LoadingTrace(NamedTuple):
    """The highest loading of an episode, step by step."""

    record: EpisodeRecord
    rho_max: np.ndarray  # [steps + 1] float64, of the reset and each step; 0 after a blackout


def play_back(
    make_environment: EnvironmentFactory,
    records: Sequence[EpisodeRecord],
    *,
    on_step: Callable[[int, VectorEnvironment, Mapping[str, Any]], None] | None = None,
) -> tuple[LoadingTrace, ...]:
    """Return the traces of recorded episodes, side by side, from their actions alone.

    Args:
        make_environment: of the power grids that they were played in; an idle gate is left out.
        records: at least one.
        on_step: called after the reset, with 0, and after each step with its number, the
            environments and their infos; episodes that are over by then stand still.

    Raises:
        RuntimeError: an episode went another way: options, data or versions are not the same.
    """
    kwargs = {**make_environment.kwargs, **envs.UNGATED}
    env = replace(make_environment, kwargs=kwargs)(len(records), autoreset="disabled")
    try:
        _, infos = env.reset(
            seed=[record.seed for record in records],
            options={"scenario": [record.scenario for record in records]},
        )
        plans = [dict(zip(one.action_steps, one.actions, strict=True)) for one in records]
        lengths = np.array([record.steps for record in records])
        rho_max = np.zeros((len(records), int(lengths.max()) + 1))
        rho_max[:, 0] = infos["rho_max"]
        if on_step is not None:
            on_step(0, env, infos)
        over = np.zeros(len(records), dtype=bool)
        ends = [""] * len(records)
        for step in range(int(lengths.max())):
            actions = np.array([plan.get(step, envs.DO_NOTHING) for plan in plans])
            _, _, terminated, truncated, infos = env.step(actions)
            if on_step is not None:
                on_step(step + 1, env, infos)
            playing = step < lengths
            rho_max[playing, step + 1] = np.asarray(infos["rho_max"])[playing]
            for index in np.flatnonzero(playing & ~over & (terminated | truncated)).tolist():
                over[index], ends[index] = True, str(env.info_texts()["end"][index])
                if step + 1 != lengths[index]:
                    raise _went_elsewhere(records[index], f"{ends[index]!r} at step {step + 1}")
    finally:
        env.close()
    for record, end in zip(records, ends, strict=True):
        if record.agent_error is None and end != record.end:
            raise _went_elsewhere(record, repr(end))
    return tuple(
        LoadingTrace(record, rho_max[index, : record.steps + 1])
        for index, record in enumerate(records)
    )


def _went_elsewhere(record: EpisodeRecord, what: str) -> RuntimeError:
    return RuntimeError(
        f"scenario {record.scenario}: its recorded actions led to {what} when they were played "
        f"again, but to {record.end!r} at step {record.steps} before. Are the environment's "
        "options, data and versions the same?"
    )
