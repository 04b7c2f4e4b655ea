"""What stands before the endpoints: bodies within limits of size and time, and a bounded number of requests at once.

A body is read whole before its request takes a place, so that slow clients keep nobody out. Requests that find all
places taken are refused at once: waiting longer would only make every answer late.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from email.message import Message
from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Sent

from recommenders_miner.serving.metrics import Metrics
from recommenders_miner.serving.problems import Problem, busy

MOST_BYTES = 1_000_000
_OTHER_LIMITS = {"/v1/poprox": 5_000_000}
"""Of requests that bring all their articles."""
_MOST_READ = 200
"""Bodies that are read at a time, so that those of slow clients take no more than 200 MB."""
_CLOSE = {"Connection": "close"}
_OTHER = "other"


class _Gone(Exception):
    """The client has hung up."""


class Guard:
    """ASGI middleware for all below /v1.

    Args:
        app: what it stands before.
        metrics: told of every answer.
        places: requests that may be inside at a time, those that wait for a thread among them.
        seconds: for how long a body may take to arrive.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, places: int, seconds: float) -> None:
        self._app, self._metrics, self._places, self._seconds = app, metrics, places, seconds
        self._inside = self._read = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
            if self._inside >= self._places:
                self._metrics.overloads.inc()
                raise busy("All places are taken; come again in a second.")
        except Problem as problem:
            self._metrics.response(scope["method"], _OTHER, problem.status, None)
            await problem.response()(scope, receive, send)
            return
        except _Gone:
            return
        await self._let_in(scope, _replayed(body, receive), send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, start = 500, perf_counter()

        async def noting(message: Sent) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._inside += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            self._inside -= 1
            route = getattr(scope.get("route"), "path", _OTHER)
            self._metrics.response(scope["method"], route, status, perf_counter() - start)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers, most = dict(scope["headers"]), _OTHER_LIMITS.get(scope["path"], MOST_BYTES)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > most:
            raise _too_large(most)
        if self._read >= _MOST_READ:
            raise busy("Too many bodies are on their way; come again in a second.")
        self._read += 1
        try:
            async with asyncio.timeout(self._seconds):
                body = await _read(receive, most)
        except TimeoutError:
            raise Problem(408, f"The body did not arrive within {self._seconds:g} seconds.", _CLOSE) from None
        finally:
            self._read -= 1
        if headers.get(b"content-encoding", b"").lower() == b"gzip":
            body = _unpacked(body, most)
        _check_text(headers.get(b"content-type", b""), body)
        return body


async def _read(receive: Receive, most: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _check_text(content_type: bytes, body: bytes) -> None:
    """Refuse what is not sent as JSON, which other sites' pages cannot do without asking, or is no UTF-8."""
    sent_as = Message()
    sent_as["content-type"] = content_type.decode("latin-1")
    if body and not re.fullmatch(r"application/([\w.-]+\+)?json", sent_as.get_content_type()):
        raise Problem(415, "Send JSON, with the header Content-Type: application/json.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"The body is not valid UTF-8: see byte {error.start}.") from None


def _unpacked(body: bytes, most: int) -> bytes:
    """Unpack what was sent as gzip, as far as it may be long."""
    try:
        found = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(body, most + 1)
    except zlib.error:
        raise Problem(400, "The body is not gzip, as the header Content-Encoding says.") from None
    if len(found) > most:
        raise _too_large(most)
    return found


def _too_large(most: int) -> Problem:
    return Problem(413, f"A body has at most {most:,} bytes; send it in several requests.", _CLOSE)


def _replayed(body: bytes, receive: Receive) -> Callable:
    """Return what gives the body once, and then what comes of the connection."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Sent:
        return waiting.pop() if waiting else await receive()

    return replay
