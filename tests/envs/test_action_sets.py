"""Action sets: files, grids of one wiring, and the environments that choose from them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from grid2op.Action import TopologySetAction

import envs
from envs import ActionSet, PowerGridEnv, PowerGridVectorEnv, Wiring
from envs.grid.action_sets import SHIPPED, decode_vectors, substation_splits
from envs.grid.actions import ActionCatalogue
from envs.grid.state import GridLayout
from tests.envs.conftest import SANDBOX

GRIDS36 = ("l2rpn_wcci_2020", "l2rpn_neurips_2020_track1", "l2rpn_icaps_2021")


def tables_of(wiring: Wiring, count: int) -> dict[str, np.ndarray]:
    """Tables of actions that do nothing."""
    ends, lines = (count, wiring.num_elements), (count, wiring.num_lines)
    return {
        "set_busbar": np.zeros(ends, dtype=np.int8),
        "switch_busbar": np.zeros(ends, dtype=np.bool_),
        "set_line": np.zeros(lines, dtype=np.int8),
        "switch_line": np.zeros(lines, dtype=np.bool_),
    }


@pytest.fixture(scope="module")
def whole(layout: GridLayout, catalogue: ActionCatalogue) -> ActionSet:
    """All 487 actions of the sandbox as a set."""
    return ActionSet(
        Wiring.of(layout),
        catalogue.set_busbar,
        catalogue.switch_busbar,
        catalogue.set_line,
        catalogue.switch_line,
        grid=SANDBOX,
        provenance={"seed": 7},
    )


@pytest.fixture(scope="module")
def written(whole: ActionSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of the actions in a JSON file."""
    path = tmp_path_factory.mktemp("sets") / "ten.json"
    with open(path, "wb") as file:
        envs.write_action_set(file, whole.subset(range(0, 487, 50)), binary=False)
    return path


def test_a_set_of_all_actions_is_the_catalogue(whole: ActionSet, catalogue: ActionCatalogue):
    ours = envs.describe_grid(SANDBOX, whole).catalogue
    assert ours.sha256 == catalogue.sha256 and ours.texts == catalogue.texts == whole.texts
    assert len(ours.grid2op_actions) == 487
    for mine, theirs in zip(ours.grid2op_actions, catalogue.grid2op_actions, strict=True):
        assert mine == theirs and not mine.is_ambiguous()[0]
    assert ours.grid2op_actions[-2:] == [ours.grid2op_actions[485], ours.grid2op_actions[486]]


@pytest.mark.parametrize("suffix", [".json", ".npz", ".npy"])
def test_files_hold_the_same(
    whole: ActionSet, catalogue: ActionCatalogue, tmp_path: Path, suffix: str
):
    path = tmp_path / f"set{suffix}"
    if suffix == ".npy":
        np.save(path, np.array([action.to_vect() for action in catalogue.grid2op_actions]))
    else:
        with open(path, "wb") as file:
            envs.write_action_set(file, whole, binary=suffix == ".npz")
    found = envs.find_action_set(path, SANDBOX)
    assert found is not None
    assert found == whole and found.sha256 == whole.sha256
    assert found.grid == SANDBOX
    assert found.provenance == ({"vectors": "set.npy"} if suffix == ".npy" else {"seed": 7})


def test_json_is_readable(written: Path):
    told = json.loads(written.read_text())
    assert told["wiring"]["substations"][12] == [
        *("line_9 (ex)", "line_13 (ex)", "line_14 (or)", "load_9"),
    ]
    assert told["actions"][0] == {"text": "do nothing"}
    assert told["actions"][4] == {
        "text": "switch line 8-13 (line 11): disconnect if in, reconnect if out",
        "change_line_status": [11],
    }
    kinds = {kind for settings in told["actions"] for kind in settings}
    assert {"text", "change_bus", "set_bus", "set_line_status"} <= kinds
    assert len(written.read_text().splitlines()) < 50  # one line for each action


def test_doing_nothing_is_first_and_duplicates_are_merged(whole: ActionSet):
    some = whole.subset([5, 300, 5, 0, 300, 7])
    assert len(some) == 4
    assert some.texts == (whole.texts[0], whole.texts[5], whole.texts[300], whole.texts[7])
    assert not some.set_busbar.flags.writeable


