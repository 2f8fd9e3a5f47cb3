"""Three days on 36 substations: made of the real days they name, balanced, bridged, split apart."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest

import envs
from envs.scenarios import SPLITS, BundledSource, RecombinedSource, export_scenarios, make_source
from envs.scenarios.grid2op_grids import grid_columns, grid_folder
from envs.scenarios.real_days import (
    ALL_DAYS,
    APRIL,
    BRIDGE,
    DISPATCHED,
    EXCHANGES,
    HIGHEST,
    HYDRO,
    LARGEST,
    LOWEST,
    MAXIMUM,
    OTHER_MONTHS,
    PLACES,
    ROWS_PER_DAY,
    SERIES,
    SUN,
    WIND,
)
from envs.scenarios.recombined import recipe_of

WCCI_2020, TRACK_1, ICAPS = "l2rpn_wcci_2020", "l2rpn_neurips_2020_track1", "l2rpn_icaps_2021"
GRIDS = (WCCI_2020, TRACK_1, ICAPS)
PERIODS = {WCCI_2020: APRIL, TRACK_1: OTHER_MONTHS}
LENGTHS = {"train": 32, "val": 16, "test": 16, "all": 40}
APRIL_NAME, NAME = "all-l03.07.02-w08.00.09-s01.05.00", "all-l10.30.21-w40.11.22-s22.12.40"
KINDS = ("load_p", "load_q", "prod_p")
MIDDAY = slice(BRIDGE, ROWS_PER_DAY - BRIDGE)
# SHA-256 of the names, one a line: results on a list mean nothing if the list changes
LIST_HASHES = {
    (WCCI_2020, "train"): "5cfde22902c51ea4a4e018cdff0ab7be7c359fbfb239257db000ba76b45018fd",
    (WCCI_2020, "val"): "092f8e95f9379308807c74172a5497dcf651d04cbd058312d46351fb666ef6c6",
    (WCCI_2020, "test"): "35ccd7852ccec67d0b491b56f8d89513ceea895f340e307659bd379112ca18ee",
    (WCCI_2020, "all"): "9c20bf70ca5427945c6ffcbece6ab9686155ac17050da2ae092c940e3f4a3d94",
    (TRACK_1, "train"): "7bd8be31895308c48adbc2ef95ff304bbb1d50f587f4d807a4f7d8692633f984",
    (TRACK_1, "val"): "5b6a65c06ac7d7cf36cc0e252d718d2089a5564805422649f89781f71f4a3191",
    (TRACK_1, "test"): "d77b6d8e0e2ae21d881a12c89bba3696742cadf59506533be44a8298f7d13ec8",
    (TRACK_1, "all"): "659e64dd56c606ebaa9025d390e12554b288c0c807fab96852552160141d1463",
}
# SHA-256 of the series of the first scenario of test, in the order of the fields
SERIES_HASHES = {
    (WCCI_2020, "recombined"): "cbcb6fd81064edf251e716b139891c645a3f63f1897f91aa9502d5c217411e6d",
    (WCCI_2020, "varied"): "248eb7c74e71bc74f8ee2d028177f5da99b9dad94f93d03fa89ecea753a94e4d",
    (TRACK_1, "recombined"): "2e807838d4b1fe7ed9122b25d3a7a3d2774ff01574d19e1ec5ab45e795a84c1d",
    (TRACK_1, "varied"): "564aa10bc4016105b089115c3be374471a051df573c2c3ff82affe80b07c4dec",
}
# doing nothing on l2rpn_neurips_2020_track1, grid2op 1.12.6 and lightsim2grid 1.2.0
BLACKOUTS = {
    "test-l12.12.12-w22.22.22-s22.12.12": 864,
    "test-l12.12.22-w22.22.12-s12.12.22": 592,
    "test-l22.22.12-w12.12.22-s22.22.12": 221,
    "test-l22.22.22-w12.12.12-s12.22.22": 114,
}


@pytest.fixture(scope="module")
def source() -> RecombinedSource:
    return RecombinedSource(TRACK_1)


def real_day(series: int, day: int, kind: str) -> np.ndarray:
    """Read one day from the grid's own scenario, through the reader of files."""
    grid, chronic, first, _ = SERIES[series]
    scenario = BundledSource(grid).load(chronic)
    date = np.datetime64(first, "m") + np.timedelta64(day, "D")
    row = int((date - scenario.start) / np.timedelta64(5, "m"))
    values = getattr(scenario, kind)
    if row < 0:  # the first row of 1 April is missing
        values, row = np.concatenate([values[:1], values]), 0
    return values[row : row + ROWS_PER_DAY]


