"""What every test needs: one thread, no network, no files outside the test's own folder."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before torch and numpy start their pools
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["WANDB_CONSOLE"] = "off"  # it would go on writing to the stdout of a test that is over
os.environ["MPLBACKEND"] = "agg"

import pytest  # noqa: E402
import torch  # noqa: E402

from tests.memories import remember_compositions, remembering_file  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def skip_without(lacking: str) -> None:
    """Skip a test for something that this machine lacks; under CI, which must have it, fail.

    Args:
        lacking: what, and how to get it; "" if nothing is lacking.
    """
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)


# Begun first, so that at the end no process is left alone with one of them.
LONGEST = (
    "tests/envs/test_vector_equality.py",
    "tests/test_extending.py",
    "tests/agents/test_planners.py",
    "tests/agents/test_wrong_values.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take longest first; with -n, add --no-loadscope-reorder."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def files_parsed_once() -> Iterator[None]:
    """Parse each file of a grid once a session; that is four fifths of opening a grid."""
    with pytest.MonkeyPatch.context() as patch:
        if pandapower := sys.modules.get("pandapower"):  # slow to import: only where it is anyway
            patch.setattr(pandapower, "from_json", remembering_file(pandapower.from_json))
        yield


@pytest.fixture(scope="session", autouse=True)
def groups_composed_once() -> Iterator[None]:
    """Compose each choice of conf/'s groups once a session, and set values in copies of it."""
    with pytest.MonkeyPatch.context() as patch:
        remember_compositions(patch)
        yield


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty present folder, so that nothing a command writes lands in the checkout."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
