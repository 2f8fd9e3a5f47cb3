"""Masked PPO of sb3-contrib as an agent: the policy-gradient baseline, an optional extra."""

from agents.baselines.ppo.agent import PPOAgent

__all__ = ["PPOAgent"]
