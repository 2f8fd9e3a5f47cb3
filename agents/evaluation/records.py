"""Records of an evaluation: one per episode, one per agent.

They are written as JSON and read back strictly (``result_files``). Anything that shows results
(tables, plots, reports) is made of these alone.

Shape letters: L lines, S substations.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.evaluation.protocol import Protocol, Setting
from agents.runs.json_records import Amount, Count, Number, Whole


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A mistake of an agent's in an episode."""

    decision: Count  # 1 for the first of the episode
    step: Count  # environment steps played before it
    text: str  # what was wrong


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One episode as it was played.

    Element ends are the entries of grid2op's ``topo_vect``. The fields about actions and distance
    are empty or None where the environment is no power grid.
    """

    scenario: str  # name, "" where the environment has no scenarios
    seed: Whole  # of the environment's reset
    steps: Count  # environment steps survived; under an idle gate the calm ones count
    max_steps: Count | None  # steps the episode could have lasted, None where unknown
    completed: bool  # lasted to the end (truncated, not terminated)
    end: str  # why it ended, in the environment's words; "agent error: ..." where the agent failed
    reward: Number  # sum over the episode, undiscounted, of the protocol's reward
    decisions: Count  # times the agent was asked

    action_steps: tuple[Count, ...]  # environment steps played before each action below, ascending
    actions: tuple[Whole, ...]  # all actions but "do nothing" (0), illegal ones included
    substation_actions: tuple[Count, ...]  # [S] legal ones that move element ends there
    line_actions: tuple[Count, ...]  # [L] legal ones that open, close or switch the line
    mean_distance: Amount | None  # element ends off the reference topology, mean over decisions
    final_distance: Count | None  # the same when it ended; before a blackout, at the last decision

    attacks: Count | None  # of an opponent, that began; None without an opponent
    attacks_survived: Count | None  # of those, before the one that lasted when the episode ended

    illegal_actions: Count  # refused by the environment, which then did nothing
    first_illegal: Incident | None
    agent_error: Incident | None  # ended the episode: it raised, or gave no valid action

    simulator_calls: Count  # actions looked ahead at in the environment's simulator
    seconds: Amount  # spent in the agent, its share of each batch
    median_ms: Amount  # milliseconds of a decision, its share of the batch; 0 without decisions
    p99_ms: Amount  # 99th percentile of the same


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of a decision over all episodes, each the decision's share of its batch."""

    mean: Number
    median: Number
    p99: Number  # 99th percentile


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What may differ between comparable results: who played, and on what machine."""

    agent_configuration: str  # of the agent, as JSON; "" if it was built without one
    weights: str  # run folder or file that they came from, "" for none
    seed: Whole  # of the agent
    num_envs: Count  # episodes side by side: the batch that latencies are shares of
    num_workers: Count  # processes that shared the episodes; 0: the main one
    device: str  # of networks: "cpu", "cuda:0"; "" without any
    machine: str  # processor, cores, operating system
    started: str  # ISO 8601, with time zone
    seconds: Number  # wall clock of the whole evaluation
    versions: tuple[Setting, ...]  # of what the protocol does not name: python, numpy, torch


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """One agent's episodes over a fixed list."""

    agent: str  # name in tables
    protocol: Protocol
    conditions: Conditions
    latency: Latency
    episodes: tuple[EpisodeRecord, ...]

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        from agents.evaluation.tables import html_summary

        return html_summary([self])
