"""Reanalysis replaces what the searches of old networks said, and only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.muzero.decision import Decision
from agents.muzero.reanalysis import reanalyse
from agents.muzero.replay import Replay
from agents.muzero.search import ModelOutput, PUCTSearch
from agents.muzero.targets import CONTINUING


class ObservationIsValue:
    """Every action pays nothing and leads on; the value is the observation."""

    num_actions = 3

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """States are the observations."""
        return self._output(torch.from_numpy(observations[:, 0]))

    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Nothing changes."""
        return self._output(states)

    def _output(self, states: torch.Tensor) -> ModelOutput:
        zeros = np.zeros(len(states), np.float32)
        return ModelOutput(
            value=states.numpy(),
            reward=zeros,
            discount=zeros + 1,
            policy_logits=np.zeros((len(states), 3), np.float32),
            states=states,
        )


@pytest.mark.parametrize("num_appended", [2, 9, 25])  # a young lane, a full one, one wrapped round
def test_every_decision_gets_the_new_search(num_appended):
    replay = Replay(
        num_lanes=2,
        capacity=20,
        observation_shape=(1,),
        num_actions=3,
        unroll_steps=1,
        td_steps=2,
        store_action_masks=True,
    )
    mask = np.array([[1, 0, 1], [0, 1, 0]], np.int8)
    for step in range(num_appended):
        replay.append(
            np.arange(2),
            Decision(
                observation=np.array([[step], [100 + step]], np.float32),
                action=np.array([0, 1]),
                reward=np.zeros(2),
                policy=np.array([[1, 0, 0], [0, 1, 0]], np.float32),
                root_value=np.full(2, -1.0),
                duration=np.ones(2, np.int32),
                end=np.full(2, CONTINUING, np.uint8),
                final_value=np.zeros(2),
                action_mask=mask,
                extras={},
            ),
        )
    search = PUCTSearch(num_simulations=4, first_play="parent")
    reanalyse(ObservationIsValue(), search, replay, np.random.default_rng(0))

    held = {}
    for chunk in replay.chunks(7):
        for slot, observation in zip(chunk.slots, chunk.observations[:, 0], strict=True):
            held[observation] = replay._held.root_value[slot]
    kept = min(num_appended, 10)
    steps = range(num_appended - kept, num_appended)
    assert sorted(held) == [*steps, *(100 + step for step in steps)]
    assert all(value == pytest.approx(observation) for observation, value in held.items())

    decisions = replay.sample(64, np.random.default_rng(1)).decisions
    first_lane = decisions.observation[:, 0, 0] < 100
    assert (decisions.policy[first_lane, 0, 1] == 0).all()  # the mask was kept
    assert (decisions.policy[first_lane, 0, 2] > 0).all()  # and legal actions were searched anew
