"""Typed sections of the commands' configurations: names, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveInt

from agents.agent import TrainerSettings
from agents.parts import KeywordsOf

SINGLE = "grid2op"  # single environments side by side
SIMULATORS = ("lightsim2grid", SINGLE)

Text = str | int  # of names and paths: what Hydra reads as a whole number is one, too
Options = Mapping[str, Any]
Seed = Annotated[int, Ge(0), Lt(2**32)]  # numpy's own limit of what seeds its older generators


@dataclass(frozen=True, kw_only=True)
class EnvironmentSection:
    """``env``."""

    id: str
    kwargs: Options  # of gymnasium.make
    wrappers: Mapping[str, Options]
    baselines: Mapping[str, Options] = field(default_factory=dict)
    simulator: Literal["lightsim2grid", "grid2op"] = SINGLE


@dataclass(frozen=True, kw_only=True)
class ClusterSection:
    """``ray``."""

    address: str | None


@dataclass(frozen=True, kw_only=True)
class InterimEvaluation:
    """``evaluation.interim`` of a training."""

    episodes: PositiveInt | None
    max_steps: PositiveInt | None
    scenarios: str | Options | None = None  # absent in older runs


@dataclass(frozen=True, kw_only=True)
class LastEvaluation:
    """``evaluation.final`` of a training."""

    episodes: PositiveInt | None
    max_steps: PositiveInt | None
    baselines: bool
    gif: bool


@dataclass(frozen=True, kw_only=True)
class TrainingEvaluation:
    """``evaluation`` of a training."""

    split: str
    seed: Seed
    num_envs: PositiveInt
    num_workers: NonNegativeInt
    env: Options
    interim: Annotated[Options, KeywordsOf(InterimEvaluation, complete=True)]
    final: Annotated[Options, KeywordsOf(LastEvaluation, complete=True)]


@dataclass(frozen=True, kw_only=True)
class TrainConfiguration:
    """All of ``conf/train.yaml``."""

    name: Text
    seed: Seed
    folder: Text | None
    resume: Text | None
    weights: Text | None = None  # absent in older runs
    trainer: Annotated[Options, KeywordsOf(TrainerSettings, complete=True)]
    evaluation: Annotated[Options, KeywordsOf(TrainingEvaluation, complete=True)]
    progress: Mapping[str, str]
    ray: Annotated[Options, KeywordsOf(ClusterSection, complete=True)] = field(
        default_factory=lambda: {"address": None}  # absent in older runs
    )
    env: Annotated[Options, KeywordsOf(EnvironmentSection, complete=True)]
    agent: Options
    logger: Options


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """``evaluation`` of an evaluation."""

    split: str
    seed: Seed
    num_envs: PositiveInt
    num_workers: NonNegativeInt
    env: Options
    scenarios_list: list[str] | None
    first: Annotated[int, Ge(0), Lt(2**31)]
    episodes: PositiveInt | None
    max_steps: PositiveInt | None
    baselines: bool
    plots: bool
    rho_plots: NonNegativeInt
    report: NonNegativeInt
    gif: bool
    trees: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class EvaluatingDevice:
    """``trainer`` of an evaluation: all that is used of it there."""

    device: str


@dataclass(frozen=True, kw_only=True)
class EvaluateConfiguration:
    """All of ``conf/evaluate.yaml``."""

    split: str
    seed: Seed
    name: Text | None
    run: Text | None
    checkpoint: Literal["best", "latest"]
    weights: Text | None
    folder: Text | None
    trainer: Annotated[Options, KeywordsOf(EvaluatingDevice)]
    ray: Annotated[Options, KeywordsOf(ClusterSection, complete=True)]
    evaluation: Annotated[Options, KeywordsOf(Evaluation, complete=True)]
    env: Annotated[Options, KeywordsOf(EnvironmentSection, complete=True)]
    agent: Options
    logger: Options
