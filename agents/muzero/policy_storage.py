"""Where the replay keeps policy targets: whole rows in float16, or only their non-zeros.

NumPy converts float16 one number at a time; torch's conversion is some 30 times faster here.
"""

from __future__ import annotations

import numpy as np
import torch

from envs.copies import Copyable


class DensePolicies(Copyable):
    """All A probabilities of each of N slots: ``2 A`` bytes a slot."""

    def __init__(self, num_slots: int, num_actions: int) -> None:
        self.arrays = {"policy": np.zeros((num_slots, num_actions), dtype=np.float16)}

    def write(self, slots: np.ndarray, policy: np.ndarray) -> None:
        """Store ``policy [n, A]`` in ``slots [n]``."""
        half = torch.from_numpy(np.require(policy, np.float32, ("C", "W"))).half()
        self.arrays["policy"][slots] = half.numpy()

    def read(self, slots: np.ndarray) -> torch.Tensor:
        """Return ``[n, A]`` float32 of ``slots [n]``, each row summing to 1."""
        stored = torch.from_numpy(self.arrays["policy"])
        return _normalize(stored.index_select(0, torch.from_numpy(slots)).float())


class SparsePolicies(Copyable):
    """The at most S non-zero probabilities of each of N slots: ``4 S`` bytes a slot.

    Exact for visit counts, of which at most ``num_simulations`` are not zero.
    """

    def __init__(self, num_slots: int, num_actions: int, size: int) -> None:
        if not 1 <= size <= num_actions:
            raise ValueError(f"sparse_policy_size must be 1 to {num_actions} (actions): {size}")
        if num_actions > np.iinfo(np.int16).max:
            raise ValueError(
                f"sparse policies number actions in 16 bits, too few for {num_actions}: "
                "set sparse_policy_size to null"
            )
        self.num_actions = num_actions
        self.size = size
        self.arrays = {
            "policy_action": np.zeros((num_slots, size), dtype=np.int16),
            "policy_weight": np.zeros((num_slots, size), dtype=np.float16),
        }

    def write(self, slots: np.ndarray, policy: np.ndarray) -> None:
        """Store ``policy [n, A]`` in ``slots [n]``.

        Raises:
            ValueError: a row has more than S non-zero probabilities.
        """
        nonzero = np.count_nonzero(policy, axis=1)
        if nonzero.max(initial=0) > self.size:
            raise ValueError(
                f"a policy has {nonzero.max()} non-zero probabilities, but sparse_policy_size is "
                f"{self.size}: set it to at least num_simulations for visit counts, or to null "
                "for a policy that is never 0"
            )
        actions = np.argpartition(-policy, self.size - 1, axis=1)[:, : self.size]
        self.arrays["policy_action"][slots] = actions
        self.arrays["policy_weight"][slots] = np.take_along_axis(policy, actions, axis=1)

    def read(self, slots: np.ndarray) -> torch.Tensor:
        """Return ``[n, A]`` float32 of ``slots [n]``, each row summing to 1."""
        index = torch.from_numpy(slots)
        actions = torch.from_numpy(self.arrays["policy_action"]).index_select(0, index)
        weights = torch.from_numpy(self.arrays["policy_weight"]).index_select(0, index)
        policy = torch.zeros((len(slots), self.num_actions))
        return _normalize(policy.scatter_(1, actions.long(), weights.float()))


def _normalize(policy: torch.Tensor) -> torch.Tensor:
    """Undo the rounding to float16, in place."""
    return policy.div_(policy.sum(dim=1, keepdim=True).clamp_min_(1e-6))
