"""The mean of several seeds, and its interval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.evaluation import write_results
from benchmarks.seeds import differences_over_seeds, estimate_over_seeds, read_one, scores_by_seed
from tests.agents.result_makers import result


def test_the_interval_knows_that_seeds_differ() -> None:
    """The same scores on every scenario: only the seeds tell anything about the spread."""
    scores = np.repeat([[90.0], [100.0], [100.0], [95.0], [100.0]], 64, axis=1)
    mean, low, high = estimate_over_seeds(scores)
    assert mean == 97.0
    by_hand = np.random.default_rng(1).choice(scores[:, 0], (20_000, 5)).mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(by_hand, [2.5, 97.5])), abs=0.3)
    alike = estimate_over_seeds(np.tile(np.array([50.0, 100.0] * 32), (5, 1)))
    assert 68 < alike.low < 75 < alike.high < 82  # 75 +- 1.96 * 25 / 8
    assert tuple(estimate_over_seeds(np.full((3, 4), 100.0))) == (100.0, 100.0, 100.0)


def test_scores_are_of_the_same_scenarios_in_rows_of_seeds() -> None:
    first, second = result(), result(steps=(100, 100, 50, 100))
    scores = scores_by_seed([first, second])
    assert scores["steps_percent"].tolist() == [[50, 100, 100, 30], [100, 100, 50, 100]]
    assert scores["completed_percent"].tolist() == [[0, 100, 100, 0], [100, 100, 0, 100]]
    other = replace(second, protocol=replace(second.protocol, split="val"))
    with pytest.raises(ValueError, match="several protocols"):
        scores_by_seed([first, other])


def test_the_difference_draws_the_same_scenarios_for_both() -> None:
    """Scenarios that are hard for both tell nothing of the difference; seeds do."""
    ours = [result(steps=(90, 100, 40, 100)), result(steps=(90, 100, 40, 100))]
    theirs = [result(steps=(80, 90, 30, 90))]
    mean, low, high = differences_over_seeds(ours, theirs)["steps_percent"]
    assert (mean, low, high) == pytest.approx((10.0, 10.0, 10.0))
    apart = differences_over_seeds(ours, [*theirs, result(steps=(60, 70, 10, 70))])["steps_percent"]
    assert apart.low == pytest.approx(10.0) and apart.high == pytest.approx(30.0)
    other = replace(theirs[0], episodes=theirs[0].episodes[::-1])
    with pytest.raises(ValueError, match="not of the same scenarios"):
        differences_over_seeds(ours, [other])


def test_several_agents_in_one_file_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path, [result("x"), result("y")])
    with pytest.raises(ValueError, match=r"holds 2 agents \(x, y\), expected one"):
        read_one(tmp_path)