def test_vectors_open_lines_by_a_busbar_of_minus_one(sandbox: Any, layout: GridLayout):
    opening = sandbox.action_space({"set_bus": {"lines_or_id": [(3, -1)]}})
    found = decode_vectors(opening.to_vect()[None], sandbox.action_space, Wiring.of(layout))
    assert found.texts == ("do nothing", "disconnect line 1-3 (line 3)")


def test_grids_of_one_wiring_take_one_set():
    wirings = [envs.grid_wiring(grid) for grid in GRIDS36]
    assert len({wiring.sha256 for wiring in wirings}) == 1
    assert (wirings[0].num_substations, wirings[0].num_lines) == (36, 59)
    layouts = [envs.describe_grid(grid, envs.line_switches(wirings[0])).layout for grid in GRIDS36]
    assert layouts[0].line_names != layouts[1].line_names == layouts[2].line_names


@pytest.mark.parametrize("name", SHIPPED)
def test_sets_that_ship(name: str):
    chosen = envs.find_action_set(name, "")
    assert chosen is not None
    for grid in chosen.provenance["grids"][-1:]:
        assert envs.grid_wiring(grid).sha256 == chosen.wiring.sha256
    assert chosen.provenance["command"].startswith("powergrid-actions mine ")
    assert not len(chosen.lines_not_switched)  # so reconnect_lines works
    split = (chosen.set_busbar == 2).any(axis=1)
    moved = (chosen.set_busbar != 0).any(axis=1)
    where = chosen.wiring.element_substation[(chosen.set_busbar != 0).argmax(axis=1)]
    assert set(where[split]) <= set(where[moved & ~split])  # what is split can be joined


