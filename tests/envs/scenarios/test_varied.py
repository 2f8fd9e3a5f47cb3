"""Months scaled at random: what a name means, that the numbers are sensible, what is drawn."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest

from envs.scenarios import RecombinedSource
from envs.scenarios import VariedSource
from envs.scenarios import export
from envs.scenarios import make_source
from envs.scenarios.grids import grid_folder
from envs.scenarios.recombined import DISPATCHED
from envs.scenarios.recombined import GENERATORS
from envs.scenarios.recombined import GRIDS
from envs.scenarios.recombined import SPLIT_WEEKS
from envs.scenarios.recombined import WIND
from envs.scenarios.recombined import parse
from envs.scenarios.varied import LIMITS
from envs.scenarios.varied import build

PLAIN = "train-l13.00.31.22-w22.31.13.13-s32.13.23.10"
# SHA-256 of the series of the first scenario of each list, in the order of the fields
SERIES_HASHES = {
    "train": "5c2e144b8669e9e442bbe710032fcaae636f4dcbec9f0cf1b2a179dd51b92ccd",
    "val": "ed732943dfc8da593bded0372a472cf779c4d348d795b83bddadd43fa989f3cf",
    "test": "163c4b6a4c0e4cd24a2d7c7a948c7021a463ba4f0c4a04834d07087283fdc484",
    "all": "57a4b5fd57f3a700fbf58d63b762be7a65aa4dc9fd37bdad09efc4690e3225b4",
}
# doing nothing, measured with grid2op 1.12.6 and lightsim2grid 1.2.0: number of the test list's
# month -> step of the blackout
BLACKOUTS = {0: 666, 1: 371}


@pytest.fixture(scope="module")
def source() -> VariedSource:
    return VariedSource()


def test_each_plain_month_is_varied_once(source):
    for split in SPLIT_WEEKS:
        names, plain = source.names(split), RecombinedSource().names(split)
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


def test_generation_is_what_its_generators_can_make(source):
    capacity = LIMITS[list(DISPATCHED)].sum()
    rng = np.random.default_rng(0)
    names = source.names("val") + tuple(source.draw("train", rng) for _ in range(40))
    shifted, scarce, still = 0, 0, 0
    for name in names:
        if "-x" not in name:
            continue
        made = source.load(name).prod_p.astype(float)
        assert made.min() >= 0
        np.testing.assert_allclose(
            made.sum(1), 1.019 * source.load(name).load_p.sum(1, dtype=float), rtol=1e-5
        )
        dispatched = made[:, DISPATCHED]
        rest = dispatched.sum(axis=1)
        assert dispatched.min() > 20
        assert rest.max() < 1.1 * capacity
        loading = made / LIMITS
        assert loading[rest < capacity].max() < 1 + 1e-6
        no_room = loading[rest > capacity][:, DISPATCHED]
        np.testing.assert_allclose(no_room, np.broadcast_to(no_room[:, :1], no_room.shape), 1e-5)
        free = loading[:, DISPATCHED].max(axis=1) < 1 - 1e-6  # shares are kept wherever they can be
        shares = dispatched[free] / rest[free, None]
        np.testing.assert_allclose(shares, np.broadcast_to(shares[0], shares.shape), rtol=1e-5)
        scarce += bool((rest > capacity).any())
        shifted += not free.all()
        still += bool((made[:, WIND] == LIMITS[WIND]).any())
    assert scarce > 0 and shifted > 10 and still > 0  # all of this was seen


@pytest.mark.parametrize("grid", GRIDS)
def test_the_limits_are_those_of_the_grid(grid):
    maxima = pd.read_csv(grid_folder(grid) / "prods_charac.csv").set_index("name")["Pmax"]
    assert [maxima[name] for name in GENERATORS] == LIMITS.tolist()


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
    folder = export(source, tmp_path / "month", names=[name])
    back = make_source("dataset", folder=str(folder)).load(name)
    for field, value in vars(source.load(name)).items():
        np.testing.assert_array_equal(getattr(back, field), value, err_msg=field)


@pytest.mark.parametrize("number", BLACKOUTS)
def test_doing_nothing_ends_where_it_was_measured(source, sandbox, doing_nothing, number):
    assert doing_nothing(sandbox, source.load(source.names("test")[number])) == BLACKOUTS[number]
