"""Checks topics, their retention, rights, open transactions, and the number of replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from consumer.admin.doctor.findings import Finding, error, fine, note, warning
from consumer.events.record import Partition
from consumer.ingest.ports import Bounds, Refusal
from consumer.kafka.admin import KafkaFacts, Topic
from consumer.kafka.producers import OpenTransaction
from consumer.settings.model import Settings
from consumer.settings.servers import Kafka, SecurityProtocol

HOUR_MS = 3_600_000
# A weekend: an outage that begins on Friday evening may be fixed on Monday.
LONGEST_OUTAGE_HOURS = 72
COPIES = 3
# The default limit of a producer's transaction.
LONG_TRANSACTION_SECONDS = 60
_LOOPBACK = ("localhost", "127.", "[::1]")


def unreachable(problem: str) -> Finding:
    """Return the finding for brokers that do not answer."""
    fix = "start the brokers, or correct RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS and the other Kafka settings"
    return error("kafka", problem, fix)


def check_topics(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    """Check everything about the brokers that needs no database."""
    servers = settings.kafka.bootstrap_servers
    yield fine("kafka", f"{servers} answers")
    yield from _security(settings.kafka)
    denied = {refusal.name: refusal for refusal in facts.refusals if refusal.resource == "topic"}
    for name in settings.topics.named.values():
        yield from _named(name, settings, facts, denied)
    yield from (_refused(refusal) for refusal in facts.refusals if refusal.resource != "topic")
    yield from _strangers(settings, facts)
    read = {name: topic for name, topic in facts.topics.items() if name in settings.topics.consumed}
    yield _replicas(replace(facts, topics=read), settings.kafka.group_id)


def _named(name: str, settings: Settings, facts: KafkaFacts, denied: Mapping[str, Refusal]) -> Iterator[Finding]:
    topic = facts.topics.get(name)
    if topic:
        yield from _topic(name, topic, settings.kafka.bootstrap_servers)
    if name in denied and name in settings.topics.consumed:
        yield _refused(denied[name])
    elif not topic:
        yield _missing(name, settings, facts.brokers)


def _refused(refusal: Refusal) -> Finding:
    return error(f"{refusal.resource} {refusal.name}", refusal.problem, refusal.fix)


def _strangers(settings: Settings, facts: KafkaFacts) -> Iterator[Finding]:
    """Report group members that are not ragledger. A member of the classic protocol may be a renamed replica."""
    fix = "stop them or give them another group id; or RAGLEDGER_KAFKA__GROUP_ID=<a group for ragledger alone>"
    for stranger in facts.strangers:
        found = f"a member of the group is not a ragledger replica, so its partitions are not written: {stranger}"
        yield (warning if stranger.is_classic else error)(f"group {settings.kafka.group_id}", found, fix)


def check_leaders(settings: Settings, unanswered: Mapping[Partition, str]) -> Iterator[Finding]:
    """Report partitions without an available leader."""
    fix = (
        "start the brokers that hold its copies: "
        f"kafka-topics.sh --bootstrap-server {settings.kafka.bootstrap_servers} --describe --unavailable-partitions"
    )
    for partition, why in sorted(unanswered.items()):
        if partition.topic in settings.topics.consumed:
            yield error(f"topic {partition.topic}", f"{partition} cannot be read: {why}", fix)


def check_transactions(
    settings: Settings, bounds: Mapping[Partition, Bounds], found: Mapping[Partition, OpenTransaction], now: float
) -> Iterator[Finding]:
    """Report records that wait behind an open transaction.

    :param now: seconds since 1970
    """
    for partition, held in sorted(bounds.items()):
        if held.held_back and partition.topic in settings.topics.consumed:
            yield _held_back(partition, held, found.get(partition), settings.kafka.bootstrap_servers, now)


def _held_back(
    partition: Partition, held: Bounds, transaction: OpenTransaction | None, servers: str, now: float
) -> Finding:
    check, found = (
        f"topic {partition.topic}",
        f"{held.held_back} records of {partition} wait behind an open transaction",
    )
    tool = f"kafka-transactions.sh --bootstrap-server {servers}"
    place = f"--topic {partition.topic} --partition {partition.partition}"
    inspect = f"{tool} describe-producers {place}"
    if transaction is None:
        return warning(check, found, inspect)
    age = now - transaction.written_at / 1000
    found += (
        f" of producer {transaction.producer_id}: it began at offset {transaction.start}, last write {age:.0f} s ago"
    )
    abort = f"{tool} abort {place} --start-offset {transaction.start}"
    fix = f"let the producer commit or abort it; only if the producer is gone for good, drop its records: {abort}"
    return note(check, found, inspect) if age < LONG_TRANSACTION_SECONDS else error(check, found, fix)


def _security(kafka: Kafka) -> Iterator[Finding]:
    hosts = [server.strip() for server in kafka.bootstrap_servers.split(",")]
    in_the_clear = kafka.security_protocol in (SecurityProtocol.PLAINTEXT, SecurityProtocol.SASL_PLAINTEXT)
    if in_the_clear and not all(host.startswith(_LOOPBACK) for host in hosts):
        fix = (
            "RAGLEDGER_KAFKA__SECURITY_PROTOCOL=SASL_SSL, and RAGLEDGER_KAFKA__SSL_CAFILE for an authority of your own"
        )
        yield warning("kafka tls", f"records are sent unencrypted ({kafka.security_protocol})", fix)


def _missing(name: str, settings: Settings, brokers: int) -> Finding:
    servers, copies = settings.kafka.bootstrap_servers, min(brokers, COPIES)
    command = f"kafka-topics.sh --bootstrap-server {servers} --create --topic {name} --partitions 6"
    fix = f"{command} --replication-factor {copies}"
    if name == settings.topics.expired and settings.retention.interval_s is None:
        return note(f"topic {name}", "the topic is missing: only `ragledger retention run` needs it", fix)
    return error(f"topic {name}", "the topic is missing", fix)


def _topic(name: str, topic: Topic, servers: str) -> Iterator[Finding]:
    check = f"topic {name}"
    change = (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {name} --add-config"
    )
    problems = []
    if topic.retention_ms is None:
        yield note(check, "its retention is unknown: this user may not describe the topic")
    elif 0 <= topic.retention_ms < LONGEST_OUTAGE_HOURS * HOUR_MS:
        kept = f"{topic.retention_ms / HOUR_MS:.1f} hours"
        problems.append((f"records are deleted after {kept}: a longer outage loses some", "retention.ms=604800000"))
    if topic.cleanup and "compact" in topic.cleanup:
        problems.append(("compaction may remove records before they are read", "cleanup.policy=delete"))
    yield from (warning(check, found, f"{change} {setting}") for found, setting in problems)
    if topic.replicas < 2:
        yield note(check, "each partition has one copy: a lost disk loses the records that were not read yet")
    if not problems:
        yield fine(check, f"{topic.partitions} partitions")


def _replicas(facts: KafkaFacts, group: str) -> Finding:
    partitions = sum(topic.partitions for topic in facts.topics.values())
    if facts.members is None:
        return note("replicas", f"the members of group {group} are not known")
    others = f", which other programs ({len(facts.strangers)}) share" if facts.strangers else ""
    found = f"{facts.members - len(facts.strangers)} replicas for {partitions} partitions{others}"
    if facts.members > partitions:
        return warning("replicas", f"{found}: some are idle", "stop some, or give the topics more partitions")
    if facts.members == len(facts.strangers):
        return note("replicas", f"no replica of group {group} is running", "ragledger run")
    return fine("replicas", found)
