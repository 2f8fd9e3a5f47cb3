"""The ladder: every agent on the same scenarios, written to docs/RESULTS.md.

    python -m benchmarks.ladder [--split test] [--agents do_nothing greedy ...] [--runs RUN ...]
                                [--weights case14 ...] [--scenarios varied] [--rest] [--episodes N]
                                [--output docs/RESULTS.md]

Each agent is evaluated by the command that a person would type, and that command stands in the
page, with the protocol, versions, machine and seeds; results stay in ``--results``. ``--runs``
adds trained agents, ``--weights`` (all by default) those that ship. ``--rest`` keeps results that
are there and are of the same protocol. Published figures stand below, marked as their authors' and
with the data they are on.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import conf
from agents import pretrained
from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.evaluation import read_results
from agents.evaluation.pairs import compare_results, to_markdown
from agents.evaluation.records import EvaluationResult
from agents.runs.files import atomic_write
from agents.runs.folder import RunFolder
from agents.runs.output_folders import check_writable
from agents.runs.weights import find_weights
from powergrid_muzero.names import choose

# ``revert`` acts in calm hours alone, when nobody is asked under a gate.
UNTRAINED = ("do_nothing", "random", "reconnect", "expert", "greedy", "greedy2")
_AGENTS = Path(conf.__file__).parent / "agent"
GATED = "wrappers=gated"  # the protocol's idle gate; a trained run brings its own

PUBLISHED = """| agent | steps % | scenarios % | a decision | source |
|---|---|---|---|---|
| do nothing | 20 to 24 | 0 | | several |
| PPO, code of RL2Grid | 67 | 41 | | RL2Grid |
| PPO | 87 | 79 | | survey of topology agents |
| AlphaZero on the real simulator | 94 | 82 | | its authors |
| PPO per substation, as a graph | 99.3 | 96.7 | | its authors |
| best learned agent | 99.4 | 98.6 | | its authors |
| greedy look-ahead with the simulator | 100 | 100 | 370 to 490 ms | its authors |"""


@dataclass(frozen=True)
class Rung:
    """One agent of the ladder."""

    name: str  # of its folder
    arguments: tuple[str, ...]  # of powergrid-evaluate, without its folder

    def command(self, folder: Path) -> list[str]:
        """Return the command that evaluates it into ``folder``."""
        return [
            sys.executable,
            "-m",
            "agents.commands.evaluate",
            *self.arguments,
            f"folder={folder}",
        ]

    @property
    def shown(self) -> str:
        """The command as a person types it."""
        return shlex.join(["powergrid-evaluate", *self.arguments])


def main() -> None:
    """Evaluate and write."""
    parser = OneLineParser(description="Every agent on the same scenarios.")
    parser.add_argument("--split", default="test", choices=("train", "val", "test", "all"))
    parser.add_argument("--agents", nargs="*", default=list(UNTRAINED))
    parser.add_argument("--runs", nargs="*", type=path_argument, default=[])
    parser.add_argument("--weights", nargs="*", default=list(pretrained.names()))
    parser.add_argument("--scenarios", help="varied, ...; the environment's own by default")
    parser.add_argument("--workers", type=whole_number(0), default=2)
    parser.add_argument(
        "--episodes", type=whole_number(1), help="of the split's list; all by default"
    )
    parser.add_argument("--rest", action="store_true", help="keep results that are there")
    parser.add_argument("--results", type=path_argument, default=Path("runs/ladder"))
    parser.add_argument("--output", type=path_argument, default=Path("docs/RESULTS.md"))
    options = parser.parse_args()
    check_writable(options.output)
    for name in options.agents:
        choose("agent", name, sorted(one.stem for one in _AGENTS.glob("*.yaml")))
    for run in options.runs:
        RunFolder.open_existing(run)
    for name in options.weights:
        find_weights(name)

    shared = [f"split={options.split}", f"evaluation.num_workers={options.workers}"]
    shared += ["evaluation.plots=false"]
    if options.episodes is not None:
        shared.append(f"evaluation.episodes={options.episodes}")
    if options.scenarios is not None:
        shared.append(f"+env.evaluation_kwargs.scenarios={options.scenarios}")
    rungs = [Rung(name, (f"agent={name}", GATED, *shared)) for name in options.agents]
    rungs += [Rung(run.name, (f"run={run}", f"name={run.name}", *shared)) for run in options.runs]
    rungs += [Rung(f"muzero_{name}", (f"weights={name}", *shared)) for name in options.weights]
    folder = options.results / (options.scenarios or "") / options.split
    begin = time.perf_counter()
    results = [_evaluated(rung, folder / rung.name, keep=options.rest) for rung in rungs]
    minutes = (time.perf_counter() - begin) / 60
    with atomic_write(options.output) as file:
        file.write(write_up(rungs, results, minutes).encode())
    print(f"Written to {options.output} after {minutes:.1f} minutes")


def _evaluated(rung: Rung, folder: Path, *, keep: bool) -> EvaluationResult:
    """Return the rung's result, evaluated into ``folder`` unless it is there and may stay."""
    if not (keep and folder.exists()):
        if folder.exists():
            raise SystemExit(f"{folder} exists; remove it, or keep its result with --rest")
        print(f"{rung.shown}", flush=True)
        finished = subprocess.run(rung.command(folder), check=False)
        if finished.returncode:
            raise SystemExit(f"{rung.name} failed: {rung.shown}")
    return read_results(folder)[0]


def write_up(rungs: Sequence[Rung], results: Sequence[EvaluationResult], minutes: float) -> str:
    """Return the page.

    Args:
        rungs: at least two.
        results: theirs, in order.
        minutes: that the evaluations of this page took.
    """
    protocol, conditions = results[0].protocol, results[0].conditions
    comparison = compare_results(results, across=("idle_gate", "reconnect_lines", "action_mask"))
    versions = (*protocol.versions, *conditions.versions)
    lines = [
        "# Results",
        "",
        f"All {protocol.episodes} scenarios of the `{protocol.split}` list, 8064 steps each. Weeks "
        "of this split are in no training and in no choice between agents; how often its results "
        "were looked at stands in docs/results/README.md.",
        "",
        to_markdown(comparison).rstrip(),
        "",
        "Steps are the share of the scenarios' steps survived, scenarios the share survived to the "
        "end. Simulator calls are actions looked ahead at in the power flow. Milliseconds are each "
        f"decision's share of a batch of up to {conditions.num_envs}.",
        "",
        "## Protocol",
        "",
        f"- hash `{protocol.short_hash}` of the first row; results of another are not compared",
        f"- environment {protocol.environment}, grid {protocol.grid}, simulator "
        f"{protocol.simulator}",
        f"- scenarios {protocol.scenarios}, contents `{protocol.scenarios_sha256[:12]}`",
        f"- idle gate {protocol.idle_gate}, reconnection {protocol.reconnect_lines}, actions "
        f"{protocol.action_mask}, scored by the `{protocol.reward}` reward",
        f"- seeds: environments from {protocol.seed} on, agents {conditions.seed}",
        f"- versions: {', '.join(f'{one.name} {one.value}' for one in versions)}",
        f"- machine: {conditions.machine}; {minutes:.1f} minutes for the whole page",
        "",
        "Commands, as each result has them:",
        "",
        *(f"    {rung.shown}" for rung in rungs),
        "",
        "## Published figures",
        "",
        "Their authors' own, on grid2op's full l2rpn_case14_sandbox data set, no opponent: other "
        "scenarios, other machines, so to be read beside the table above and not into it.",
        "",
        PUBLISHED,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_guarded(main)
