"""Renders the whole page and its content security policy. PURE, except that it reads its own assets."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from consumer import __version__
from consumer.http.page import sections, tables
from consumer.http.page.html import Html, join, tag
from consumer.http.page.snapshot import Snapshot
from consumer.http.page.words import clock

_ASSETS = files(__package__) / "assets"
_STYLE = Html((_ASSETS / "page.css").read_text("utf-8"))
_SCRIPT = Html((_ASSETS / "page.js").read_text("utf-8"))
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16'"
    " rx='3' fill='%232557c2'/%3E%3Cpath d='M4 4.5h8M4 8h8M4 11.5h5' stroke='%23fff' stroke-width='1.6'/%3E%3C/svg%3E"
)


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


# Hashes instead of nonces, because the cached page is the same for all clients.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def render(snapshot: Snapshot) -> str:
    """Render the page."""
    body = tag("body", _header(snapshot), _main(snapshot), _footer(snapshot), tag("script", _SCRIPT))
    return f"<!doctype html>\n{tag('html', _head(), body, lang='en')}\n"


def _head() -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", "ragledger"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("link", rel="icon", href=_ICON),
        tag("style", _STYLE),
    )


def _header(snapshot: Snapshot) -> Html:
    links = [
        tag("li", tag("a", name, href=path))
        for name, path in (("Metrics", "/metrics"), ("Alive", "/healthz"), ("Ready", "/readyz"))
    ]
    skip = tag("a", "Skip to the figures", class_="skip", href="#main")
    title = tag("div", tag("h1", "ragledger"), tag("p", tables.state(snapshot), id="state", role="status"))
    return tag("header", skip, title, tag("nav", tag("ul", *links), aria_label="Endpoints"))


def _main(snapshot: Snapshot) -> Html:
    parts = (
        ("problem", _problem(snapshot)),
        ("newest", sections.newest_day(snapshot)),
        ("objectives", sections.objectives(snapshot)),
        ("charts", sections.last_days(snapshot)),
        ("reading", tables.ingestion(snapshot)),
        ("letters", tables.dead_letters(snapshot)),
        ("days", tables.days(snapshot)),
    )
    return tag("main", *(tag("section", part, id=f"part-{name}") for name, part in parts), id="main", tabindex="-1")


def _problem(snapshot: Snapshot) -> Html | None:
    """Render the problems, if there are any."""
    said = [tag("p", tag("strong", "The database is unavailable: "), snapshot.problem)] if snapshot.problem else []
    if snapshot.problem and snapshot.days and snapshot.shown_at:
        said.append(tag("p", f"The figures below are from {clock(snapshot.shown_at)}."))
    if snapshot.kafka_problem:
        said.append(tag("p", tag("strong", "The lag is unknown: "), snapshot.kafka_problem))
    return tag("div", *said, class_="problem") if said else None


def _footer(snapshot: Snapshot) -> Html:
    pause = tag("button", "Pause updates", type="button", id="pause", aria_pressed="false", hidden=True)
    shown = tag("span", f"As of {clock(snapshot.taken_at)}", id="part-as-of")
    return tag("footer", join(shown, pause, tag("span", f"ragledger {__version__}")))
