"""A ``--multirun``: what each of its jobs writes down in its folder, and the table of them all.

Jobs may run in other processes, or on other machines that share the folder: files are all that they
have in common.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from agents.runs.files import atomic_write

JOBS = "jobs"  # in the folder of a multirun: a file for each job


class JobFailedError(Exception):
    """A job of a --multirun failed, and was told of when it did. Goes through ``pickle``."""


class MultirunFolder(Callback):
    """Hydra's callback that tells this process where the folder of its --multirun is."""

    path: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the path; see ``Callback``."""
        MultirunFolder.path = Path(config.hydra.sweep.dir)


class JobNote:
    """The file of a job, written when it begins, when it has made its folder, and when it ends."""

    def __init__(
        self, multirun: Path, *, started: str, number: int, overrides: Sequence[str]
    ) -> None:
        """Write down that the job has begun.

        Args:
            multirun: folder of the multirun.
            started: when the command was, as part of a file's name: a folder may have several.
            number: of the job, from 0 on.
            overrides: of the job, as they were typed.
        """
        folder = multirun / JOBS
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{started}_{number}.json"
        self._entries: dict[str, Any] = {"job": number, "overrides": list(overrides)}
        self._write()

    def folder(self, path: Path) -> None:
        """Note the folder that the job writes to, seen from the file's: both may be moved."""
        self._write(folder=os.path.relpath(path, self._path.parent))

    def end(self, *, score: float | None = None, error: str | None = None) -> None:
        """Note how the job ended.

        Args:
            score: what a sweep makes the most of.
            error: what went wrong.
        """
        self._write(score=score, error=error)

    def _write(self, **entries: Any) -> None:
        self._entries.update(entries)
        with atomic_write(self._path) as file:
            file.write((json.dumps(self._entries, indent=2) + "\n").encode())


class Job(NamedTuple):
    """What is known of a job."""

    number: int
    overrides: dict[str, str]  # key -> value, as they were typed
    folder: Path | None  # that it writes to; None before it is made, and for evaluations
    score: float | None  # None unless it ended well
    error: str | None  # None unless it failed


def is_multirun(path: Path) -> bool:
    """Say whether ``path`` is the folder of a --multirun."""
    return (path / JOBS).is_dir()


def read_jobs(multirun: Path, *, started: str = "") -> list[Job]:
    """Return the jobs of a multirun, by their number.

    Args:
        multirun: its folder.
        started: see ``JobNote``; "" for those of all commands.

    Raises:
        ValueError: a file is damaged.
    """
    jobs = []
    for path in sorted((multirun / JOBS).glob(f"{started}*.json")):
        try:
            entries = json.loads(path.read_text("utf-8"))
            typed = (one.partition("=") for one in entries["overrides"])
            job = Job(
                number=int(entries["job"]),
                overrides={key.lstrip("+"): value for key, _, value in typed},
                folder=path.parent / entries["folder"] if "folder" in entries else None,
                score=entries.get("score"),
                error=entries.get("error"),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: it is not the note of a job.") from error
        jobs.append(job)
    return sorted(jobs, key=lambda job: job.number)


def tabulate(multirun: Path) -> list[list[str]]:
    """Return the table of a multirun's jobs as columns, the best score first.

    Args:
        multirun: its folder.

    Raises:
        ValueError: it holds no jobs, or a file is damaged.
    """
    from agents.evaluation import read_results
    from agents.evaluation.result_files import NAME
    from agents.evaluation.statistics import METRIC, summarize
    from agents.evaluation.tables import heading, mean_text, number
    from agents.runs.loggers.csv import best_logged

    rows = []
    for job in read_jobs(multirun):
        ended = job.folder is not None and (job.folder / f"{NAME}.json").is_file()
        result = read_results(job.folder)[-1] if ended and job.folder else None
        score = job.score
        if score is None and job.folder is not None:
            score = best_logged(job.folder, "val/score")
        rows.append((job, score, result))
    if not rows:
        raise ValueError(f"{multirun / JOBS} holds no jobs.")
    rows.sort(key=lambda row: float("-inf") if row[1] is None else row[1], reverse=True)

    jobs = [job for job, _, _ in rows]
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    columns = [["job", *(str(job.number) for job in jobs)]]
    for key in keys:
        cells = [job.overrides.get(key, "-") for job in jobs]
        if len(set(cells)) > 1:
            columns.append([key, *cells])
    columns.append(["score", *("-" if score is None else number(score, 3) for _, score, _ in rows)])
    results = [result for _, _, result in rows if result is not None]
    summaries = [None if result is None else summarize(result) for _, _, result in rows]
    for name in ("steps_percent", "completed_percent", "reward", "decisions", "actions"):
        found = [None if one is None else one.get(name) for one in summaries]
        if any(found):
            cells = [mean_text(METRIC[name], one) for one in found]
            columns.append([f"final {heading(METRIC[name], results)}", *cells])
    columns.append(["run", *(_outcome(job) for job in jobs)])
    return columns


def to_csv(columns: Sequence[Sequence[str]]) -> str:
    """Return columns, each a heading and its cells, as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


def _outcome(job: Job) -> str:
    where = "" if job.folder is None else os.path.relpath(job.folder)
    if job.error is not None:
        return f"{where} failed: {' '.join(job.error.split())}".strip()
    return where if job.score is not None else f"{where} not ended".strip()
