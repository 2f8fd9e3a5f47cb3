"""Models on attacked grids: the list of states, a model that knows all, and figures by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.model_quality import StressedStates, assess_attacked, find_truth, write_attacked_plots
from agents.model_quality.attacked import DEPTHS, Truth
from agents.model_quality.foresight import ending_errors, loading_errors, over_by, roc_auc
from agents.model_quality.ranking import median_estimate
from agents.model_quality.stressed_states import SCENARIOS, SPLIT, STRESS
from agents.muzero.networks import MuZeroNetwork, ScalarCodec
from agents.power_grid.flow import PredictedOutcomes
from envs import make_source
from tests.agents import test_planner_search

NAN = float("nan")
KWARGS = {"grid": "l2rpn_case14_sandbox", "parameters": {}}


@pytest.fixture(scope="module")
def listed() -> Iterator[StressedStates]:
    with StressedStates(KWARGS, opponent="rte_case14", count=2) as states:
        yield states


@pytest.fixture(scope="module")
def truth(listed: StressedStates) -> Truth:
    solved = test_planner_search.Oracle(listed.env)
    return find_truth(listed, lambda seen, mask: -mask.astype(np.float64), solved)


class Oracle(MuZeroNetwork):
    """Knows the planned values, and what the simulator says along actions."""

    def __init__(self, listed: StressedStates, truth: Truth) -> None:
        super().__init__(
            observation_shape=truth.observations.shape[1:],
            num_actions=truth.value.shape[1],
            state_size=1,
            value_codec=ScalarCodec(),
            reward_codec=ScalarCodec(),
            predict_discount=True,
        )
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.listed = listed
        self.known = torch.from_numpy(truth.observations)
        self.table = torch.from_numpy(np.nan_to_num(truth.value)).float()

    def representation(self, observations: torch.Tensor) -> torch.Tensor:
        same = (observations[:, None] == self.known).flatten(2).all(dim=2)
        return same.float().argmax(dim=1, keepdim=True).float()

    def dynamics(
        self, hidden: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        worth = self.table[hidden[:, 0].long(), actions]
        return hidden, torch.stack((worth, torch.zeros_like(worth)), dim=1)

    def prediction(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(hidden), self.table[hidden[:, 0].long()]

    def outcomes_along(
        self, observations: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
    ) -> PredictedOutcomes:
        """Plays each plan on, step by step."""
        rollouts = self.listed.env.rollouts()
        numbers = self.representation(observations)[rows, 0].long().tolist()
        loading = torch.zeros((*actions.shape, self.listed.env.layout.num_lines))
        over = torch.ones(actions.shape, dtype=torch.bool)
        for plan, number in enumerate(numbers):
            if plan == 0 or number != numbers[plan - 1]:
                self.listed.restore(self.listed.states[number])
                root = rollouts.begin(0)
            state = root
            for depth, action in enumerate(actions[plan].tolist()):
                steps = rollouts.choice(state, action)
                if steps is None:
                    break  # the game is over
                loading[plan, depth] = torch.from_numpy(rollouts.loadings(steps.topology)[0])
                state = rollouts.step(state, steps)
                over[plan, depth] = bool(state.over[0])
        return PredictedOutcomes(loading, torch.where(over, 100.0, -100.0), torch.zeros(over.shape))


def test_the_list_is_of_validation_months_and_repeats(listed: StressedStates) -> None:
    names = make_source(SCENARIOS).names(SPLIT)
    assert SPLIT == "val" and all(state.scenario in names for state in listed.states)
    for state in listed.states:
        assert state.attacked or max(state.rho, state.idle_rho) >= STRESS
    with StressedStates(KWARGS, opponent="rte_case14", count=2) as again:
        assert again.sha256 == listed.sha256
        for state, other in zip(listed.states, again.states, strict=True):
            assert (state.scenario, state.step) == (other.scenario, other.step)
            np.testing.assert_array_equal(state.observation, other.observation)


def test_states_are_put_back(listed: StressedStates) -> None:
    env = listed.env
    for state in reversed(listed.states):
        listed.restore(state)
        np.testing.assert_array_equal(env.state.topo_vect[0], state.topology)
        np.testing.assert_array_equal(env.encoder.encode(env.state)[0], state.observation)


def test_planned_values_look_further_than_one_step(truth: Truth) -> None:
    for value, risk, rho in zip(truth.value, truth.risk, truth.rho, strict=True):
        candidates = ~np.isnan(value)
        assert candidates[0] and candidates.sum() > 50
        value, risk, rho = value[candidates], risk[candidates], rho[candidates]
        at_once = np.isinf(rho)
        assert (value[at_once] == -200).all() and (value[~at_once] >= -100).all()
        assert np.isinf(risk[at_once]).all()
        safe = rho < 0.95  # these are done after one action, and nothing else is as good
        assert (risk[safe] < 0.02).all() and (value[safe] > -1).all()


def test_a_model_that_knows_all(listed: StressedStates, truth: Truth, tmp_path: Path) -> None:
    knowing = truth._replace(searched=truth.value)
    found = assess_attacked(Oracle(listed, truth), listed, knowing, discount=0.9, with_model=True)
    assert (found.states, found.sha256) == (2, listed.sha256)
    ranks = {one.name: one for one in found.ranks}
    assert list(ranks) == ["look-ahead", "prior", "model", "search", "plans foreseen"]
    for name in ("prior", "model", "search", "plans foreseen"):
        assert ranks[name].planned.median == pytest.approx(1.0, abs=1e-6)
        assert ranks[name].planned.low == pytest.approx(1.0, abs=1e-6)
        assert ranks[name].regret == pytest.approx(0.0, abs=1e-6)
        assert ranks[name].holds == 1.0
    assert ranks["look-ahead"].lookahead.median == pytest.approx(1.0)
    assert ranks["look-ahead"].planned.median < 1.0
    assert [one.depth for one in found.loadings] == list(DEPTHS)
    for one in found.loadings:
        assert one.count > 100 and one.near_count > 0
        assert one.mean == pytest.approx(0.0, abs=1e-5) and one.near_mean < 1e-5
        assert one.present > 0.01
    foreseen = [one for one in found.endings if one.name == "foreseen"]
    assert [one.auc for one in foreseen if 0 < one.ended < 1].count(1.0) >= 1
    assert all(one.brier == pytest.approx(0.0, abs=1e-6) for one in foreseen)
    # its discounts say that each step may be the last: of no use, and honest about it
    blind = [one for one in found.endings if one.name == "discounts"]
    assert [one.auc for one in blind if 0 < one.ended < 1].count(0.5) >= 1
    paths = write_attacked_plots(tmp_path, [found, found])
    assert [path.name for path in paths] == [
        *("ranks.png", "loadings.png", "foreseen.png", "endings.png"),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_loading_errors_by_hand() -> None:
    true = np.array([[[0.5, 0.9, 0.0]], [[0.5, 1.4, 1.0]], [[0.7, 0.7, 0.7]]])
    foreseen = true + np.array([[[0.1, 0.2, 9.0]], [[0.0, 0.3, -0.4]], [[5.0, 5.0, 5.0]]])
    present = np.full((3, 3), 1.0)
    valid = np.array([[True], [True], [False]])
    found = loading_errors(foreseen, true, present, valid, 1)
    assert (found.count, found.near_count) == (5, 2)
    assert (found.mean, found.median) == pytest.approx((0.2, 0.2))
    assert (found.near_mean, found.near_median) == pytest.approx((0.3, 0.3))
    assert found.present == pytest.approx((0.5 + 0.1 + 0.5 + 0.4 + 0.0) / 5)
    none = loading_errors(foreseen, true, present, np.zeros_like(valid), 1)
    assert none.count == 0 and np.isnan(none.mean)


def test_ending_errors_by_hand() -> None:
    chances = over_by(np.array([[0.5, 0.5], [1.0, 0.0], [1.2, 1.0]]))
    np.testing.assert_allclose(chances, [[0.5, 0.75], [0.0, 1.0], [0.0, 0.0]])
    over = np.array([[False, True], [False, False], [False, False]])
    found = ending_errors("mine", chances, over, 2)
    assert (found.count, found.ended, found.auc) == (3, pytest.approx(1 / 3), 0.5)
    assert found.brier == pytest.approx((0.25**2 + 1.0) / 3)
    assert found.baseline_brier == pytest.approx(2 / 9)
    assert np.isnan(ending_errors("mine", chances, over, 1).auc)


def test_auc_is_the_share_of_pairs_told_apart() -> None:
    rng = np.random.default_rng(0)
    scores, true = rng.integers(5, size=40), rng.random(40) < 0.3
    pairs = scores[true][:, None] - scores[~true]
    assert roc_auc(scores, true) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_medians_of_whole_episodes() -> None:
    samples = np.array([0.1, 0.5, NAN, 0.9])
    one = median_estimate(samples, np.zeros(4, np.int64))
    assert one == (0.5, 0.5, 0.5, 3)  # one episode is no sample
    many = median_estimate(samples, np.arange(4))
    assert many.median == 0.5 and (many.low, many.high) == (0.1, 0.9)
    assert median_estimate(samples[2:3], np.zeros(1)).count == 0
