"""Topics, their retention, and whether there are partitions for every replica."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from consumer.adapters.kafka_admin import KafkaFacts, Topic
from consumer.operations.doctor.findings import Finding, error, fine, note, warning
from consumer.settings import Kafka, SecurityProtocol, Settings

HOUR_MS = 3_600_000
# A weekend: an outage that begins on Friday evening is mended on Monday.
LONGEST_OUTAGE_HOURS = 72
COPIES = 3
_LOOPBACK = ("localhost", "127.", "[::1]")


def unreachable(problem: str) -> Finding:
    """No broker answers."""
    fix = "start the brokers, or mend RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS and the settings beside it"
    return error("kafka", problem, fix)


def look_at_topics(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    """Everything about the brokers that the database need not be asked for."""
    servers = settings.kafka.bootstrap_servers
    yield fine("kafka", f"{servers} answers")
    yield from _security(settings.kafka)
    for name in settings.topics.model_dump().values():
        topic = facts.topics.get(name)
        yield from _topic(name, topic, servers) if topic else [_missing(name, settings, facts.brokers)]
    read = {name: topic for name, topic in facts.topics.items() if name in settings.topics.consumed}
    yield _replicas(replace(facts, topics=read), settings.kafka.group_id)


def _security(kafka: Kafka) -> Iterator[Finding]:
    hosts = [server.strip() for server in kafka.bootstrap_servers.split(",")]
    in_the_clear = kafka.security_protocol in (SecurityProtocol.PLAINTEXT, SecurityProtocol.SASL_PLAINTEXT)
    if in_the_clear and not all(host.startswith(_LOOPBACK) for host in hosts):
        fix = (
            "RAGLEDGER_KAFKA__SECURITY_PROTOCOL=SASL_SSL, with RAGLEDGER_KAFKA__SSL_CAFILE where the authority is yours"
        )
        yield warning("kafka tls", f"records travel unencrypted ({kafka.security_protocol})", fix)


def _missing(name: str, settings: Settings, brokers: int) -> Finding:
    servers, copies = settings.kafka.bootstrap_servers, min(brokers, COPIES)
    command = f"kafka-topics.sh --bootstrap-server {servers} --create --topic {name} --partitions 6"
    fix = f"{command} --replication-factor {copies}"
    if name == settings.topics.expired and settings.retention.interval_s is None:
        return note(f"topic {name}", "there is no such topic: only `ragledger retention run` needs it", fix)
    return error(f"topic {name}", "there is no such topic", fix)


def _topic(name: str, topic: Topic, servers: str) -> Iterator[Finding]:
    check = f"topic {name}"
    change = (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {name} --add-config"
    )
    problems = []
    if topic.retention_ms is None:
        yield note(check, "its retention is not known: this user may not describe it")
    elif 0 <= topic.retention_ms < LONGEST_OUTAGE_HOURS * HOUR_MS:
        kept = f"{topic.retention_ms / HOUR_MS:.1f} hours"
        problems.append((f"records are deleted after {kept}: no outage may last longer", "retention.ms=604800000"))
    if topic.cleanup and "compact" in topic.cleanup:
        problems.append(("records may be compacted away before they are read", "cleanup.policy=delete"))
    yield from (warning(check, found, f"{change} {setting}") for found, setting in problems)
    if topic.replicas < 2:
        yield note(check, "one copy of each partition: a lost disk loses what was not read yet")
    if not problems:
        yield fine(check, f"{topic.partitions} partitions")


def _replicas(facts: KafkaFacts, group: str) -> Finding:
    partitions = sum(topic.partitions for topic in facts.topics.values())
    if facts.members is None:
        return note("replicas", f"the members of group {group} are not known")
    found = f"{facts.members} replicas for {partitions} partitions"
    if facts.members == 0:
        return note("replicas", f"no replica of group {group} is running", "ragledger run")
    if facts.members > partitions:
        return warning("replicas", f"{found}: some have nothing to do", "stop some, or give the topics more partitions")
    return fine("replicas", found)
