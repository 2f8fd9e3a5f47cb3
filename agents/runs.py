"""A run is a folder: config, metrics, checkpoints, logs. The folder alone resumes the run.

config.yaml      resolved configuration
run.json         command line, versions
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
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from agents.checkpoints import CheckpointFolder
from agents.files import atomic_write
from agents.saved_configs import with_present_names

CONFIG = "config.yaml"

_PACKAGES = ("powergrid-muzero", "grid2op", "lightsim2grid", "gymnasium", "numpy", "torch")


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        """Use ``path``; ``create`` or ``open_existing`` check it."""
        self.path = path

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a folder that a new run must not be written to.

        Raises:
            ValueError: it is a file, or a folder with something in it.
        """
        if path.exists() and not path.is_dir():
            raise ValueError(f"run folder {path} is a file. Name another with folder=...")
        if path.is_dir() and any(path.iterdir()):
            raise ValueError(
                f"run folder {path} is not empty. Name another with folder=..., or continue the "
                f"run in it with resume={path}"
            )

    @classmethod
    def create(
        cls, path: Path, config: Mapping[str, Any], *, command: Sequence[str] = ()
    ) -> RunFolder:
        """Make the folder of a new run and write down its configuration.

        Args:
            path: absent or empty.
            config: resolved, plain Python.
            command: the command line, to be kept.

        Raises:
            ValueError: see ``check_free``.
        """
        cls.check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        with atomic_write(path / "run.json") as file:
            file.write((json.dumps(_provenance(command), indent=2) + "\n").encode())
        with atomic_write(path / CONFIG) as file:
            file.write(yaml.safe_dump(dict(config), sort_keys=False).encode())
        return run

    @classmethod
    def open_existing(cls, path: Path) -> RunFolder:
        """Open the folder of a run that was begun before.

        Raises:
            ValueError: it is no run's folder.
        """
        if not (path / CONFIG).is_file():
            what = "holds no " + CONFIG if path.is_dir() else "does not exist"
            raise ValueError(f"{path} is not the folder of a run: it {what}.")
        return cls(path)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The run's checkpoints."""
        return CheckpointFolder(self.path / "checkpoints")

    def load_config(self) -> dict[str, Any]:
        """Return the resolved configuration that the run was begun with.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.path / CONFIG
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            problem = " ".join(str(error).split())
            raise ValueError(f"{path} is not readable as YAML: {problem}") from error
        if not isinstance(config, dict):
            raise ValueError(f"{path} is not the configuration of a run.")
        return with_present_names(config)


def new_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name/DATE_TIME``, with a number added if that exists already."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = parent / name / stamp
    number = 1
    while path.exists():
        number += 1
        path = parent / name / f"{stamp}_{number}"
    return path


def attach_log_file(path: Path) -> logging.Handler:
    """Let everything that is logged go to ``path`` too; the caller removes the handler."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


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
