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
    """A running server."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.answers = {}  # of a path, one a request; the last one answers all that follow
        self.requests = []  # (path, headers) of each so far
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def serve(self, path, *answers):
        """Say what a path answers, None being nothing at all; return its address."""
        self.answers[path] = list(answers)
        return self.url + path

    def asked(self, path):
        """Return the headers of the requests for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def answer(self, handler):
        with self._lock:
            self.requests.append((handler.path, handler.headers))
            waiting = self.answers.get(handler.path, [status(404)])
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if answer:
            answer(handler, self)


@contextlib.contextmanager
def running():
    """Run a server while the block does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # who asked may be gone
                loopback.answer(self)
            self.close_connection = True

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


def status(code, reason=None, **headers):
    """Refuse."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: _say(handler, code, {"Content-Length": "0"} | headers, reason)


def cut(content, sends, **options):
    """Break off after `sends` bytes."""
    return whole(content, sends=sends, **options)


def whole(content, ranges=True, sends=None, most=None, stalls=False, length=True, pause=0.0):
    """Send a file, from where it is asked for.

    `ranges`: whether it goes on where it is asked to; `most`: how many bytes it goes on for; `sends`: after how many it
    breaks off; `length`: whether it says how long the file is; `pause`: seconds between its chunks.
    """

    def send(handler, loopback):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) if ranges else None
        start = int(asked[1]) if asked else 0
        if start and start >= len(content):
            _say(handler, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        end = min(start + most, len(content)) if start and most else len(content)
        said = {}
        if start:
            said["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if length:
            said["Content-Length"] = str(end - start)
        _say(handler, 206 if start else 200, said)
        sent = content[start:end] if sends is None else content[start : start + sends]
        for chunk in range(0, len(sent), _CHUNK_BYTES):
            handler.wfile.write(sent[chunk : chunk + _CHUNK_BYTES])
            handler.wfile.flush()
            time.sleep(pause)
        if stalls:
            loopback.stopping.wait(5)

    return send


def _say(handler, code, headers, reason=None):
    handler.send_response(code, reason)
    for name, value in {"Connection": "close", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
