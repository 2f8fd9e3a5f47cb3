"""Redispatching, curtailment and storage units in action sets, beside grid2op itself."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import envs
from envs import ActionSet, ObservedPowerGrid, PowerGridEnv, PowerGridVectorEnv, PowerSettings
from envs.grid.action_sets import decode_vectors
from tests.envs.conftest import SANDBOX

LARGE = "l2rpn_wcci_2022_dev"  # 118 substations, 62 generators, 7 storage units


class Play(NamedTuple):
    """Actions in a file of ours and as grid2op takes them, and how to start."""

    grid: str
    actions: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    start: Mapping[str, Any]
    first: int  # action that is repeated first
    repeated: int
    drawn: int  # steps of drawn actions after that


SMALL = Play(
    SANDBOX,
    (
        ({"redispatch": {"0": 5, "5": -2.7}}, {"redispatch": [(0, 5.0), (5, -2.7)]}),
        ({"redispatch": {"0": -4.9}}, {"redispatch": [(0, -4.9)]}),
        ({"redispatch": {"1": 10}}, {"redispatch": [(1, 10.0)]}),
        ({"curtail": {"2": 0.1, "4": 0}}, {"curtail": [(2, 0.1), (4, 0.0)]}),
        ({"curtail": {"2": 1, "4": 1}}, {"curtail": [(2, 1.0), (4, 1.0)]}),
        (
            {"change_line_status": [3], "redispatch": {"1": -10, "5": 1.1}},
            {"change_line_status": [3], "redispatch": [(1, -10.0), (5, 1.1)]},
        ),
        ({"change_line_status": [3]}, {"change_line_status": [3]}),
        (
            {"set_bus": {"5": [1, 2, 1, 1, 2, 1, 1]}, "curtail": {"3": 0.5}},
            {
                "set_bus": {"substations_id": [(5, np.array([1, 2, 1, 1, 2, 1, 1]))]},
                "curtail": [(3, 0.5)],
            },
        ),
    ),
    {"scenario": "sandbox-0000"},
    first=1,
    repeated=31,
    drawn=50,
)
WIDE = Play(
    LARGE,
    (
        ({"redispatch": {"6": 8, "2": -3.5}}, {"redispatch": [(6, 8.0), (2, -3.5)]}),
        ({"set_storage": {"0": 12, "3": -4.2}}, {"set_storage": [(0, 12.0), (3, -4.2)]}),
        ({"curtail": {"0": 0.3, "4": 0.2}}, {"curtail": [(0, 0.3), (4, 0.2)]}),
        (
            {"set_storage": {"1": -12}, "curtail": {"0": 1}, "redispatch": {"8": 2.5}},
            {"set_storage": [(1, -12.0)], "curtail": [(0, 1.0)], "redispatch": [(8, 2.5)]},
        ),
        ({"change_line_status": [9], "set_storage": {"6": 1}},
         {"change_line_status": [9], "set_storage": [(6, 1.0)]}),
    ),
    {"first_step": 3},
    first=2,
    repeated=2,
    drawn=10,
)  # fmt: skip


def write(path: Path, grid: str, *actions: Any) -> Path:
    """Write a file of actions as a person would."""
    wiring = envs.grid_wiring(grid)
    told = {
        "format": "powergrid-actions",
        "version": 1,
        "grid": grid,
        "wiring": {
            "sha256": wiring.sha256,
            "substations": [list(one) for one in wiring.substations],
        },
        "actions": list(actions),
    }
    path.write_text(json.dumps(told))
    return path


def set_of(play: Play, folder: Path) -> ActionSet:
    path = write(folder / f"{play.grid}.json", play.grid, *(ours for ours, _ in play.actions))
    found = envs.find_action_set(path, play.grid)
    assert found is not None
    return found


class Pair(NamedTuple):
    """The reference environment with a set, and one more to take grid2op's own from."""

    play: Play
    actions: ActionSet
    ours: PowerGridEnv
    other: PowerGridEnv

    def reset(self) -> tuple[Any, Any]:
        """Start both; return grid2op's environment of the other, and its observation."""
        for env in (self.ours, self.other):
            env.reset(seed=5, options=dict(self.play.start))
        return self.other.grid2op_env, self.other.grid2op_observation

    def by_hand(self, number: int) -> Any:
        """Return an action that grid2op makes of its own words."""
        words = [{}, *(theirs for _, theirs in self.play.actions)][number]
        return self.other.grid2op_env.action_space(words)


