"""Records of an attacker: valid, nearly valid, and random bytes, in slices and in any mixture.

The seed decides everything. An event is composed of JSON texts, so that a number, an escape or a repeated member is
sent exactly as it is written.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.costs import Pricing
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from tests.support import producers
from tests.support.prices import BOOK, NAMESPACE
from tests.unit.fuzz import values
from tests.unit.fuzz.values import CANARY, CONTROLS

Headers = tuple[tuple[str, bytes | None], ...]
Event = list[tuple[str, str]]

KINDS = (DIALOGUE, PROVENANCE, FEEDBACK, VERIFICATION, PLUGIN, DIALOGUE.under(NAMESPACE, Pricing(BOOK)))

_PLAIN_EVENTS = 150
_FREE_TEXTS = {"query", "response", "source_uri", "source", "version"}
_TIMESTAMPS = (1_767_225_600_123, 0, -1, 1, -(2**63), 2**63 - 1, 253_402_300_799_999, 253_402_300_800_000, 10**15)
_OFTEN = 1_767_225_600_123
_UNKNOWN_MEMBERS = ("stranger", "", "größe", CANARY, CANARY + CONTROLS, "id ", "ID", "__proto__", "query\0", "\ud800")


class Hostile:
    """Makes records of one kind, one after the other."""

    def __init__(self, kind: Kind, chance: random.Random) -> None:
        self.kind, self.chance = kind, chance
        self.plain_events = [self._plain_event() for _ in range(_PLAIN_EVENTS)]
        self._types = {name: field.pg_type for name, field in kind.fields.items()}
        self._names = [*self._types, *(name for name, pg_type in self._types.items() if pg_type in _TRICKY)]
        self._offset = 0

    def _plain_event(self) -> Event:
        event = getattr(producers, self.kind.name)(self.chance)
        if self.kind.clock_field:
            event[self.kind.clock_field] = "2026-01-31T09:30:00.5Z"
        event.update({name: f"{CANARY} {event[name]}" for name in _FREE_TEXTS & event.keys()})
        for nested in (event.get("access_policy"), event.get("config"), *event.get("citations", ())):
            if nested is not None:
                nested["note"] = f"{CANARY} größe\\u0000 ✓"
        return [(json.dumps(name), json.dumps(member, ensure_ascii=False)) for name, member in event.items()]

    def slice(self, size: int) -> Sequence[StoredRecord]:
        """Return so many consecutive records: plain ones with a random share of uncommon ones at random places."""
        share = self.chance.choice((0.0, 0.05, 0.3, 0.7, 1.0, 1.0)) if size > 1 else 0.5
        return [self.uncommon() if self.chance.random() < share else self.plain() for _ in range(size)]

    def plain(self) -> StoredRecord:
        """Return a valid event of the common shape."""
        return self.record(encode(self.chance.choice(self.plain_events)))

    def uncommon(self) -> StoredRecord:
        """Return any record."""
        return self.chance.choices(_WAYS, _WEIGHTS)[0](self)

    def record(self, value: bytes | None, headers: Headers = ()) -> StoredRecord:
        """Return the next record."""
        self._offset += self.chance.choice((1, 1, 1, 1, 1, 2, 7))
        timestamp = _OFTEN if self.chance.random() < 0.7 else self.chance.choice(_TIMESTAMPS)
        return StoredRecord("t", 0, self._offset, timestamp, CANARY.encode(), value, headers)

    def leave_gap(self) -> int:
        """Leave offsets without a record. Return the offset after them."""
        self._offset += self.chance.randint(1, 5)
        return self._offset + 1

    # ── uncommon records ─────────────────────────────────────────────────────────────────────────────────────────

    def changed(self) -> Event:
        """Change one to four members: give them any value, remove them, repeat them, or add unknown ones."""
        event = list(self.chance.choice(self.plain_events))
        for _ in range(self.chance.choice((1, 1, 1, 2, 3, 4))):
            self.chance.choice((self._set, self._set, self._set, self._drop, self._repeat, self._add))(event)
        return event

    def _set(self, event: Event) -> None:
        name = self.chance.choice(self._names)
        event[:] = [member for member in event if member[0] != json.dumps(name)]
        event.insert(self.chance.randint(0, len(event)), (json.dumps(name), self._value(self._types[name])))

    def _drop(self, event: Event) -> None:
        if event:  # the events of some kinds have few members
            event.pop(self.chance.randrange(len(event)))

    def _repeat(self, event: Event) -> None:
        if not event:
            return
        name, member = self.chance.choice(event)
        spelt = name if self.chance.random() < 0.7 else f'"\\u{ord(name[1]):04x}{name[2:]}'
        event.append((spelt, member if self.chance.random() < 0.3 else self._value()))

    def _add(self, event: Event) -> None:
        event.append((json.dumps(self.chance.choice(_UNKNOWN_MEMBERS)), self._value()))

    def _value(self, pg_type: str = "") -> str:
        return values.LONG_TEXT if self.chance.random() < 0.002 else values.value_for(pg_type, self.chance)

    def in_members(self) -> StoredRecord:
        """Return an object with uncommon members."""
        return self.record(encode(self.changed(), self.chance))

    def timeless(self) -> StoredRecord:
        """Return an event without a time and an id. If the kind allows it, both come from the record."""
        own = {
            json.dumps(name) for name in (self.kind.key, "id", "created_at", "acquired_at", "given_at", "verified_at")
        }
        left = [member for member in self.chance.choice(self.plain_events) if member[0] not in own]
        return self.record(encode(left))

    def in_bytes(self) -> StoredRecord:
        """Change, remove or insert bytes, cut the value off, or use another encoding."""
        raw = encode(self.changed() if self.chance.random() < 0.5 else self.chance.choice(self.plain_events))
        return self.record(self.chance.choice(_MANGLERS)(raw, self.chance))

    def random_bytes(self) -> StoredRecord:
        """Return no event at all."""
        size = self.chance.choice((0, 1, 2, 30, 400))
        alphabet = self.chance.choice((bytes(range(256)), b'{}[]:,"\\u0d8 \n1eE.-+tfn'))
        return self.record(bytes(self.chance.choices(alphabet, k=size)))

    def tombstone(self) -> StoredRecord:
        """Return a record without a value."""
        return self.record(None, self._headers() if self.chance.random() < 0.5 else ())

    def in_envelope(self) -> StoredRecord:
        """Return an event in a complete or incomplete envelope."""
        event = encode(self.changed() if self.chance.random() < 0.5 else self.chance.choice(self.plain_events))
        attributes = {name: text for name, text in self._attributes().items() if self.chance.random() > 0.05}
        way = self.chance.choice((self._binary, self._structured, self._structured_base64, self._stray_headers))
        return self.record(*way(event, attributes))

    def _attributes(self) -> Mapping[str, str]:
        types = (f"rag.{self.kind.name}",) * 4 + ("rag.other", CANARY, "", CONTROLS, "\ud800")
        return {
            "specversion": self.chance.choice(("1.0", "1.0", "1.0", "1.1", "0.3", CANARY)),
            "type": self.chance.choice(types),
            "source": self.chance.choice(("/s", "", CANARY + CONTROLS)),
            "id": self.chance.choice((str(self._offset // 3), "", CANARY + "\0")),
        }

    def _binary(self, event: bytes, attributes: Mapping[str, str]) -> tuple[bytes, Headers]:
        texts = [(f"ce_{name}", text.encode("utf-8", "surrogatepass")) for name, text in attributes.items()]
        return event, (*texts, *self._headers())

    def _structured(self, event: bytes, attributes: Mapping[str, str]) -> tuple[bytes, Headers]:
        head = json.dumps(dict(attributes)).encode()[1:-1]
        return b"{" + head + b', "data": ' + event + b"}", (self._content_type(),)

    def _structured_base64(self, event: bytes, attributes: Mapping[str, str]) -> tuple[bytes, Headers]:
        data = base64.b64encode(event).decode() + self.chance.choice(("", "", "!", "=", "\n"))
        return json.dumps({**attributes, "data_base64": data}).encode(), (self._content_type(),)

    def _stray_headers(self, event: bytes, _attributes: Mapping[str, str]) -> tuple[bytes, Headers]:
        return event, self._headers()

    def _content_type(self) -> tuple[str, bytes]:
        of = self.chance.choice(("content-type", "Content-Type"))
        return of, self.chance.choice((_STRUCTURED, _STRUCTURED, _STRUCTURED + b"; charset=x", _STRUCTURED.upper()))

    def _headers(self) -> Headers:
        count = self.chance.choice((0, 1, 1, 2, 5))
        return tuple((self.chance.choice(_HEADER_NAMES), self.chance.choice(_HEADER_VALUES)) for _ in range(count))


_TRICKY = {"timestamp", "jsonb", "integer"}
_STRUCTURED = b"application/cloudevents+json"
_HEADER_NAMES = ("", "x", "ce_", "ce_id", "CE_ID", "content-type", "ce_specversion", CANARY + CONTROLS, "a\0b", "größe")
_HEADER_VALUES = (None, b"", b"\xff\xfe", CANARY.encode(), CONTROLS.encode("utf-8"), b"1.0", b"text/plain", b"\0" * 9)


def encode(event: Event, chance: random.Random | None = None) -> bytes:
    """Return the JSON of an event; with `chance`, sometimes with white space or in another order."""
    separator, colon = ", ", ": "
    if chance is not None and chance.random() < 0.1:
        separator, colon = chance.choice(((" ,\n\t", " : "), (",", ":"), (",\r\n ", "\t:\t")))
        event = chance.sample(event, len(event))
    return ("{" + separator.join(f"{name}{colon}{member}" for name, member in event) + "}").encode(
        "utf-8", "surrogateescape"
    )


def _change(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw))
    piece = chance.choice((b"", b"\0", b'"', b"\\", b"\xff", b"\xc3", b"\xed\xa0\x80", b",", b"}", b"9", b"\n"))
    return raw[:at] + piece + raw[at + chance.choice((0, 1)) :]


def _break_off(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw))]


def _encode(raw: bytes, chance: random.Random) -> bytes:
    codec = chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le"))
    return raw.decode("utf-8", "ignore").encode(codec)


def _surround(raw: bytes, chance: random.Random) -> bytes:
    before, after = chance.choice((*_SURROUNDINGS, (b"", raw), (b"", b"\n" + raw)))
    return before + raw + after


def _frame(raw: bytes, chance: random.Random) -> bytes:
    return b"\0" + chance.choice((0, 7, 0x7B, 2**31)).to_bytes(chance.choice((4, 8)), "big") + raw


def _wrap(raw: bytes, chance: random.Random) -> bytes:
    text = raw.decode("utf-8", "ignore")
    attributes = b'{"specversion": "1.0", "type": "rag.dialogue", "source": "/s", "id": "1", "data": '
    connect = b'{"schema": null, "payload": '
    return chance.choice((json.dumps(text).encode(), connect + raw + b"}", attributes + raw + b"}"))


_SURROUNDINGS = ((b" ", b"\n"), (b"[", b"]"), (b"", b"}"), (b"/**/", b""), (b'"', b'"'), (b"\xef\xbb\xbf", b""))
_MANGLERS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    *(_change, _change, _break_off, _encode),
    *(_surround, _frame, _wrap),
)
_WAYS: Sequence[Callable[[Hostile], StoredRecord]] = (
    Hostile.in_members,
    Hostile.timeless,
    Hostile.in_bytes,
    Hostile.in_envelope,
    Hostile.random_bytes,
    Hostile.tombstone,
)
_WEIGHTS = (60, 6, 14, 14, 5, 1)
