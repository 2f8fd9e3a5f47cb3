"""Searches with chance nodes written plainly, one tree of Python objects: the tests' reference.

All values are calculated from the children anew after every simulation; nothing is added up.
And models of tables in which chance has a say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from agents.muzero.search import Afterstates, ModelOutput
from agents.muzero.search.gumbel import considered_visits
from tests.muzero.search_reference import softmax


class ChanceTableModel:
    """A random but fixed model: every (state, action, outcome) leads to one of S states.

    Observations are numbers of states. The tables may be overwritten. Of the afterstates a third
    have one outcome, and a third some that cannot happen.

    Args:
        num_actions: A.
        num_outcomes: C.
        seed: of the tables.
        num_states: S.
    """

    outcome_names = None

    def __init__(self, *, num_actions: int, num_outcomes: int, seed: int, num_states: int = 32):
        rng = np.random.default_rng(seed)
        self.num_actions = num_actions
        self.num_outcomes = num_outcomes
        pairs, triples = (num_states, num_actions), (num_states, num_actions, num_outcomes)
        self.next_state = rng.integers(num_states, size=triples)
        self.value = rng.normal(size=num_states).astype(np.float32)
        self.logits = rng.normal(size=pairs).astype(np.float32)
        self.reward = rng.normal(size=triples).astype(np.float32)
        self.discount = rng.choice([0.0, 0.9, 1.0], size=triples, p=[0.1, 0.6, 0.3])
        self.discount = self.discount.astype(np.float32)
        self.action_reward = rng.normal(size=pairs).astype(np.float32)
        self.action_discount = rng.choice([0.0, 0.9, 1.0], size=pairs, p=[0.05, 0.35, 0.6])
        self.action_discount = self.action_discount.astype(np.float32)
        probabilities = rng.dirichlet(np.ones(num_outcomes), size=pairs)
        kind = rng.integers(3, size=pairs)
        chosen = rng.integers(num_outcomes, size=pairs)[..., None] == np.arange(num_outcomes)
        possible = (rng.random(triples) < 0.6) | chosen
        probabilities = np.where((kind == 1)[..., None], probabilities * possible, probabilities)
        probabilities = np.where((kind == 2)[..., None], chosen, probabilities)
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        self.probabilities = probabilities.astype(np.float32)

    def root(self, observations: np.ndarray, legal: np.ndarray | None = None) -> ModelOutput:
        """Observations are state numbers ``[B]``."""
        states = np.asarray(observations, np.int64)
        zeros = np.zeros(len(states), np.float32)
        return self._output(states, zeros, zeros + 1)

    def afterstate(self, states: torch.Tensor, actions: np.ndarray) -> Afterstates:
        """The number of an afterstate is S + state * A + action."""
        edge = states.numpy(), actions
        return Afterstates(
            reward=self.action_reward[edge],
            discount=self.action_discount[edge],
            probabilities=self.probabilities[edge],
            states=len(self.value) + states * self.num_actions + torch.from_numpy(actions),
        )

    def outcome(self, states: torch.Tensor, outcomes: np.ndarray) -> ModelOutput:
        """Follow the table."""
        edge = (*np.divmod(states.numpy() - len(self.value), self.num_actions), outcomes)
        assert (self.probabilities[edge] > 0).all()
        return self._output(self.next_state[edge], self.reward[edge], self.discount[edge])

    def _output(self, states: np.ndarray, reward: np.ndarray, discount: np.ndarray) -> ModelOutput:
        return ModelOutput(
            value=self.value[states],
            reward=reward,
            discount=discount,
            policy_logits=self.logits[states],
            states=torch.from_numpy(states),
        )

    def solve(self, *, worst: bool, sweeps: int = 300) -> np.ndarray:
        """Return Q ``[S, A]`` of the best play, by value iteration."""
        value = np.zeros(len(self.value))
        quality = np.zeros(self.logits.shape)
        for _ in range(sweeps):
            outcomes = self.reward + self.discount * value[self.next_state]
            if worst:
                after = np.where(self.probabilities > 0, outcomes, np.inf).min(axis=-1)
            else:
                after = (self.probabilities * outcomes).sum(axis=-1)
            quality = self.action_reward + self.action_discount * after
            value = quality.max(axis=1)
        return quality


@dataclass
class Decision:
    """A state in which an action is due, and the edge into it."""

    state: int
    raw_value: float
    logits: np.ndarray  # [A], -inf where illegal
    own_visits: int = 1
    reward: float = 0.0
    discount: float = 1.0
    prior: float = 1.0  # probability of the outcome
    children: dict[int, Afterstate] = field(default_factory=dict)  # by action
    visits: int = 0
    value: float = 0.0
    q: float = 0.0

    def __post_init__(self) -> None:
        self.priors = softmax(self.logits)  # [A]

    def refresh(self) -> None:
        """Calculate visits, the value, and Q of the edge into the node, of all below."""
        for child in self.children.values():
            child.refresh()
        below = self.children.values()
        self.visits = self.own_visits + sum(child.visits for child in below)
        # mean over visits, of the node's own value and of Q
        total = self.own_visits * self.raw_value + sum(child.visits * child.q for child in below)
        self.value = total / self.visits if self.visits else 0.0
        self.q = self.reward + self.discount * self.value


@dataclass
class Afterstate:
    """An action that was taken, and its outcomes."""

    number: int
    reward: float
    discount: float
    prior: float
    probabilities: np.ndarray  # [C]
    worst: bool
    children: dict[int, Decision] = field(default_factory=dict)  # by outcome
    visits: int = 0
    value: float = 0.0
    q: float = 0.0

    def refresh(self) -> None:
        """Calculate visits, the value, and Q of the edge into the node, of all below."""
        for child in self.children.values():
            child.refresh()
        below = self.children.values()
        self.visits = sum(child.visits for child in below)
        if self.worst:
            self.value = min(child.q for child in below)
        else:
            mass = sum(child.prior for child in below)
            self.value = sum(child.prior * child.q for child in below) / mass
        self.q = self.reward + self.discount * self.value

    def choose(self) -> int:
        """Return the outcome that is looked at next."""
        possible = [int(outcome) for outcome in np.flatnonzero(self.probabilities > 0)]
        visits = {one: 0 for one in possible}
        visits.update({one: child.visits for one, child in self.children.items()})
        if not self.worst:
            return max(
                possible, key=lambda one: (self.probabilities[one] / (visits[one] + 1), -one)
            )
        new = [one for one in possible if one not in self.children]
        if new:
            return max(new, key=lambda one: (self.probabilities[one], -one))
        worst = min(possible, key=lambda one: (self.children[one].q, one))
        if 2 * visits[worst] <= self.visits:
            return worst
        return min(possible, key=lambda one: (visits[one], one))


def plan(
    model: ChanceTableModel,
    root: Decision,
    rule: PUCT | Gumbel,
    *,
    num_simulations: int,
    worst: bool,
) -> Decision:
    """Grow ``root`` by the rule of a search; return it."""
    root.refresh()
    for _ in range(num_simulations):
        decision, depth = root, 0
        while True:
            action = rule.choose(decision, depth)
            if action not in decision.children:
                after = model.afterstate(torch.tensor([decision.state]), np.array([action]))
                decision.children[action] = Afterstate(
                    number=int(after.states[0]),
                    reward=float(after.reward[0]),
                    discount=float(after.discount[0]),
                    prior=float(decision.priors[action]),
                    probabilities=after.probabilities[0].astype(np.float64),
                    worst=worst,
                )
            afterstate = decision.children[action]
            outcome = afterstate.choose()
            if outcome not in afterstate.children:
                break
            decision, depth = afterstate.children[outcome], depth + 1
        output = model.outcome(torch.tensor([afterstate.number]), np.array([outcome]))
        afterstate.children[outcome] = Decision(
            state=int(output.states[0]),
            raw_value=float(output.value[0]),
            logits=output.policy_logits[0].astype(np.float64),
            reward=float(output.reward[0]),
            discount=float(output.discount[0]),
            prior=float(afterstate.probabilities[outcome]),
        )
        root.refresh()
        rule.seen(root)
    return root


def plant(model: ChanceTableModel, state: int, legal: np.ndarray, own_visits: int) -> Decision:
    """Return a root."""
    output = model.root(np.array([state]))
    return Decision(
        state=state,
        raw_value=float(output.value[0]),
        logits=np.where(legal, output.policy_logits[0].astype(np.float64), -np.inf),
        own_visits=own_visits,
    )


class PUCT:
    """The specification's rule, values normalised by the least and highest Q of actions seen."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def seen(self, root: Decision) -> None:
        """Look at the Q-values of all actions below ``root``."""
        waiting = [root]
        while waiting:
            for after in waiting.pop().children.values():
                self.low, self.high = min(self.low, after.q), max(self.high, after.q)
                waiting.extend(after.children.values())

    def choose(self, decision: Decision, depth: int) -> int:
        """Return argmax of the UCB score, see ``search_reference.puct``."""
        del depth
        visits, priors = decision.visits, decision.priors
        exploration = math.log((visits + 19652.0 + 1) / 19652.0) + 1.25

        def score(action: int) -> tuple[float, bool, float, int]:
            child = decision.children.get(action)
            value = 0.0
            if child is not None:
                value = child.q
                if self.high > self.low:
                    value = (value - self.low) / (self.high - self.low)
            bonus = exploration * math.sqrt(visits) / (1 + (child.visits if child else 0))
            new = child is None
            return bonus * priors[action] + value, new, priors[action] if new else 0.0, -action

        return max((int(a) for a in np.flatnonzero(priors > 0)), key=score)


