"""A token endpoint of OpenID Connect on the loopback interface: client credentials, JWTs that a broker can verify."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus

CLIENT_ID, SCOPE, AUDIENCE = "ledger:app", "kafka", "kafka-cluster"


class TokenEndpoint:
    """Issues tokens to clients that know the secret; a context manager.

    :ivar secret: the secret that is valid at present
    :ivar lifetime_s: how long tokens are valid
    :ivar tokens: the issued tokens
    :ivar refusals: the number of refused requests
    """

    def __init__(self, directory: Path, secret: str) -> None:
        self.secret, self.lifetime_s = secret, 3600.0
        self.tokens: list[str] = []
        self.refusals = 0
        self._key = directory / "signing.key"
        _openssl("genrsa", "-out", str(self._key), "2048")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """URL of the token endpoint."""
        return f"http://127.0.0.1:{self._server.server_port}/token"

    @property
    def keys_url(self) -> str:
        """URL of the key with which brokers verify tokens."""
        return f"http://127.0.0.1:{self._server.server_port}/keys"

    def token(self, **claims: Any) -> str:
        """Return a signed token."""
        now = int(time.time())
        payload = {"sub": CLIENT_ID, "aud": AUDIENCE, "iat": now, "exp": now + int(self.lifetime_s), **claims}
        signed = f"{_encoded(json.dumps({'alg': 'RS256', 'kid': 'one'}))}.{_encoded(json.dumps(payload))}"
        signature = _openssl("dgst", "-sha256", "-sign", str(self._key), stdin=signed.encode())
        return f"{signed}.{_encoded(signature)}"

    def keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set."""
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "e": "AQAB"}
        return {"keys": [{**key, "n": _encoded(bytes.fromhex(modulus))}]}

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return status and document for a request. A refusal quotes the secret, as some endpoints do."""
        login = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, secret = map(unquote_plus, login.split(":"))
        if (client, secret, form.get("grant_type")) != (CLIENT_ID, self.secret, ["client_credentials"]):
            self.refusals += 1
            return 401, {"error": "invalid_client", "error_description": f"{secret} is wrong"}
        if form.get("scope") != [SCOPE]:
            self.refusals += 1
            return 400, {"error": "invalid_scope"}
        token = self.token()
        self.tokens.append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime_s)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, endpoint.keys())

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self._send(*endpoint.answer(self.headers["Authorization"], form))

            def _send(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        return Handler


def _encoded(content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _openssl(*arguments: str, stdin: bytes | None = None) -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, check=True, capture_output=True, timeout=60).stdout
