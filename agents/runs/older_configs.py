"""Configurations of older runs, read by today's names of classes and options.

What was written down before, ``config.yaml`` of a run or the recipe of a submission, is never
changed; it is read as if it had been written today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# beginnings of classes' names -> today's
_RENAMED_TARGETS: Mapping[str, str] = {
    "agents.baselines.ppo.": "agents.ppo.",
    "agents.baselines.": "agents.power_grid.baselines.",
    "agents.loggers.": "agents.runs.loggers.",
    "agents.logging.": "agents.runs.loggers.",
    "agents.muzero.networks.flow.": "agents.power_grid.flow.",
    "agents.muzero.simulator_model.": "agents.power_grid.simulator_model.",
    "agents.muzero.teacher.Lookahead": "agents.power_grid.lookahead_teacher.Lookahead",
    "agents.power_grid.teacher.": "agents.power_grid.lookahead_teacher.",
}

# options of the agent's parts by former names -> today's, and values of them by former names
_RENAMED_OPTIONS: Mapping[str, str] = {
    "habit": "prior_weight",
    "caution": "termination_penalty",
    "calm": "calm_values",
}
_RENAMED_VALUES: Mapping[tuple[str, object], object] = {("calm_values", "held"): "held_forecast"}

# options that older runs saved elsewhere, below agent -> today's option of the flow network
_NETWORKS_OWN: Mapping[tuple[str, str], str] = {
    ("plan", "outlooks"): "lookaheads",
    ("learning", "outlook_weight"): "lookahead_weight",
}

# options of the agent's parts that older runs saved and that are gone -> the value that means "off"
_REMOVED: Mapping[str, object] = {
    "symlog_observations": False,
    "normalize_observations": False,
    "reuse_subtree": False,
    "sparse_policy_size": None,
}


def of_today(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an older run as it would be saved today.

    Args:
        saved: all of ``config.yaml``, or some of its sections.

    Raises:
        ValueError: it turns on an option that is gone; the message says in which entry.
    """
    config = _with_present_targets(saved)
    assert isinstance(config, dict)
    env, evaluation, agent = (config.get(part) for part in ("env", "evaluation", "agent"))
    if isinstance(env, dict):
        env.pop("num_workers", None)  # where grids were played changed no result
        if isinstance(env.get("wrappers"), list):
            env["wrappers"] = _named_wrappers(env["wrappers"])
    if isinstance(env, dict) and isinstance(evaluation, dict):
        _move_to_evaluation(env, evaluation)
    if isinstance(agent, dict):
        if "weights" in agent:
            config["weights"] = agent.pop("weights")
        for key, part in agent.items():
            if isinstance(part, dict):
                agent[key] = dict(_with_present_option(*option) for option in part.items())
        _move_to_network(agent)
        _move_to_agent(agent)
        config["agent"] = _without_removed(agent, "agent")
    return config


def _with_present_targets(saved: Any) -> Any:
    """Return a deep copy with today's classes."""
    if isinstance(saved, Mapping):
        return {
            name: _present_target(value) if name == "_target_" else _with_present_targets(value)
            for name, value in saved.items()
        }
    return [_with_present_targets(value) for value in saved] if isinstance(saved, list) else saved


def _present_target(target: Any) -> Any:
    for former, present in _RENAMED_TARGETS.items():
        if str(target).startswith(former):
            return present + str(target).removeprefix(former)
    return target


def _with_present_option(name: str, value: object) -> tuple[str, object]:
    present = _RENAMED_OPTIONS.get(name, name)
    if isinstance(value, str):
        value = _RENAMED_VALUES.get((present, value), value)
    return present, value


def _named_wrappers(wrappers: Sequence[Any]) -> dict[str, Any]:
    """Return wrappers under names: the one that flattens belongs to the option observation."""
    named = {}
    for number, wrapper in enumerate(wrappers):
        target = str(wrapper.get("_target_", "")) if isinstance(wrapper, dict) else ""
        flattens = target.endswith(".FlattenObservation") and "observation" not in named
        named["observation" if flattens else f"wrapper{number}"] = wrapper
    return named


def _move_to_evaluation(env: dict[str, Any], evaluation: dict[str, Any]) -> None:
    """Let ``evaluation`` have what it changes of ``env.kwargs``.

    Options of other names than scenarios, which interim evaluations alone had, are left where they
    were: they do not matter where the run is evaluated, and where it is resumed they are refused.
    """
    if "evaluation_kwargs" in env:
        evaluation["env"] = env.pop("evaluation_kwargs")
    for gone in ("plain_kwargs", "plain_agents"):  # baselines say themselves what they need
        env.pop(gone, None)
    interim = evaluation.get("interim")
    if isinstance(interim, dict) and isinstance(own := interim.get("kwargs"), dict):
        if "scenarios" in own:
            interim["scenarios"] = own.pop("scenarios")
        if not own:
            del interim["kwargs"]


def _move_to_network(agent: dict[str, Any]) -> None:
    """Let the flow network have what is its own affair today."""
    network = agent.get("network")
    target = network.get("_target_", "") if isinstance(network, dict) else ""
    for (part, former), present in _NETWORKS_OWN.items():
        if former in (agent.get(part) or {}):
            value = agent[part].pop(former)
            if str(target).startswith("agents.power_grid.flow."):
                agent["network"][present] = value


def _move_to_agent(agent: dict[str, Any]) -> None:
    """Let the agent say the unit of its discount."""
    replay = agent.get("replay")
    if isinstance(replay, dict) and "discount_per_step" in replay:
        agent["discount_unit"] = "step" if replay.pop("discount_per_step") else "decision"


def _without_removed(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kept = {}
    for name, value in part.items():
        if name in _REMOVED:
            if value != _REMOVED[name]:
                raise ValueError(
                    f"{where}.{name}={value}: this release has no such option any more; play the "
                    "run with the release that trained it"
                )
            continue
        inner = isinstance(value, Mapping)
        kept[name] = _without_removed(value, f"{where}.{name}") if inner else value
    return kept
