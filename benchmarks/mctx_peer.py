"""DeepMind's mctx on the specification's network, for ``benchmarks.search``.

Needs the ``test`` extra (mctx with jax on the CPU).
"""

# chex makes mctx's records at run time: pyright cannot see their fields.
# pyright: reportCallIssue=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import torch

from agents.muzero.networks.mlp import MLPNetwork

DISCOUNT = 0.9


def searches(
    network: MLPNetwork, observations: np.ndarray, num_simulations: int
) -> dict[str, Callable[[], Any]]:
    """Return compiled searches of ``observations [B, D]`` by name, each waiting for its result.

    Args:
        network: of one hidden layer; its weights are copied.
        observations: ``[B, D]``.
        num_simulations: per search.
    """
    weights = {name: jnp.asarray(value.numpy()) for name, value in network.state_dict().items()}
    with torch.inference_mode():
        hidden = network.representation(torch.from_numpy(observations)).numpy()
    # The same arithmetic in the same layout gives the same outputs, or the race would be unfair.
    _check(network, weights, hidden)

    def compiled(policy: Callable[..., Any], **options: Any) -> Callable[[], Any]:
        @jax.jit
        def search(key: Any, start: Any) -> Any:
            value, logits = _prediction(weights, start)
            root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=start)
            return policy(
                params=weights,
                rng_key=key,
                root=root,
                recurrent_fn=_recurrent,
                num_simulations=num_simulations,
                **options,
            ).action_weights

        key, start = jax.random.PRNGKey(0), jnp.asarray(hidden)
        return lambda: search(key, start).block_until_ready()

    return {
        "mctx_muzero": compiled(mctx.muzero_policy),
        "mctx_gumbel": compiled(mctx.gumbel_muzero_policy),
    }


def _linear(weights: Any, name: str, inputs: Any) -> Any:
    return inputs @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _prediction(weights: Any, hidden: Any) -> tuple[Any, Any]:
    """Return values ``[B]`` and logits ``[B, A]`` of ``hidden [B, H]``."""
    first = jax.nn.relu(_linear(weights, "prediction_input", hidden))
    size = first.shape[1] // 2
    value = _linear(weights, "value_output.0", first[:, :size])[:, 0]
    return value, _linear(weights, "policy_output.0", first[:, size:])


def _recurrent(weights: Any, key: Any, actions: Any, hidden: Any) -> tuple[Any, Any]:
    del key
    first = _linear(weights, "transition_input.state", hidden)
    first = jax.nn.relu(first + weights["transition_input.action.weight"][actions])
    size = first.shape[1] // 2
    after = _linear(weights, "dynamics_output.0", first[:, :size])
    low, high = after.min(axis=1, keepdims=True), after.max(axis=1, keepdims=True)
    after = (after - low) / jnp.maximum(high - low, 1e-5)
    reward = _linear(weights, "reward_output.0", first[:, size:])[:, 0]
    value, logits = _prediction(weights, after)
    output = mctx.RecurrentFnOutput(
        reward=reward,
        discount=jnp.full_like(reward, DISCOUNT),
        prior_logits=logits,
        value=value,
    )
    return output, after


def _check(network: MLPNetwork, weights: Any, hidden: np.ndarray) -> None:
    """Raise ValueError unless the network written in jax gives what it gives in torch."""
    actions = np.arange(len(hidden)) % network.num_actions
    with torch.inference_mode():
        ours = network.recurrent_inference(torch.from_numpy(hidden), torch.from_numpy(actions))
    theirs, after = _recurrent(weights, None, jnp.asarray(actions), jnp.asarray(hidden))
    for name, mine, other in (
        ("logits", ours.policy_logits, theirs.prior_logits),
        ("value", ours.value[:, 0], theirs.value),
        ("reward", ours.reward[:, 0], theirs.reward),
        ("state", ours.hidden, after),
    ):
        if not np.allclose(mine.numpy(), np.asarray(other), rtol=1e-3, atol=1e-4):
            raise ValueError(f"mctx's network disagrees with ours in {name}")
