"""The ladder: every agent on the same scenarios, written to docs/RESULTS.md.

    python -m benchmarks.ladder [--opponents none rl4pnc ...] [--split test]
                                [--agents do_nothing greedy ...] [--runs RUN ...]
                                [--weights case14 ...] [--scenarios varied] [--rest] [--episodes N]
                                [--piece N] [--output docs/RESULTS.md]

Each agent is evaluated by the command that a person would type, and that command stands in the
page, with the protocol, versions, machine and seeds; results stay in ``--results``. ``--runs``
adds trained agents, ``--weights`` those that ship (all by default, without attacks those that were
trained without).

``--opponents`` are who takes lines out: ``none`` takes minutes for all agents, an attacked protocol
hours. So under attack an agent plays ``--piece`` scenarios at a time. Each piece is written when it
is played, and what is there is merged into the agent's result. ``--rest`` keeps results and pieces
that are there, and plays what is missing. Sections of the page that are not asked for stay.
"""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import conf
import envs
from agents import pretrained
from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.evaluation import (
    EvaluationResult,
    markdown_summary,
    merge_pieces,
    read_results,
    write_results,
)
from agents.evaluation.result_files import NAME
from agents.runs.folder import RunFolder
from agents.runs.output_folders import check_writable
from agents.runs.weights import find_weights
from benchmarks.ladder_page import CALM, put_section, write_section
from powergrid_muzero.names import choose

# ``revert`` acts in calm hours alone, when nobody is asked under a gate.
UNTRAINED = ("do_nothing", "random", "reconnect", "expert", "greedy", "greedy2")
ATTACKED = ("do_nothing", "greedy", "n1", "planner")  # the untrained agents under attack
OPPONENTS = (CALM, "rl4pnc", "rte_case14")
_AGENTS = Path(conf.__file__).parent / "agent"
_DEFAULT_SCENARIOS = "recombined"  # of conf/env/power_grid.yaml
GATED = "wrappers=gated"  # the protocol's idle gate; a trained run brings its own
PREVENTIVE = "wrappers=preventive"  # for all agents under attack: the same questions for each


@dataclass(frozen=True)
class Rung:
    """One agent of the ladder."""

    name: str  # of its folder
    arguments: tuple[str, ...]  # of powergrid-evaluate, without its folder

    def command(self, folder: Path, *more: str) -> list[str]:
        """Return the command that evaluates it into ``folder``, with ``more`` arguments."""
        return [
            sys.executable,
            "-m",
            "agents.commands.evaluate",
            *self.arguments,
            *more,
            f"folder={folder}",
        ]

    def shown(self, *more: str) -> str:
        """Return the command as a person types it, with ``more`` arguments."""
        return shlex.join(["powergrid-evaluate", *self.arguments, *more])


def main() -> None:
    """Evaluate and write."""
    parser = OneLineParser(description="Every agent on the same scenarios.")
    parser.add_argument("--opponents", nargs="+", default=list(OPPONENTS), metavar="OPPONENT")
    parser.add_argument("--split", default="test", choices=("train", "val", "test", "all"))
    parser.add_argument(
        "--agents",
        nargs="*",
        help=f"{', '.join(UNTRAINED)} by default; under attack {', '.join(ATTACKED)}",
    )
    parser.add_argument("--runs", nargs="*", type=path_argument, default=[])
    parser.add_argument(
        "--weights",
        nargs="*",
        help="all that ship by default; without attacks, those trained without",
    )
    parser.add_argument("--scenarios", help="varied, ...; the environment's own by default")
    parser.add_argument("--workers", type=whole_number(0), default=2)
    parser.add_argument(
        "--episodes", type=whole_number(1), help="of the split's list; all by default"
    )
    parser.add_argument(
        "--piece", type=whole_number(1), default=8, help="scenarios played at a time, under attack"
    )
    parser.add_argument(
        "--rest", action="store_true", help="keep results that are there, play the missing ones"
    )
    parser.add_argument("--results", type=path_argument, default=Path("runs/ladder"))
    parser.add_argument("--output", type=path_argument, default=Path("docs/RESULTS.md"))
    options = parser.parse_args()
    check_writable(options.output)
    for name in options.opponents:
        choose("opponent", name, (CALM, *envs.OPPONENTS))
    for name in options.agents or ():
        choose("agent", name, sorted(one.stem for one in _AGENTS.glob("*.yaml")))
    for run in options.runs:
        RunFolder.open_existing(run)
    for name in options.weights or ():
        find_weights(name)
    source = envs.make_source(options.scenarios or _DEFAULT_SCENARIOS)
    months = len(source.names(options.split))
    if options.episodes is not None and options.episodes > months:
        raise ValueError(
            f"--episodes {options.episodes}: expected at most {months}, the scenarios there are."
        )

    folder = options.results / (options.scenarios or "") / options.split
    for opponent in dict.fromkeys(options.opponents):
        begin = time.perf_counter()
        rungs = _rungs(options, opponent)
        if opponent == CALM:
            results = [evaluated(rung, folder / rung.name, keep=options.rest) for rung in rungs]
        else:
            results = [
                _evaluated_in_pieces(
                    rung,
                    folder / opponent / rung.name,
                    episodes=options.episodes or months,
                    piece=options.piece,
                    keep=options.rest,
                )
                for rung in rungs
            ]
        minutes = (time.perf_counter() - begin) / 60
        section = write_section(opponent, [rung.shown() for rung in rungs], results, minutes)
        put_section(options.output, section)
        print(f"Opponent {opponent}: written to {options.output} after {minutes:.1f} minutes")


