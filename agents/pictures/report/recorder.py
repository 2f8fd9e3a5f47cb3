"""Records every grid step of an agent's episodes, the gated ones included.

Episodes are played twice. First as the evaluation plays them: same environments, same groups, same
copies of the agent, so that the agent sees what it sees there; its decisions are written down. Then
the decisions are played again on grids without the idle gate, which shows the steps in between; at
each decision the loss of every line at risk is looked at there.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from agents.agent import Agent
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation import EpisodePlayer, EpisodeRecord, EpisodeSpec, play_back
from agents.pictures.report.losses import find_worst_losses
from agents.pictures.report.trace import DecisionTrace, EpisodeTrace, SearchTrace, TopologyTrace
from agents.power_grid.grid_access import first_grid, grid_states
from agents.runs.devices import torch_threads
from envs import ActionCatalogue, GridLayout, GridState, lines_at_risk
from powergrid_muzero.checks import check_count

_SERIES = ("rho", "line_status", "p_or", "gen_p", "load_p", "attack_steps")


class ShownGrid(NamedTuple):
    """The grid that a report shows."""

    layout: GridLayout
    catalogue: ActionCatalogue
    at_risk: np.ndarray  # [C] int, lines whose loss an opponent brings, or the grid can bear


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The episodes of one agent, and the grid that they were played on."""

    layout: GridLayout
    catalogue: ActionCatalogue
    at_risk: np.ndarray  # [C] int, lines whose loss was looked at
    episodes: tuple[EpisodeTrace, ...]


def record_episodes(
    agent: Agent,
    make_environment: EnvironmentFactory,
    episode_list: Sequence[EpisodeSpec],
    *,
    episodes: int | None = None,
    num_envs: int = 4,
) -> Recording:
    """Play an agent over the first episodes, as the evaluation does, and keep every step.

    An agent that fails ends the episode in which it does, as there.

    Args:
        agent: must pickle; a copy of it plays.
        make_environment: of the evaluation's environments.
        episode_list: all episodes of the evaluation.
        episodes: how many of them to record; None for all.
        num_envs: episodes that the evaluation plays side by side.

    Raises:
        ValueError: not a power grid, more episodes than there are, or none.
        RuntimeError: an episode went another way when it was played again.
    """
    count = len(episode_list) if episodes is None else check_count("episodes of a report", episodes)
    if not 1 <= count <= len(episode_list):
        raise ValueError(
            f"the report shows {count} episodes; expected 1 to {len(episode_list)}, those that are "
            "played."
        )
    check_count("num_envs", num_envs)
    grid = grid_of(make_environment)
    watch = _Watch(grid.catalogue.texts)
    player = EpisodePlayer(make_environment, record_errors=True, watch=watch)
    payload = pickle.dumps(agent)
    recorded: list[EpisodeTrace] = []
    try:
        for start in range(0, count, num_envs):
            group = tuple(episode_list[start : start + num_envs])  # whole: sums depend on the batch
            with torch_threads(1):  # as the evaluation does
                played = player.play(payload, group)
            records = [episode.record for episode in played[: count - start]]
            recorded += _film(make_environment, records, watch, grid.at_risk)
    finally:
        player.close()
    return Recording(**grid._asdict(), episodes=tuple(recorded))


def grid_of(make_environment: EnvironmentFactory) -> ShownGrid:
    """Return what the grids are that a report would show.

    Raises:
        ValueError: the environment is no power grid.
    """
    env = make_environment(1, autoreset="disabled")
    try:
        grid = first_grid(env)
        if grid is None:
            raise ValueError(
                f"a report shows power grids; this environment is {make_environment.env_id}. "
                "Evaluate it without a report."
            )
        at_risk = lines_at_risk(grid.layout, grid.opponent)
        return ShownGrid(grid.layout, grid.catalogue, at_risk)
    finally:
        env.close()


