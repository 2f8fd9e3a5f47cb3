"""Codecs against the formulas of MuZero appendix F; networks against explicit computations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.muzero.networks import (
    CategoricalCodec,
    MLPNetwork,
    MuZeroNetwork,
    ResidualNetwork,
    ScalarCodec,
    StateActionLinear,
    inverse_transform_value,
    min_max_normalize,
    transform_value,
)

NETWORKS = [MLPNetwork, ResidualNetwork]


def make(network: type, **options: object) -> MuZeroNetwork:
    torch.manual_seed(0)
    return network(observation_shape=(5,), num_actions=7, **{"hidden_size": 16, **options})


def test_value_transform_matches_the_formula_by_hand() -> None:
    # h(3) = sqrt(4) - 1 + 0.001 * 3 = 1.003; h(-8) = -(sqrt(9) - 1) - 0.008 = -2.008
    values = torch.tensor([3.0, -8.0, 0.0])
    torch.testing.assert_close(transform_value(values), torch.tensor([1.003, -2.008, 0.0]))
    assert inverse_transform_value(torch.tensor([0.0])).item() == 0.0


def test_value_transform_inverts_over_seven_decades() -> None:
    values = torch.cat([torch.logspace(-3, 4, 200), -torch.logspace(-3, 4, 200)])
    restored = inverse_transform_value(transform_value(values))
    torch.testing.assert_close(restored, values, rtol=1e-4, atol=1e-6)


def test_scalar_codec_is_the_plain_square() -> None:
    codec = ScalarCodec()
    output = torch.tensor([[2.0], [-1.0]])
    assert codec.size == 1
    assert codec.decode(output).tolist() == [2.0, -1.0]
    assert codec.loss(output, torch.tensor([5.0, -1.0])).tolist() == [9.0, 0.0]


def test_two_hot_shares_a_value_between_its_neighbours() -> None:
    codec = CategoricalCodec(num_bins=5, support_size=2.0, transform=False)  # bins -2 -1 0 1 2
    lower, share = codec.two_hot(torch.tensor([0.25, -2.0, 2.0, 9.0]))
    assert lower.tolist() == [2, 0, 3, 3]  # 9 counts as the edge, 2
    assert share.tolist() == [0.25, 0.0, 1.0, 1.0]


def test_categorical_loss_by_hand() -> None:
    codec = CategoricalCodec(num_bins=3, support_size=1.0, transform=False)  # bins -1 0 1
    logits = torch.tensor([[math.log(0.2), math.log(0.5), math.log(0.3)]])
    # 0.4 is 0.6 of bin 0 and 0.4 of bin 1.
    expected = -(0.6 * math.log(0.5) + 0.4 * math.log(0.3))
    assert codec.loss(logits, torch.tensor([0.4])).item() == pytest.approx(expected, rel=1e-5)
    assert codec.decode(logits).item() == pytest.approx(0.3 - 0.2, rel=1e-5)


@pytest.mark.parametrize("transform", [True, False])
def test_categorical_codec_decodes_what_it_encodes(transform: bool) -> None:
    codec = CategoricalCodec(num_bins=41, support_size=10.0, transform=transform)
    limit = codec.limit
    assert limit == pytest.approx(119.0, abs=2.0) if transform else limit == 10.0
    targets = torch.linspace(-0.99 * limit, 0.99 * limit, 50)
    lower, share = codec.two_hot(targets)
    probability = torch.zeros(50, 41)
    probability.scatter_(1, lower[:, None], (1 - share)[:, None])
    probability.scatter_(1, lower[:, None] + 1, share[:, None])
    decoded = codec.decode(probability.log().clamp_min(-1e4))
    torch.testing.assert_close(decoded, targets, rtol=1e-4, atol=1e-4)
    # The two-hot target is where the loss has its minimum: its gradient is p - two_hot.
    logits = torch.randn(50, 41, requires_grad=True)
    codec.loss(logits, targets).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - probability)


@pytest.mark.parametrize("options", [{"num_bins": 4}, {"num_bins": 1}, {"support_size": 0.0}])
def test_categorical_codec_refuses_wrong_options(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CategoricalCodec(**options)


@pytest.mark.parametrize("codec", [ScalarCodec(), CategoricalCodec()])
def test_zeros_decode_to_zero(codec: ScalarCodec | CategoricalCodec) -> None:
    assert codec.decode(torch.zeros(3, codec.size)).abs().max().item() < 1e-6


def test_column_gather_is_the_product_with_the_one_hot() -> None:
    torch.manual_seed(1)
    layer = StateActionLinear(6, 9, 4)
    hidden, actions = torch.randn(20, 6), torch.randint(0, 9, (20,))
    weight = torch.cat([layer.state.weight, layer.action.weight.T], dim=1)  # [4, 6 + 9]
    concatenated = torch.cat([hidden, nn.functional.one_hot(actions, 9).float()], dim=1)
    expected = concatenated @ weight.T + layer.state.bias
    torch.testing.assert_close(layer(hidden, actions), expected)


def test_mlp_is_five_mlps() -> None:
    """The stored matrices, cut apart, are the specification's five networks."""
    network = make(MLPNetwork, normalize_state=False, state_size=12)
    assert isinstance(network, MLPNetwork)
    observations, actions = torch.randn(8, 5), torch.randint(0, 7, (8,))

    def mlp(inputs, weight, bias, last):
        return torch.relu(inputs @ weight.T + bias) @ last[-1].weight.T + last[-1].bias

    first = network.representation_input
    hidden = mlp(observations, first.weight, first.bias, network.representation_output)
    one_hot = nn.functional.one_hot(actions, 7).float()
    joined = torch.cat([hidden, one_hot], dim=1)
    transition = network.transition_input
    weight = torch.cat([transition.state.weight, transition.action.weight.T], dim=1)
    bias = transition.state.bias
    following = mlp(joined, weight[:16], bias[:16], network.dynamics_output)
    reward = mlp(joined, weight[16:], bias[16:], network.reward_output)
    top = network.prediction_input
    value = mlp(following, top.weight[:16], top.bias[:16], network.value_output)
    policy = mlp(following, top.weight[16:], top.bias[16:], network.policy_output)

    root = network.initial_inference(observations)
    torch.testing.assert_close(root.hidden, hidden)
    output = network.recurrent_inference(root.hidden, actions)
    torch.testing.assert_close(output.hidden, following)
    torch.testing.assert_close(output.reward, reward)
    torch.testing.assert_close(output.value, value)
    torch.testing.assert_close(output.policy_logits, policy)


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("categorical", [True, False])
def test_shapes_of_inference(network_class: type, categorical: bool) -> None:
    codec = CategoricalCodec(num_bins=11, support_size=5.0) if categorical else ScalarCodec()
    network = make(network_class, value_codec=codec, reward_codec=codec)
    root = network.initial_inference(torch.randn(3, 5))
    after = network.recurrent_inference(root.hidden, torch.tensor([0, 6, 2]))
    for output in (root, after):
        assert output.value.shape == (3, codec.size)
        assert output.reward.shape == (3, codec.size)
        assert output.policy_logits.shape == (3, 7)
        assert output.hidden.shape == (3, network.state_size)
        assert output.hidden.min() >= 0.0 and output.hidden.max() <= 1.0
    assert network.reward_head_codec.decode(root.reward).abs().max() < 1e-6


