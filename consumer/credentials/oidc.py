"""Obtains tokens from OpenID Connect providers with client credentials (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from consumer.credentials.errors import CredentialsError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

SECONDS = 10.0
MOST_BYTES = 1_048_576
# The error codes of RFC 6749, section 5.2. Other text in an answer may quote the request.
_KNOWN_ERRORS = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope"),
        *("unauthorized_client", "unsupported_grant_type"),
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """A token endpoint, and the client that requests tokens from it."""

    url: str
    client_id: str
    secret: str
    scope: str | None


async def token_for(client: Client, setting: str) -> tuple[str, float | None]:
    """Request a token. Return it, and for how many seconds it is valid; None if the endpoint does not say.

    :param setting: the name of the setting with the URL, for messages
    :raises CredentialsError: the endpoint does not answer, or returns no token
    """
    import aiohttp  # most services use no endpoint

    form = {"grant_type": "client_credentials"} | ({"scope": client.scope} if client.scope else {})
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())  # loads the current authorities
    limit = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.post(client.url, data=form, headers=_login(client), allow_redirects=False) as response,
        ):
            return _given(await _document(response), response.status, setting)
    except TimeoutError:
        raise CredentialsError(f"{setting}: no answer within {SECONDS:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise CredentialsError(f"{setting}: cannot be reached: {_cause(error)}") from None


def _login(client: Client) -> Mapping[str, str]:
    """Return the header of the login. Id and secret are encoded first: both may contain a colon (section 2.3.1)."""
    login = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


async def _document(response: ClientResponse) -> Any:
    body = b""
    while len(body) <= MOST_BYTES and (piece := await response.content.read(MOST_BYTES)):
        body += piece
    if len(body) > MOST_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _given(document: Any, status: int, setting: str) -> tuple[str, float | None]:
    answer = document if isinstance(document, dict) else {}
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if status != 200 or not isinstance(token, str) or not token or not token.isprintable():
        known = answer.get("error")
        reason = f", {known}" if isinstance(known, str) and known in _KNOWN_ERRORS else ""
        raise CredentialsError(f"{setting}: the endpoint returned no token (HTTP {status}{reason})")
    try:
        return token, None if seconds is None else float(seconds)
    except (TypeError, ValueError):
        return token, None


def _cause(error: BaseException) -> str:
    """Return the error of the operating system, because an error of aiohttp may quote the request."""
    reason = getattr(error, "os_error", None) or error
    return getattr(reason, "strerror", None) or type(reason).__name__
