"""HTML that is safe by construction: whatever is not made here is text, and escaped. PURE."""

from __future__ import annotations

from html import escape
from typing import Any

_VOID = frozenset({"meta", "link", "br"})


class Html(str):
    """Markup, made by :func:`tag` or written in our own source."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: Any) -> Html:
    """An element. Children that are no :class:`Html` are text; None is left out.

    Attributes: ``class_`` is class, ``aria_label`` is aria-label; True stands alone, None and False are left out.
    """
    opened = f"<{element}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(opened if element in _VOID else f"{opened}{join(*children)}</{element}>")


def join(*children: object) -> Html:
    """Several nodes as one."""
    return Html("".join(_node(child) for child in children if child is not None))


def _node(child: object) -> str:
    return child if isinstance(child, Html) else escape(str(child))


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