@pytest.mark.parametrize("network_class", NETWORKS)
def test_rows_do_not_influence_each_other(network_class: type) -> None:
    network = make(network_class)
    observations, actions = torch.randn(6, 5), torch.randint(0, 7, (6,))
    together = network.recurrent_inference(network.representation(observations), actions)
    for row in range(6):
        one = slice(row, row + 1)
        alone = network.recurrent_inference(network.representation(observations[one]), actions[one])
        for joint, single in zip(together, alone, strict=True):
            torch.testing.assert_close(joint[one], single)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_unroll_is_repeated_inference(network_class: type) -> None:
    network = make(network_class, zero_init_heads=False)
    observations, actions = torch.randn(4, 5), torch.randint(0, 7, (4, 3))
    unrolled = network.unroll(observations, actions)
    output = network.initial_inference(observations)
    for step in range(4):
        torch.testing.assert_close(unrolled.values[:, step], output.value)
        torch.testing.assert_close(unrolled.policy_logits[:, step], output.policy_logits)
        torch.testing.assert_close(unrolled.hidden[:, step], output.hidden)
        if step < 3:
            output = network.recurrent_inference(output.hidden, actions[:, step])
            torch.testing.assert_close(unrolled.rewards[:, step], output.reward)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0])
def test_gradient_is_scaled_where_it_enters_the_dynamics(scale: float) -> None:
    """After two dynamics steps the representation gets scale^2 of the plain gradient."""
    network = make(MLPNetwork)
    observations, actions = torch.randn(4, 5), torch.randint(0, 7, (4, 2))

    def gradient(gradient_scale: float) -> torch.Tensor:
        network.zero_grad()
        unrolled = network.unroll(observations, actions, gradient_scale=gradient_scale)
        unrolled.values[:, 2].sum().backward()
        grad = network.get_parameter("representation_input.weight").grad
        assert grad is not None
        return grad.clone()

    torch.testing.assert_close(gradient(scale), scale**2 * gradient(1.0))


