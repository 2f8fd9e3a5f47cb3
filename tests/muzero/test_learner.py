"""The loss by hand, and that minimising it learns known numbers."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import pytest
import torch

from agents.muzero.decision import Decision, map_fields
from agents.muzero.learner import Learner
from agents.muzero.networks import CategoricalCodec, MLPNetwork, MuZeroNetwork, ResidualNetwork
from agents.muzero.replay import Batch, Replay, Targets
from agents.muzero.schedules import Linear

SGD = functools.partial(torch.optim.SGD, lr=0.01)
ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


def network(**options: Any) -> MuZeroNetwork:
    torch.manual_seed(0)
    kind = options.pop("kind", MLPNetwork)
    return kind(observation_shape=(3,), num_actions=4, hidden_size=16, **options)


def random_batch(
    size: int = 6, steps: int = 2, seed: int = 0, *, extras: dict[str, np.ndarray] | None = None
) -> Batch[np.ndarray]:
    rng = np.random.default_rng(seed)
    positions = (size, steps + 1)
    zeros = np.zeros(positions, np.float32)
    observation = rng.normal(size=(size, 3)).astype(np.float32)[:, None]
    action = np.zeros(positions, np.int64)
    action[:, :-1] = rng.integers(0, 4, (size, steps))
    targets = Targets(
        rewards=rng.normal(size=(size, steps)).astype(np.float32),
        discounts=np.random.default_rng([seed, 1]).random((size, steps)).astype(np.float32),
        values=rng.normal(size=positions).astype(np.float32),
        reward_mask=np.ones((size, steps), bool),
        value_mask=np.ones(positions, bool),
        policy_mask=np.ones(positions, bool),
    )
    decisions = Decision(
        observation=observation,
        action=action,
        policy=rng.dirichlet(np.ones(4), positions).astype(np.float32),
        reward=zeros,  # of these there is nothing to learn but by the targets
        root_value=zeros,
        duration=zeros,
        end=zeros,
        final_value=zeros,
        action_mask=None,
        extras=extras or {},
    )
    return Batch(decisions, targets, np.ones(size, np.float32), np.arange(size))


def observed(batch: Batch[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(batch.decisions.observation[:, 0])


def loss_by_hand(
    net: MuZeroNetwork, batch: Batch, scale: float, l2: float, discount_weight: float = 0.0
) -> torch.Tensor:
    """The specification's sum, one row, one position and one action at a time."""
    total = torch.zeros(())
    size, steps = batch.targets.rewards.shape
    for b in range(size):
        output = net.initial_inference(observed(batch)[b : b + 1])
        for u in range(steps + 1):
            factor = 1.0 if u == 0 else scale
            value, z = output.value[0, 0], float(batch.targets.values[b, u])
            if batch.targets.value_mask[b, u]:
                total = total + factor * batch.weights[b] * (value - z) ** 2
            if u > 0 and batch.targets.reward_mask[b, u - 1]:
                reward, r = output.reward[0, 0], float(batch.targets.rewards[b, u - 1])
                total = total + factor * batch.weights[b] * (reward - r) ** 2
            if u > 0 and batch.targets.policy_mask[b, u - 1] and discount_weight:
                p, d = torch.sigmoid(output.reward[0, 1]), float(batch.targets.discounts[b, u - 1])
                entropy = -(d * torch.log(p) + (1.0 - d) * torch.log(1.0 - p))
                total = total + discount_weight * factor * batch.weights[b] * entropy
            if batch.targets.policy_mask[b, u]:
                probability = torch.softmax(output.policy_logits[0], dim=0)
                for a in range(4):
                    pi = float(batch.decisions.policy[b, u, a])
                    total = total - factor * batch.weights[b] * pi * torch.log(probability[a])
            if u < steps:
                action = torch.from_numpy(batch.decisions.action[b : b + 1, u])
                output = net.recurrent_inference(output.hidden, action)
    theta = sum((parameter**2).sum() for parameter in net.parameters())
    return total / size + l2 * theta


