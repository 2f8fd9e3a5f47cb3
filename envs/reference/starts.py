"""Where episodes start: the scenario and the row of it, as the reset's options say or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.scenarios import Scenario, ScenarioSource
from powergrid_muzero.checks import check_count
from powergrid_muzero.names import choose

STARTS = ("beginning", "random")
LEAST_STEPS = 288  # a random start leaves at least a day to play
RESET_OPTIONS = ("scenario", "first_step", "attack_seed")


def draw_start(
    source: ScenarioSource,
    options: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    split: str,
    start: str,
) -> tuple[Scenario, int]:
    """Return the scenario that is played next, and the row of it to start at.

    Args:
        source: of scenarios.
        options: of the reset: "scenario" and "first_step"; what is left out is drawn.
        rng: draws.
        split: that scenarios are drawn from.
        start: one of ``STARTS``.

    Raises:
        ValueError: an unknown option or scenario, or a row that is no count.
    """
    for key in options:
        choose("reset option", key, RESET_OPTIONS)
    name = options.get("scenario")
    if name is None:
        name = source.draw(split, rng)
    elif not isinstance(name, str):
        raise ValueError(f"the reset option 'scenario' must be a name, but is {name!r}")
    scenario = source.load(str(name))
    first_step = options.get("first_step")
    if first_step is not None:
        return scenario, check_count("the reset option 'first_step'", first_step, least=0)
    latest = scenario.num_steps - LEAST_STEPS
    random = start == "random" and latest > 0
    return scenario, int(rng.integers(latest + 1)) if random else 0
