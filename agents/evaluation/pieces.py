"""Merges results of consecutive parts of a list of episodes into the result of all of them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import envs
from agents.evaluation.protocol import Protocol, explain_difference, hash_scenarios
from agents.evaluation.records import Conditions, EpisodeRecord, EvaluationResult, Latency

# what follows from which episodes a piece has
_OF_THE_PIECE = ("seed", "episodes", "scenarios_sha256")
_OF_THE_RUN = ("num_workers", "machine", "started", "seconds")


def merge_pieces(pieces: Sequence[EvaluationResult]) -> EvaluationResult:
    """Return the result that one evaluation of all episodes of ``pieces`` gives, in their order.

    Episodes and protocol, its hash included, are exactly those. What depends on the time of day is
    put together: the evaluations' seconds are added, machines listed. Milliseconds of a decision
    have their exact mean; their median and 99th percentile are taken over the episodes' own, each
    counted as often as the episode has decisions.

    Args:
        pieces: at least one, of one agent, in any order.

    Raises:
        ValueError: pieces of different agents or protocols, an episode that is missing between
            two pieces or is in both, or scenarios whose contents are not those of today or that
            no name makes.
    """
    if not pieces:
        raise ValueError("there are no results to merge; at least 1 is needed.")
    if len(pieces) == 1:
        return pieces[0]
    ordered = sorted(pieces, key=lambda piece: piece.protocol.seed)
    first = ordered[0]
    for before, piece in zip(ordered, ordered[1:], strict=False):
        _require_same(first, piece)
        _require_consecutive(before, piece)
    episodes = tuple(episode for piece in ordered for episode in piece.episodes)
    return EvaluationResult(
        agent=first.agent,
        protocol=_merge_protocols([piece.protocol for piece in ordered], episodes),
        conditions=_merge_conditions([piece.conditions for piece in ordered]),
        latency=_latency(episodes),
        episodes=episodes,
    )


def merge_by_agent(pieces: Sequence[EvaluationResult]) -> tuple[EvaluationResult, ...]:
    """Return the merged result of each agent, in the order in which they are first met.

    Args:
        pieces: at least one.

    Raises:
        ValueError: see ``merge_pieces``.
    """
    agents = list(dict.fromkeys(piece.agent for piece in pieces))
    return tuple(merge_pieces([one for one in pieces if one.agent == name]) for name in agents)


def _require_same(first: EvaluationResult, other: EvaluationResult) -> None:
    """Raise ValueError unless both are of one agent, by one protocol but for their episodes."""
    names = f"{first.agent}: the pieces from seed {first.protocol.seed} and from seed "
    names += str(other.protocol.seed)
    if first.agent != other.agent:
        raise ValueError(f"{names} are of different agents: {other.agent} has the latter.")
    ours = first.protocol
    theirs = replace(other.protocol, **{name: getattr(ours, name) for name in _OF_THE_PIECE})
    if ours != theirs:
        raise ValueError(
            f"{names} were not played by the same protocol: they differ in "
            f"{explain_difference(ours, theirs)}. Evaluate one of them again."
        )
    there = replace(
        other.conditions, **{name: getattr(first.conditions, name) for name in _OF_THE_RUN}
    )
    for name, value in vars(first.conditions).items():
        if value != getattr(there, name):
            raise ValueError(
                f"{names} were not played under the same conditions: {name} is {value!r} and "
                f"{getattr(there, name)!r}. Evaluate one of them again."
            )


def _require_consecutive(before: EvaluationResult, after: EvaluationResult) -> None:
    expected, found = before.protocol.seed + len(before.episodes), after.protocol.seed
    if found < expected:
        raise ValueError(
            f"{after.agent}: the episode with seed {found} is in two pieces; leave one of them out."
        )
    if found > expected:
        raise ValueError(
            f"{after.agent}: {found - expected} episodes from seed {expected} on are missing "
            "between two pieces; add their piece, or leave out what comes after."
        )


def _merge_protocols(protocols: Sequence[Protocol], episodes: Sequence[EpisodeRecord]) -> Protocol:
    first = protocols[0]
    names = tuple(episode.scenario for episode in episodes)
    scenarios_sha256 = ""
    if first.scenarios_sha256:  # else an environment without scenarios
        try:
            source = pickle.dumps(envs.make_source(first.scenarios, grid=first.grid))
        except ValueError as error:
            raise ValueError(
                f"only pieces of scenarios that a name makes can be merged, and scenarios="
                f"{first.scenarios} does not: {error}"
            ) from error
        start = 0
        for protocol in protocols:
            own = names[start : start + protocol.episodes]
            start += protocol.episodes
            if hash_scenarios(source, own) != protocol.scenarios_sha256:
                raise ValueError(
                    f"scenario {own[0]} and those after it were played with other contents than "
                    f"scenarios={first.scenarios} has here; merge results where they were played."
                )
        scenarios_sha256 = hash_scenarios(source, names)
    return replace(first, episodes=len(episodes), scenarios_sha256=scenarios_sha256)


def _merge_conditions(conditions: Sequence[Conditions]) -> Conditions:
    return replace(
        conditions[0],
        machine="; ".join(dict.fromkeys(one.machine for one in conditions)),
        started=min(one.started for one in conditions),
        seconds=sum(one.seconds for one in conditions),
    )


def _latency(episodes: Sequence[EpisodeRecord]) -> Latency:
    decisions = np.array([episode.decisions for episode in episodes])
    if not decisions.any():
        return Latency(mean=0.0, median=0.0, p99=0.0)
    seconds = sum(episode.seconds for episode in episodes)
    medians = np.repeat([episode.median_ms for episode in episodes], decisions)
    p99s = np.repeat([episode.p99_ms for episode in episodes], decisions)
    return Latency(
        mean=1e3 * seconds / float(decisions.sum()),
        median=float(np.median(medians)),
        p99=float(np.percentile(p99s, 99)),
    )
