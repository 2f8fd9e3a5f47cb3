"""Any option of any group goes with any experiment, or is refused in one line by a stated rule."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from agents.commands.train import prepare
from agents.configuration.experiments import without_misfits
from agents.configuration.override_errors import explain
from agents.runs.saved_configs import plain

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = sorted(
    path.relative_to(CONF).with_suffix("")
    for path in CONF.rglob("*.yaml")
    if path.parent not in (CONF, CONF / "experiment")
)
EXPERIMENTS = ["", *sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))]
# of these groups no option changes which of another go: tried side by side, one of each a time
FREE = ("logger", "optimizer", "replay", "reward", "scenarios", "search", "wrappers")
DATA_SET = "scenarios=dataset"  # goes where grid2op has downloaded it
TRAINED = ("muzero", "ppo")


def options(*groups: str) -> list[str]:
    return [f"{path.parent}={path.name}" for path in OPTIONS if str(path.parent) in groups]


ALL = options(*{str(path.parent) for path in OPTIONS})
PLAYED = [one for one in options("agent") if one.partition("=")[2] not in TRAINED]
OF_MUZERO = options("agent/model", "agent/teacher", "network", "optimizer", "replay", "search")
OF_GRIDS = options("observation", "opponent", "reward", "scenarios", "wrappers")
UNTAUGHT = dict.fromkeys(
    ("agent/teacher=lookahead", "agent/teacher=plans"),
    "nothing to teach with agent.plan.taught_decisions=0",
)
NOT_FORESEEN = {
    "agent/model=foreseen": "agent/model=foreseen reads what plans lead to from network=flow",
    "search=planner": "search=planner plans in grids that are foreseen",
}
NO_LOOKAHEAD = {"network=flow": "learns line loadings from a teacher that looks ahead"}
NO_OPPONENT = {
    "opponent=grid": "has no opponent of its own; take one of: rl4pnc, rte_case14",
    "wrappers=preventive": "ask_at_attacks needs an opponent: set opponent=, such as 'rl4pnc'",
}
LEARNS_NOTHING = dict.fromkeys(PLAYED, "learns nothing: play it with powergrid-evaluate")


def of_muzero(experiment: str) -> dict[str, str]:
    others = [*PLAYED, "agent=ppo", "env=cartpole"]
    return {one: f"experiment={experiment} does not go with {one}" for one in others}


OF_LARGE_GRIDS = {  # trained as experiment=robust is, on grids with other lines
    **NOT_FORESEEN,
    "agent/model=foreseen": "agent/model=foreseen is planned in by search=planner",
    "agent/teacher=lookahead": "agent.network.planned learns from a teacher that plans",
    "agent/teacher=none": "agent.plan.taught_decisions=1000000 needs a teacher",
    "observation=full": "network=flow reads observation=features",
    "observation=graph": "network=flow reads observation=features",
    "opponent=nine_lines": "unknown line of the opponent '1_3_3'",
    "opponent=none": NO_OPPONENT["wrappers=preventive"],
    "opponent=rl4pnc": "unknown line of the opponent '3_4_6'",
    "opponent=rte_case14": "unknown line of the opponent '1_3_3'",
}
TOO_LITTLE = dict.fromkeys(
    (f"scenarios={kind}{more}" for kind in ("recombined", "varied") for more in ("", "_more")),
    "ships only twice two days",
)
REFUSED: dict[str, dict[str, str]] = {
    "": {
        **LEARNS_NOTHING,
        **NOT_FORESEEN,
        **NO_OPPONENT,
        **UNTAUGHT,
        **NO_LOOKAHEAD,
        "env=cartpole": "agent.search.max_considered=16; the environment has 2 actions",
    },
    "alphazero": {
        **of_muzero("alphazero"),
        **NOT_FORESEEN,
        **NO_OPPONENT,
        **UNTAUGHT,
        **NO_LOOKAHEAD,
        "agent/model=learned": "agent.unroll_steps=0 trains no dynamics",
        "observation=graph": "agent/model=simulator plans in the fast simulator",
    },
    "best": {
        **of_muzero("best"),
        **NOT_FORESEEN,
        **NO_OPPONENT,
        "agent/teacher=none": "agent.plan.taught_decisions=1000000 needs a teacher",
        "observation=full": "network=flow reads observation=features",
        "observation=graph": "network=flow reads observation=features",
    },
    "case118": {
        **of_muzero("case118"),
        **OF_LARGE_GRIDS,
        **TOO_LITTLE,
        "observation=full": "is for grids without storage units or lines with alerts",
    },
    "case36": {**of_muzero("case36"), **OF_LARGE_GRIDS},
    "cartpole": {
        **of_muzero("cartpole"),
        **NOT_FORESEEN,
        **UNTAUGHT,
        **{one: f"{one} does not go with experiment=cartpole" for one in OF_GRIDS},
        "agent/model=simulator": "agent.plan.reanalyse_every=250 searches from remembered",
        "network=flow": "the flow network knows how a grid of PowerGrid-v0 is wired",
    },
    "debug": {
        **of_muzero("debug"),
        **NOT_FORESEEN,
        **NO_OPPONENT,
        **UNTAUGHT,
        **NO_LOOKAHEAD,
    },
    "ppo": {
        **LEARNS_NOTHING,
        **NO_OPPONENT,
        **{one: f"{one} does not go with experiment=ppo" for one in OF_MUZERO},
        "env=cartpole": "experiment=ppo does not go with env=cartpole",
    },
    "quickstart": {
        **of_muzero("quickstart"),
        **NOT_FORESEEN,
        **NO_OPPONENT,
        **UNTAUGHT,
        **NO_LOOKAHEAD,
    },
    "robust": {
        **of_muzero("robust"),
        "opponent=grid": NO_OPPONENT["opponent=grid"],
        "agent/model=foreseen": "agent/model=foreseen is planned in by search=planner",
        "search=planner": NOT_FORESEEN["search=planner"],
        "agent/teacher=lookahead": "agent.network.planned learns from a teacher that plans",
        "agent/teacher=none": "agent.plan.taught_decisions=1000000 needs a teacher",
        "observation=full": "network=flow reads observation=features",
        "observation=graph": "network=flow reads observation=features",
        "opponent=none": NO_OPPONENT["wrappers=preventive"],
    },
    "seed": {
        **of_muzero("seed"),
        **NOT_FORESEEN,
        **NO_OPPONENT,
        **UNTAUGHT,
        "network=flow": "network=flow reads observation=features",
    },
}
del REFUSED["cartpole"]["env=cartpole"]  # its own


@pytest.fixture(autouse=True)
def hydra_config() -> Iterator[None]:
    with initialize_config_module("conf", version_base="1.3"):
        yield


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return plain(compose("train", overrides=list(overrides)))


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    return copy.deepcopy(_composed(tuple(overrides)))


def fitted(*overrides: str) -> dict[str, Any]:
    return without_misfits(composed(overrides), overrides, composed)


def refusal(*overrides: str) -> str:
    """Compose and build a training; return what is wrong with it, "" if nothing is."""
    try:
        prepare(fitted(*overrides))
    except HydraException as error:
        told = explain(error, "train", overrides)
        GlobalHydra.instance().clear()  # explain may have ended it
        initialize_config_module("conf", version_base="1.3").__enter__()
        return told
    except ValueError as error:
        return str(error)
    return ""


def told(experiment: str, *options: str) -> str:
    """Return what is wrong with options of an experiment, as ``refusal`` does."""
    return refusal(*([f"experiment={experiment}"] if experiment else []), *options)


def assert_ruled(experiment: str, option: str) -> None:
    """An option goes with an experiment, or is refused as REFUSED has it."""
    message, rule = told(experiment, option), REFUSED[experiment].get(option)
    if option == DATA_SET and rule is None:
        assert not message or "grid2op has not downloaded the data set" in message
        return
    assert (rule or "") in message and bool(message) == (rule is not None), option
    assert "\n" not in message


def rows(experiment: str) -> list[list[str]]:
    """Return the options that are tried side by side, one of each FREE group a time."""
    groups = [
        [one for one in options(group) if one not in REFUSED[experiment] and one != DATA_SET]
        for group in FREE
    ]
    longest = max(map(len, groups))
    return [[same[number % len(same)] for same in groups if same] for number in range(longest)]


def test_all_experiments_are_told_of() -> None:
    assert set(REFUSED) == set(EXPERIMENTS)


def test_every_option_goes_with_an_experiment() -> None:
    """Each with one of those that take it, in turn; the slow tests try all with all."""
    for turn, option in enumerate(ALL):
        taking = [one for one in EXPERIMENTS if option not in REFUSED[one]]
        if not taking:
            assert option in {**LEARNS_NOTHING, **NO_OPPONENT, **NOT_FORESEEN}
        elif option.partition("=")[0] not in FREE or option == DATA_SET:
            assert_ruled(taking[turn % len(taking)], option)
    for turn, row in enumerate(rows("")):
        experiment = ("best", "debug", "seed")[turn % 3]  # each takes what the default takes
        assert told(experiment, *row) == "", row


def test_what_is_foreseen_is_planned_in_by_the_planner() -> None:
    assert told("robust", *NOT_FORESEEN) == ""  # one without the other goes with nothing


def test_every_rule_refuses_an_option() -> None:
    """Each rule where one experiment has it, in turn; the slow tests try all that have it."""
    rules: dict[str, list[tuple[str, str]]] = {}
    for experiment, refused in REFUSED.items():
        for option, message in refused.items():
            rule = message.replace(option, "OPTION").replace(f"experiment={experiment} ", "")
            rules.setdefault(rule, []).append((experiment, option))
    for turn, pairs in enumerate(rules.values()):
        assert_ruled(*pairs[turn * 7 % len(pairs)])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_built(experiment: str) -> None:
    assert told(experiment) == ""


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_options_go_with_the_experiment_or_are_refused_by_a_rule(experiment: str) -> None:
    for option in ALL:
        refused = option in REFUSED[experiment]
        if refused or option.partition("=")[0] not in FREE or option == DATA_SET:
            assert_ruled(experiment, option)
    for row in rows(experiment):
        assert told(experiment, *row) == "", row


def test_options_take_what_they_have_of_an_experiment() -> None:
    search = fitted("experiment=best", "search=puct")["agent"]["search"]
    own = composed(["search=puct"])["agent"]["search"]
    assert search == own | {"num_simulations": 8}  # not max_considered, nor normalization=none
    network = fitted("experiment=debug", "network=residual")["agent"]["network"]
    assert network["hidden_size"] == 32 and "state_size" not in network
    alone = composed(["experiment=best"])
    assert fitted("experiment=best", "search=gumbel") == alone
    assert fitted("experiment=best", "seed=3") == alone | {"seed": 3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("experiment=quickstart", "search=puct", "agent.search.max_considered=8"),
            "unknown configuration key 'agent.search.max_considered'",
        ),
        (
            ("experiment=best", "search=puct", "agent.search.normalization=none"),
            "agent.search.normalization='none'; expected tree or siblings",
        ),
        (
            ("experiment=debug", "optimizer=adam", "+agent.optimizer.momentum=0.9"),
            "unknown configuration key 'agent.optimizer.momentum'",
        ),
        (("search=puct", "+agent.search.max_considered=8"), "unknown configuration key"),
    ],
)
def test_what_is_typed_is_never_left_out(overrides: tuple[str, ...], message: str) -> None:
    assert message in refusal(*overrides)
