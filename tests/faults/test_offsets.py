"""Tests offsets that no longer exist: the partition stops and reports it, and a decision keeps the ledger correct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.faults.audit import Place, read_committed
from tests.faults.conftest import Stage
from tests.faults.lab import Lab, delete_topics, make_topics
from tests.faults.scene import Scene
from tests.faults.test_records import records
from tests.support.ingestion import log_lines
from tests.support.service import eventually

pytestmark = pytest.mark.timeout(300)

BACKLOG = 900  # records that arrive while no replica runs
GONE = 20  # of one partition, deleted before they were read


def test_retention_deletes_unread_records(lab: Lab, stage: Stage) -> None:
    """Records are deleted before they are read: their partition stops, the others continue; after a decision it
    continues too.
    """
    with stage("retention deletes records before they are read", lab) as scene:
        build_up_backlog(scene)
        before = read_committed(lab.bootstrap_servers, scene.environment.topics)
        place = delete_unread(scene)
        start_all(scene)
        wait_until_stopped(scene, [place])
        decision = resume(scene, place)
        assert (decision["to_offset"], decision["skipped"], decision["begins_anew"]) == (place.offset, GONE, False)
        wait_until_none_stopped(scene)
        scene.happened["retention deleted unread records"] += 1
        unread = {one for one in before if one[:2] == place[:2] and place.offset - GONE <= one.offset < place.offset}
        scene.held = Counter(sent for one, sent in before.items() if one not in unread)


def build_up_backlog(scene: Scene) -> None:
    """Publish records while no replica runs."""
    for replica in scene.fleet.replicas:
        assert replica.stop() == 0
    wanted = scene.traffic.count + BACKLOG
    eventually(lambda: scene.traffic.count >= wanted, message="a backlog has arrived")
    scene.traffic.stop()


def delete_unread(scene: Scene) -> Place:
    """Delete some unread records of one partition. Return its new first offset."""
    topic = scene.environment.topics["dialogue"]
    [line] = scene.environment.query("SELECT next_offset FROM ingest_ledger WHERE topic = %s AND partition = 0", topic)
    place = Place(topic, 0, line["next_offset"] + GONE)
    admin = AdminClient({"bootstrap.servers": scene.lab.bootstrap_servers})
    for deletion in admin.delete_records([TopicPartition(*place)]).values():
        deletion.result(30)
    return place


def start_all(scene: Scene) -> None:
    """Start all replicas after their predecessors have ended."""
    for replica in scene.fleet.replicas:
        replica.start()


def wait_until_stopped(scene: Scene, places: list[Place]) -> None:
    """Wait until the stop is logged and shown by a metric; these partitions are not written, and the others catch
    up.
    """
    wanted = {f"{place.topic}/{place.partition}" for place in places}
    eventually(lambda: stopped(scene) >= wanted, message=f"{wanted} have stopped")
    assert stopped_now(scene) == len(places)
    before = offsets(scene)
    others = {place: offset for place, offset in before.items() if f"{place[0]}/{place[1]}" not in wanted}
    assert others, "there are other partitions"
    for place in places:
        assert before[place[:2]] == offsets(scene)[place[:2]]


def stopped(scene: Scene) -> set[str]:
    """Return the partitions that the replicas report as stopped."""
    lines = [line for replica in scene.fleet.replicas for line in log_lines(replica.log, "partition_stopped")]
    return {line["partition"] for line in lines}


def stopped_now(scene: Scene) -> float:
    """Return how many partitions the replicas show as stopped."""
    return sum(replica.service.metric("rag_stopped_partitions") for replica in scene.fleet.replicas)


def resume(scene: Scene, place: Place) -> Mapping[str, Any]:
    """Decide, as a person would, that the partition continues at its first offset; replicas run on."""
    where = ("--topic", place.topic, "--partition", str(place.partition), "--from", "earliest")
    decision: Mapping[str, Any] = scene.environment.run_json("ledger", "resume", *where)
    return decision


def wait_until_none_stopped(scene: Scene) -> None:
    """Wait until the replicas have noticed the decision."""
    eventually(lambda: stopped_now(scene) == 0, message="the decision is noticed")
    scene.fleet.wait_ready()


def offsets(scene: Scene) -> dict[tuple[str, int], int]:
    """Return the offsets of the ledger."""
    lines = scene.environment.query("SELECT topic, partition, next_offset FROM ingest_ledger")
    return {(line["topic"], line["partition"]): line["next_offset"] for line in lines}


def test_a_recreated_topic(lab: Lab, stage: Stage) -> None:
    """It is deleted and created again with the same name and fewer records. No new record is mistaken for an earlier
    one.
    """
    with stage("topic deleted and recreated", lab, partitions=2) as scene:
        scene.observer.wait_for_more(BACKLOG)
        scene.traffic.stop()
        scene.environment.assert_caught_up()
        old = Counter(read_committed(lab.bootstrap_servers, scene.environment.topics).values())
        for replica in scene.fleet.replicas:
            assert replica.stop() == 0
        topic = scene.environment.topics["dialogue"]
        recreate(lab, topic)
        scene.traffic.send(record for record in records(scene.seed, 40) if record.sent.kind == "dialogue")
        start_all(scene)
        places = [Place(topic, number, 0) for number in range(2)]
        wait_until_stopped(scene, places)
        assert all(resume(scene, place)["begins_anew"] for place in places)
        wait_until_none_stopped(scene)
        new = read_committed(lab.bootstrap_servers, {"dialogue": topic})
        scene.held = old + Counter(new.values())
        scene.happened["topic recreated"] += 1


def recreate(lab: Lab, topic: str) -> None:
    """Delete the topic, wait until it is gone, and create it again."""
    admin = AdminClient({"bootstrap.servers": lab.bootstrap_servers})
    delete_topics(admin, [topic])
    eventually(lambda: topic not in admin.list_topics(timeout=30).topics, message="the topic is gone")
    make_topics(admin, [topic], 2)
