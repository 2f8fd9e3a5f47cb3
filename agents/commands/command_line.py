"""Runs a command: exit codes, one-line errors, other packages' configuration.

Exit codes: 0 done, 1 the machine failed (disk full, a dead worker), 2 the user's mistake (one line
on stderr), 130 Ctrl-C, SIGTERM or a lost terminal, 141 nobody reads the output any more (as with
``| head``; it is what a shell says of SIGPIPE). ``HYDRA_FULL_ERROR=1`` shows the traceback of an
error.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import math
import os
import re
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TextIO

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from agents.commands.multirun import JobFailedError, JobNote, MultirunFolder, read_jobs
from agents.configuration.arguments import for_hydra
from agents.configuration.composed import check_single, typed_overrides
from agents.configuration.extensions import find_extensions
from agents.configuration.override_errors import NO_OPTION, explain
from agents.runs.interrupt import end_as_by_interrupt
from agents.runs.paths import given_path
from powergrid_muzero import PACKAGES, ShadowedPackageError, check_own_packages
from powergrid_muzero.names import choose

_FULL_ERROR = "HYDRA_FULL_ERROR"
_READER_GONE = 128 + 13  # SIGPIPE
_NO_SLURM = 'Could not detect "srun"'  # what submitit says before it has started anything

Task = Callable[[DictConfig, Callable[[Path], None]], Any]


def run_command(task: Task, config_name: str) -> None:
    """Run ``task`` with the configuration that the command line describes; end the process.

    Args:
        task: gets the composed configuration, and a function that is told the run's folder.
        config_name: primary configuration in ``conf/``.
    """

    def run() -> None:
        find_extensions()
        _check_flags(sys.argv[1:], f"powergrid-{config_name}")
        sys.argv[1:] = _with_own_folder(for_hydra(sys.argv[1:]))
        try:
            _run_hydra(task, config_name)
        except (HydraException, ValueError) as error:
            of_hydra = isinstance(error, HydraException) or NO_OPTION in str(error)
            if _wants_traceback() or not of_hydra:
                raise
            _say(explain(error, config_name, sys.argv[1:]))
            sys.exit(2)

    run_guarded(run)


def run_guarded(task: Callable[[], None]) -> None:
    """Run ``task``; what goes wrong becomes one line on stderr and an exit code.

    Args:
        task: all of a command, or of a subcommand without Hydra.
    """
    show_traceback = _wants_traceback()
    end_as_by_interrupt()
    atexit.register(gc.freeze)  # the interpreter would look through all objects again at its end
    try:
        try:
            check_own_packages(*PACKAGES)
            task()
        finally:
            _flush_output()
    except KeyboardInterrupt as interrupt:
        _say(str(interrupt) or "interrupted.")
        sys.exit(130)
    except (ValueError, OmegaConfBaseException, ShadowedPackageError) as error:
        if show_traceback:
            raise
        _say(str(error))
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads(sys.stdout):
            sys.exit(_READER_GONE)
        if show_traceback:
            raise
        _say(str(error))
        sys.exit(1)


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, where ``run_guarded`` runs it, with the nearest option."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse; nothing is left over.

        Raises:
            ValueError: an unknown option, named with the nearest one, or another mistake.
        """
        found, unknown = super().parse_known_args(args, namespace)
        for one in unknown:
            if one.startswith("-"):
                choose("option", one.partition("=")[0], self._option_string_actions)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise ValueError."""
        raise ValueError(f"{message.rstrip('.')}. See {self.prog} --help")


def path_argument(text: str) -> Path:
    """Return the path that an argument of a ``OneLineParser`` names (its ``type``)."""
    try:
        return given_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(least: int, *, below: int | None = None) -> Callable[[str], int]:
    """Return the ``type`` of an argument of a ``OneLineParser`` that is a whole number.

    Args:
        least: the smallest.
        below: what it must be less than; None for no limit.
    """
    limit = "" if below is None else f" and below {below}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (below is not None and number >= below):
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected a whole number of at least {least}{limit}"
            )
        return number

    return read


def positive_number(text: str) -> float:
    """Return the number above 0 that an argument of a ``OneLineParser`` is (its ``type``)."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a finite number above 0")
    return number


