"""HTML that is safe by construction: every string that is not :class:`Html` is escaped. PURE."""

from __future__ import annotations

from html import escape
from typing import Any

_VOID = frozenset({"meta", "link", "br"})


class Html(str):
    """Markup from :func:`tag` or from our own source."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: Any) -> Html:
    """Return an element. Children that are not :class:`Html` are escaped; None is left out.

    `class_` becomes class, and `aria_label` becomes aria-label. True gives a bare attribute; None and False give none.
    """
    opened = f"<{element}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(opened if element in _VOID else f"{opened}{join(*children)}</{element}>")


def join(*children: object) -> Html:
    """Return several nodes as one."""
    return Html("".join(_node(child) for child in children if child is not None))


def _node(child: object) -> str:
    return child if isinstance(child, Html) else escape(str(child))


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
