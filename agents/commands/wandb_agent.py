"""``python -m agents.commands.wandb_agent ID``: a W&B sweep agent whose runs use this interpreter.

``wandb agent`` starts runs with the first ``python`` on PATH, which has not this package where the
environment is not activated. Here the folder of this interpreter is the first on PATH.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def environment_of_runs(environment: Mapping[str, str], interpreter: Path) -> dict[str, str]:
    """Return an environment in which ``python`` is ``interpreter``.

    Args:
        environment: to begin with.
        interpreter: a Python; a virtual environment's is a link, whose folder is what counts.

    Raises:
        ValueError: it has another name, and none called ``python`` lies beside it.
    """
    if not (interpreter.parent / "python").exists():
        raise ValueError(
            f"W&B starts runs with 'python', and there is none beside {interpreter}: use a virtual "
            "environment, or add a link of that name"
        )
    path = os.pathsep.join([str(interpreter.parent), environment.get("PATH", os.defpath)])
    return {**environment, "PATH": path}


def main() -> None:
    """Become ``wandb agent`` with the same arguments."""
    try:
        environment = environment_of_runs(os.environ, Path(sys.executable))
    except ValueError as error:
        sys.exit(str(error))
    os.execve(sys.executable, [sys.executable, "-m", "wandb", "agent", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
