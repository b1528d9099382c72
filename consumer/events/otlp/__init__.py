"""Reads OpenTelemetry traces and log events from the Collector's Kafka exporter, which writes many spans per record.

wire      decodes the bytes of a record, protobuf or JSON, to OTLP messages
mapping   maps the attributes of every supported instrumentation to fields
roles     determines the role of a span (model call, retrieval, …) and whether it contributes to a dialogue
content   reads messages and texts in every form that instrumentations write
trace     builds a trace from its spans, in any order of arrival
fold      folds one trace into one dialogue, or gives the reason why there is none
"""
