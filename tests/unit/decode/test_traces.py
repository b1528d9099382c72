"""Tests judging many traces at once."""

import random
from uuid import UUID

from consumer.decode.traces import TraceDialogue, judge
from consumer.events.otlp.fold import Skipped
from consumer.events.otlp.kinds import Signal
from consumer.events.otlp.trace import Stored
from consumer.events.rejection import Rejected
from tests.support.otlp import FOLDING, chat, record, span, staged, traced


def test_each_trace_has_the_result_that_it_has_alone() -> None:
    """The steps are done for many traces before the next step. Traces that end early, or cannot be read, change nothing
    for the others.
    """
    chance = random.Random(3)
    spans = [span for _ in range(120) for span in traced(chance)[1]]
    spans += [span(UUID(int=number), 1, {"gen_ai.operation.name": "embeddings"}) for number in range(1, 20)]
    spans += [span(UUID(int=number), 1, chat("whose?", "nobody's")) for number in range(20, 40)]
    traces = {**staged([(Signal.SPANS, record(*spans))]), UUID(int=99): [Stored(False, b"", b"\xff")]}
    order = list(traces)
    chance.shuffle(order)
    together = judge(FOLDING, "otlp_spans", {trace: traces[trace] for trace in order})
    assert list(together) == order
    for trace, result in together.items():
        assert str(result) == str(judge(FOLDING, "otlp_spans", {trace: traces[trace]})[trace])
    found = [type(result) for result in together.values()]
    assert [found.count(kind) for kind in (TraceDialogue, Skipped, Rejected)] == [120, 19, 21]
