"""Logs metrics to Weights & Biases; offline unless asked."""

from __future__ import annotations

import logging
import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlparse

import numpy as np

from agents.runs.loggers.base import RunInfo, RunLogger
from powergrid_muzero.names import choose
from powergrid_muzero.process_setup import ensure_writable

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

MODES = ("offline", "online", "disabled")

_FORMER: Mapping[str, Any] = {"dryrun": "offline", "run": "online", "": "offline"}  # in WANDB_MODE

_ID_FILE = "wandb_id.txt"
_NETRC = ("~/.netrc", "~/_netrc")
_MAX_BINS = 512  # W&B's own limit

_log = logging.getLogger(__name__)


class WandbLogger(RunLogger):
    """Writes a W&B run; ``env_steps`` is the axis of every metric.

    The summary of ``val/score`` is its maximum. The best weights, results and the report are
    artifacts of the run, named after it.

    Offline runs lie in ``wandb/`` in the run folder; ``wandb sync`` uploads them later. A resumed
    run keeps its id. In a W&B sweep the id and project are the sweep's.
    """

    def __init__(
        self,
        *,
        run: RunInfo,
        mode: Literal["offline", "online", "disabled"] = "offline",
        project: str = "powergrid-muzero",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """Begin or continue the W&B run with the first that is logged.

        Args:
            run: what is logged.
            mode: "offline", "online" (needs a key) or "disabled"; also "dryrun" and "run", as W&B
                called the first two before.
            project: W&B project.
            entity: W&B user or team, None for the account's own.
            group: W&B group of runs.
            tags: W&B tags.
        """
        self.preflight(mode=mode)
        self._mode: Literal["offline", "online", "disabled"] = _FORMER.get(mode, mode)
        in_shell = os.environ.get("WANDB_MODE", mode)
        if _FORMER.get(in_shell, in_shell) != self._mode:
            _log.warning("logger.mode=%s is used, not WANDB_MODE=%s of the shell", mode, in_shell)
        self._info = run
        self._options = {"project": project, "entity": entity, "group": group, "tags": list(tags)}
        self._opened: Run | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what it would open a W&B run with.

        Raises:
            TypeError: it has opened one.
        """
        if self._opened is not None:
            raise TypeError(
                "this logger has a W&B run open, which cannot be copied or pickled: send the "
                "metrics to the process that has it, or make the copy before the first row"
            )
        return dict(vars(self))

    @property
    def _run(self) -> Run:
        """The W&B run, opened when it is first needed: a refused resume leaves it as it was."""
        if self._opened is None:
            # wandb takes our package `agents` for another one and would advertise a tool for it
            os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
            import wandb  # takes a second, which other loggers can do without

            ensure_writable("WANDB_CACHE_DIR", "XDG_CACHE_HOME", "~/.cache", name="wandb")
            ensure_writable("WANDB_CONFIG_DIR", "XDG_CONFIG_HOME", "~/.config", name="wandb")
            ensure_writable("WANDB_DATA_DIR", "XDG_DATA_HOME", "~/.local/share", name="wandb")
            run, options = self._info, dict(self._options)
            in_sweep = "WANDB_SWEEP_ID" in os.environ
            if in_sweep:
                options.update(project=None, entity=None)
            self._opened = wandb.init(
                id=None if in_sweep else _run_id(run),
                resume=None if in_sweep or self._mode != "online" else "allow",
                name=run.folder.name,
                job_type=run.job,
                dir=str(run.folder.absolute()),  # its service keeps the folder it started in
                config=dict(run.config),
                mode=self._mode,
                settings=wandb.Settings(silent=True, console="off"),
                **options,
            )
            self._opened.define_metric("env_steps")
            self._opened.define_metric("*", step_metric="env_steps")
            self._opened.define_metric("val/score", step_metric="env_steps", summary="max")
        return self._opened

    @classmethod
    def preflight(cls, *, mode: str = "offline", **_: object) -> None:
        """Refuse an unknown mode, or online without a key, before anything is written.

        Raises:
            ValueError: see above.
        """
        if _FORMER.get(mode, mode) not in MODES:
            choose("logger.mode (or WANDB_MODE)", mode, MODES)
        if _FORMER.get(mode, mode) == "online" and not _has_key():
            raise ValueError(
                "logger.mode=online needs a W&B key, and there is none. Run `wandb login`, set "
                "WANDB_API_KEY, or leave logger.mode=offline and upload later with `wandb sync`."
            )

    def log(self, metrics: Mapping[str, float], *, env_steps: int) -> None:
        """See ``RunLogger``."""
        self._run.log({**metrics, "env_steps": env_steps})

    def log_histogram(self, name: str, counts: np.ndarray, *, env_steps: int) -> None:
        """See ``RunLogger``. More than 512 bins are joined with their neighbours."""
        counts = np.asarray(counts)
        width = -(-len(counts) // _MAX_BINS)
        starts = np.arange(0, len(counts), width)
        joined = np.add.reduceat(counts, starts)
        edges = np.append(starts, len(counts))
        import wandb

        histogram = wandb.Histogram(np_histogram=(joined, edges))
        self._run.log({name: histogram, "env_steps": env_steps})

    def log_animation(self, name: str, path: Path, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        import wandb

        self._run.log({name: wandb.Video(str(path), format="gif"), "env_steps": env_steps})

    def log_image(self, name: str, path: Path, *, env_steps: int) -> None:
        """See ``RunLogger``."""
        import wandb

        self._run.log({name: wandb.Image(str(path)), "env_steps": env_steps})

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, env_steps: int
    ) -> None:
        """See ``RunLogger``."""
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: table, "env_steps": env_steps})

    def keep_files(self, name: str, paths: Sequence[Path], *, kind: str) -> None:
        """See ``RunLogger``. They are an artifact of that type, ``run-ID-NAME``."""
        import wandb

        run = self._run
        artifact = wandb.Artifact(f"run-{run.id}-{name}", type=kind)
        for path in paths:
            artifact.add_file(str(path), name=path.name)
        run.log_artifact(artifact)

    def close(self, *, failed: bool = False) -> None:
        """See ``RunLogger``."""
        if self._opened is not None:
            self._opened.finish(exit_code=1 if failed else 0)


def _has_key() -> bool:
    """Say whether wandb will find a key where it looks: environment, then netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    named = os.environ.get("NETRC")
    candidates = [Path(os.path.expanduser(one)) for one in ([named] if named else _NETRC)]
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in candidates:
        if path.is_file():
            try:
                return netrc.netrc(str(path)).authenticators(host) is not None
            except netrc.NetrcParseError as error:
                raise ValueError(f"the W&B key cannot be read from {path}: {error}") from error
    return False


def _run_id(run: RunInfo) -> str:
    """Return the id kept in the run folder, made on the first call."""
    path = run.folder / _ID_FILE
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    name = secrets.token_hex(4)
    path.write_text(name + "\n", encoding="utf-8")
    return name
