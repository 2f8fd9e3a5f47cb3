"""Worker processes on one machine or many, by Ray, which is loaded only where it is used.

- ``connection``: starts Ray on this machine, or joins a running cluster
- ``workers``: processes that work on tasks, and are replaced when they die
"""

from agents.runs.cluster.connection import connect, connected, disconnect
from agents.runs.cluster.workers import Shared, Workers, WorkersLostError, worker_count

__all__ = [
    "Shared",
    "Workers",
    "WorkersLostError",
    "connect",
    "connected",
    "disconnect",
    "worker_count",
]
