"""``PowerGridEnv``: one power grid on grid2op, the reference environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from grid2op.Environment import Environment
from grid2op.Exceptions import Grid2OpException
from grid2op.Observation import BaseObservation
from grid2op.Reward import ConstantReward
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from envs.decision_gate import lines_at_risk
from envs.grid.action_sets import ALL_ACTIONS
from envs.grid.actions import DO_NOTHING, MASKS, ActionCatalogue
from envs.grid.blackout_text import what_it_says
from envs.grid.observations import EncoderMaker, make_encoder
from envs.grid.picture import draw_grid
from envs.grid.rewards import (
    N1Reward,
    RewardMaker,
    StepOutcome,
    find_grid2op_reward,
    make_reward,
)
from envs.grid.state import GridLayout, GridState, Lookahead
from envs.opponents import Opponent, make_opponent
from envs.reference.attack_log import AttackLog
from envs.reference.grid2op_copies import new_grid2op
from envs.reference.grid2op_options import (
    check_grid2op_env,
    check_grid2op_options,
    with_opponent,
)
from envs.reference.grid2op_state import grid_layout, grid_state
from envs.reference.grid_description import Actions, find_action_set
from envs.reference.lookahead import look_ahead
from envs.reference.redispatching import refuse_without_powers
from envs.reference.starts import STARTS, draw_start
from envs.reference.step_words import blackout_words, was_refused, why_refused
from envs.scenarios import (
    SPLITS,
    Scenario,
    ScenarioSource,
    check_grid_name,
    check_parameters,
    find_source,
    make_grid2op,
    set_scenario,
)
from envs.scenarios.grid2op_grids import grid_columns
from powergrid_muzero.checks import (
    check_action,
    check_action_list,
    check_attack_seed,
    check_count,
    check_flag,
    check_options,
    check_outages,
    check_seed,
    closed_if_refused,
)
from powergrid_muzero.copies import Copyable
from powergrid_muzero.names import choose, named_keywords

ENV_ID = "PowerGrid-v0"
# one substation or one line at a time, as in the field's benchmarks on this grid
PARAMETERS: Mapping[str, Any] = {"MAX_SUB_CHANGED": 1, "MAX_LINE_STATUS_CHANGED": 1}


class PowerGridEnv(Copyable, gym.Env[Any, np.int64], EzPickle):
    """Keep a power grid alive by switching its topology, five minutes a step.

    ## Description
    A transmission grid (by default l2rpn_case14_sandbox: 14 substations, 20 lines, 6 generators, 11
    loads) follows the loads and generation of a scenario. Power flows where physics sends it. A
    line loaded above its thermal limit trips after three steps in a row, at once above twice the
    limit; what it carried moves to others, and cascades end in blackout. The operator may
    disconnect or reconnect a line, or move element ends between the two busbars of a substation.
    Simulation is by grid2op with lightsim2grid's AC power flow.

    ## Action Space
    ``Discrete(487)``, in the order of grid2op's ``DiscreteActSpace(attr_to_keep=["set_bus",
    "change_bus", "set_line_status", "change_line_status"])``: 0 does nothing, then 188 switch
    element ends of a substation to their other busbar, 20 switch a line, 178 set the busbars of a
    substation, 20 disconnect a line and 80 reconnect one at given busbars. ``catalogue.text(i)``
    says each in words. An action may change one line or one substation. An illegal action does
    nothing to the grid, and info says why. ``info["action_mask"]`` tells which are legal. Other
    grids have other numbers of actions; on large ones ``actions`` chooses some. A set may also
    redispatch and curtail generators and use storage units.

    ## Observation Space
    By name: "features" (default; ``Box(417,)``, scaled by ratings, see
    ``envs.FeaturesEncoder``), "full" (``Box(538,)``, grid2op's raw numbers in A, MW, MVAr,
    kV, degrees, steps) or "graph" (``Dict`` of node and edge arrays with a fixed adjacency).

    ## Rewards
    By name: "l2rpn" (default; sum over lines of 1 - min(loading, 1)^2, 0 in a blackout and, as in
    grid2op, at the completing step), "survival", "blackout", "near_reference", "margin",
    "n1", "redispatch_cost" (see ``envs.grid.rewards``), a reward class of grid2op's by its own
    name, such as "EpisodeDurationReward", or "module:Class" of an ``envs.grid.rewards.Reward``.

    ## Starting State
    All elements on busbar 1, all lines in service, at the first row of a scenario drawn from the
    split, or (start="random") at a random row that leaves at least 288 steps.
    ``reset(options={"scenario": name, "first_step": row})`` picks both, and ``"attack_seed"`` what
    the opponent draws from.

    ## Episode End
    Blackout (a load or generator cut off, an island, no power-flow solution) is ``terminated``.
    The end of the scenario, or ``max_steps`` steps, is ``truncated``. Both keep their reward.

    ## Information
    From ``reset`` and ``step``, numbers only: ``action_mask`` int8 [A], 1 = legal now; ``step``
    int, row of the scenario now on the grid; ``rho_max`` float, highest line loading (0 after a
    blackout); ``illegal`` bool; ``duration`` int, grid steps played by this call. Under an idle
    gate, ``reset`` adds ``reset_reward`` float, see ``envs.IdleGate``. With an opponent
    also ``attack_steps`` int32 [L], steps that each line is held out still, at least, and
    ``attacks`` int, those that began so far, and ``attacks_survived`` int, those before the one
    that still lasts, or lasted when the game was lost.

    In words, from ``info_texts()`` at any time, or in every info with ``text_infos=True``:
    ``scenario``, its name; ``illegal_reason``, "" if legal; ``end``: "", "blackout: ..." with the
    lines that tripped in its last step, "scenario complete" or "time limit".

    ## Arguments
    - ``grid``: grid2op name, or folder, of the grid.
    - ``actions``: "all" (default), the name of an action set that ships ("case36", "case118"), the
      path of a file of one (JSON, NPZ, or grid2op's action vectors in NPY), or an
      ``envs.ActionSet``.
    - ``scenarios``: "recombined" (default), "varied", "recombined_more", "varied_more", "bundled",
      "dataset" or a ``ScenarioSource``.
    - ``scenario_folder``: where scenarios="dataset" reads; None for grid2op's own download.
    - ``split``: "train", "val" or "test".
    - ``observation``, ``reward``: names as above, or what makes one for a ``GridLayout``, such as
      a class of yours or a ``functools.partial`` of it.
    - ``max_steps``: steps after which an episode is truncated; None for the whole scenario.
    - ``start``: "beginning" or "random".
    - ``action_mask``: "legal"; "distinct": of the legal actions that lead to the same topology,
      only the first; "connected": of those, the ones that cut nothing off from the grid.
    - ``opponent``: who takes lines out: "none", "rl4pnc", "rte_case14", "grid" (the one in the
      grid's own configuration), an ``envs.opponents.Opponent``, or a mapping of what it is made of.
    - ``parameters``: grid2op ``Parameters`` that differ from the grid's, such as
      ``{"NB_TIMESTEP_COOLDOWN_SUB": 3}``.
    - ``grid2op_options``: what else ``grid2op.make`` should get, such as an opponent of yours; see
      ``envs.reference.grid2op_options`` for what is covered.
    - ``text_infos``: put the words into infos, too. Tools that make tensors of infos take none.
    - ``render_mode``: None or "rgb_array".

    ``gymnasium.make`` also takes ``idle_gate``, ``ask_every``, ``ask_at_attacks``, ``n1_gate``,
    ``reset_reward`` and ``reconnect_lines``, which wrap the environment in
    ``envs.reference.wrappers.IdleGate`` and ``ReconnectLines``.

    ## Copies
    Copied or pickled, also in mid-episode, it goes on as it would have, generators included. Since
    grid2op itself does not pickle, a copy is built from the arguments and plays the episode's steps
    again, a millisecond each; ``PowerGridVectorEnv`` is copied as it stands.

    ## Version History
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 12}

    _rebuilt = (
        *("_open", "_grid2op", "_observation", "_mask"),
        *("layout", "catalogue", "encoder", "_reward"),
    )

    @named_keywords
    def __init__(
        self,
        *,
        grid: str = "l2rpn_case14_sandbox",
        actions: Actions = ALL_ACTIONS,
        scenarios: str | ScenarioSource = "recombined",
        scenario_folder: str | None = None,
        split: str = "train",
        observation: str | EncoderMaker = "features",
        reward: str | RewardMaker = "l2rpn",
        max_steps: int | None = None,
        start: str = "beginning",
        action_mask: str = "legal",
        opponent: str | Mapping[str, Any] | Opponent | None = "none",
        parameters: Mapping[str, Any] | None = None,
        grid2op_options: Mapping[str, Any] | None = None,
        text_infos: bool = False,
        render_mode: str | None = None,
    ):
        """See the class for the arguments.

        Raises:
            ValueError: a name or value that does not exist; the message names the nearest one.
        """
        grid = check_grid_name(grid)
        chosen = find_action_set(actions, grid)
        EzPickle.__init__(
            self,
            grid=grid,
            actions=ALL_ACTIONS if chosen is None else chosen,  # a file may change
            scenarios=scenarios,
            scenario_folder=scenario_folder,
            split=split,
            observation=observation,
            reward=reward,
            max_steps=max_steps,
            start=start,
            action_mask=action_mask,
            opponent=opponent,
            parameters=parameters,
            grid2op_options=grid2op_options,
            text_infos=text_infos,
            render_mode=render_mode,
        )
        self.split = choose("split", split, SPLITS)
        self.start = choose("start", start, STARTS)
        self.mask_kind = choose("action mask", action_mask, MASKS)
        if render_mode is not None:
            choose("render mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.text_infos = check_flag("text_infos", text_infos)
        self.max_steps = None if max_steps is None else check_count("max_steps", max_steps)
        self.scenarios = find_source(scenarios, grid=grid, folder=scenario_folder)

        their_reward = find_grid2op_reward(reward)
        rules = {**PARAMETERS, **check_parameters(parameters)}
        options = check_grid2op_options(grid2op_options)
        self.opponent: Opponent | None = make_opponent(opponent, grid)
        if self.opponent is not None:
            self.opponent.number_lines(grid_columns(grid).line_names)
        self._open = partial(
            partial(make_grid2op, **with_opponent(options, self.opponent))
            if options
            else partial(new_grid2op, opponent=self.opponent),
            grid,
            parameters=rules,
            reward_class=their_reward or ConstantReward,
        )
        self._grid2op: Any = self._open()
        with closed_if_refused(self._grid2op):
            check_grid2op_env(self._grid2op, grid)
            self.layout: GridLayout = grid_layout(self._grid2op, name=grid)
            self._reward = None if their_reward else make_reward(reward, self.layout)
            self._at_risk = lines_at_risk(self.layout, self.opponent)
            self.encoder = make_encoder(observation, self.layout)
            self.catalogue = ActionCatalogue(
                self._grid2op.action_space,
                self.layout,
                actions=chosen,
                max_lines_changed=rules["MAX_LINE_STATUS_CHANGED"],
                max_substations_changed=rules["MAX_SUB_CHANGED"],
            )
            if self.catalogue.powers is not None:
                refuse_without_powers(self.encoder, self._reward)
        self.observation_space = self.encoder.space
        self.action_space = spaces.Discrete(self.catalogue.num_actions)

        self._scenario: Scenario | None = None
        self._first_step = 0  # row of the scenario where the episode started
        self._grid_seed: int | None = None  # of grid2op's own generators; None: never started
        self._actions: list[int] = []  # played since the episode started
        self._state: GridState | None = None
        self._observation: Any = None  # grid2op's
        self._mask: np.ndarray | None = None  # [A] int8
        self._texts: dict[str, str] = {}
        self.attack_log = AttackLog(self.layout.num_lines)
        self._over = True
        self._closed = False

    # -------------------------------------------------------------------------- what it shows

    @property
    def grid2op_env(self) -> Environment:
        """The grid2op environment underneath. Step it yourself and this one loses track."""
        return self._grid2op

    @property
    def grid2op_observation(self) -> BaseObservation:
        """grid2op's whole observation of the present state."""
        self._need_reset(self._observation is None)
        return self._observation

    @property
    def state(self) -> GridState:
        """The present state, with a batch axis of 1."""
        self._need_reset(self._state is None)
        assert self._state is not None
        return self._state

    @property
    def attack_seed(self) -> int:
        """What the attacks of this episode follow from."""
        self._need_reset(self._grid_seed is None)
        assert self._grid_seed is not None
        return self._grid_seed

    def info_texts(self) -> dict[str, str]:
        """Return what the latest info says in words: "scenario", "illegal_reason" and "end"."""
        self._need_reset(not self._texts)
        return dict(self._texts)

    def action_masks(self) -> np.ndarray:
        """Return ``[A]`` bool, True = legal now (what sb3-contrib's masked algorithms ask for)."""
        self._need_reset(self._state is None)
        return self._action_mask() == 1

    # --------------------------------------------------------------------------------- playing

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of everything random, None to go on with the present generator.
            options: "scenario", a name that the source knows, "first_step", the row of it to
                start at, and "attack_seed", of the opponent; what is left out is drawn.

        Raises:
            ValueError: an unknown option, scenario, or row; or there is no solution at that row.
        """
        super().reset(seed=None if seed is None else check_seed(seed))
        options = check_options(options)
        attack_seed = options.get("attack_seed")
        if attack_seed is not None:
            attack_seed = check_attack_seed(attack_seed)
        scenario, first_step = draw_start(
            self.scenarios, options, self.np_random, split=self.split, start=self.start
        )

        if self._closed:
            self._grid2op, self._closed = self._open(), False
        drawn = int(self.np_random.integers(2**31 - 1))
        grid_seed = drawn if attack_seed is None else attack_seed
        scenario = scenario.drawn(grid_seed)
        set_scenario(self._grid2op, scenario, first_step)
        self._grid_seed, self._over = None, True
        self._scenario, self._first_step = scenario, first_step
        try:
            observation = self._grid2op.reset(seed=grid_seed)
        except Grid2OpException as error:
            raise ValueError(
                f"scenario {scenario.name!r} cannot start at row {first_step}: "
                f"{what_it_says(error)}"
            ) from None
        self.attack_log = AttackLog(self.layout.num_lines)
        self._observe(observation)
        self._grid_seed, self._actions, self._over = grid_seed, [], False
        return self.complete(self._info())

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one action for five minutes.

        Raises:
            ValueError: ``action`` is not an integer in [0, A).
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
        """
        reward, terminated, truncated, info = self.advance(action)
        observation, info = self.complete(info)
        return observation, reward, terminated, truncated, info

    def complete(self, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the present observation, and ``info`` with the present action mask."""
        return self._encode(), {"action_mask": self._action_mask().copy(), **info}

    def advance(self, action: Any) -> tuple[float, bool, bool, dict[str, Any]]:
        """Play one action as ``step`` does, without the observation and the action mask.

        An idle gate plays hundreds of steps that nobody looks at; ``complete`` makes up for the
        one that is.

        Raises:
            ValueError: ``action`` is not an integer in [0, A).
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
        """
        self._need_open()
        self._need_reset(self._over)
        number = check_action(action, self.catalogue.num_actions)
        before = self.state
        observation, their_reward, done, their_info = self._grid2op.step(
            self.catalogue.grid2op_actions[number]
        )
        self._actions.append(number)
        illegal, reason = was_refused(their_info), ""
        if illegal:
            reason = self.catalogue.illegal_reason(number, before) or why_refused(their_info)
        blackout = bool(done and observation._is_done)  # grid2op marks a lost game so
        complete = bool(done and not blackout)
        self.attack_log.note(their_info, before.line_status[0], blackout=blackout)
        self._observe(observation)
        played = self._grid2op.nb_time_step
        out_of_time = self.max_steps is not None and played >= self.max_steps
        end = ""
        if blackout:
            end = blackout_words(self.layout, their_info)
        elif complete:
            end = "scenario complete"
        elif out_of_time:
            end = "time limit"
        self._over = end != ""

        if self._reward is None:
            reward = float(their_reward)
        else:
            worst = None
            if isinstance(self._reward, N1Reward):
                looked = not self._over or end == "time limit"
                worst = np.array([self.worst_loss(self._at_risk) if looked else np.inf])
            outcome = StepOutcome(
                action=np.array([number]),
                illegal=np.array([illegal]),
                blackout=np.array([blackout]),
                complete=np.array([complete]),
                worst_loss=worst,
            )
            reward = float(self._reward(self.state, outcome)[0])
        info = self._info(illegal=illegal, illegal_reason=reason, duration=1, end=end)
        return reward, blackout, self._over and not blackout, info

    def simulate(
        self,
        action_ids: Sequence[int] | np.ndarray,
        outages: Sequence[int] | np.ndarray | None = None,
    ) -> Lookahead:
        """Play each action on the five-minute forecast; the grid itself stays as it is.

        An illegal action is looked ahead at as what it does: nothing.

        Args:
            action_ids: ``[K]`` actions.
            outages: ``[C]`` lines, by number, whose loss in the same step is looked at, too: after
                the action, before the power flow, as an opponent strikes.

        Returns:
            Loadings ``[K, L]``, the highest of them and whether the game is over, ``[K]`` each.
            With ``outages`` ``[K, 1 + C, L]`` and ``[K, 1 + C]``, first without a loss.

        Raises:
            ValueError: they are no list of integers in [0, A), or a line is not one in [0, L).
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
        """
        self._need_open()
        self._need_reset(self._over)
        numbers = check_action_list(action_ids, self.catalogue.num_actions).tolist()
        if outages is None:
            found = self._look(numbers, [None])
            return Lookahead(found.rho[:, 0], found.rho_max[:, 0], found.game_over[:, 0])
        return self._look(numbers, [None, *check_outages(outages, self.layout.num_lines).tolist()])

    def _look(self, numbers: Sequence[int], losses: Sequence[int | None]) -> Lookahead:
        actions = [self.catalogue.grid2op_actions[number] for number in numbers]
        return look_ahead(self._observation, self._grid2op, actions, losses)

    def worst_loss(self, lines: np.ndarray) -> float:
        """Return the highest loading foreseen after the worst loss of one of ``lines``, ``[C]``.

        Nothing is done in that step. It is inf where a loss would end the game.
        """
        found = self._look([DO_NOTHING], [None, *lines.tolist()])
        return float(found.rho_max[0, 1:].max(initial=0))

    def render(self) -> np.ndarray | None:
        """Return a picture of the grid, ``[720, 1280, 3]`` uint8; None without a render mode."""
        if self.render_mode is None:
            gym.logger.warn(
                "render() draws nothing without a render mode: make the environment with "
                "render_mode='rgb_array'"
            )
            return None
        self._need_open()
        return draw_grid(self).to_array()

    def _repr_png_(self) -> bytes | None:
        """Return a picture for notebooks, None before the first ``reset`` and once closed."""
        return None if self._closed or self._state is None else draw_grid(self).to_png()

    def close(self) -> None:
        """Free the simulator, until ``reset`` opens it again; closing twice is fine."""
        if self._closed:
            return
        self._closed = self._over = True
        self._grid2op.close()

    # ---------------------------------------------------------------------------------- copies

    def __getstate__(self) -> dict[str, Any]:
        """Return the arguments, what is not grid2op's, and how often the forecast was asked."""
        asked = 0, 0
        if not self._closed:
            space = self._grid2op.observation_space
            asked = space.nb_simulate_called_this_episode, space.nb_simulate_called_this_step
        return {**super().__getstate__(), "_asked": asked}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Build it, and play the episode again.

        Raises:
            ValueError: that leads somewhere else.
        """
        state = {name: value for name, value in state.items() if name not in self._rebuilt}
        in_all, in_step = state.pop("_asked")
        closed = state.pop("_closed")
        self.__init__(**state["_ezpickle_kwargs"])
        super().__setstate__(state)
        if closed:
            self.close()
        elif self._grid_seed is not None:
            self._play_again(in_all, in_step)

    def _play_again(self, asked_in_all: int, asked_in_step: int) -> None:
        """Bring grid2op to where the episode stands.

        Args:
            asked_in_all: how often the forecast was asked in the episode: grid2op limits that.
            asked_in_step: how often in the present step.
        """
        assert self._scenario is not None
        expected, grid2op = self.state, self._grid2op
        set_scenario(grid2op, self._scenario, self._first_step)
        observation = grid2op.reset(seed=self._grid_seed)
        asked = asked_in_all - asked_in_step
        for number in self._actions:
            for _ in range(asked):
                grid2op.observation_space.simulate_called()
            asked = 0
            observation, *_ = grid2op.step(self.catalogue.grid2op_actions[number])
        for _ in range(asked_in_step):
            grid2op.observation_space.simulate_called()
        self._observe(observation)
        same = np.array_equal(self.state.topo_vect, expected.topo_vect)
        if not (same and np.allclose(self.state.rho, expected.rho, rtol=1e-4, atol=1e-4)):
            raise ValueError(
                f"playing the {len(self._actions)} actions of the episode again does not lead to "
                "where this copy should stand: the grid's data changed, or somebody else stepped "
                "grid2op_env; reset the environment before it is copied"
            )

    # --------------------------------------------------------------------------------- helpers

    def _need_open(self) -> None:
        if self._closed:
            raise gym.error.ClosedEnvironmentError(
                "this environment is closed; call reset() to open it again"
            )

    def _need_reset(self, needed: bool) -> None:
        if needed:
            raise ResetNeeded("no episode is running: call reset() first")

    def _observe(self, observation: Any) -> None:
        assert self._scenario is not None
        self._observation = observation
        self._mask = None
        self._state = grid_state(
            observation,
            last_busbar=self._grid2op._backend_action.last_topo_registered.values,
            step=self._first_step + self._grid2op.nb_time_step,
            max_step=self._scenario.num_steps,
            minutes=np.datetime64(self._grid2op.time_stamp, "m"),
            attack_steps=self.attack_log.steps,
        )

    def _encode(self) -> Any:
        batch = self.encoder.encode(self.state)
        if isinstance(batch, dict):
            return {key: array[0] for key, array in batch.items()}
        return batch[0]

    def _action_mask(self) -> np.ndarray:
        if self._mask is None:
            self._mask = self.catalogue.mask(self.mask_kind, self.state)[0]
        assert self._mask is not None
        return self._mask

    def _info(
        self,
        *,
        illegal: bool = False,
        illegal_reason: str = "",
        duration: int = 0,
        end: str = "",
    ) -> dict[str, Any]:
        assert self._scenario is not None
        texts = {"scenario": self._scenario.name, "illegal_reason": illegal_reason, "end": end}
        self._texts = texts
        numbers = {
            "step": int(self.state.step[0]),
            "rho_max": float(self.state.rho.max()),
            "illegal": illegal,
            "duration": duration,
        }
        if self.opponent is not None:
            numbers |= self.attack_log.infos()
        return {**numbers, **texts} if self.text_infos else numbers