def test_min_max_normalize_by_hand() -> None:
    hidden = torch.tensor([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]])
    assert min_max_normalize(hidden).tolist() == [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("network_class", NETWORKS)
def test_zero_init_heads_start_uniform(network_class: type) -> None:
    network = make(network_class, zero_init_heads=True)
    output = network.recurrent_inference(torch.rand(3, network.state_size), torch.arange(3))
    assert output.policy_logits.abs().max() == 0.0
    assert network.value_head_codec.decode(output.value).abs().max() < 1e-6


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("codec", [ScalarCodec(), CategoricalCodec(num_bins=11, support_size=5.0)])
def test_the_discount_is_one_more_number_of_the_reward_head(
    network_class: type, codec: ScalarCodec | CategoricalCodec
) -> None:
    options = {"reward_codec": codec, "value_codec": codec, "zero_init_heads": False}
    plain = make(network_class, **options)
    network = make(network_class, predict_discount=True, **options)
    assert plain.state_dict().keys() == network.state_dict().keys()
    differing = {
        name
        for name, weight in network.state_dict().items()
        if weight.shape != plain.state_dict()[name].shape
    }
    assert len(differing) == 2 and all(name.startswith("reward_output") for name in differing)
    observations, actions = torch.randn(3, 5), torch.tensor([[0, 6], [1, 1], [2, 3]])
    after = network.recurrent_inference(network.representation(observations), actions[:, 0])
    edge = network.read_reward(after.reward)
    assert after.reward.shape == (3, codec.size + 1) and edge.reward.shape == (3, codec.size)
    assert edge.discount_logit is not None
    assert torch.equal(edge.discount_logit, after.reward[:, -1])
    along = network.read_reward(network.unroll(observations, actions).rewards)
    assert along.reward.shape == (3, 2, codec.size)
    assert along.discount_logit is not None and along.discount_logit.shape == (3, 2)
    root = network.read_reward(network.initial_inference(observations).reward)
    assert network.reward_head_codec.decode(root.reward).abs().max() < 1e-6
    assert plain.read_reward(after.reward[:, :-1]).discount_logit is None


def test_the_policy_head_may_have_a_width_of_its_own() -> None:
    plain, same = make(ResidualNetwork).state_dict(), make(ResidualNetwork, policy_size=16)
    for name, weight in same.state_dict().items():
        assert torch.equal(weight, plain[name]), name

    network = make(ResidualNetwork, policy_size=40, zero_init_heads=False)
    assert isinstance(network, ResidualNetwork)
    hidden = torch.rand(3, 16)
    value, policy_logits = network.prediction(hidden)
    trunk, first = network.prediction_trunk(hidden), network.prediction_input
    for_value = torch.relu(trunk @ first.weight[:16].T + first.bias[:16])
    for_policy = torch.relu(trunk @ first.weight[16:].T + first.bias[16:])
    assert for_policy.shape == (3, 40)
    torch.testing.assert_close(value, network.value_output(for_value))
    torch.testing.assert_close(policy_logits, network.policy_output(for_policy))
    with pytest.raises(ValueError, match="policy_size must be at least 1: 0"):
        make(ResidualNetwork, policy_size=0)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_projection_for_the_consistency_loss(network_class: type) -> None:
    network = make(network_class, consistency_size=8)
    hidden = torch.rand(3, network.state_size, requires_grad=True)
    assert network.project(hidden, with_grad=True).requires_grad
    target = network.project(hidden, with_grad=False)
    assert target.shape == (3, 8) and not target.requires_grad
    with pytest.raises(ValueError, match="consistency_size"):
        make(network_class).project(hidden, with_grad=True)


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("depth", [1, 3])
def test_deeper_networks_and_image_observations(network_class: type, depth: int) -> None:
    name = "num_hidden_layers" if network_class is MLPNetwork else "num_dynamics_blocks"
    options: Any = {name: depth}
    network = network_class(observation_shape=(2, 3, 4), num_actions=2, **options)
    output = network.initial_inference(torch.randn(5, 2, 3, 4))
    assert output.policy_logits.shape == (5, 2)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_wrong_sizes_are_refused(network_class: type) -> None:
    with pytest.raises(ValueError, match="num_actions"):
        network_class(observation_shape=(5,), num_actions=0)
    with pytest.raises(ValueError, match="observation_shape"):
        network_class(observation_shape=(0,), num_actions=2)
    with pytest.raises(ValueError, match="size"):
        network_class(observation_shape=(5,), num_actions=2, hidden_size=0)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_same_seed_same_weights(network_class: type) -> None:
    first, second = make(network_class).state_dict(), make(network_class).state_dict()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_state": False}, {"num_hidden_layers": 2}, {"predict_discount": True}],
)
@pytest.mark.parametrize("num_rows", [1, 3, 64])
def test_the_stepper_is_recurrent_inference(options: dict[str, Any], num_rows: int) -> None:
    """Whatever the batch, call after call, and with weights that have moved on."""
    torch.manual_seed(0)
    network = MLPNetwork(
        observation_shape=(6,),
        num_actions=11,
        hidden_size=24,
        state_size=20,
        value_codec=CategoricalCodec(num_bins=5, support_size=2.0),
        **options,
    )
    step = network.stepper(num_rows)
    hidden = torch.rand(num_rows, 20)
    with torch.inference_mode():
        for call in range(3):
            actions = torch.randint(11, (num_rows,))
            expected = network.recurrent_inference(hidden, actions)
            given = step(hidden, actions)
            for name, ours, theirs in zip(expected._fields, given, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=f"{call} {name}")
            hidden = given.hidden.clone()
            network.load_state_dict({k: 1.1 * v for k, v in network.state_dict().items()})
