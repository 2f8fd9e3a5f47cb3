"""A network that learns something besides, which trainer, replay and learner do not know of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.agent import TrainerSettings
from agents.muzero.agent import MuZeroAgent
from agents.muzero.auxiliary import AuxiliaryTarget, Moment
from agents.muzero.decision import Field
from agents.muzero.networks import MLPNetwork, Unrolled
from agents.muzero.replay import Batch
from agents.muzero.teacher import Teacher
from tests.muzero.cartpole import (
    FACTORY,
    Memory,
    Rows,
    assert_same_weights,
    make_agent,
    make_run,
    weights,
)
from tests.muzero.test_teacher import Balance


class PoleTarget(AuxiliaryTarget):
    """The angle of the pole and whether a teacher was there, at every unrolled position."""

    def __init__(self, weight: float) -> None:
        self.fields = {"angle": Field((1,), np.float32), "taught": Field((), np.int8)}
        self.loss_weights = {"angle": weight}

    def check_teacher(self, teacher: Teacher | None) -> None:
        """Refuse to be taught."""
        if teacher is not None:
            raise ValueError(f"{type(teacher).__name__} is not wanted here")

    def collect(self, moment: Moment) -> Mapping[str, np.ndarray]:
        """Read the angle from the observations."""
        taught = np.full(len(moment.observations), moment.advice is not None)
        return {"angle": moment.observations[:, 2:3], "taught": taught}

    def losses(
        self, network: PoleNetwork, batch: Batch[torch.Tensor], unrolled: Unrolled
    ) -> Mapping[str, torch.Tensor]:
        """Squared errors, where there is a real decision."""
        error = network.angle(unrolled.hidden) - batch.decisions.extras["angle"]
        return {"angle": error[batch.targets.policy_mask].square().mean()}


class PoleNetwork(MLPNetwork):
    """Predicts the angle of the pole from any of its states."""

    def __init__(self, *, angle_weight: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.angle = nn.Linear(self.state_size, 1)
        self.auxiliary_targets = (PoleTarget(angle_weight),)


def train(
    tmp_path: Path, *, store: Memory | None = None, logger: Rows | None = None, **options: Any
) -> MuZeroAgent:
    network = {"angle_weight": options.pop("angle_weight", 1.0)}
    agent = make_agent(network=network, network_class=PoleNetwork)
    agent.train(make_run(tmp_path, checkpoints=store, logger=logger, **options))
    return agent


def test_what_a_network_declares_is_recorded_learned_and_reported(tmp_path: Path) -> None:
    store, log = Memory(), Rows()
    trained = train(tmp_path, store=store, logger=log)
    held = store.latest["replay"]["arrays"]
    assert torch.equal(held["angle"][:, 0], held["observation"][:, 2])
    assert held["angle"].any() and held["taught"].dtype == torch.int8 and not held["taught"].any()
    assert all(row["train/angle"] > 0.0 for row in log.rows if "train/total" in row)
    assert any("train/angle" in row for row in log.rows)
    before = weights(make_agent(network_class=PoleNetwork))
    assert not torch.equal(weights(trained)["angle.weight"], before["angle.weight"])


def test_its_loss_has_its_own_weight(tmp_path: Path) -> None:
    def turned(angle_weight: float) -> float:
        network = {"angle_weight": angle_weight}
        agent = make_agent(network=network, network_class=PoleNetwork)
        agent._learning = {**agent._learning, "l2": 0.0}
        before = weights(agent)["angle.weight"]
        agent.train(make_run(tmp_path))
        return float((weights(agent)["angle.weight"] - before).norm())

    assert turned(0.0) == 0.0 < turned(1.0)


@pytest.mark.slow
def test_it_is_the_same_across_resumes_and_in_processes(tmp_path: Path) -> None:
    whole, store = train(tmp_path), Memory()
    train(tmp_path, store=store, total_env_steps=100)
    assert_same_weights(whole, train(tmp_path, store=store, num_workers=1))


def test_it_is_asked_about_the_teacher_before_training() -> None:
    settings = TrainerSettings(total_env_steps=1000)
    make_agent(network_class=PoleNetwork).preflight(FACTORY, settings)
    taught = make_agent(network_class=PoleNetwork, teacher=Balance, taught_decisions=5)
    with pytest.raises(ValueError, match="Balance is not wanted here"):
        taught.preflight(FACTORY, settings)
