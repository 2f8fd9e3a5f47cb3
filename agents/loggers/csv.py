"""Metrics as CSV files in the run folder: always there, whatever else logs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.files import atomic_write
from agents.loggers.base import RunInfo
from agents.loggers.base import RunLogger

METRICS = "metrics.csv"
HISTOGRAMS = "histograms.csv"

_AXIS = "env_steps"
_HISTOGRAM_COLUMNS = (_AXIS, "name", "bin", "count")


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
            _rewrite(self._metrics_path, self._columns, _rows(self._metrics_path))
        with self._metrics_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            writer.writerow({name: _number(value) for name, value in row.items()})

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        if not self._histograms_path.exists():
            _rewrite(self._histograms_path, _HISTOGRAM_COLUMNS, ())
        with self._histograms_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for index in np.flatnonzero(counts):
                writer.writerow([env_steps, name, int(index), _number(counts[index])])


def _number(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _cut(path: Path, env_steps: int) -> list[str]:
    """Drop the rows after ``env_steps`` and any cut short; return the columns."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        rows = [row for row in reader if None not in row.values()]
    _rewrite(path, columns, (row for row in rows if int(row[_AXIS]) <= env_steps))
    return columns


def _rewrite(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
