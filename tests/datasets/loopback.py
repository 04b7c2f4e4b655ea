"""A web server on this machine that misbehaves as it is told, one answer a request."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK_BYTES = 2**16


class Loopback:
    """A running server.

    Attributes:
        url: its address, without a slash at the end.
        answers: what a path answers, one a request; the last one answers all that follow.
        requests: (path, headers) of each request so far.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.answers = {}
        self.requests = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def serve(self, path, *answers):
        """Says what a path answers; returns its address."""
        self.answers[path] = list(answers)
        return self.url + path

    def asked(self, path):
        """The headers of the requests for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def next_answer(self, path, headers):
        with self._lock:
            self.requests.append((path, headers))
            waiting = self.answers.get(path, [status(404)])
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextlib.contextmanager
def running():
    """A server that runs while the block does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # who asked may be gone
                loopback.next_answer(self.path, self.headers)(self, loopback)
            self.close_connection = True

        def end_headers(self):
            self.send_header("Connection", "close")
            super().end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        loopback = Loopback(server.server_address[1])
        thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield loopback
        finally:
            loopback.stopping.set()
            server.shutdown()
            thread.join()


# === Answers ===


def whole(content, **options):
    """Sends a file, from where it is asked for; see `_send`."""
    return functools.partial(_send, content=content, **options)


def cut(content, sends, **options):
    """Breaks off after `sends` bytes."""
    return functools.partial(_send, content=content, sends=sends, **options)


def stall(content, sends, **options):
    """Sends `sends` bytes, then nothing more."""
    return functools.partial(_send, content=content, sends=sends, stalls=True, **options)


def status(code, reason=None, **headers):
    """Refuses."""

    def answer(handler, loopback):
        handler.send_response(code, reason)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def redirect(to, code=302):
    """Sends elsewhere."""
    return status(code, Location=to)


def hang_up(handler, loopback):
    """Says nothing at all."""


def _send(
    handler,
    loopback,
    content,
    etag='"1"',
    date=None,
    ranges=True,
    if_range=True,
    sends=None,
    most=None,
    stalls=False,
    length=True,
    pause=0.0,
    headers=(),
):
    """Sends a file.

    `ranges`: whether it goes on where it is asked to; `if_range`: whether it looks at If-Range then; `most`: how many
    bytes it goes on for; `sends`: after how many it breaks off; `length`: whether it says how long the file is;
    `pause`: seconds between its chunks.
    """
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) if ranges else None
    start = int(asked[1]) if asked else 0
    if start and if_range and handler.headers.get("If-Range") not in (etag, date):
        start = 0
    if start and start >= len(content):
        return status(416, Content_Range=f"bytes */{len(content)}")(handler, loopback)
    handler.send_response(206 if start else 200)
    end = min(start + most, len(content)) if start and most else len(content)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
    if length:
        handler.send_header("Content-Length", str(end - start))
    for name, value in {"ETag": etag, "Last-Modified": date, **dict(headers)}.items():
        if value is not None:
            handler.send_header(name, value)
    handler.end_headers()
    sent = content[start:end] if sends is None else content[start : start + sends]
    for chunk in range(0, len(sent), _CHUNK_BYTES):
        handler.wfile.write(sent[chunk : chunk + _CHUNK_BYTES])
        handler.wfile.flush()
        time.sleep(pause)
    if stalls:
        loopback.stopping.wait(5)
    return None