@pytest.fixture(scope="module", params=[SMALL, WIDE], ids=["14", "118"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Pair]:
    play: Play = request.param
    actions = set_of(play, tmp_path_factory.mktemp("sets"))
    options: dict[str, Any] = {
        "grid": play.grid,
        "scenarios": "bundled",
        "reward": "RedispReward",
        "max_steps": 500,
    }
    made = Pair(play, actions, PowerGridEnv(actions=actions, **options), PowerGridEnv(
        actions=envs.line_switches(actions.wiring), **options
    ))  # fmt: skip
    yield made
    made.ours.close()
    made.other.close()


# ------------------------------------------------------------------------------ beside grid2op


def test_it_plays_what_grid2op_plays(pair: Pair):
    grid2op, observation = pair.reset()
    rng = np.random.default_rng(1)
    play = pair.play
    sequence = [play.first] * play.repeated
    sequence += rng.integers(1 + len(play.actions), size=play.drawn).tolist()
    refused, redispatched = 0, 0
    for number in sequence:
        mask = pair.ours.action_masks()
        before = pair.ours.state
        _, reward, terminated, _, info = pair.ours.step(number)
        observation, their_reward, done, their_info = grid2op.step(pair.by_hand(number))
        assert terminated == done and reward == pytest.approx(float(their_reward), rel=1e-6)
        state, mine = pair.ours.state, pair.ours.grid2op_observation
        for name in ("gen_p", "rho", "p_or", "load_p"):
            np.testing.assert_array_equal(getattr(state, name)[0], getattr(observation, name))
        np.testing.assert_array_equal(state.topo_vect[0], observation.topo_vect)
        for name in ("target_dispatch", "actual_dispatch", "curtailment_limit", "storage_charge"):
            theirs = getattr(observation, name)
            np.testing.assert_array_equal(getattr(mine, name), theirs)
        illegal = their_info["is_illegal"] or their_info["failed_redispatching"]
        assert info["illegal"] == illegal == (not mask[number])  # so the mask told it
        said = pair.ours.info_texts()["illegal_reason"]
        assert said == pair.ours.catalogue.illegal_reason(number, before) and bool(said) == illegal
        refused += their_info["failed_redispatching"]
        redispatched += (np.abs(observation.actual_dispatch) > 0.01).any()
        assert not done
    assert redispatched > len(sequence) // 2
    assert refused == 0 if pair.play is WIDE else refused >= 3


def test_a_look_ahead_is_that_of_grid2op(pair: Pair):
    _, observation = pair.reset()
    numbers = list(range(len(pair.actions)))
    alone = pair.ours.simulate(numbers)
    with_losses = pair.ours.simulate(numbers, [4])
    for number in numbers:
        foreseen, _, over, _ = observation.simulate(pair.by_hand(number))
        assert alone.game_over[number] == over
        if over:
            assert np.isinf(alone.rho[number]).all()
        else:
            np.testing.assert_array_equal(alone.rho[number], foreseen.rho)
    np.testing.assert_array_equal(with_losses.rho[:, 0], alone.rho)
    assert np.isin(with_losses.rho[:, 1, 4], (0, np.inf)).all()
    assert len(np.unique(alone.rho_max)) >= 3


def test_a_copy_goes_on_with_the_same_dispatch(pair: Pair):
    pair.reset()
    for number in (1, 2, 1, 3):
        pair.ours.step(number)
    again = pickle.loads(pickle.dumps(pair.ours))
    assert (pair.ours.state.redispatch_target != 0).any()
    for env in (pair.ours, again):
        env.step(4)
    np.testing.assert_allclose(again.state.gen_p, pair.ours.state.gen_p, atol=1e-4)
    np.testing.assert_allclose(
        again.state.redispatch_target, pair.ours.state.redispatch_target, atol=1e-4
    )
    again.close()


def test_the_mask_of_an_observation_alone(pair: Pair):
    pair.reset()
    shown = ObservedPowerGrid(
        pair.ours.grid2op_env.action_space, grid=pair.play.grid, actions=pair.actions
    )
    for _ in range(29):
        pair.ours.step(pair.play.first)
    shown.show(pair.ours.grid2op_observation)
    np.testing.assert_array_equal(shown.action_masks(), pair.ours.action_masks())
    assert shown.action_masks().all() == (pair.play is WIDE)
    np.testing.assert_array_equal(shown.state.redispatch_target, pair.ours.state.redispatch_target)
    shown.close()


def test_effects_are_told_apart(tmp_path: Path, pair: Pair):
    step: dict[str, Any] = {"redispatch": {"8" if pair.play is WIDE else "0": 1.5}}
    opening = {"set_line_status": {"3": -1}}
    actions = (
        opening,
        {"change_line_status": [3]},  # the same
        step,
        {**opening, **step},
        {"change_line_status": [3], **step},  # the same as the one before
        {"curtail": {"4": 1}},  # changes nothing, which the topology does not tell
    )
    path = write(tmp_path / "set.json", pair.play.grid, *actions)
    catalogue = envs.describe_grid(pair.play.grid, path).catalogue
    pair.reset()
    for mask in (catalogue.distinct, catalogue.connected):
        assert mask(pair.ours.state)[0].tolist() == [1, 1, 0, 1, 1, 0, 1]


# --------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".json", ".npz", ".npy"])
def test_files_hold_the_same(pair: Pair, tmp_path: Path, suffix: str):
    path = tmp_path / f"again{suffix}"
    if suffix == ".npy":
        numbers = range(len(pair.actions))
        np.save(path, np.array([pair.by_hand(number).to_vect() for number in numbers]))
    else:
        with open(path, "wb") as file:
            envs.write_action_set(file, pair.actions, binary=suffix == ".npz")
    found = envs.find_action_set(path, pair.play.grid)
    assert found is not None and found == pair.actions
    assert found.texts == pair.ours.catalogue.texts
    if suffix == ".json":
        told = json.loads(path.read_text())["actions"]
        for settings, (ours, _) in zip(told[1:], pair.play.actions, strict=True):
            assert settings.pop("text") and settings == ours  # 2.7, and not 2.700000047


def test_words(pair: Pair):
    texts = pair.actions.texts
    assert len(set(texts)) == len(texts)
    if pair.play is SMALL:
        assert texts[1] == (
            "redispatch gen_0 (substation 1) by +5 MW, gen_5 (substation 0) by -2.7 MW"
        )
        assert texts[4] == (
            "curtail gen_2 (substation 5) to 10 % of its maximum, "
            "gen_4 (substation 7) to 0 % of its maximum"
        )
        assert texts[5] == "end the curtailment of gen_2 (substation 5), gen_4 (substation 7)"
        assert texts[6] == (
            "switch line 1-3 (line 3): disconnect if in, reconnect if out; "
            "redispatch gen_1 (substation 2) by -10 MW, gen_5 (substation 0) by +1.1 MW"
        )
        at = [pair.ours.catalogue.powered_substations(number).tolist() for number in (0, 1, 4, 7)]
        assert at == [[], [0, 1], [5, 7], []]
    else:
        assert texts[2] == "charge storage_0 with 12 MW; discharge storage_3 with 4.2 MW"
        assert pair.ours.catalogue.powered_substations(2).tolist() == [22, 58]


def test_merged_and_chosen(pair: Pair):
    switches = envs.line_switches(pair.actions.wiring, grid=pair.play.grid)
    merged = envs.merge_action_sets([pair.actions, switches, pair.actions])
    only_in_ours = [one for one in pair.actions.texts if one not in switches.texts]
    assert len(merged) == len(only_in_ours) + len(switches)
    assert merged.texts[: len(pair.actions)] == pair.actions.texts
    assert merged.subset(range(len(pair.actions))) == pair.actions
    assert merged.sha256 != pair.actions.sha256
    back = envs.merge_action_sets([switches, pair.actions]).subset(range(len(switches)))
    assert back == switches and back.powers is None and switches.powers is None
    assert pair.actions.subset([2, 1]).texts == tuple(pair.actions.texts[one] for one in (0, 2, 1))
    assert pair.actions.subset([2, 1]) != pair.actions.subset([1, 2])


# ------------------------------------------------------------------------------------- refused


BAD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"redispatch": {"6": 1}}, "there is no generator '6'; they are numbered from 0 to 5"),
    ({"redispatch": {"0": "1"}}, "redispatch of generator 0 must be a number of MW, but is '1'"),
    ({"redispatch": {"0": True}}, "redispatch of generator 0 must be a number of MW, but is True"),
    ({"redispatch": [0, 1.5]}, "redispatch must have what it sets by number, but is .0, 1.5."),
    ({"redispatch": {"0": float("nan")}}, "action 0: redispatch of gen_0 is nan; expected a num"),
    ({"redispatch": {"0": 1e300}}, "redispatch of gen_0 is inf; expected a number of MW"),
    ({"curtail": {"2": 40}}, "curtail of generator 2 must be a ratio from 0 to 1, but is 40"),
    ({"curtail": {"2": -1}}, "curtail of generator 2 must be a ratio from 0 to 1, but is -1"),
    ({"set_storage": {"0": 1}}, "there is no storage unit '0'; the grid has none"),
    ({"redispatching": {"0": 1}}, "unknown setting 'redispatching'; .* redispatch, curtail, "),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), BAD_FILES, ids=[one for _, one in BAD_FILES])
