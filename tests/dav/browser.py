"""Chromium without a window, driven by its DevTools protocol over a WebSocket (RFC 6455) of the fewest lines that do.

Whatever a page asks in a dialog is answered with yes, or with ``Page.reply``. Ends with all its processes.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 15.0
PROGRAM = shutil.which("chromium")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)


class Failed(Exception):
    """The browser says no."""


class _Socket:
    """A WebSocket to a server on this machine: text, whole."""

    def __init__(self, address: str) -> None:
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = f"Host: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
        fields += f"\r\nSec-WebSocket-Key: {key}"
        self._socket.sendall(f"GET /{path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        if b" 101 " not in self._file.readline():
            raise Failed("no WebSocket")
        while self._file.readline() != b"\r\n":
            pass

    def send(self, text: str) -> None:
        data = text.encode()
        size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xff" + len(data).to_bytes(8, "big")
        self._socket.sendall(b"\x81" + size + bytes(4) + data)  # Masked with zeros.

    def receive(self) -> str:
        text = b""
        while True:
            first, size = self._file.read(2)
            if size >= 126:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
            text += self._file.read(size)
            if first & 0x80:
                return text.decode()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Browser:
    """A running browser."""

    def __init__(self, address: str) -> None:
        self._socket = _Socket(address)
        self._number = 0
        self.answer = ""

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """The result of a method; what pages ask meanwhile is answered."""
        number = self._send(method, session, parameters)
        while True:
            message = json.loads(self._socket.receive())
            if message.get("method") == "Page.javascriptDialogOpening":
                self._send("Page.handleJavaScriptDialog", message["sessionId"], {"accept": True, "promptText": self.answer})
            if message.get("id") == number:
                if "error" in message:
                    raise Failed(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found

    def _send(self, method: str, session: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps({**message, "sessionId": session} if session else message))
        return self._number

    @contextmanager
    def page(self, url: str, width: int = 1280, height: int = 800, *, dark: bool = False) -> Iterator["Page"]:
        """A tab that shows an address."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.call("Page.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Emulation.setTimezoneOverride", timezoneId="UTC")
        page.go(url)
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)

    def close(self) -> None:
        self._socket.close()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reply(self, text: str) -> None:
        """What to type into the next prompt."""
        self._browser.answer = text

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise Failed(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true; pages may come and go meanwhile."""
        end, last = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            try:
                if found := self.value(script):
                    return found
            except Failed as error:
                last = str(error)
            time.sleep(0.02)
        raise Failed(f"never true: {script} {last}; the page says {self.value('document.body.innerText')!r}")

    def text(self, selector: str) -> list[str]:
        """The text of each element that a selector finds."""
        found: list[str] = self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText.trim())")
        return found

    def click(self, selector: str) -> None:
        self.until(f"!!document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def drop(self, *files: Path) -> None:
        """Drag files over the page, and let them fall."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def press(self, key: str) -> None:
        """Press a key: Tab or Enter."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self) -> bytes:
        """What it looks like, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile that goes with it."""
    with tempfile.TemporaryDirectory(prefix="chromium.", ignore_cleanup_errors=True) as profile:
        command = [PROGRAM or "chromium", *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        try:
            assert process.stderr is not None
            said = ""
            while (match := re.search(r"DevTools listening on (ws://\S+)", said)) is None:
                line = process.stderr.readline()
                if not line:
                    raise Failed(f"chromium does not start: {said}")
                said += line
            found = Browser(match[1])
            try:
                yield found
            finally:
                found.close()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()
