"""The specification's search written plainly, one tree of Python objects: the tests' reference.

And models made of tables, so that reference and product see the same network outputs, and the
masks that searches are tried with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from agents.muzero.search import ModelOutput


class TableModel:
    """A random but fixed model: every (state, action) leads to one of S states.

    Observations are numbers of states. The tables may be overwritten.

    Args:
        num_actions: A.
        seed: of the tables.
        num_states: S.
        scale: of values and rewards, which are normal about 0.
        discount: of every edge.
    """

    def __init__(
        self,
        *,
        num_actions: int,
        seed: int,
        num_states: int = 64,
        scale: float = 1.0,
        discount: float = 0.9,
    ):
        rng = np.random.default_rng(seed)
        self.num_actions = num_actions
        self.next_state = rng.integers(num_states, size=(num_states, num_actions))
        self.value = (scale * rng.normal(size=num_states)).astype(np.float32)
        self.reward = (scale * rng.normal(size=(num_states, num_actions))).astype(np.float32)
        self.logits = rng.normal(size=(num_states, num_actions)).astype(np.float32)
        self.discount = np.full((num_states, num_actions), discount, np.float32)

    @classmethod
    def joined(cls, models: list[TableModel]) -> TableModel:
        """Return one model of all the states of ``models``, in order; they stay unconnected."""
        sizes = [len(model.value) for model in models]
        offsets = np.cumsum([0, *sizes[:-1]])
        joined = cls(num_actions=models[0].num_actions, seed=0, num_states=sum(sizes))
        joined.next_state = np.concatenate(
            [model.next_state + offset for model, offset in zip(models, offsets, strict=True)]
        )
        joined.value = np.concatenate([model.value for model in models])
        joined.reward = np.concatenate([model.reward for model in models])
        joined.logits = np.concatenate([model.logits for model in models])
        joined.discount = np.concatenate([model.discount for model in models])
        return joined

    def with_actions(self, order: np.ndarray) -> TableModel:
        """Return the same model whose action ``i`` is this one's ``order[i]``."""
        model = TableModel(num_actions=self.num_actions, seed=0, num_states=len(self.value))
        model.value = self.value
        model.next_state = np.ascontiguousarray(self.next_state[:, order])
        model.reward = np.ascontiguousarray(self.reward[:, order])
        model.logits = np.ascontiguousarray(self.logits[:, order])
        model.discount = np.ascontiguousarray(self.discount[:, order])
        return model

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Observations are state numbers ``[B]``."""
        states = np.asarray(observations, np.int64)
        zeros = np.zeros(len(states), np.float32)
        return self._output(states, zeros, zeros + 1)

    def step(self, states: torch.Tensor, actions: np.ndarray) -> ModelOutput:
        """Follow the table."""
        before = states.numpy()
        edge = before, actions
        return self._output(self.next_state[edge], self.reward[edge], self.discount[edge])

    def _output(self, states: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> ModelOutput:
        return ModelOutput(
            value=self.value[states],
            reward=reward,
            discount=discount,
            policy_logits=self.logits[states],
            states=torch.from_numpy(states),
        )


def every_kind_of_mask(rng: np.random.Generator, num_rows: int, num_actions: int) -> np.ndarray:
    """Return ``[num_rows, A]`` int8: in turn one legal action, all but one, about half, all."""
    mask = np.ones((num_rows, num_actions), np.int8)
    chosen = rng.integers(num_actions, size=num_rows)
    for row in range(num_rows):
        if row % 4 == 0:
            mask[row] = 0
        elif row % 4 == 1 and num_actions > 1:
            mask[row, chosen[row]] = 0
        elif row % 4 == 2:
            mask[row] = rng.random(num_actions) < 0.5
        if row % 4 in (0, 2):
            mask[row, chosen[row]] = 1
    return mask


@dataclass
class Node:
    """A node as the specification draws it."""

    prior: float
    state: int = -1
    reward: float = 0.0
    discount: float = 1.0
    visits: int = 0
    value_sum: float = 0.0
    children: dict[int, Node] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Mean return."""
        return self.value_sum / self.visits if self.visits else 0.0

    @property
    def q(self) -> float:
        """Of the edge into the node."""
        return self.reward + self.discount * self.value


def softmax(logits: np.ndarray) -> np.ndarray:
    """In double precision."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def puct(
    model: TableModel,
    root_state: int,
    legal: np.ndarray,
    *,
    num_simulations: int,
    c_base: float = 19652.0,
    c_init: float = 1.25,
) -> Node:
    """Search one root without noise; return it."""
    root = Node(prior=1.0, state=root_state)
    masked = np.where(legal, model.logits[root_state], -np.inf)
    priors = softmax(masked)
    root.children = {int(a): Node(prior=float(priors[a])) for a in np.flatnonzero(legal)}
    low, high = math.inf, -math.inf

    def score(parent: Node, child: Node) -> float:
        exploration = math.log((parent.visits + c_base + 1) / c_base) + c_init
        exploration *= math.sqrt(parent.visits) / (child.visits + 1)
        if child.visits == 0:
            value = 0.0
        else:
            value = child.q
            if high > low:
                value = (value - low) / (high - low)
        return exploration * child.prior + value

    for _ in range(num_simulations):
        path = [root]
        while path[-1].children:
            parent = path[-1]
            # Highest score; among equals an unvisited action of higher prior, then the lower one.
            action, child = max(
                parent.children.items(),
                key=lambda item: (
                    score(parent, item[1]),
                    item[1].visits == 0,
                    item[1].prior if item[1].visits == 0 else 0.0,
                    -item[0],
                ),
            )
            path.append(child)
        leaf, parent = path[-1], path[-2]
        output = model.step(torch.tensor([parent.state]), np.array([action]))
        leaf.state = int(output.states[0])
        leaf.reward, leaf.discount = float(output.reward[0]), float(output.discount[0])
        priors = softmax(output.policy_logits[0])
        leaf.children = {a: Node(prior=float(p)) for a, p in enumerate(priors)}
        value = float(output.value[0])
        for node in reversed(path):
            node.visits += 1
            node.value_sum += value
            if node is not root:
                low, high = min(low, node.q), max(high, node.q)
            value = node.reward + node.discount * value
    return root
