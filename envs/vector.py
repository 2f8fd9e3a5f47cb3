"""PowerGridVectorEnv: many power grids at once, on lightsim2grid's C++ power flow."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs.actions import MASKS
from envs.actions import ActionCatalogue
from envs.checks import check_count
from envs.lightsim import Simulator
from envs.lightsim import grid_template
from envs.lightsim.lookahead import Forecaster
from envs.lightsim.player import Player
from envs.lightsim.player import PlayerSnapshot
from envs.lightsim.template import REFERENCE
from envs.names import choose
from envs.observations import make_encoder
from envs.power_grid import PARAMETERS
from envs.power_grid import STARTS
from envs.rewards import find_grid2op_reward
from envs.rewards import make_reward
from envs.scenarios import SPLITS
from envs.scenarios import ScenarioSource
from envs.scenarios import make_source
from envs.state import GridLayout
from envs.state import GridState
from envs.state import Lookahead
from envs.vector_arguments import check_actions
from envs.vector_arguments import check_gate
from envs.vector_arguments import reset_mask
from envs.vector_arguments import seed_of_each
from envs.vector_arguments import split_options
from envs.vector_episodes import Episode
from envs.vector_episodes import as_plain
from envs.vector_episodes import same_observation
from envs.vector_episodes import saved_episodes
from envs.vector_infos import Records
from envs.vector_infos import as_infos
from envs.vector_infos import row_of
from envs.vector_infos import spread_out
from envs.vector_starts import Starts

Autoreset = Literal["same_step", "disabled"]

_MODES = {"same_step": AutoresetMode.SAME_STEP, "disabled": AutoresetMode.DISABLED}


class GridSave(NamedTuple):
    """One grid of a vector environment at one decision, see ``save_state``."""

    episode: PlayerSnapshot
    history: Episode
    records: dict[str, Any]


class PowerGridVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """B power grids to keep alive, each as ``PowerGridEnv`` plays it, 15 to 100 times as fast.

    ## Description
    The task, its actions, observations, rewards, infos and arguments are those of
    ``envs.power_grid.PowerGridEnv``, and the trajectories are the same: the same legality, topology
    and ending step, flows within 1e-4, rewards and observations within float32 rounding.
    ``idle_gate`` and ``reconnect_lines`` do what ``envs.wrappers.IdleGate`` and ``ReconnectLines``
    do. With the same seed, grid i plays what a single environment with that seed plays.

    What the fast rules do not cover (opponents, storage units, planned outages, grid2op's own
    reward classes, rendering) is refused with a message that names the reference environment.

    Autoreset "same_step": the step that ends an episode already returns the first observation and
    info of the next one; ``infos["final_obs"]`` and ``infos["final_info"]`` hold the ending.
    "disabled": a grid whose episode is over is not stepped again; it repeats its last observation
    and info, with reward 0, until ``reset(options={"reset_mask": [B] bool})`` starts it again.

    ## Arguments
    - ``num_envs``: B.
    - ``autoreset``: "same_step" or "disabled".
    - ``threads``: that share the calm steps under an idle gate; the result does not depend on it.
    - all others: of ``gymnasium.make("PowerGrid-v0")``.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset: Autoreset = "same_step",
        threads: int = 1,
        grid: str = "l2rpn_case14_sandbox",
        scenarios: str | ScenarioSource = "recombined",
        scenario_folder: str | None = None,
        split: str = "train",
        observation: str = "features",
        reward: str = "l2rpn",
        idle_gate: float | None = None,
        reconnect_lines: bool = False,
        max_steps: int | None = None,
        start: str = "beginning",
        action_mask: str = "legal",
        parameters: Mapping[str, Any] | None = None,
        grid2op_options: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ):
        """See the class for the arguments.

        Raises:
            ValueError: a name or value that does not exist, or that is not covered; the message
                says what to take instead.
        """
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer):
            raise ValueError(f"num_envs must be an integer of at least 1, but is {num_envs!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; at least 1 environment is needed.")
        self.num_envs = int(num_envs)
        self.autoreset_mode = _MODES[choose("autoreset", autoreset, _MODES)]
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.split = choose("split", split, SPLITS)
        self.start = choose("start", start, STARTS)
        self.mask_kind = choose("action mask", action_mask, MASKS)
        self.max_steps = None if max_steps is None else check_count("max_steps", max_steps)
        if grid2op_options:
            raise ValueError(
                f"the vector environment takes no grid2op_options ({', '.join(grid2op_options)}); "
                f"{REFERENCE}"
            )
        if render_mode is not None:
            raise ValueError(f"the vector environment does not render; {REFERENCE}")
        self.render_mode = None
        if find_grid2op_reward(reward) is not None:
            raise ValueError(f"reward {reward!r} needs grid2op's own objects; {REFERENCE}")
        if isinstance(scenarios, str):
            scenarios = make_source(scenarios, grid=grid, folder=scenario_folder)
        self.scenarios: ScenarioSource = scenarios

        template = grid_template(grid, {**PARAMETERS, **(parameters or {})})
        self.layout: GridLayout = template.layout
        self.catalogue: ActionCatalogue = template.catalogue
        self.encoder = make_encoder(observation, self.layout)
        self._simulator = Simulator(template, self.num_envs)
        self._forecaster = Forecaster(self._simulator)
        self._player = Player(
            self._simulator,
            make_reward(reward, self.layout),
            idle_gate=check_gate(idle_gate),
            reconnect_lines=bool(reconnect_lines),
            max_steps=self.max_steps,
            threads=check_count("threads", threads),
        )
        self.single_observation_space = self.encoder.space
        self.single_action_space = spaces.Discrete(self.catalogue.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        B = self.num_envs
        self.simulator_calls = np.zeros(B, dtype=np.int64)  # [B] actions looked ahead at
        self._starts = Starts(scenarios, split=split, start=start, num_grids=B)
        self._episodes = [Episode() for _ in range(B)]
        self._records = Records(B, self.catalogue.num_actions)

    # -------------------------------------------------------------------------- what it shows

    @property
    def num_actions(self) -> int:
        """A, the number of actions of one grid."""
        return self.catalogue.num_actions

    @property
    def state(self) -> GridState:
        """The present state of all B grids; arrays may change with the next step."""
        return self._simulator.state()

    @property
    def over(self) -> np.ndarray:
        """``[B]`` bool, no episode is running."""
        return self._player.over.copy()

    # -------------------------------------------------------------------------------- playing

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: None, one integer s (grid i gets s + i), or B of them.
            options: "scenario" and "first_step" as in ``PowerGridEnv.reset``. A list or tuple of
                length B gives each grid its own, None leaving the option out. ``"reset_mask"``
                (``[B]`` bool) resets only some.

        Returns:
            Observations ``[B, ...]`` and vector infos.

        Raises:
            ValueError: a list of another length, or an unknown option, scenario, or row.
        """
        self._need_open()
        seeds = seed_of_each(seed, self.num_envs)
        options = dict(options or {})
        chosen = reset_mask(options.pop("reset_mask", None), self.num_envs)
        own = split_options(options, self.num_envs)
        for grid in np.flatnonzero(chosen).tolist():
            self._reset_one(grid, seed=seeds[grid], options=own[grid])
        return self._observe(), self._infos()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one action on each grid.

        Args:
            actions: ``[B]`` integers.

        Returns:
            Observations ``[B, ...]``, rewards ``[B]`` float64, terminations ``[B]`` bool,
            truncations ``[B]`` bool, vector infos.

        Raises:
            ValueError: another number of actions, an action that does not exist, or a grid that
                was never reset.
        """
        self._need_open()
        actions = check_actions(actions, self.num_envs, self.num_actions)
        player = self._player
        for grid, episode in enumerate(self._episodes):
            if not episode.started:
                raise ValueError(f"environment {grid} was never reset; call reset() before step().")
        grids = np.flatnonzero(~player.over)
        rewards = np.zeros(self.num_envs)
        if len(grids):
            rewards[grids] = self._decide(grids, actions[grids])
        terminations = player.blackout.copy()
        truncations = player.over & ~terminations
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and player.over.any():
            ended = np.flatnonzero(player.over)
            infos = self._final_infos(ended)
            for grid in ended.tolist():
                self._reset_one(grid, seed=None, options=None)
        observations = self._observe()
        return observations, rewards, terminations, truncations, infos | self._infos()

    def simulate(self, action_ids: Sequence[Any]) -> list[Lookahead | None]:
        """Play each action on the five-minute forecast; the grids themselves stay as they are.

        Args:
            action_ids: B entries: ``[K_i]`` integers, or None to leave a grid out.

        Returns:
            B ``Lookahead`` of ``K_i`` actions, None where none was asked for.

        Raises:
            ValueError: not B entries, or an action that does not exist.
            gymnasium.error.ResetNeeded: an episode is over, or none was started.
        """
        self._need_open()
        if len(action_ids) != self.num_envs:
            raise ValueError(
                f"action_ids has {len(action_ids)} entries; expected {self.num_envs}, one per "
                "environment (None leaves one out)."
            )
        results: list[Lookahead | None] = []
        for grid, given in enumerate(action_ids):
            if given is None:
                results.append(None)
                continue
            given = np.asarray(given)
            if given.size == 0:
                given = given.astype(np.int64)
            numbers = check_actions(given, given.size, self.num_actions)
            if self._player.over[grid]:
                raise gym.error.ResetNeeded(
                    f"environment {grid}: no episode is running: call reset() first"
                )
            self.simulator_calls[grid] += numbers.size
            results.append(self._forecaster.look(grid, numbers))
        return results

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._player.close()

    # ------------------------------------------------------------------------------ snapshots

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: plain Python only.

        As of any environment, it is what each episode was made of: the generator before its reset,
        the reset's arguments, and the actions since.
        """
        observations = self._observe()
        return {
            "autoreset": self.autoreset_mode.value,
            "simulator_calls": self.simulator_calls.tolist(),
            "episodes": [
                episode.to_plain(as_plain(row_of(observations, grid)))
                for grid, episode in enumerate(self._episodes)
                if episode.started
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Put every grid back where ``state_dict`` found it, by playing it again.

        Args:
            state: from ``state_dict`` of a vector environment of the same B and options.

        Returns:
            The present observations ``[B, ...]`` and infos, as the last ``reset`` or ``step``
            returned them (``final_obs`` and ``final_info`` left out).

        Raises:
            ValueError: another B or autoreset mode, or the replay arrives somewhere else, which
                means that the options or the data changed.
        """
        self._need_open()
        episodes = saved_episodes(state, self.num_envs, self.autoreset_mode.value)
        for grid, saved in enumerate(episodes):
            if saved["random_state"] is not None:
                self._starts.set_random_state(grid, saved["random_state"])
            self._reset_one(grid, seed=saved["seed"], options=saved["options"])
        counts = np.array([len(saved["actions"]) for saved in episodes])
        for number in range(counts.max()):
            grids = np.flatnonzero(counts > number)
            self._decide(grids, np.array([int(episodes[g]["actions"][number]) for g in grids]))
        observations = self._observe()
        for grid, saved in enumerate(episodes):
            if not same_observation(as_plain(row_of(observations, grid)), saved["observation"]):
                raise ValueError(
                    f"environment {grid}: playing its {counts[grid]} saved actions again leads to "
                    "another observation than was saved. Resume with the environment's options, "
                    "data and versions of the saved run."
                )
        self.simulator_calls[:] = state["simulator_calls"]
        return observations, self._infos()

    def save_state(self, grid: int) -> GridSave:
        """Return where grid number ``grid`` stands, in microseconds, for planning ahead.

        Unlike ``state_dict`` it lives in this process only, and holds no generator: after an
        autoreset, episodes go on with the present one.
        """
        return GridSave(
            self._player.save(grid), self._episodes[grid].copy(), self._records.row(grid)
        )

    def load_state(self, grid: int, saved: GridSave) -> None:
        """Put grid number ``grid`` where ``save_state`` found it, or another one of this env."""
        self._player.load(grid, saved.episode)
        self._episodes[grid] = saved.history.copy()
        self._records.set_row(grid, saved.records)

    # -------------------------------------------------------------------------------- helpers

    def _need_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("this environment is closed; make a new one")

    def _reset_one(self, grid: int, *, seed: int | None, options: dict[str, Any] | None) -> None:
        """Start an episode as ``PowerGridEnv.reset`` and ``IdleGate.reset`` do."""
        before = None if seed is not None else self._starts.random_state(grid)
        if seed is not None:
            self._starts.seed(grid, seed)
        name, first_step = self._begin(grid, options)
        self._episodes[grid] = Episode(before, seed, options, started=True)
        duration, reward = 0, 0.0
        if self._player.idle_gate is not None:
            one = np.array([grid])
            rewards, steps = self._player.coast(one)
            if self._player.over[grid]:  # nothing to decide: once more, up to the step before
                most = int(steps[0]) - 1
                self._begin(grid, {"scenario": name, "first_step": first_step})
                rewards, steps = self._player.coast(one, most=most)
            duration, reward = int(steps[0]), float(rewards[0])
        self._records.note_reset(grid, scenario=name, duration=duration, reward=reward)

    def _begin(self, grid: int, options: Mapping[str, Any] | None) -> tuple[str, int]:
        """Put a scenario on a grid; return its name and first step."""
        scenario, first_step = self._starts.draw(grid, options)
        self._player.start(grid, scenario, first_step)
        self._starts.draw_grid_seed(grid)
        return scenario.name, first_step

    def _decide(self, grids: np.ndarray, actions: np.ndarray) -> np.ndarray:
        rewards, durations, illegal, reasons = self._player.decide(grids, actions)
        self._records.note_decisions(grids, durations, illegal, reasons)
        for grid, action in zip(grids.tolist(), actions.tolist(), strict=True):
            self._episodes[grid].actions.append(action)
        return rewards

    def _observe(self) -> Any:
        return self.encoder.encode(self._simulator.state())

    def _refresh_masks(self) -> None:
        simulator, masks = self._simulator, self._records.action_mask
        grids = np.flatnonzero(simulator.rules_changed)
        if len(grids):
            state = simulator.state(grids if len(grids) < self.num_envs else None, foresee=False)
            masks[grids] = self.catalogue.mask(self.mask_kind, state)
            simulator.rules_changed[grids] = False

    def _infos(self) -> dict[str, Any]:
        """Return the present infos of all grids, in Gymnasium's form for vectors."""
        self._refresh_masks()
        records = self._records
        started = np.array([episode.started for episode in self._episodes])
        infos = as_infos(self._values(slice(None)), started)
        if self._player.idle_gate is not None and records.just_reset.any():
            rewards = np.where(records.just_reset, records.reset_reward, 0.0)
            infos |= as_infos({"reset_reward": rewards}, records.just_reset)
        return infos

    def _values(self, grids: np.ndarray | slice) -> dict[str, np.ndarray]:
        simulator, records = self._simulator, self._records
        return {
            "action_mask": records.action_mask[grids].copy(),
            "scenario": records.scenario[grids].copy(),
            "step": simulator.row[grids].astype(np.int64),
            "rho_max": simulator.rho[grids].max(axis=1).astype(np.float64),
            "illegal": records.illegal[grids].copy(),
            "illegal_reason": records.illegal_reason[grids].copy(),
            "duration": records.duration[grids].copy(),
            "end": self._player.end[grids].copy(),
        }

    def _final_infos(self, ended: np.ndarray) -> dict[str, Any]:
        """Return ``final_obs`` and ``final_info`` of the grids whose episodes just ended."""
        self._refresh_masks()
        there = np.zeros(self.num_envs, dtype=np.bool_)
        there[ended] = True
        last = self.encoder.encode(self._simulator.state(ended))
        rows = np.full(self.num_envs, None, dtype=object)
        for place, grid in enumerate(ended.tolist()):
            rows[grid] = row_of(last, place)
        spread = {key: spread_out(values, there) for key, values in self._values(ended).items()}
        return as_infos({"final_obs": rows, "final_info": as_infos(spread, there)}, there)
