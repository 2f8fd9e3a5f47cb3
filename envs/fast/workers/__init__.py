"""Shares grids out over worker processes.

- ``processes``: the main process's side: workers are started, asked, watched and ended.
- ``service``: a worker's side: it plays its grids and answers.
- ``shared_arrays``: the memory that both read and write.
"""

from envs.fast.workers.processes import GridProcesses

__all__ = ["GridProcesses"]
