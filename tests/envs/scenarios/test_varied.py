"""Months scaled at random: what a name means, that the numbers are sensible, what is drawn."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest

from envs.scenarios import RecombinedSource, VariedSource, export_scenarios, make_source
from envs.scenarios.grid2op_grids import grid_folder
from envs.scenarios.sandbox_months import (
    DISPATCHED,
    GENERATORS,
    GRIDS,
    PERIODS,
    SPLIT_WEEKS,
    WIND,
    WIND_LIMIT,
)
from envs.scenarios.varied import build

parse = PERIODS.parse


PLAIN = "train-l13.00.31.22-w22.31.13.13-s32.13.23.10"
# SHA-256 of the series of the first scenario of each list, in the order of the fields
SERIES_HASHES = {
    "train": "34c2ac42cd0fafc81482e6c4b9e4f54a330a71f52689d9310f76f555ff94d32d",
    "val": "cf5daa49a9bbe7af0cd4dc39403805b5236c5dd76c2842018514124205929981",
    "test": "164aff7dc06b7401160a327e1edb604ca4188b5662c7456e0f872d1e6b56e81d",
    "all": "1e1d72000c6a53d1664ed3e3648cb49426aad80d1e22cc627fb7407155c65420",
}
# doing nothing, measured with grid2op 1.12.6 and lightsim2grid 1.2.0: number of the test list's
# month -> step of the blackout
BLACKOUTS = {0: 670, 1: 381}


@pytest.fixture(scope="module")
def source() -> VariedSource:
    return VariedSource()


@pytest.mark.parametrize("suffix", ["", "_more"])
def test_each_plain_month_is_varied_once(suffix):
    for split in SPLIT_WEEKS:
        names = make_source(f"varied{suffix}").names(split)
        plain = make_source(f"recombined{suffix}").names(split)
        assert names == tuple(f"{name}-x{number}" for number, name in enumerate(plain))


@pytest.mark.parametrize("split", SERIES_HASHES)
def test_the_numbers_behind_a_name_never_change(source, split):
    digest = hashlib.sha256()
    for series in vars(source.load(source.names(split)[0])).values():
        if isinstance(series, np.ndarray):
            digest.update(np.ascontiguousarray(series).tobytes())
    assert digest.hexdigest() == SERIES_HASHES[split]


def test_a_name_rebuilds_its_month(source):
    name = f"{PLAIN}-x2147483647"
    scenario = source.load(name)
    assert scenario.name == name
    assert source.load(name) is scenario  # kept
    build.cache_clear()
    again = pickle.loads(pickle.dumps(source)).load(name)
    assert again is not scenario
    for field, value in vars(scenario).items():
        np.testing.assert_array_equal(getattr(again, field), value)
    other = source.load(f"{PLAIN}-x0")
    assert not np.array_equal(other.load_p, scenario.load_p)
    assert source.load(PLAIN) is RecombinedSource().load(PLAIN)  # the plain months are there, too


def test_loads_wind_and_sun_are_scaled(source):
    plain, varied = source.load(PLAIN), source.load(f"{PLAIN}-x7")
    factors = varied.load_p / plain.load_p
    np.testing.assert_allclose(factors, np.broadcast_to(factors[0], factors.shape), rtol=1e-5)
    assert len(set(factors[0].round(3))) > 8 and 0.6 < factors.min() < factors.max() < 1.7
    np.testing.assert_allclose(varied.load_q, 0.7 * varied.load_p, rtol=1e-6)
    for kind in ("gen_5_2", "gen_7_4"):
        column = GENERATORS.index(kind)
        there = plain.prod_p[:, column] > 0.5
        factors = varied.prod_p[there, column] / plain.prod_p[there, column]
        np.testing.assert_allclose(factors, factors[0], rtol=1e-5)
        assert 0.6 <= factors[0] <= 1.2
    production = dict(zip(GENERATORS, varied.prod_p.T, strict=True))
    np.testing.assert_allclose(production["gen_5_3"], 1.736 * production["gen_7_4"], rtol=1e-6)
    assert varied.start == plain.start and varied.num_steps == plain.num_steps
    np.testing.assert_array_equal(varied.load_p[0], varied.load_p[8064])
    error = varied.load_p_forecast[:-1] / varied.load_p[1:] - 1
    assert abs(error.std() - 0.01) < 1e-4


def test_production_meets_the_load_and_is_shared_evenly_over_the_month(source):
    rng = np.random.default_rng(0)
    names = source.names("val") + tuple(source.draw("train", rng) for _ in range(40))
    still = 0
    for name in (name for name in names if "-x" in name):
        made = source.load(name).prod_p.astype(float)
        np.testing.assert_allclose(
            made.sum(1), 1.019 * source.load(name).load_p.sum(1, dtype=float), rtol=1e-5
        )
        dispatched = made[:, DISPATCHED]
        shares = dispatched / dispatched.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shares, np.broadcast_to(shares[0], shares.shape), rtol=1e-5)
        assert 0.15 < shares.min() < shares.max() < 0.55
        assert dispatched.min() > 20
        assert made[:, WIND].max() <= WIND_LIMIT
        still += bool((made[:, WIND] == WIND_LIMIT).any())
    assert still > 0  # the limit was met


@pytest.mark.parametrize("grid", GRIDS)
def test_the_limit_of_the_wind_is_that_of_the_grid(grid):
    maxima = pd.read_csv(grid_folder(grid) / "prods_charac.csv").set_index("name")["Pmax"]
    assert maxima[GENERATORS[WIND]] == WIND_LIMIT


def test_draws_follow_the_seed_and_stay_in_the_split(source):
    first, second = (
        [source.draw("val", rng) for _ in range(20)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == second
    rng = np.random.default_rng(0)
    drawn = [source.draw("train", rng) for _ in range(400)]
    assert len(set(drawn)) == 400
    assert 50 < sum("-x" not in name for name in drawn) < 110  # one of five
    for name in drawn:
        composition = parse(name.partition("-x")[0])
        assert composition.split == "train"
        used = {*composition.load, *composition.wind, *composition.sun}
        assert used <= set(SPLIT_WEEKS["train"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{PLAIN}-x", "unknown varied scenario .*-x': expected .* a number, such as 'train-"),
        (f"{PLAIN}-x-1", "unknown varied scenario"),
        (f"{PLAIN}-x07", "unknown varied scenario"),  # x7 it is
        (f"{PLAIN}-x٣", "unknown varied scenario"),
        (f"{PLAIN}-x7\n", "unknown varied scenario"),
        (f"{PLAIN}-x2147483648", "'-x' must be at most 2147483647"),
        (f"{PLAIN}-x1-x2", "unknown recombined scenario"),
        ("0000-x1", "unknown recombined scenario '0000': expected a split and four weeks"),
        ("0000", "unknown recombined scenario '0000': expected a split and four weeks"),
        ("vall-l11.11.11.11-w02.02.02.02-s20.20.20.20-x1", "did you mean 'val'"),
        ("val-l11.11.11.11-w02.02.02.03-s20.20.20.20-x1", "week 03 of its wind is not in split"),
    ],
)
def test_wrong_names_are_answered(source, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        source.load(name)
    assert "\n" not in str(caught.value)


def test_wrong_splits_grids_and_sources_are_answered(source):
    with pytest.raises(ValueError, match="did you mean 'train'"):
        source.names("trian")
    with pytest.raises(ValueError, match="did you mean 'train'"):
        source.draw("trian", np.random.default_rng(0))
    with pytest.raises(ValueError, match="scenarios 'varied' are made for .*'dataset'"):
        make_source("varied", grid="rte_case14_realistic")
    with pytest.raises(ValueError, match="did you mean 'varied'"):
        make_source("varid")
    with pytest.raises(ValueError, match="take no folder"):
        make_source("varied", folder="somewhere")
    assert make_source("varied") == source


def test_an_exported_month_reads_back_the_same(source, tmp_path):
    name = source.names("test")[0]
    folder = export_scenarios(source, tmp_path / "month", names=[name])
    back = make_source("dataset", folder=str(folder)).load(name)
    for field, value in vars(source.load(name)).items():
        np.testing.assert_array_equal(getattr(back, field), value, err_msg=field)


@pytest.mark.parametrize("number", BLACKOUTS)
def test_doing_nothing_ends_where_it_was_measured(source, sandbox, doing_nothing, number):
    assert doing_nothing(sandbox, source.load(source.names("test")[number])) == BLACKOUTS[number]
