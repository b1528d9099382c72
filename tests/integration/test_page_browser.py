"""Tests the page in a real browser: its text, requests and look, in every state."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import pytest

from consumer.http.page import PageServer
from consumer.http.page.snapshot import Snapshot
from consumer.http.server import Health, HttpServer
from consumer.ingest.clock import SystemClock
from consumer.settings.model import Http
from consumer.telemetry.metrics import Metrics
from tests.support.browser import Tab, opened_browser
from tests.support.stack import wait_for
from tests.unit.http.page.snapshots import reading, snapshot
from tests.unit.http.page.test_document import STATES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DESKTOP, PHONE = (1280, 900), (360, 780)
# Contrast of text and background by WCAG 2.2; elements with too little contrast are named.
CONTRAST = """(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(color).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const said = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!said || ["SCRIPT", "STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    const found = ratio(color, behind(element));
    if (found < 4.5) faint.push(`${element.tagName} ${element.textContent.slice(0, 30)}: ${found}`);
  }
  for (const element of document.querySelectorAll(".line, .target, .bar, .dot, .cell")) {
    const style = getComputedStyle(element);
    const color = style.fill !== "none" ? style.fill : style.stroke;
    const found = ratio(color, behind(element));
    if (found < 3) faint.push(`${element.className.baseVal}: ${found}`);
  }
  return faint;
})()"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OUTSIDE = """[...document.querySelectorAll("body *")].filter((element) => {
  if (element.closest(".scroll, svg, .skip") || element.closest("script")) return false;
  const box = element.getBoundingClientRect();
  return box.width && (box.left < 0 || box.right > document.documentElement.clientWidth + 1);
}).map((element) => element.outerHTML.slice(0, 100))"""


class ShownSnapshot:
    """Returns the snapshot that a test wants to show."""

    def __init__(self) -> None:
        self.snapshot = STATES["full"]
        self.looks = 0

    async def take(self) -> Snapshot:
        self.looks += 1
        return self.snapshot


class Site:
    """The real HTTP server on a port of its own."""

    def __init__(self) -> None:
        self.shown = ShownSnapshot()
        self._server = HttpServer(
            Http(host="127.0.0.1", port=0),
            Metrics(),
            lambda: Health({}),
            self._ready,
            PageServer(self.shown, SystemClock()).get,
        )
        self.host = ""

    async def _ready(self) -> Health:
        return Health({})

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the page during the context."""
        host, port = await self._server.start()
        self.host = f"{host}:{port}"
        try:
            yield
        finally:
            await self._server.stop()


