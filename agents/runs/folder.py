"""``RunFolder``: the folder of a run, which alone resumes it.

config.yaml      resolved configuration
run.json         command line, chosen options, versions
actions-*        action sets that were given as files
metrics.csv      figures of the training, histograms.csv beside it
checkpoints/     latest, the one before, best
evaluation.*     final evaluation, JSON and CSV
train.log        what the commands printed
"""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from agents.runs.action_sets import find_action_sets, keep_action_sets
from agents.runs.checkpoints import CheckpointFolder
from agents.runs.files import atomic_write, naming, sweep
from agents.runs.older_configs import of_today
from agents.runs.output_folders import only_writer, output_folder
from agents.runs.paths import as_argument

CONFIG = "config.yaml"
PROVENANCE = "run.json"
RUNS = Path("runs")  # where commands put what they write, unless they are told

_KEYS = ("name", "seed", "trainer", "evaluation", "env", "agent", "logger")  # of every run
_PACKAGES = ("powergrid-muzero", "grid2op", "lightsim2grid", "gymnasium", "numpy", "torch")


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        """Use ``path``; ``open_existing`` checks it."""
        self.path = path

    @classmethod
    @contextmanager
    def create(
        cls,
        asked: Path | None,
        config: Mapping[str, Any],
        *,
        command: Sequence[str] = (),
        choices: Mapping[str, str | None] | None = None,
    ) -> Iterator[RunFolder]:
        """Make the folder of a new run, write down its configuration, and be its only writer.

        Args:
            asked: absent or empty; None for a new one, ``runs/NAME/DATE_TIME``.
            config: resolved, plain Python, with the run's ``name``.
            command: the command line, to be kept.
            choices: config group -> the option that was chosen, to be kept.

        Raises:
            ValueError: there is a run in it already, an action set is not there any more, or see
                ``output_folder``.
        """
        if asked is not None and (asked / CONFIG).is_file():
            raise ValueError(
                f"folder {asked} is not empty. Name another with folder=..., or continue the run "
                f"in it with {as_argument('resume', asked)}"
            )
        with output_folder(asked, parent=RUNS / config["name"]) as path:
            with atomic_write(path / PROVENANCE) as file:
                provenance = {**_provenance(command), "choices": _own(choices or {})}
                file.write((json.dumps(provenance, indent=2) + "\n").encode())
            kept = keep_action_sets(dict(config), path)
            with atomic_write(path / CONFIG) as file:
                text = yaml.safe_dump(kept, sort_keys=False, explicit_start=True, explicit_end=True)
                file.write(text.encode())
            yield cls(path)

    @contextmanager
    def resume(self) -> Iterator[RunFolder]:
        """Be the only writer of a run that was begun before; remove what a kill left half-written.

        Raises:
            ValueError: another process writes to it.
        """
        with only_writer(self.path):
            for folder in (self.path, self.checkpoints.folder):
                sweep(folder)
            yield self

    @classmethod
    def open_existing(cls, path: Path) -> RunFolder:
        """Open the folder of a run that was begun before.

        Raises:
            ValueError: it is no run's folder.
        """
        if not (path / CONFIG).is_file():
            what = "does not exist"
            if path.exists():
                what = f"holds no {CONFIG}" if path.is_dir() else "is a file"
            raise ValueError(f"{path} is not the folder of a run: it {what}.")
        return cls(path)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def agent_option(self) -> str | None:
        """The option of the config group ``agent`` that was trained; None in older runs."""
        try:
            return json.loads((self.path / PROVENANCE).read_text("utf-8"))["choices"]["agent"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def load_config(self) -> dict[str, Any]:
        """Return the resolved configuration that the run was begun with.

        Raises:
            ValueError: the file or an action set is damaged, or it turns on what this release does
                not have.
        """
        path = self.path / CONFIG
        try:
            text = path.read_text(encoding="utf-8")
            config = yaml.safe_load(text)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            problem = " ".join(str(error).split())
            raise ValueError(f"{path} is not readable as YAML: {problem}") from error
        if not isinstance(config, dict):
            raise ValueError(f"{path} is not the configuration of a run.")
        missing = [key for key in _KEYS if key not in config]
        if missing or (text.startswith("---") and not text.rstrip().endswith("...")):
            what = (
                f"it lacks {', '.join(missing)}" if missing else "its last line, '...', is absent"
            )
            raise ValueError(f"{path} is cut short: {what}. Copy it again from where it is whole.")
        try:
            return find_action_sets(of_today(config), self.path)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class _LogFile(logging.FileHandler):
    """A log file that cannot be written, as on a full disk, ends the command in one line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what ``emit`` caught."""
        error = sys.exception()
        if not isinstance(error, OSError):
            return super().handleError(record)
        with naming(Path(self.baseFilename)):
            raise error

    def close(self) -> None:
        """Write what is still to be written."""
        with naming(Path(self.baseFilename)):
            super().close()


def attach_log_file(path: Path) -> logging.Handler:
    """Let everything that is logged go to ``path`` too; the caller removes the handler."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


def _own(choices: Mapping[str, str | None]) -> dict[str, str | None]:
    """Leave out Hydra's own groups."""
    return {group: one for group, one in choices.items() if not group.startswith("hydra/")}


def _provenance(command: Sequence[str]) -> dict[str, Any]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = None
    return {
        "command": list(command),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions,
    }
