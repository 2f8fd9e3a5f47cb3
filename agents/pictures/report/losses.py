"""The N-1 state at decisions: what the worst loss of a line at risk would do.

It is looked at on the grids of the playback, after the evaluation: nothing of it counts as a call
of the agent's, nor changes an episode.

Shape letters: C lines looked at, K actions, L lines.
"""

from __future__ import annotations

import numpy as np

from agents.environments import VectorEnvironment
from agents.pictures.report.trace import LossTrace
from envs import DO_NOTHING, Lookahead

MOST_LINES = 64  # looked at in a decision; of more lines at risk, those that are most loaded then


def find_worst_losses(
    env: VectorEnvironment, grid: int, action: int, *, lines: np.ndarray, rho: np.ndarray
) -> tuple[LossTrace, LossTrace]:
    """Return the worst loss in the next step if nothing is done, and if ``action`` is.

    Args:
        env: power grids; they stay as they are, but for ``simulator_calls``.
        grid: number of the one that is looked at, which must be playing.
        action: that its agent has chosen.
        lines: ``[C]`` int, at risk.
        rho: ``[L]``, present loadings.
    """
    if len(lines) > MOST_LINES:
        lines = np.sort(lines[np.argsort(-rho[lines], kind="stable")[:MOST_LINES]])
    actions = [DO_NOTHING] if action == DO_NOTHING else [DO_NOTHING, action]
    asked: list[np.ndarray | None] = [None] * env.num_envs
    asked[grid] = np.array(actions)
    found = env.simulate(asked, lines)[grid]
    assert found is not None
    worst = [_worst(found, row, lines) for row in range(len(actions))]
    return worst[0], worst[-1]


def _worst(found: Lookahead, row: int, lines: np.ndarray) -> LossTrace:
    """Return the worst loss after action number ``row``: ``rho`` is ``[K, 1 + C, L]``."""
    over, rho = found.game_over[row], found.rho[row]
    if over[0]:
        return LossTrace(lost=-1, loaded=-1, rho=float("inf"))
    highest = np.where(over, np.inf, found.rho_max[row])[1:]
    highest[rho[0, lines] == 0] = -1.0  # out already
    if not len(lines) or highest.max() < 0:
        return LossTrace(lost=-1, loaded=int(rho[0].argmax()), rho=float(rho[0].max()))
    column = int(highest.argmax())
    loaded = -1 if over[1 + column] else int(rho[1 + column].argmax())
    return LossTrace(lost=int(lines[column]), loaded=loaded, rho=float(highest[column]))
