"""Importing where nothing usual can be written, and after a change of compiled code."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import pytest
from numba.core.dispatcher import Dispatcher

from powergrid_muzero import process_setup
from tests.conftest import ROOT
from tests.unprivileged import bound_by_permissions

_NOTEBOOK = "module://matplotlib_inline.backend_inline"
_IMPORT = """
import os

import envs
import matplotlib

envs.PowerGridVectorEnv  # compiles

for found in (envs.__file__, matplotlib.get_cachedir(), os.environ["MPLBACKEND"]):
    print(found)
"""


def test_a_read_only_installation_without_home_and_backend_imports(tmp_path: Path) -> None:
    site, home, temporary = tmp_path / "site", tmp_path / "home", tmp_path / "temporary"
    for package in ("envs", "powergrid_muzero"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, site / package, ignore=ignored)
    home.mkdir()
    temporary.mkdir()
    for folder, names, files in (*os.walk(site), *os.walk(home)):
        for name in (".", *names, *files):
            path = Path(folder) / name
            path.chmod(path.stat().st_mode & ~0o222)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(site),
        "HOME": str(home),
        "NUMBA_CACHE_DIR": str(home / "numba"),
        "MPLBACKEND": _NOTEBOOK,
        "TMPDIR": str(temporary),
    }
    ended = subprocess.run(
        [*bound_by_permissions(), sys.executable, "-c", _IMPORT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""  # nothing to say either
    own = temporary / f"powergrid-muzero-{os.getuid()}"
    assert ended.stdout.splitlines() == [
        str(site / "envs" / "__init__.py"),
        str(own / "matplotlib"),
        "agg" if importlib.util.find_spec("matplotlib_inline") is None else _NOTEBOOK,
    ]
    assert own.stat().st_mode & 0o777 == 0o700
    assert list(own.glob("numba/grid_*"))


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = process_setup._own_folder()
    assert own.parent == tmp_path
    assert process_setup._own_folder() == own  # found again
    own.chmod(0o777)  # what numba caches there is run
    assert process_setup._own_folder() != own
    own.rmdir()
    own.symlink_to(tmp_path, target_is_directory=True)
    assert process_setup._own_folder() != own


def test_a_library_keeps_a_folder_that_it_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("LIBRARY_DIR", raising=False)
    monkeypatch.setenv("BASE_DIR", str(tmp_path / "usual"))

    def ensure() -> str | None:
        process_setup.ensure_writable("LIBRARY_DIR", "BASE_DIR", "~/.cache", name="library")
        return os.environ.get("LIBRARY_DIR")

    assert ensure() is None
    monkeypatch.setenv("LIBRARY_DIR", str(tmp_path / "asked" / "for"))
    assert ensure() == str(tmp_path / "asked" / "for")
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIBRARY_DIR", str(tmp_path / "file" / "for"))
    assert ensure() == str(process_setup._own_folder() / "library")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("module://of.mine", "module://of.mine"), ("other", "agg")],
)
def test_a_backend_is_kept_where_it_exists(
    wanted: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", wanted)
    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")
    process_setup._choose_backend()
    assert os.environ["MPLBACKEND"] == chosen
    assert matplotlib.rcParams["backend"] == chosen


def test_a_change_of_compiled_code_reaches_what_it_was_compiled_into(tmp_path: Path) -> None:
    package = tmp_path / "compiled"
    package.mkdir()
    (package / "__init__.py").touch()
    inner, outer = package / "inner.py", package / "outer.py"
    decorated = (
        "import numba\n{imports}\n\n@numba.njit(cache=True)\ndef {name}():\n    return {value}\n"
    )
    inner.write_text(decorated.format(imports="", name="one", value=1))
    outer.write_text(
        decorated.format(imports="from compiled.inner import one", name="two", value="one() + 1")
    )
    code = (
        "from pathlib import Path; from powergrid_muzero.process_setup import forget_stale_code;"
        f"forget_stale_code(Path({str(package)!r})); from compiled.outer import two; print(two())"
    )

    def played() -> str:
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": paths}
        environment.pop("NUMBA_CACHE_DIR", None)
        run = [sys.executable, "-c", code]
        return subprocess.run(run, env=environment, capture_output=True, text=True).stdout.strip()

    assert played() == "2"
    (index,) = package.glob("__pycache__/outer.*.nbi")
    before = index.stat().st_mtime_ns
    assert played() == "2"
    assert index.stat().st_mtime_ns == before  # nothing was compiled again
    inner.write_text(decorated.format(imports="", name="one", value=10))
    assert played() == "11"


def test_functions_are_compiled_into_those_of_their_folder_alone() -> None:
    found = 0
    for package in ("agents", "envs"):
        for path in (ROOT / package).rglob("*.py"):
            if "njit" not in path.read_text():
                continue
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            known = [module, *(value for value in vars(module).values() if inspect.ismodule(value))]
            for one in known:
                for value in vars(one).values():
                    if isinstance(value, Dispatcher):
                        home = Path(inspect.getfile(value.py_func)).resolve().parent
                        ours = home.is_relative_to(ROOT) and "site-packages" not in home.parts
                        assert not ours or home == path.parent, (path, value)
                        found += 1
    assert found > 20
