"""Masked PPO of sb3-contrib as an agent: the policy-gradient baseline, an optional extra."""

from agents.ppo.agent import PPOAgent

__all__ = ["PPOAgent"]
