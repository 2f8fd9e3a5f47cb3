"""The commands of the pages run, one after another in a folder, as a reader would type them.

Each is cut short by what is added at its end (``BUDGETS``). Where a page's command needs what an
earlier one leaves behind (a run, two results), that is there. ``test_readme_literally.py`` runs the
README's commands from a clone and from an installation, ``test_extending.py`` those of its page;
``test_readme.py`` parses and composes all of them, those in ``ELSEWHERE`` included.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import envs
from agents.commands import entry
from agents.grid2op_agent import __main__ as grid2op_tools
from tests.agents.command_runs import run_main
from tests.conftest import ROOT
from tests.documented_commands import documented_commands

PAGES = ("README", "index", "train", "evaluate", "models", "cluster", "action-sets", "grid2op")
FILES = {name: ROOT / (f"{name}.md" if name == "README" else f"docs/{name}.md") for name in PAGES}
COMMANDS = {
    line: name for name, file in reversed(FILES.items()) for line in documented_commands(file)
}
MAINS = {
    "powergrid-train": entry.train,
    "powergrid-evaluate": entry.evaluate,
    "powergrid-actions": entry.actions,
    "python -m agents.grid2op_agent": grid2op_tools.main,
}
ONE_PROCESS = "trainer.num_workers=0 evaluation.num_workers=0"
TRAINING = (
    "trainer.max_minutes=0.02 evaluation.interim.episodes=1 evaluation.interim.max_steps=5 "
    "evaluation.final.episodes=1 evaluation.final.max_steps=5 evaluation.num_envs=2"
)
PLAYED = "evaluation.max_steps=5 evaluation.num_envs=2 evaluation.plots=false"
BUDGETS = {  # beginning of a command -> what is added to it; the first that fits
    "powergrid-train resume=": f"{ONE_PROCESS} trainer.max_minutes=0.03",
    "powergrid-train experiment=seed trainer.num_workers=2": (  # with its workers
        f"{TRAINING} trainer.num_envs=4 trainer.envs_per_group=2 agent.search.num_simulations=4"
    ),
    "powergrid-train --multirun experiment=quickstart sweep=optuna": (
        f"hydra.sweeper.n_trials=2 {ONE_PROCESS} {TRAINING}"
    ),
    "powergrid-train experiment=cartpole": (
        f"{ONE_PROCESS} trainer.max_minutes=0.02 evaluation.interim.episodes=1"
    ),
    "powergrid-train --multirun experiment=debug": "trainer.total_env_steps=100",
    "powergrid-train experiment=debug": "",
    "powergrid-train": f"{ONE_PROCESS} {TRAINING}",
    "powergrid-evaluate compare": "",
    "powergrid-evaluate merge": "",
    "powergrid-evaluate": f"evaluation.num_workers=0 {PLAYED}",
    "powergrid-actions mine": "--screen 2 --score 2 --most 4 --stress 0.8 --workers 0",
    "powergrid-actions": "",
    "python -m agents.grid2op_agent export": "--source bundled",
    "python -m agents.grid2op_agent score": "--scenarios 1",
    "python -m agents.grid2op_agent submit": "",
}
ELSEWHERE = {  # beginning of a command -> why it is not run here
    "make": "a set-up of its own; CI runs these",
    ". .venv": "there is nothing to activate",
    "wandb sweep": "needs a W&B account; tests/test_sweep.py runs a sweep",
    "python -m agents.commands.wandb_agent": "the same",
    "ray start": "a cluster; tests/muzero starts one",
    "powergrid-train experiment=seed trainer.num_workers=2 cluster=auto": "the same",
    "powergrid-train experiment=seed trainer.num_workers=2 ray.address": "the same",
    "powergrid-evaluate agent=greedy evaluation.num_workers=2 ray.address": "the same",
    "powergrid-train --multirun experiment=quickstart sweep=slurm": "needs SLURM",
    "powergrid-train --multirun experiment=quickstart sweep=joblib": (
        "starts processes; tests/agents/test_multirun.py does"
    ),
    "powergrid-train --multirun experiment=quickstart sweep=[optuna,joblib]": "the same",
}

pytestmark = pytest.mark.docs


def elsewhere(line: str) -> bool:
    return any(line.replace("'", "").startswith(start) for start in ELSEWHERE)


def run(line: str) -> int:
    """Run a command of a page in this process; return its exit code."""
    start = next(start for start in MAINS if line.startswith(start))
    return run_main(MAINS[start], *shlex.split(line.removeprefix(start)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands expect there: a run, two results, sets of actions, pieces."""
    folder = tmp_path_factory.mktemp("reader")
    with contextlib.chdir(folder):
        assert run(f"powergrid-train experiment=quickstart {ONE_PROCESS} {TRAINING}") == 0
        for number, agent in enumerate(("do_nothing", "greedy")):
            played = f"agent={agent} evaluation.episodes=2 {PLAYED} folder=result{number}"
            assert run(f"powergrid-evaluate {played}") == 0
        assert run("powergrid-actions merge case36 --output mine.npz") == 0
        chosen = envs.describe_grid("l2rpn_wcci_2020", "case36")
        vectors = [action.to_vect() for action in chosen.catalogue.grid2op_actions[:9]]
        np.save("theirs.npy", np.array(vectors))
    return folder


def filled_in(line: str, folder: Path) -> str:
    """Return a command with the run and the results that are there for its placeholders."""
    (made, *_) = sorted((folder / "runs/quickstart").iterdir())
    line = line.replace("runs/quickstart/DATE", f"runs/quickstart/{made.name}")
    for number in range(line.count("RESULT")):
        line = line.replace("RESULT", f"result{number}", 1)
    if "DATE_TIME" in line:
        line = line.replace("DATE_TIME", min((folder / "multirun").iterdir()).name)
    return line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Optuna loads sqlalchemy as of old
@pytest.mark.parametrize(
    "line", [line for line in COMMANDS if not elsewhere(line)], ids=lambda line: line[:70]
)
def test_a_command_of_a_page_runs(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = next(more for start, more in BUDGETS.items() if line.startswith(start))
    shutil.rmtree(folder / "submission", ignore_errors=True)  # the page makes it in two ways
    with contextlib.chdir(folder):
        code = run(f"{filled_in(line, folder)} {added}")
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.out}\n{said.err}"
    assert "Traceback" not in said.err


def test_budgets_and_exceptions_are_of_commands_that_there_are() -> None:
    for start in (*BUDGETS, *ELSEWHERE):
        assert any(line.replace("'", "").startswith(start) for line in COMMANDS), start