def of_day(values: np.ndarray, place: int) -> np.ndarray:
    return values[place * ROWS_PER_DAY : (place + 1) * ROWS_PER_DAY]


@pytest.mark.parametrize(("grid", "name"), [(WCCI_2020, APRIL_NAME), (TRACK_1, NAME)])
def test_a_scenario_is_made_of_the_days_its_name_says(grid, name):
    scenario, composition = RecombinedSource(grid).load(name), PERIODS[grid].parse(name)
    assert scenario.num_steps == PLACES * ROWS_PER_DAY == 864
    for place in range(PLACES):
        for kind in ("load_p", "load_q"):
            given = real_day(*composition.load[place], kind)[MIDDAY]
            made = of_day(getattr(scenario, kind), place)[MIDDAY]
            np.testing.assert_allclose(made, given, rtol=1e-6)
        made = of_day(scenario.prod_p, place)[MIDDAY]
        for plants, day in ((WIND, composition.wind[place]), (SUN, composition.sun[place])):
            np.testing.assert_allclose(
                made[:, plants], real_day(*day, "prod_p")[MIDDAY][:, plants], rtol=1e-6
            )


@pytest.mark.parametrize(("series", "first"), [(0, 6), (1, 0), (2, 0)])
def test_days_that_belong_together_give_the_real_scenario(series, first):
    """Also what the thermal and hydro plants made, voltages, maintenance and the clock."""
    days = ".".join(f"{series}{first + place}" for place in range(PLACES))
    source = RecombinedSource(SERIES[series][0])
    scenario = source.load(f"all-l{days}-w{days}-s{days}")
    real = BundledSource(SERIES[series][0]).load(SERIES[series][1])
    skipped = int((scenario.start - real.start) / np.timedelta64(5, "m"))
    for place in range(PLACES):
        rows = slice(skipped + place * ROWS_PER_DAY + BRIDGE, skipped + (place + 1) * ROWS_PER_DAY)
        for kind in (*KINDS, "prod_v"):
            given = getattr(real, kind)[rows][:-BRIDGE]
            np.testing.assert_allclose(
                of_day(getattr(scenario, kind), place)[MIDDAY], given, rtol=1e-6, atol=1e-6
            )
    assert (scenario.maintenance is None) == (real.maintenance is None)
    assert scenario.maintenance_plan == real.maintenance_plan
    assert (real.maintenance_plan is not None) == (source.grid == WCCI_2020)
    if scenario.maintenance is not None and real.maintenance is not None:
        np.testing.assert_array_equal(scenario.maintenance[:-1], real.maintenance[:-1])


@pytest.mark.parametrize("kind", ["recombined", "varied"])
@pytest.mark.parametrize("grid", [WCCI_2020, TRACK_1])
def test_production_meets_the_load_within_the_plants_limits(grid, kind):
    source = make_source(kind, grid=grid)
    lowest, highest = np.array(LOWEST), np.array(HIGHEST)
    exhausted = []
    for name in source.names("val") + source.names("train"):
        scenario = source.load(name)
        made = scenario.prod_p.astype(np.float64)
        ratio = made.sum(1) / scenario.load_p.sum(1, dtype=np.float64)
        assert 1.001 < ratio.min() < ratio.max() < 1.038  # on the real days 1.002 to 1.036
        dispatched = made[:, DISPATCHED]
        assert (dispatched >= lowest - 1e-4).all() and (dispatched <= highest + 1e-4).all()
        most = np.array(list(MAXIMUM.values())) * (1.0 if grid == WCCI_2020 else 1.5)
        assert (made[:, list(MAXIMUM)] >= 0).all()
        assert (made[:, list(MAXIMUM)] <= most + 1e-4).all()  # l2rpn_icaps_2021's own exceed it
        exhausted.append((dispatched <= lowest + 1e-4)[:, :3].all(1).mean())
    assert np.mean(exhausted) < 0.03  # then wind and sun are curtailed


