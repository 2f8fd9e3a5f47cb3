"""Scenarios played from memory are what grid2op plays from its files."""

from pathlib import Path

import numpy as np
import pytest

from envs.scenarios import make_grid2op, make_source, set_scenario
from envs.scenarios.files import read_scenario
from envs.scenarios.grid2op_grids import grid_folder

SANDBOX = "l2rpn_case14_sandbox"


def assert_same_play(own, ours, *, steps: int, simulate_every: int) -> None:
    """Both environments were just reset: play them side by side."""
    seen, played = own.get_obs(), ours.get_obs()
    nothing = own.action_space({})
    line = ours.action_space({"set_line_status": [(3, -1)]})
    for step in range(steps):
        np.testing.assert_array_equal(seen.to_vect(), played.to_vect())
        assert seen.get_time_stamp() == played.get_time_stamp()
        if step % simulate_every == 0:
            for action in (nothing, line):
                foreseen, reward, done, _ = seen.simulate(
                    own.action_space(action.as_serializable_dict())
                )
                foreseen_too, reward_too, done_too, _ = played.simulate(action)
                np.testing.assert_array_equal(foreseen.to_vect(), foreseen_too.to_vect())
                assert (reward, done) == (reward_too, done_too)
        seen, reward, done, _ = own.step(nothing)
        played, reward_too, done_too, _ = ours.step(nothing)
        assert (reward, done) == (reward_too, done_too)
        if done:
            assert step == steps - 1
            return


def test_the_bundled_scenario_plays_as_in_grid2op(sandbox):
    scenario = make_source("bundled").load("sandbox-0000")
    own = make_grid2op(SANDBOX, chronics_class=None)
    own.reset(options={"time serie id": 0})
    set_scenario(sandbox, scenario)
    sandbox.reset()
    assert sandbox.max_episode_duration() == own.max_episode_duration() == scenario.num_steps == 575
    assert_same_play(own, sandbox, steps=575, simulate_every=25)
    own.close()


def test_outages_play_as_in_grid2op():
    grid = "rte_case5_example"  # hazards and maintenance in its files
    folder = grid_folder(grid) / "chronics"
    name = next(p.name for p in sorted(folder.iterdir()) if p.is_dir())
    scenario = read_scenario(folder / name, name, grid)
    own = make_grid2op(grid, chronics_class=None)
    ours = make_grid2op(grid)
    own.reset(options={"time serie id": 0})
    set_scenario(ours, scenario)
    ours.reset()
    assert_same_play(own, ours, steps=60, simulate_every=20)
    own.close()
    ours.close()


def test_a_maintenance_opens_its_line(sandbox):
    base = make_source("bundled").load("sandbox-0000")
    outages = np.zeros((base.num_steps + 1, 20), dtype=bool)
    outages[5:8, 4] = True
    series = {k: v for k, v in vars(base).items() if k not in ("name", "maintenance")}
    scenario = type(base)(name="with an outage", maintenance=outages, **series)
    set_scenario(sandbox, scenario)
    obs = sandbox.reset()
    assert (obs.time_next_maintenance[4], obs.duration_next_maintenance[4]) == (5, 3)
    open_steps = []
    for step in range(1, 10):
        obs, *_ = sandbox.step(sandbox.action_space({}))
        if not obs.line_status[4]:
            open_steps.append(step)
    assert open_steps[0] == 5


def test_a_later_first_row_starts_there(sandbox):
    scenario = make_source("bundled").load("sandbox-0001")
    set_scenario(sandbox, scenario, first_row=570)
    obs = sandbox.reset()
    np.testing.assert_array_equal(obs.load_p, scenario.load_p[570])
    clock = scenario.start + 570 * np.timedelta64(5, "m")
    assert np.datetime64(obs.get_time_stamp(), "m") == clock
    assert sandbox.max_episode_duration() == 5
    for step in range(1, 6):
        obs, _, done, _ = sandbox.step(sandbox.action_space({}))
        assert done == (step == 5)
    np.testing.assert_array_equal(obs.load_p, scenario.load_p[575])


@pytest.mark.parametrize("first_row", [-1, 575])
def test_a_first_row_without_steps_is_refused(sandbox, first_row):
    scenario = make_source("bundled").load("sandbox-0001")
    with pytest.raises(ValueError, match=r"first_row must be in 0\.\.574"):
        set_scenario(sandbox, scenario, first_row)


def test_copies_share_the_arrays(sandbox):
    scenario = make_source("bundled").load("sandbox-0000")
    set_scenario(sandbox, scenario)
    sandbox.reset()
    copy = sandbox.copy()
    assert copy.chronics_handler.real_data.scenario is scenario
    before = sandbox.get_obs().load_p
    copy.step(copy.action_space({}))
    np.testing.assert_array_equal(sandbox.get_obs().load_p, before)
    copy.close()
    with pytest.raises(ValueError, match="read-only"):
        scenario.load_p[0, 0] = 0


def test_reset_without_a_scenario_says_what_to_do():
    env = make_grid2op(SANDBOX)
    with pytest.raises(ValueError, match=r"set_scenario\(env, scenario\)"):
        env.reset()
    env.close()


def test_a_scenario_of_another_grid_is_refused(sandbox):
    folder = grid_folder("rte_case5_example") / "chronics"
    scenario = read_scenario(folder / "00", "00", "rte_case5_example")
    with pytest.raises(ValueError, match="is of another grid"):
        set_scenario(sandbox, scenario)


def test_an_environment_of_files_is_refused():
    env = make_grid2op(SANDBOX, chronics_class=None)
    with pytest.raises(ValueError, match="make_grid2op"):
        set_scenario(env, make_source("bundled").load("sandbox-0000"))
    env.close()


def test_parameters_are_merged_into_the_grids_own():
    env = make_grid2op(SANDBOX, parameters={"MAX_SUB_CHANGED": 3})
    set_scenario(env, make_source("bundled").load("sandbox-0000"))
    env.reset()
    assert env.parameters.MAX_SUB_CHANGED == 3
    assert env.parameters.NB_TIMESTEP_OVERFLOW_ALLOWED == 2
    env.close()
    with pytest.raises(ValueError, match="did you mean 'MAX_SUB_CHANGED'"):
        make_grid2op(SANDBOX, parameters={"MAX_SUBS_CHANGED": 3})


def test_a_wrong_grid_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'l2rpn_case14_sandbox'"):
        grid_folder("l2rpn_case14_sandbx")


def test_a_grid_may_be_a_folder():
    folder = grid_folder(SANDBOX)
    assert grid_folder(str(folder)) == Path(folder)
