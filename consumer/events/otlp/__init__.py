"""OpenTelemetry traces and log events, as the Collector's Kafka exporter writes them: many spans in each record.

wire      the record's bytes to OTLP messages, protobuf or JSON
mapping   which attribute says what, for every instrumentation that is understood
roles     what a span is: a model call, a retrieval, …; whether it says anything about a dialogue
content   messages and texts, in whichever form an instrumentation writes them
trace     the spans of one trace, whatever order they came in
fold      one trace to one dialogue, or why there is none
"""
