"""``powergrid-evaluate compare`` and ``merge``: what several results say, as a markdown table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agents.commands.command_line import OneLineParser, path_argument
from agents.commands.entry import COMPARE, MERGE
from agents.commands.multirun import is_multirun, tabulate, to_csv
from agents.evaluation import (
    EvaluationResult,
    markdown_summary,
    merge_by_agent,
    read_results,
    write_results,
)
from agents.evaluation.pairs import compare_results, to_markdown
from agents.evaluation.tables import markdown
from agents.runs.files import atomic_write
from agents.runs.output_folders import output_folder

_FOOTNOTE = "score: the best val/score of a training, or the score of an evaluation."


def run(arguments: Sequence[str]) -> None:
    """Read the results that ``arguments`` name; print the table, or write it to a file.

    Raises:
        ValueError: an argument, or results that cannot be read, compared or merged.
        OSError: the output cannot be written.
    """
    options = make_parser().parse_args(arguments)
    multiruns = [path for path in options.results if is_multirun(path)]
    if options.subcommand == COMPARE and multiruns:
        _write(_multirun_table(options), options.output)
        return
    results = [result for path in options.results for result in read_results(path)]
    if options.subcommand == COMPARE:
        text = to_markdown(compare_results(results, across=options.across))
    else:
        text = _merge(results, options.folder)
    _write(text, options.output)


def _multirun_table(options: argparse.Namespace) -> str:
    if len(options.results) > 1 or options.across:
        raise ValueError(
            "the folder of a --multirun is compared alone, without --across: name no other result."
        )
    columns = tabulate(options.results[0])
    if options.output is not None and options.output.suffix == ".csv":
        return to_csv(columns)
    return f"{markdown(columns)}\n\n{_FOOTNOTE}\n"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    with atomic_write(output) as file:
        file.write(text.encode())
    print(f"Written to {output}")


def _merge(results: Sequence[EvaluationResult], asked: Path | None) -> str:
    merged = merge_by_agent(results)
    if asked is not None:
        with output_folder(asked, parent=asked.parent) as folder:
            json_path, csv_path = write_results(folder, merged)
        print(f"Written to {json_path} and {csv_path}")
    return markdown_summary(merged)


def make_parser() -> OneLineParser:
    """Return the parser of both subcommands."""
    parser = OneLineParser(prog="powergrid-evaluate")
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    compare = subcommands.add_parser(
        COMPARE,
        description="Compare evaluation results on the same scenarios, with paired differences to "
        "the first and 95 % bootstrap intervals, as one markdown table. Of the folder of a "
        "--multirun: the table of its runs, the best first.",
    )
    merge = subcommands.add_parser(
        MERGE,
        description="Merge evaluation results of consecutive parts of a list of scenarios, as "
        "evaluation.first and evaluation.episodes choose them: one line for each agent, with "
        "95 % bootstrap intervals over all its scenarios, as a markdown table.",
    )
    for one, which, also in (
        (
            compare,
            "; the first agent in the first one is what the others are compared with",
            "; or the folder of a --multirun, whose table is CSV in a FILE that ends in .csv",
        ),
        (merge, ", in any order", ""),
    ):
        one.add_argument(
            "results",
            nargs="+",
            type=path_argument,
            metavar="RESULT",
            help=f"an evaluation's JSON file, or its folder{which}{also}",
        )
        one.add_argument(
            "--output", type=path_argument, metavar="FILE", help="write the table here"
        )
    compare.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="FIELD",
        help="a field of the protocol that may differ, such as idle_gate; it becomes a column",
    )
    merge.add_argument(
        "--folder",
        type=path_argument,
        metavar="FOLDER",
        help="write the merged results here, as an evaluation writes its own",
    )
    return parser