@asynccontextmanager
async def opened(state: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> AsyncIterator[tuple[Site, Tab]]:
    """Open the page in this state in a browser."""
    site = Site()
    site.shown.snapshot = STATES[state]
    async with site.served(), opened_browser() as tab:
        await tab.show(*size, dark=dark)
        await tab.go(f"http://{site.host}/")
        yield site, tab


@pytest.mark.parametrize(("size", "dark"), [*product((DESKTOP, PHONE), (False, True))])
async def test_every_state_fits_and_is_legible(size: tuple[int, int], dark: bool) -> None:
    """On a desktop and a phone, light and dark: nothing overflows, contrast is sufficient, and the console has no
    error.
    """
    site = Site()
    async with opened_browser() as tab:
        await tab.show(*size, dark=dark)
        for name, content in STATES.items():
            site = Site()
            site.shown.snapshot = content
            async with site.served():
                await tab.go(f"http://{site.host}/")
                assert await tab.value(TOO_WIDE) == 0, name
                assert await tab.value(OUTSIDE) == [], name
                assert await tab.value(CONTRAST) == [], name
                assert tab.hosts() == {site.host}
                unavailable = "status of 503" if content.problem else "nothing"
                assert [said for said in tab.said if unavailable not in said] == [], name
            tab.said.clear()
            tab.requested.clear()


async def test_dark_and_light_follow_the_preference() -> None:
    """Both screenshots have content and the right background."""
    background = "getComputedStyle(document.body).backgroundColor"
    pictures = []
    async with opened("full") as (site, tab):
        for dark, darkest in ((False, False), (True, True)):
            await tab.show(*DESKTOP, dark=dark)
            await tab.go(f"http://{site.host}/")
            red = int((await tab.value(background)).split("(")[1].split(",")[0])
            assert (red < 60) == darkest
            pictures.append(await tab.picture())
    assert pictures[0] != pictures[1]
    assert all(len(picture) > 20_000 for picture in pictures)


async def test_a_screen_reader_can_navigate() -> None:
    """Landmarks, headings, named tables and regions, a text for every chart, one live region, no control without
    a name.
    """
    async with opened("full") as (_, tab):
        nodes = await tab.nodes()
    roles = {
        role: [node["name"] for node in nodes if node["role"] == role] for role in {node["role"] for node in nodes}
    }
    assert {"banner", "main", "navigation", "contentinfo", "status"} <= roles.keys()
    assert roles["heading"][:2] == ["ragledger", "Today, 2026-01-31"]
    assert {"Objectives", "The last 30 days", "Latency", "Ingestion", "Dead letters"} <= set(roles["heading"])
    assert roles["navigation"] == ["Endpoints"]
    pictures = roles.get("image", []) + roles.get("img", [])
    assert len(pictures) == 4 + 5
    assert any(name.startswith("Latency. p50: between") for name in pictures)
    assert all(roles["table"])
    assert all(roles["region"])
    assert all(name for role in ("link", "button") for name in roles[role])
    assert len(roles["columnheader"]) == 6 + 5 + 10
    assert len(roles["rowheader"]) == 6 + 2 + 28


async def test_the_page_works_with_the_keyboard_alone() -> None:
    """Focus is always visible; the first link skips the others; the button stops the updates."""
    focused = "[document.activeElement.tagName, document.activeElement.textContent.slice(0, 20),"
    focused += " getComputedStyle(document.activeElement).outlineStyle]"
    async with opened("full") as (_, tab):
        stops = []
        for _ in range(8):
            await tab.press("Tab")
            stops.append(await tab.value(focused))
        names = [text for _, text, _ in stops]
        assert names[:4] == ["Skip to the figures", "Metrics", "Alive", "Ready"]
        assert [tag for tag, _, _ in stops].count("DIV") == 3  # scrolling regions
        assert all(outline != "none" for _, _, outline in stops)
        assert names[-1] == "Pause updates"
        await tab.press(" ")
        assert await tab.value("document.activeElement.getAttribute('aria-pressed')") == "true"


async def test_changes_are_shown_without_moving_focus() -> None:
    """New figures appear by themselves; focus and scrolling stay; the live region announces states, not figures."""
    scroll = "document.querySelector('#part-days .scroll')"
    async with opened("full", PHONE) as (site, tab):
        await tab.value(f"{scroll}.scrollLeft = 120; {scroll}.focus({{preventScroll: true}}); scrollTo(0, 500)")
        before = await tab.value("document.getElementById('part-charts').getBoundingClientRect().top")
        site.shown.snapshot = snapshot(seed=2, partitions=[reading(0, lag=77, rate=5.0)])
        await wait_to_see(tab, "part-reading", "77")
        assert await tab.value(f"[{scroll}.scrollLeft, document.activeElement === {scroll}]") == [120, True]
        after = await tab.value("document.getElementById('part-charts').getBoundingClientRect().top")
        assert abs(after - before) <= 1
        assert await tab.value("document.getElementById('state').textContent") == "Records wait in 1 partition."
        assert await tab.value("document.getElementById('state').getAttribute('role')") == "status"


async def wait_to_see(tab: Tab, part: str, text: str) -> None:
    """Wait until a part of the page shows this text."""

    async def is_seen() -> Any:
        return await seen(tab, part, text)

    await wait_for(is_seen, message=f"{part}: {text}")


async def seen(tab: Tab, part: str, text: str) -> bool:
    """Return whether a part of the page shows this text."""
    return text in str(await tab.value(f"document.getElementById({json.dumps(part)}).textContent"))


async def test_an_outage_appears_and_disappears_on_an_open_page() -> None:
    """While the database is unavailable, a banner is above the last figures. It disappears without a reload."""
    async with opened("full") as (site, tab):
        site.shown.snapshot = STATES["unavailable"]
        await wait_to_see(tab, "part-problem", "The database is unavailable")
        assert await seen(tab, "part-problem", "The figures below are from 14:00:05 UTC.")
        site.shown.snapshot = STATES["full"]
        await wait_for(
            lambda: tab.value("!document.getElementById('part-problem').textContent"), message="the banner is gone"
        )


async def test_a_stopped_service_is_reported() -> None:
    """The figures are not current, and the page says so."""
    async with opened_browser() as tab:
        site = Site()
        async with site.served():
            await tab.go(f"http://{site.host}/")
        await wait_to_see(tab, "state", "does not answer")


async def test_a_hundred_reloads_take_one_snapshot() -> None:
    """They come at once; and the answers must not be cached by clients."""
    ask = "Promise.all(Array.from({length: 100}, () => fetch('/'))).then((all) => all.map((one) => "
    ask += "[one.status, one.headers.get('cache-control'), one.headers.get('x-content-type-options')].join()))"
    async with opened("full") as (site, tab):
        looks = site.shown.looks
        answers = await tab.value(ask)
        assert set(answers) == {"200,no-store,nosniff"}
        assert site.shown.looks - looks <= 2


async def test_the_policy_blocks_foreign_code() -> None:
    """Script and style that are not ours do not run, even if they get into the document."""
    attack = """(async () => {
      const script = document.createElement('script');
      script.textContent = 'window.foreign = true';
      document.body.append(script);
      const html = '<b id=b style="color:red" onclick="window.foreign=true">x</b>';
      document.querySelector('h1').insertAdjacentHTML('beforeend', html);
      const made = document.getElementById('b');
      made.click();
      const answer = await fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused');
      return [window.foreign === undefined, getComputedStyle(made).color !== 'rgb(255, 0, 0)', answer];
    })()"""
    async with opened("full") as (site, tab):
        assert await tab.value(attack) == [True, True, "refused"]
        assert tab.hosts() == {site.host}
