"""Speed of the searches: microseconds per simulation beside the bare network calls.

    python -m benchmarks.search [--batches 1 16 64 256] [--threads 2] [--repeats 7] [--run FOLDER]

The specification's network (487 actions, 75 simulations) with fresh weights, turn by turn in one
process: the bare network calls (``recurrent_inference`` on tensors that lie ready, nothing
decoded), the calls that searches make (``LearnedModel.step``), ``puct``, ``gumbel`` and, where it
is installed, DeepMind's ``mctx`` with the same weights. Times are medians over the turns. Then the
same with peaked priors, with ``--run`` also with the network and the decisions of a trained run;
the memory of a search of 256 roots in a fresh process; and where a simulation's time goes. The last
line is one JSON object.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.commands.command_line import OneLineParser, path_argument, run_guarded, whole_number
from agents.configuration.composition import build_agent, build_environment_factory, probe_spaces
from agents.muzero.agent import MuZeroAgent
from agents.muzero.model import LearnedModel
from agents.muzero.networks.base import MuZeroNetwork
from agents.muzero.networks.mlp import MLPNetwork
from agents.muzero.search import GumbelSearch, PUCTSearch
from agents.runs.checkpoints import restore_agent
from agents.runs.folder import RunFolder
from benchmarks.profiling import functions_by_time

ACTIONS = 487
OBSERVATION_SIZE = 417
SIMULATIONS = 75
DISCOUNT = 0.9  # that of mctx_peer
BATCH_OF_PRIORS = 64  # roots at which the kinds of priors are compared
BATCH_OF_MEMORY = 256
Problem = tuple[MuZeroNetwork, np.ndarray, np.ndarray]  # observations [B, ...], masks [B, A]
PEAK = 100.0  # factor on a fresh network's logits: the highest prior is then about a half


def main() -> None:
    """Measure and print."""
    parser = OneLineParser(description="Time of a search beside its network calls.")
    parser.add_argument("--batches", type=whole_number(1), nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--threads", type=whole_number(1, below=1025), default=2)
    parser.add_argument("--repeats", type=whole_number(1), default=7)
    parser.add_argument("--run", type=path_argument, help="folder of a trained MuZero run")
    parser.add_argument("--without-mctx", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    with_mctx = importlib.util.find_spec("mctx") is not None and not options.without_mctx
    network = _network()
    report: dict[str, Any] = {
        "actions": ACTIONS,
        "simulations": SIMULATIONS,
        "threads": options.threads,
        "machine": f"{platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        "batch": {},
        "priors": {},
    }
    for batch in options.batches:
        observations, masks = _roots(batch)
        times = _compare(network, observations, masks, options.repeats, with_mctx=with_mctx)
        report["batch"][str(batch)] = times
        _print_times(f"batch {batch}", times)
    observations, masks = _roots(BATCH_OF_PRIORS)
    problems: dict[str, Problem] = {
        "untrained": (network, observations, masks),
        "peaked": (_peaked(network), observations, masks),
    }
    if options.run is not None:
        problems["trained"] = _trained(options.run, BATCH_OF_PRIORS)
    for priors, problem in problems.items():
        found = {**_compare(*problem, options.repeats), **_shape_of_trees(*problem)}
        report["priors"][priors] = found
        _print_times(f"batch {BATCH_OF_PRIORS}, {priors} priors", found)
    report["memory_mib"] = {str(BATCH_OF_MEMORY): _memory()}
    print(f"peak memory with {BATCH_OF_MEMORY} roots, MiB: {report['memory_mib']}")
    _profile(network, *_roots(BATCH_OF_PRIORS))
    print(json.dumps(report))


def _network() -> MLPNetwork:
    """Return the specification's network with fresh weights."""
    torch.manual_seed(0)
    return MLPNetwork(observation_shape=(OBSERVATION_SIZE,), num_actions=ACTIONS).eval()


