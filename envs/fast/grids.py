"""B grids that play episodes: the core of the vector environment.

``PowerGridVectorEnv`` checks what its users pass in and hands it to these.

Shape letters: A actions, B grids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from envs.decision_gate import DecisionGate, lines_at_risk
from envs.fast.grid_player import EpisodeSnapshot, GridPlayer
from envs.fast.infos import Records, as_infos, row_of, spread_out
from envs.fast.lookahead import Forecaster
from envs.fast.simulator import Simulator
from envs.fast.starts import Starts
from envs.fast.template import grid_template
from envs.grid.action_sets import ActionSet
from envs.grid.actions import ActionCatalogue
from envs.grid.observations import EncoderMaker, make_encoder
from envs.grid.rewards import RewardMaker, make_reward
from envs.grid.state import GridLayout, GridState, Lookahead
from envs.opponents import Opponent
from envs.scenarios import ScenarioSource
from powergrid_muzero.vector_episodes import Episode, as_plain, same_observation


@dataclass(frozen=True)
class GridSettings:
    """How to make grids, checked already."""

    grid: str
    actions: ActionSet | None  # to choose from; None for all
    parameters: Mapping[str, Any]  # grid2op's, that differ from the grid's own
    scenarios: ScenarioSource
    split: str
    start: str
    observation: str | EncoderMaker
    reward: str | RewardMaker
    action_mask: str
    opponent: Opponent | None
    gate: DecisionGate | None
    pays_resets: bool  # the first step also pays what was earned before the first decision
    reconnect_lines: bool
    max_steps: int | None
    max_decisions: int | None  # of an episode, at most
    autoreset: AutoresetMode
    text_infos: bool  # infos hold words, too


class GridSave(NamedTuple):
    """One grid at one decision, see ``PowerGridVectorEnv.save_state``."""

    episode: EpisodeSnapshot
    history: Episode
    records: dict[str, Any]


class Grids:
    """B grids that play episodes.

    Args:
        settings: of the grids.
        num_grids: B.

    Raises:
        ValueError: a name or value that does not exist, or that is not covered.
    """

    def __init__(self, settings: GridSettings, num_grids: int):
        template = grid_template(settings.grid, settings.parameters, settings.actions)
        if settings.reconnect_lines:
            template.catalogue.need_line_switches("reconnect_lines=True")
        self.num_grids = num_grids
        self.simulator = Simulator(template, num_grids, settings.opponent)
        self.encoder = make_encoder(settings.observation, self.layout)
        self.player = GridPlayer(
            self.simulator,
            make_reward(settings.reward, self.layout),
            gate=settings.gate,
            at_risk=lines_at_risk(self.layout, settings.opponent),
            reconnect_lines=settings.reconnect_lines,
            max_steps=settings.max_steps,
        )
        self._settings = settings
        self._forecaster = Forecaster(self.simulator)
        self._starts = Starts(
            settings.scenarios, split=settings.split, start=settings.start, num_grids=num_grids
        )
        self._episodes = [Episode() for _ in range(num_grids)]
        self._records = Records(num_grids, self.catalogue.num_actions)

    # -------------------------------------------------------------------------- what they show

    @property
    def layout(self) -> GridLayout:
        """Of every grid."""
        return self.simulator.template.layout

    @property
    def catalogue(self) -> ActionCatalogue:
        """The actions of every grid."""
        return self.simulator.template.catalogue

    @property
    def over(self) -> np.ndarray:
        """``[B]`` bool, no episode is running."""
        return self.player.over.copy()

    @property
    def started(self) -> np.ndarray:
        """``[B]`` bool, which were ever reset."""
        return self._records.started.copy()

    def state(self) -> GridState:
        """Return the present state of all B grids; arrays may change with the next step."""
        return self.simulator.state()

    def shown(self) -> tuple[Any, dict[str, Any]]:
        """Return the observations ``[B, ...]`` and vector infos of now."""
        self._refresh_masks()
        records = self._records
        infos = as_infos(self._values(slice(None)), records.started)
        if self._settings.gate is not None and records.just_reset.any():
            rewards = np.where(records.just_reset, records.reset_reward, 0.0)
            infos |= as_infos({"reset_reward": rewards}, records.just_reset)
        return self._observe(), infos

    def _observe(self) -> Any:
        return self.encoder.encode(self.simulator.state())

    def _refresh_masks(self) -> None:
        simulator, masks = self.simulator, self._records.action_mask
        grids = np.flatnonzero(simulator.rules_changed)
        if len(grids):
            state = simulator.state(grids if len(grids) < self.num_grids else None, foresee=False)
            masks[grids] = self.catalogue.mask(self._settings.action_mask, state)
            simulator.rules_changed[grids] = False

    def _values(self, grids: np.ndarray | slice) -> dict[str, np.ndarray]:
        simulator, records = self.simulator, self._records
        values = {
            "action_mask": records.action_mask[grids].copy(),
            "step": simulator.row[grids].astype(np.int64),
            "rho_max": simulator.rho[grids].max(axis=1).astype(np.float64),
            "illegal": records.illegal[grids].copy(),
            "duration": records.duration[grids].copy(),
            **(self.info_texts(grids) if self._settings.text_infos else {}),
        }
        if self._settings.opponent is not None:
            values["attack_steps"] = simulator.attack_steps[grids].copy()
            values["attacks"] = simulator.attacks[grids].copy()
            lasting = simulator.lost_to_attack[grids] | (values["attack_steps"] > 0).any(axis=1)
            values["attacks_survived"] = np.maximum(values["attacks"] - lasting, 0)
        return values

    def info_texts(self, grids: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Return what infos say in words; ``[B]`` of str each."""
        return {
            "scenario": self._records.scenario[grids].copy(),
            "illegal_reason": self._records.illegal_reason[grids].copy(),
            "end": self.player.end[grids].copy(),
        }

    def _ending(self, ended: np.ndarray) -> dict[str, Any]:
        """Return ``final_obs`` and ``final_info`` of the grids whose episodes just ended."""
        self._refresh_masks()
        there = np.zeros(self.num_grids, dtype=np.bool_)
        there[ended] = True
        last = self.encoder.encode(self.simulator.state(ended))
        rows = np.full(self.num_grids, None, dtype=object)
        for place, grid in enumerate(ended.tolist()):
            rows[grid] = row_of(last, place)
        spread = {key: spread_out(values, there) for key, values in self._values(ended).items()}
        return as_infos({"final_obs": rows, "final_info": as_infos(spread, there)}, there)

    # --------------------------------------------------------------------------------- playing

    def reset(
        self,
        chosen: np.ndarray,
        seeds: Sequence[int | None],
        options: Sequence[dict[str, Any] | None],
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes on the grids that are ``chosen``, ``[B]`` bool.

        Args:
            chosen: which.
            seeds: B; None to go on with the present generator.
            options: B, of ``PowerGridEnv.reset``.

        Raises:
            ValueError: an unknown option, scenario, or row.
        """
        for grid in np.flatnonzero(chosen).tolist():
            self._reset_one(grid, seed=seeds[grid], options=options[grid])
        return self.shown()

    def step(
        self, actions: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play ``[B]`` int64 actions on the grids whose episodes are running.

        What becomes of the others, and of those that end now, is up to the autoreset mode.

        Returns:
            See ``PowerGridVectorEnv.step``.
        """
        player, autoreset = self.player, self._settings.autoreset
        before = player.over.copy()
        grids = np.flatnonzero(~before)
        rewards = np.zeros(self.num_grids)
        if len(grids):
            rewards[grids] = self._decide(grids, actions[grids])
        if autoreset is AutoresetMode.NEXT_STEP:
            for grid in np.flatnonzero(before).tolist():
                self._reset_one(grid, seed=None, options=None)
        terminations = player.blackout.copy()
        truncations = (player.over & ~terminations) | self._out_of_decisions()
        ending: dict[str, Any] = {}
        if autoreset is AutoresetMode.SAME_STEP and player.over.any():
            ended = np.flatnonzero(player.over)
            ending = self._ending(ended)
            for grid in ended.tolist():
                self._reset_one(grid, seed=None, options=None)
        observations, infos = self.shown()
        return observations, rewards, terminations, truncations, infos | ending

    def simulate(
        self, action_ids: Sequence[np.ndarray | None], outages: np.ndarray | None = None
    ) -> list[Lookahead | None]:
        """Look ahead at ``[K_i]`` actions of each grid, None where there is nothing to look at.

        Args:
            action_ids: B.
            outages: ``[C]`` lines, see ``PowerGridEnv.simulate``.
        """
        return [
            None if actions is None else self._forecaster.look(grid, actions, outages)
            for grid, actions in enumerate(action_ids)
        ]

    def _reset_one(self, grid: int, *, seed: int | None, options: dict[str, Any] | None) -> None:
        """Start an episode as ``PowerGridEnv.reset`` and ``IdleGate.reset`` do."""
        before = None if seed is not None else self._starts.random_state(grid)
        if seed is not None:
            self._starts.seed(grid, seed)
        name, first_step, attack_seed = self._begin(grid, options)
        self._episodes[grid] = Episode(before, seed, options, started=True)
        duration, reward = 0, 0.0
        if self._settings.gate is not None:
            one = np.array([grid])
            rewards, steps = self.player.coast(one)
            if self.player.over[grid]:  # nothing to decide: once more, up to the step before
                most = int(steps[0]) - 1
                again = {"scenario": name, "first_step": first_step, "attack_seed": attack_seed}
                self._begin(grid, again)
                rewards, steps = self.player.coast(one, most=most)
            duration, reward = int(steps[0]), float(rewards[0])
        self._records.note_reset(grid, scenario=name, duration=duration, reward=reward)

    def _begin(self, grid: int, options: Mapping[str, Any] | None) -> tuple[str, int, int]:
        """Put a scenario on a grid; return its name, its first step and the seed of attacks."""
        scenario, first_step = self._starts.draw(grid, options)
        attack_seed = self._starts.draw_attack_seed(grid, options)
        self.player.start(grid, scenario.drawn(attack_seed), first_step, attack_seed)
        return scenario.name, first_step, attack_seed

    def _decide(self, grids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        rewards, durations, illegal, reasons = self.player.decide(grids, actions)
        if self._settings.pays_resets and self._settings.gate is not None:
            records = self._records
            rewards += np.where(records.just_reset[grids], records.reset_reward[grids], 0.0)
        self._records.note_decisions(grids, durations, illegal, reasons)
        for grid, action in zip(grids.tolist(), actions.tolist(), strict=True):
            self._episodes[grid].actions.append(action)
        for grid in np.flatnonzero(self._out_of_decisions() & ~self.player.over).tolist():
            self.player.stop(grid, "time limit")
        return rewards

    def _out_of_decisions(self) -> np.ndarray:
        """Return ``[B]`` bool, which episodes have had as many decisions as they may have.

        As with Gymnasium's ``TimeLimit``, a blackout at the last of them is both endings.
        """
        most = self._settings.max_decisions
        if most is None:
            return np.zeros(self.num_grids, dtype=np.bool_)
        return np.array([len(episode.actions) >= most for episode in self._episodes])

    # ------------------------------------------------------------------------------- snapshots

    def episodes(self) -> list[dict[str, Any]]:
        """Return what the episodes that were started are made of, as plain Python."""
        observations = self._observe()
        return [
            episode.to_plain(as_plain(row_of(observations, grid)))
            for grid, episode in enumerate(self._episodes)
            if episode.started
        ]

    def restore(self, episodes: Sequence[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """Play B episodes again, as ``episodes`` returned them.

        Raises:
            ValueError: the replay arrives somewhere else: the options or the data changed.
        """
        for grid, saved in enumerate(episodes):
            if saved["random_state"] is not None:
                self._starts.set_random_state(grid, saved["random_state"])
            self._reset_one(grid, seed=saved["seed"], options=saved["options"])
        counts = np.array([len(saved["actions"]) for saved in episodes])
        for number in range(int(counts.max())):
            grids = np.flatnonzero(counts > number)
            self._decide(
                grids, np.array([int(episodes[g]["actions"][number]) for g in grids.tolist()])
            )
        observations, infos = self.shown()
        for grid, saved in enumerate(episodes):
            there = as_plain(row_of(observations, grid))
            if not same_observation(there, saved["observation"]):
                raise ValueError(
                    f"environment {grid}: playing its {counts[grid]} saved actions "
                    "again leads to another observation than was saved. Resume with the "
                    "environment's options, data and versions of the saved run."
                )
        return observations, infos

    def save(self, grid: int) -> GridSave:
        """Return where grid number ``grid`` stands."""
        return GridSave(
            self.player.save(grid), self._episodes[grid].copy(), self._records.row(grid)
        )

    def load(self, grid: int, saved: GridSave) -> None:
        """Put grid number ``grid`` where ``save`` found it, or another one."""
        self.player.load(grid, saved.episode)
        self._episodes[grid] = saved.history.copy()
        self._records.set_row(grid, saved.records)
