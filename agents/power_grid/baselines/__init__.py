"""Agents that need no training.

- ``do_nothing``, ``random``, ``reconnect``, ``revert``, ``greedy``, ``greedy2``, ``expert``: an
  agent each, as in ``agent=greedy``.
- ``base``: what they have in common, and those of them that look at their grids.
- ``reference_topology``: how far a topology is from the reference.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
