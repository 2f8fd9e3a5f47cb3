"""Grids shared out over processes: the same results, and what happens when a process dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs.fast.vector import PowerGridVectorEnv
from envs.scenarios import BundledSource, Scenario
from tests.envs.equality import assert_identical

GATED: dict[str, Any] = {"scenarios": "bundled", "idle_gate": 0.9, "reconnect_lines": True}
SHORT: dict[str, Any] = {
    "scenarios": "bundled",
    "max_steps": 7,
    "start": "random",
    "observation": "graph",
}
ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    """Whether there is such a process, a zombie not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(
    scope="module",
    params=[GATED, pytest.param(SHORT, marks=pytest.mark.slow)],
    ids=["gated", "short"],
)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, ...]]:
    """Five grids in this process, and in two others."""
    envs = tuple(
        gym.make_vec(
            "PowerGrid-v0",
            num_envs=5,
            vectorization_mode="vector_entry_point",
            num_workers=num_workers,
            **request.param,
        )
        for num_workers in (0, 2)
    )
    yield envs
    for env in envs:
        env.close()


def test_the_same_bit_for_bit(pair: tuple[Any, ...]):
    one, two = pair
    assert all(isinstance(env, PowerGridVectorEnv) for env in pair)
    assert len(two.worker_pids) == 2 and one.worker_pids == []
    assert one.observation_space == two.observation_space and one.catalogue is not two
    for env in pair:
        with pytest.raises(ValueError, match="never reset"):
            env.step([0] * 5)
    assert_identical(one.reset(seed=4), two.reset(seed=4))
    rng = np.random.default_rng(1)
    ended = 0
    for _ in range(25):
        actions = np.where(rng.random(5) < 0.5, rng.integers(487, size=5), 0)
        expected, given = one.step(actions), two.step(actions)
        assert_identical(expected, given)
        ended += int((given[2] | given[3]).sum())
        assert_identical(one.state, two.state)
        asked = [rng.integers(487, size=6) if rng.random() < 0.3 else None for _ in range(5)]
        assert_identical(one.simulate(asked), two.simulate(asked))
        assert one.simulator_calls.tolist() == two.simulator_calls.tolist()
    assert ended > 0
    mask = np.array([True, False, True, False, True])
    assert_identical(
        one.reset(options={"reset_mask": mask}), two.reset(options={"reset_mask": mask})
    )


def test_states_are_the_same_and_go_over(pair: tuple[Any, ...]):
    one, two = pair
    one.reset(seed=8)
    two.reset(seed=8)
    actions = np.array([0, 3, 400, 0, 470])
    for env in pair:
        for _ in range(4):
            env.step(actions)
    state = one.state_dict()
    assert two.state_dict() == json.loads(json.dumps(state)) == state
    one.step(actions)
    expected, given = one.load_state_dict(state), two.load_state_dict(state)
    assert_identical(expected, given)
    for env in pair:
        saved = env.save_state(1)  # played by the first worker
        env.step(actions)
        env.load_state(4, saved)  # by the second
    assert_identical(one.step(actions), two.step(actions))
    state["episodes"][3]["actions"] += [7]
    with pytest.raises(ValueError, match="environment 3: playing its 5 saved actions"):
        two.load_state_dict(state)


def test_plans_are_the_same(pair: tuple[Any, ...]):
    one, two = pair
    one.reset(seed=3)
    two.reset(seed=3)
    grids, actions = np.array([0, 4]), np.array([60, 0])
    plans = []
    for env in pair:
        planner = env.planner()
        played = planner.step(planner.begin(grids), actions)
        plans.append((played.reward, planner.state(played.slots)))
    assert_identical(plans[0], plans[1])