def test_a_bad_file_is_one_line(tmp_path: Path, settings: dict[str, Any], message: str):
    path = write(tmp_path / "bad.json", SANDBOX, settings)
    with pytest.raises(ValueError, match=message) as refused:
        envs.find_action_set(path, SANDBOX)
    assert str(refused.value).startswith(f"action set {path}: ")
    assert "\n" not in str(refused.value)


def test_what_a_file_says_twice(tmp_path: Path):
    path = write(tmp_path / "bad.json", SANDBOX, {"redispatch": {"0": 1.5}})
    path.write_text(path.read_text().replace('{"0": 1.5}', '{"0": 1.5, "0": 2}'))
    with pytest.raises(ValueError, match="'0' is there twice in {'0': 2}"):
        envs.find_action_set(path, SANDBOX)
    path.write_text(path.read_text().replace('"0": 1.5, "0"', '"0": 1.5, "00"'))
    with pytest.raises(ValueError, match="action 0: redispatch sets generator 0 twice"):
        envs.find_action_set(path, SANDBOX)


UNSUITED: list[tuple[str, dict[str, Any], str]] = [
    (SANDBOX, {"redispatch": {"2": 1}}, "action 1 redispatches gen_2, which cannot be redispatched;"
     " those that can be are gen_0, gen_1, gen_5"),
    (SANDBOX, {"redispatch": {"0": 5.1}}, "action 1 redispatches gen_0 by .5.1 MW; its ramps allow "
     "-5 to .5 MW a step"),
    (SANDBOX, {"redispatch": {"1": -10.5}}, "gen_1 by -10.5 MW; its ramps allow -10 to .10 MW"),
    (SANDBOX, {"curtail": {"0": 0.5}}, "action 1 curtails gen_0, which is not renewable; those that"
     " can be are gen_2, gen_3, gen_4"),
    ("rte_case5_example", {"redispatch": {"1": 1}}, "it has actions that redispatch, which the "
     "actions of the grid cannot do"),
    ("rte_case5_example", {"curtail": {"0": 0.5}}, "it has actions that curtail, which the "
     "actions of the grid cannot do"),
    (LARGE, {"set_storage": {"6": 12.5}}, "action 1 sets storage_6 to .12.5 MW; it can give and "
     "take -12 to .12 MW a step"),
]  # fmt: skip


