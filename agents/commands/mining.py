"""``powergrid-actions mine``: what it mines, and what it writes and prints about that."""

from __future__ import annotations

import argparse
import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

from agents.commands.actions import write_set
from agents.evaluation.protocol import PACKAGE, package_version
from agents.evaluation.tables import markdown
from agents.pictures.plots import draw_coverage, write_plot
from agents.power_grid.action_mining import MinedActions, MiningSettings, mine
from agents.power_grid.action_mining.cases import EpisodeSettings
from agents.runs.cluster import connected
from agents.runs.files import atomic_write
from agents.runs.output_folders import only_writer
from envs import absolute_grid

_SHOWN_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 768, 1024, 1536, 2048)


def run(options: argparse.Namespace) -> None:
    """Mine, write and print.

    Args:
        options: of the command line.

    Raises:
        ValueError: see ``mine``; or a folder that is a file, or that another process writes to.
        OSError: the folder cannot be written to.
    """
    folder: Path = options.folder
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--folder {folder} is a file: name another")
    scenario_folder = options.scenario_folder
    settings = MiningSettings(
        episodes=EpisodeSettings(
            grids=tuple(absolute_grid(grid) for grid in options.grid),
            scenarios=options.scenarios,
            scenario_folder=None if scenario_folder is None else str(scenario_folder.absolute()),
            split=options.split,
            until=options.until,
            lines=options.lines,
            stress=options.stress,
            cases=options.cases,
            seed=options.seed,
        ),
        most=options.most,
        screen=options.screen,
        score=options.score,
        keep=options.keep,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (
        only_writer(folder),
        connected(None, {"--workers": options.workers}),
        _Progress() as progress,
    ):
        mined = mine(
            settings, folder, size=options.size, workers=options.workers, told=progress.tell
        )
    _report(mined, settings, folder, options.arguments)


class _Progress:
    """A bar for each stage, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._stage = ""

    def tell(self, stage: str, done: int, count: int) -> None:
        """Show how far a stage is."""
        if self._bar is None or stage != self._stage:
            self.close()
            self._bar = tqdm(total=count, desc=stage, unit="episode", disable=None)
            self._stage = stage
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _report(
    mined: MinedActions, settings: MiningSettings, folder: Path, arguments: Sequence[str]
) -> None:
    """Write and print what was mined."""
    actions = replace(mined.chosen, provenance=_provenance(mined, settings, arguments))
    choice = mined.choice
    sizes = np.arange(1, len(choice.numbers) + 1)
    curve = {
        "actions": sizes,
        "coverage": choice.coverage,
        "coverage_elsewhere": mined.elsewhere,
        "among_best": choice.among_best,
    }
    about = {
        "action": sizes - 1,
        "text": np.array(actions.texts),
        "adds": np.diff(choice.coverage, prepend=0.0),
        "among_best": mined.times_best,
        "protecting": mined.times_protecting,
        "missed_without": mined.missed,
    }
    write_set(folder / "actions.json", actions)
    for name, columns in (("coverage.csv", curve), ("actions.csv", about)):
        with atomic_write(folder / name) as file:
            file.write(_as_csv(columns).encode())
    curves = choice.coverage, mined.elsewhere, choice.among_best
    always = mined.candidates.wiring.num_lines + 1
    write_plot(folder / "coverage.png", lambda axes: draw_coverage(axes, *curves, always=always))
    counts = ", ".join(f"{count} {kind}" for kind, count in mined.counts().items())
    print(
        f"{len(mined.kind)} cases ({counts}) in {mined.steps} steps; {mined.hopeless} stressed "
        f"states that no candidate relieves. {mined.splits} splits were looked at in "
        f"{mined.screened} other cases; {len(mined.candidates)} candidates."
    )
    shown = [size for size in _SHOWN_SIZES if size < len(sizes)] + [len(sizes)]
    rows = np.array([size for size in shown if size > mined.candidates.wiring.num_lines]) - 1
    print(
        markdown(
            [
                ["actions", *map(str, sizes[rows])],
                ["coverage", *_three_digits(choice.coverage[rows])],
                ["of cases not chosen on", *_three_digits(mined.elsewhere[rows])],
                ["cases with one of the best", *_three_digits(choice.among_best[rows])],
            ]
        )
    )
    redundant = int((mined.missed[always:] == 0).sum())
    print(f"{redundant} chosen actions are redundant: without one of them nothing is lost.")
    print(f"Written to {folder}: actions.json, coverage.csv, coverage.png, actions.csv")


def _three_digits(values: np.ndarray) -> list[str]:
    return [f"{value:.3f}" for value in values]


def _as_csv(columns: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{one:.6g}" if isinstance(one, np.floating) else one for one in row])
    return text.getvalue()


def _provenance(
    mined: MinedActions, settings: MiningSettings, arguments: Sequence[str]
) -> dict[str, Any]:
    episodes = settings.episodes
    return {
        "command": shlex.join(["powergrid-actions", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: package_version(name) for name in ("grid2op", "lightsim2grid", PACKAGE)},
        "grids": list(episodes.grids),
        "scenarios": f"{episodes.scenarios}, {episodes.split}, first {episodes.until:g} of each",
        "seed": episodes.seed,
        "screened": {"cases": mined.screened, "splits": mined.splits},
        "scored": {"cases": mined.counts(), "candidates": len(mined.candidates)},
        "coverage": {
            "of these cases": round(float(mined.choice.coverage[-1]), 4),
            "of cases not chosen on": round(float(mined.elsewhere[-1]), 4),
        },
    }
