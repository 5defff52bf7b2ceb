"""A headless Chromium, driven by the WebDriver protocol: what an owner's browser does, and no library."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.installed import program
from tests.web.helpers import HOST, free_port

_START_S = 30.0
_WAIT_S = 30.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own name for a reference


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._session = session

    def open(self, url: str) -> None:
        """Go to a page, and wait for it to be loaded."""
        self._send("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page; returns what it returns, also of a promise."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What can be read of the first such element; empty where there is none."""
        found = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        return str(found)

    def until(self, script: str, *arguments: Any) -> Any:
        """Run `return SCRIPT` again and again, until it returns something true."""
        deadline_s = time.monotonic() + _WAIT_S
        while not (found := self.run(f"return {script}", *arguments)):
            assert time.monotonic() < deadline_s, f"{script}: {found!r}; {self.text('body')}"
            time.sleep(0.1)
        return found

    def click(self, selector: str) -> None:
        """Click on an element, as a person does: it must be visible."""
        self._send("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field; into one for files, the path of one."""
        self._send("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def clear(self, selector: str) -> None:
        """Empty a field."""
        self._send("POST", f"/element/{self._find(selector)}/clear", {})

    def resize(self, width: int, height: int) -> None:
        """Have the page laid out for so many pixels, down to a phone's."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", metrics)

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of Chromium's own."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._send("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the browser had to complain about since the last call: failed scripts, a broken policy."""
        entries = self._send("POST", "/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in entries]

    def close(self) -> None:
        with suppress(OSError):
            self._send("DELETE", "")

    def _find(self, selector: str) -> str:
        found = self._send("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return _send(self._port, method, f"/session/{self._session}{path}", body)


@contextmanager
def browser(*, javascript: bool = True) -> Iterator[Browser]:
    """A fresh browser with a driver of its own. Skips the test where there is no Chromium."""
    driver_program, chromium = program("chromedriver"), program("chromium")
    port = free_port()
    driver = subprocess.Popen([driver_program, f"--port={port}", "--silent"])
    try:
        _wait_for(lambda: _send(port, "GET", "/status")["ready"])
        session = _send(port, "POST", "/session", _wishes(chromium, javascript=javascript))["sessionId"]
        opened = Browser(port, session)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        driver.terminate()
        driver.wait(20)


def _wishes(chromium: str, *, javascript: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "binary": chromium,
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ],
    }
    if not javascript:
        options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
    wishes = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    return {"capabilities": {"alwaysMatch": wishes}}


def _send(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        sent = None if body is None else json.dumps(body).encode()
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
    finally:
        connection.close()
    if isinstance(value, dict) and "error" in value:
        raise AssertionError(f"{method} {path}: {value['error']}: {value['message']}")
    return value


def _wait_for(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + _START_S
    while True:
        with suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline_s, "the browser did not start"
        time.sleep(0.1)
