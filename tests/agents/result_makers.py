"""Results as tests need them, without playing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.evaluation import (
    Conditions,
    EpisodeRecord,
    EvaluationResult,
    Latency,
    Protocol,
    Setting,
)

PROTOCOL = Protocol(
    environment="PowerGrid-v0",
    grid="l2rpn_case14_sandbox",
    simulator="lightsim2grid",
    scenarios="recombined",
    split="test",
    episodes=4,
    scenarios_sha256="ab" * 32,
    seed=7,
    max_steps=None,
    start="beginning",
    idle_gate=0.95,
    reconnect_lines=False,
    action_mask="distinct",
    reward="l2rpn",
    parameters=(Setting(name="MAX_SUB_CHANGED", value="1"),),
    options=(),
    versions=(Setting(name="grid2op", value="1.12.6"),),
)
CONDITIONS = Conditions(
    agent_configuration='{"_target_": "a.B"}',
    weights="",
    seed=0,
    num_envs=4,
    num_workers=0,
    device="",
    machine="x86_64, 2 cores, Linux",
    started="2026-11-23T06:00:00+00:00",
    seconds=1.5,
    versions=(Setting(name="python", value="3.11.9"),),
)


def episode(**changes: Any) -> EpisodeRecord:
    values: dict[str, Any] = {
        "scenario": "a",
        "seed": 1,
        "steps": 50,
        "max_steps": 100,
        "completed": False,
        "end": "blackout: island",
        "reward": 10.0,
        "decisions": 4,
        "action_steps": (3, 20),
        "actions": (200, 5),
        "substation_actions": (0, 2),
        "line_actions": (0, 0, 0),
        "mean_distance": 1.25,
        "final_distance": 2,
        "attacks": None,
        "attacks_survived": None,
        "illegal_actions": 0,
        "first_illegal": None,
        "agent_error": None,
        "simulator_calls": 8,
        "seconds": 0.002,
        "median_ms": 0.5,
        "p99_ms": 0.7,
    }
    return EpisodeRecord(**{**values, **changes})


def result(
    agent: str = "x", steps: tuple[int, ...] = (50, 100, 100, 30), **changes: Any
) -> EvaluationResult:
    """Return a result of four scenarios of 100 steps."""
    episodes = tuple(
        episode(
            scenario=f"s{number}",
            seed=7 + number,
            steps=count,
            completed=count == 100,
            end="scenario complete" if count == 100 else "blackout: island",
            reward=10.0 * count,
        )
        for number, count in enumerate(steps)
    )
    made = EvaluationResult(
        agent=agent,
        protocol=PROTOCOL,
        conditions=CONDITIONS,
        latency=Latency(mean=0.6, median=0.5, p99=0.7),
        episodes=episodes,
    )
    return replace(made, **changes)