def test_what_wind_and_sun_leave_is_taken_by_the_hydro_plant_first(source):
    own = source.load("all-l10.11.12-w10.11.12-s10.11.12")
    other = source.load("all-l10.11.12-w20.21.22-s22.20.21")
    differs = own.prod_p.astype(float) - other.prod_p
    hydro = other.prod_p[:, HYDRO]
    free = (hydro > 0.01) & (hydro < 249.9)
    assert free.mean() > 0.3
    plants = [*WIND, *SUN, HYDRO]
    np.testing.assert_allclose(differs[free][:, plants].sum(1), 0, atol=0.3)  # losses of bridges
    assert np.abs(differs[free][:, HYDRO]).max() > 20
    np.testing.assert_allclose(differs.sum(1), 0, atol=1e-3)


def test_days_are_bridged_and_the_last_row_closes_the_circle(source):
    """August and February meet, and no row differs more from the last than real rows do."""
    for name in (APRIL_NAME, *source.names("test")[:8]):
        scenario = (RecombinedSource(WCCI_2020) if name == APRIL_NAME else source).load(name)
        np.testing.assert_array_equal(scenario.load_p[0], scenario.load_p[-1])
        np.testing.assert_array_equal(scenario.prod_p[0], scenario.prod_p[-1])
        assert np.abs(np.diff(scenario.load_p.sum(1))).max() < 25
        assert (scenario.prod_p[::ROWS_PER_DAY, list(SUN)] < 2).all()  # midnights
    assert source.load(NAME).start == np.datetime64("2012-08-06T00:00")
    assert source.load(NAME.replace("l10", "l22")).start == np.datetime64("2012-02-23T00:00")


def test_forecasts_err_as_those_of_the_real_days_do(source):
    scenario = source.load(source.names("val")[1])
    real = BundledSource(TRACK_1).load("Scenario_february_dummy")
    firm = np.setdiff1d(np.arange(37), EXCHANGES)
    for given, tolerance in ((scenario, 0.0002), (real, 0.0006)):
        error = given.load_p_forecast[:-1] / given.load_p[1:] - 1
        large = firm[given.load_p[:, firm].mean(0) > 25]
        assert abs(error[:, large].std() - 0.01) < tolerance
        np.testing.assert_array_equal(
            given.load_p_forecast[:-1][:, EXCHANGES], given.load_p[1:][:, EXCHANGES]
        )
        for plants, expected in ((WIND, 0.017), (SUN, 0.025)):
            now = given.prod_p[1:][:, plants]
            error = (given.prod_p_forecast[:-1][:, plants] / np.maximum(now, 1))[now > 15] - 1
            assert abs(error.std() - expected) < 0.002
    error = scenario.load_q_forecast[:-1, firm] / scenario.load_q[1:, firm] - 1
    assert abs(error.std() - 0.01) < 0.0002


def test_maintenance_is_that_of_the_days_of_the_sun(source):
    scenario = source.load("all-l30.20.21-w30.20.21-s40.12.10")
    august = BundledSource(TRACK_1).load("Scenario_august_dummy").maintenance
    assert scenario.maintenance is not None and scenario.maintenance_plan is None
    assert august is not None
    out = [np.flatnonzero(of_day(scenario.maintenance, place).any(0)) for place in range(3)]
    names = grid_columns(TRACK_1).line_names
    assert [list(lines) for lines in out] == [[], [14, 18], [13]]
    np.testing.assert_array_equal(of_day(scenario.maintenance, 1), of_day(august, 2))
    np.testing.assert_array_equal(of_day(scenario.maintenance, 2), of_day(august, 0))
    assert len(names) == scenario.maintenance.shape[1] == 59
    assert source.load("all-l10.11.12-w10.11.12-s20.40.30").maintenance is None


