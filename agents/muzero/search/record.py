"""Records one finished search: its tree, candidates and statistics.

The flat arrays of a search are overwritten by the next one; a ``TreeRecord`` is a copy of one row
of them in plain Python, with the actions in words. ``drawing`` turns it into a picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from agents.muzero.search.base import Search, SearchResult
from agents.muzero.search.tree import Tree, root_visits

FORMAT = "powergrid-muzero search tree"
VERSION = 3  # 2: each node has the discount of its edge; 3: afterstates and their outcomes
_CERTAIN = 1.0 - 1e-6  # probability


@dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """A node, and the edge that leads into it: an action, or an outcome of an afterstate."""

    index: int  # position in TreeRecord.nodes: the root is 0, a parent comes before its children
    parent: int | None  # index of the parent; None for the root
    depth: int  # actions from the root
    action: int | None  # of the edge into the node; None for the root and after an outcome
    outcome: int | None  # of the edge into the node; None where it is an action
    text: str  # what the action does or what happens, "" where it has no words
    visits: int  # times that a simulation passed through or ended here
    value: float  # mean discounted return from here on, the environment's units
    reward: float  # of the edge into the node, the environment's units
    discount: float  # of the edge into the node, factor on ``value``; 0 where the episode ended
    prior: float  # of the action by the model, noise included; of an outcome its probability
    raw_value: float | None  # the model's own value, before any look-ahead; None of an afterstate

    @property
    def q(self) -> float:
        """Reward + discount * value: what the search expects of the edge into the node."""
        return self.reward + self.discount * self.value


@dataclass(frozen=True, kw_only=True)
class OutcomeRecord:
    """What chance may make of a candidate, and what the search would answer."""

    outcome: int
    text: str  # what happens, "" where it has no words
    probability: float
    visits: int
    q: float  # what the search expects then, the environment's units
    answer: int | None  # the action most visited then; None if none was
    answer_text: str  # what it does, "" where it has no words


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """An action that the search tried at the root."""

    action: int
    text: str  # what it does, "" where it has no words
    visits: int
    q: float  # what the search expects of it (``NodeRecord.q``), the environment's units
    prior: float  # before the search
    weight: float  # in the improved policy, after the search
    outcomes: tuple[OutcomeRecord, ...]  # looked at, most visited first; () where one is certain


@dataclass(frozen=True, kw_only=True)
class TreeSummary:
    """What a person asks first of a search."""

    depth: int  # of the deepest node
    mean_depth: float  # over the nodes below the root but afterstates
    width: int  # actions tried at the root
    nodes_per_depth: tuple[int, ...]  # [depth + 1], from the root (1) on, without afterstates
    visit_entropy: float  # nats, of the visits of the candidates
    policy_entropy: float  # nats, of the improved policy over all A actions
    lowest_q: float  # of the candidates
    highest_q: float


@dataclass(frozen=True, kw_only=True)
class TreeRecord:
    """A finished search. ``record_tree`` makes it, ``to_json`` keeps it."""

    action: int  # chosen; under exploration it need not be the most visited, nor a candidate
    text: str  # what it does, "" where it has no words
    value: float  # of the root after the search, the environment's units
    num_simulations: int  # visits of all candidates together
    summary: TreeSummary
    candidates: tuple[CandidateRecord, ...]  # most visited first, then by weight, then by action
    nodes: tuple[NodeRecord, ...]  # [N], in order of the simulations

    @cached_property
    def children(self) -> tuple[tuple[NodeRecord, ...], ...]:
        """Children of each node ``[N]``, most visited first, then by q, then by number."""
        return _families(self.nodes)

    def _repr_html_(self) -> str:
        """Return the picture that a notebook shows."""
        from agents.muzero.search.drawing import to_svg

        return f'<div style="overflow-x: auto">\n{to_svg(self)}</div>'

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return the record as JSON text.

        Args:
            indent: spaces a level; None for one line.
        """
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(document, indent=indent, allow_nan=False)


def last_tree(search: Search) -> Tree:
    """Return the trees of the last run of ``search``.

    Raises:
        ValueError: it has not run yet, or keeps none.
    """
    find = getattr(search, "last_tree", None)  # a Search of another package need not have it
    if find is None:
        raise ValueError(
            f"{type(search).__name__} keeps no trees to look at; choose search=gumbel or puct"
        )
    return find()


def record_tree(
    tree: Tree,
    row: int,
    result: SearchResult,
    *,
    texts: Sequence[str] | None = None,
    outcome_texts: Sequence[str] | None = None,
) -> TreeRecord:
    """Write down one of the B searches that ``tree`` and ``result`` are the outcome of.

    Args:
        tree: the searches' trees, not yet overwritten by another run.
        row: which of the B.
        result: of the same run.
        texts: ``[A]`` what each action does; None where there are no words.
        outcome_texts: ``[C]`` what each outcome is; None where there are no words, or no outcomes.

    Raises:
        ValueError: no such row, fewer texts than actions or outcomes, or ``result`` is of another
            run.
    """
    num_roots, num_actions = result.visit_counts.shape
    if len(tree.nodes) != num_roots:
        raise ValueError(
            f"the tree holds {len(tree.nodes)} searches and the result {num_roots}; give both of "
            "the same run"
        )
    if not 0 <= row < num_roots:
        raise ValueError(f"row is {row}; expected 0 to {num_roots - 1}, one per search")
    if texts is not None and len(texts) != num_actions:
        raise ValueError(f"{len(texts)} texts given for {num_actions} actions; give one for each")

    visits = np.empty_like(result.visit_counts)
    root_visits(tree, visits)
    if (visits[row] != result.visit_counts[row]).any():
        raise ValueError(
            f"row {row} of the tree and of the result differ in visits; the search has run again: "
            "record a tree before the next run"
        )
    nodes = _nodes(tree.nodes[row], len(tree.priors), texts, outcome_texts)
    policy = result.policy[row]
    candidates = _candidates(nodes, policy)
    action = int(result.action[row])
    return TreeRecord(
        action=action,
        text="" if texts is None else str(texts[action]),
        value=float(result.value[row]),
        num_simulations=int(visits[row].sum()),
        summary=_summarise(nodes, candidates, policy),
        candidates=candidates,
        nodes=nodes,
    )


