"""Headless Chromium for tests, through chromedriver and the WebDriver protocol over plain HTTP."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
)
_PATIENCE = 120  # seconds; other work may share the machine
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window of a browser with a profile of its own in `folder`."""

    def __init__(self, driver: str, folder: Path, *flags: str) -> None:
        self._process = Popen([driver, "--port=0"], stdout=PIPE, stderr=DEVNULL, text=True)
        self._session = ""
        try:
            assert self._process.stdout is not None
            started = next(line for line in self._process.stdout if "started successfully on port" in line)
            self._root = f"http://127.0.0.1:{started.rstrip().rstrip('.').rpartition(' ')[2]}"
            options = {
                "args": [*_FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"],
                "prefs": {"intl.accept_languages": "en"},
            }
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            wanted["timeouts"] = {"script": 1000 * _PATIENCE, "pageLoad": 1000 * _PATIENCE}
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._session:
                self._call("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.wait(20)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def open(self, page: Path) -> None:
        """Load a file."""
        self._call("POST", f"{self._session}/url", {"url": page.as_uri()})

    def run(self, script: str, *args: Any) -> Any:
        """What a function body returns; a promise is waited for."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(args)})

    def fill(self, selector: str, text: str) -> None:
        """Type into a field, or choose files (paths, a line each)."""
        self._call("POST", f"{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click an element that can be seen."""
        self._call("POST", f"{self._find(selector)}/click", {})

    def text(self, selector: str) -> str:
        """The text that can be seen of an element."""
        return str(self._call("GET", f"{self._find(selector)}/text"))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def wait(self, condition: str, seconds: float = _PATIENCE) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"waited {seconds} s for {condition}"
            time.sleep(0.03)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since it was last asked."""
        return [line["message"] for line in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def devtools(self, command: str, **params: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": params})

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return f"{self._session}/element/{found[_ELEMENT]}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=2 * _PATIENCE) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise AssertionError(f"the browser refused {path}: {error.read().decode()[:500]}") from error