@pytest.mark.parametrize(("grid", "settings", "message"), UNSUITED)
def test_what_a_grid_cannot_do(grid: str, settings: dict[str, Any], message: str, tmp_path: Path):
    path = write(tmp_path / "set.json", grid, settings)
    with pytest.raises(ValueError, match=f"does not suit grid '{grid}': .*{message}") as refused:
        envs.describe_grid(grid, path)
    assert "\n" not in str(refused.value)


def test_a_grid_without_redispatching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair):
    space: Any = pair.other.grid2op_env.action_space
    none = PowerSettings.none(1, pair.actions.wiring)
    none.redispatch[0, 0] = 1
    kind = type(space)
    monkeypatch.setattr(kind, "gen_redispatchable", np.zeros(kind.n_gen, dtype=np.bool_))
    with pytest.raises(ValueError, match="gen_0, which cannot be redispatched; none of the grid's"):
        none.check_grid(space)
    monkeypatch.setattr(kind, "redispatching_unit_commitment_availble", False)
    with pytest.raises(ValueError, match="redispatch, and the grid does not say what its generat"):
        none.check_grid(space)


def test_vectors_of_what_a_grid_cannot_do(pair: Pair):
    space: Any = pair.other.grid2op_env.action_space
    limited = space({})
    vector = limited.to_vect()
    place = sum(
        np.size(limited._get_array_from_attr_name(name))
        for name in limited.attr_list_vect[: limited.attr_list_vect.index("_redispatch")]
    )
    vector[place] = 1000
    with pytest.raises(ValueError, match="action 1 redispatches gen_0"):
        decode_vectors(np.array([0 * vector, vector]), space, pair.actions.wiring)