@pytest.mark.parametrize("discount_weight", [0.0, 0.7])  # 0: none is predicted
@pytest.mark.parametrize(("scale_unroll", "scale"), [(False, 1.0), (True, 0.5)])
def test_loss_and_gradient_are_the_specification_s(
    scale_unroll: bool, scale: float, discount_weight: float
) -> None:
    batch = random_batch()
    batch.targets.value_mask[1, 1:] = False
    batch.targets.reward_mask[2, 1] = False
    batch.targets.policy_mask[3, 0] = False
    batch.weights[:] = [1.0, 0.5, 1.0, 0.25, 1.0, 1.0]
    net, reference = (network(predict_discount=discount_weight > 0.0) for _ in range(2))
    learner = Learner(
        net, SGD, unroll_steps=2, l2=0.01, gradient_scale=1.0, scale_unroll=scale_unroll,
        discount_weight=discount_weight,
    )  # fmt: skip
    expected = loss_by_hand(reference, batch, scale, 0.01, discount_weight)
    expected.backward()
    metrics = learner.update(batch)
    assert metrics.total == pytest.approx(expected.item(), rel=1e-5)
    assert (metrics.discount > 0.0) == (discount_weight > 0.0)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
        # SGD: theta - lr gradient
        torch.testing.assert_close(ours, theirs - 0.01 * theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("predict_discount", [False, True])
@pytest.mark.parametrize("kind", [MLPNetwork, ResidualNetwork])
def test_without_unrolling_values_and_policies_alone_are_trained(
    kind: type, predict_discount: bool
) -> None:
    batch = random_batch(steps=0)
    net, reference = (network(kind=kind, predict_discount=predict_discount) for _ in range(2))
    metrics = Learner(net, SGD, unroll_steps=0).update(batch)
    assert metrics.reward == metrics.discount == 0.0 and metrics.clipped_targets >= 0.0
    output = reference.initial_inference(observed(batch))
    target = torch.from_numpy(batch.targets.values[:, 0])
    value = reference.value_head_codec.loss(output.value, target).mean()
    log_probability = output.policy_logits.log_softmax(dim=1)
    policy = -(torch.from_numpy(batch.decisions.policy[:, 0]) * log_probability).sum(dim=1).mean()
    assert metrics.value == pytest.approx(value.item(), rel=1e-5)
    assert metrics.policy == pytest.approx(policy.item(), rel=1e-5)
    (value + policy).backward()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)  # none for the dynamics
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_weights_of_the_losses_and_their_sum() -> None:
    batch = random_batch()
    learner = Learner(
        network(), SGD, unroll_steps=2, value_weight=0.25, reward_weight=2.0, policy_weight=3.0,
        l2=0.1,
    )  # fmt: skip
    metrics = learner.update(batch)
    total = 0.25 * metrics.value + 2.0 * metrics.reward + 3.0 * metrics.policy + 0.1 * metrics.l2
    assert metrics.total == pytest.approx(total, rel=1e-5)
    probability = batch.decisions.policy.astype(np.float64)
    entropy = -(probability * np.log(probability)).sum(-1).mean()
    assert metrics.policy_target_entropy == pytest.approx(entropy, rel=1e-5)
    with torch.no_grad():
        fresh = network().initial_inference(observed(batch))
    expected = np.abs(fresh.value[:, 0].numpy() - batch.targets.values[:, 0])
    np.testing.assert_allclose(metrics.priorities, expected, rtol=1e-5)


