"""The pictures of the pages are those that would be drawn today."""

from __future__ import annotations

import importlib.util
import io
import re
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

HOOK = ROOT / "docs" / "hooks" / "pictures.py"
HINT = f"outdated: run python {HOOK.relative_to(ROOT)}"
WORDS = re.compile(r"#\d+</tspan>[^<]*|if [\w -]+ is lost")  # actions and outcomes of a tree

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures_of_pages", HOOK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_those_of_today(hook: ModuleType) -> None:
    drawn = hook.pictures()
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for name, content in drawn.items():
        kept = (hook.IMAGES / name).read_bytes()
        assert f"(images/{name})" in pages
        if name.endswith(".svg"):  # figures differ by rounding from processor to processor
            told = WORDS.findall(content.decode())
            assert len(told) > 5 and told == WORDS.findall(kept.decode()), HINT
            continue
        ours, theirs = (
            np.asarray(Image.open(io.BytesIO(one)).convert("L"), np.int16)
            for one in (content, kept)
        )
        assert ours.shape == theirs.shape, HINT
        assert np.abs(ours - theirs).mean() < 0.5, HINT


def test_the_sample_report_is_a_page_of_its_own(hook: ModuleType) -> None:
    page = hook.report()
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert len(page) > 100_000
    loaded = re.findall(r"(?:src|href)=[\"']?(?!data:|#)[\w/]+", page)
    assert not loaded  # nothing from elsewhere