def _rungs(options: Namespace, opponent: str) -> list[Rung]:
    """Return the agents to play against ``opponent``."""
    shared = [f"split={options.split}", f"evaluation.num_workers={options.workers}"]
    shared += ["evaluation.plots=false"]
    if options.episodes is not None:
        shared.append(f"evaluation.episodes={options.episodes}")
    if options.scenarios is not None:
        shared.append(f"evaluation.env.scenarios={options.scenarios}")
    if opponent == CALM:
        named, untrained, trained = UNTRAINED, [GATED], [f"opponent={CALM}"]
        shipped = [*trained, GATED]
    else:
        side_by_side = math.ceil(options.piece / max(options.workers, 1))  # a group a worker
        untrained = trained = shipped = [f"opponent={opponent}", PREVENTIVE]
        named, shared = ATTACKED, [*shared, f"evaluation.num_envs={side_by_side}"]
    agents = named if options.agents is None else options.agents
    return [
        *(Rung(name, (f"agent={name}", *untrained, *shared)) for name in agents),
        *(
            Rung(run.name, (f"run={run}", f"name={run.name}", *trained, *shared))
            for run in options.runs
        ),
        *(
            Rung(f"muzero_{name}", (f"weights={name}", *shipped, *shared))
            for name in (_shipped(opponent) if options.weights is None else options.weights)
        ),
    ]


def _shipped(opponent: str) -> list[str]:
    """Return the weights that ship, without attacks only those that were trained without."""
    return [name for name in pretrained.names() if opponent != CALM or not _was_attacked(name)]


def _was_attacked(name: str) -> bool:
    trained = RunFolder.open_existing(pretrained.folder_of(name)).load_config()
    return trained["env"]["kwargs"].get("opponent") is not None


def evaluated(rung: Rung, folder: Path, *more: str, keep: bool) -> EvaluationResult:
    """Return the rung's result, evaluated into ``folder`` unless it is there and may stay."""
    if folder.exists() and not keep:
        raise SystemExit(f"{folder} exists; remove it, or keep its result with --rest")
    if not (folder / f"{NAME}.json").is_file():
        print(rung.shown(*more), flush=True)
        finished = subprocess.run(rung.command(folder, *more), check=False)
        if finished.returncode:
            raise SystemExit(f"{rung.name} failed: {rung.shown(*more)}")
    return read_results(folder)[0]


def _evaluated_in_pieces(
    rung: Rung, folder: Path, *, episodes: int, piece: int, keep: bool
) -> EvaluationResult:
    """Return the rung's result over the first ``episodes`` scenarios, ``piece`` played at a time.

    Each piece has a folder in ``folder``, which gets the result of all so far after each of them.
    """
    if folder.exists() and not keep:
        raise SystemExit(f"{folder} exists; remove it, or go on after its pieces with --rest")
    pieces: list[EvaluationResult] = []
    for first in range(0, episodes, piece):
        count = min(piece, episodes - first)
        part = folder / f"{first:04d}_to_{first + count - 1:04d}"
        only = (f"evaluation.first={first}", f"evaluation.episodes={count}")
        pieces.append(evaluated(rung, part, *only, keep=True))
        merged = merge_pieces(pieces)
        write_results(folder, [merged])
        print(markdown_summary([merged]), flush=True)
    return merged


if __name__ == "__main__":
    run_guarded(main)