def test_gradient_norm_is_limited() -> None:
    batch = random_batch()
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    learner = Learner(net, SGD, unroll_steps=2, max_grad_norm=0.1)
    assert learner.update(batch).grad_norm > 0.1
    moved = torch.cat([(p - q).flatten() for p, q in zip(net.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01 * 0.1, rel=1e-3)


def test_masked_policy_loss_ignores_illegal_logits() -> None:
    batch = random_batch()
    masks = np.ones((6, 3, 4), bool)
    masks[:, :, 3] = False
    policies = batch.decisions.policy.copy()
    policies[..., 3] = 0.0
    policies /= policies.sum(-1, keepdims=True)
    decisions = batch.decisions._replace(policy=policies, action_mask=masks)
    batch = batch._replace(decisions=decisions)
    net = network()
    Learner(net, SGD, unroll_steps=2, value_weight=0.0, reward_weight=0.0).update(batch)
    bias = net.get_parameter("policy_output.0.bias").grad
    assert bias is not None
    assert bias[3] == 0.0 and (bias[:3] != 0.0).any()


def test_consistency_loss_by_hand() -> None:
    batch = random_batch()
    following = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(np.float32)
    without = batch
    seen = np.concatenate([batch.decisions.observation, following], axis=1)
    batch = batch._replace(decisions=batch.decisions._replace(observation=seen))
    batch.targets.policy_mask[0, 1:] = False
    net = network(consistency_size=8)
    learner = Learner(net, SGD, unroll_steps=2, consistency_weight=2.0)
    reference = network(consistency_size=8)
    with torch.no_grad():
        unrolled = reference.unroll(
            observed(batch), torch.from_numpy(batch.decisions.action[:, :2])
        )
        expected = 0.0
        for b in range(1, 6):
            for k in range(2):
                there = reference.representation(torch.from_numpy(following[b : b + 1, k]))
                target = reference.project(there, with_grad=False)[0]
                predicted = reference.project(unrolled.hidden[b : b + 1, k + 1], with_grad=True)[0]
                cosine = (predicted @ target) / (predicted.norm() * target.norm())
                expected += 0.5 * (1.0 - cosine.item()) / 6
    assert learner.update(batch).consistency == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="unroll_observations"):
        learner.update(without)
    with pytest.raises(ValueError, match="consistency_size"):
        Learner(network(), SGD, consistency_weight=1.0)


@pytest.mark.parametrize("name", ["value", "reward", "policy"])
def test_not_finite_is_named_and_leaves_the_weights(name: str) -> None:
    batch = random_batch()
    net = network()
    learner = Learner(net, SGD, unroll_steps=2)
    learner.update(batch)
    if name == "value":
        batch.targets.values[0, 0] = np.nan
    elif name == "reward":
        batch.targets.rewards[0, 0] = np.inf
    else:
        batch.decisions.policy[0, 0] = np.nan
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(FloatingPointError, match=rf"the {name} .* in update 2"):
        learner.update(batch)
    for left, right in zip(before, net.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(("weight", "name"), [(1e25, "gradient"), (3e38, "total")])
def test_overflow_behind_finite_losses_is_named(weight: float, name: str) -> None:
    batch = random_batch()
    batch.targets.values[:] = 10.0
    learner = Learner(network(), SGD, unroll_steps=2, value_weight=weight)
    with pytest.raises(FloatingPointError, match=rf"the {name} .* is inf in update 1"):
        learner.update(batch)


def test_learning_rate_schedule_and_clipped_targets() -> None:
    codec = CategoricalCodec(num_bins=11, support_size=1.0, transform=False)
    learner = Learner(
        network(value_codec=codec), SGD, unroll_steps=2, learning_rate=Linear(0.1, 0.0)
    )
    batch = random_batch()
    metrics = learner.update(batch, progress=0.75)
    assert metrics.learning_rate == pytest.approx(0.025)
    assert metrics.clipped_targets == pytest.approx(
        (np.abs(batch.targets.values) > 1).sum() / (18 + 12)
    )


def test_same_seed_same_weights_and_resume_is_exact() -> None:
    batches = [random_batch(seed=seed) for seed in range(6)]
    options: dict[str, Any] = {"unroll_steps": 2, "l2": 1e-4, "averaging": 0.9}
    straight = Learner(network(), ADAM, **options)
    again = Learner(network(), ADAM, **options)
    for batch in batches:
        straight.update(batch)
        again.update(batch)
    interrupted = Learner(network(), ADAM, **options)
    for batch in batches[:3]:
        interrupted.update(batch)
    file = io.BytesIO()
    torch.save(interrupted.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    resumed = Learner(
        MLPNetwork(observation_shape=(3,), num_actions=4, hidden_size=16),
        ADAM,
        **options,
    )
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[3:]:
        resumed.update(batch)
    assert resumed.num_updates == straight.num_updates == 6
    for first, second, third in zip(
        straight.network.parameters(),
        again.network.parameters(),
        resumed.network.parameters(),
        strict=True,
    ):
        assert torch.equal(first, second) and torch.equal(first, third)
    for name, tensor in straight.averaged_weights.items():
        assert torch.equal(tensor, resumed.averaged_weights[name])


def test_averaged_weights_follow_those_of_the_updates() -> None:
    learner = Learner(network(), ADAM, unroll_steps=2, averaging=0.75)
    latest = Learner(network(), ADAM, unroll_steps=2)
    learner.update(random_batch())
    expected = {name: one.clone() for name, one in learner.network.state_dict().items()}
    for seed in range(1, 4):
        learner.update(random_batch(seed=seed))
        now = learner.network.state_dict()
        expected = {name: 0.75 * one + 0.25 * now[name] for name, one in expected.items()}
    for name, one in learner.averaged_weights.items():
        torch.testing.assert_close(one, expected[name])
        assert not torch.equal(one, learner.network.state_dict()[name])
    latest.update(random_batch())
    for name, one in latest.averaged_weights.items():
        assert torch.equal(one, latest.network.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unroll_steps": -1}, "unroll_steps"),
        ({"unroll_steps": 0, "consistency_weight": 1.0}, "unroll_steps of 1 or more"),
        ({"l2": -1.0}, "l2"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"value_weight": float("nan")}, "value_weight"),
        ({"discount_weight": -1.0}, "discount_weight"),
        ({"averaging": 1.0}, "averaging must be in"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Learner(network(), SGD, **options)


def test_a_batch_of_another_unroll_is_refused() -> None:
    with pytest.raises(ValueError, match="unrolled 2 steps, the learner expects 5"):
        Learner(network(), SGD).update(random_batch())


@pytest.mark.parametrize("kind", [MLPNetwork, ResidualNetwork])
def test_overfits_one_batch(kind: type) -> None:
    batch = random_batch(size=8)
    learner = Learner(network(kind=kind), ADAM, unroll_steps=2)
    first = learner.update(batch)
    for _ in range(300):
        last = learner.update(batch)
    assert last.priorities.mean() < 0.1 * first.priorities.mean()
    # The policy loss has the target's entropy as its floor (position 1 to K together count 1).
    assert last.policy - 2 * last.policy_target_entropy < 0.1


@pytest.mark.parametrize(
    ("kind", "predict_discount"),
    [
        (MLPNetwork, False),
        (MLPNetwork, True),
        pytest.param(ResidualNetwork, False, marks=pytest.mark.slow),
        (ResidualNetwork, True),
    ],
)
def test_learns_the_values_of_a_two_state_problem(kind: type, predict_discount: bool) -> None:
    """State 0, action 1: reward 1, to state 1. State 1, action 2: reward 2, terminated.

    With gamma 0.5: V(0) = 1 + 0.5 * 2 = 2, V(1) = 2, and 0 after the end. The search's values
    (7) are wrong on purpose: a terminated episode must not bootstrap.
    """
    replay = Replay(
        num_lanes=1, capacity=64, observation_shape=(3,), num_actions=4, unroll_steps=2,
        td_steps=3, discount=0.5,
    )  # fmt: skip
    states = np.eye(3, dtype=np.float32)
    for number in range(60):
        state = number % 2
        decision = Decision(
            observation=states[state], action=1 + state, reward=1.0 + state,
            policy=np.eye(4)[1 + state], root_value=7.0, duration=1, end=state, final_value=0.0,
            action_mask=None, extras={},
        )  # fmt: skip
        replay.append(np.array([0]), map_fields(lambda leaf: np.array([leaf]), decision))
    rng = np.random.default_rng(0)
    net = network(kind=kind, predict_discount=predict_discount)
    learner = Learner(net, ADAM, unroll_steps=2)
    for _ in range(250):
        learner.update(replay.sample(32, rng))
    with torch.no_grad():
        root = net.initial_inference(torch.from_numpy(states[:2]))
        after = net.recurrent_inference(root.hidden, torch.tensor([1, 2]))
    value = net.value_head_codec.decode
    assert value(root.value).tolist() == pytest.approx([2.0, 2.0], abs=0.1)
    assert value(after.value).tolist() == pytest.approx([2.0, 0.0], abs=0.1)
    edge = net.read_reward(after.reward)
    assert net.reward_head_codec.decode(edge.reward).tolist() == pytest.approx([1, 2], abs=0.1)
    assert (edge.discount_logit is not None) == predict_discount
    if edge.discount_logit is not None:  # the second edge ends the episode
        assert edge.discount_logit.sigmoid().tolist() == pytest.approx([0.5, 0.0], abs=0.05)
    assert root.policy_logits.argmax(dim=1).tolist() == [1, 2]
