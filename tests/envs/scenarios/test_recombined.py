"""Months made of real weeks: what they are made of, and that they are as hard as the real ones."""

import hashlib
import pickle
import time

import numpy as np
import pandas as pd
import pytest

from envs.scenarios import SPLITS, RecombinedSource, make_source
from envs.scenarios.grid2op_grids import grid_columns, grid_folder
from envs.scenarios.recombined import build
from envs.scenarios.sandbox_months import (
    ALL_WEEKS,
    GENERATORS,
    GRIDS,
    LOADS,
    PERIODS,
    SPLIT_WEEKS,
)

parse = PERIODS.parse


LENGTHS = {"train": 64, "val": 32, "test": 64, "all": 40}
# SHA-256 of the names, one a line: results on a list mean nothing if the list changes
LIST_HASHES = {
    "train": "04624bac71a060bf55e9327cca9a415ed8dc2ca1ffaa28066ca770b5a3f5b46f",
    "val": "967372763d2823030d71ecb6341dc35364541a4404da7cdc29b30d0e5b5029ea",
    "test": "6c2d61d33603d5495645320c5806b01579c5386c0d4b297bc6da774d55220b04",
    "all": "15824688a4f902ed69de9dae7acb3292c808e3c2b338806332e37ea9c5a69495",
}
MORE_HASHES = {
    "train": "04865d5c5b362a669b620f1179ca0f7acae746a8f92813cf59bbb702be9ea715",
    "val": "c398822d5104839188c1b18db03634fd31d47455516ef224f711f19f1be72b90",
    "test": "7eb4ed87cfa0a557d90943c0498043614df418aada86bd37cb8e4352ffdda31c",
    "all": "dcbb24406ed46ed86379f33343f90310e4080e6013967a60f1b3e6d427d2b59a",
}
# SHA-256 of the series of the first scenario of each list, in the order of the fields
SERIES_HASHES = {
    "train": "b92d626f8b82c29099f8ea9eb5c683d45ce99c0e8fcabc272bd9b7b698ec15d0",
    "val": "3988f73a9ccb059f2801f57fcfb3393b41bd2dd9840cfb8974c091f9d4641e55",
    "test": "7285077cff32b2bb8023004c548690b18e41e04bcfe8d156b8b5f1f9c1918019",
    "all": "aa88d7b3cb96538b117dd59dc79936227cda0d28a847c49d64af0ccc23180b47",
}
# doing nothing, measured with grid2op 1.12.6 and lightsim2grid 1.2.0: name -> step of the blackout
BLACKOUTS = {
    "train-l13.00.31.22-w22.31.13.13-s32.13.23.10": 515,
    "train-l22.01.32.01-w01.10.22.23-s10.32.31.22": 806,
    "val-l33.33.11.33-w11.11.33.11-s20.20.02.20": 519,
    "val-l33.02.02.11-w20.33.20.20-s11.11.11.02": 706,
    "test-l21.03.30.03-w30.30.12.30-s03.21.21.12": 509,
    "test-l21.03.21.12-w12.30.30.30-s03.21.03.03": 794,
    "all-l21.12.23.03-w30.22.03.32-s22.03.00.00": 509,
    "all-l22.32.32.03-w12.13.11.22-s02.00.01.01": 796,
}


@pytest.fixture(scope="module")
def source() -> RecombinedSource:
    return RecombinedSource()


