"""``agents.load``, ``agents.evaluate`` and ``agents.train``: what the commands do, from Python."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents import pretrained
from agents.agent import Agent, Infos
from agents.commands import evaluate as evaluate_command
from agents.commands import train as train_command
from agents.configuration.arguments import for_hydra
from agents.configuration.composed import (
    Composed,
    check_single,
    compose_here,
    options_of,
    own_configuration,
)
from agents.environments import EnvironmentFactory, VectorEnvironment
from agents.evaluation import EvaluationResult
from agents.evaluation.tables import html_summary
from agents.pictures.plots import LEARNING_CURVE
from agents.pictures.search_trees import action_texts
from agents.resumable import Autoreset
from agents.runs.paths import as_override
from powergrid_muzero.names import choose

if TYPE_CHECKING:
    from agents.muzero.search.record import TreeRecord


@dataclass(repr=False, eq=False)
class LoadedAgent:
    """An agent, and the environment that it plays."""

    name: str  # in tables, such as "greedy"
    agent: Agent
    make_environment: EnvironmentFactory  # that it is evaluated in
    overrides: tuple[str, ...]  # of powergrid-evaluate, which describe all that
    _env: VectorEnvironment | None = field(default=None, init=False)  # made last

    def __repr__(self) -> str:
        return f"LoadedAgent({', '.join(map(repr, self.overrides))})"

    def make_env(
        self, num_envs: int = 1, *, autoreset: Autoreset = "same_step"
    ) -> VectorEnvironment:
        """Make its environment, ``num_envs`` side by side, and let the agent meet it.

        Args:
            num_envs: B.
            autoreset: what becomes of an episode that is over: "same_step", "next_step" or
                "disabled", as in Gymnasium.
        """
        env = self.make_environment(num_envs, autoreset=autoreset)
        self.agent.bind(env)
        self._env = env
        return env

    def act(self, observations: Any, infos: Infos, active: np.ndarray | None = None) -> np.ndarray:
        """Return ``[B]`` int64 actions, see ``Agent.act``; ``make_env`` comes first."""
        return self.agent.act(observations, infos, active)

    def explain(self, texts: Sequence[str] | None = None) -> Mapping[int, TreeRecord]:
        """Return the search behind each action of the last ``act``, see ``Agent.explain``.

        Args:
            texts: ``[A]`` what each action does; None: the words of the environment made last.
        """
        if texts is None and self._env is not None and self.agent.explains:
            texts = action_texts(self._env)
        return self.agent.explain(texts)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A training that has ended."""

    folder: Path  # of the run: configuration, metrics, checkpoints, results
    results: tuple[EvaluationResult, ...] = field(repr=False)  # the trained agent comes last

    def load(self, *overrides: str) -> LoadedAgent:
        """Return the agent with its best weights, see ``agents.load``."""
        return load(self.folder, *overrides)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the results, and the learning curve if there is one."""
        curve = self.folder / LEARNING_CURVE
        shown = [f"<p>Run folder: <code>{escape(str(self.folder))}</code></p>"]
        if self.results:
            shown.append(html_summary(self.results))
        if curve.is_file():
            picture = base64.b64encode(curve.read_bytes()).decode()
            shown.append(
                f'<img alt="validation during training" src="data:image/png;base64,{picture}"/>'
            )
        return "\n".join(["<div>", *shown, "</div>"])


def load(agent: str | Path, *overrides: str) -> LoadedAgent:
    """Return an agent, with its weights and its environment.

        agent = agents.load("case14")
        env = agent.make_env(num_envs=4)
        observations, infos = env.reset(seed=0)
        actions = agent.act(observations, infos)

    Args:
        agent: weights that ship ("case14"), the folder of a run, the file of a checkpoint, or an
            agent that learns nothing ("greedy", "planner").
        overrides: as ``powergrid-evaluate`` takes them, such as "opponent=rl4pnc".

    Raises:
        ValueError: no such agent, weights or override; one line says what is there.
    """
    words = (*_words(agent), *_about_the_agent_alone(overrides))
    entry = evaluate_command.configured_agent(_composed("evaluate", words)).entry
    return LoadedAgent(entry.name, entry.agent, entry.make_environment, words)


def evaluate(
    agent: str | Path | LoadedAgent | Agent, *overrides: str, folder: str | Path | None = None
) -> EvaluationResult:
    """Play an agent over a fixed list of episodes; return what it did in each.

        result = agents.evaluate("case14", "evaluation.episodes=4")
        agents.summarize(result)["steps_percent"].mean

    Args:
        agent: as in ``load``, what it returned (made anew from the same words, so that each
            evaluation gives the same), or an agent of one's own.
        overrides: as ``powergrid-evaluate`` takes them: "split=test", "wrappers=gated",
            "evaluation.episodes=4". Validation months are played by default.
        folder: where results, tables and plots are written too; None writes nothing.

    Raises:
        ValueError: what cannot be played; one line says why. Nothing was written then.
    """
    given: Agent | None = None
    if isinstance(agent, LoadedAgent):
        words = (*agent.overrides, *overrides)
    elif isinstance(agent, Agent):
        words, given = ("agent=do_nothing", *_about_the_agent_alone(overrides)), agent
    else:
        words = (*_words(agent), *_about_the_agent_alone(overrides))
    composed = _composed("evaluate", _with_folder(words, folder))
    written = composed.config.folder is not None
    for name in ("report", "gif", "trees"):
        if not written and composed.config.evaluation[name]:
            raise ValueError(f"evaluation.{name} draws into a folder: add folder='...'.")
    prepared = evaluate_command.prepare(composed, given)
    return (evaluate_command.evaluate(prepared) if written else prepared.play())[-1]


def train(*overrides: str, folder: str | Path | None = None) -> TrainedRun:
    """Train an agent, as ``powergrid-train`` does, and evaluate it beside the baselines.

        run = agents.train("experiment=quickstart", "trainer.max_minutes=2")
        agent = run.load()

    A script needs no ``if __name__ == "__main__":`` for ``trainer.num_workers``: workers are
    Ray's processes, which do not run it again.

    Args:
        overrides: as ``powergrid-train`` takes them; a first one without "=" is the experiment.
        folder: of the run; None for a new one, ``runs/NAME/DATE_TIME``.

    Raises:
        ValueError: what is wrong with the configuration; nothing was written.
        WorkersLostError: a worker process was lost again and again; a checkpoint was written.
        KeyboardInterrupt: on Ctrl-C; the run goes on with ``agents.train("resume=FOLDER")``.
    """
    words = _checked(overrides)
    if words and "=" not in words[0]:
        with own_configuration():
            words[0] = f"experiment={choose('experiment', words[0], options_of('experiment'))}"
    composed = _composed("train", _with_folder(words, folder))
    run = train_command.train(composed, command=["agents.train", *composed.overrides])
    return TrainedRun(run.folder, tuple(run.results))


def _composed(command: str, words: Sequence[str]) -> Composed:
    check_single(_checked(words))
    with own_configuration():
        return compose_here(command, for_hydra(_checked(words)))


def _checked(words: Sequence[str]) -> list[str]:
    """Return overrides; ValueError unless each is text."""
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"override {word!r}: expected text, such as 'opponent=rl4pnc'.")
    return list(words)


def _about_the_agent_alone(overrides: Sequence[str]) -> list[str]:
    """Return overrides of an agent that was given; ValueError if they name another."""
    words = _checked(overrides)
    for word in words:
        if word.startswith(("agent=", "weights=", "run=")):
            raise ValueError(f"{word}: the agent is given already, as the first argument.")
    return words


def _with_folder(words: Sequence[str], folder: str | Path | None) -> list[str]:
    words = _checked(words)
    if folder is None:
        return words
    twice = [word for word in words if word.startswith("folder=")]
    if twice:
        raise ValueError(f"{twice[0]} and folder={str(folder)!r} were given; name one of them.")
    return [*words, as_override("folder", folder)]


def _words(agent: str | Path) -> tuple[str, ...]:
    """Return the override that names an agent or its weights."""
    if isinstance(agent, type):
        raise ValueError(f"agent is the class {agent.__name__}; expected one of its objects.")
    if not isinstance(agent, str | Path):
        raise ValueError(
            f"agent is {agent!r}; expected a name such as 'case14' or 'greedy', or a path."
        )
    with own_configuration():
        options = options_of("agent")
    if agent in options:
        return (f"agent={agent}",)
    path = Path(agent)
    named = not isinstance(agent, Path) and not path.suffix and len(path.parts) < 2
    if named and not os.path.exists(agent):  # False for a name too long to be a path's
        choose("agent", str(agent), [*pretrained.names(), *options])
    # an absolute path holds where the folder is changed later; one that is not there is told of
    return (as_override("weights", path.absolute() if path.exists() else agent),)
