"""A submission folder, copied elsewhere, makes the same agent in a fresh process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.grid2op_agent import AgentRecipe, read_submission, recipe_from, write_submission
from agents.grid2op_agent.__main__ import main
from envs.scenarios import export_scenarios
from tests.agents.grid2op_excerpts import STRESSED, Excerpts
from tests.agents.grid2op_recipes import play_ourselves, recipe_of

ROOT = Path(__file__).resolve().parents[2]

# what a competition does; the loadings of every step are kept
COMPETITION = """
import sys
import grid2op
import numpy as np
from lightsim2grid import LightSimBackend

place, folder = sys.argv[1:]
sys.path.append(place)
from submission import make_agent

env = grid2op.make(folder, backend=LightSimBackend())
agent = make_agent(env.copy(), place + "/submission")
observation, done, reward = env.reset(), False, 0.0
agent.reset(observation)
rho = [observation.rho]
while not done:
    observation, reward, done, _ = env.step(agent.act(observation, reward, done))
    rho.append(observation.rho)
np.save("rho.npy", rho)
"""


@pytest.fixture(scope="module")
def muzero() -> AgentRecipe:
    return recipe_of("muzero")


@pytest.mark.slow
def test_a_copied_folder_plays_in_a_fresh_process(muzero: AgentRecipe, tmp_path: Path) -> None:
    written = write_submission(muzero, tmp_path / "mine" / "submission")
    shutil.copytree(written, tmp_path / "theirs" / "submission")
    shutil.rmtree(tmp_path / "mine")
    folder = export_scenarios(Excerpts(), tmp_path / "piece", names=STRESSED[:1])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPETITION, tmp_path / "theirs", folder],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # as if installed
        check=True,
    )
    ours = play_ourselves(muzero, Excerpts(), STRESSED[:1])[STRESSED[0]]
    assert (ours.actions > 0).any()
    rho = np.load(elsewhere / "rho.npy")
    assert len(rho) == len(ours.rho)
    np.testing.assert_allclose(rho[:-1], ours.rho[:-1], rtol=0, atol=1e-4)


def test_a_submission_reads_back_the_same(muzero: AgentRecipe, tmp_path: Path) -> None:
    read = read_submission(write_submission(muzero, tmp_path / "submission"))
    assert (read.name, read.agent, read.env) == (muzero.name, muzero.agent, muzero.env)
    assert read.seed == muzero.seed
    assert read.weights is not None and muzero.weights is not None
    for name, values in muzero.weights["network"].items():
        assert (read.weights["network"][name] == values).all()


def test_the_commands_export_and_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(tmp_path / "data"), "--source", "bundled", "--scenarios", "1"])
    assert "Wrote 1 scenarios" in capsys.readouterr().out
    assert [one.name for one in (tmp_path / "data" / "chronics").iterdir()] == ["sandbox-0000"]
    main(["submit", str(tmp_path / "submission"), "agent=greedy", "seed=3"])
    read = read_submission(tmp_path / "submission")
    assert (read.name, read.idle_gate, read.weights, read.seed) == ("greedy", 0.95, None, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit", "PLACE/submission", "agent=muzero"], "agent muzero needs weights"),
        (["submit", "PLACE/full", "agent=greedy"], "is not an empty folder"),
        (["export", "PLACE/data", "--split", "tset"], "did you mean 'test'"),
        (
            ["export", "PLACE/data", "--scenarios", "0"],
            "'0'; expected a whole number of at least 1",
        ),
        (["export", "PLACE/data", "--scenarios", "9999"], "--scenarios 9999; expected 1 to"),
        (["export", "PLACE/data", "--splitt", "val"], "'--splitt'; did you mean '--split'"),
        (["score", "PLACE/full", "agent=greedy"], "not a grid2op environment with scenarios"),
        ([], "the following arguments are required: COMMAND. See python -m agents.grid2op_agent"),
        (["exprot", "PLACE/x"], "invalid choice: 'exprot'"),
        (["export", ""], "path=''; expected some text. See"),
        (["export", "PLACE/x", "--scenarios", "a"], "--scenarios: 'a'; expected a whole number"),
        (["submit", "", "agent=greedy"], "path=''; expected some text. See"),
        (["submit", "PLACE/x"], "the following arguments are required: KEY=VALUE"),
        (["score", "PLACE/x", "agent=greedy", "--seed", "-1"], "--seed: '-1'; expected a whole"),
        (["submit", "PLACE/x", "agent=greedy", "seed=-1"], "seed=-1; expected a whole number"),
        (["submit", "PLACE/x", "agent=greedy", "name="], "name=''; expected some text"),
        (["submit", "PLACE/x", "agent=greedy", "env.wrappers=[3]"], "env.wrappers"),
        (["submit", "PLACE/x", "agent=greedy", "env.kwargs.idle_gate=5"], "above 0 and below 2"),
        (["submit", "PLACE/x", "agent=greedy", "env.kwargs.grid=l2rpn"], "unknown grid 'l2rpn'"),
        (
            ["submit", "PLACE/x", "agent=greedy", "agent.safe=x"],
            "agent.safe='x'; expected a finite",
        ),
        (["submit", "PLACE/x", "agent=null"], "agent=null: expected an option of this group"),
        (["submit", "PLACE/x", "agent=greedy", "--seed", "1"], "unknown option '--seed'"),
        (["submit", "PLACE/x", "agent=greedy", "split=val"], "split=val is not used by grid2op's"),
        (["submit", "PLACE/x", "agent=greedy", "reward=n1"], "reward=n1 is not used by"),
        (["submit", "PLACE/x", "agent=greedy", "opponent=rl4pnc"], "opponent=rl4pnc is not used"),
        (["submit", "PLACE/x", "agent=greedy", "logger=csv"], "logger=csv is not used by"),
        (
            ["submit", "PLACE/x", "agent=greedy", "env.num_workers=2"],
            "env.num_workers=2: grids are no longer shared out over processes",
        ),
        (["submit", "PLACE/x", "agent=greedy", "checkpoint=latest"], "add run=FOLDER"),
        (["submit", "PLACE/x", "agent=greedy", "wrappers=watchful"], "ask_every cannot be had"),
        (
            ["submit", "PLACE/x", "agent=greedy", "+agent@env.baselines.random=random"],
            "is not used by grid2op's tools",
        ),
        (
            ["score", "PLACE/x", "agent=greedy", "evaluation.episodes=3"],
            "evaluation.episodes=3 is not used by grid2op's tools, but agent, seed,",
        ),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main([word.replace("PLACE", str(tmp_path)) for word in words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["full"]


def test_a_damaged_submission_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no agent.yaml"):
        read_submission(tmp_path)
    (tmp_path / "agent.yaml").write_text("name: [")
    with pytest.raises(ValueError, match="agent.yaml is damaged: "):
        read_submission(tmp_path)
    (tmp_path / "agent.yaml").write_text("name: greedy\nagent: {}\n")
    with pytest.raises(ValueError, match="damaged: it lacks env, seed, version"):
        read_submission(tmp_path)


def test_without_the_package_the_folder_says_what_it_needs(tmp_path: Path) -> None:
    written = write_submission(recipe_from(["agent=do_nothing"]), tmp_path / "submission")
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    hidden = "import sys; sys.modules['agents'] = None; import submission"
    ended = subprocess.run(
        [sys.executable, "-c", hidden],
        cwd=written.parent,
        env=bare,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "this agent plays with powergrid-muzero" in ended.stderr


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for words in (["export"], ["submit", "agent=do_nothing"]):
        with pytest.raises(SystemExit) as ended:
            main([words[0], str(tmp_path / "file" / "x"), *words[1:]])
        assert ended.value.code == 1  # the machine's, not the user's
        said = capsys.readouterr().err
        assert str(tmp_path / "file") in said and said.count("\n") == 1
