"""The sdist and the wheel: what is in them, and that they work from elsewhere; the version."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
_KINDS = {".py", ".pyi", ".yaml", ".pt", ".html", ".css", ".js", ".json"}  # .pt: weights that ship
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", name)[0]).lower()


def tracked() -> set[str]:
    """The files that git tracks, and those that it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return {name for name in filter(None, listed) if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked; built from a copy, so that nothing lands in the checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone: git says what belongs to the project")
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    compiled = source / "tests" / "__pycache__" / "test_packaging.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    build = "from setuptools.build_meta import build_sdist; build_sdist('dist')"  # as build does
    (source / "dist").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(source / "unpacked", filter="data")
    (folder,) = (source / "unpacked").iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, as what is released is."""
    source = tmp_path_factory.mktemp("sdist") / "source"
    shutil.copytree(sdist, source)
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
        + ["--no-build-isolation", "--wheel-dir", str(built), str(source)],
        check=True,
        capture_output=True,
    )
    (path,) = built.glob("*.whl")
    return path


def test_the_sdist_holds_what_is_built_and_tested_and_nothing_else(sdist: Path) -> None:
    assert sdist.name == f"powergrid_muzero-{PROJECT['version']}"
    names = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    made = {name for name in names if name.startswith("powergrid_muzero.egg-info/")}
    of_the_repository = {name for name in tracked() if name.startswith(".")}
    assert names - made - {"PKG-INFO", "setup.cfg"} == tracked() - of_the_repository


def test_the_wheel_holds_all_code_and_configuration_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(f"powergrid_muzero-{PROJECT['version']}-")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = set()
    for package in ("agents", "conf", "envs", "powergrid_muzero"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in _KINDS and "__pycache__" not in path.parts:
                expected.add(str(path.relative_to(ROOT)))
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_version_is_the_same_everywhere() -> None:
    """``pyproject.toml`` says it; what cites it, and the changelog's last release, follow."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changelog, re.M)
    assert releases[0] == ("Unreleased", "")
    assert releases[1] == (PROJECT["version"], str(citation["date-released"]))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == PROJECT["name"]


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())
    pinned = {normalised(name) for name in pins}
    wanted = {normalised(PROJECT["name"])}
    queue = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    while queue:
        requirement = queue.pop()
        name = normalised(requirement)
        if name in wanted or "extra ==" in requirement:
            continue
        try:
            queue += metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform or Python, or of the tools that tests do without
        wanted.add(name)
    assert wanted - {normalised(PROJECT["name"])} <= pinned


def test_constraints_allow_what_is_required() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    for requirement in PROJECT["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0]
        assert re.search(rf"(?mi)^{re.escape(name)}==", pins), name


def test_what_is_imported_is_required() -> None:
    """Also where another requirement happens to bring it along; ``ppo`` is an extra."""
    extra = PROJECT["optional-dependencies"]["ppo"]
    required = {normalised(one) for one in [*PROJECT["dependencies"], *extra]}
    distributions = metadata.packages_distributions()
    own = {"agents", "conf", "envs", "powergrid_muzero"}
    of_type_checkers = {"_typeshed"}  # imported by nobody else
    for path in (path for package in own for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            others = {one.partition(".")[0] for one in names} - own - of_type_checkers
            for name in others - sys.stdlib_module_names:
                providers = {normalised(one) for one in distributions.get(name, [])}
                assert providers & required, f"{path}: {name}"


def test_a_file_of_a_command_runs_as_a_script() -> None:
    # Python puts the script's folder first on its path: no module there may hide another's
    libraries = {*sys.stdlib_module_names, *metadata.packages_distributions()}
    for folder in ("agents", "agents/commands", "envs", "conf", "benchmarks"):
        own = {path.stem for path in (ROOT / folder).iterdir() if not path.stem.startswith("__")}
        assert own & libraries == set(), folder
    shown = subprocess.run(
        [sys.executable, str(ROOT / "agents" / "commands" / "train.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "experiment" in shown.stdout


@pytest.mark.slow
def test_the_wheel_trains_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        + ["--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        environment.pop(variable, None)
    subprocess.run(
        [str(site / "bin" / "powergrid-train"), "experiment=debug", "folder=run"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert (folder / "run" / "evaluation.json").is_file()
    assert list(folder.glob("run/wandb/offline-run-*/*.wandb"))
    shown = subprocess.run(
        [str(site / "bin" / "powergrid-evaluate"), "run=run", "evaluation.episodes=1"]
        + ["evaluation.max_steps=20"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "muzero" in shown.stdout
