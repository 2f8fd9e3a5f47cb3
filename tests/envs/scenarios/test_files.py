"""Folders in grid2op's format: read, refused with a clear line, split, written."""

import shutil
import sys
from pathlib import Path
from typing import Any

import grid2op
import numpy as np
import pandas as pd
import pytest
from grid2op.Agent import DoNothingAgent
from grid2op.Runner import Runner
from lightsim2grid import LightSimBackend

from envs.fast.vector import PowerGridVectorEnv
from envs.reference.power_grid import PowerGridEnv
from envs.scenarios import export_scenarios, make_source
from envs.scenarios.files import read_scenario
from envs.scenarios.grid2op_grids import grid_folder

SANDBOX = "l2rpn_case14_sandbox"
DAY = grid_folder("educ_case14_redisp") / "chronics" / "2019-01-15"


def edited(folder: Path, series: str, change) -> Path:
    """Copy a real day and change the table of one series in it."""
    target = folder / "broken"
    shutil.copytree(DAY, target)
    path = target / f"{series}.csv.bz2"
    change(pd.read_csv(path, sep=";")).to_csv(path, sep=";", index=False)
    return target


def test_bundled_are_the_sandboxs_three_and_seven_days(sandbox, doing_nothing):
    source = make_source("bundled")
    names = source.names("val")
    assert names == source.names("train") == source.names("test")
    assert [n for n in names if n.startswith("sandbox")] == [f"sandbox-000{i}" for i in range(3)]
    assert sum(n.startswith("educ-2019-01-") for n in names) == len(names) - 3 == 7
    assert source.load("sandbox-0002").num_steps == 575
    days = {n: source.load(n) for n in names if n.startswith("educ")}
    assert {day.num_steps for day in days.values()} == {288}
    ends = {n: doing_nothing(sandbox, day) for n, day in days.items()}
    assert ends == {
        "educ-2019-01-12": 288,
        "educ-2019-01-13": 288,
        "educ-2019-01-14": 219,
        "educ-2019-01-15": 89,
        "educ-2019-01-16": 235,
        "educ-2019-01-17": 233,
        "educ-2019-01-18": 85,
    }


@pytest.mark.parametrize(
    ("grid", "steps"),
    [
        pytest.param("l2rpn_wcci_2020", [2878], marks=pytest.mark.slow),
        ("l2rpn_neurips_2020_track1", [864, 864]),
        ("l2rpn_icaps_2021", [287, 287]),
        pytest.param("rte_case118_example", [8062], marks=pytest.mark.slow),
        ("l2rpn_idf_2023", [575, 575]),
        pytest.param("l2rpn_wcci_2022_dev", [288], marks=pytest.mark.slow),
    ],
)
def test_bundled_of_the_large_grids(grid, steps):
    source = make_source("bundled", grid=grid)
    assert [source.load(name).num_steps for name in source.names("val")] == steps


def test_bundled_of_another_grid_are_its_own():
    source = make_source("bundled", grid="rte_case5_example")
    assert len(source.names("val")) == 20
    assert source.load("00").load_p.shape[1] == 3
    with pytest.raises(ValueError, match="did you mean 'sandbox-0000'"):
        make_source("bundled").load("sandbocks-0000")


def test_missing_forecasts_persist_and_missing_voltages_are_the_grids(tmp_path):
    folder = tmp_path / "day"
    shutil.copytree(DAY, folder, ignore=shutil.ignore_patterns("*forecasted*", "prod_v*", "*.info"))
    scenario = read_scenario(folder, "day", SANDBOX)
    np.testing.assert_array_equal(scenario.load_p_forecast, scenario.load_p)
    np.testing.assert_array_equal(scenario.prod_p_forecast, scenario.prod_p)
    # the IEEE 14-bus case: 1.045, 1.010, 1.070, 1.070, 1.090 and 1.060 per unit (138, 20, 12 kV)
    voltages = np.array([1.045, 1.010, 1.070, 1.070, 1.090, 1.060]) * [138, 138, 20, 20, 12, 138]
    np.testing.assert_allclose(scenario.prod_v[0], voltages, rtol=1e-6)
    assert scenario.start == np.datetime64("2019-01-01T00:00")
    assert scenario.minutes_per_step == 5


