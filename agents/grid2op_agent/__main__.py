"""Command line for grid2op's tools: ``python -m agents.grid2op_agent COMMAND ...``.

export FOLDER    write scenarios as a grid2op environment folder
submit FOLDER    write a submission folder, for make_agent(env, path)
score FOLDER     grid2op's ScoreL2RPN2020 of an agent on such an environment folder

The agent is named as for powergrid-evaluate: agent=greedy, wrappers=gated, run=FOLDER, ...
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.grid2op_agent.recipe import recipe_from
from agents.grid2op_agent.scores import ScenarioScore, score_l2rpn_2020
from agents.grid2op_agent.submission import write_submission
from envs import SPLITS, export_scenarios, make_source


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; what goes wrong is one line, and an exit code as in ``command_line``."""

    def run() -> None:
        given = _parser().parse_args(arguments)
        given.run(given)

    run_guarded(run)


def _export(given: argparse.Namespace) -> None:
    source = make_source(given.source, grid=given.grid)
    names = source.names(given.split)
    if given.scenarios is not None:
        if given.scenarios > len(names):
            raise ValueError(f"--scenarios {given.scenarios}; expected 1 to {len(names)}")
        names = names[: given.scenarios]
    folder = export_scenarios(source, given.folder, grid=given.grid, names=names)
    print(f"Wrote {len(names)} scenarios to {folder}")


def _submit(given: argparse.Namespace) -> None:
    print(f"Wrote {write_submission(recipe_from(given.words), given.folder)}")


def _score(given: argparse.Namespace) -> None:
    recipe = recipe_from(given.words)
    scores = score_l2rpn_2020(recipe, given.folder, scenarios=given.scenarios, seed=given.seed)
    print(f"ScoreL2RPN2020 of {recipe.name}\n{_table(scores)}")


def _table(scores: Sequence[ScenarioScore]) -> str:
    width = max(len("mean"), *(len(one.scenario) for one in scores))
    lines = [f"{'scenario':{width}}   score  steps"]
    for one in scores:
        steps = f"{one.steps} of {one.max_steps}"
        lines.append(f"{one.scenario:{width}}  {one.score:6.1f}  {steps}")
    mean = sum(one.score for one in scores) / len(scores)
    return "\n".join([*lines, f"{'mean':{width}}  {mean:6.1f}"])


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m agents.grid2op_agent",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    writing = commands.add_parser("export", help="write scenarios as a grid2op folder")
    writing.add_argument("folder", type=path_argument, help="absent or empty")
    writing.add_argument("--source", default="recombined", help="recombined, varied, bundled, ...")
    writing.add_argument("--grid", default="l2rpn_case14_sandbox", help="grid2op name of the grid")
    writing.add_argument("--split", default="test", help=", ".join(SPLITS))
    writing.add_argument(
        "--scenarios", type=whole_number(1), help="how many, of the first; all by default"
    )
    writing.set_defaults(run=_export)

    submitting = commands.add_parser("submit", help="write a submission folder")
    submitting.add_argument(
        "folder", type=path_argument, help="absent or empty; competitions call it submission"
    )
    _add_words(submitting)
    submitting.set_defaults(run=_submit)

    scoring = commands.add_parser("score", help="grid2op's ScoreL2RPN2020")
    scoring.add_argument(
        "folder", type=path_argument, help="a grid2op environment with scenarios; is written to"
    )
    _add_words(scoring)
    scoring.add_argument(
        "--scenarios", type=whole_number(1), help="how many, of the first; all by default"
    )
    scoring.add_argument(
        "--seed", type=whole_number(0, below=2**32), default=0, help="of environment and agent"
    )
    scoring.set_defaults(run=_score)
    return parser


def _add_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="KEY=VALUE", help="agent=greedy, run=FOLDER")


if __name__ == "__main__":
    main()
