"""Masked PPO of sb3-contrib as an agent: the policy-gradient baseline, an optional extra.

- ``agent``: the policy, as an agent; ``trainer``: trains it; ``settings``: how.
- ``environment``: our vector environments for stable-baselines3.
"""

from agents.ppo.agent import PPOAgent

__all__ = ["PPOAgent"]
