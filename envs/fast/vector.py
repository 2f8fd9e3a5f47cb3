"""PowerGridVectorEnv: many power grids at once, on lightsim2grid's C++ power flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.decision_gate import lines_at_risk, make_decision_gate
from envs.fast.forecast_planner import ForecastPlanner
from envs.fast.grids import Grids, GridSave, GridSettings
from envs.fast.rollouts import ForecastRollouts, Foresight
from envs.fast.template import REFERENCE
from envs.grid.action_sets import ALL_ACTIONS
from envs.grid.actions import MASKS, ActionCatalogue
from envs.grid.observations import EncoderMaker, ObservationEncoder
from envs.grid.rewards import RewardMaker, find_grid2op_reward, make_reward
from envs.grid.state import GridLayout, GridState, Lookahead
from envs.opponents import Opponent, make_opponent
from envs.reference.grid2op_options import check_grid2op_options
from envs.reference.grid_description import Actions, find_action_set
from envs.reference.power_grid import PARAMETERS, STARTS
from envs.reference.wrappers import RESET_REWARDS
from envs.scenarios import SPLITS, ScenarioSource, check_grid_name, check_parameters, find_source
from powergrid_muzero.checks import (
    check_action_list,
    check_actions,
    check_count,
    check_flag,
    check_options,
    check_outages,
)
from powergrid_muzero.copies import Copyable
from powergrid_muzero.names import choose, named_keywords
from powergrid_muzero.vector_arguments import (
    check_autoreset,
    check_grid,
    check_num_envs,
    check_time_limit,
    reset_mask,
    seed_of_each,
    split_options,
)
from powergrid_muzero.vector_episodes import saved_episodes


class PowerGridVectorEnv(Copyable, VectorEnv[Any, np.ndarray, np.ndarray]):
    """B power grids to keep alive, each as ``PowerGridEnv`` plays it, 15 to 100 times as fast.

    ## Description
    The task, its actions, observations, rewards, infos and arguments are those of
    ``envs.PowerGridEnv``, and the trajectories are the same: the same legality, topology and
    ending step, flows within 1e-4, rewards and observations within float32 rounding.
    ``idle_gate``, the other options that say when to ask, and ``reconnect_lines`` do what
    ``envs.IdleGate`` and ``envs.ReconnectLines`` do. With the same seed, grid i plays what a single
    environment with that seed plays.

    What the fast rules do not cover (grid2op's own reward classes, rendering) is refused with a
    message that names the reference environment.

    ## Autoreset
    - "same_step" (default): the step that ends an episode already returns the first observation
      and info of the next one; ``infos["final_obs"]`` and ``infos["final_info"]`` hold the ending.
    - "next_step": the step after it ignores the grid's action and returns the first observation
      and info of the next episode, with reward 0. Wrappers such as Gymnasium's
      ``NormalizeObservation`` need it. Keep these steps out of what is learned from.
    - "disabled": a grid whose episode is over is not stepped again; it repeats its last observation
      and info, with reward 0, until ``reset(options={"reset_mask": [B] bool})`` starts it again.

    ``gymnasium.make_vec`` makes this class with the default "same_step". With
    ``vectorization_mode`` "sync" or "async" it makes Gymnasium's own vector environments of
    ``PowerGridEnv``, whose default is next-step
    (``vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}`` sets another).

    Copied or pickled, also in mid-episode, it goes on as it would have, generators included.

    ## Arguments
    - ``num_envs``: B.
    - ``autoreset``: "same_step", "next_step", "disabled", or Gymnasium's ``AutoresetMode``.
    - ``max_episode_steps``: calls of ``step`` after which an episode is truncated, as
      ``gymnasium.make`` counts them: decisions, where ``max_steps`` counts five-minute grid steps.
      None or -1 for no limit.
    - ``planning_reward``: what ``planner`` pays; None for ``reward``. An agent that plans is
      evaluated by another reward than the one it was trained with.
    - ``num_workers``: 0, as saved specs have it. Other values are refused.
    - all others: of ``gymnasium.make("PowerGrid-v0")``.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    @named_keywords
    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset: str | AutoresetMode = "same_step",
        max_episode_steps: int | None = None,
        grid: str = "l2rpn_case14_sandbox",
        actions: Actions = ALL_ACTIONS,
        scenarios: str | ScenarioSource = "recombined",
        scenario_folder: str | None = None,
        split: str = "train",
        observation: str | EncoderMaker = "features",
        reward: str | RewardMaker = "l2rpn",
        planning_reward: str | RewardMaker | None = None,
        idle_gate: float | None = None,
        ask_every: int | None = None,
        ask_at_attacks: bool = False,
        n1_gate: float | None = None,
        reset_reward: str = "first_step",
        reconnect_lines: bool = False,
        max_steps: int | None = None,
        start: str = "beginning",
        action_mask: str = "legal",
        opponent: str | Mapping[str, Any] | Opponent | None = "none",
        parameters: Mapping[str, Any] | None = None,
        grid2op_options: Mapping[str, Any] | None = None,
        text_infos: bool = False,
        render_mode: str | None = None,
        num_workers: int = 0,
    ):
        """See the class for the arguments.

        Raises:
            ValueError: a name or value that does not exist, or that is not covered; the message
                says what to take instead.
        """
        if num_workers != 0:
            raise ValueError(
                f"num_workers is {num_workers}, but the vector environment has no worker processes "
                "any more: leave it out. Play grids in several processes with "
                "gymnasium.vector.AsyncVectorEnv or trainer.num_workers."
            )
        self.num_envs = check_num_envs(num_envs)
        self.autoreset_mode = check_autoreset(autoreset)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.split = choose("split", split, SPLITS)
        self.start = choose("start", start, STARTS)
        self.mask_kind = choose("action mask", action_mask, MASKS)
        self.max_steps = None if max_steps is None else check_count("max_steps", max_steps)
        if given := check_grid2op_options(grid2op_options):
            raise ValueError(
                f"the vector environment takes no grid2op_options ({', '.join(given)}); {REFERENCE}"
            )
        if render_mode is not None:
            raise ValueError(f"the vector environment does not render; {REFERENCE}")
        self.render_mode = None
        if find_grid2op_reward(reward) is not None:
            raise ValueError(f"reward {reward!r} needs grid2op's own objects; {REFERENCE}")
        grid = check_grid_name(grid)
        self.scenarios = find_source(scenarios, grid=grid, folder=scenario_folder)

        self.opponent: Opponent | None = make_opponent(opponent, grid)

        settings = GridSettings(
            grid=grid,
            actions=find_action_set(actions, grid),
            parameters={**PARAMETERS, **check_parameters(parameters)},
            scenarios=self.scenarios,
            split=self.split,
            start=self.start,
            observation=observation,
            reward=reward,
            action_mask=self.mask_kind,
            opponent=self.opponent,
            gate=make_decision_gate(
                idle_gate=idle_gate,
                ask_every=ask_every,
                ask_at_attacks=ask_at_attacks,
                n1_gate=n1_gate,
                opponent=self.opponent,
            ),
            pays_resets=choose("reset_reward", reset_reward, RESET_REWARDS) == "first_step",
            reconnect_lines=check_flag("reconnect_lines", reconnect_lines),
            max_steps=self.max_steps,
            max_decisions=check_time_limit(max_episode_steps),
            autoreset=self.autoreset_mode,
            text_infos=check_flag("text_infos", text_infos),
        )
        self._settings = settings
        self._grids = Grids(settings, self.num_envs)
        self._planning_reward = make_reward(
            reward if planning_reward is None else planning_reward, self.layout
        )
        self.single_observation_space = self.encoder.space
        self.single_action_space = spaces.Discrete(self.catalogue.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.simulator_calls = np.zeros(self.num_envs, dtype=np.int64)  # [B] looked ahead at

    # -------------------------------------------------------------------------- what it shows

    @property
    def layout(self) -> GridLayout:
        """What is fixed of every grid."""
        return self._grids.layout

    @property
    def catalogue(self) -> ActionCatalogue:
        """The actions of every grid."""
        return self._grids.catalogue

    @property
    def encoder(self) -> ObservationEncoder:
        """What makes observations of states."""
        return self._grids.encoder

    @property
    def num_actions(self) -> int:
        """A, the number of actions of one grid."""
        return self.catalogue.num_actions

    @property
    def state(self) -> GridState:
        """The present state of all B grids; arrays may change with the next step."""
        return self._grids.state()

    @property
    def over(self) -> np.ndarray:
        """``[B]`` bool, no episode is running."""
        return self._grids.over

    def info_texts(self) -> dict[str, np.ndarray]:
        """Return what the present infos say in words, as ``PowerGridEnv.info_texts`` does.

        Each of "scenario", "illegal_reason" and "end" is ``[B]`` of str. After a step that has
        started the next episode already ("same_step") they are about that one; ``text_infos``
        keeps those of the ending in ``infos["final_info"]``.
        """
        return self._grids.info_texts()

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
            options: "scenario", "first_step" and "attack_seed" as in ``PowerGridEnv.reset``. A
                list, tuple or array of length B gives each grid its own, None leaving it out.
                ``"reset_mask"`` (``[B]`` bool) resets only some.

        Returns:
            Observations ``[B, ...]`` and vector infos.

        Raises:
            ValueError: a list of another length, or an unknown option, scenario, or row.
        """
        self.closed = False
        seeds = seed_of_each(seed, self.num_envs)
        options = check_options(options)
        chosen = reset_mask(options.pop("reset_mask", None), self.num_envs)
        own = split_options(options, self.num_envs)
        return self._grids.reset(chosen, seeds, own)

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
        never = np.flatnonzero(~self._grids.started)
        if len(never):
            raise ValueError(f"environment {never[0]} was never reset; call reset() before step().")
        return self._grids.step(actions)

    def simulate(
        self, action_ids: Sequence[Any], outages: Sequence[int] | np.ndarray | None = None
    ) -> list[Lookahead | None]:
        """Play each action on the five-minute forecast; the grids themselves stay as they are.

        Args:
            action_ids: B entries: ``[K_i]`` integers, or None to leave a grid out.
            outages: ``[C]`` lines, by number, whose loss in the same step is looked at, too, on
                all grids; see ``PowerGridEnv.simulate``.

        Returns:
            B ``Lookahead`` of ``K_i`` actions, None where none was asked for.

        Raises:
            ValueError: not B entries, or an action or a line that does not exist.
            gymnasium.error.ResetNeeded: an episode is over, or none was started.
        """
        self._need_open()
        entries = len(action_ids) if isinstance(action_ids, Sequence | np.ndarray) else 0
        if entries != self.num_envs:
            raise ValueError(
                f"action_ids has {entries} entries; expected {self.num_envs}, one per environment "
                "(None leaves one out)."
            )
        over = self._grids.over
        asked: list[np.ndarray | None] = []
        for grid, given in enumerate(action_ids):
            if given is None:
                asked.append(None)
                continue
            asked.append(check_action_list(given, self.num_actions))
            if over[grid]:
                raise gym.error.ResetNeeded(
                    f"environment {grid}: no episode is running: call reset() first"
                )
        lines = None if outages is None else check_outages(outages, self.layout.num_lines)
        each = 1 if lines is None else 1 + len(lines)
        self.simulator_calls += [0 if some is None else some.size * each for some in asked]
        return self._grids.simulate(asked, lines)

    def planner(self) -> ForecastPlanner:
        """Return what plays copies of the grids on, many steps ahead, on what is foreseen now.

        What it simulates counts in ``simulator_calls``. Planners do not disturb each other.
        """
        self._need_open()
        settings = self._settings
        return ForecastPlanner(
            self._grids.simulator.template,
            self,
            encoder=self.encoder,
            reward=self._planning_reward,
            reconnect_lines=settings.reconnect_lines,
            max_steps=settings.max_steps,
            gate=settings.gate,
            at_risk=lines_at_risk(self.layout, settings.opponent),
        )

    def rollouts(
        self, *, unusual: bool = True, foresight: Foresight | None = None
    ) -> ForecastRollouts:
        """Return what plays single grids on in many ways at once, on what is foreseen now.

        The power flows that it solves count in ``simulator_calls``.

        Args:
            unusual: see ``ForecastRollouts``.
            foresight: what says what topologies lead to, in place of power flows.
        """
        self._need_open()
        template = self._grids.simulator.template
        return ForecastRollouts(template, self, unusual=unusual, foresight=foresight)

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing is to be ended: ``reset`` opens the environment again."""

    # ------------------------------------------------------------------------------ snapshots

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: plain Python only.

        As of any environment, it is what each episode was made of: the generator before its reset,
        the reset's arguments, and the actions since.
        """
        return {
            "autoreset": self.autoreset_mode.value,
            "simulator_calls": self.simulator_calls.tolist(),
            "episodes": self._grids.episodes(),
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
        shown = self._grids.restore(episodes)
        self.simulator_calls[:] = state["simulator_calls"]
        return shown

    def save_state(self, grid: int) -> GridSave:
        """Return where grid number ``grid`` stands, in microseconds, for planning ahead.

        Unlike ``state_dict`` it lives in this process only, and holds no generator: after an
        autoreset, episodes go on with the present one.
        """
        self._need_open()
        return self._grids.save(check_grid(grid, self.num_envs))

    def load_state(self, grid: int, saved: GridSave) -> None:
        """Put grid number ``grid`` where ``save_state`` found it, or another one of this env.

        Raises:
            ValueError: no such grid, or not what ``save_state`` returned.
        """
        self._need_open()
        if not isinstance(saved, GridSave):
            raise ValueError(
                f"load_state takes what save_state returned, but was given a "
                f"{type(saved).__name__}; what state_dict returned is for load_state_dict"
            )
        self._grids.load(check_grid(grid, self.num_envs), saved)

    # -------------------------------------------------------------------------------- helpers

    def _need_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError(
                "this environment is closed; call reset() to open it again"
            )