@pytest.mark.parametrize("grid", GRIDS36)
def test_environments_with_the_set_of_the_36(grid: str, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> None:
        raise AssertionError("all actions were made")

    monkeypatch.setattr("envs.grid.actions.unitary_actions", never)
    options: dict[str, Any] = {"grid": grid, "actions": "case36", "scenarios": "bundled"}
    single, several = PowerGridEnv(**options), PowerGridVectorEnv(2, **options)
    assert 100 <= single.catalogue.num_actions <= 256
    assert several.catalogue.sha256 == single.catalogue.sha256
    assert single.action_space == several.single_action_space
    observation, info = single.reset(seed=3)
    shown, infos = several.reset(seed=[3, 4])
    rng = np.random.default_rng(0)
    for _ in range(25):
        np.testing.assert_array_equal(info["action_mask"], infos["action_mask"][0])
        np.testing.assert_allclose(observation, shown[0], atol=1e-3)
        action = int(rng.integers(single.catalogue.num_actions))
        mine = several.simulate([np.array([0, action]), None])[0]
        theirs = single.simulate([0, action])
        assert mine is not None
        np.testing.assert_array_equal(mine.game_over, theirs.game_over)
        playable = bool(info["action_mask"][action]) and theirs.rho_max[1] < 0.95
        action = action if playable else 0
        observation, _, over, _, info = single.step(action)
        shown, _, _, _, infos = several.step(np.array([action, 0]))
        assert not over
        np.testing.assert_array_equal(single.state.topo_vect[0], several.state.topo_vect[0])
    single.close()
    several.close()


def test_a_copy_needs_no_file(written: Path, tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_bytes(written.read_bytes())
    single = PowerGridEnv(actions=path, scenarios="bundled")
    several = PowerGridVectorEnv(2, actions=str(path), scenarios="bundled")
    path.unlink()
    for env in (single, several):
        env.reset(seed=1)
        again = pickle.loads(pickle.dumps(env))
        assert again.catalogue.sha256 == env.catalogue.sha256
        assert again.catalogue.num_actions == 10
        env.close()
        again.close()


def test_gymnasium_makes_it_by_keyword(written: Path):
    env = gym.make("PowerGrid-v0", actions=str(written), scenarios="bundled")
    assert env.action_space == gym.spaces.Discrete(10)
    env.close()
    env = gym.make("PowerGrid-v0", actions="all", scenarios="bundled")
    assert env.action_space == gym.spaces.Discrete(487)
    env.close()


def test_lines_are_put_back_only_by_a_set_that_can(whole: ActionSet):
    switches = envs.line_switches(whole.wiring)
    able = envs.merge_action_sets([whole.subset([300]), switches])
    options: dict[str, Any] = {"scenarios": "bundled", "reconnect_lines": True}
    with pytest.raises(
        ValueError, match=r"needs an action that switches each line.*line 0-1 .line 0. .20"
    ):
        gym.make("PowerGrid-v0", actions=whole.subset([300]), **options)
    with pytest.raises(ValueError, match="needs an action that switches each line"):
        PowerGridVectorEnv(1, actions=whole.subset([300]), **options)
    for env in (
        gym.make("PowerGrid-v0", actions=able, **options),
        PowerGridVectorEnv(1, actions=able, **options),
    ):
        env.reset(seed=0, options={"scenario": "educ-2019-01-12", "first_step": 5})
        opening = 2 + 6  # nothing, the one split, and then the lines
        for action in (opening, *[0] * 5):
            env.step(np.array([action]) if isinstance(env, PowerGridVectorEnv) else action)
        grid: Any = env if isinstance(env, PowerGridVectorEnv) else env.unwrapped
        assert grid.state.line_status.all()
        env.close()


def test_splits_are_the_distinct_topologies_that_all_actions_reach(
    whole: ActionSet, catalogue: ActionCatalogue
):
    splits = substation_splits(whole.wiring)
    joined = np.ones((1, whole.wiring.num_elements), dtype=np.int8)
    reached = catalogue.results(joined, joined)[0]
    ends = (whole.wiring.line_or_position, whole.wiring.line_ex_position)
    at_line = np.zeros(whole.wiring.num_elements, dtype=np.bool_)
    at_line[np.concatenate(ends)] = True
    expected = set()
    for topology in reached[(reached > 0).all(axis=1)]:
        where = np.unique(whole.wiring.element_substation[topology == 2])
        if len(where) != 1:
            continue
        here = whole.wiring.element_substation == where[0]
        parts = [here & (topology == busbar) for busbar in (1, 2)]
        if all(part.sum() >= 2 and (part & at_line).any() for part in parts):
            expected.add(frozenset(tuple(np.flatnonzero(part)) for part in parts))
    found = set()
    for row in splits.set_busbar[1:]:
        if (row == 2).any():
            found.add(frozenset(tuple(np.flatnonzero(row == busbar)) for busbar in (1, 2)))
            assert (row == 2).sum() <= (row == 1).sum()
    assert found == expected
    joins = (splits.set_busbar == 1).any(axis=1) & ~(splits.set_busbar == 2).any(axis=1)
    assert len(splits) == 1 + len(found) + joins.sum()
    split_at = {int(whole.wiring.element_substation[next(iter(one))[0]]) for one in found}
    assert joins.sum() == len(split_at)


# --------------------------------------------------------------------------------- bad input


def changed(written: Path, change: Callable[[dict[str, Any]], None]) -> str:
    told = json.loads(written.read_text())
    change(told)
    return json.dumps(told)


def action(**settings: Any) -> Callable[[dict[str, Any]], None]:
    """What gives action 2 of a file these settings."""

    def change(told: dict[str, Any]) -> None:
        told["actions"][2] = settings

    return change


def emptied(told: dict[str, Any]) -> None:
    told["actions"] = [{"text": "do nothing"}, {}]


def rewired(told: dict[str, Any]) -> None:
    told["wiring"]["substations"][0].reverse()


BAD: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (action(set_bus={"14": [1]}), "action 2: there is no substation '14'; they are numbered from"),
    (action(set_bus={"7": [1, 3]}), "action 2: set_bus is 3 at place 35; it may be 0, 1, 2"),
    (action(set_bus={"7": [1]}), "action 2: set_bus of substation 7 must be 2 integers"),
    (action(change_line_status=[20]), "action 2: there is no line 20; they are numbered from 0 to"),
    (action(set_line_status={"3": 2}), "action 2: set_line_status of line 3 must be 1 or -1"),
    (action(set_line_status={"3": 1}), "action 2 closes line 3 without a busbar for each"),
    (
        action(set_bus={"7": [1, 2]}, change_bus={"7": [0, 1]}),
        "action 2 contradicts itself: it both sets and changes the busbar of gen_4",
    ),
    (
        action(set_line_status={"3": -1}, change_line_status=[3]),
        "action 2 contradicts itself: it both sets and changes the status of line 3",
    ),
    (
        action(set_line_status={"18": -1}, set_bus={"7": [2, 2]}),
        "action 2 contradicts itself: it opens or switches line 18 and moves an end",
    ),
    (action(redispatch={"6": 1.5}), "action 2: there is no generator '6'; they are numbered from"),
    (action(set_buss={}), "action 2: unknown setting 'set_buss'"),
    (emptied, "it is empty: it has no action that does anything"),
    (rewired, "the hash of its wiring is not that of its substations"),
    (lambda told: told.update(version=2), "it is of version 2 of the format; this one reads 1"),
    (lambda told: told.update(format="other"), "so it is no action set"),
    (lambda told: told.pop("actions"), "it has no list of actions"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_file_is_one_line(
    written: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
):
    path = tmp_path / "bad.json"
    path.write_text(changed(written, change))
    with pytest.raises(ValueError, match=message) as refused:
        envs.find_action_set(path, SANDBOX)
    assert str(refused.value).startswith(f"action set {path}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".json", ".npz", ".npy"])
def test_a_file_cut_short(
    whole: ActionSet, catalogue: ActionCatalogue, tmp_path: Path, suffix: str
):
    path = tmp_path / f"set{suffix}"
    if suffix == ".npy":
        np.save(path, np.array([one.to_vect() for one in catalogue.grid2op_actions[:9]]))
    else:
        with open(path, "wb") as file:
            envs.write_action_set(file, whole, binary=suffix == ".npz")
    for share in (0.0, 0.3, 0.97):
        cut = path.with_stem(f"cut{share}")
        content = path.read_bytes()
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="cut short") as refused:
            envs.find_action_set(cut, SANDBOX)
        assert str(cut) in str(refused.value)
    with pytest.raises(ValueError, match="there is no file .*absent"):
        envs.find_action_set(path.with_stem("absent"), SANDBOX)


def test_a_set_of_another_grid(whole: ActionSet, tmp_path: Path, sandbox: Any):
    message = (
        "the action set is of a grid with 14 substations, 20 lines and 57 element ends .it was "
        "made for l2rpn_case14_sandbox.; grid 'rte_case5_example' has 5 substations, 8 lines and "
        "21 element ends"
    )
    for make in (PowerGridEnv, PowerGridVectorEnv):
        with pytest.raises(ValueError, match=message):
            make(grid="rte_case5_example", actions=whole, scenarios="bundled")
    swapped = list(whole.wiring.substations)
    swapped[0] = swapped[0][::-1]
    other = envs.line_switches(Wiring(tuple(swapped)))
    with pytest.raises(ValueError, match="has the same, wired otherwise"):
        PowerGridEnv(actions=other, scenarios="bundled")
    with pytest.raises(ValueError, match="set 1 is of a grid .* set 2 of one .* wired otherwise"):
        envs.merge_action_sets([whole, other])
    path = tmp_path / "vectors.npy"
    np.save(path, sandbox.action_space({}).to_vect()[None, :-1])
    with pytest.raises(ValueError, match="name the grid that they were stored for"):
        envs.find_action_set(path, SANDBOX)
    able = sandbox._helper_action_env
    loads = able({"injection": {"load_p": np.ones(11, dtype=np.float32)}})
    with pytest.raises(ValueError, match="action 0 sets load_p, which is not covered"):
        decode_vectors(loads.to_vect()[None], able, whole.wiring)


def test_a_kind_that_the_grid_does_not_have(whole: ActionSet):
    with pytest.raises(ValueError, match="actions that change_bus, and the actions of grid"):
        PowerGridEnv(
            actions=whole,
            scenarios="bundled",
            grid2op_options={"action_class": TopologySetAction},
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("al", "unknown action set, or file .* did you mean 'all'?"),
        (5, "actions must be 'all', a name, a file's path or an ActionSet, but is 5"),
        ("README.md", "actions=README.md: a file of actions ends in .json, .npz, .npy"),
    ],
)
def test_names_of_sets(given: Any, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(ValueError, match=message):
        PowerGridVectorEnv(1, actions=given)


def test_tables_are_checked(whole: ActionSet):
    tables = tables_of(whole.wiring, 2)
    with pytest.raises(ValueError, match=r"its table set_line_status has shape \(2, 19\)"):
        replace(whole, **{**tables, "set_line": tables["set_line"][:, 1:]})
    with pytest.raises(ValueError, match="it is empty"):
        replace(whole, **tables)
    with pytest.raises(ValueError, match="its wiring has lines with one end"):
        Wiring((("line_0 (or)", "load_0"), ("gen_0",)))
    with pytest.raises(ValueError, match="its wiring has an element 'motor_1'"):
        Wiring((("motor_1",),))
