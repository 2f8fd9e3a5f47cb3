"""Writes recorded episodes into one self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np

from agents.muzero.search.record import CandidateRecord
from agents.pictures.report.encoding import pack_json, pack_series
from agents.pictures.report.recorder import Recording
from agents.pictures.report.trace import (
    DecisionTrace,
    EpisodeTrace,
    LossTrace,
    SearchTrace,
)
from envs import ActionCatalogue, GridLayout, drawn_positions, generator_kinds
from powergrid_muzero.lettering import shorten

# read in this order; each file uses what the ones before it define
SCRIPTS = (
    *("series.js", "colours.js", "grid.js", "charts.js"),
    *("decisions.js", "lines.js", "report.js"),
)

RHO_RESOLUTION = 0.001  # of the thermal limit
POWER_RESOLUTION = 0.1  # MW
MOST_SEARCHES = 400  # shown per episode; those of the most loaded moments
MOST_CANDIDATES = 16  # shown per search, the most visited ones

_MARKS = ("{{title}}", "{{style}}", "{{data}}", "{{script}}")


def render_page(
    recording: Recording,
    *,
    agent: str,
    facts: Mapping[str, str],
    idle_gate: float | None,
    n1_gate: float | None = None,
) -> str:
    """Return the report as HTML.

    Args:
        recording: what is shown.
        agent: its name.
        facts: label -> text, shown below the heading in this order.
        idle_gate: rho below which the agent was not asked; None if it always was.
        n1_gate: rho after the worst loss of a line, from which on it was asked; None for no limit.
    """
    data = page_data(recording, agent=agent, facts=facts, idle_gate=idle_gate, n1_gate=n1_gate)
    assets = resources.files("agents.pictures.report") / "assets"
    parts = {
        "{{title}}": html.escape(f"{agent} on {recording.layout.name}"),
        "{{style}}": (assets / "report.css").read_text(encoding="utf-8"),
        "{{data}}": pack_json(data),
        "{{script}}": "\n".join((assets / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    page = (assets / "report.html").read_text(encoding="utf-8")
    pieces: list[str] = []
    for mark in _MARKS:  # cut at the template's own marks: what is put in may contain any text
        before, found, page = page.partition(mark)
        assert found, mark
        pieces += [before, parts[mark]]
    return "".join([*pieces, page])


def page_data(
    recording: Recording,
    *,
    agent: str,
    facts: Mapping[str, str],
    idle_gate: float | None,
    n1_gate: float | None = None,
) -> dict[str, Any]:
    """Return what the page shows, as plain Python. For the arguments see ``render_page``."""
    actions = {one.action for episode in recording.episodes for one in episode.decisions}
    episodes = []
    for episode in recording.episodes:
        searches = _chosen_searches(episode)
        for number, search in searches.items():
            taken = episode.decisions[number].action
            shown = _shown(search, taken)
            actions |= {one.action for one in shown}
            answers = {outcome.answer for one in shown for outcome in one.outcomes}
            actions |= {answer for answer in answers if answer is not None}
        episodes.append(_episode(episode, searches))
    return {
        "agent": agent,
        "facts": [[label, text] for label, text in facts.items()],
        "gate": idle_gate,
        "lossGate": n1_gate,
        "resolution": {"rho": RHO_RESOLUTION, "power": POWER_RESOLUTION},
        "grid": _grid(recording.layout, recording.catalogue),
        "actions": _actions(recording.catalogue, sorted(actions)),
        "episodes": episodes,
    }


def _grid(layout: GridLayout, catalogue: ActionCatalogue) -> dict[str, Any]:
    return {
        "name": layout.name,
        "substations": [
            {"name": name, "x": x, "y": y}
            for name, (x, y) in zip(
                layout.substation_names, drawn_positions(catalogue), strict=True
            )
        ],
        "lines": [
            {"name": name, "from": int(a), "to": int(b), "fromEnd": int(c), "toEnd": int(d)}
            for name, a, b, c, d in zip(
                layout.line_names,
                layout.line_or_substation,
                layout.line_ex_substation,
                layout.line_or_position,
                layout.line_ex_position,
                strict=True,
            )
        ],
        "generators": [
            {"name": name, "at": int(at), "end": int(end), "kind": kind, "renewable": bool(r)}
            for name, at, end, kind, r in zip(
                layout.generator_names,
                layout.generator_substation,
                layout.generator_position,
                generator_kinds(catalogue),
                layout.renewable,
                strict=True,
            )
        ],
        "loads": [
            {"name": name, "at": int(at), "end": int(end)}
            for name, at, end in zip(
                layout.load_names, layout.load_substation, layout.load_position, strict=True
            )
        ],
        "ends": layout.element_substation.tolist(),
    }


def _actions(catalogue: ActionCatalogue, numbers: Iterable[int]) -> dict[str, dict[str, Any]]:
    """Return of each action its words, and the lines and substations that it is about."""
    layout = catalogue.layout
    described = {}
    for number in numbers:
        moved = (catalogue.set_busbar[number] > 0) | catalogue.switch_busbar[number]
        lines = (catalogue.set_line[number] != 0) | catalogue.switch_line[number]
        ends = np.concatenate([layout.line_or_position[lines], layout.line_ex_position[lines]])
        moved[ends] = False
        text = catalogue.texts[number]
        described[str(number)] = {
            "text": text,
            "short": shorten(text),
            "lines": np.flatnonzero(lines).tolist(),
            "substations": np.unique(layout.element_substation[moved]).tolist(),
        }
        if catalogue.powers is not None:
            described[str(number)]["powers"] = catalogue.powered_substations(number).tolist()
    return described


def _episode(episode: EpisodeTrace, searches: Mapping[int, SearchTrace]) -> dict[str, Any]:
    record = episode.record
    refused = {
        str(number): one.illegal_reason
        for number, one in enumerate(episode.decisions)
        if one.illegal_reason
    }
    return {
        "scenario": record.scenario,
        "seed": record.seed,
        "start": str(episode.start.astype("datetime64[m]")),
        "minutes": episode.minutes_per_step,
        "steps": record.steps,
        "limit": record.steps if record.max_steps is None else record.max_steps,
        "completed": record.completed,
        "end": record.end,
        "reward": _round(record.reward),
        "rho": pack_series(episode.rho, resolution=RHO_RESOLUTION),
        "flow": pack_series(episode.p_or, resolution=POWER_RESOLUTION),
        "generation": pack_series(episode.gen_p, resolution=POWER_RESOLUTION),
        "load": pack_series(episode.load_p, resolution=POWER_RESOLUTION),
        "busbars": episode.topologies[0].busbars.tolist(),
        "switches": _switches(episode),
        "attacks": list_attacks(episode.attack_steps),
        "decisions": {
            "frames": [one.step for one in episode.decisions],
            "actions": [one.action for one in episode.decisions],
            "refused": refused,
            **_losses(episode.decisions),
            "searched": sum(one.search is not None for one in episode.decisions),
            "searches": {
                str(number): _search(one, episode.decisions[number].action)
                for number, one in searches.items()
            },
        },
    }


def _switches(episode: EpisodeTrace) -> list[list[int]]:
    """Return each change of the topology: its frame, then pairs of an element end and its busbar.

    A line is open where its ends are at no busbar, so its status need not be told.
    """
    switches = []
    for before, after in pairwise(episode.topologies):
        ends = np.flatnonzero(before.busbars != after.busbars)
        pairs = np.stack([ends, after.busbars[ends]], axis=1)
        switches.append([after.frame, *pairs.ravel().tolist()])
    return switches


def list_attacks(attack_steps: np.ndarray) -> list[list[int]]:
    """Return each attack: line, first frame, frames, steps that it was to last on from there.

    Args:
        attack_steps: ``[frames, L]``, see ``EpisodeTrace``.
    """
    attacks = []
    held = attack_steps > 0
    # a count that goes up is another attack on the same line
    renewed = np.pad(np.diff(attack_steps, axis=0) >= 0, ((1, 0), (0, 0)), constant_values=True)
    for line in np.flatnonzero(held.any(axis=0)).tolist():
        begins = np.flatnonzero(held[:, line] & renewed[:, line])
        for begin, following in pairwise([*begins.tolist(), len(attack_steps)]):
            frames = int(held[begin:following, line].sum())
            attacks.append([line, begin, frames, int(attack_steps[begin, line])])
    return sorted(attacks, key=lambda attack: attack[1])


def _losses(decisions: Sequence[DecisionTrace]) -> dict[str, Any]:
    """Return the worst losses at decisions: two series over them, and what actions change of it.

    The first has the line lost and the one that is loaded most then, -1 where ``LossTrace`` has it;
    the second has its loading, 0 where the game ends.
    """
    found = [one.worst_loss for one in decisions]
    if not found or any(one is None for one in found):
        return {}
    rows = [_loss(one) for one in found if one is not None]
    after = {
        str(number): _loss(one.worst_loss_after)
        for number, one in enumerate(decisions)
        if one.action and one.worst_loss_after is not None
    }
    lines = np.array([row[:2] for row in rows])
    rho = np.array([row[2:] for row in rows])
    return {
        "lossLines": pack_series(lines, resolution=1),
        "lossRho": pack_series(rho, resolution=RHO_RESOLUTION),
        "lossAfter": after,
    }


def _loss(loss: LossTrace) -> list[Any]:
    """Return the line lost, the line loaded most then, its loading (0 where the game ends)."""
    return [loss.lost, loss.loaded, 0.0 if loss.loaded < 0 else _round(loss.rho)]


def _search(search: SearchTrace, action: int) -> dict[str, Any]:
    return {
        "value": _round(search.value),
        "simulations": search.num_simulations,
        "depth": search.depth,
        "tried": len(search.candidates),
        "candidates": [_candidate(one) for one in _shown(search, action)],
    }


def _candidate(one: CandidateRecord) -> list[Any]:
    """Return action, visits, Q, prior and weight; then what chance may make of it, if anything.

    Of each outcome the words, probability, visits, Q and the action most visited then, or None.
    """
    figures = [one.action, one.visits, _round(one.q), _round(one.prior), _round(one.weight)]
    outcomes = [
        [
            each.text or f"outcome {each.outcome} follows",
            *(_round(each.probability), each.visits, _round(each.q), each.answer),
        ]
        for each in one.outcomes
    ]
    return [*figures, outcomes] if outcomes else figures


def _shown(search: SearchTrace, action: int) -> list[CandidateRecord]:
    """Return the most visited candidates, the action that was taken among them."""
    shown = list(search.candidates[:MOST_CANDIDATES])
    if all(one.action != action for one in shown):
        shown[-1:] = [one for one in search.candidates if one.action == action] or shown[-1:]
    return shown


def _chosen_searches(episode: EpisodeTrace) -> dict[int, SearchTrace]:
    """Return the searches that are shown by number of their decision: acts first, then by rho."""
    loadings = episode.rho.max(axis=1)

    def interest(pair: tuple[int, DecisionTrace]) -> tuple[bool, float]:
        return pair[1].action == 0, -float(loadings[pair[1].step])

    ranked = sorted(enumerate(episode.decisions), key=interest)
    found = [(number, one.search) for number, one in ranked if one.search is not None]
    return {number: search for number, search in sorted(found[:MOST_SEARCHES], key=_number)}


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]


def _round(value: float) -> float:
    return float(f"{value:.5g}")