@pytest.mark.parametrize(
    ("series", "change", "message"),
    [
        ("load_q", lambda t: t[:-3], r"load_q\.csv\.bz2: 286 rows; expected 289"),
        ("prod_p_forecasted", lambda t: t[:-3], r"prod_p_forecasted\.csv\.bz2: 286 rows"),
        (
            "prod_p",
            lambda t: t.assign(gen_5_2=t["gen_5_2"].mask(t.index == 7)),
            r"prod_p\.csv\.bz2: column 'gen_5_2' is nan in row 7",
        ),
        ("load_p", lambda t: t.assign(load_4_3="many"), r"column 'load_4_3' holds text"),
        ("load_p", lambda t: t.drop(columns="load_4_3"), r"column 'load_4_3' is there 0 times"),
        (
            "load_p",
            lambda t: t.rename(columns={"load_4_3": "load_99_3"}),
            r"column 'load_99_3' is not of grid 'l2rpn_case14_sandbox'; expected .* load_1_0",
        ),
    ],
)
def test_broken_tables_name_file_and_column(tmp_path, series, change, message):
    folder = edited(tmp_path, series, change)
    with pytest.raises(ValueError, match=message):
        read_scenario(folder, "broken", SANDBOX)


def test_other_broken_folders(tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(DAY, folder)
    (folder / "start_datetime.info").write_text("soon")
    with pytest.raises(ValueError, match=r"start_datetime\.info: 'soon'"):
        read_scenario(folder, "broken", SANDBOX)
    (folder / "load_q.csv.bz2").write_bytes(b"not compressed")
    with pytest.raises(ValueError, match=r"load_q\.csv\.bz2: not a table"):
        read_scenario(folder, "broken again", SANDBOX)
    (folder / "load_q.csv.bz2").unlink()
    with pytest.raises(ValueError, match=r"there is no load_q\.csv"):
        read_scenario(folder, "broken once more", SANDBOX)
    other = grid_folder("rte_case5_example") / "chronics" / "00"
    with pytest.raises(ValueError, match="is not of grid 'l2rpn_case14_sandbox'"):
        read_scenario(other, "00", SANDBOX)


def test_dataset_without_a_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(grid2op, "get_current_local_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"grid2op\.make\('l2rpn_case14_sandbox'\).*recombined"):
        make_source("dataset")
    with pytest.raises(ValueError, match="does not exist"):
        make_source("dataset", folder=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="has no scenarios"):
        make_source("dataset", folder=str(tmp_path))
    with pytest.raises(ValueError, match="is one scenario"):
        make_source("dataset", folder=str(DAY))


def test_dataset_splits_by_the_hash_of_names(tmp_path):
    for index in range(40):
        (tmp_path / "chronics" / f"{index:04}").mkdir(parents=True)
    source = make_source("dataset", folder=str(tmp_path))
    lists = {split: source.names(split) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in lists.items()} == {
        "train": 32,
        "val": 4,
        "test": 4,
    }
    assert sorted(sum(lists.values(), ())) == list(source.names("all"))
    assert lists["test"] == ("0004", "0014", "0025", "0033")
    assert source.draw("val", np.random.default_rng(0)) in lists["val"]


def halve_loads(folder: Path) -> None:
    path = folder / "load_p.csv.bz2"
    (pd.read_csv(path, sep=";") / 2).to_csv(path, sep=";", index=False)


@pytest.mark.parametrize("layout", ["plain", "chronics", "splits"])
def test_files_and_folders_that_change_are_seen(tmp_path, layout):
    root = tmp_path / "data"
    parts = {"plain": root, "chronics": root / "chronics", "splits": tmp_path / "data_val"}
    chronics = parts[layout]
    shutil.copytree(DAY, chronics / "a")
    source = make_source("dataset", folder=str(root))
    assert source.names("val") == ("a",)
    first = source.load("a")
    assert source.load("a") is first  # unchanged: kept and shared

    halve_loads(chronics / "a")
    second = source.load("a")
    np.testing.assert_allclose(second.load_p, first.load_p / 2, rtol=1e-6)
    assert source.load("a") is second
    (chronics / "a" / "prod_v.csv.bz2").unlink()
    assert not np.array_equal(source.load("a").prod_v, second.prod_v)

    shutil.copytree(DAY, chronics / "b")
    assert source.names("val") == ("a", "b")
    np.testing.assert_array_equal(source.load("b").load_p, first.load_p)
    shutil.rmtree(chronics / "a")
    assert source.names("val") == ("b",)
    with pytest.raises(ValueError, match="unknown scenario 'a'"):
        source.load("a")
    (chronics / "b" / "load_p.csv.bz2").unlink()
    with pytest.raises(ValueError, match="there is no load_p"):
        source.load("b")
    shutil.rmtree(chronics / "b")
    for call in (lambda: source.names("val"), lambda: source.load("b")):
        with pytest.raises(ValueError, match="has no scenarios"):
            call()


def test_both_environments_play_rewritten_files(tmp_path):
    grid = tmp_path / "grid"
    export_scenarios(make_source("bundled"), grid, names=["educ-2019-01-12"])
    options: dict[str, Any] = {"grid": str(grid), "scenarios": "bundled"}
    single, many = PowerGridEnv(**options), PowerGridVectorEnv(1, **options)
    loads = []
    for _ in range(2):
        single.reset(seed=0)
        many.reset(seed=0)
        np.testing.assert_allclose(single.state.load_p, many.state.load_p, rtol=1e-5)
        loads.append(many.state.load_p[0].copy())
        halve_loads(grid / "chronics" / "educ-2019-01-12")
    np.testing.assert_allclose(loads[1], loads[0] / 2, rtol=1e-5)
    shutil.copytree(DAY, grid / "chronics" / "another")
    assert many.scenarios.names("val") == ("another", "educ-2019-01-12")
    single.close()


def test_dataset_takes_grid2ops_own_splits(tmp_path):
    chronics = grid_folder(SANDBOX) / "chronics"
    shutil.copytree(chronics / "0000", tmp_path / "grid_train" / "chronics" / "0000")
    shutil.copytree(chronics / "0001", tmp_path / "grid_val" / "chronics" / "0001")
    source = make_source("dataset", folder=str(tmp_path / "grid"))
    assert (source.names("train"), source.names("val")) == (("0000",), ("0001",))
    assert source.load("0001").num_steps == 575
    with pytest.raises(ValueError, match="split 'test' has no scenarios"):
        source.names("test")
    with pytest.raises(ValueError, match="unknown scenario '0009'; did you mean"):
        source.load("0009")


@pytest.mark.parametrize(
    ("grid", "months"),
    [
        ("l2rpn_neurips_2020_track1", ("august_dummy", "february_dummy")),  # maintenance as a table
        ("l2rpn_wcci_2020", ("april_000",)),  # and drawn in each episode
    ],
)
def test_dataset_reads_a_download_of_36_substations_that_grid2op_split(tmp_path, grid, months):
    """A folder as grid2op downloads them, split by its own ``train_val_split``."""
    root = tmp_path / f"{grid}_small"
    shutil.copytree(grid_folder(grid), root, ignore=shutil.ignore_patterns("__pycache__"))
    chronics, names = root / "chronics", []
    for number in range(5):
        month = months[number % len(months)]
        names.append(f"Scenario_{month}_{number:03}")
        shutil.copytree(grid_folder(grid) / "chronics" / f"Scenario_{month}", chronics / names[-1])
    for month in months:
        shutil.rmtree(chronics / f"Scenario_{month}")
    source = make_source("dataset", grid=grid, folder=str(root))
    assert source.names("all") == tuple(sorted(names))
    assert sum((source.names(split) for split in ("train", "val", "test")), ()) != ()

    env = grid2op.make(str(root), backend=LightSimBackend())
    env.train_val_split(
        val_scen_id=names[2:3], test_scen_id=names[3:5], add_for_test="test", add_for_val="val"
    )
    env.close()
    assert source.names("val") == (names[2],)
    assert source.names("test") == tuple(sorted(names[3:5]))
    assert source.names("train") == tuple(sorted(names[:2]))
    loaded, real = source.load(names[3]), make_source("bundled", grid=grid)
    expected = real.load(f"Scenario_{months[3 % len(months)]}")
    for field, value in vars(expected).items():
        if field != "name":
            np.testing.assert_array_equal(getattr(loaded, field), value, err_msg=field)

    options: dict[str, Any] = {"grid": grid, "scenario_folder": str(root), "actions": "case36"}
    grids = PowerGridVectorEnv(2, scenarios="dataset", split="test", **options)
    grids.reset(seed=0, options={"scenario": names[3:5]})
    for number, name in enumerate(names[3:5]):
        np.testing.assert_allclose(grids.state.load_p[number], source.load(name).load_p[0])
    grids.step([0, 0])
    grids.close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    names = ["educ-2019-01-15", "educ-2019-01-18"]
    return export_scenarios(
        make_source("bundled"),
        tmp_path_factory.mktemp("export") / "two_days",
        grid=SANDBOX,
        names=names,
    )


def test_an_exported_folder_plays_in_grid2ops_runner(exported, sandbox, doing_nothing):
    env = grid2op.make(str(exported), backend=LightSimBackend())
    runner = Runner(**env.get_params_for_runner(), agentClass=DoNothingAgent)
    results = {result[1]: result[3] for result in runner.run(nb_episode=2)}
    env.close()
    source = make_source("bundled")
    assert results == {name: doing_nothing(sandbox, source.load(name)) for name in results}
    assert results == {"educ-2019-01-15": 89, "educ-2019-01-18": 85}


def test_an_exported_folder_reads_back_the_same(exported):
    source, back = make_source("bundled"), make_source("dataset", folder=str(exported))
    for name in back.names("all"):
        for field, value in vars(source.load(name)).items():
            np.testing.assert_array_equal(getattr(back.load(name), field), value, err_msg=field)


def test_export_refuses_and_leaves_nothing_behind(exported, tmp_path):
    source = make_source("bundled")
    with pytest.raises(ValueError, match="not an empty folder"):
        export_scenarios(source, exported, names=["sandbox-0000"])
    with pytest.raises(ValueError, match="no scenarios to export"):
        export_scenarios(source, tmp_path / "out", names=[])
    with pytest.raises(ValueError, match="did you mean 'sandbox-0000'"):
        export_scenarios(source, tmp_path / "out", names=["educ-2019-01-12", "sandbocks-0000"])
    assert list(tmp_path.iterdir()) == []


def test_an_export_from_a_read_only_installation_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    shutil.copytree(grid_folder(SANDBOX), installed, ignore=shutil.ignore_patterns("chronics"))
    for path in (*installed.rglob("*"), installed):
        path.chmod(path.stat().st_mode & ~0o222)
    monkeypatch.setattr(
        sys.modules[export_scenarios.__module__], "grid_folder", lambda grid: installed
    )
    source = make_source("bundled", grid=SANDBOX, folder=None)
    folder = export_scenarios(
        source, tmp_path / "exported", grid=SANDBOX, names=source.names("val")[:1]
    )
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o200, path
