"""Reads and writes results: one strict JSON document, and CSV with one row per episode."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from agents.evaluation.records import EpisodeRecord, EvaluationResult
from agents.evaluation.statistics import summarize
from agents.runs.files import atomic_write
from agents.runs.json_records import parse_object, read_record

SCHEMA_VERSION = 3  # goes up when a field changes; 2 had no attacks
NAME = "evaluation"  # of the files, without a suffix


def result_paths(folder: Path, *, name: str = NAME) -> tuple[Path, Path]:
    """Return the JSON and CSV files of the results in a folder, see ``write_results``."""
    return folder / f"{name}.json", folder / f"{name}.csv"


def write_results(
    folder: Path, results: Sequence[EvaluationResult], *, name: str = NAME
) -> tuple[Path, Path]:
    """Write ``name.json`` (everything) and ``name.csv`` (one row per episode) whole or not at all.

    Args:
        folder: an existing folder.
        results: one per agent.
        name: of both files, without a suffix.

    Returns:
        The paths of the JSON and CSV files.
    """
    json_path, csv_path = result_paths(folder, name=name)
    for path, text in ((json_path, to_json(results)), (csv_path, to_csv(results))):
        with atomic_write(path) as file:
            file.write(text.encode())
    return json_path, csv_path


def to_json(results: Sequence[EvaluationResult]) -> str:
    """Return the results as a JSON document, an episode a line.

    Beside what ``EvaluationResult`` holds there are, for people and other programs, the protocol's
    hash and a summary: metric -> [mean, low, high], the latter of its 95 % bootstrap interval.
    """
    parts = []
    for result in results:
        record = asdict(result)
        episodes = ",\n    ".join(json.dumps(episode) for episode in record.pop("episodes"))
        entries = {
            "agent": record.pop("agent"),
            "protocol_sha256": result.protocol.sha256,
            "summary": summarize(result),
            **record,
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items()]
        lines.append(f'"episodes": [\n    {episodes}\n   ]')
        parts.append("{" + ",\n   ".join(lines) + "}")
    joined = ",\n  ".join(parts)
    return f'{{"schema": {SCHEMA_VERSION},\n "results": [\n  {joined}\n ]}}\n'


def read_results(path: Path) -> tuple[EvaluationResult, ...]:
    """Return the results in a file that ``write_results`` wrote.

    Args:
        path: the JSON file, or the folder with ``evaluation.json`` in it.

    Raises:
        ValueError: it is not there, cut short, of another schema, or was changed by hand; one line
            says which.
    """
    if path.is_dir():
        path = path / f"{NAME}.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; name a result's JSON file, or its folder.")
    try:
        return parse_results(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no evaluation result: {error}") from error


def parse_results(text: str) -> tuple[EvaluationResult, ...]:
    """Return the results that ``to_json`` made ``text`` of.

    Raises:
        ValueError: see ``read_results``.
    """
    document = parse_object(text)
    schema = document.get("schema")
    if schema != SCHEMA_VERSION:
        raise ValueError(
            f"its schema is {schema!r}; this version reads {SCHEMA_VERSION}. Evaluate again"
        )
    entries = document.get("results")
    if not isinstance(entries, list) or not entries:
        raise ValueError("it holds no results")
    return tuple(_read(entry, f"results[{number}]") for number, entry in enumerate(entries))


def _read(entry: Any, where: str) -> EvaluationResult:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object")
    derived = ("protocol_sha256", "summary")
    record = {key: value for key, value in entry.items() if key not in derived}
    result = read_record(record, EvaluationResult, where)
    if entry.get("protocol_sha256") != result.protocol.sha256:
        raise ValueError(f"{where}: the protocol is not the one that its hash was made of")
    if not result.episodes:
        raise ValueError(f"{where}: it holds no episodes")
    if len(result.episodes) != result.protocol.episodes:
        raise ValueError(
            f"{where}: it holds {len(result.episodes)} of {result.protocol.episodes} episodes"
        )
    for number, episode in enumerate(result.episodes):
        _refuse_impossible(episode, f"{where}.episodes[{number}]")
    return result


def _refuse_impossible(episode: EpisodeRecord, where: str) -> None:
    """Raise ValueError for figures that no episode has."""
    most = episode.max_steps
    if most is not None and not (most >= 1 and episode.steps <= most):
        raise ValueError(f"{where}: it lasted {episode.steps} of {most} steps")
    if len(episode.actions) != len(episode.action_steps):
        raise ValueError(
            f"{where}: {len(episode.actions)} actions at {len(episode.action_steps)} steps"
        )


def to_csv(results: Sequence[EvaluationResult]) -> str:
    """Return the results as CSV, one row per episode; lists are JSON, incidents their text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [column.name for column in fields(EpisodeRecord)]
    writer.writerow(["agent", "protocol_sha256", *columns])
    for result in results:
        for episode in result.episodes:
            row = asdict(episode)
            writer.writerow(
                [
                    result.agent,
                    result.protocol.short_hash,
                    *(_cell(row[column]) for column in columns),
                ]
            )
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict):  # an incident
        return f"decision {value['decision']}, step {value['step']}: {value['text']}"
    return json.dumps(value) if isinstance(value, (tuple, list)) else value
