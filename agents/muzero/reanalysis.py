"""Reanalysis: searches stored observations again with the present network.

MuZero Reanalyse (Schrittwieser et al. 2020, appendix H; 2021, https://arxiv.org/abs/2104.06294)
refreshes each batch. Here the whole replay is refreshed now and then: batches of the search's best
size, and the cost is a choice of its own.
"""

from __future__ import annotations

import numpy as np

from agents.muzero.replay import Replay
from agents.muzero.search.base import Model, Search

CHUNK = 256  # roots searched at once


def reanalyse(model: Model, search: Search, replay: Replay, rng: np.random.Generator) -> None:
    """Give every decision of ``replay`` the policy and value that a search finds now.

    Args:
        model: the present network.
        search: explores as in self-play, so that the targets are of the same kind.
        replay: must keep action masks if the environment has illegal actions.
        rng: of the searches; one draw is taken from it for each decision.
    """
    for chunk in replay.chunks(CHUNK):
        num_roots = len(chunk.slots)
        masks = chunk.action_masks
        if masks is None:
            masks = np.ones((num_roots, replay.num_actions), np.uint8)
        generators = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=num_roots)]
        result = search.run(model, chunk.observations, masks, generators)
        replay.rewrite(chunk.slots, result.policy, result.value)
