"""The learned model gives searches what the network says, in the environment's units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.muzero.model import LearnedModel
from agents.muzero.networks import CategoricalCodec, MLPNetwork, ResidualNetwork


@pytest.fixture(params=[MLPNetwork, ResidualNetwork])
def model(request: pytest.FixtureRequest) -> LearnedModel:
    torch.manual_seed(0)
    return LearnedModel(
        request.param(
            observation_shape=(5,),
            num_actions=7,
            hidden_size=16,
            value_codec=CategoricalCodec(num_bins=11, support_size=5.0),
            zero_init_heads=False,
        ),
        discount=0.97,
    )


def test_root_and_step_are_the_network_decoded(model: LearnedModel) -> None:
    observations = np.random.default_rng(0).random((4, 5))  # float64, as a user may give
    actions = np.array([0, 6, 3, 3])
    network = model.network
    with torch.no_grad():
        root = network.initial_inference(torch.from_numpy(observations).float())
        after = network.recurrent_inference(root.hidden, torch.from_numpy(actions))
    given = model.root(observations)
    for output, expected in ((given, root), (model.step(given.states, actions), after)):
        for array in (output.value, output.reward, output.discount, output.policy_logits):
            assert array.dtype == np.float32 and array.flags.c_contiguous
        value = network.value_head_codec.decode(expected.value).numpy()
        reward = network.reward_head_codec.decode(expected.reward).numpy()
        np.testing.assert_allclose(output.value, value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(output.reward, reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            output.policy_logits, expected.policy_logits, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(output.states.clone(), expected.hidden)
    np.testing.assert_allclose(given.reward, np.zeros(4), atol=1e-6)
    np.testing.assert_array_equal(given.discount, np.ones(4))
    edges = model.step(given.states, actions).discount
    np.testing.assert_array_equal(edges, np.full(4, 0.97, np.float32))
    alone = model.policy_value(observations)
    np.testing.assert_array_equal(alone.value, given.value)
    np.testing.assert_array_equal(alone.policy_logits, given.policy_logits)


def test_what_comes_from_an_accelerator_in_one_transfer_is_the_same(model: LearnedModel) -> None:
    observations = np.random.default_rng(1).random((3, 5)).astype(np.float32)
    packed = LearnedModel(model.network, discount=model.discount)
    packed._on_host = False
    found = [
        (one.root(observations), one.step(one.root(observations).states, np.arange(3)))
        for one in (packed, model)
    ]
    for ours, theirs in zip(*found, strict=True):
        for name in ("value", "reward", "discount", "policy_logits"):
            array = getattr(ours, name)
            np.testing.assert_array_equal(array, getattr(theirs, name), err_msg=name)
            assert array.dtype == np.float32 and array.flags.c_contiguous


def test_outputs_are_not_overwritten_by_the_next_call(model: LearnedModel) -> None:
    root = model.root(np.ones((2, 5), np.float32))
    before = [np.copy(array) for array in (root.value, root.policy_logits, root.states.numpy())]
    model.step(root.states, np.array([1, 2]))
    model.root(np.zeros((2, 5), np.float32))
    after = (root.value, root.policy_logits, root.states.numpy())
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)


def test_present_weights_are_read_and_evaluation_mode_restored(model: LearnedModel) -> None:
    observations = np.ones((2, 5), np.float32)
    before = model.root(observations).policy_logits
    model.network.train()
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1)
    after = model.root(observations).policy_logits
    assert not np.allclose(before, after)
    assert not model.network.training


def test_states_can_be_kept_in_an_ordinary_tensor(model: LearnedModel) -> None:
    """A search's tree does just this."""
    root = model.root(np.ones((3, 5), np.float32))
    tree = torch.zeros(3, 2, root.states.shape[1])
    tree[:, 0] = root.states
    gathered = tree[torch.arange(3), torch.zeros(3, dtype=torch.int64)]
    tree[:, 1] = model.step(gathered, np.array([1, 1, 1])).states
    assert np.isfinite(tree.numpy()).all()


def test_wrong_observation_shape_is_refused(model: LearnedModel) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 6\).*\[B, 5\]"):
        model.root(np.ones((2, 6), np.float32))
