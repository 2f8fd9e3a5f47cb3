"""DeepMind's mctx planning in the tables of a ``TableModel``: what our searches are compared with.

It wants a process of its own: JAX starts threads, and a process that has them should not fork.
"""

# chex makes mctx's records at run time: pyright cannot see their fields.
# pyright: reportCallIssue=false

from __future__ import annotations

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from tests.muzero.mctx_process import MctxResult, MctxTree, Tables


def search(
    kind: str,
    tables: Tables,
    roots: np.ndarray,
    action_mask: np.ndarray,
    *,
    num_simulations: int,
    max_considered: int = 1,
) -> MctxResult:
    """Plan from the states ``roots [B]`` without noise.

    ``kind`` is "puct", "gumbel", or "gumbel-raw", which takes Q-values as they are.
    """
    # Its puct breaks ties by adding up to 1e-7 to the scores; without it the lowest action wins.
    with mock.patch.object(jax.random, "uniform", lambda key, shape: jnp.zeros(shape)):
        outcome = _search(
            kind.removesuffix("-raw"),
            tables,
            roots,
            1 - action_mask,
            kind == "gumbel-raw",
            num_simulations=num_simulations,
            max_considered=max_considered,
        )
    *summary, tree = outcome
    return MctxResult(*map(np.asarray, summary), MctxTree(*map(np.asarray, tree)))


@functools.partial(jax.jit, static_argnames=("kind", "num_simulations", "max_considered"))
def _search(kind, tables, roots, invalid_actions, raw, *, num_simulations, max_considered):
    """Compiled, for seconds, once for each kind, shape and number of simulations."""

    def step(params, key, action, state):
        after = tables.next_state[state, action]
        output = mctx.RecurrentFnOutput(
            reward=tables.reward[state, action],
            discount=tables.discount[state, action],
            prior_logits=tables.logits[after],
            value=tables.value[after],
        )
        return output, after

    root = mctx.RootFnOutput(
        prior_logits=tables.logits[roots], value=tables.value[roots], embedding=roots
    )
    options = {
        "params": (),
        "rng_key": jax.random.PRNGKey(0),
        "root": root,
        "recurrent_fn": step,
        "num_simulations": num_simulations,
        "invalid_actions": invalid_actions,
    }
    if kind == "puct":
        output = mctx.muzero_policy(**options, dirichlet_fraction=0.0, temperature=0.0)
    else:
        output = mctx.gumbel_muzero_policy(
            **options,
            max_num_considered_actions=max_considered,
            gumbel_scale=0.0,
            qtransform=lambda tree, node: jnp.where(
                raw,
                mctx.qtransform_completed_by_mix_value(tree, node, rescale_values=False),
                mctx.qtransform_completed_by_mix_value(tree, node, rescale_values=True),
            ),
        )
    summary = output.search_tree.summary()
    return summary.visit_counts, summary.value, output.action_weights, output.action, _tree(output)


def _tree(output):
    """Return the fields of ``MctxTree``."""
    tree = output.search_tree
    rows = jnp.arange(tree.parents.shape[0])[:, None]
    edges = rows, jnp.maximum(tree.parents, 0), jnp.maximum(tree.action_from_parent, 0)
    q = tree.children_rewards[edges] + tree.children_discounts[edges] * tree.children_values[edges]
    q = jnp.where(tree.parents < 0, 0.0, q)
    return tree.parents, tree.action_from_parent, tree.node_visits, tree.node_values, q


def outcome_visits(probabilities: np.ndarray, *, num_simulations: int) -> np.ndarray:
    """Return ``[B, C]``, how often mctx's stochastic search visits outcomes of the roots' action.

    There is one action, which leads to ``probabilities [B, C]`` everywhere in a row.
    """
    parents, edges, visits = map(
        np.asarray, _stochastic_search(jnp.log(probabilities), num_simulations)
    )
    counts = np.zeros(probabilities.shape, np.int64)
    row, node = np.nonzero(parents == 1)  # below the root hangs its afterstate, node 1
    counts[row, edges[row, node] - 1] = visits[row, node]  # edges are actions first, then outcomes
    return counts


@functools.partial(jax.jit, static_argnames="num_simulations")
def _stochastic_search(logits, num_simulations):
    """Return parents, edges from them and visits of all nodes ``[B, N]``."""
    rows = len(logits)
    nothing, one_action = jnp.zeros(rows), jnp.zeros((rows, 1))

    def decide(params, key, action, state):
        return mctx.DecisionRecurrentFnOutput(chance_logits=logits, afterstate_value=nothing), state

    def follow(params, key, outcome, state):
        output = mctx.ChanceRecurrentFnOutput(
            action_logits=one_action, value=nothing, reward=nothing, discount=nothing + 1
        )
        return output, state

    tree = mctx.stochastic_muzero_policy(
        (),
        jax.random.PRNGKey(0),
        mctx.RootFnOutput(prior_logits=one_action, value=nothing, embedding=nothing),
        decide,
        follow,
        num_simulations=num_simulations,
        dirichlet_fraction=0.0,
        temperature=0.0,
    ).search_tree
    return tree.parents, tree.action_from_parent, tree.node_visits