@pytest.mark.parametrize(("grid", "counts"), [(WCCI_2020, [4, 3, 3]), (TRACK_1, [4, 2, 2])])
def test_splits_share_no_day_and_test_comes_last(grid, counts):
    splits = PERIODS[grid].splits
    days = [set(splits[split]) for split in SPLITS]
    assert [len(split) for split in days] == counts
    assert sum(counts) == len(set.union(*days)) and set.union(*days) == set(splits["all"])
    assert set(splits["all"]) == {day for day in ALL_DAYS if (day[0] == 0) == (grid == WCCI_2020)}
    for series in {series for series, _ in days[1]}:  # what action sets are mined on comes first
        numbers = [[day for number, day in split if number == series] for split in days]
        assert max(numbers[0]) < min(numbers[1]) <= max(numbers[1]) < min(numbers[2])


@pytest.mark.parametrize("split", LENGTHS)
@pytest.mark.parametrize("grid", [WCCI_2020, TRACK_1])
def test_lists_are_fixed_and_balanced(grid, split):
    names = RecombinedSource(grid).names(split)
    more = make_source("recombined_more", grid=grid).names(split)
    assert len(set(names)) == len(names) == LENGTHS[split]
    assert len(set(more)) == 3 * len(names) and not set(more) & set(names)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == LIST_HASHES[grid, split]
    days = PERIODS[grid].splits[split]
    for part in ("load", "wind", "sun"):
        for place in range(PLACES):
            chosen = [getattr(PERIODS[grid].parse(name), part)[place] for name in names]
            counts = [chosen.count(day) for day in days]
            assert sum(counts) == len(names) and max(counts) - min(counts) <= 2
    for name in names:
        composition = PERIODS[grid].parse(name)
        for place in zip(composition.load, composition.wind, composition.sun, strict=True):
            assert len(set(place)) == min(3, len(days))
            assert place[0] != place[1]


@pytest.mark.parametrize("kind", ["recombined", "varied"])
@pytest.mark.parametrize("grid", [WCCI_2020, TRACK_1])
def test_the_numbers_behind_a_name_never_change(grid, kind):
    source = make_source(kind, grid=grid)
    digest = hashlib.sha256()
    for series in vars(source.load(source.names("test")[0])).values():
        if isinstance(series, np.ndarray):
            digest.update(np.ascontiguousarray(series).tobytes())
    assert digest.hexdigest() == SERIES_HASHES[grid, kind]


@pytest.mark.parametrize(("grid", "split"), [(WCCI_2020, "train"), (TRACK_1, "val")])
def test_draws_follow_the_seed_and_stay_in_the_split(grid, split):
    source = make_source("varied", grid=grid)
    first, second = (
        [source.draw(split, np.random.default_rng(3)) for _ in range(2)] for _ in range(2)
    )
    assert first == second
    rng = np.random.default_rng(0)
    drawn = [source.draw(split, rng) for _ in range(200)]
    assert len(set(drawn)) > 180
    for name in drawn:
        composition = PERIODS[grid].parse(name.partition("-x")[0])
        used = {*composition.load, *composition.wind, *composition.sun}
        assert composition.split == split and used <= set(PERIODS[grid].splits[split])
        for place in zip(composition.load, composition.wind, composition.sun, strict=True):
            assert len(set(place)) == min(3, len(PERIODS[grid].splits[split]))


def test_a_name_means_the_same_on_both_grids_with_the_same_limits():
    names = [make_source("varied", grid=grid).names("val")[3] for grid in (TRACK_1, ICAPS)]
    assert len(set(names)) == 1
    loaded = [make_source("varied", grid=grid).load(names[0]) for grid in (TRACK_1, ICAPS)]
    assert loaded[0] is loaded[1]
    again = pickle.loads(pickle.dumps(make_source("varied", grid=ICAPS)))
    assert again.load(names[0]) is loaded[0]


