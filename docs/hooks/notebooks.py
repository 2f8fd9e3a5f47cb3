"""Shows the notebooks of ``docs/notebooks`` on the site: MkDocs runs them whenever it builds."""

from __future__ import annotations

from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

_made: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}  # by name and content: mkdocs serve


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a page in place of each notebook, with what it printed and drew."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        page = notebook.src_uri.removesuffix(".ipynb")
        text, pictures = _run(Path(page).name, notebook.content_string)
        files.append(File.generated(config, f"{page}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{Path(page).parent}/{name}", content=content))
    return files


def _run(name: str, source: str) -> tuple[str, dict[str, bytes]]:
    """Execute a notebook; return it as Markdown, and the pictures that it shows by name."""
    if (name, source) not in _made:
        notebook = nbformat.reads(source, as_version=4)
        quiet = ["--log-level=ERROR"]  # it warns of its own port on localhost
        NotebookClient(
            notebook, timeout=600, kernel_name="python3", extra_arguments=quiet
        ).execute()
        body, resources = MarkdownExporter().from_notebook_node(
            notebook, resources={"unique_key": name, "output_files_dir": f"{name}_files"}
        )
        _made[name, source] = body, dict(resources["outputs"])
    return _made[name, source]
