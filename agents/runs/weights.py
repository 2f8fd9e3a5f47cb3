"""``weights=``: resolves a shipped name, a file or a run folder.

``weights=case14`` ships, ``weights=runs/quickstart/DATE`` is a run's checkpoint, and
``weights=FILE`` any checkpoint. What ships and what lies in the folder of a run brings the
configuration along that it was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from agents import pretrained
from agents.agent import Agent
from agents.runs.checkpoints import read_checkpoint, restore_agent
from agents.runs.folder import CONFIG, RunFolder
from agents.runs.paths import given_path
from agents.runs.saved_configs import adopt, change_saved
from powergrid_muzero.names import choose

WHICH = ("best", "latest")


@dataclass(frozen=True)
class Weights:
    """Weights that were found."""

    name: str  # as results tell it: a name that ships, or the path that was given
    run: RunFolder | None  # whose configuration they belong to; None for a file by itself
    file: Path | None = None  # the checkpoint; None for the run's own
    which: str = "best"  # of the run's own

    @property
    def reference(self) -> str:
        """What finds them again from another folder."""
        path = Path(self.name).expanduser()
        return str(path.absolute()) if path.exists() else self.name

    @property
    def origin(self) -> str:
        """Where they come from, for messages."""
        if self.file is not None:
            return str(self.file)
        assert self.run is not None
        return f"the {self.which} checkpoint in {self.run.checkpoints.folder}"

    def state(self) -> Mapping[str, Any]:
        """Return an agent's ``state_dict``.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        if self.file is None:
            assert self.run is not None
            return self.run.checkpoints.load_weights(self.which)
        state = read_checkpoint(self.file)
        return state.get("agent", state)  # of a whole training, or weights alone

    def restore(self, agent: Agent) -> None:
        """Give them to ``agent``.

        Raises:
            ValueError: see ``state``, or they are of another network.
        """
        restore_agent(agent, self.state(), origin=self.origin)


def find_weights(given: str, which: str = "best") -> Weights:
    """Return the weights that ``given`` names.

    Args:
        given: a checkpoint's file, the folder of a run, or a name of ``pretrained.names()``; what
            exists comes before a name.
        which: of the folder of a run: "best" or "latest".

    Raises:
        ValueError: it is none of these.
    """
    path = given_path(given, "weights")
    if path.is_file():
        folder = path.parent.parent
        in_run = (folder / CONFIG).is_file()
        found = Weights(given, RunFolder.open_existing(folder) if in_run else None, path)
    elif (path / CONFIG).is_file():
        return Weights(given, RunFolder.open_existing(path), which=which)
    elif path.suffix or len(path.parts) > 1 or path.is_dir():
        what = "is not the folder of a run" if path.is_dir() else "does not exist"
        raise ValueError(
            f"weights={given} {what}; name a checkpoint's file, the folder of a run, or weights "
            f"that ship: {', '.join(pretrained.names())}."
        )
    else:
        name = choose("weights", given, pretrained.names())
        folder = pretrained.folder_of(name)
        found = Weights(name, RunFolder.open_existing(folder))
    if which != "best":
        raise ValueError(
            f"checkpoint={which} is one of the folder of a run, and weights={given} is a "
            "checkpoint itself; leave out one of them."
        )
    return found


def weights_asked_for(words: Mapping[str, Any]) -> Weights | None:
    """Return the weights that a command was asked for; None if it was asked for none.

    Args:
        words: ``run`` and ``weights``, of which one may be given, and ``checkpoint``.

    Raises:
        ValueError: both are given, or a checkpoint of neither, or see ``find_weights``.
    """
    run, given = words.get("run"), words.get("weights")
    which = choose("checkpoint", words.get("checkpoint") or WHICH[0], WHICH)
    if run is not None and given is not None:
        raise ValueError(f"run={run} and weights={given} were given; name one of them.")
    if run is not None:
        return Weights(str(run), RunFolder.open_existing(given_path(run, "run")), which=which)
    if given is not None:
        return find_weights(given, which)
    if which != WHICH[0]:
        raise ValueError(f"checkpoint={which} is one of the folder of a run: add run=FOLDER.")
    return None


class TrainedConfiguration(NamedTuple):
    """What a trained agent is evaluated with."""

    env: dict[str, Any]  # the config group
    agent: dict[str, Any]  # the config group
    evaluation_env: dict[str, Any]  # what evaluation changes of the environment
    option: str | None  # of the config group agent; None where an older run does not tell


def configuration_of(
    run: RunFolder,
    composed: DictConfig,
    overrides: Sequence[str],
    *,
    option: str | None,
    ignored: Sequence[str],
) -> TrainedConfiguration:
    """Return the configuration of a trained agent with what the command line changes in it.

    Args:
        run: of its training.
        composed: what the command line composes to by itself.
        overrides: of the command line; ``agent=KIND`` of the run's own kind changes nothing.
        option: of the config group agent that ``composed`` has.
        ignored: keys of the command itself.

    Raises:
        ValueError: see ``change_saved``.
    """
    saved = run.load_config()
    chosen = [one for one in overrides if one.partition("=")[0] == "agent"]
    if not chosen or composed.agent.get("_target_") == saved["agent"]["_target_"]:
        overrides = [one for one in overrides if one not in chosen]
        option = run.agent_option
    changeable = ("env", "agent", "trainer", "evaluation.env")
    changed = change_saved(saved, composed, overrides, changeable=changeable, ignored=ignored)
    return TrainedConfiguration(
        changed["env"], changed["agent"], changed["evaluation"].get("env", {}), option
    )


def with_shapes_of(
    run: RunFolder, config: Mapping[str, Any], composed: DictConfig, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the configuration of a training that begins with weights of another.

    The network and the observation are the other's, but for what the command line itself sets.

    Args:
        run: of the other training.
        config: of the training.
        composed: the same, as composed.
        overrides: of the command line.

    Raises:
        ValueError: the other training's agent is of another kind.
    """
    saved = run.load_config()
    theirs, ours = saved["agent"]["_target_"], config["agent"]["_target_"]
    if theirs != ours:
        raise ValueError(f"the weights in {run.path} are of {theirs}; this agent is a {ours}.")
    groups = ["network"]
    env, their_env = config["env"], saved["env"]
    observed = [one["kwargs"].get("observation") for one in (env, their_env)]
    if env["id"] == their_env["id"] and observed[0] != observed[1]:
        groups.append("observation")
    return adopt(config, saved, groups, composed, overrides)