def _nodes(
    columns: np.ndarray,
    num_decisions: int,
    texts: Sequence[str] | None,
    outcome_texts: Sequence[str] | None,
) -> tuple[NodeRecord, ...]:
    """Return the nodes that ``columns [N]`` of NODE hold, an afterstate before its first outcome.

    Raises:
        ValueError: fewer texts than there are outcomes.
    """
    afterstates = num_decisions - 1  # where those of the simulations, from 1, begin
    order = [0]
    for simulation in range(1, num_decisions):
        if len(columns) > num_decisions and columns[afterstates + simulation]["visits"]:
            order.append(afterstates + simulation)
        order.append(simulation)
    index_of = {place: index for index, place in enumerate(order)}
    nodes = []
    for index, place in enumerate(order):
        node = columns[place]
        root = place == 0
        chosen = not root and int(node["parent"]) >= num_decisions  # by chance
        edge, words = int(node["action"]), outcome_texts if chosen else texts
        if words is not None and not root and edge >= len(words):
            raise ValueError(f"{len(words)} texts given for outcomes, but there is outcome {edge}")
        visits = int(node["visits"])
        nodes.append(
            NodeRecord(
                index=index,
                parent=None if root else index_of[int(node["parent"])],
                depth=int(node["depth"]),
                action=None if root or chosen else edge,
                outcome=edge if chosen else None,
                text="" if root or words is None else str(words[edge]),
                visits=visits,
                value=float(node["value_sum"]) / max(visits, 1),
                reward=float(node["reward"]),
                discount=float(node["discount"]),
                prior=float(node["prior"]),
                raw_value=float(node["raw_value"]) if place < num_decisions else None,
            )
        )
    return tuple(nodes)


def _families(nodes: Sequence[NodeRecord]) -> tuple[tuple[NodeRecord, ...], ...]:
    """Return the children of each of N nodes, most visited first, then by q, then by number."""
    families: list[list[NodeRecord]] = [[] for _ in nodes]
    for node in nodes[1:]:
        assert node.parent is not None
        families[node.parent].append(node)

    def order(node: NodeRecord) -> tuple[int, float, int | None]:
        return -node.visits, -node.q, node.action if node.outcome is None else node.outcome

    return tuple(tuple(sorted(family, key=order)) for family in families)


def is_certain(children: Sequence[NodeRecord]) -> bool:
    """Return whether these, of one node, are the only outcome that it can have."""
    return len(children) == 1 and children[0].outcome is not None and children[0].prior >= _CERTAIN


def _candidates(nodes: Sequence[NodeRecord], policy: np.ndarray) -> tuple[CandidateRecord, ...]:
    """Return the children of the root; ``policy [A]`` is the improved one."""
    families = _families(nodes)
    candidates = []
    for node in families[0]:
        assert node.action is not None
        candidates.append(
            CandidateRecord(
                action=node.action,
                text=node.text,
                visits=node.visits,
                q=node.q,
                prior=node.prior,
                weight=float(policy[node.action]),
                outcomes=_outcomes(families, node),
            )
        )
    return tuple(sorted(candidates, key=lambda c: (-c.visits, -c.weight, c.action)))


def _outcomes(
    families: Sequence[Sequence[NodeRecord]], node: NodeRecord
) -> tuple[OutcomeRecord, ...]:
    """Return what chance may make of a child of the root."""
    children = families[node.index]
    if is_certain(children):
        return ()
    outcomes = []
    for child in children:
        if child.outcome is not None:
            answer = next(iter(families[child.index]), None)
            outcomes.append(
                OutcomeRecord(
                    outcome=child.outcome,
                    text=child.text,
                    probability=child.prior,
                    visits=child.visits,
                    q=child.q,
                    answer=None if answer is None else answer.action,
                    answer_text="" if answer is None else answer.text,
                )
            )
    return tuple(outcomes)


def _summarise(
    nodes: Sequence[NodeRecord], candidates: Sequence[CandidateRecord], policy: np.ndarray
) -> TreeSummary:
    depths = np.array([node.depth for node in nodes if node.raw_value is not None])
    values = [candidate.q for candidate in candidates]
    return TreeSummary(
        depth=int(depths.max()),
        mean_depth=float(depths[1:].mean()),
        width=len(candidates),
        nodes_per_depth=tuple(np.bincount(depths).tolist()),
        visit_entropy=_entropy(np.array([candidate.visits for candidate in candidates])),
        policy_entropy=_entropy(policy),
        lowest_q=min(values),
        highest_q=max(values),
    )


def _entropy(weights: np.ndarray) -> float:
    """Return the entropy, nats, of what is proportional to ``weights``."""
    share = weights[weights > 0].astype(np.float64)
    share /= share.sum()
    return max(0.0, -float((share * np.log(share)).sum()))
