"""Our agents in grid2op's own tools.

- ``recipe``: which agent, with which weights, made for which grid and gate.
- ``agent``: ``Grid2OpAgent``, a ``grid2op.Agent.BaseAgent`` for ``Runner`` and scores.
- ``player``: how one of our agents plays on grid2op's observations.
- ``submission``: the folder that a competition loads with ``make_agent(env, path)``.
- ``scores``: ``ScoreL2RPN2020`` on a folder of scenarios.
- ``__main__``: the same from the command line.
"""

from agents.grid2op_agent.agent import Grid2OpAgent
from agents.grid2op_agent.recipe import AgentRecipe, recipe_from
from agents.grid2op_agent.scores import ScenarioScore, score_l2rpn_2020
from agents.grid2op_agent.submission import make_agent, read_submission, write_submission

__all__ = [
    "AgentRecipe",
    "Grid2OpAgent",
    "ScenarioScore",
    "make_agent",
    "read_submission",
    "recipe_from",
    "score_l2rpn_2020",
    "write_submission",
]