def _peaked(network: MLPNetwork) -> MLPNetwork:
    """Return a copy whose policy has most of its mass on a few actions."""
    peaked = copy.deepcopy(network)
    last = peaked.policy_output[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(PEAK)
        last.bias.mul_(PEAK)
    return peaked


def _roots(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random observations ``[B, D]`` and masks ``[B, A]`` with every action legal."""
    observations = np.random.default_rng(0).normal(size=(batch, OBSERVATION_SIZE))
    return observations.astype(np.float32), np.ones((batch, ACTIONS), np.int8)


def _trained(folder: Path, batch: int) -> Problem:
    """Return the network of a run, and the first decisions of ``batch`` of its episodes."""
    run = RunFolder.open_existing(folder)
    config = run.load_config()
    make_environment = build_environment_factory(config["env"])
    observation_space, action_space = probe_spaces(make_environment)
    agent = build_agent(
        config["agent"], observation_space=observation_space, action_space=action_space, seed=0
    )
    if not isinstance(agent, MuZeroAgent):
        raise SystemExit(f"--run {folder}: expected a run of MuZero, not of {type(agent).__name__}")
    restore_agent(agent, run.checkpoints.load_weights("best"), origin=f"the best of {folder}")
    env = make_environment(batch)
    observations, infos = env.reset(seed=0)
    env.close()
    return agent.network.eval(), np.array(observations), np.array(infos["action_mask"])


def _compare(
    network: MuZeroNetwork,
    observations: np.ndarray,
    masks: np.ndarray,
    repeats: int,
    *,
    with_mctx: bool = False,
) -> dict[str, float]:
    """Return microseconds per simulation and root, by contender."""
    batch = len(masks)
    model = LearnedModel(network, discount=DISCOUNT)
    rng = np.random.default_rng(0)
    states = model.root(observations).states
    # Another action every time, as in a search: one that stays would stay in the cache.
    actions = torch.from_numpy(rng.integers(masks.shape[1], size=(SIMULATIONS, batch)))
    puct, gumbel = PUCTSearch(num_simulations=SIMULATIONS), _gumbel()

    @torch.inference_mode()
    def bare_network() -> None:
        for chosen in actions:
            network.recurrent_inference(states, chosen)

    def bare_model() -> None:
        for chosen in actions.numpy():
            model.step(states, chosen)

    contenders: dict[str, Callable[[], Any]] = {
        "network": bare_network,
        "model": bare_model,
        "puct": lambda: puct.run(model, observations, masks, rng),
        "gumbel": lambda: gumbel.run(model, observations, masks, rng),
    }
    if with_mctx:
        from benchmarks.mctx_peer import searches  # needs jax, an extra

        assert isinstance(network, MLPNetwork)
        contenders |= searches(network, observations, SIMULATIONS)
    for contender in contenders.values():
        contender()  # compiles, allocates
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name, contender in contenders.items():
            if name.startswith("mctx") and turn >= 3:
                continue  # slow, and slow every time
            begin = time.perf_counter()
            contender()
            times[name].append((time.perf_counter() - begin) / SIMULATIONS / batch * 1e6)
    return {name: round(statistics.median(turns), 2) for name, turns in times.items()}


def _gumbel() -> GumbelSearch:
    return GumbelSearch(num_simulations=SIMULATIONS)


def _shape_of_trees(
    network: MuZeroNetwork, observations: np.ndarray, masks: np.ndarray
) -> dict[str, float]:
    """Return the mean depth and root width of both searches' trees."""
    model = LearnedModel(network, discount=DISCOUNT)
    shape: dict[str, float] = {}
    for name, search in (("puct", PUCTSearch(num_simulations=SIMULATIONS)), ("gumbel", _gumbel())):
        result = search.run(model, observations, masks, np.random.default_rng(0))
        shape[f"{name}_depth"] = round(float(result.statistics.depth.mean()), 1)
        shape[f"{name}_width"] = round(float(result.statistics.width.mean()), 1)
    return shape


def _memory() -> dict[str, float]:
    """Return the peak memory of a fresh process that searches, MiB: in all, and by the search."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peaks)


def _peaks() -> dict[str, float]:
    torch.set_num_threads(1)
    model = LearnedModel(_network(), discount=DISCOUNT)
    _gumbel().run(model, *_roots(1), np.random.default_rng(0))  # loads the compiled loops
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is now what is in use
    before = _peak()
    _gumbel().run(model, *_roots(BATCH_OF_MEMORY), np.random.default_rng(0))
    return {"process": round(_peak(), 1), "search": round(_peak() - before, 1)}


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _profile(network: MuZeroNetwork, observations: np.ndarray, masks: np.ndarray) -> None:
    """Print which calls of a search the time goes to."""
    model = LearnedModel(network, discount=DISCOUNT)
    for search in (PUCTSearch(num_simulations=SIMULATIONS), _gumbel()):
        run = partial(search.run, model, observations, masks, np.random.default_rng(0))
        run()  # compiles, allocates
        print(f"{type(search).__name__}, batch {len(masks)}: share of the time, by function")
        print(functions_by_time(run, repeats=5))


def _print_times(title: str, times: Mapping[str, float]) -> None:
    """Print one row: each contender's time, and by how much it exceeds the network's."""
    shown = []
    for name, value in times.items():
        if name.endswith(("_depth", "_width")):
            shown.append(f"{name} {value}")
        else:
            shown.append(f"{name} {value:.2f} us ({value / times['network']:.2f} x)")
    print(f"{title}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    run_guarded(main)
