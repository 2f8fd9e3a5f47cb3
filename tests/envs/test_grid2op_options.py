"""What ``grid2op_options`` may hold: an option works as grid2op's, or is refused by name."""

from __future__ import annotations

import shutil
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from grid2op.Action import PlayableAction, PowerlineSetAction, TopologySetAction
from grid2op.Chronics import ChangeNothing
from grid2op.MakeEnv.get_default_env_kwargs import ERR_MSG_KWARGS
from grid2op.Observation import NoisyObservation
from grid2op.Opponent import BaseActionBudget, RandomLineOpponent
from grid2op.Parameters import Parameters
from grid2op.Reward import L2RPNReward
from grid2op.Rules import AlwaysLegal, DefaultRules
from lightsim2grid import LightSimBackend

from envs.fast.vector import PowerGridVectorEnv
from envs.reference.grid2op_options import COVERED, check_grid2op_options
from envs.reference.power_grid import PowerGridEnv
from envs.scenarios.grid2op_grids import grid_folder

OPPONENT: dict[str, Any] = {
    "opponent_class": RandomLineOpponent,
    "opponent_action_class": PowerlineSetAction,
    "opponent_budget_class": BaseActionBudget,
    "opponent_init_budget": 1000.0,
    "opponent_budget_per_ts": 1.0,
    "opponent_attack_duration": 10,
    "opponent_attack_cooldown": 20,
    "kwargs_opponent": {"lines_attacked": ["3_6_15", "1_3_3"]},
}


@pytest.mark.parametrize(
    "options",
    [
        OPPONENT,
        {"observation_class": NoisyObservation},
        {"action_class": PlayableAction},
        {"action_class": TopologySetAction},
        {"other_rewards": {"l2rpn": L2RPNReward}},
        {"n_busbar": 2, "allow_detachment": False, "gamerules_class": DefaultRules},
    ],
)
def test_masks_and_infos_agree_with_grid2op(options: dict[str, Any]):
    env = PowerGridEnv(scenarios="bundled", grid2op_options=options)
    rng = np.random.default_rng(0)
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(30):
            action = int(rng.integers(env.catalogue.num_actions))
            legal = env.action_masks()[action]
            *_, terminated, truncated, info = env.step(action)
            assert info["illegal"] == (not legal)
            if terminated or truncated:
                break
        env.close()  # the next reset opens it again, with the same options
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_busbar": 3}, "n_busbar can only be 2, not 3, in both environments"),
        ({"n_busbar": 1}, "n_busbar can only be 2"),
        ({"allow_detachment": True}, "allow_detachment can only be False"),
        ({"gamerules_class": AlwaysLegal}, "gamerules_class can only be DefaultRules"),
        ({"has_attention_budget": True}, "has_attention_budget can only be False"),
        ({"kwargs_attention_budget": {}}, "takes no 'kwargs_attention_budget'"),
        ({"backend": LightSimBackend()}, "takes no 'backend'"),
        ({"param": Parameters()}, "takes no 'param': use the argument 'parameters'"),
        ({"reward_class": L2RPNReward}, "takes no 'reward_class': use the argument 'reward'"),
        ({"chronics_class": ChangeNothing}, "takes no 'chronics_class'"),
        ({"data_feeding_kwargs": {"max_iter": 3}}, "takes no 'data_feeding_kwargs'"),
        ({"test": False}, "takes no 'test'"),
        ({"oponent_class": RandomLineOpponent}, "did you mean 'opponent_class'"),
        ({"_add_to_name": "x"}, "unknown option of grid2op_options '_add_to_name'"),
        ([("n_busbar", 3)], "grid2op_options must be a dict"),
    ],
)
def test_what_is_not_covered_is_refused_by_both(options: Any, message: str):
    for make in (PowerGridEnv, PowerGridVectorEnv):
        with pytest.raises(ValueError, match=message):
            make(grid2op_options=options)


def test_every_option_of_grid2op_has_an_answer():
    for name in (*ERR_MSG_KWARGS, "n_busbar", "allow_detachment"):
        try:
            assert name in COVERED or check_grid2op_options({name: object()}) is None
        except ValueError as error:
            assert "can only be" in str(error) or "takes no" in str(error), name


def test_what_grid2op_refuses_is_one_line():
    for name, value in (("opponent_init_budget", "much"), ("opponent_class", 3), ("logger", "x")):
        with pytest.raises(ValueError, match=rf"grid2op cannot open grid .*{name}") as caught:
            PowerGridEnv(grid2op_options={name: value})
        assert "\n" not in str(caught.value)


def test_the_vector_environment_names_the_reference_for_an_opponent():
    with pytest.raises(
        ValueError, match=r"takes no grid2op_options \(opponent_class.*PowerGridEnv"
    ):
        PowerGridVectorEnv(grid2op_options=OPPONENT)
    PowerGridVectorEnv(grid2op_options={"n_busbar": 2})
    gym.make("PowerGrid-v0", grid2op_options={}).close()


def test_a_grids_own_configuration_is_looked_at(tmp_path: Any):
    folder = tmp_path / "lawless_case5"
    shutil.copytree(grid_folder("rte_case5_example"), folder)
    with (folder / "config.py").open("a") as config:
        config.write(
            "\nfrom grid2op.Rules import AlwaysLegal\nconfig['gamerules_class'] = AlwaysLegal\n"
        )
    with pytest.raises(ValueError, match="rules of its own .AlwaysLegal., not DefaultRules"):
        PowerGridEnv(grid=str(folder), scenarios="bundled")
