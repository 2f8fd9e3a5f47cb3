"""The notebooks of the documentation run, show pictures, and are kept without outputs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def shown(notebook: Any, kind: str) -> list[str]:
    """Return what cells show of a MIME type."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.docs
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    ).execute()
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(one))) for one in shown(notebook, "image/png")
    ]
    assert len(pictures) >= 2 and all(one.size == (960, 600) for one in pictures)
    html = "".join(shown(notebook, "text/html"))
    assert ("<svg" if "search" in path.stem else "scenario complete") in html
    assert not list(tmp_path.iterdir())  # nothing is written