class Gumbel:
    """Gumbel MuZero without noise, Q-values rescaled over siblings."""

    def __init__(self, root: Decision, *, num_simulations: int, max_considered: int):
        legal = np.flatnonzero(np.isfinite(root.logits))
        order = sorted(legal.tolist(), key=lambda action: (-root.logits[action], action))
        self.candidates = order[:max_considered]
        self.wanted = considered_visits(len(self.candidates), num_simulations).tolist()

    def seen(self, root: Decision) -> None:
        """Nothing is kept."""

    @staticmethod
    def completed(decision: Decision) -> np.ndarray:
        """Return sigma of the completed Q-values ``[A]``."""
        q = np.full(len(decision.logits), np.nan)
        for action, child in decision.children.items():
            q[action] = child.q
        visits = [child.visits for child in decision.children.values()]
        mixed = decision.raw_value
        if visits:
            seen = ~np.isnan(q)
            weighted = (decision.priors[seen] * q[seen]).sum() / decision.priors[seen].sum()
            mixed = (mixed + sum(visits) * weighted) / (1 + sum(visits))
        q = np.where(np.isnan(q), mixed, q)
        scaled = (q - q.min()) / max(q.max() - q.min(), 1e-8)
        return (50 + max(visits, default=0)) * 0.1 * scaled

    def choose(self, decision: Decision, depth: int) -> int:
        """Return the action of sequential halving at the root, of equation 14 below it."""
        scores = decision.logits + self.completed(decision)
        visits = np.zeros(len(scores))
        for action, child in decision.children.items():
            visits[action] = child.visits
        if depth == 0:
            wanted = self.wanted.pop(0)
            left = [action for action in self.candidates if visits[action] == wanted]
            if wanted == 0:
                return left[0]
            return max(left, key=lambda action: (scores[action], -action))
        return int((softmax(scores) - visits / (1 + visits.sum())).argmax())
