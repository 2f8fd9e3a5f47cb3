"""Starts Ray on this machine, or joins a running cluster, once for the whole process."""

from __future__ import annotations

import logging
import os
import platform
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_LOG = logging.getLogger(__name__)
_PACKAGE = "powergrid-muzero"
_PATIENCE = 10.0  # seconds in which an address has to answer
_STARTS = 3  # of a Ray of our own, at most
_HEARTBEAT = 2.0  # seconds in which a cluster that was there has to answer
_OBJECT_STORE = 256 * 2**20  # bytes of shared memory for weights and experience on the way
_INLINE = 2**20  # bytes of a result that comes with its message; shared memory takes 2 ms longer
_CLIENT = "ray://"
_ABOUT_TOKENS = ". If the cluster asks for a token, set RAY_AUTH_MODE=token, see docs/cluster.md."
_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # none on Windows


class _Connection:
    """The connection of this process."""

    address: str | None = None  # of a running cluster; None for a Ray of our own
    raylet: str | None = None  # socket of the node of this process, where it has one in a file
    number = 0  # of connections made so far: what was shared in an earlier one is gone


@contextmanager
def connected(address: str | None, workers: Mapping[str, int]) -> Iterator[None]:
    """Be connected inside where workers are asked for; leave the cluster then, or stop it.

    Args:
        address: as in ``connect``.
        workers: key of the configuration -> number of workers.

    Raises:
        ValueError: see ``connect``; or there is an address, and nothing to do there.
    """
    if not any(workers.values()):
        if address is not None:
            keys = " or ".join(workers)
            raise ValueError(f"ray.address={address}: no workers are asked for; set {keys}.")
        yield
        return
    ours = connect(address)
    try:
        yield
    finally:
        if ours:
            disconnect()


def connect(address: str | None = None) -> bool:
    """Start Ray on this machine, or join a cluster; nothing where this process is connected.

    Ray stops what it started when the process ends, or at ``disconnect``.

    Args:
        address: of a running cluster: "auto" for one of this machine, "HOST:PORT" or
            "ray://HOST:PORT"; None starts one.

    Returns:
        Whether it was not connected before.

    Raises:
        ValueError: nothing answers there, or its versions are others; the message says which.
        ChildProcessError: Ray does not start on this machine.
    """
    if address is not None:
        _check_reachable(address)
    elif "ray" not in sys.modules:  # which reads this when it is loaded
        # a token that its processes inherit: Ray's own way writes one into the home, if it can
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = _ray()
    if ray.is_initialized():
        if address not in (None, _Connection.address):
            raise ValueError(f"ray.address={address}: this process uses another Ray already.")
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with _own_signals():
        raylet = _start(options) if address is None else _join(address, options)
    # Ray prints the last lines of its logs, to standard output, for each process that is lost;
    # ``Workers`` tells of that in a line. There is no public switch.
    vars(sys.modules["ray._private.worker"])["_worker_logs_enabled"] = False
    _Connection.address = address
    _Connection.number += 1
    _Connection.raylet = raylet
    if address is not None:
        try:
            _check_nodes(address)
        except ValueError:
            disconnect()
            raise
    return True


def _start(options: Mapping[str, Any]) -> str | None:
    """Start a Ray of this process's own, anew where one of its processes is lost meanwhile.

    Returns:
        See ``_own_socket``.

    Raises:
        ChildProcessError: it does not start.
    """
    ray, cause = _ray(), ""
    for attempt in range(_STARTS):
        if attempt:
            _LOG.warning("Ray did not start: %s; started anew", cause)
        try:
            ray.init(
                "local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                num_cpus=_own_cores(),
                _system_config={"max_direct_call_object_size": _INLINE},
                **options,
            )
            return _own_socket(None)
        except Exception as error:  # this very class, where a node of Ray's dies on the way
            cause = _line_of(error)
            ray.shutdown()
    raise ChildProcessError(
        f"Ray does not start on this machine, tried {_STARTS} times: {cause} Play in this process "
        "with trainer.num_workers=0 and evaluation.num_workers=0."
    )


