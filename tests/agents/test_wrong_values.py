"""Wrong values on the command line: each refused in one line with its key, and nothing written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from agents.commands.train import prepare
from agents.runs.saved_configs import plain

CARTPOLE = "experiment=cartpole"
DEBUG = "experiment=debug"

# overrides -> what the line must say besides; its key is that of the last override, unless named
WRONG: list[tuple[str, ...]] = [
    # of another type
    ("seed=1.5", "expected a whole number"),
    ("seed=null", "seed=null; expected a whole number"),
    ("seed=abc", "seed='abc'; expected a whole number"),
    ("seed=true", "seed=true"),
    ("seed=2.0", "write 2."),
    ("name=3.5", "in quotes it is a text"),
    ("name=null", "expected a text"),
    ("name=[a]", "expected a text"),
    ("folder=0.5", "expected a text, a whole number or null"),
    ("resume=true", "expected a text, a whole number or null"),
    ("progress=null", "expected a mapping"),
    ("progress.loss=3", "progress"),
    ("trainer=null", "Error trying to access trainer.device"),
    ("trainer.total_env_steps=1e5", "write 100000"),
    ("trainer.total_env_steps=many", "expected a whole number of at least 1"),
    ("trainer.num_envs=2.5", "expected a whole number"),
    ("trainer.num_envs=true", "expected a whole number"),
    ("trainer.envs_per_group=null", "expected a whole number"),
    ("trainer.num_workers=none", "expected a whole number of at least 0"),
    ("trainer.synchronous=yes please", "expected true or false"),
    ("trainer.synchronous=1", "expected true or false"),
    ("trainer.max_minutes=soon", "expected a finite number above 0 or null"),
    ("trainer.learner_threads=null", "expected a whole number"),
    ("trainer.learner_threads=100000", "expected a whole number of at least 1 and of at most 1024"),
    ("trainer.device=0", "expected a text"),
    ("evaluation=null", "expected a mapping"),
    ("evaluation.interim=null", "expected a mapping"),
    ("evaluation.split=1", "expected a text"),
    ("evaluation.seed=1.5", "expected a whole number"),
    ("evaluation.num_envs=None", "evaluation.num_envs=null; expected a whole number"),
    ("evaluation.interim.episodes=2.5", "expected a whole number of at least 1 or null"),
    ("evaluation.interim.scenarios=3", "expected a text"),
    ("evaluation.env=null", "expected a mapping"),
    ("evaluation.final.max_steps=long", "expected a whole number of at least 1 or null"),
    ("evaluation.final.baselines=all", "expected true or false"),
    ("evaluation.final.gif=1", "expected true or false"),
    ("env.id=3", "expected a text"),
    ("env.simulator=lightsim", "did you mean 'lightsim2grid'?"),
    ("env.kwargs=null", "expected a mapping"),
    ("env.kwargs.grid=14", "expected a text"),
    ("env.kwargs.max_steps=1.5", "expected a whole number or null"),
    ("env.kwargs.idle_gate=high", "expected a finite number or null"),
    ("env.kwargs.idle_gate=true", "expected a finite number or null"),
    ("env.kwargs.ask_every=1.5", "expected a whole number or null"),
    ("env.kwargs.ask_every=often", "expected a whole number or null"),
    ("env.kwargs.ask_at_attacks=1", "expected true or false"),
    ("env.kwargs.ask_at_attacks=null", "expected true or false"),
    ("env.kwargs.n1_gate=high", "expected a finite number or null"),
    ("env.kwargs.n1_gate=true", "expected a finite number or null"),
    ("env.kwargs.n1_gate=inf", "expected a finite number or null"),
    ("env.kwargs.opponent=3", "expected"),
    ("env.kwargs.opponent=[a]", "expected"),
    ("weights=true", "expected a text, a whole number or null"),
    ("weights=[a]", "expected a text, a whole number or null"),
    ("env.kwargs.reconnect_lines=yes please", "expected true or false"),
    ("env.kwargs.reconnect_lines=null", "expected true or false"),
    ("env.kwargs.reward=null", "expected a text"),
    ("env.kwargs.scenarios=3", "expected a text"),
    ("env.kwargs.parameters=3", "expected a mapping of names to values or null"),
    ("evaluation.env.reward=7", "expected a text"),
    ("+evaluation.env.reconnect_lines=no way", "expected true or false"),
    ("env.wrappers=null", "expected a mapping"),
    ("+env.wrappers={mine: 3}", "env.wrappers.mine=3; expected a mapping"),
    ("+env.wrappers={mine: {_target_: nowhere.Wrapper}}", "cannot be imported"),
    (
        "env.kwargs.reward={_target_: envs.grid.rewards.Margin, _partial_: true}",
        "env.kwargs.reward._target_=envs.grid.rewards.Margin cannot be imported",
    ),
    ("env.kwargs.reward={_target_: envs.grid.rewards.MarginReward}", "it needs _partial_: true"),
    ("env.kwargs.reward={blackout: 3}", "expected a text"),
    (
        "env.kwargs.reward={_target_: envs.grid.rewards.MarginReward, _partial_: true, blakout: 3}",
        "did you mean 'env.kwargs.reward.blackout'?",
    ),
    (
        "+evaluation.env.observation={_target_: envs.FeaturesEncoder, _partial_: true, size: 3}",
        "unknown configuration key 'evaluation.env.observation.size'",
    ),
    (
        "evaluation.interim.scenarios={_target_: envs.scenarios.VariedSource, more: 3}",
        "evaluation.interim.scenarios.more=3; expected true or false",
    ),
    ("env.kwargs.opponent={_target_: envs.FeaturesEncoder}", "expected a kind of RandomOpponent"),
    ("env.baselines.greedy=null", "env.baselines"),
    ("env.baselines.greedy.safe=low", "expected a finite number or null"),
    ("env.baselines.greedy.threshold=null", "expected a finite number"),
    ("logger.mode=3", "expected offline, online or disabled"),
    ("logger.project=1", "expected a text"),
    ("logger.tags=one", "expected a list"),
    ("logger.tags=[1]", "expected a list, each entry a text"),
    ("agent.discount=high", "expected a finite number"),
    ("agent.discount=null", "expected a finite number"),
    ("agent.td_steps=1.5", "expected a whole number"),
    ("agent.unroll_steps=null", "expected a whole number"),
    ("agent.device=null", "expected a text"),
    ("weights=0.5", "expected a text, a whole number or null"),
    ("agent.network=null", "expected a mapping with _target_"),
    ("agent.network.hidden_size=1.5", "expected a whole number"),
    ("agent.network.hidden_size=null", "expected a whole number"),
    ("agent.network.normalize_state=maybe", "expected true or false"),
    ("agent.network.value_codec=3", "expected a mapping with the _target_ of Codec or null"),
    ("agent.network.value_codec.num_bins=6.5", "expected a whole number"),
    ("agent.network._partial_=false", "needs _partial_: true"),
    ("agent.network._partial_=3", "expected true or false"),
    ("agent.network._target_=agents.muzero.replay.Replay", "expected a kind of MuZeroNetwork"),
    ("agent.network._target_=agents.muzero.networks.mpl", "cannot be imported"),
    ("agent.network._target_=3", "expected the dotted name of a class"),
    ("agent.search=null", "expected a mapping with _target_"),
    ("agent.search.num_simulations=8.5", "expected a whole number"),
    ("agent.search.value_scale=small", "expected a finite number"),
    ("agent.search.normalization=tre", "did you mean 'tree'?"),
    ("agent.network.normalize_state=null", "expected true or false"),
    ("agent.search._target_=agents.muzero.nowhere.Search", "cannot be imported"),
    ("agent.replay.capacity=1e4", "write 10000"),
    ("agent.discount_unit=steps", "expected decision or step; did you mean 'step'?"),
    ("agent.discount_unit=null", "expected decision or step"),
    ("+agent.replay.discount_per_step=true", "set by the program"),
    ("agent.optimizer=adam", "expected a mapping with _target_"),
    ("agent.optimizer.lr=null", "expected a finite number"),
    ("agent.optimizer.lr=fast", "expected a finite number"),
    ("agent.optimizer.betas=[0.9]", "expected a list of 2, each entry a finite number"),
    ("agent.optimizer.betas=0.9", "expected a list of 2"),
    ("agent.optimizer.eps=True", "expected a finite number"),
    ("agent.learning=null", "expected a mapping"),
    ("agent.learning.l2=none", "expected a finite number"),
    ("agent.learning.max_grad_norm=off", "expected a finite number or null"),
    ("agent.learning.scale_unroll=2", "expected true or false"),
    ("+agent.learning.learning_rate=1e-3", "the _target_ of Schedule or null"),
    ("agent.plan=null", "expected a mapping with the _target_ of LearningPlan"),
    ("agent.plan.batch_size=1.5", "expected a whole number"),
    ("agent.plan.updates_per_decision=null", "expected a finite number"),
    ("agent.plan.reanalyse_every=often", "expected a whole number or null"),
    ("agent.plan.temperature=1", "expected a mapping with the _target_ of Schedule"),
    ("agent.plan.temperature=null", "expected a mapping with the _target_ of Schedule"),
    ("agent.plan.temperature.values=3", "expected a list, each entry a finite number"),
    ("agent.plan.temperature.values=[a]", "expected a list, each entry a finite number"),
    ("agent/model=simulator", "agent.model.calm_values=1", "expected a text"),
    ("agent=ppo", "agent.epochs=1.5", "expected a whole number"),
    ("agent=ppo", "agent.clip_range=null", "expected a finite number"),
    ("agent=ppo", "agent.policy_layers=8", "expected a list, each entry a whole number"),
    ("agent=ppo", "agent.activation=3", "expected a text"),
    # neither nan nor infinity is a value of anything
    ("trainer.max_minutes=nan", "expected a finite number"),
    ("trainer.max_minutes=inf", "expected a finite number"),
    ("env.kwargs.idle_gate=nan", "expected a finite number"),
    ("agent.discount=nan", "expected a finite number"),
    ("agent.optimizer.lr=nan", "expected a finite number"),
    ("agent.optimizer.lr=inf", "expected a finite number"),
    ("agent.learning.l2=nan", "expected a finite number"),
    ("agent.learning.max_grad_norm=inf", "expected a finite number"),
    ("agent.search.value_scale=nan", "expected a finite number"),
    ("agent.search.visit_offset=inf", "expected a finite number"),
    ("agent.replay.priority_alpha=nan", "expected a finite number"),
    ("agent.plan.updates_per_decision=inf", "expected a finite number"),
    ("agent.plan.temperature.values=[1.0, 0.5, nan]", "expected a list, each entry a finite"),
    ("agent.network.value_codec.support_size=nan", "expected a finite number"),
    # nobody takes them
    ("+agent.learning.foo=1", "unknown configuration key 'agent.learning.foo'"),
    ("+agent.learning.value_wieght=1", "did you mean 'agent.learning.value_weight'?"),
    ("+agent.learning.unroll_steps=1", "set by the program"),
    ("+agent.seed=1", "set by the program"),
    ("+agent.colour=red", "unknown configuration key"),
    ("+agent.network.hiden_size=1", "did you mean 'agent.network.hidden_size'?"),
    ("network=flow", "+agent.network.inner_sise=1", "did you mean 'agent.network.inner_size'?"),
    ("+agent.plan.temperature.gamma=1", "unknown configuration key"),
    ("+agent.optimizer.momentum=0.9", "unknown configuration key"),
    ("+env.colour=red", "unknown configuration key"),
    ("+env.kwargs.idle_gat=0.9", "did you mean 'env.kwargs.idle_gate'?"),
    ("+env.kwargs.num_envs=3", "set by the program"),
    ("+env.plain_agents=[do_nothing]", "unknown configuration key 'env.plain_agents'"),
    ("++evaluation.env.reword=l2rpn", "did you mean 'evaluation.env.reward'?"),
    ("+evaluation.env.num_envs=3", "set by the program"),
    ("+evaluation.interim.scenaros=varied", "did you mean 'evaluation.interim.scenarios'?"),
    ("+evaluation.interim.kwargs.scenarios=varied", "configuration key 'evaluation.interim.kwar"),
    ("~evaluation.env", "evaluation.env is missing"),
    ("+evaluation.interim.gif=true", "unknown configuration key"),
    ("+trainer.minutes=3", "did you mean 'trainer.max_minutes'?"),
    ("+logger.run=x", "set by the program"),
    ("+logger.colour=red", "unknown configuration key"),
    ("+sead=3", "did you mean 'seed'?"),
    (CARTPOLE, "+env.kwargs.gravity=9.8", "unknown configuration key"),
    ("agent=ppo", "+agent.epoch=3", "did you mean 'agent.epochs'?"),
    ("~agent.plan.batch_size", "agent.plan.batch_size is missing"),
    ("~trainer.total_env_steps", "trainer.total_env_steps is missing"),
    ("~evaluation.final.episodes", "evaluation.final.episodes is missing"),
    ("~agent.network", "agent.network is missing"),
    # out of range
    ("seed=-1", "expected a whole number of at least 0"),
    ("seed=99999999999", "below 4294967296"),
    ("evaluation.seed=-1", "expected a whole number of at least 0"),
    ("evaluation.num_workers=-1", "expected a whole number of at least 0"),
    ("evaluation.interim.episodes=0", "expected a whole number of at least 1"),
    ("evaluation.final.max_steps=0", "expected a whole number of at least 1"),
    ("trainer.total_env_steps=0", "expected a whole number of at least 1"),
    ("trainer.log_interval=-5", "expected a whole number of at least 1"),
    ("trainer.max_minutes=0", "expected a finite number above 0"),
    (CARTPOLE, "agent.discount=1.5", "discount must be in (0, 1]"),
    (CARTPOLE, "agent.td_steps=0", "td_steps must be at least 1"),
    (CARTPOLE, "agent.unroll_steps=-1", "unroll_steps must be 0 or more"),
    (CARTPOLE, "agent.unroll_steps=0", "agent.unroll_steps=0 trains no dynamics"),
    (CARTPOLE, "agent.learning.l2=-1", "must be finite and not negative: -1"),
    (CARTPOLE, "agent.learning.averaging=1.0", "must be in [0, 1)"),
    (CARTPOLE, "agent.learning.max_grad_norm=0", "must be positive"),
    (CARTPOLE, "agent.learning.learning_rate.start=-1", "needs a positive start"),
    (CARTPOLE, "agent.optimizer.lr=-1", "Invalid learning rate"),
    (CARTPOLE, "agent.optimizer.betas=[0.9, 2.0]", "Invalid beta"),
    (CARTPOLE, "agent.network.consistency_size=null", "agent.learning.consistency_weight"),
    (CARTPOLE, "agent.network.hidden_size=0", "hidden_size must be at least 1"),
    (CARTPOLE, "agent.network.value_codec.num_bins=4", "must be odd"),
    (CARTPOLE, "agent.search.num_simulations=0", "whole number of at least 1"),
    (CARTPOLE, "agent.search.max_considered=3", "the environment has 2 actions"),
    (CARTPOLE, "agent.search.value_scale=-1", "must be finite, and 0 or more"),
    (CARTPOLE, "agent.search.gumbel_scale=-1", "must be finite, and 0 or more"),
    (CARTPOLE, "search=puct", "~agent.search.max_considered", "agent.search.c_base=0", "positive"),
    (CARTPOLE, "agent.replay.capacity=1", "is too small: 8 lanes"),
    (CARTPOLE, "agent.replay.capacity=-1", "is too small: 8 lanes"),
    (CARTPOLE, "agent.replay.capacity=1_000_000_000_000", "agent.replay.capacity"),
    (CARTPOLE, "agent.replay.priority_alpha=-1", "must be finite and not negative"),
    (CARTPOLE, "agent.plan.batch_size=0", "whole number of at least 1"),
    (CARTPOLE, "agent.plan.reanalyse_every=0", "whole number of at least 1"),
    (CARTPOLE, "agent.plan.temperature.values=[1.0, 0.5, -1.0]", "finite and not negative, is -1"),
    (CARTPOLE, "agent.plan.temperature.boundaries=[0.7, 0.5]", "boundaries must increase"),
    (CARTPOLE, "agent.plan.temperature.boundaries=[0.7]", "1 boundaries need 2 values"),
    # they do not go together
    (CARTPOLE, "trainer.num_envs=7", "trainer.num_envs=7 is not a multiple of"),
    (CARTPOLE, "trainer.envs_per_group=3", "is not a multiple of trainer.envs_per_group=3"),
    (CARTPOLE, "trainer.synchronous=false", "needs self-play processes"),
    (CARTPOLE, "agent.plan.learning_starts=6000", "beyond trainer.total_env_steps=5000"),
    (CARTPOLE, "agent.plan.learning_starts=5000", "agent.replay.capacity=4000", "learning_starts"),
    (CARTPOLE, "agent/teacher=lookahead", "nothing to teach with agent.plan.taught_decisions=0"),
    ("env=cartpole", "network=flow", "agent.network.grid=null: the flow network knows how a grid"),
    (
        CARTPOLE,
        "evaluation.interim.episodes=null",
        "interim.episodes=null: environment CartPole-v1",
    ),
    (CARTPOLE, "evaluation.final.episodes=null", "final.episodes=null: environment CartPole-v1"),
    (CARTPOLE, "evaluation.final.max_steps=5", "takes no max_steps"),
    (CARTPOLE, "++evaluation.env.max_episode_steps=-3", "max_episode_steps"),
    (CARTPOLE, "evaluation.interim.scenarios=varied", "key 'evaluation.interim.scenarios'"),
    (CARTPOLE, "env.id=Pendulum-v1", "Pendulum-v1 takes Box"),
    (CARTPOLE, "env.id=CartPol-v1", "did you mean 'CartPole-v1'?"),
    (CARTPOLE, "env.id=nowhere:CartPole-v1", "cannot be imported"),
    (CARTPOLE, "trainer.device=gpu", "unknown device 'gpu'"),
    (CARTPOLE, "trainer.device=cuda:99", "device"),
    (DEBUG, "env.kwargs.start=middle", "unknown start 'middle'"),
    (DEBUG, "env.kwargs.max_steps=0", "max_steps must be an integer of at least 1"),
    (DEBUG, "env.kwargs.idle_gate=-1", "must be above 0"),
    (DEBUG, "env.kwargs.ask_every=0", "ask_every must be an integer of at least 1, but is 0"),
    (DEBUG, "env.kwargs.ask_at_attacks=true", "ask_at_attacks needs an opponent: set opponent="),
    (DEBUG, "env.kwargs.n1_gate=0", "limit must be above 0"),
    (DEBUG, "env.kwargs.opponent=rl4pnk", "did you mean 'rl4pnc'?"),
    (DEBUG, "env.kwargs.opponent={kind: randm}", "did you mean 'random'?"),
    (DEBUG, "env.kwargs.opponent={lines: [3_4_6]}", "duration and period must be given"),
    (DEBUG, "+env.kwargs.attack_seed=3", "unknown configuration key"),
    (DEBUG, "+evaluation.env.opponent=rl4pnk", "did you mean 'rl4pnc'?"),
    (DEBUG, "+env.kwargs.parameters.NB_TIMESTEP_COOLDOWN=3", "NB_TIMESTEP_COOLDOWN"),
    (DEBUG, "evaluation.env.reward=l2rpm", "did you mean 'l2rpn'?"),
    (DEBUG, "evaluation.interim.scenarios=varid", "did you mean 'varied'?"),
    (
        DEBUG,
        "env.kwargs.reward={_target_: grid2op.Reward.L2RPNReward, _partial_: true}",
        "needs grid2op's own objects; play it on the reference simulator",
    ),
    (
        DEBUG,
        "env.kwargs.observation={_target_: envs.grid.rewards.N1Reward, _partial_: true}",
        "makes a N1Reward; expected an ObservationEncoder",
    ),
    (DEBUG, "evaluation.split=valid", "did you mean 'val'?"),
    (
        DEBUG,
        "+evaluation.env.max_steps=9",
        "set evaluation.max_steps (in powergrid-train",
    ),
    (DEBUG, "+evaluation.env.split=test", "set evaluation.split instead"),
    (DEBUG, "agent.search.max_considered=1000", "the environment has 487 actions"),
    (
        DEBUG,
        "agent.unroll_steps=0",
        "agent/model=simulator",
        "agent.plan.reanalyse_every=5",
        "null",
    ),
    ("experiment=ppo", "trainer.num_workers=1", "agent=ppo plays in the main process"),
    ("experiment=ppo", "agent.epochs=0", "expected a whole number of at least 1"),
    ("experiment=ppo", "agent.clip_range=-1", "expected a finite number above 0"),
    ("experiment=ppo", "agent.activation=tahn", "did you mean 'tanh'?"),
]


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[..., DictConfig]]:
    """Composes overrides; what only sets values is set in a copy of the composition without it."""
    with initialize_config_module("conf", version_base="1.3"):
        known: dict[tuple[str, ...], DictConfig] = {}
        parser = OverridesParser.create()

        def make(overrides: Sequence[str]) -> DictConfig:
            values = [one for one in overrides if "." in one.partition("=")[0]]
            groups = tuple(one for one in overrides if one not in values)
            if groups not in known:
                known[groups] = compose("train", overrides=list(groups))
            config = copy.deepcopy(known[groups])
            ConfigLoaderImpl._apply_overrides_to_config(parser.parse_overrides(values), config)
            return config

        yield make


@pytest.mark.parametrize("row", WRONG, ids=" ".join)
def test_a_wrong_value_is_named(
    row: tuple[str, ...], composed: Callable[..., DictConfig], working_folder: Path
) -> None:
    *overrides, message = row
    key, _, value = overrides[-1].lstrip("+~").partition("=")
    with pytest.raises(ValueError) as caught:
        prepare(plain(composed(overrides)))
    said = str(caught.value)
    assert message in said
    parent, _, name = key.rpartition(".")
    assert name in said or parent in said or (key == "env.id" and value in said)
    assert len(said) < 1000 and "\n" not in said
    assert list(working_folder.iterdir()) == []
