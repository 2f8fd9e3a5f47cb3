"""``powergrid-evaluate compare``: paired differences between results, as a markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from agents.commands.command_line import OneLineParser, path_argument, run_guarded
from agents.commands.entry import COMPARE
from agents.evaluation import read_results
from agents.evaluation.pairs import compare_results, to_markdown
from agents.runs.files import atomic_write


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the subcommand and end the process; exit codes are as in ``command_line``.

    Args:
        arguments: of the command line, after ``compare``.
    """
    run_guarded(lambda: run(arguments))
    raise SystemExit(0)


def run(arguments: Sequence[str]) -> None:
    """Compare the results that ``arguments`` name; print the table, or write it to a file.

    Raises:
        ValueError: an argument, or a result that cannot be read or compared.
        OSError: the output cannot be written.
    """
    options = _parser().parse_args(arguments)
    results = [result for path in options.results for result in read_results(path)]
    text = to_markdown(compare_results(results, across=options.across))
    if options.output is None:
        print(text, end="")
        return
    with atomic_write(options.output) as file:
        file.write(text.encode())
    print(f"Written to {options.output}")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=f"powergrid-evaluate {COMPARE}",
        description="Compare evaluation results on the same scenarios, with paired differences to "
        "the first and 95 %% bootstrap intervals, as one markdown table.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=path_argument,
        metavar="RESULT",
        help="an evaluation's JSON file, or its folder; the first agent in the first one is what "
        "the others are compared with",
    )
    parser.add_argument("--output", type=path_argument, metavar="FILE", help="write the table here")
    parser.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="FIELD",
        help="a field of the protocol that may differ, such as idle_gate; it becomes a column",
    )
    return parser