def _flush_output() -> None:
    """Write out what was printed, here and not at the interpreter's end, where errors are ignored.

    Raises:
        SystemExit: nobody reads it any more.
        OSError: it cannot be written for another reason, as on a full disk.
    """
    if sys.stdout is None:  # closed by whoever started the command
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter tries once more at its end
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            sys.exit(_READER_GONE)
        raise


def _nobody_reads(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe that was closed at its other end."""
    if stream is None or not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _wants_traceback() -> bool:
    return os.environ.get(_FULL_ERROR, "0") not in ("", "0")


class _CarriedError(BaseException):
    """Carries an exception past Hydra, which would print more than one line of it."""


class _JobsFailedError(ValueError):
    """Some jobs of a --multirun failed, and were told of when they did."""


def _run_hydra(task: Task, config_name: str) -> None:
    """Run Hydra so that exceptions come through as they are.

    Of a --multirun all jobs run: one that fails is told of at once, and counted at the end.
    """
    program, given = sys.argv[0], sys.argv[1:]
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    if not any(one.startswith("-") or "hydra.mode" in one for one in given):
        sys.argv[1:1] = ["--run"]  # else Hydra composes once more, to look for a mode

    def guarded(config: DictConfig) -> Any:  # goes to other processes, where a launcher has them
        sys.argv[:] = [program, *given]
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            try:
                check_single(typed_overrides())
                return task(config, lambda folder: None)
            except Exception as error:
                raise _CarriedError from error
        return _run_job(task, config, started)

    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"  # else Hydra prints and exits by itself
    MultirunFolder.path = None
    try:
        hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(guarded)()
    except _CarriedError as failure:
        assert failure.__cause__ is not None
        raise failure.__cause__ from None
    except Exception as error:
        _tell_multirun(started, error)
        if str(error).startswith(_NO_SLURM):
            raise ValueError(
                "SLURM is not here: there is no srun. Start the sweep on a node of the cluster."
            ) from error
        raise
    else:
        _tell_multirun(started)
    finally:
        sys.argv[1:] = given
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


def _run_job(task: Task, config: DictConfig, started: str) -> Any:
    """Run a job of a --multirun, in whatever process."""
    hydra_config, typed = HydraConfig.get(), typed_overrides()
    number = hydra_config.job.num
    multirun = Path(hydra_config.sweep.dir)
    note = JobNote(multirun, started=started, number=number, overrides=typed)
    try:
        score = task(config, note.folder)
    except Exception as error:
        told = str(error) or type(error).__name__
        note.end(error=told)
        _say(f"job {number} ({' '.join(typed)}): {told}")
        raise JobFailedError(told) from error
    note.end(score=score)
    return score


def _tell_multirun(started: str, error: Exception | None = None) -> None:
    """Say how the table of a --multirun's jobs is printed, and that some of them failed.

    Raises:
        _JobsFailedError: some did.
    """
    if MultirunFolder.path is None:
        return
    jobs = read_jobs(MultirunFolder.path, started=started)
    if jobs:
        folder = shlex.quote(str(MultirunFolder.path))
        print(f"Table of the runs: powergrid-evaluate compare {folder}")
    failed = sum(job.error is not None for job in jobs)
    if failed:
        raise _JobsFailedError(f"{failed} of {len(jobs)} jobs failed.") from error


def _check_flags(arguments: Sequence[str], command: str) -> None:
    """Refuse a flag that Hydra does not have, before it prints its usage.

    Raises:
        ValueError: it is unknown, or wants another value.
    """
    flags = [one for one in arguments if one != "--version"]  # which prints, and ends the process
    OneLineParser(prog=command, parents=[get_args_parser()], add_help=False).parse_args(flags)


def _with_own_folder(arguments: Sequence[str]) -> list[str]:
    """Read ``hydra.run.dir=X`` as ``folder=X``: Hydra would make X even for a wrong command."""
    if {"--multirun", "-m"} & set(arguments):  # where Hydra does not use it
        return list(arguments)
    return [re.sub(r"^\+{0,2}hydra\.run\.dir=", "folder=", one) for one in arguments]


def _say(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr)
