"""Records one finished search: its tree, candidates and statistics.

The flat arrays of a search are overwritten by the next one; a ``TreeRecord`` is a copy of one row
of them in plain Python, with the actions in words. ``drawing`` turns it into a picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agents.muzero.search.base import Search, SearchResult
from agents.muzero.search.tree import Tree, root_visits
from agents.runs.json_records import Number, Whole, parse_object, read_record

FORMAT = "powergrid-muzero search tree"
VERSION = 3  # 2: each node has the discount of its edge; 3: afterstates and their outcomes
_CERTAIN = 1.0 - 1e-6  # probability


@dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """A node, and the edge that leads into it: an action, or an outcome of an afterstate."""

    index: Whole  # position in TreeRecord.nodes: the root is 0, a parent comes before its children
    parent: Whole | None  # index of the parent; None for the root
    depth: Whole  # actions from the root
    action: Whole | None  # of the edge into the node; None for the root and after an outcome
    outcome: Whole | None  # of the edge into the node; None where it is an action
    text: str  # what the action does or what happens, "" where it has no words
    visits: Whole  # times that a simulation passed through or ended here
    value: Number  # mean discounted return from here on, the environment's units
    reward: Number  # of the edge into the node, the environment's units
    discount: Number  # of the edge into the node, factor on ``value``; 0 where the episode ended
    prior: Number  # of the action by the model, noise included; of an outcome its probability
    raw_value: Number | None  # the model's own value, before any look-ahead; None of an afterstate

    @property
    def q(self) -> float:
        """Reward + discount * value: what the search expects of the edge into the node."""
        return self.reward + self.discount * self.value


@dataclass(frozen=True, kw_only=True)
class OutcomeRecord:
    """What chance may make of a candidate, and what the search would answer."""

    outcome: Whole
    text: str  # what happens, "" where it has no words
    probability: Number
    visits: Whole
    q: Number  # what the search expects then, the environment's units
    answer: Whole | None  # the action most visited then; None if none was
    answer_text: str  # what it does, "" where it has no words


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """An action that the search tried at the root."""

    action: Whole
    text: str  # what it does, "" where it has no words
    visits: Whole
    q: Number  # what the search expects of it (``NodeRecord.q``), the environment's units
    prior: Number  # before the search
    weight: Number  # in the improved policy, after the search
    outcomes: tuple[OutcomeRecord, ...]  # looked at, most visited first; () where one is certain


@dataclass(frozen=True, kw_only=True)
class TreeSummary:
    """What a person asks first of a search."""

    depth: Whole  # of the deepest node
    mean_depth: Number  # over the nodes below the root but afterstates
    width: Whole  # actions tried at the root
    nodes_per_depth: tuple[Whole, ...]  # [depth + 1], from the root (1) on, without afterstates
    visit_entropy: Number  # nats, of the visits of the candidates
    policy_entropy: Number  # nats, of the improved policy over all A actions
    lowest_q: Number  # of the candidates
    highest_q: Number


@dataclass(frozen=True, kw_only=True)
class TreeRecord:
    """A finished search. ``record_tree`` makes it; ``to_json`` and ``from_json`` keep it."""

    action: Whole  # chosen; under exploration it need not be the most visited, nor a candidate
    text: str  # what it does, "" where it has no words
    value: Number  # of the root after the search, the environment's units
    num_simulations: Whole  # visits of all candidates together
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
        """Return the record as JSON text; ``from_json`` gives the same record back.

        Args:
            indent: spaces a level; None for one line.
        """
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(document, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> TreeRecord:
        """Return the record that ``to_json`` wrote.

        Raises:
            ValueError: it is cut short, of another format or version, or contradicts itself; the
                message names where.
        """
        try:
            document = parse_object(text)
        except ValueError as error:
            raise _damaged(str(error)) from error
        if document.pop("format", None) != FORMAT:
            raise ValueError(
                f"not a search tree: expected an object with 'format': {FORMAT!r}, as "
                "TreeRecord.to_json writes it"
            )
        version = document.pop("version", None)
        if version != VERSION:
            raise ValueError(
                f"the search tree is of version {version!r}; this release reads version {VERSION}. "
                "Write it again with this release, or read it with the one that wrote it"
            )
        try:
            record = read_record(document, cls, "tree")
            _check_whole(record)
        except ValueError as error:
            raise _damaged(str(error)) from error
        return record


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
    candidates = _candidates(nodes, dict(enumerate(policy.tolist())))
    action = int(result.action[row])
    return TreeRecord(
        action=action,
        text="" if texts is None else str(texts[action]),
        value=float(result.value[row]),
        num_simulations=int(visits[row].sum()),
        summary=_summarise(nodes, candidates, _entropy(policy)),
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


def _candidates(
    nodes: Sequence[NodeRecord], weights: Mapping[int, float]
) -> tuple[CandidateRecord, ...]:
    """Return the children of the root; ``weights`` are those of actions in the improved policy."""
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
                weight=weights[node.action],
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
    nodes: Sequence[NodeRecord], candidates: Sequence[CandidateRecord], policy_entropy: float
) -> TreeSummary:
    depths = np.array([node.depth for node in nodes if node.raw_value is not None])
    values = [candidate.q for candidate in candidates]
    return TreeSummary(
        depth=int(depths.max()),
        mean_depth=float(depths[1:].mean()),
        width=len(candidates),
        nodes_per_depth=tuple(np.bincount(depths).tolist()),
        visit_entropy=_entropy(np.array([candidate.visits for candidate in candidates])),
        policy_entropy=policy_entropy,
        lowest_q=min(values),
        highest_q=max(values),
    )


def _entropy(weights: np.ndarray) -> float:
    """Return the entropy, nats, of what is proportional to ``weights``."""
    share = weights[weights > 0].astype(np.float64)
    share /= share.sum()
    return max(0.0, -float((share * np.log(share)).sum()))


# ----------------------------------------------------------------------------------- reading


def _check_whole(record: TreeRecord) -> None:
    """Raise ValueError unless the record's parts agree with one another."""
    if len(record.nodes) < 2:
        raise ValueError(f"tree.nodes: {len(record.nodes)} nodes; a search has at least 2")
    for index, node in enumerate(record.nodes):
        where = f"tree.nodes[{index}]"
        if node.index != index:
            raise ValueError(f"{where}: index is {node.index}, expected {index}")
        if node.visits < min(index, 1):  # a root may have none of its own
            raise ValueError(f"{where}: visits is {node.visits}, expected 1 or more")
        if index == 0:
            if (node.parent, node.action, node.outcome, node.depth) != (None, None, None, 0):
                raise ValueError(f"{where}: the root has no parent, no action and depth 0")
            continue
        if node.parent is None or not 0 <= node.parent < index:
            raise ValueError(f"{where}: parent is {node.parent}, expected one of the nodes before")
        parent = record.nodes[node.parent]
        if parent.raw_value is None:  # an afterstate
            edge, other, expected = ("outcome", "action", parent.depth)
        else:
            edge, other, expected = ("action", "outcome", parent.depth + 1)
        number = getattr(node, edge)
        if number is None or number < 0:
            raise ValueError(f"{where}: {edge} is {number}, expected 0 or more")
        if getattr(node, other) is not None:
            raise ValueError(f"{where}: {other} is {getattr(node, other)}, but it is an {edge}")
        if node.depth != expected:
            raise ValueError(
                f"{where}: depth is {node.depth}, expected {expected} below its parent"
            )
    if record.action < 0:
        raise ValueError(f"tree.action: it is {record.action}, expected 0 or more")
    weights = {candidate.action: candidate.weight for candidate in record.candidates}
    tried = [node.action for node in record.nodes if node.parent == 0]
    if set(weights) != set(tried) or not len(record.candidates) == len(weights) == len(tried):
        raise ValueError("tree.candidates: they are not the actions below the root")
    candidates = _candidates(record.nodes, weights)
    _check_same("tree.candidates", record.candidates, candidates)
    summary = _summarise(record.nodes, candidates, record.summary.policy_entropy)
    _check_same("tree.summary", (record.summary,), (summary,))
    if record.num_simulations != sum(candidate.visits for candidate in candidates):
        raise ValueError("tree.num_simulations: it is not the sum of the candidates' visits")


def _check_same(where: str, found: Sequence[Any], derived: Sequence[Any]) -> None:
    """Raise ValueError unless records read agree with those derived from the nodes."""
    for one, other in zip(found, derived, strict=True):
        for name, value in vars(one).items():
            expected = getattr(other, name)
            same = (
                math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9)
                if isinstance(expected, float)
                else value == expected
            )
            if not same:
                raise ValueError(f"{where}: {name}: {value}, but the nodes give {expected}")


def _damaged(problem: str) -> ValueError:
    return ValueError(f"the search tree is damaged: {problem}. Write it again")
