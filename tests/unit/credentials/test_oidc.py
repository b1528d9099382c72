"""Tests client credentials: the request, and that no answer is quoted."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from consumer.credentials import oidc
from consumer.credentials.errors import CredentialsError
from consumer.devstack.server import free_ports
from tests.support.token_endpoint import CLIENT_ID, SCOPE, TokenEndpoint

SETTING = "RAGLEDGER_KAFKA__SASL_OAUTH_TOKEN_URL"
SECRET = "Zq7K:+/ä"


def ask(url: str, secret: str = SECRET, scope: str | None = SCOPE) -> tuple[str, float | None]:
    """Return a token, with the event loop of the service."""
    return uvloop.run(oidc.token_for(oidc.Client(url, CLIENT_ID, secret, scope), SETTING))


def problem(*arguments: Any) -> str:
    """Return the error for a missing token."""
    with pytest.raises(CredentialsError) as caught:
        ask(*arguments)
    assert "Zq7K" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenEndpoint]:
    """Start a real endpoint."""
    with TokenEndpoint(tmp_path_factory.mktemp("endpoint"), SECRET) as made:
        yield made


def test_a_token_and_how_long_it_is_valid(endpoint: TokenEndpoint) -> None:
    """Special characters of id and secret are encoded as RFC 6749 specifies."""
    endpoint.lifetime_s = 900
    assert ask(endpoint.url) == (endpoint.tokens[-1], 900.0)


def test_refusals_are_named_and_not_quoted(endpoint: TokenEndpoint) -> None:
    """This endpoint repeats the secret in its description."""
    assert problem(endpoint.url, "Zq7K") == f"{SETTING}: the endpoint returned no token (HTTP 401, invalid_client)"
    assert problem(endpoint.url, SECRET, None).endswith("(HTTP 400, invalid_scope)")


def test_an_endpoint_that_is_unavailable() -> None:
    """The error has the text of the operating system."""
    assert "cannot be reached: " in problem(f"http://127.0.0.1:{free_ports(1)[0]}/token")
    assert "cannot be reached: " in problem("https://nowhere.invalid/token")


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """Return the URL of an endpoint that always gives this answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Return the URL of a server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Zq7K</html>"),
        (200, b'["Zq7K"]'),
        (200, b'{"access_token": ""}'),
        (200, b'{"access_token": 7}'),
        (200, b'{"access_token": "Zq7K\\u0001auth=x"}'),
        (200, b'{"access_token": "Zq7K"' + b" " * oidc.MOST_BYTES + b"}"),
        (200, b"[" * 100_000),
        (500, b'{"error": "Zq7K"}'),
        (400, b'{"error": ["invalid_client"]}'),
    ],
)
def test_invalid_answers_of_an_endpoint(status: int, body: bytes) -> None:
    """The answers come from an endpoint or from another server at its address."""
    with answering(status, body) as url:
        assert problem(url) == f"{SETTING}: the endpoint returned no token (HTTP {status})"


def test_the_secret_is_not_sent_elsewhere(endpoint: TokenEndpoint) -> None:
    """A redirect is not followed."""
    count = len(endpoint.tokens)
    with answering(307, b"", Location=endpoint.url) as url:
        assert "HTTP 307" in problem(url)
    assert len(endpoint.tokens) == count


def test_an_endpoint_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request ends within the limit."""
    monkeypatch.setattr(oidc, "SECONDS", 0.3)
    released = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            released.wait(30)

    with serving(Handler) as url:
        try:
            assert "no answer within 0 s" in problem(url)
        finally:
            released.set()