def test_mistakes_are_told_as_in_one_process(pair: tuple[Any, ...]):
    one, env = pair
    one.reset(seed=2)
    env.reset(seed=2)
    names = ["sandbox-0001", None, "educ-2019-01-12", None, "sandbox-000"]
    for each in pair:  # all but the last grid are reset
        with pytest.raises(ValueError, match="did you mean 'sandbox-000") as caught:
            each.reset(options={"scenario": names})
    assert "in _reset_one" in str(caught.value.__cause__)  # the worker's own traceback
    assert_identical(one.step([0] * 5), env.step([0] * 5))  # goes on
    for actions, message in (
        ([0], "shape"),
        ([0, 0, 487, 0, 0], "486"),
        ([0.0] * 5, "integer"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
    with pytest.raises(ValueError, match="0 to 4"):
        env.save_state(5)


def test_a_killed_worker_is_noticed_and_named(pair: tuple[Any, ...]):
    """The last test that plays this pair."""
    _, env = pair
    env.reset(seed=0)
    first, second = env.worker_pids
    os.kill(second, signal.SIGKILL)
    start = time.monotonic()
    message = rf"worker 1 \(process {second}, grids 2 to 4\) died: signal SIGKILL"
    with pytest.raises(RuntimeError, match=message):
        env.step([0, 0, 0, 0, 0])
    assert time.monotonic() - start < 4
    assert not alive(first) and not alive(second)
    with pytest.raises(RuntimeError, match=message):  # and every later call says so
        env.reset()
    env.close()
    env.close()


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_call_is_noticed():
    env = PowerGridVectorEnv(4, num_workers=2, idle_gate=1.9, max_steps=7900)
    pids = env.worker_pids
    os.kill(pids[0], signal.SIGSTOP)  # it will never answer
    killer = multiprocessing.get_context("fork").Process(target=_kill_later, args=(pids[0],))
    killer.start()
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="worker 0 .* died: signal SIGKILL"):
        env.reset(seed=0)
    assert time.monotonic() - start < 6
    assert not any(alive(pid) for pid in pids)
    killer.join()
    env.close()


def _kill_later(pid: int) -> None:
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_workers_end_with_the_main_process():
    script = (
        "import os, signal, sys\n"
        "from envs.fast.vector import PowerGridVectorEnv\n"
        "if __name__ == '__main__':\n"
        "    env = PowerGridVectorEnv(2, num_workers=2, scenarios='bundled')\n"
        "    print(*env.worker_pids, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(pids) == 2, done.stderr
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from envs.fast.vector import PowerGridVectorEnv\nPowerGridVectorEnv(2, num_workers=1)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count('under  if __name__ == "__main__":') == 1
    assert done.stderr.count("Traceback") == 1  # the main process's own


@pytest.mark.slow
def test_a_program_from_standard_input_is_told_so():
    done = subprocess.run(
        [sys.executable, "-"],
        input="import envs\nenvs.PowerGridVectorEnv(2, num_workers=2)\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert "is no file: save the program as one" in last and "num_workers=0" in last


@pytest.mark.slow
def test_reset_after_close_needs_new_workers():
    env = PowerGridVectorEnv(2, num_workers=2, scenarios="bundled")
    env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError, match="make a new one"):
        env.reset()


@pytest.mark.slow
def test_without_autoreset_a_finished_grid_waits():
    one, two = (
        PowerGridVectorEnv(3, num_workers=n, autoreset="disabled", max_steps=2) for n in (0, 2)
    )
    assert_identical(one.reset(seed=6), two.reset(seed=6))
    masks = (None, None, np.array([True, False, False]), None, np.array([False, True, True]))
    for mask in masks:
        if mask is not None:
            options = {"reset_mask": mask}
            assert_identical(one.reset(options=options), two.reset(options=options))
        assert_identical(one.step([0, 7, 0]), two.step([0, 7, 0]))
        assert one.over.tolist() == two.over.tolist()
    two.close()


class Unsendable(BundledSource):
    """A source that cannot go to another process."""

    def __reduce__(self) -> str:
        raise TypeError("not this one")


class Broken(BundledSource):
    """A source whose scenarios cannot be loaded, by its own fault."""

    def load(self, name: str) -> Scenario:
        raise KeyError("no such key")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, "num_workers must be an integer of at least 0"),
        ({"num_workers": 1.5}, "num_workers must be an integer"),
        ({"num_workers": 1, "reward": "lrpn"}, "did you mean 'l2rpn'"),
        ({"num_workers": 1, "scenarios": Unsendable()}, "cannot be sent to a process"),
    ],
)
def test_refuses(options: dict[str, Any], message: str):
    before = multiprocessing.active_children()
    with pytest.raises(ValueError, match=message):
        PowerGridVectorEnv(2, **options)
    assert multiprocessing.active_children() == before


def test_a_worker_starts_no_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(vars(multiprocessing.current_process())["_config"], "daemon", True)
    with pytest.raises(ValueError, match="a worker itself.*env.num_workers=0"):
        PowerGridVectorEnv(2, num_workers=2)


@pytest.mark.slow
def test_a_fault_in_a_worker_comes_with_its_traceback():
    env = PowerGridVectorEnv(2, num_workers=5, scenarios=Broken())
    pids = env.worker_pids
    assert len(pids) == 2  # one for each grid
    with pytest.raises(KeyError, match="no such key") as caught:
        env.reset(seed=0)
    assert "test_workers.py" in str(caught.value.__cause__)
    env.close()
    env.close()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.reset()
