"""``powergrid-actions``: shows, checks, merges and mines action sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import envs
from agents.commands.command_line import (
    OneLineParser,
    path_argument,
    positive_number,
    whole_number,
)
from agents.runs.files import atomic_write
from agents.runs.output_folders import check_writable

if TYPE_CHECKING:
    from envs import ActionSet


def run(arguments: Sequence[str]) -> None:
    """Do what ``arguments`` ask for.

    Raises:
        ValueError: an argument, or a set that cannot be read, or does not fit.
        OSError: the output cannot be written.
    """
    options = make_parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
    options.work(options)


def make_parser() -> OneLineParser:
    """Return the parser of all subcommands."""
    parser = OneLineParser(prog="powergrid-actions")
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    show = subcommands.add_parser("show", description="Say what each action of a set does.")
    check = subcommands.add_parser(
        "check", description="Check a set against a grid: wiring, kinds of actions, rules."
    )
    merge = subcommands.add_parser(
        "merge",
        description="Write the actions of several sets into one file, each action once. A single "
        "set is converted, such as from grid2op's vectors to JSON.",
    )
    mining = subcommands.add_parser(
        "mine",
        description="Look ahead in stressed states of training scenarios, and choose the actions "
        "that relieve them. Writes actions.json, coverage.csv, coverage.png and actions.csv into "
        "the folder. Called again with the same folder it goes on; another --size then chooses "
        "anew from what was mined.",
    )
    for one in (show, check):
        one.add_argument("set", metavar="SET", help="a name that ships, or a file")
    merge.add_argument("sets", nargs="+", metavar="SET", help="names that ship, or files")
    for one, needed in ((show, False), (check, True), (merge, False)):
        one.add_argument(
            "--grid",
            required=needed,
            metavar="GRID",
            help="grid2op name or folder; vectors (.npy) are of its actions",
        )
    merge.add_argument(
        "--output", required=True, type=path_argument, metavar="FILE", help="ends in .json or .npz"
    )
    merge.add_argument(
        "--line-switches",
        action="store_true",
        help="add an action that switches it for each line, as reconnect_lines needs them",
    )
    _add_mining_arguments(mining)
    for one, work in ((show, _show), (check, _check), (merge, _merge), (mining, _mine)):
        one.set_defaults(work=work)
    return parser


def _add_mining_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grid",
        required=True,
        action="append",
        metavar="GRID",
        help="grid2op name or folder; given again, another grid of the same wiring",
    )
    parser.add_argument(
        "--folder", required=True, type=path_argument, metavar="FOLDER", help="of the mining"
    )
    numbers = (
        ("--size", 256, 2, "actions of the set, at most"),
        ("--most", 4096, 1, "ways to split one substation; of more, some are drawn"),
        ("--screen", 40, 1, "episodes in which all of these are looked at"),
        ("--score", 400, 1, "episodes in which the best of those are"),
        ("--keep", 60, 1, "best actions of a screened case that are looked at further"),
        ("--cases", 4, 1, "stressed states of an episode, at most"),
        ("--seed", 0, 0, "of the episodes"),
        ("--workers", 0, 0, "processes, by Ray; 0: this one"),
    )
    for name, usual, least, what in numbers:
        parser.add_argument(
            name,
            type=whole_number(least),
            default=usual,
            metavar="N",
            help=f"{what} (default {usual})",
        )
    parser.add_argument(
        "--stress",
        type=positive_number,
        default=0.95,
        metavar="RHO",
        help="loading from which on a state is stressed (default 0.95)",
    )
    parser.add_argument(
        "--until",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="share of each scenario that is played; the rest stays unseen (default 1)",
    )
    parser.add_argument(
        "--lines",
        type=_lines,
        default=None,
        metavar="L,L,...",
        help="lines that are lost, by number (default: all whose loss the grid survives)",
    )
    parser.add_argument("--scenarios", default="bundled", help="as of PowerGrid-v0")
    parser.add_argument(
        "--scenario-folder", type=path_argument, metavar="FOLDER", help="of --scenarios dataset"
    )
    parser.add_argument("--split", default="train", help="as of PowerGrid-v0 (default train)")


def _share(text: str) -> float:
    share = positive_number(text)
    if share > 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a share, above 0 and at most 1")
    return share


def _lines(text: str) -> tuple[int, ...]:
    read = whole_number(0)
    return tuple(dict.fromkeys(read(one) for one in text.split(",")))


def _load(name: str, grid: str | None) -> ActionSet:
    """Return the set called ``name``.

    Raises:
        ValueError: there is none, or vectors are of no grid.
    """
    if name.endswith(".npy") and grid is None:
        raise ValueError(f"{name}: name the grid that the vectors are of with --grid")
    actions = envs.find_action_set(name, grid or "")
    if actions is None:
        raise ValueError("all actions of a grid are no set: name a set that ships, or a file")
    return actions


def _show(options: argparse.Namespace) -> None:
    actions = _load(options.set, options.grid)
    print(f"{len(actions)} actions for grids with {actions.wiring} ({actions.grid or 'unnamed'})")
    for name, value in actions.provenance.items():
        print(f"{name}: {value}")
    for number, text in enumerate(actions.texts):
        print(f"{number:4d}  {text}")


def _check(options: argparse.Namespace) -> None:
    actions = _load(options.set, options.grid)
    catalogue = envs.describe_grid(options.grid, actions).catalogue  # refuses what does not fit
    print(f"{len(actions)} actions, which grid {options.grid} takes.")
    joined = np.ones((1, catalogue.layout.num_elements), dtype=np.int8)
    after = catalogue.results(joined, joined)[0]
    whole = catalogue.connected_topologies(after)
    lines, substations = catalogue.impacts(
        np.arange(len(actions)), np.ones((len(actions), catalogue.layout.num_lines), np.bool_)
    )
    limits = envs.PARAMETERS["MAX_LINE_STATUS_CHANGED"], envs.PARAMETERS["MAX_SUB_CHANGED"]
    excessive = (lines.sum(axis=1) > limits[0]) | (substations.sum(axis=1) > limits[1])
    for which, what in (
        (excessive, f"change more than {limits[0]} line or {limits[1]} substation: illegal, unless "
         "the parameters MAX_LINE_STATUS_CHANGED and MAX_SUB_CHANGED allow them"),
        (~whole & ~lines.any(axis=1), "cut off a part of the grid from the reference topology"),
    ):  # fmt: skip
        numbers = np.flatnonzero(which)
        if len(numbers):
            print(f"{len(numbers)} of them, from {numbers[0]} on, {what}.")
    if catalogue.powers is not None:
        numbers = np.flatnonzero(catalogue.powers.does_something)
        print(
            f"{len(numbers)} of them, from {numbers[0]} on, redispatch, curtail or use storage: "
            "only the reference environment plays the set (env.simulator=grid2op)."
        )
    missing = actions.lines_not_switched
    if len(missing):
        print(
            f"{len(missing)} lines, from {missing[0]} on, are not switched by any action: "
            "reconnect_lines is refused (powergrid-actions merge --line-switches adds them)."
        )


def _merge(options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.suffix not in (".json", ".npz"):
        raise ValueError(f"--output {output}: expected a file that ends in .json or .npz")
    sets = [_load(name, options.grid) for name in options.sets]
    if options.line_switches:
        sets.append(envs.line_switches(sets[0].wiring))
    merged = sets[0] if len(sets) == 1 else envs.merge_action_sets(sets)
    write_set(output, merged)
    print(f"{len(merged)} actions written to {output}")


def write_set(path: Path, actions: ActionSet) -> None:
    """Write a set to a file that ends in .json or .npz.

    Raises:
        OSError: it cannot be written.
    """
    check_writable(path)
    with atomic_write(path) as file:
        envs.write_action_set(file, actions, binary=path.suffix == ".npz")


def _mine(options: argparse.Namespace) -> None:
    import_module("agents.commands.mining").run(options)  # loads torch
