"""The network that foresees: its balance against dense algebra, its grid against the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch

from agents.muzero.auxiliary import Moment
from agents.muzero.decision import map_fields
from agents.muzero.learner import Learner
from agents.muzero.model import LearnedModel
from agents.muzero.replay import Batch
from agents.power_grid.flow import FlowNetwork
from agents.power_grid.grid_tables import GridTables
from agents.power_grid.lookahead_target import (
    ACTION,
    LOADING,
    NO_ACTION,
    LookaheadTarget,
    choose_lookaheads,
    loading_loss,
)
from agents.power_grid.plan_target import PLANNED_LOADINGS, TOPOLOGIES
from agents.power_grid.potentials import Potentials
from envs import describe_grid
from envs.fast.vector import PowerGridVectorEnv
from tests.muzero.test_learner import random_batch

GRID = "l2rpn_case14_sandbox"
CHANNELS = 2


class Walk:
    """Stressed states of a random walk: what was seen, and what looking ahead found."""

    def __init__(self, num_states: int, seed: int) -> None:
        env = PowerGridVectorEnv(
            16, start="random", idle_gate=0.95, action_mask="connected", scenarios="varied"
        )
        rng = np.random.default_rng(seed)
        observations, infos = env.reset(seed=seed)
        seen, topologies, last, loadings = [], [], [], []
        while sum(map(len, seen)) < num_states:
            seen.append(observations.copy())
            topologies.append(env.state.topo_vect.copy())
            last.append(env.state.last_busbar.copy())
            legal = infos["action_mask"] != 0
            found = np.full((*legal.shape, 20), np.nan, np.float32)
            actions = np.zeros(16, np.int64)
            looks = env.simulate([np.flatnonzero(row) for row in legal])
            for row, look in enumerate(looks):
                assert look is not None
                found[row, legal[row]] = look.rho
                holds = np.flatnonzero(legal[row])[look.rho_max < 1.05]
                if len(holds):
                    actions[row] = rng.choice(holds)
            loadings.append(found)
            observations, _, _, _, infos = env.step(actions)
        env.close()
        self.observations = torch.from_numpy(np.concatenate(seen))
        self.topologies = np.concatenate(topologies)
        self.last_busbar = np.concatenate(last)
        self.loadings = np.concatenate(loadings)


@pytest.fixture(scope="module")
def walk() -> Walk:
    return Walk(160, seed=0)


@pytest.fixture(scope="module")
def tables() -> GridTables:
    return GridTables(GRID, observation_size=417, num_actions=487)


def make_network(seed: int = 0, **options: object) -> FlowNetwork:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, **options}
    return FlowNetwork(observation_shape=(417,), num_actions=487, grid=GRID, **sizes)  # pyright: ignore


# -------------------------------------------------------------------------------- its parts


def test_potentials_balance_and_so_do_their_gradients(walk: Walk, tables: GridTables) -> None:
    """Dense algebra in double precision, differentiated by autograd, is the reference."""
    busbars = torch.from_numpy(walk.topologies)
    assert (busbars == 2).any(dim=1).sum() > 50 and (busbars < 0).any(dim=1).sum() > 5
    count, num_nodes, num_lines = len(busbars), tables.num_nodes, tables.num_lines
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int, least: float | None = None) -> torch.Tensor:
        if least is None:
            return torch.randn(shape, generator=generator)
        return torch.rand(shape, generator=generator) + least

    num_elements = tables.num_injections
    given = {
        "conductance": draw(CHANNELS, num_lines, least=0.5),
        "leak": draw(CHANNELS, num_elements + 1, least=0.01),
        "injected": draw(CHANNELS, count, num_elements),
        "fed": draw(num_lines, 2 * CHANNELS, count),
    }
    weight = draw(num_lines, 2 * CHANNELS, count)
    fast = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
    wiring = tables.wiring(busbars)
    ends = Potentials(wiring, fast["conductance"], fast["leak"])(fast["injected"], fast["fed"])
    (ends * weight).sum().backward()

    slow = {name: tensor.double().requires_grad_() for name, tensor in given.items()}

    def one_hot(nodes: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(nodes, num_nodes).double()

    node = 2 * tables.substation + (busbars == 2)
    closed = (busbars[:, tables.origin] > 0).double()[..., None]
    origin = one_hot(node[:, tables.origin]) * closed  # [M, L, N]
    extremity = one_hot(node[:, tables.extremity]) * closed
    at = one_hot(node[:, tables.injecting])
    across = origin - extremity
    matrix = torch.einsum("mla,cl,mlb->cmab", across, slow["conductance"], across)
    matrix = matrix + torch.einsum("mka,ck,mkb->cmab", at, slow["leak"][:, :-1], at)
    matrix = matrix + torch.eye(num_nodes) * slow["leak"][:, -1, None, None, None]
    right = torch.einsum("cmk,mka->cma", slow["injected"], at)
    right = right + torch.einsum("lcm,mla->cma", slow["fed"][:, :CHANNELS], origin)
    right = right + torch.einsum("lcm,mla->cma", slow["fed"][:, CHANNELS:], extremity)
    solution = torch.linalg.solve(matrix, right[..., None])[..., 0]
    expected = torch.cat(
        [torch.einsum("cma,mla->lcm", solution, end) for end in (origin, extremity)], dim=1
    )
    torch.testing.assert_close(ends.double(), expected, rtol=1e-4, atol=1e-4)
    (expected * weight).sum().backward()
    # the leak of nodes that nothing is at is not in the compiled loops, and has no potential
    for name, reference in slow.items():
        mine, theirs = fast[name].grad, reference.grad
        assert mine is not None and theirs is not None
        largest = float(theirs.abs().max())
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-4 * largest)


def test_tables_know_the_topology_and_what_actions_make_of_it(
    walk: Walk, tables: GridTables
) -> None:
    catalogue = describe_grid(GRID).catalogue
    busbars = tables.busbars(walk.observations)
    np.testing.assert_array_equal(busbars.numpy(), walk.topologies)
    actions = torch.arange(catalogue.num_actions)
    # where an open line was last is not in an observation: busbar 1 is assumed
    assumed = np.where(walk.topologies > 0, walk.topologies, np.int8(1))
    for row in range(0, len(busbars), 7):
        one = slice(row, row + 1)
        expected = catalogue.results(walk.topologies[one], assumed[one])[0]
        given = tables.after(busbars[row].expand(len(actions), -1), actions)
        np.testing.assert_array_equal(given.numpy(), expected)
        away = tables.departures(given).numpy()
        np.testing.assert_array_equal(away, (expected != 1).sum(axis=1))


def test_kept_look_aheads_are_known_ones_and_hold_the_favourites() -> None:
    rng = np.random.default_rng(0)
    loadings = rng.random((5, 30, 4)).astype(np.float32)
    loadings[:, 20:] = np.nan  # illegal
    loadings[:, 3] = np.inf
    loadings[:, 5] = 1e6  # more than 16 bits hold, and yet no ending
    loadings[4, 6:] = np.nan  # fewer than are wanted
    policy, preference = np.zeros((2, 5, 30))
    policy[:, 5], preference[:, [3, 7]] = 1.0, 0.5
    kept = choose_lookaheads(loadings, policy, preference, np.zeros((5, 30)), 9)
    target = LookaheadTarget(num_lines=4, size=9, weight=1.0)
    for name, field in target.fields.items():
        assert kept[name].shape == (5, *field.shape) and kept[name].dtype == field.dtype
    for row, (actions, found) in enumerate(zip(kept[ACTION], kept[LOADING], strict=True)):
        there = actions != NO_ACTION
        chosen = actions[there]
        assert len(chosen) == len(set(chosen.tolist())) == (6 if row == 4 else 9)
        assert {3, 5} <= set(chosen.tolist()) and (row == 4 or 7 in chosen)
        expected = np.array([loadings[row, a] if a != 5 else [1000.0] * 4 for a in chosen])
        np.testing.assert_array_equal(found[there], expected.astype(np.float16))
        assert not np.isnan(found).any()


# ------------------------------------------------------------------------------- the network


def recorded(walk: Walk, rows: np.ndarray, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(rows))
    shape = (len(rows), 487)
    even = np.full(shape, 1 / 487)
    return choose_lookaheads(walk.loadings[rows], even, even, rng.gumbel(size=shape), count)


def make_batch(walk: Walk, rows: np.ndarray, extras: Mapping[str, np.ndarray]) -> Batch[np.ndarray]:
    """Return states of a walk, each with one unrolled step and what was recorded of both."""
    twice = {name: np.stack([field, field], axis=1) for name, field in extras.items()}
    batch = random_batch(size=len(rows), steps=1, extras=twice)
    policy = np.full((len(rows), 2, 487), 1 / 487, np.float32)
    observation = walk.observations[rows, None].numpy()
    decisions = batch.decisions._replace(observation=observation, policy=policy)
    return batch._replace(decisions=decisions)


def test_the_root_policy_weighs_what_is_foreseen(walk: Walk) -> None:
    network = make_network(prior_weight=0.5, termination_penalty=5.0)
    torch.nn.init.normal_(network.policy_output.weight)
    observations = walk.observations[:6]
    legal = ~np.isnan(walk.loadings[:6, :, 0])
    with torch.no_grad():
        output = network.initial_inference(observations, torch.from_numpy(legal))
        own = network.prediction(network.representation(observations))[1]
        rows, actions = map(torch.from_numpy, legal.nonzero())
        outcomes = network.outcomes(observations, rows, actions)
        shunned = 5.0 * torch.log1p(outcomes.end_logit.exp())
        expected = 0.5 * own[rows, actions] + outcomes.score - shunned
    torch.testing.assert_close(output.policy_logits[rows, actions], expected)
    torch.testing.assert_close(output.policy_logits[~torch.from_numpy(legal)], own[~legal])
    # a search asks for the legal ones only; a row does not depend on the others
    model = LearnedModel(network, discount=0.99)
    whole = model.root(observations.numpy(), legal).policy_logits
    alone = model.root(observations[2:3].numpy(), legal[2:3]).policy_logits
    np.testing.assert_allclose(whole[2:3], alone, rtol=1e-4, atol=1e-4)
    everything = model.root(observations.numpy()).policy_logits
    np.testing.assert_allclose(everything[legal], whole[legal], rtol=1e-4, atol=1e-4)


def test_without_gradients_the_same_is_foreseen(walk: Walk) -> None:
    """``CompiledFlow`` against the layers that are trained."""
    network = make_network(planned=4)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.loadings.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    rows = torch.arange(200) % 40
    actions = torch.randint(1, 487, (200,), generator=generator)
    layers = network.outcomes(walk.observations[:40], rows, actions)
    with torch.no_grad():
        compiled = network.outcomes(walk.observations[:40], rows, actions)
    for name, expected, given in zip(layers._fields, layers, compiled, strict=True):
        torch.testing.assert_close(given, expected.detach(), rtol=1e-3, atol=1e-3, msg=name)


def planned(walk: Walk, rows: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """What looking ahead found, told as topologies that plans lead to."""
    catalogue = describe_grid(GRID).catalogue
    known = recorded(walk, rows, count)
    results = catalogue.results(walk.topologies[rows], walk.last_busbar[rows])
    topologies = np.take_along_axis(results, known[ACTION].clip(0)[..., None], axis=1)
    topologies[known[ACTION] < 0] = 0
    return {TOPOLOGIES: topologies, PLANNED_LOADINGS: known[LOADING]}


def test_what_plans_lead_to_is_learned_besides(walk: Walk) -> None:
    network = make_network(planned=6)
    _, target = network.auxiliary_targets
    rows = np.arange(24)
    batch: Batch[torch.Tensor] = map_fields(
        torch.from_numpy, make_batch(walk, rows, planned(walk, rows, 6))
    )
    unrolled = network.unroll(walk.observations[rows], batch.decisions.action[:, :1])
    with torch.no_grad():
        losses = target.losses(network, batch, unrolled)
    tables, known = network.tables, network.loadings.observe(network.tables, walk.observations[:24])
    errors, wrong = [], []
    for row in range(24):
        for place in range(6):
            busbars = batch.decisions.extras[TOPOLOGIES][row, :1, place]
            true = batch.decisions.extras[PLANNED_LOADINGS][row, :1, place].float()
            loading, ends = network.loadings(tables, known[row : row + 1], busbars)
            one = torch.tensor([row])
            logit = network.collapse_logits(walk.observations, one, busbars, loading, ends)
            over = torch.isinf(true).all()
            chance = logit.sigmoid()
            wrong.append(-(chance if over else 1 - chance).log())
            if not over:
                errors.append(loading_loss(loading.t(), true, torch.ones(1, dtype=torch.bool)))
    torch.testing.assert_close(losses["planned"], torch.stack(errors).mean().detach())
    torch.testing.assert_close(losses["collapse"], torch.cat(wrong).mean().detach())


@pytest.mark.slow
def test_it_learns_to_foresee_loadings_and_endings() -> None:
    """Of states that it has not seen, from look-aheads at others, in seconds."""
    walk = Walk(640, seed=0)
    network = make_network()
    groups = network.parameter_groups()
    optimizer = torch.optim.Adam(
        [{"params": group.parameters, "lr": 1e-3 * group.rate} for group in groups]
    )
    rng = np.random.default_rng(0)
    train, unseen = np.arange(560), np.arange(560, len(walk.observations))
    (target,) = network.auxiliary_targets

    def losses(rows: np.ndarray, count: int) -> list[torch.Tensor]:
        arrays = make_batch(walk, rows, recorded(walk, rows, count))
        batch: Batch[torch.Tensor] = map_fields(torch.from_numpy, arrays)
        unrolled = network.unroll(walk.observations[rows], batch.decisions.action[:, :1])
        return [target.losses(network, batch, unrolled)[name] for name in ("loading", "ending")]

    with torch.no_grad():
        before = losses(unseen, 24)
    for _ in range(600):
        loss = sum(losses(rng.choice(train, 32), 12))
        optimizer.zero_grad()
        loss.backward()  # pyright: ignore
        optimizer.step()
    with torch.no_grad():
        after = losses(unseen, 24)
    assert after[0] < 0.3 * before[0]  # loadings
    assert after[1] < 0.5 * before[1]  # endings

    known = recorded(walk, unseen, 48)
    actions, loading = (torch.from_numpy(known[name]) for name in (ACTION, LOADING))
    rows, places = (actions >= 0).nonzero(as_tuple=True)
    with torch.no_grad():
        foreseen = network.outcomes(walk.observations[unseen], rows, actions[rows, places].long())
    true = loading[rows, places].float().amax(dim=1)
    usual = (true < 1.1) & (true > 0.6)
    errors = (foreseen.loading.amax(dim=1) - true).abs()[usual]
    assert errors.median() < 0.05 and usual.sum() > 500


def test_open_lines_carry_nothing(walk: Walk, tables: GridTables) -> None:
    network = make_network()
    switched = describe_grid(GRID).catalogue.switch_line  # opens a line that is closed
    opens = torch.from_numpy(np.flatnonzero(switched.any(axis=1)))
    assert len(opens) == 20
    row = int(np.flatnonzero((walk.topologies > 0).all(axis=1))[0])
    rows = torch.full((20,), row)
    with torch.no_grad():
        loading = network.outcomes(walk.observations, rows, opens).loading
    line = torch.from_numpy(switched[opens.numpy()].argmax(axis=1))
    assert (loading[torch.arange(20), line] == 0).all()
    assert (loading > 0).sum() == 20 * 19


# -------------------------------------------------------------------------------- learning it


def test_plans_are_foreseen_action_by_action(walk: Walk, tables: GridTables) -> None:
    network = FlowNetwork(observation_shape=(417,), num_actions=487, grid=GRID)
    rows = torch.arange(40)
    first, second = torch.randint(
        1, 487, (2, 40), generator=torch.Generator().manual_seed(0)
    ).unbind()
    with torch.inference_mode():
        plans = torch.stack((first, second, torch.zeros_like(first)), dim=1)
        found = network.outcomes_along(walk.observations, rows, plans)
        once = network.outcomes(walk.observations, rows, first)
    for several, one in zip(found, once, strict=True):
        torch.testing.assert_close(several[:, 0], one)
        assert not torch.equal(several[:, 1], several[:, 0])
        torch.testing.assert_close(several[:, 2], several[:, 1])  # nothing was done
    after = tables.after(tables.busbars(walk.observations)[rows], first)
    is_open = tables.after(after, second)[:, tables.origin] < 0
    assert is_open.any() and (found.loading[:, 1][is_open] == 0).all()


def test_what_foresees_learns_faster_and_does_not_decay() -> None:
    network = make_network()
    factory = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    learner = Learner(network, factory, unroll_steps=1)
    usual, fast, endings = learner.optimizer.param_groups
    assert [group["lr"] for group in (usual, fast, endings)] == [1e-3, 3e-2, 5e-3]
    assert [group["weight_decay"] for group in (usual, fast, endings)] == [0.1, 0.0, 0.0]
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert sum(len(group["params"]) for group in (usual, fast, endings)) == len(names)
    assert all("endings" in names[id(parameter)] for parameter in endings["params"])
    assert any("log_conductance" in names[id(parameter)] for parameter in fast["params"])
    assert not any("policy_output" in names[id(parameter)] for parameter in fast["params"])


def test_an_update_without_look_aheads_leaves_the_balance_alone(walk: Walk) -> None:
    """As after the last taught decision: nothing is known of what actions lead to."""
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learner = Learner(network, partial(torch.optim.Adam, lr=1e-3), unroll_steps=1)
    (target,) = network.auxiliary_targets
    mask = np.ones((4, 487), np.int8)
    untaught = Moment(np.zeros((4, 417)), mask, None, None, [])  # pyright: ignore[reportArgumentType]
    metrics = learner.update(make_batch(walk, np.arange(4), target.collect(untaught)))
    assert metrics.auxiliary == {"loading": 0.0, "ending": 0.0, "choice": 0.0}
    after = network.state_dict()
    assert torch.equal(after["loadings.inner"], before["loadings.inner"])
    assert not torch.equal(after["policy_output.weight"], before["policy_output.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_shape": (538,)}, "reads observation=features of grid .* given 538 and 487"),
        ({"num_actions": 12}, "chooses of its 487 actions, but was given 417 and 12"),
        ({"grid": "l2rpn_case14_sandbax"}, "did you mean 'l2rpn_case14_sandbox'"),
        (
            {"termination_penalty": -1.0},
            "termination_penalty must be finite and not negative: -1.0",
        ),
        ({"prior_weight": float("nan")}, "prior_weight must be finite and not negative: nan"),
        ({"end_size": 0}, "end_size must be at least 1: 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    given = {"observation_shape": (417,), "num_actions": 487, "grid": GRID, **options}
    with pytest.raises(ValueError, match=message):
        FlowNetwork(**given)  # pyright: ignore