def real_week(month: int, week: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read one week of loads and production from the wheel, apart from the code under test."""
    grid, chronic = [
        ("rte_case14_realistic", "000"),
        ("rte_case14_realistic", "001"),
        ("rte_case14_redisp", "0"),
        ("rte_case14_redisp", "1"),
    ][month]
    folder = grid_folder(grid) / "chronics" / chronic
    rows = slice(2016 * week, 2016 * (week + 1))
    loads = pd.read_csv(folder / "load_p.csv.bz2", sep=";").iloc[rows]
    production = pd.read_csv(folder / "prod_p.csv.bz2", sep=";").iloc[rows]
    return loads, production


def column_of(table: pd.DataFrame, prefix: str) -> np.ndarray:
    (column,) = [c for c in table.columns if c.startswith(prefix)]
    return table[column].to_numpy()


def test_a_scenario_is_made_of_the_weeks_its_name_says(source):
    name = "all-l00.13.22.31-w11.20.33.02-s03.10.21.32"
    scenario = source.load(name)
    assert scenario.num_steps == 8064
    loads, _ = real_week(2, 2)  # third place
    _, wind = real_week(3, 3)
    _, sun = real_week(2, 1)
    rows = slice(2 * 2016, 3 * 2016)
    for index, load in enumerate(LOADS):
        prefix = "_".join(load.split("_")[:2]) + "_"  # load_13_10 is load_13_2 in the other grid
        np.testing.assert_allclose(
            scenario.load_p[rows, index], column_of(loads, prefix), rtol=1e-6
        )
    production = dict(zip(GENERATORS, scenario.prod_p.T, strict=True))
    np.testing.assert_allclose(production["gen_5_2"][rows], column_of(wind, "gen_5_"), rtol=1e-6)
    np.testing.assert_allclose(production["gen_7_4"][rows], column_of(sun, "gen_7_"), rtol=1e-6)


def test_what_was_measured_on_the_sandbox_holds(source):
    scenario = source.load(source.names("train")[0])
    production = dict(zip(GENERATORS, scenario.prod_p.T, strict=True))
    np.testing.assert_allclose(scenario.load_q, 0.7 * scenario.load_p, rtol=1e-6)
    np.testing.assert_allclose(production["gen_5_3"], 1.736 * production["gen_7_4"], rtol=1e-6)
    np.testing.assert_allclose(scenario.prod_p.sum(1), 1.019 * scenario.load_p.sum(1), rtol=1e-5)
    np.testing.assert_array_equal(production["gen_0_5"], production["gen_1_0"])
    np.testing.assert_array_equal(production["gen_0_5"], production["gen_2_1"])
    assert production["gen_0_5"].min() > 0
    assert set(zip(GENERATORS, scenario.prod_v[100], strict=True)) == {
        ("gen_0_5", np.float32(142.1)),
        ("gen_1_0", np.float32(142.1)),
        ("gen_2_1", np.float32(142.1)),
        ("gen_5_2", np.float32(22.0)),
        ("gen_5_3", np.float32(22.0)),
        ("gen_7_4", np.float32(13.2)),
    }


def test_the_same_facts_hold_on_the_sandboxs_own_scenario():
    scenario = make_source("bundled").load("sandbox-0000")
    production = dict(zip(GENERATORS, scenario.prod_p.T.astype(float), strict=True))
    assert abs((scenario.load_q / scenario.load_p).mean() - 0.7) < 0.005
    assert abs((scenario.prod_p.sum(1) / scenario.load_p.sum(1)).mean() - 1.019) < 0.002
    sunny = production["gen_7_4"] > 1
    assert abs(np.median(production["gen_5_3"][sunny] / production["gen_7_4"][sunny]) - 1.736) < 0.1
    assert np.corrcoef(production["gen_5_3"], production["gen_7_4"])[0, 1] > 0.98
    error = scenario.load_p_forecast[:-1] / scenario.load_p[1:] - 1
    assert abs(error[:, :3].std() - 0.01) < 0.001


def test_forecasts_are_the_next_row_with_an_error_of_one_percent(source):
    scenario = source.load(source.names("val")[1])
    error = scenario.load_p_forecast[:-1] / scenario.load_p[1:] - 1
    assert abs(error.std() - 0.01) < 1e-4
    assert abs(error.mean()) < 1e-4
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.05
    producing = scenario.prod_p[1:] > 0
    error = (scenario.prod_p_forecast[:-1] / np.where(producing, scenario.prod_p[1:], 1) - 1)[
        producing
    ]
    assert abs(error.std() - 0.01) < 1e-4
    np.testing.assert_allclose(scenario.load_q_forecast, 0.7 * scenario.load_p_forecast, rtol=1e-6)


def test_weekdays_are_kept_and_the_last_row_closes_the_circle(source):
    scenario = source.load(source.names("test")[0])
    assert scenario.start.astype(object).strftime("%A %H:%M") == "Sunday 00:00"
    np.testing.assert_array_equal(scenario.load_p[0], scenario.load_p[8064])
    total = scenario.load_p.sum(1)[:-1].reshape(4, 7, 288).mean(2)
    assert np.all(total[:, 0] < total[:, 1:6].min(axis=1))  # Sundays use least
    assert np.all(scenario.prod_p[::288, GENERATORS.index("gen_7_4")] == 0)  # midnights


def test_where_weeks_meet_jumps_stay_small(source):
    for name in source.names("train")[:8]:
        scenario = source.load(name)
        jumps = np.abs(np.diff(scenario.load_p.sum(1)))[2015::2016]
        assert len(jumps) == 4
        assert jumps.max() < 16


def test_splits_share_no_week():
    weeks = [set(SPLIT_WEEKS[split]) for split in SPLITS]
    assert sum(len(w) for w in weeks) == 16
    assert set.union(*weeks) == set(ALL_WEEKS) == set(SPLIT_WEEKS["all"])


@pytest.mark.parametrize("split", LENGTHS)
@pytest.mark.parametrize(("more", "hashes"), [(False, LIST_HASHES), (True, MORE_HASHES)])
def test_lists_are_fixed_and_balanced(split, more, hashes):
    names = RecombinedSource(more=more).names(split)
    assert len(set(names)) == len(names) == LENGTHS[split] * (4 if more else 1)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == hashes[split]
    for part in ("load", "wind", "sun"):
        for place in range(4):
            weeks = [getattr(parse(name), part)[place] for name in names]
            counts = [weeks.count(week) for week in SPLIT_WEEKS[split]]
            assert sum(counts) == len(names)
            cut = more and split == "all"  # this list begins and ends within a round
            assert max(counts) - min(counts) <= (2 if cut else 1)
    for name in names:
        composition = parse(name)
        assert composition.name == name
        for place in zip(composition.load, composition.wind, composition.sun, strict=True):
            assert len(set(place)) == 3


@pytest.mark.parametrize("split", LENGTHS)
def test_more_months_are_other_months(source, split):
    more = make_source("recombined_more")
    assert not set(more.names(split)) & set(source.names(split))
    assert more.load(source.names(split)[0]) is source.load(source.names(split)[0])


@pytest.mark.parametrize("split", SERIES_HASHES)
def test_the_numbers_behind_a_name_never_change(source, split):
    digest = hashlib.sha256()
    for series in vars(source.load(source.names(split)[0])).values():
        if isinstance(series, np.ndarray):
            digest.update(np.ascontiguousarray(series).tobytes())
    assert digest.hexdigest() == SERIES_HASHES[split]


def test_draws_follow_the_seed_and_stay_in_the_split(source):
    drawn = [source.draw("val", np.random.default_rng(3)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    rng = np.random.default_rng(0)
    names = {source.draw("train", rng) for _ in range(200)}
    assert len(names) == 200
    for name in names:
        composition = parse(name)
        used = {*composition.load, *composition.wind, *composition.sun}
        assert used <= set(SPLIT_WEEKS["train"])


def test_a_name_rebuilds_its_scenario(source):
    name = source.names("val")[5]
    scenario = source.load(name)
    assert source.load(name) is scenario  # kept
    build.cache_clear()
    again = pickle.loads(pickle.dumps(source)).load(name)
    assert again is not scenario
    for field, value in vars(scenario).items():
        np.testing.assert_array_equal(getattr(again, field), value)


def test_building_is_fast(source):
    names = source.names("all")[:5]
    source.load(names[0])
    build.cache_clear()
    durations = []
    for name in names:
        began = time.perf_counter()
        source.load(name)
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.05


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0000", "expected a split and four weeks"),
        ("vall-l00.00.00.00-w01.01.01.01-s10.10.10.10", "did you mean 'val'"),
        ("val-l02.11.20.33-w11.20.33.03-s20.33.02.11", "week 03 of its wind is not in split 'val'"),
        ("all-l00.13.22.41-w11.20.33.02-s03.10.21.32", "expected a split and four weeks"),
    ],
)
def test_wrong_names_are_answered(source, name, message):
    with pytest.raises(ValueError, match=message):
        source.load(name)


def test_wrong_splits_grids_and_sources_are_answered(source):
    with pytest.raises(ValueError, match="did you mean 'train'"):
        source.names("trian")
    with pytest.raises(ValueError, match="'dataset'"):
        make_source("recombined", grid="rte_case14_realistic")
    with pytest.raises(ValueError, match="did you mean 'recombined'"):
        make_source("recombine")
    with pytest.raises(ValueError, match="take no folder"):
        make_source("recombined", folder="somewhere")


@pytest.mark.parametrize("grid", GRIDS)
def test_the_grids_that_fit_do_fit(grid):
    columns = grid_columns(grid)
    assert columns.load_names == LOADS
    assert columns.generator_names == GENERATORS


@pytest.mark.parametrize("name", BLACKOUTS)
def test_doing_nothing_ends_where_it_was_measured(source, sandbox, doing_nothing, name):
    assert doing_nothing(sandbox, source.load(name)) == BLACKOUTS[name]


@pytest.mark.slow
def test_months_are_as_hard_as_the_downloaded_ones(source, sandbox, doing_nothing):
    steps = [doing_nothing(sandbox, source.load(name)) for name in source.names("all")]
    assert 0.15 < np.mean(steps) / 8064 < 0.28  # published: 0.20 to 0.24
    assert max(steps) < 8064  # and none completed
    assert len(set(steps)) >= 30