def test_variations_scale_loads_wind_and_sun():
    source = make_source("varied", grid=TRACK_1)
    name = source.names("train")[5]
    plain, varied = source.load(name.partition("-x")[0]), source.load(name)
    large = np.abs(plain.load_p).mean(0) > 1
    factors = np.abs(varied.load_p).max(0) / np.abs(plain.load_p).max(0)
    np.testing.assert_allclose(
        varied.load_p[:, large], (plain.load_p * factors)[:, large], rtol=1e-3
    )
    np.testing.assert_allclose(
        varied.load_q[:, large], (plain.load_q * factors)[:, large], rtol=1e-3
    )
    assert len(set(factors[large].round(3))) > 20 and 0.6 < factors.min() < factors.max() < 1.7
    shares = varied.prod_p[:, LARGEST] - plain.prod_p[:, LARGEST]
    assert np.abs(shares).max() > 5  # the dispatched plants share unevenly


@pytest.mark.parametrize("grid", GRIDS)
def test_the_grids_fit_and_so_do_the_plants_limits(grid):
    columns = grid_columns(grid)
    recipe = recipe_of("recombined", grid)
    assert recipe.fits(columns.load_names, columns.generator_names) and grid in recipe.grids
    others = {recipe_of("recombined", other) for other in GRIDS} - {recipe}
    assert not any(o.fits(columns.load_names, columns.generator_names) for o in others)
    plants = pd.read_csv(grid_folder(grid) / "prods_charac.csv")
    assert tuple(plants["name"]) == columns.generator_names
    assert [plants["type"][plant] for plant in WIND] == ["wind"] * len(WIND)
    assert [plants["type"][plant] for plant in SUN] == ["solar"] * len(SUN)
    assert {plant: plants["Pmax"][plant] for plant in MAXIMUM} == MAXIMUM
    assert (plants["Pmax"][list(DISPATCHED)] >= np.array(HIGHEST)).all()
    assert sorted((*WIND, *SUN, *DISPATCHED)) == list(range(22))


@pytest.mark.parametrize("kind", ["recombined", "varied"])
@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("rte_case118_example", "'rte_case118_example' ships only one month, in which no line"),
        ("l2rpn_idf_2023", "'l2rpn_idf_2023' ships only twice two days: use 'bundled'"),
        ("l2rpn_wcci_2022_dev", "'l2rpn_wcci_2022_dev' ships only one day: use 'bundled'"),
    ],
)
def test_grids_with_too_little_data_are_refused_by_name(kind, grid, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_source(kind, grid=grid)
    assert "\n" not in str(caught.value) and kind in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Scenario_august_dummy",
            "expected a split and three days .series and day: 10, 11, 12, 20",
        ),
        ("val-l11.21.01-w21.11.11-s11.21.21", "expected a split and three days"),  # of April
        ("val-l11.21.12-w21.11.11-s11.21.21", "day 12 of its load is not in split 'val'.*11, 21"),
        ("val-l11.21.11.11-w21.11.21.21-s11.21.21.21", "expected a split and three days"),
        ("vall-l11.21.11-w21.11.21-s11.21.21", "did you mean 'val'"),
    ],
)
def test_wrong_names_are_answered(source, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        source.load(name)
    assert "\n" not in str(caught.value)


def test_an_exported_scenario_reads_back_the_same(source, tmp_path):
    name = next(name for name in source.names("test") if source.load(name).maintenance is not None)
    folder = export_scenarios(source, tmp_path / "days", grid=TRACK_1, names=[name])
    back = make_source("dataset", grid=TRACK_1, folder=str(folder)).load(name)
    for field, value in vars(source.load(name)).items():
        np.testing.assert_array_equal(getattr(back, field), value, err_msg=field)


def test_doing_nothing_ends_where_it_was_measured():
    """In the fast environment, which plays as grid2op does (``test_big_grids``)."""
    actions = envs.line_switches(envs.grid_wiring(TRACK_1))
    names = list(RecombinedSource(TRACK_1).names("test")[:4])
    grids = envs.PowerGridVectorEnv(4, grid=TRACK_1, actions=actions)
    grids.reset(seed=0, options={"scenario": names})
    ends, step = {}, 0
    while len(ends) < 4 and step < 864:
        step += 1
        _, _, terminated, truncated, _ = grids.step([0] * 4)
        for number in np.flatnonzero(terminated | truncated):
            ends.setdefault(names[number], step)
    grids.close()
    assert ends == BLACKOUTS
