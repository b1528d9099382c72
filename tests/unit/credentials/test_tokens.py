"""Tests that callers share one token, which is kept until shortly before it expires, or until a server rejects it."""

import asyncio
from collections.abc import Callable

import pytest

from consumer.credentials import tokens
from consumer.credentials.errors import CredentialsError
from consumer.credentials.tokens import PAUSE_SECONDS, TokenSource


class Counter:
    """Returns the tokens 1, 2, …, or fails while the test sets it so."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.count, self.failure = seconds, 0, ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def obtain(self) -> tuple[str, float | None]:
        """Return the next token."""
        await self.gate.wait()
        self.count += 1
        if self.failure:
            raise CredentialsError(self.failure)
        return str(self.count), self.seconds


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock."""
    return Clock()


Make = Callable[[float | None], tuple[Counter, TokenSource]]


@pytest.fixture
def make(clock: Clock) -> Make:
    """Return a function that creates a source whose tokens are valid for some seconds."""

    def made(seconds: float | None) -> tuple[Counter, TokenSource]:
        counter = Counter(seconds)
        return counter, TokenSource(counter.obtain, 100.0, clock)

    return made


@pytest.mark.parametrize(("seconds", "kept"), [(3600.0, 3540.0), (100.0, 80.0), (None, 80.0), (-10.0, 1.0)])
async def test_a_token_is_kept_until_shortly_before_it_expires(
    make: Make, clock: Clock, seconds: float | None, kept: float
) -> None:
    """A token is renewed a minute before its expiry, or a fifth of its lifetime if that is shorter."""
    _, source = make(seconds)
    assert await source.token() == "1"
    clock.now += kept - 0.1
    assert await source.token() == "1"
    clock.now += 0.2
    assert await source.token() == "2"


async def test_all_waiting_callers_share_one_token(make: Make) -> None:
    """A cancelled caller does not cancel the request of the others."""
    counter, source = make(None)
    counter.gate.clear()
    waiting = [asyncio.create_task(source.token()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    counter.gate.set()
    assert await asyncio.gather(*waiting[1:]) == ["1", "1"]
    assert counter.count == 1


async def test_the_old_token_is_used_while_it_is_valid(make: Make, clock: Clock) -> None:
    """The provider may be unavailable for a moment."""
    counter, source = make(100.0)
    await source.token()
    counter.failure = "unavailable"
    clock.now += 90
    assert await source.token() == "1"
    clock.now += 11
    with pytest.raises(CredentialsError, match="unavailable"):
        await source.token()


async def test_no_connection_waits_long_for_the_next_token(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow program delays no connection while the old token is valid, and hides no failure."""
    monkeypatch.setattr(tokens, "PATIENCE_SECONDS", 0.01)
    counter, source = make(100.0)
    await source.token()
    counter.gate.clear()
    clock.now += 90
    assert await source.token() == "1"
    counter.gate.set()
    assert await source.token() == "2"
    counter.failure = "unavailable"
    clock.now += 200
    with pytest.raises(CredentialsError, match="unavailable"):
        await source.token()
    counter.gate.clear()
    clock.now += PAUSE_SECONDS
    with pytest.raises(CredentialsError, match="unavailable"):
        await source.token()


async def test_a_failure_is_repeated_for_a_while(make: Make, clock: Clock) -> None:
    """Connections are tried many times a second, programs are not."""
    counter, source = make(100.0)
    counter.failure = "no token"
    for _ in range(3):
        with pytest.raises(CredentialsError, match="no token"):
            await source.token()
    assert counter.count == 1
    counter.failure = ""
    clock.now += PAUSE_SECONDS
    assert await source.token() == "2"


async def test_a_rejected_token_is_replaced(make: Make, clock: Clock) -> None:
    """A token that was just obtained is kept, because a new one would be rejected too."""
    counter, source = make(3600.0)
    await source.token()
    source.rejected()
    assert await source.token() == "1"
    clock.now += PAUSE_SECONDS
    source.rejected()
    assert await source.token() == "2"
    assert counter.count == 2


def test_a_source_works_with_another_event_loop(make: Make) -> None:
    """A request that one event loop has not finished does not block the next loop."""
    counter, source = make(None)

    async def give_up() -> None:
        counter.gate.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(source.token(), 0.01)

    async def again() -> str:
        counter.gate = asyncio.Event()
        counter.gate.set()
        return await source.token()

    asyncio.run(give_up())
    assert asyncio.run(again()) == "1"
