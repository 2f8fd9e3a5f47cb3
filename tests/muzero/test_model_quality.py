"""How good a model is: errors, calibration and ranks by hand, and a perfect model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from agents.evaluation import list_episodes
from agents.model_quality import assess, play_decisions
from agents.model_quality.calibration import calibrate, end_probability
from agents.model_quality.decisions import Decisions
from agents.model_quality.errors import (
    errors_by_depth,
    look_along,
    observed_returns,
    prediction_errors,
)
from agents.model_quality.predictions import predict_actions, predict_roots
from agents.model_quality.ranking import (
    best_actions,
    hits_best,
    judge_choices,
    judge_random,
    rank_correlations,
)
from agents.muzero.networks import MuZeroNetwork, ScalarCodec
from agents.muzero.targets import CONTINUING, CUT, TERMINATED, TRUNCATED, n_step_values
from tests.muzero import cartpole

NAN, INF = float("nan"), float("inf")
GAMMA = 0.5


def ends(*codes: int) -> np.ndarray:
    return np.array(codes, np.uint8)


class TestReturns:
    ENDS = ends(CONTINUING, TERMINATED, CONTINUING, TRUNCATED)
    REWARDS = np.array([1.0, 2.0, 3.0, 4.0])

    def test_an_ending_is_worth_nothing_and_a_truncation_what_the_model_says(self) -> None:
        found = observed_returns(
            self.REWARDS, self.ENDS, np.array([9.0, 9.0, 9.0, 8.0]), discount=0.5
        )
        np.testing.assert_allclose(found.value, [2.0, 2.0, 3.0 + 0.5 * 8.0, 4.0 + 0.5 * 8.0])
        np.testing.assert_allclose(found.unseen, [0.0, 0.0, 0.25, 0.5])

    def test_steps_discount_and_spread_rewards(self) -> None:
        durations = np.array([1, 2, 2, 1])
        found = observed_returns(
            self.REWARDS, self.ENDS, np.full(4, 8.0), discount=0.5, durations=durations
        )
        second = 2.0 / 2 * (1 + 0.5)  # 1 now, 1 a step later
        third = 3.0 / 2 * (1 + 0.5) + 0.25 * (4.0 + 0.5 * 8.0)
        np.testing.assert_allclose(found.value, [1.0 + 0.5 * second, second, third, 8.0])
        np.testing.assert_allclose(found.unseen, [0.0, 0.0, 0.125, 0.5])

    @pytest.mark.parametrize("per_step", [False, True])
    def test_they_are_the_learners_target_with_a_long_horizon(self, per_step: bool) -> None:
        rng = np.random.default_rng(0)
        rewards, finals = rng.normal(size=(2, 12)).astype(np.float32)
        codes = np.where(rng.random(12) < 0.3, rng.choice([1, 2], 12), 0).astype(np.uint8)
        codes[-1] = TERMINATED
        durations = rng.integers(1, 5, 12) if per_step else None
        found = observed_returns(rewards, codes, finals, discount=0.9, durations=durations)
        if durations is not None:
            rewards = rewards * (1 - 0.9**durations) / (0.1 * durations)

        def padded(values: np.ndarray) -> np.ndarray:
            return np.concatenate((values, np.ones(13, values.dtype)))[None]

        targets = n_step_values(
            padded(rewards),
            np.zeros((1, 25)),
            padded(codes),
            padded(finals),
            discount=0.9,
            td_steps=13,
            num_positions=12,
            durations=None if durations is None else padded(durations),
        )
        np.testing.assert_allclose(found.value, targets[0], rtol=1e-5)

    @pytest.mark.parametrize("codes", [ends(TERMINATED, CONTINUING), ends(CUT, TERMINATED)])
    def test_parts_of_episodes_are_refused(self, codes: np.ndarray) -> None:
        with pytest.raises(ValueError, match="whole episodes"):
            observed_returns(np.ones(2), codes, np.zeros(2), discount=0.9)


class TestErrors:
    def test_windows_stop_at_the_end_of_the_episode(self) -> None:
        windows = look_along(ends(CONTINUING, TERMINATED, CONTINUING, TRUNCATED), 2)
        assert windows.index.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]
        assert windows.real.tolist() == [
            *([True, True, False], [True, False, False]),
            *([True, True, False], [True, False, False]),
        ]
        assert windows.absorbing.tolist() == [
            *([False, False, True], [False, True, True]),
            *([False, False, False], [False, False, False]),
        ]

    def test_by_hand(self) -> None:
        found = prediction_errors(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 5.0]))
        assert (found.count, found.observed) == (3, 3.0)
        assert found.mae == pytest.approx(2 / 3)
        assert found.baseline_mae == pytest.approx(4 / 3)
        assert found.bias == pytest.approx(0.0)
        assert found.r_squared == pytest.approx(1 - 2 / 6)
        assert found.correlation == pytest.approx(np.corrcoef([1, 2, 6], [2, 2, 5])[0, 1])

    def test_the_mean_explains_nothing_and_a_constant_has_no_correlation(self) -> None:
        found = prediction_errors(np.full(3, 3.0), np.array([2.0, 2.0, 5.0]))
        assert found.r_squared == pytest.approx(0.0) and found.mae == found.baseline_mae
        assert np.isnan(found.correlation)
        same = prediction_errors(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
        assert np.isnan(same.correlation) and np.isnan(same.r_squared) and same.bias == 0.5

    def test_masked_numbers_do_not_count(self) -> None:
        mask = np.array([[True, True], [True, False]])
        observed = np.array([[1.0, 2.0], [3.0, 4.0]])
        predicted = np.where(mask, observed, NAN)
        perfect = errors_by_depth(predicted, observed, mask)
        assert [one.count for one in perfect] == [2, 1]
        assert [one.mae for one in perfect] == [0.0, 0.0]
        none = errors_by_depth(predicted, observed, np.zeros_like(mask))
        assert none[0].count == 0 and np.isnan(none[0].mae)


class TestCalibration:
    def test_probability_of_the_end(self) -> None:
        found = end_probability(np.array([0.9, 0.45, 0.0, 0.95], np.float32), 0.9)
        np.testing.assert_allclose(found, [0.0, 0.5, 1.0, 0.0], atol=1e-6)

    def test_by_hand(self) -> None:
        found = calibrate(
            np.array([0.1, 0.3, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.0]), (0, 0.5, 1)
        )
        assert [(one.low, one.high, one.count) for one in found.bins] == [(0, 0.5, 2), (0.5, 1, 2)]
        assert [one.predicted for one in found.bins] == pytest.approx([0.2, 0.75])
        assert [one.observed for one in found.bins] == pytest.approx([0.5, 0.5])
        assert found.brier == pytest.approx((0.01 + 0.49 + 0.0 + 0.25) / 4)
        assert found.baseline_brier == pytest.approx(0.25)
        assert found.calibration_error == pytest.approx((2 * 0.3 + 2 * 0.25) / 4)

    def test_predictions_that_come_true_as_often_as_they_say(self) -> None:
        rng = np.random.default_rng(0)
        predicted = rng.random(20_000)
        came_true = rng.random(20_000) < predicted
        honest = calibrate(predicted, came_true)
        assert honest.calibration_error < 0.02 and sum(one.count for one in honest.bins) == 20_000
        assert honest.brier == pytest.approx(1 / 6, abs=0.01)
        assert honest.baseline_brier == pytest.approx(1 / 4, abs=0.01)
        boasting = calibrate(np.sqrt(predicted), came_true)
        assert boasting.calibration_error > 0.1 and boasting.brier > honest.brier

    def test_none_and_wrong_ones(self) -> None:
        none = calibrate(np.zeros(0), np.zeros(0))
        assert none.count == 0 and np.isnan(none.brier) and np.isnan(none.bins[0].predicted)
        with pytest.raises(ValueError, match="0 to 1"):
            calibrate(np.array([1.5]), np.array([1.0]))


class TestRanking:
    RHO = np.array([[0.9, 0.5, NAN, INF], [1.2, NAN, 1.1, INF], [INF, INF, NAN, INF]])

    def test_perfect_scores_and_their_opposite(self) -> None:
        perfect = np.nan_to_num(-self.RHO, nan=100.0, neginf=-100.0)
        found = rank_correlations(perfect, self.RHO)
        np.testing.assert_allclose(found[:2], 1.0)
        assert np.isnan(found[2])  # nothing to rank
        np.testing.assert_allclose(rank_correlations(-perfect, self.RHO)[:2], -1.0)

    def test_ties_as_scipy_ranks_them(self) -> None:
        rng = np.random.default_rng(0)
        scores, rho = rng.integers(4, size=(2, 5, 12)).astype(np.float64)
        found = rank_correlations(scores, rho)
        for row in range(5):
            expected: Any = spearmanr(scores[row], -rho[row])
            assert found[row] == pytest.approx(expected.statistic)

    def test_the_best_candidate_and_whether_it_is_among_the_highest_scores(self) -> None:
        scores = np.array([[1.0, 0.0, 9.0, 2.0], [1.0, 9.0, 2.0, 2.0], [0.0, 0.0, 9.0, 0.0]])
        assert best_actions(scores, self.RHO).tolist() == [3, 2, 0]
        assert hits_best(scores, self.RHO, count=1).tolist() == [False, True, True]
        assert hits_best(scores, self.RHO, count=2).tolist() == [False, True, True]
        assert hits_best(scores, self.RHO, count=3).tolist() == [True, True, True]

    def test_choices(self) -> None:
        found = judge_choices(np.array([0, 3, 1]), self.RHO, gate=0.8)
        assert (found.safe_count, found.survivable_count) == (1, 2)
        assert (found.safe, found.ends_game) == (0.0, 0.5)
        assert found.regret == pytest.approx(0.4)  # the other two end the game
        best = judge_choices(np.array([1, 2, 0]), self.RHO, gate=0.8)
        assert (best.safe, best.ends_game, best.regret) == (1.0, 0.0, 0.0)
        with pytest.raises(ValueError, match="not looked ahead"):
            judge_choices(np.array([2, 0, 0]), self.RHO, gate=0.8)

    def test_a_random_draw_in_expectation(self) -> None:
        found = judge_random(self.RHO, gate=0.8)
        assert found.safe == pytest.approx(1 / 3)
        assert found.ends_game == pytest.approx(1 / 3)
        assert found.regret == pytest.approx((0.4 + 0.1) / 4)

    def test_where_nothing_survives(self) -> None:
        found = judge_choices(np.array([0]), self.RHO[2:], gate=0.8)
        assert (found.safe_count, found.survivable_count) == (0, 0)
        assert np.isnan([found.safe, found.ends_game, found.regret]).all()


class Countdown(MuZeroNetwork):
    """Knows all about a game: n falls to 0, where it ends; each decision pays n a step.

    A state is n. Any action will do.
    """

    def __init__(self, *, predict_discount: bool, duration: int) -> None:
        super().__init__(
            observation_shape=(1,),
            num_actions=3,
            state_size=1,
            value_codec=ScalarCodec(),
            reward_codec=ScalarCodec(),
            predict_discount=predict_discount,
        )
        self.duration = duration
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def representation(self, observations: torch.Tensor) -> torch.Tensor:
        return observations

    def dynamics(
        self, hidden: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        paid = hidden * sum(GAMMA**step for step in range(self.duration))
        follows = torch.logit(torch.tensor(GAMMA**self.duration))
        logit = torch.where(hidden > 1, follows, torch.tensor(-100.0))
        output = torch.cat((paid, logit), dim=1) if self.predicts_discount else paid
        return (hidden - 1).clamp_min(0), output

    def prediction(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, state, worth = torch.zeros_like(hidden), hidden, 1.0
        while (state > 0).any():
            value = value + worth * state * sum(GAMMA**step for step in range(self.duration))
            state, worth = (state - 1).clamp_min(0), worth * GAMMA**self.duration
        return value, hidden.new_tensor([0.0, 1.0, 2.0]).expand(len(hidden), 3)


def countdown(duration: int) -> Decisions:
    """One episode from 6 to its end, one from 5 that is truncated at 2."""
    left = np.array([6, 5, 4, 3, 2, 1, 5, 4, 3])
    return Decisions(
        episode=np.repeat([0, 1], [6, 3]),
        observation=left[:, None].astype(np.float32),
        action=np.zeros(9, np.int64),
        chosen=np.full(9, 1),
        reward=left * float(duration),
        duration=np.full(9, duration),
        end=ends(0, 0, 0, 0, 0, TERMINATED, 0, 0, TRUNCATED),
        final_observation=np.array([[2.0]], np.float32),
        rho=np.tile(np.array([0.8, 0.7, 0.6], np.float32), (9, 1)),
    )


@pytest.mark.parametrize("predict_discount", [False, True])
@pytest.mark.parametrize("duration", [1, 3])
def test_a_perfect_model_has_no_errors(duration: int, predict_discount: bool) -> None:
    network = Countdown(predict_discount=predict_discount, duration=duration)
    found = assess(
        network,
        countdown(duration),
        discount=GAMMA,
        discount_per_step=duration > 1,
        depth=3,
        gate=0.75,
    )
    assert (found.decisions, found.terminated, found.truncated) == (9, 1, 1)
    accuracy = found.accuracy
    assert [one.count for one in accuracy.value] == [9, 7, 5, 3]
    assert [one.count for one in accuracy.reward] == [9, 7, 5]
    assert [one.count for one in accuracy.after_end] == [1, 2, 3]
    for one in (*accuracy.value, *accuracy.observed_value, *accuracy.reward):
        assert one.mae == pytest.approx(0.0, abs=1e-5)
        assert one.r_squared == pytest.approx(1.0, abs=1e-5)
    assert [one.value for one in accuracy.after_end] == [0.0, 0.0, 0.0]
    # of the truncated episode: two decisions with weights 1/2 and 1/4, or none with smaller ones
    assert accuracy.observed_value[0].count == (6 if duration == 1 else 8)
    assert (found.endings is not None) == predict_discount
    for one in found.endings or ():
        assert one.brier == pytest.approx(0.0, abs=1e-6)
        assert one.calibration_error == pytest.approx(0.0, abs=1e-4)
        assert one.baseline_brier > 0.0
    ranking = {one.name: one for one in found.ranking or ()}
    assert list(ranking) == ["random", "do nothing", "prior", "model", "search"]
    assert ranking["prior"].correlation == pytest.approx(1.0)
    assert ranking["prior"].hits_best == 1.0 and ranking["prior"].choices.safe == 1.0
    assert ranking["search"].choices.regret == pytest.approx(0.1)
    assert ranking["do nothing"].choices.safe == 0.0
    assert ranking["model"].correlation_count == 0  # it says, rightly, that all are alike


def test_a_wrong_model_has_errors() -> None:
    network = Countdown(predict_discount=True, duration=2)  # thinks that all takes twice as long
    found = assess(
        network, countdown(1), discount=GAMMA, discount_per_step=False, depth=2, gate=0.75
    )
    assert all(one.bias > 0.1 for one in found.accuracy.reward)
    assert found.endings is not None
    assert found.endings[0].predicted == pytest.approx((8 * 0.5 + 1) / 9, abs=1e-3)
    assert found.endings[0].observed == pytest.approx(1 / 9)


def test_without_dynamics_only_observations_are_judged() -> None:
    found = assess(
        Countdown(predict_discount=True, duration=1),
        countdown(1)._replace(rho=None),
        discount=GAMMA,
        discount_per_step=False,
        depth=0,
        gate=0.75,
    )
    assert len(found.accuracy.value) == 1 and found.accuracy.value[0].mae < 1e-5
    assert found.accuracy.reward == () and found.endings is None and found.ranking is None


@pytest.mark.parametrize("predict_discount", [False, True])
def test_actions_are_valued_as_the_search_values_them(predict_discount: bool) -> None:
    agent = cartpole.make_agent(network={"predict_discount": predict_discount})
    network = agent.network.eval()
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(7, 4)).astype(np.float32)
    candidates = np.ones((7, 2), bool)
    candidates[3, 1] = False
    found = predict_actions(network, observations, candidates, discount=0.99)
    assert np.isnan(found).sum() == 1 and np.isnan(found[3, 1])
    with torch.inference_mode():
        hidden = network.representation(torch.from_numpy(observations))
        output = network.recurrent_inference(hidden, torch.ones(7, dtype=torch.int64))
        reward, logit = network.read_reward(output.reward)
        factor = 0.99 if logit is None else logit.sigmoid()
        decoded = network.value_head_codec.decode(output.value)
        expected = network.reward_head_codec.decode(reward) + factor * decoded
    keep = candidates[:, 1]
    np.testing.assert_allclose(found[keep, 1], expected.numpy()[keep], rtol=1e-5)
    assert predict_roots(network, observations[:0]).value.shape == (0,)


class TestPlaying:
    def play(self, **options: Any) -> Decisions:
        plan = list_episodes(None, episodes=3, seed=5)
        return play_decisions(cartpole.make_agent(), cartpole.FACTORY, plan, num_envs=2, **options)

    def test_episodes_are_whole_and_repeat(self) -> None:
        found = self.play(explore=0.5)
        assert found.rho is None
        last = np.flatnonzero(np.diff(found.episode, append=3))
        assert found.episode[last].tolist() == [0, 1, 2]
        assert (found.end[last] == TERMINATED).all()
        assert (np.delete(found.end, last) == CONTINUING).all()
        assert 0 < (found.action != found.chosen).mean() < 0.5
        assert found.final_observation.shape == (0, 4)
        again = self.play(explore=0.5)
        np.testing.assert_array_equal(found.observation, again.observation)
        np.testing.assert_array_equal(found.action, again.action)

    def test_a_cap_truncates(self) -> None:
        found = self.play(most_decisions=4)
        assert found.episode.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert found.end.tolist() == [0, 0, 0, TRUNCATED] * 3
        assert (found.action == found.chosen).all()
        whole = self.play()
        after = [whole.observation[whole.episode == episode][4] for episode in range(3)]
        np.testing.assert_allclose(found.final_observation, np.stack(after), rtol=1e-5)
