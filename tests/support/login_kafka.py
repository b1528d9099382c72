"""A Kafka with a listener for each way to log in (passwords, tokens, certificates), and an open one for the tests."""

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from consumer.devstack.kafka import JVM_OPTIONS, KafkaNode
from consumer.devstack.server import free_ports
from consumer.devstack.workspace import Workspace
from tests.support.certificates import Authority
from tests.support.stack import QUICK_RESTART, REQUEST_TIMEOUT_S
from tests.support.token_endpoint import AUDIENCE, TokenEndpoint

SESSION_MS = 4000
"""A broker ends the connection of a client that has not logged in again for so long (KIP-368)."""
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
OAUTH = "org.apache.kafka.common.security.oauthbearer"


class LoginKafka:
    """One broker with a listener for each way to log in.

    `plain` are the users of SASL PLAIN and their passwords.
    """

    def __init__(
        self, workspace: Workspace, endpoint: TokenEndpoint, authority: Authority, plain: Mapping[str, str]
    ) -> None:
        broker, controller, self._sasl, self._oauth, self._tls = free_ports(5)
        self.certificate = workspace.directory / "broker.pem"
        self.authorities = workspace.directory / "authorities.pem"
        self.sign(authority)
        properties = {
            **QUICK_RESTART,
            **self._listeners(broker, controller),
            **_passwords(plain),
            **_tokens(endpoint),
            **self._certificates(),
        }
        options = [*JVM_OPTIONS, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={endpoint.keys_url}"]
        self.node = KafkaNode(workspace, ports=(broker, controller), properties=properties, jvm_options=options)
        self.node.start()
        self._admin = AdminClient({"bootstrap.servers": self.node.bootstrap_servers})

    @property
    def open_servers(self) -> str:
        """Addresses of the listener without login and encryption."""
        return self.node.bootstrap_servers

    @property
    def sasl_servers(self) -> str:
        """Addresses for passwords: PLAIN and SCRAM."""
        return f"127.0.0.1:{self._sasl}"

    @property
    def oauth_servers(self) -> str:
        """Addresses for tokens."""
        return f"127.0.0.1:{self._oauth}"

    @property
    def tls_servers(self) -> str:
        """Addresses for certificates."""
        return f"127.0.0.1:{self._tls}"

    def sign(self, authority: Authority) -> None:
        """Let this authority sign the broker's certificate, and trust the authority; this applies from the next start
        on.
        """
        certificate, key = authority.issue("broker", "IP:127.0.0.1")
        self.certificate.write_text(key.read_text() + certificate.read_text())
        self.authorities.write_text(authority.certificate.read_text())

    def set_scram(self, user: str, password: str) -> None:
        """Set the password of a SCRAM user, as `kafka-configs.sh --alter --add-config` does."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            wanted = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            self._admin.alter_user_scram_credentials([wanted])[user].result(REQUEST_TIMEOUT_S)

    def _listeners(self, broker: int, controller: int) -> Mapping[str, str]:
        ports = {"PLAINTEXT": broker, "SASL": self._sasl, "OAUTH": self._oauth, "MTLS": self._tls}
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,OAUTH:SASL_PLAINTEXT,MTLS:SSL"
        return {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": protocols,
        }

    def _certificates(self) -> Mapping[str, str]:
        settings = {"client.auth": "required", "keystore.type": "PEM", "keystore.location": str(self.certificate)}
        settings |= {"truststore.type": "PEM", "truststore.location": str(self.authorities)}
        return {f"listener.name.mtls.ssl.{name}": value for name, value in settings.items()}


def _passwords(plain: Mapping[str, str]) -> Mapping[str, str]:
    users = " ".join(f'user_{name}="{password}"' for name, password in plain.items())
    listener = "listener.name.sasl"
    mechanisms = {"plain": f"{PLAIN} {users};", "scram-sha-256": SCRAM, "scram-sha-512": SCRAM}
    return {
        f"{listener}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        **{f"{listener}.{name}.sasl.jaas.config": module for name, module in mechanisms.items()},
        **{f"{listener}.{name}.connections.max.reauth.ms": str(SESSION_MS) for name in mechanisms},
    }


def _tokens(endpoint: TokenEndpoint) -> Mapping[str, str]:
    listener = "listener.name.oauth"
    return {
        f"{listener}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.oauthbearer.sasl.jaas.config": f"{OAUTH}.OAuthBearerLoginModule required;",
        f"{listener}.oauthbearer.sasl.server.callback.handler.class": f"{OAUTH}.OAuthBearerValidatorCallbackHandler",
        f"{listener}.oauthbearer.connections.max.reauth.ms": str(SESSION_MS),
        "sasl.oauthbearer.jwks.endpoint.url": endpoint.keys_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
    }


def write_secret(directory: Path, name: str, value: str) -> None:
    """Replace a file of the secrets directory in one step, as Kubernetes does."""
    new = directory / "new"
    new.write_text(value)
    new.rename(directory / name)
