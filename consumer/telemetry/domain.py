"""Metrics of the content of events: dialogues, tokens, cost, feedback, provenance. They count committed rows only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from consumer.decode.rows import Row
from consumer.events.amendments import FEEDBACK
from consumer.events.costs import CostSource
from consumer.events.dialogue import DIALOGUE, DialogueFacts
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.telemetry import metrics as m

MAX_MODELS = 100
OTHER = "other"
_STATED = {True: CostSource.STATED}


class DomainMetrics:
    """Counts the rows of one batch at a time, column by column."""

    def __init__(self, metrics: m.Metrics) -> None:
        self._metrics = metrics
        self._models: set[str] = set()
        self._dialogue = cache(lambda model: _DialogueMetrics(metrics, model))
        self._count_kind: Mapping[str, Callable[[Sequence[Row]], None]] = {
            DIALOGUE.name: self._count_dialogues,
            PROVENANCE.name: self._count_provenance,
            FEEDBACK.name: self._count_feedback,
        }
        for verdict in m.FEEDBACK.values():
            metrics.counter(m.FEEDBACK_GIVEN, verdict)
        for source in CostSource:
            metrics.counter(m.COSTS, source.value)

    def count(self, kind: Kind, rows: Sequence[Row]) -> None:
        """Count the committed rows of one kind."""
        count = self._count_kind.get(kind.name)
        if count and rows:
            count(rows)

    def _count_dialogues(self, rows: Sequence[Row]) -> None:
        by_model: dict[str, list[tuple[Any, ...]]] = {}
        for row in rows:
            by_model.setdefault(row.facts[0], []).append(row.facts)
        for model, facts in by_model.items():
            columns = DialogueFacts(*zip(*facts, strict=True))
            self._dialogue(self._model_label(model)).count(columns)
            self._count_verdicts(columns.feedback)
        self._count_costs(rows)

    def _count_costs(self, rows: Sequence[Row]) -> None:
        """Count costs by source. If a row has no note, its cost is the one that the event states."""
        sources = Counter(row.note.source if row.note else _STATED.get(row.facts[5] is not None) for row in rows)
        for source, count in sources.items():
            if source:
                self._metrics.counter(m.COSTS, source.value).inc(count)

    def _count_feedback(self, rows: Sequence[Row]) -> None:
        self._count_verdicts([row.facts[0] for row in rows])

    def _count_verdicts(self, verdicts: Sequence[int | None]) -> None:
        for verdict, count in Counter(verdicts).items():
            if verdict is not None:
                self._metrics.counter(m.FEEDBACK_GIVEN, m.FEEDBACK[verdict]).inc(count)

    def _model_label(self, model: str) -> str:
        """Return the model's name, or `other` above a limit: a hostile producer must not flood Prometheus."""
        if model in self._models:
            return model
        if len(self._models) >= MAX_MODELS:
            return OTHER
        self._models.add(model)
        return model

    def _count_provenance(self, rows: Sequence[Row]) -> None:
        for facts, count in Counter(row.facts for row in rows).items():
            self._metrics.counter(m.PROVENANCE, *facts).inc(count)


class _DialogueMetrics:
    """The metrics of one model, looked up once."""

    def __init__(self, metrics: m.Metrics, model: str) -> None:
        self._dialogues = {
            True: metrics.counter(m.DIALOGUES, model, "true"),
            False: metrics.counter(m.DIALOGUES, model, "false"),
        }
        self._citations = metrics.counter(m.CITATIONS, model)
        self._latency = metrics.histogram(m.DIALOGUE_LATENCY, model)
        self._tokens = [metrics.counter(m.TOKENS, model, kind) for kind in m.TOKEN_TYPES]
        self._priced = metrics.counter(m.PRICED, model)
        self._cost = metrics.counter(m.COST, model)

    def count(self, columns: DialogueFacts) -> None:
        """Count dialogues that are given as columns."""
        cited = sum(map(bool, columns.citations))
        self._dialogues[True].inc(cited)
        self._dialogues[False].inc(len(columns.model) - cited)
        self._citations.inc(sum(filter(None, columns.citations)))
        self._tokens[0].inc(sum(filter(None, columns.prompt_tokens)))
        self._tokens[1].inc(sum(filter(None, columns.completion_tokens)))
        costs = [cost for cost in columns.cost_jpy if cost is not None]
        self._priced.inc(len(costs))
        self._cost.inc(float(sum(costs)))
        self._latency.observe(*(latency / 1000 for latency in columns.latency_ms if latency is not None))
