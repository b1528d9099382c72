"""Declares a kind of event, and decodes a record by its declaration: the exact lane.

The declaration is a TypedDict whose members are annotated with the fields of :mod:`consumer.events.fields`. The member
names are the column names, in column order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from decimal import Decimal
from functools import cache, cached_property
from typing import Annotated, Any, NamedTuple, Required, cast, get_origin, get_type_hints
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from consumer.events import identity, timestamps
from consumer.events.costs import CostError, CostNote, Pricing, Usage
from consumer.events.envelope import open_envelope
from consumer.events.fields import Field, KeyedId
from consumer.events.payload import parse, raw_members
from consumer.events.record import Record
from consumer.events.rejection import Fault, Reason, Rejected
from consumer.events.wrappers import wrapper_of

Values = dict[str, Any]


class Event(NamedTuple):
    """One decoded event.

    :param values: the value of every column that the event fills; JSON columns have the original bytes
    :param facts: the values that the metrics need
    :param unknown_fields: the number of members that are not fields of the kind
    :param note: the origin of the cost; None if the event needs no note
    """

    values: Values
    facts: tuple[Any, ...]
    unknown_fields: int
    note: CostNote | None = None


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of event.

    :param name: the word for the kind in its topic, its settings and its CloudEvents type
    :param table: the table that its events insert into or amend
    :param model: the TypedDict that declares its fields
    :param facts: the fields that the metrics need; an array is represented by its length
    :param clock_field: the field that defaults to the record's timestamp, or None
    :param key: the field that identifies the row; an event without `id` gets one
    :param amends: whether an event changes an existing or later row instead of becoming one
    :param sums: fields that, if absent, are the sum of two others; both must be present
    :param subject_field: the field that names the person whom the event is about, or None
    :param beside: fields that are not columns of the table
    :param pricing: settles the cost of events; None if the kind has no cost
    """

    name: str
    table: str
    model: Any
    facts: tuple[str, ...]
    clock_field: str | None = None
    key: str = "id"
    amends: bool = False
    sums: Mapping[str, tuple[str, str]] = dataclass_field(default_factory=dict)
    subject_field: str | None = None
    beside: frozenset[str] = frozenset()
    pricing: Pricing | None = None

    def under(self, namespace: UUID | None, pricing: Pricing | None = None) -> Kind:
        """Return this kind with other prices, and with a namespace that converts string ids to UUIDs.

        None leaves the prices or the ids unchanged.
        """
        return _under(self, namespace, pricing if self.pricing else None)

    @cached_property
    def adapter(self) -> TypeAdapter[Values]:
        """The validator of this kind."""
        return TypeAdapter(self.model)

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        # Not __required_keys__, which cannot evaluate annotations that are strings.
        return get_type_hints(self.model, include_extras=True)

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """Every field by name, in column order."""
        return {name: _field(hint) for name, hint in self._hints.items()}

    @cached_property
    def columns(self) -> Mapping[str, Field]:
        """Every field that is a column, in column order."""
        return {name: field for name, field in self.fields.items() if name not in self.beside}

    @cached_property
    def required(self) -> frozenset[str]:
        """The names of the required fields."""
        return frozenset(name for name, hint in self._hints.items() if get_origin(hint) is Required)

    @cached_property
    def requires_subject(self) -> bool:
        """Whether every event must name the person whom it is about."""
        return self.subject_field in self.required

    @cached_property
    def json_fields(self) -> tuple[str, ...]:
        """The names of the fields whose JSON is stored unchanged."""
        return tuple(name for name, field in self.columns.items() if field.pg_type == "jsonb")

    def decode(self, record: Record) -> Event:
        """Decode one record exactly.

        :raises Rejected: the record cannot be stored; it becomes a dead letter
        """
        payload, origin = open_envelope(record, self.name)
        members = parse(payload)
        values = self._validate_unwrapped(members, record)
        self._fall_back_to_record_time(values, record)
        self._sum_up(values)
        if self.key not in values:
            values[self.key] = identity_of(origin, record)
        note = self._settle_cost(values)
        facts = tuple(_fact(values.get(name)) for name in self.facts)
        self._keep_json(payload, values)
        return Event(values, facts, len(members.keys() - self.fields.keys()), note)

    def validate(self, members: Mapping[str, Any]) -> Values:
        """Validate an object's members with the declaration. A null counts as absent.

        :raises Rejected: the members are invalid; the error lists every fault with its path
        """
        known = {name: member for name, member in members.items() if member is not None}
        try:
            return dict(self.adapter.validate_python(known))
        except ValidationError as error:
            raise _rejection(error) from None

    def _validate_unwrapped(self, members: Mapping[str, Any], record: Record) -> Values:
        """Like :meth:`validate`. For a known wrapper, the error names the wrapper instead of the missing fields."""
        try:
            return self.validate(members)
        except Rejected:
            if any(members.get(name) is not None for name in self.required):
                raise
            wrapper = wrapper_of(members, record, self.required)
            if wrapper is None:
                raise
            raise wrapper from None

    def _keep_json(self, payload: bytes, values: Values) -> None:
        present = tuple(name for name in self.json_fields if name in values)
        if present:
            values.update(raw_members(payload, present))

    def _sum_up(self, values: Values) -> None:
        for name, (first, second) in self.sums.items():
            if name not in values and first in values and second in values:
                try:
                    values[name] = self.fields[name].parse(Decimal(values[first] + values[second]))
                except PydanticCustomError as error:
                    problem = f"the sum of {first} and {second} {error.message()}"
                    raise Rejected(Reason.INVALID_FIELD, [Fault(name, problem)]) from None

    def _settle_cost(self, values: Values) -> CostNote | None:
        if self.pricing is None:
            return None
        try:
            jpy, note = self.pricing.settle(_usage(values))
        except CostError as error:
            raise Rejected(Reason.INVALID_FIELD, [Fault(error.path, str(error))]) from None
        if jpy is not None:
            values["token_cost_jpy"] = jpy
        return note

    def _fall_back_to_record_time(self, values: Values, record: Record) -> None:
        if self.clock_field is None or self.clock_field in values:
            return
        if record.timestamp < 0:
            problem = "missing, and the record has no timestamp to replace it"
            raise Rejected(Reason.MISSING_FIELD, [Fault(self.clock_field, problem)])
        try:
            values[self.clock_field] = timestamps.from_milliseconds(record.timestamp)
        except ValueError as error:
            raise Rejected(Reason.INVALID_FIELD, [Fault(self.clock_field, str(error))]) from None


