"""The ladder's page: a section for each opponent, with tables, protocols, commands and sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import envs
from agents.evaluation import EvaluationResult, compare_results, markdown_summary, to_markdown
from agents.runs.files import atomic_write

CALM = "none"  # the opponent that takes nothing out
TITLE = "# Results"

PUBLISHED = """| agent | steps % | scenarios % | a decision | source |
|---|---|---|---|---|
| do nothing | 20 to 24 | 0 | | several |
| PPO, code of RL2Grid | 67 | 41 | | RL2Grid |
| PPO | 87 | 79 | | survey of topology agents |
| AlphaZero on the real simulator | 94 | 82 | | its authors |
| PPO per substation, as a graph | 99.3 | 96.7 | | its authors |
| best learned agent | 99.4 | 98.6 | | its authors |
| greedy look-ahead with the simulator | 100 | 100 | 370 to 490 ms | its authors |"""

# opponent -> figures that others published of it
PUBLISHED_ATTACKED = {
    "rl4pnc": """| agent | steps % | scenarios % | source |
|---|---|---|---|
| do nothing | 1.9 | 0 | van der Sar et al., survey of rl4pnc |
| greedy look-ahead with the simulator | 9.0 to 9.9 | 0 | the same |
| PPO trained with the opponent | 6.0 | 0 | the same |"""
}


def write_section(
    opponent: str, commands: Sequence[str], results: Sequence[EvaluationResult], minutes: float
) -> str:
    """Return a section of the page.

    Args:
        opponent: that the agents played against, or ``CALM``.
        commands: of the agents, as a person types them.
        results: theirs, in order; at least two for ``CALM``, else at least one.
        minutes: that these evaluations took.
    """
    protocol, conditions = results[0].protocol, results[0].conditions
    calm = opponent == CALM
    versions = (*protocol.versions, *conditions.versions)
    length = {one.max_steps for result in results for one in result.episodes}
    asked = f"idle gate {protocol.idle_gate}"
    if calm:
        across = ("idle_gate", "reconnect_lines", "action_mask")
        table = to_markdown(compare_results(results, across=across))
    else:
        table = markdown_summary(results)
        options = {one.name: one.value for one in protocol.options}
        asked += "".join(
            f", {name} {options[name]}"
            for name in ("ask_every", "ask_at_attacks", "n1_gate")
            if name in options
        )
    lines = [
        f"## {_heading(opponent)}",
        "",
        f"The first {protocol.episodes} scenarios of the `{protocol.split}` list, "
        f"{' or '.join(str(one) for one in sorted(filter(None, length)))} steps each. "
        + _about(opponent, protocol.split),
        "",
        table.rstrip(),
        "",
        "Steps are the share of the scenarios' steps survived, completed the share of scenarios "
        "survived to the end. Simulated are actions looked ahead at in the power flow. "
        "Milliseconds are each "
        f"decision's share of a batch of up to {conditions.num_envs}.",
        "",
        "### Protocol",
        "",
        f"- hash `{protocol.short_hash}` of the first row; results of another are not compared",
        f"- environment {protocol.environment}, grid {protocol.grid}, simulator "
        f"{protocol.simulator}",
        f"- scenarios {protocol.scenarios}, contents `{protocol.scenarios_sha256[:12]}`",
        f"- {asked}, reconnection {protocol.reconnect_lines}, actions "
        f"{protocol.action_mask}, scored by the `{protocol.reward}` reward",
        f"- seeds: environments from {protocol.seed} on, agents {conditions.seed}",
        f"- versions: {', '.join(f'{one.name} {one.value}' for one in versions)}",
        f"- machine: {conditions.machine}; {minutes:.1f} minutes for the section",
        "",
        "Commands, as each result has them:",
        "",
        *(f"    {one}" for one in commands),
        "",
        *_published(opponent),
        "",
    ]
    return "\n".join(lines)


def put_section(page: Path, section: str) -> None:
    """Write ``section`` into ``page``, in place of the one of the same heading; others stay.

    Args:
        page: a file that may not be there yet.
        section: see ``write_section``.
    """
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    heading = section.partition("\n")[0]
    found = {one.partition("\n")[0]: one for one in re.split(r"^(?=## )", before, flags=re.M)[1:]}
    found[heading] = section
    order = [f"## {_heading(one)}" for one in (CALM, *envs.OPPONENTS)]
    parts = [found[one].rstrip() for one in order if one in found]
    with atomic_write(page) as file:
        file.write(("\n\n".join([TITLE, *parts]) + "\n").encode())


def _heading(opponent: str) -> str:
    return "Without attacks" if opponent == CALM else f"Under attack: `opponent={opponent}`"


def _about(opponent: str, split: str) -> str:
    text = ""
    if split == "test":
        text = (
            "Weeks of this split are in no training and in no choice between agents; how often "
            "its results were looked at stands in docs/results/README.md."
        )
    if opponent != CALM:
        attacks = envs.OPPONENTS[opponent]
        text += (
            f" One of the lines {', '.join(attacks.lines)} is out for {attacks.duration} steps of "
            f"every {attacks.period}, drawn by the episode's seed. All agents are asked by the "
            "same rules, whatever the trained ones were trained with."
        )
    return text.strip()


def _published(opponent: str) -> list[str]:
    lines = ["### Published figures", ""]
    if opponent == CALM:
        return [
            *lines,
            "Their authors' own, on grid2op's full l2rpn_case14_sandbox data set, no opponent: "
            "other scenarios, other machines, so to be read beside the table above and not into "
            "it.",
            "",
            PUBLISHED,
        ]
    if opponent not in PUBLISHED_ATTACKED:
        return [*lines, "None of this opponent on this grid that we know of."]
    return [
        *lines,
        "Their authors' own, on this grid with an opponent of these lines and times: other "
        "scenarios, other attacks, other machines, so to be read beside the table above and not "
        "into it.",
        "",
        PUBLISHED_ATTACKED[opponent],
    ]
