"""``Grid2OpAgent``: any of our agents as a ``grid2op.Agent.BaseAgent``."""

from __future__ import annotations

from typing import Any

from grid2op.Action import ActionSpace, BaseAction
from grid2op.Agent import BaseAgent
from grid2op.Observation import BaseObservation

from agents.grid2op_agent.player import Grid2OpPlayer
from agents.grid2op_agent.recipe import AgentRecipe


class Grid2OpAgent(BaseAgent):
    """Plays in grid2op as the agent of the recipe plays PowerGrid-v0.

    Every episode is played by a fresh copy of the agent: ``reset`` forgets the one before. Copies
    (grid2op's Runner makes some) share nothing and build themselves at their first ``reset``.

    Args:
        action_space: of the grid2op environment.
        recipe: which agent, with which weights, made for which grid and gate.

    Raises:
        ValueError: the agent cannot play there: another grid, other actions, no weights, or it
            needs what grid2op does not give, such as a simulator to plan in.
    """

    def __init__(self, action_space: ActionSpace, recipe: AgentRecipe) -> None:
        super().__init__(action_space)
        self.recipe = recipe
        self.name = recipe.name
        self._agent_seed: int | None = None
        self._player: Grid2OpPlayer | None = Grid2OpPlayer(recipe, self.action_space)
        self._begun = False

    def seed(self, seed: int) -> Any:
        """Seed the agent, from the next ``reset`` on; see ``BaseAgent.seed``."""
        self._agent_seed = int(seed)
        return super().seed(seed)

    def reset(self, obs: BaseObservation) -> None:
        """Start an episode."""
        del obs  # the first act gets it too
        self.player.begin(self._agent_seed)
        self._begun = True

    def act(self, observation: BaseObservation, reward: float, done: bool = False) -> BaseAction:
        """Return the agent's action for ``observation``; see ``BaseAgent.act``.

        Args:
            observation: of the present step.
            reward: not looked at.
            done: the game is over, and nothing is done.

        Raises:
            ValueError: the agent's answer is no action, or it looks ahead without forecasts.
        """
        if done:
            return self.action_space({})
        if not self._begun:
            self.reset(observation)
        return self.player.as_grid2op(self.player.choose(observation))

    @property
    def player(self) -> Grid2OpPlayer:
        """What plays, built when first needed."""
        if self._player is None:
            self._player = Grid2OpPlayer(self.recipe, self.action_space)
        return self._player

    def __getstate__(self) -> dict[str, Any]:
        """Leave the player behind: it is built again where it plays."""
        return {**self.__dict__, "_player": None, "_begun": False}