def _join(address: str, options: Mapping[str, Any]) -> str | None:
    """Join a cluster; return as ``_start`` does.

    Raises:
        ValueError: it cannot be joined.
    """
    try:
        _ray().init(address, **options)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        asked = isinstance(error, ConnectionError) and not _sends_token()
        raise ValueError(
            f"ray.address={address}: {_line_of(error)}{_ABOUT_TOKENS if asked else ''}"
        ) from error
    return _own_socket(address)


def disconnect() -> None:
    """Leave the cluster; stop it if this process started it."""
    _ray().shutdown()


def reconnect() -> None:
    """Connect anew, as before, after the connection or the local node was lost."""
    disconnect()
    connect(_Connection.address)


def is_alive() -> bool:
    """Whether the cluster answers, and the node of this process is there.

    Ray itself notices a lost node after 15 seconds, and ends this process if it exchanges arrays
    with a node of its own that is gone: so look before that.
    """
    ray = _ray()
    if not ray.is_initialized():
        return False
    if (_Connection.address or "").startswith(_CLIENT):
        return bool(ray.util.client.ray.is_connected())
    if not _answers(ray.get_runtime_context().gcs_address, _HEARTBEAT):
        return False
    return _Connection.raylet is None or _listens(_Connection.raylet)


def connection_number() -> int:
    """Return which connection of this process this is, from 1."""
    return _Connection.number


def cores() -> int:
    """Return the cores that workers may use, of this machine or of the cluster."""
    return max(int(_ray().cluster_resources().get("CPU", 0)), 1)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep own handlers, which Ray replaces; let its processes outlive the terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP is not None else []))
    before = {number: signal.getsignal(number) for number in numbers}
    if _HANGUP is not None:
        signal.signal(_HANGUP, signal.SIG_IGN)  # as the processes started inside inherit it
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python
                signal.signal(number, handler)


def _own_cores() -> int:
    """Return the cores of this machine that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ray() -> Any:
    """Return Ray, which takes a second to load and has no complete types."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each start
    import ray

    return ray


def _sends_token() -> bool:
    """Whether Ray shows its token where it connects to an address, as it does when told to."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself waits for minutes."""
    place = address.removeprefix(_CLIENT)
    if place == "auto":
        return
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"ray.address={address}: expected auto, HOST:PORT or {_CLIENT}HOST:PORT, or null for "
            "a Ray of this command's own."
        )
    if not _answers(place, _PATIENCE):
        raise ValueError(
            f"ray.address={address}: nothing answers there within {_PATIENCE:.0f} s; start a "
            "cluster with `ray start --head`, or leave ray.address out."
        )


def _own_socket(address: str | None) -> str | None:
    ray = _ray()
    if (address or "").startswith(_CLIENT):
        return None
    own = ray.get_runtime_context().get_node_id()
    (name,) = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
    return name if os.path.exists(name) else None


def _listens(name: str) -> bool:
    """Whether somebody listens at a socket in a file."""
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(name)
        except OSError:
            return False
    return True


def _answers(place: str, seconds: float) -> bool:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError:
        return False
    return True


def _check_nodes(address: str) -> None:
    """Refuse a cluster in which a node has other versions, or lacks this package."""
    ray = _ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def versions() -> dict[str, str]:  # nested, so that a node needs no module of ours to run it
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = {"Python": platform.python_version()}
        for name in ("ray", "powergrid-muzero"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "none"
        return found

    own = {
        "Python": platform.python_version(),
        "ray": _version("ray"),
        _PACKAGE: _version(_PACKAGE),
    }
    asked = ray.remote(num_cpus=0)(versions)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            found = ray.get(
                asked.options(scheduling_strategy=strategy).remote(), timeout=3 * _PATIENCE
            )
        except ray.exceptions.RayError as error:
            raise ValueError(
                f"ray.address={address}: node {node['NodeManagerAddress']} runs nothing: "
                f"{_line_of(error)}"
            ) from error
        for name, expected in own.items():
            if found[name] != expected:
                raise ValueError(
                    f"ray.address={address}: node {node['NodeManagerAddress']} has {name} "
                    f"{found[name]}, this machine {expected}; install the same on all."
                )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _line_of(error: Exception) -> str:
    """Return an error's message in one line, without Ray's indented details."""
    return " ".join(" ".join(str(error).split()).split(" ")[:60])