def test_the_fast_environment_names_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a grid was opened")

    path = write(tmp_path / "set.json", SANDBOX, {"change_line_status": [1]}, {"curtail": {"2": 0}})
    monkeypatch.setattr("envs.fast.template.new_grid2op", never)
    message = (
        "plays actions on lines and substations only, and action 2 of the set is of another "
        "kind .curtail gen_2 .* play it on the reference simulator: PowerGridEnv, .* "
        "env.simulator=grid2op"
    )
    with pytest.raises(ValueError, match=message) as refused:
        PowerGridVectorEnv(2, actions=path, scenarios="bundled")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "full"}, "observation 'full' shows a grid on which nobody redispatches"),
        ({"reward": "redispatch_cost"}, "nobody redispatches, .* grid2op's own 'RedispReward'"),
    ],
)
def test_what_does_not_know_of_powers(options: dict[str, Any], message: str, tmp_path: Path):
    path = write(tmp_path / "set.json", SANDBOX, {"redispatch": {"0": 1}})
    with pytest.raises(ValueError, match=message):
        PowerGridEnv(actions=path, scenarios="bundled", **options)


# ------------------------------------------------------------- what only grid2op tells, too late


def test_only_redispatching_is_left_out(tmp_path: Path):
    step = {"redispatch": {"0": 5}}
    mixed = {**step, "set_line_status": {"3": -1}, "curtail": {"2": 0.9}}
    path = write(tmp_path / "set.json", SANDBOX, step, mixed)
    env = PowerGridEnv(actions=path, scenarios="bundled")
    env.reset(options={"scenario": "sandbox-0000"})
    for _ in range(28):  # 140 MW, all that gen_0 can
        assert not env.step(1)[-1]["illegal"]
    assert env.action_masks().tolist() == [True, False, False]
    assert env.step(2)[-1]["illegal"]
    assert not env.state.line_status[0, 3]
    seen = env.grid2op_observation
    assert seen.curtailment_limit[2] == np.float32(0.9) and seen.target_dispatch[0] == 140
    env.close()


def test_a_generator_that_is_off(tmp_path: Path):
    path = write(tmp_path / "set.json", LARGE, {"redispatch": {"6": 1}, "set_storage": {"0": 1}})
    for allowed in (False, True):
        env = PowerGridEnv(
            grid=LARGE,
            actions=path,
            scenarios="bundled",
            parameters={"ALLOW_DISPATCH_GEN_SWITCH_OFF": allowed, "INIT_STORAGE_CAPACITY": 1.0},
        )
        env.reset(seed=0, options={"first_step": 5})
        assert env.state.gen_p[0, 6] == 0
        assert env.action_masks()[1]  # whether it is off in the next step is not known
        info = env.step(1)[-1]
        assert info["illegal"] == (not allowed)
        said = "" if allowed else "Impossible to dispatch a turned off generator"
        assert env.info_texts()["illegal_reason"] == said
        seen = env.grid2op_observation
        assert bool(seen.target_dispatch[6]) == allowed
        assert 0 <= seen.storage_power[0] < 0.5  # it is full
        env.close()


def test_what_the_generators_cannot_follow_ends_the_game(tmp_path: Path):
    limits = {"curtail": {"2": 0, "3": 0, "4": 0}}
    path = write(tmp_path / "set.json", SANDBOX, limits)
    env = PowerGridEnv(actions=path, scenarios="bundled")
    env.reset(options={"scenario": "educ-2019-01-12", "first_step": 135})
    assert env.simulate([0, 1]).game_over.tolist() == [False, True]  # the forecast tells
    _, _, terminated, _, info = env.step(1)
    assert terminated and not info["illegal"]
    assert env.info_texts()["end"] == (
        "blackout: the generators cannot balance the grid within their ramps and limits"
    )
    env.close()
    softened = {"LIMIT_INFEASIBLE_CURTAILMENT_STORAGE_ACTION": True}
    env = PowerGridEnv(actions=path, scenarios="bundled", parameters=softened)
    env.reset(options={"scenario": "educ-2019-01-12", "first_step": 135})
    assert not env.step(1)[2]
    env.close()


def test_tables_are_checked():
    wiring = envs.grid_wiring(SANDBOX)
    switches = envs.line_switches(wiring)
    count = len(switches)
    powers = PowerSettings.none(count, wiring)

    def made(**changes: np.ndarray) -> Callable[[], ActionSet]:
        return lambda: ActionSet(wiring, *switches.tables, powers=powers._replace(**changes))

    assert made()() == switches and made()().powers is None
    with pytest.raises(
        ValueError, match=r"its table curtail has shape \(21, 5\); expected \(21, 6"
    ):
        made(curtail=powers.curtail[:, 1:])()
    with pytest.raises(
        ValueError, match="action 3: curtail of gen_2 is 1.5; expected a ratio of its"
    ):
        wrong = powers.curtail.copy()
        wrong[3, 2] = 1.5
        made(curtail=wrong)()
