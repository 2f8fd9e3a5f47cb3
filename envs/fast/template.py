"""What all copies of a grid share, read from grid2op once; refuses grids that are not covered.

Shape letters: E element ends, G generators, H shunts, L lines, U storage units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from grid2op.Parameters import Parameters
from grid2op.Reward import ConstantReward
from grid2op.Rules import DefaultRules, RulesByArea
from grid2op.VoltageControler import ControlVoltageFromFile

from envs.grid.action_sets import ActionSet
from envs.grid.actions import ActionCatalogue
from envs.grid.state import GridLayout
from envs.reference.grid2op_copies import new_grid2op
from envs.reference.grid2op_state import grid_layout
from envs.scenarios import Scenario, check_parameters

REFERENCE = (
    "play it on the reference simulator: PowerGridEnv, gymnasium.make, or env.simulator=grid2op"
)
# parameter -> the only value that the fast rules know
_FIXED_PARAMETERS: Mapping[str, Any] = {
    "ENV_DC": False,
    "FORECAST_DC": False,
    "IGNORE_MIN_UP_DOWN_TIME": True,
    "STOP_EP_IF_GEN_BREAK_CONSTRAINTS": False,
    "MAX_SIMULATE_PER_STEP": -1,
    "MAX_SIMULATE_PER_EPISODE": -1,
    "IGNORE_INITIAL_STATE_TIME_SERIE": False,
}


class Rules(NamedTuple):
    """How the grid protects itself and how long things stay untouchable, in steps."""

    protected: bool  # whether overloaded lines trip at all
    overflow_allowed: int  # steps in a row above the soft limit that a line endures
    reconnection: int  # steps before a tripped line may be closed
    line_cooldown: int  # steps before a line that was acted on may be acted on again
    substation_cooldown: int  # the same for a substation
    limit: np.ndarray  # [L] float32, A, thermal limit
    soft_limit: np.ndarray  # [L] float32, A, above it the protection counts
    hard_limit: np.ndarray  # [L] float32, A, above it the line trips at once


@dataclass(frozen=True)
class GridTemplate:
    """One grid with one set of parameters; nothing in it changes.

    It is pickled, and copied, by name: a process has one of each.
    """

    parameters: Mapping[str, Any]  # grid2op's, that differ from the grid's own
    layout: GridLayout
    catalogue: ActionCatalogue
    rules: Rules
    model: Any  # lightsim2grid's LSGrid as every episode starts with it; copy, never play it
    forecast_model: Any  # the LSGrid that forecasts are played on; some grids have another one
    kv_per_unit: np.ndarray  # [G] float32, nominal voltage at each generator
    shunt_voltage: np.ndarray  # [H] float64, kV, nominal of each shunt
    storage_position: np.ndarray  # [U] int, of idle storage units in topo_vect
    topology: np.ndarray  # [E] int8, busbars at the start
    num_buses: int  # of the model
    max_iterations: int  # of the power flow
    tolerance: float  # of the power flow, per unit

    def __reduce__(self) -> tuple[Callable[..., GridTemplate], tuple[Any, ...]]:
        """Travel by name."""
        actions = self.catalogue.action_set
        return grid_template, (self.layout.name, dict(self.parameters), actions)

    def __deepcopy__(self, memo: dict[int, Any]) -> GridTemplate:
        """Return itself."""
        return self

    @property
    def num_shunts(self) -> int:
        """H."""
        return len(self.shunt_voltage)

    def check(self, scenario: Scenario) -> None:
        """Refuse a scenario of another grid.

        Raises:
            ValueError: it is not to be played here.
        """
        given = (scenario.load_p.shape[1], scenario.prod_p.shape[1])
        expected = (self.layout.num_loads, self.layout.num_generators)
        if given != expected:
            raise ValueError(
                f"scenario {scenario.name!r} is of another grid: it has {given[0]} loads and "
                f"{given[1]} generators, but the grid has {expected[0]} and {expected[1]}"
            )
        for kind in ("maintenance", "hazards"):
            outages = getattr(scenario, kind)
            if outages is not None and outages.shape[1] != self.layout.num_lines:
                raise ValueError(
                    f"scenario {scenario.name!r} is of another grid: its {kind} are of "
                    f"{outages.shape[1]} lines, but the grid has {self.layout.num_lines}"
                )


def grid_template(
    grid: str, parameters: Mapping[str, Any], actions: ActionSet | None = None
) -> GridTemplate:
    """Return the template of ``grid``, made once per process (1 s).

    Args:
        grid: grid2op name or folder.
        parameters: grid2op ``Parameters`` that differ from the grid's own.
        actions: to choose from; None for all.

    Raises:
        ValueError: no such grid or parameter, actions of another grid, or one that is not covered;
            the message says what to use instead.
    """
    if actions is not None:
        actions.refuse_powers("the vector environment plays", instead=REFERENCE)
    parameters = check_parameters(parameters)
    return _grid_template(grid, tuple(sorted(parameters.items())), actions)


@lru_cache(maxsize=8)
def _grid_template(
    grid: str, parameters: tuple[tuple[str, Any], ...], actions: ActionSet | None
) -> GridTemplate:
    env: Any = new_grid2op(grid, parameters=dict(parameters), reward_class=ConstantReward)
    try:
        layout = grid_layout(env, name=grid)
        backend = env.backend
        foreseeing = env.observation_space.obs_env.backend
        for one in (backend, foreseeing):
            one.reset("", "")  # the grid as every episode starts with it
        given = Parameters()  # those asked for are in force from the first reset on only
        given.init_from_dict({**env.parameters.to_dict(), **dict(parameters)})
        _refuse_uncovered(env, layout, given)
        for one in (backend, foreseeing):  # no action moves power in or out of storage units
            idle = np.zeros(type(env).n_storage, dtype=np.float32)
            one._grid.update_storages_p(np.ones(len(idle), dtype=np.bool_), idle)
        limit = env.get_thermal_limit().astype(np.float32)
        return GridTemplate(
            parameters=dict(parameters),
            layout=layout,
            catalogue=ActionCatalogue(
                env.action_space,
                layout,
                actions=actions,
                max_lines_changed=int(given.MAX_LINE_STATUS_CHANGED),
                max_substations_changed=int(given.MAX_SUB_CHANGED),
            ),
            rules=Rules(
                protected=not given.NO_OVERFLOW_DISCONNECTION,
                overflow_allowed=int(given.NB_TIMESTEP_OVERFLOW_ALLOWED),
                reconnection=int(given.NB_TIMESTEP_RECONNECTION),
                line_cooldown=int(given.NB_TIMESTEP_COOLDOWN_LINE),
                substation_cooldown=int(given.NB_TIMESTEP_COOLDOWN_SUB),
                limit=limit,
                soft_limit=np.float32(given.SOFT_OVERFLOW_THRESHOLD) * limit,
                hard_limit=np.float32(given.HARD_OVERFLOW_THRESHOLD) * limit,
            ),
            model=backend._grid.copy(),
            forecast_model=foreseeing._grid.copy(),
            kv_per_unit=backend.prod_pu_to_kv.astype(np.float32),
            shunt_voltage=np.asarray(
                foreseeing._sh_vnkv if type(env).shunts_data_available else [], dtype=np.float64
            ),
            storage_position=np.array(type(env).storage_pos_topo_vect, dtype=np.int64),
            topology=backend.topo_vect.astype(np.int8),
            num_buses=int(backend.nb_bus_total),
            max_iterations=int(backend.max_it),
            tolerance=float(backend.tol),
        )
    finally:
        env.close()


def _refuse_uncovered(env: Any, layout: GridLayout, given: Parameters) -> None:
    """Raise ValueError for what the fast rules would play differently from grid2op."""
    cls = type(env)
    backend = env.backend
    parameters = given.to_dict()
    for name, expected in _FIXED_PARAMETERS.items():
        if name in parameters and parameters[name] != expected:
            raise ValueError(
                f"the vector environment plays with {name}={expected} only, not "
                f"{parameters[name]}; {REFERENCE}"
            )
    uncovered = {
        "loads and generators that may be detached": cls.detachment_is_allowed,
        "more than two busbars a substation": cls.n_busbar_per_sub != 2,
        f"rules of its own ({env._game_rules.legal_action.__class__.__name__})": (
            type(env._game_rules.legal_action) not in (DefaultRules, RulesByArea)
        ),
        "a voltage controller of its own": (
            env._voltagecontrolerClass is not ControlVoltageFromFile
        ),
        "a slack of its own": backend._dist_slack_non_renew or backend._gen_slack_id is not None,
        "a power flow that does not start from DC": not backend.initdc,
        "islands that are cut off automatically": backend._automatically_disconnect,
        "lines that are open from the start": (backend.topo_vect < 1).any(),
    }
    found = [what for what, there in uncovered.items() if there]
    if found:
        raise ValueError(
            f"the vector environment does not cover grid {layout.name!r}, which has "
            f"{' and '.join(found)}; {REFERENCE}"
        )
