"""A headless Chromium driven over plain HTTP, as the W3C WebDriver standard has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the standard's key of element references
_SECONDS = 60.0

KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Home": "\ue011", "End": "\ue010"}


def missing() -> str:
    """Return what is missing here to drive a browser, and how to get it; "" if nothing is."""
    needed = {
        "chromium": any(shutil.which(name) for name in _CHROMIUM),
        "chromium-driver (chromedriver)": shutil.which("chromedriver"),
    }
    absent = [name for name, there in needed.items() if not there]
    if not absent:
        return ""
    return f"{' and '.join(absent)} not found: apt-get install chromium chromium-driver"


class Browser:
    """One window of a browser."""

    def __init__(self, address: str, session: str) -> None:
        """Drive ``session`` of the driver at ``address``."""
        self._root = f"{address}/session/{session}"

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a report and wait until it is drawn, or says why it is not."""
        self.command("POST", "/url", {"url": "about:blank"})  # a new fragment alone loads nothing
        self.command("POST", "/url", {"url": path.resolve().as_uri() + fragment})
        self.wait_for("!!window.report || !document.querySelector('#problem').hidden")

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a function body in JavaScript returns."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for(self, expression: str, *, milliseconds: int = 20_000) -> Any:
        """Return the expression's value once it is true; TimeoutError if it never is."""
        script = (
            "const done = arguments[arguments.length - 1], until = Date.now() + arguments[0];"
            f"const look = () => {{ const value = ({expression});"
            "if (value) done(value); else if (Date.now() > until) done(null);"
            "else setTimeout(look, 20); }; look();"
        )
        value = self.command("POST", "/execute/async", {"script": script, "args": [milliseconds]})
        if value is None:
            raise TimeoutError(f"never true in {milliseconds} ms: {expression}")
        return value

    def text(self, selector: str) -> str:
        """Return the text of the first element that is shown as the page shows it."""
        return str(self.command("GET", f"/element/{self._find(selector)}/text"))

    def click(self, selector: str) -> None:
        """Click in the middle of the first such element, as a person would."""
        self.command("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, selector: str, *keys: str) -> None:
        """Focus an element and press keys: names of ``KEYS``, or characters."""
        text = "".join(KEYS.get(key, key) for key in keys)
        self.command("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def resize(self, width: int, height: int, *, scheme: str = "light") -> None:
        """Show a page of this size, in a light or dark colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", {"features": features})

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """Send a command of Chromium's own protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Return what was logged since the last call: "browser" or "performance"."""
        return self.command("POST", "/se/log", {"type": kind})

    def _find(self, selector: str) -> str:
        found = self.command("POST", "/element", {"using": "css selector", "value": selector})
        return found[_ELEMENT]

    def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a WebDriver command; RuntimeError says what the browser refused."""
        return _send(method, self._root + path, body)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser that keeps its files in ``folder`` and reaches no network."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(folder)},
    )
    assert driver.stdout is not None
    try:
        started = None
        for line in driver.stdout:
            started = re.search(r"started successfully on port (\d+)", line)
            if started:
                break
        if started is None:
            raise RuntimeError("chromedriver ended before it was ready")
        address = f"http://127.0.0.1:{started[1]}"
        session = _send("POST", f"{address}/session", _capabilities(folder))["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _send("DELETE", f"{address}/session/{session}", None)
    finally:
        driver.terminate()
        driver.communicate()


def _capabilities(folder: Path) -> dict[str, Any]:
    arguments = [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1440,1400",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's own demand of root
    binary = next(path for name in _CHROMIUM if (path := shutil.which(name)))
    return {
        "capabilities": {
            "alwaysMatch": {
                "goog:chromeOptions": {"args": arguments, "binary": binary},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
        }
    }


def _send(method: str, address: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data=data, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return json.loads(answer.read())["value"]
    except urllib.error.HTTPError as error:
        with error:
            value = json.loads(error.read())["value"]
        raise RuntimeError(f"{value['error']}: {value['message']}") from error