class _Watch:
    """Writes down decisions, and the searches behind them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._group: tuple[EpisodeSpec, ...] = ()
        self.decisions: dict[tuple[str, int], list[DecisionTrace]] = {}  # by scenario and seed

    def begin(self, group: tuple[EpisodeSpec, ...]) -> None:
        self._group = group
        for spec in group:
            self.decisions[spec.scenario, spec.seed] = []

    def decide(
        self, agent: Agent, active: np.ndarray, actions: np.ndarray, steps: np.ndarray
    ) -> None:
        trees = agent.explain(self._texts) if agent.explains else {}
        for index in np.flatnonzero(active).tolist():
            spec, tree = self._group[index], trees.get(index)
            self.decisions[spec.scenario, spec.seed].append(
                DecisionTrace(
                    step=int(steps[index]),
                    action=int(actions[index]),
                    illegal_reason="",  # known when it is played
                    search=None if tree is None else SearchTrace.of(tree),
                )
            )


class _Film:
    """Frames of one episode, as they come."""

    def __init__(self, record: EpisodeRecord, decisions: Sequence[DecisionTrace]) -> None:
        self._record = record
        self._decisions = {one.step: one for one in decisions}
        self._series: dict[str, list[np.ndarray]] = {name: [] for name in _SERIES}
        self._topologies: list[TopologyTrace] = []
        self._clocks: list[np.datetime64] = []  # of the first two frames

    def look_at_losses(
        self, frame: int, env: VectorEnvironment, state: GridState, grid: int, lines: np.ndarray
    ) -> None:
        """Note the worst losses at the decision of ``frame``, if there is one.

        Args:
            frame: how many steps were played.
            env: the grids.
            state: of all B grids.
            grid: which of them.
            lines: ``[C]`` int, at risk.
        """
        decision = self._decisions.get(frame)
        if decision is not None:
            nothing, chosen = find_worst_losses(
                env, grid, decision.action, lines=lines, rho=state.rho[grid]
            )
            self._decisions[frame] = replace(decision, worst_loss=nothing, worst_loss_after=chosen)

    def add(self, frame: int, state: GridState, reasons: np.ndarray, grid: int) -> None:
        """Add the frame after ``frame`` steps of grid number ``grid``.

        Args:
            frame: how many steps were played.
            state: of all B grids.
            reasons: ``[B]`` of str, why the last action was illegal, "" if it was not.
            grid: which of them.
        """
        if frame > self._record.steps:
            return
        for name, rows in self._series.items():
            rows.append(getattr(state, name)[grid].copy())
        if len(self._clocks) < 2:
            self._clocks.append(state.clock[grid])
        busbars = state.topo_vect[grid]
        if not self._topologies or not np.array_equal(busbars, self._topologies[-1].busbars):
            self._topologies.append(TopologyTrace(frame=frame, busbars=busbars.copy()))
        decision = self._decisions.get(frame - 1)
        if decision is not None and reasons[grid]:
            self._decisions[frame - 1] = replace(decision, illegal_reason=str(reasons[grid]))

    def trace(self) -> EpisodeTrace:
        """Return the whole episode."""
        first, second = (*self._clocks, *self._clocks)[:2]  # an agent may fail at once
        minutes = int((second - first) / np.timedelta64(1, "m"))
        return EpisodeTrace(
            record=self._record,
            start=first,
            minutes_per_step=minutes or 5,
            topologies=tuple(self._topologies),
            decisions=tuple(self._decisions.values()),
            **{name: np.stack(rows) for name, rows in self._series.items()},
        )


def _film(
    make_environment: EnvironmentFactory,
    records: Sequence[EpisodeRecord],
    watch: _Watch,
    at_risk: np.ndarray,
) -> list[EpisodeTrace]:
    """Play recorded episodes again, without an idle gate, and keep every step.

    Args:
        make_environment: of the evaluation's environments.
        records: of the episodes.
        watch: has their decisions.
        at_risk: ``[C]`` int, lines whose loss is looked at in each decision.
    """
    films = [_Film(record, watch.decisions[record.scenario, record.seed]) for record in records]

    def add(step: int, env: VectorEnvironment, infos: Mapping[str, Any]) -> None:
        state = grid_states(env)
        illegal, said = infos["illegal"], env.info_texts()["illegal_reason"]
        reasons = np.where(illegal, np.where(said == "", "it is illegal", said), "")
        for grid, film in enumerate(films):
            film.add(step, state, reasons, grid)
            film.look_at_losses(step, env, state, grid, at_risk)

    play_back(make_environment, records, on_step=add)
    return [film.trace() for film in films]
