"""Runs the peers: other programs that write dialogues from Kafka to PostgreSQL, tuned as their manuals advise.

The first use of a peer downloads or builds its files into the user's cache; the repository contains none of them. If
that is not possible, the peer does not take part, and the results contain the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench import topics
from bench.dataset import Rows
from bench.events import Event
from bench.peers import bento, bento_build, connect, connect_jars, flat
from bench.peers.missing import Missing
from bench.rounds import Contestant
from bench.servers import Servers
from consumer.devstack.jars import cache_directory

Found = tuple[list[Contestant], dict[str, str]]


def find(
    servers: Servers, rows: Sequence[Rows], events: Callable[[], Iterable[Event]], progress: Callable[[str], None]
) -> Found:
    """Return the peers that can take part, and the reason for each peer that cannot."""
    topics.create(servers.kafka.bootstrap_servers, [flat.TOPIC])
    flat.publish(servers, (event for event in events() if event.kind == "dialogue"))
    contestants: list[Contestant] = []
    skipped: dict[str, str] = {}
    for name, find_one in (("Debezium JDBC sink", _connect), ("Bento", _bento)):
        progress(f"preparing {name} (takes minutes the first time)")
        try:
            contestants += find_one(servers, rows)
        except Missing as missing:
            skipped[name] = str(missing)
    return contestants, skipped


def _connect(servers: Servers, rows: Sequence[Rows]) -> list[Contestant]:
    classpath = connect_jars.classpath(cache_directory())
    return [connect.Connect(servers, rows, classpath, variant) for variant in connect.VARIANTS]


def _bento(servers: Servers, rows: Sequence[Rows]) -> list[Contestant]:
    return [bento.Bento(servers, rows, bento_build.program(cache_directory()))]
