"""Downloads from a server on this machine that cuts, stalls, redirects, refuses and ignores ranges."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import random
import re
import socket
from pathlib import Path

import pytest

from recommenders_miner.datasets import fetch
from recommenders_miner.datasets.fetch import ATTEMPTS, download, fetch_from_first
from recommenders_miner.errors import DownloadError, NotWrittenError
from tests.datasets.loopback import cut, status, whole

CONTENT = random.Random(1).randbytes(400_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CUT = 150_000


def names(folder):
    return {path.name for path in folder.iterdir()}


def part_of(path):
    [part] = path.parent.glob(f".{path.name}.part-*")
    return part


def test_a_file_is_downloaded_once_and_nothing_else_is_left(server, tmp_path):
    path = tmp_path / "deep" / "file.bin"
    url = server.serve("/file", whole(CONTENT))
    for _ in range(2):
        assert download(url, path) == path
        assert path.read_bytes() == CONTENT
        assert names(path.parent) == {"file.bin"}
    assert len(server.requests) == 1
    assert download(server.serve("/empty", whole(b"")), tmp_path / "empty").read_bytes() == b""


ODDITIES = {
    "hangs up": [None],
    "is busy": [status(429), status(503)],
    "says no length": [whole(CONTENT, length=False)],
    "goes on little by little": [cut(CONTENT, CUT), whole(CONTENT, most=100_000)],
    "does not go on": [cut(CONTENT, CUT), whole(CONTENT, ranges=False)],
    "goes on elsewhere": [cut(CONTENT, CUT), status(206, Content_Range=f"bytes 7-9/{len(CONTENT)}")],
    "goes on without a size": [cut(CONTENT, CUT), status(206, Content_Range=f"bytes {CUT}-{len(CONTENT)}/*")],
    "has less than before": [cut(CONTENT, CUT), status(416, Content_Range="bytes */7")],
    "has nothing to go on with": [cut(CONTENT, CUT), status(416)],
    "has nothing at first": [status(416, Content_Range="bytes */0")],
}


@pytest.mark.parametrize("answers", ODDITIES.values(), ids=ODDITIES)
def test_whatever_the_server_does_the_file_is_whole(server, tmp_path, answers):
    assert download(server.serve("/file", *answers, whole(CONTENT)), tmp_path / "file").read_bytes() == CONTENT
    assert names(tmp_path) == {"file"}


def test_redirects_are_followed_and_a_token_is_not_shown_to_another_host(server, tmp_path):
    elsewhere = server.serve("/there", whole(CONTENT)).replace("127.0.0.1", "localhost")
    url = server.serve("/here", status(302, Location=elsewhere))
    download(url, tmp_path / "file", headers={"Authorization": "Bearer secret"})
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked("/here")[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.asked("/there")[0]


# === Transfers that break off ===


@pytest.mark.parametrize("stalls", [False, True])
def test_a_transfer_that_breaks_off_is_resumed(server, tmp_path, stalls):
    url = server.serve("/file", cut(CONTENT, CUT, stalls=stalls), whole(CONTENT))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    first, second = server.asked("/file")
    assert "Range" not in first
    assert 0 < int(re.fullmatch(r"bytes=(\d+)-", second["Range"])[1]) <= CUT


@pytest.mark.parametrize("lacks", [None, 0, 1])
def test_a_later_call_resumes_too_however_little_is_lacking(server, tmp_path, monkeypatch, lacks):
    path, url = tmp_path / "file", server.serve("/file", cut(CONTENT, CUT), whole(CONTENT))
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match=r"the next call resumes at byte [\d,]+\.$"):
        download(url, path)
    if lacks is not None:
        part_of(path).write_bytes(CONTENT[: len(CONTENT) - lacks])
    have = part_of(path).stat().st_size
    assert download(url, path).read_bytes() == CONTENT
    assert server.asked("/file")[1]["Range"] == f"bytes={have}-"
    assert names(tmp_path) == {"file"}


def test_a_part_from_another_address_is_not_gone_on_with(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(DownloadError):
        download(server.serve("/one", cut(CONTENT[::-1], CUT)), tmp_path / "file")
    assert download(server.serve("/two", whole(CONTENT)), tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [cut(CONTENT, 0), status(500)])
def test_attempts_are_bounded(server, tmp_path, answer):
    with pytest.raises(DownloadError, match=rf"(ended|IncompleteRead|HTTP 500).* That was attempt {ATTEMPTS}"):
        download(server.serve("/file", answer), tmp_path / "file")
    assert len(server.requests) == ATTEMPTS
    assert not (tmp_path / "file").exists()


# === Refusals and wrong content ===


def test_a_refusal_is_named_at_once(server, tmp_path):
    url = server.serve("/file", status(409, "Public access is not permitted."))
    with pytest.raises(DownloadError, match=re.escape(f"{url}: HTTP 409 Public access is not permitted.")) as caught:
        download(url, tmp_path / "file")
    assert caught.value.status == 409
    assert len(server.requests) == 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize("wrong", [whole(CONTENT[:-1] + b"x"), cut(CONTENT, CUT, length=False)], ids=["other", "cut"])
def test_another_content_is_refused_and_deleted(server, tmp_path, wrong):
    url = server.serve("/file", wrong, whole(CONTENT))
    with pytest.raises(DownloadError, match=f"its SHA-256 is .*, expected {SHA256}"):
        download(url, tmp_path / "file", SHA256)
    assert names(tmp_path) == set()
    assert download(url, tmp_path / "file", SHA256).read_bytes() == CONTENT


def test_a_host_that_cannot_be_reached_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda _: pytest.fail("it waited"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=r"/file: Failed to establish a new connection: .*refused"):
            download(url, tmp_path / "file")


@pytest.mark.parametrize("address", ["ftp://x/y", "nonsense", "http://[::1/x", "/circle"])
def test_an_address_that_is_none_is_an_error(server, tmp_path, address):
    server.serve("/circle", status(302, Location=server.url + "/circle"))
    for url in (address, server.serve("/redirect", status(302, Location=address))):
        with pytest.raises(DownloadError):
            download(url, tmp_path / "file")


def test_a_range_that_is_none_is_an_error(server, tmp_path):
    with pytest.raises(DownloadError, match=r"answered with the range '.{,80}'"):
        download(server.serve("/range", status(206, Content_Range="bytes 0-2/many")), tmp_path / "file")
    assert names(tmp_path) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_named_at_once(server, tmp_path, monkeypatch):
    full = lambda path, mode: open("/dev/full", mode)  # noqa: E731, SIM115
    monkeypatch.setattr(fetch, "open", full, raising=False)
    with pytest.raises(NotWrittenError, match="No space left on device") as caught:
        download(server.serve("/file", whole(CONTENT)), tmp_path / "file")
    assert caught.value.errno == errno.ENOSPC
    assert len(server.requests) == 1
    assert not (tmp_path / "file").exists()


# === Sources ===


@pytest.mark.parametrize(
    ("errors", "left", "stays"),
    [
        ([None], "file", False),
        ([ValueError(), None], ".file.part-1", False),
        ([DownloadError("x", "broke off"), KeyError("x")], ".file.part-1", True),
        ([ValueError(), KeyError("x")], ".file.part-1", False),
        ([DownloadError("x", "refused")], "file", False),
        ([KeyboardInterrupt()], "file", True),
        ([NotWrittenError("out", OSError(errno.ENOSPC, "full")), None], "file", True),
    ],
)
def test_downloads_stay_where_no_source_worked_and_there_is_something_to_go_on_from(tmp_path, errors, left, stays):
    def get(folder):
        folder.mkdir(parents=True)
        (folder / left).write_bytes(b"x")
        if error := errors[int(folder.name)]:
            raise error
        return folder

    with contextlib.suppress(DownloadError, KeyboardInterrupt, NotWrittenError):
        fetch_from_first("it", dict.fromkeys("ab"[: len(errors)], get), tmp_path / "it", lambda _: None)
    assert names(tmp_path) == ({".it.downloads"} if stays else set())
