"""Headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.stack import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No requests of the browser's own, and no sandbox, which is not available for root and in most containers.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-extensions", "--disable-default-apps", "--remote-debugging-port=0"),
)


def chromium() -> str:
    """Return the browser. Skip the test if it is not installed, but fail in CI, where nobody reads the list of
    skipped tests.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install the package chromium")
        pytest.skip("Chromium is not installed (package chromium)")
    return found


class Tab:
    """One page, with its console messages and requests."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session = ""
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        self.said: list[str] = []
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Record the messages of the browser."""
        async for message in self._socket:
            received = json.loads(message.data)
            if "id" in received:
                self._answers.pop(received["id"]).set_result(received)
            else:
                self._note(received["method"], received["params"])

    def _note(self, method: str, parameters: Mapping[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Log.entryAdded":
            self.said.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.said.append(f"{method}: {json.dumps(parameters)}")

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the browser. Raises AssertionError if the call fails."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        await self._socket.send_json(asked | ({"sessionId": self._session} if self._session else {}))
        response = await asyncio.wait_for(answer, 30)
        assert "error" not in response, response
        result: dict[str, Any] = response["result"]
        return result

    async def attach(self) -> None:
        """Open a page and record all its messages."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Accessibility", "DOM"):
            await self.call(f"{domain}.enable")

    async def show(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, and light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def go(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=address)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def value(self, script: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        response = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in response, response
        return response["result"].get("value")

    async def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
            )

    async def nodes(self) -> list[dict[str, Any]]:
        """Return role and name of every node of the accessibility tree that is not ignored."""
        tree = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        return [
            {"role": node["role"]["value"], "name": node.get("name", {}).get("value", "")}
            for node in tree
            if not node["ignored"]
        ]

    async def picture(self, *, whole: bool = True) -> bytes:
        """Return the page as PNG: all of it, or the visible part."""
        response = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(response["data"])

    def hosts(self) -> set[str]:
        """Return the hosts of all requests."""
        return {split.netloc for address in self.requested if (split := urlsplit(address)).scheme != "data"}


@asynccontextmanager
async def opened_browser() -> AsyncIterator[Tab]:
    """Open a browser with one page for the duration of the context."""
    # Its helper processes may still write for a moment after its end.
    with TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        command = [chromium(), *FLAGS, f"--user-data-dir={directory}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        try:
            port_file = Path(directory) / "DevToolsActivePort"
            await wait_for(lambda: port_file.exists() and port_file.read_text().count("\n"), message="Chromium")
            port, path = port_file.read_text().splitlines()
            async with (
                aiohttp.ClientSession() as http,
                http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
            ):
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                await tab.attach()
                yield tab
                listening.cancel()
        finally:
            process.terminate()
            process.wait(30)