def identity_of(origin: tuple[str, str] | None, record: Record) -> UUID:
    """Return the id of an event without one."""
    return identity.from_cloudevent(*origin) if origin else identity.from_record(record)


def _usage(values: Values) -> Usage:
    return Usage(
        values["model_used"],
        values["created_at"],
        values.get("token_cost_jpy"),
        values.get("cost"),
        values.get("prompt_tokens"),
        values.get("completion_tokens"),
        values.get("cached_tokens"),
    )


def _fact(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value


def _field(hint: Any) -> Field:
    """Return the Field inside Required[Annotated[…]] or NotRequired[Annotated[…]]."""
    while not hasattr(hint, "__metadata__"):
        hint = hint.__args__[0]
    field: Field = hint.__metadata__[0]
    return field


@cache
def _under(kind: Kind, namespace: UUID | None, pricing: Pricing | None) -> Kind:
    if pricing is not None:
        return replace(_under(kind, namespace, None), pricing=pricing)
    if namespace is None or not any(isinstance(field, KeyedId) for field in kind.fields.values()):
        return kind
    hints = get_type_hints(kind.model, include_extras=True)
    hints = {name: _with_namespace(hint, namespace) for name, hint in hints.items()}
    model = cast(Any, TypedDict)(kind.model.__name__, hints)
    model.__doc__ = kind.model.__doc__
    return replace(kind, model=model)


def _with_namespace(hint: Any, namespace: UUID) -> Any:
    field = _field(hint)
    if not isinstance(field, KeyedId):
        return hint
    return get_origin(hint)[Annotated[UUID, replace(field, namespace=namespace)]]


_PROBLEMS = {"missing": "required, but missing", "dict_type": "must be an object", "list_type": "must be an array"}
_REASONS = {"missing": Reason.MISSING_FIELD, "nul_character": Reason.NUL_CHARACTER}


def _rejection(error: ValidationError) -> Rejected:
    """Return the error with all faults. The reason is that of the first fault."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    reason = _REASONS.get(problems[0]["type"], Reason.INVALID_FIELD)
    return Rejected(reason, [_fault(problem) for problem in problems])


def _fault(problem: Mapping[str, Any]) -> Fault:
    return Fault(path_text(problem["loc"]), _PROBLEMS.get(problem["type"], problem["msg"]))


def path_text(location: tuple[int | str, ...]) -> str:
    """Return a pydantic location as a path: ("citations", 2, "source") becomes citations[2].source."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(parts).removeprefix(".")
