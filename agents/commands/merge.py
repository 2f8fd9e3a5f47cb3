"""``powergrid-evaluate merge``: one result out of those of parts of a list of scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from agents.commands.command_line import OneLineParser, path_argument, run_guarded
from agents.commands.entry import MERGE
from agents.evaluation import markdown_summary, merge_by_agent, read_results, write_results
from agents.runs.files import atomic_write
from agents.runs.output_folders import output_folder


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the subcommand and end the process; exit codes are as in ``command_line``.

    Args:
        arguments: of the command line, after ``merge``.
    """
    run_guarded(lambda: run(arguments))
    raise SystemExit(0)


def run(arguments: Sequence[str]) -> None:
    """Merge the results that ``arguments`` name; print the table, write what is asked for.

    Raises:
        ValueError: an argument, or results that cannot be read or merged.
        OSError: the output cannot be written.
    """
    options = _parser().parse_args(arguments)
    merged = merge_by_agent([result for path in options.results for result in read_results(path)])
    text = markdown_summary(merged)
    if options.folder is not None:
        with output_folder(options.folder, parent=options.folder.parent) as folder:
            json_path, csv_path = write_results(folder, merged)
        print(f"Written to {json_path} and {csv_path}")
    if options.output is None:
        print(text, end="")
        return
    with atomic_write(options.output) as file:
        file.write(text.encode())
    print(f"Written to {options.output}")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=f"powergrid-evaluate {MERGE}",
        description="Merge evaluation results of consecutive parts of a list of scenarios, as "
        "evaluation.first and evaluation.episodes choose them: one line for each agent, with "
        "95 %% bootstrap intervals over all its scenarios, as a markdown table.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=path_argument,
        metavar="RESULT",
        help="an evaluation's JSON file, or its folder, in any order",
    )
    parser.add_argument(
        "--folder",
        type=path_argument,
        metavar="FOLDER",
        help="write the merged results here, as an evaluation writes its own",
    )
    parser.add_argument("--output", type=path_argument, metavar="FILE", help="write the table here")
    return parser
