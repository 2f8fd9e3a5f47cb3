"""Writes metrics to CSV files in the run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from agents.runs.files import atomic_write, naming
from agents.runs.loggers.base import RunInfo, RunLogger

METRICS = "metrics.csv"
HISTOGRAMS = "histograms.csv"

_AXIS = "env_steps"
_HISTOGRAM_COLUMNS = (_AXIS, "name", "bin", "count")
_ADVICE = "Move it away to go on without it."


class CsvLogger(RunLogger):
    """Writes ``metrics.csv`` (a row a call) and ``histograms.csv`` (a row a bin that is not empty).

    A metric not seen before becomes a new column at the right; earlier rows are empty there. On
    resume, rows later than the checkpoint are dropped: they will be written again.
    """

    def __init__(self, *, run: RunInfo) -> None:
        """Open the files in ``run.folder``, cut to ``run.resumed_at`` if resumed."""
        self._metrics_path = run.folder / METRICS
        self._histograms_path = run.folder / HISTOGRAMS
        self._columns: list[str] = [_AXIS]
        if run.resumed_at is not None:
            self._columns = _cut(self._metrics_path, run.resumed_at) or [_AXIS]
            _cut(self._histograms_path, run.resumed_at)

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """See ``RunLogger``."""
        row: dict[str, Any] = {_AXIS: env_steps, **metrics}
        new = [name for name in row if name not in self._columns]
        if new or not self._metrics_path.exists():
            self._columns += new
            _rewrite(self._metrics_path, self._columns, read_log(self._metrics_path)[1])
        with _appending(self._metrics_path) as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            writer.writerow({name: _number(value) for name, value in row.items()})

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        if not self._histograms_path.exists():
            _rewrite(self._histograms_path, _HISTOGRAM_COLUMNS, ())
        with _appending(self._histograms_path) as file:
            writer = csv.writer(file, lineterminator="\n")
            for index in np.flatnonzero(counts):
                writer.writerow([env_steps, name, int(index), _number(counts[index])])


@contextmanager
def _appending(path: Path) -> Iterator[TextIO]:
    with naming(path), path.open("a", newline="", encoding="utf-8") as file:
        yield file


def _number(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def read_log(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and rows of a file that ``CsvLogger`` wrote; none if there is no file.

    A last row that was cut short, by a kill or a full disk, is left out.

    Raises:
        ValueError: it is some other file, or damaged.
    """
    if not path.exists():
        return [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
        columns, rows = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}. {_ADVICE}") from error
    if columns and _AXIS not in columns:
        raise ValueError(f"{path} is damaged: its first line names no column {_AXIS}. {_ADVICE}")
    for row in rows:
        if None in row or None in row.values() or not row[_AXIS].isdecimal():
            raise ValueError(
                f"{path} is damaged: {','.join(map(str, row.values()))[:60]!r} is no row of "
                f"{len(columns)} figures. {_ADVICE}"
            )
    return columns, rows


def logged_until(folder: Path, prefix: str) -> int:
    """Return the env steps of the last row with a metric ``prefix...``; -1 for none.

    Args:
        folder: of the run.
        prefix: of a metric's name.
    """
    _, rows = read_log(folder / METRICS)
    found = (
        int(row[_AXIS])
        for row in rows
        if any(value and name.startswith(prefix) for name, value in row.items())
    )
    return max(found, default=-1)


def best_logged(folder: Path, name: str) -> float | None:
    """Return the largest value of a metric; None where there is none.

    Args:
        folder: of the run.
        name: of the metric.
    """
    _, rows = read_log(folder / METRICS)
    return max((float(row[name]) for row in rows if row.get(name)), default=None)


def _cut(path: Path, env_steps: int) -> list[str]:
    """Drop the rows after ``env_steps``; return the columns."""
    columns, rows = read_log(path)
    if columns:
        _rewrite(path, columns, (row for row in rows if int(row[_AXIS]) <= env_steps))
    return columns


def _rewrite(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
