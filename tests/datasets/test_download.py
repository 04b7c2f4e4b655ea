"""Downloads from a server on this machine that cuts, stalls, redirects, refuses, changes files and ignores ranges."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import socket
from pathlib import Path

import pytest

from recommenders_miner.datasets import fetch as download_module
from recommenders_miner.datasets.fetch import ATTEMPTS, download, download_folder, forget_downloads
from recommenders_miner.errors import DownloadError, NotWrittenError
from tests.datasets.loopback import cut, hang_up, redirect, stall, status, whole

CONTENT = random.Random(1).randbytes(400_000)
OTHER = random.Random(2).randbytes(400_000)
CUT = 150_000


def range_answer(code, content_range, content=b"", etag='"1"'):
    """Answers with a part of a file, whatever part was asked for; `{have}` in the range is where it was to begin."""

    def answer(handler, loopback):
        have = int(re.sub(r"\D", "", handler.headers["Range"]))
        part_of_it = content[have:] if code == 206 else b""
        handler.send_response(code)
        handler.send_header("Content-Range", content_range.format(have=have))
        handler.send_header("Content-Length", str(len(part_of_it)))
        if etag is not None:
            handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(part_of_it)

    return answer


def note_for(path, url, **changes):
    """Writes what is noted of a part of CONTENT as the server on this machine sends it."""
    note = {"url": url, "version": '"1"', "size": len(CONTENT)} | changes
    path.with_name(f".{path.name}.part.json").write_text(json.dumps(note))


def names(folder):
    return {path.name for path in folder.iterdir()}


def part(path):
    return path.with_name(f".{path.name}.part")


def test_a_file_is_got_and_nothing_else_is_left(server, tmp_path):
    path = tmp_path / "deep" / "file.bin"
    assert download(server.serve("/file", whole(CONTENT)), path) == path
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == {"file.bin"}


def test_an_empty_file_is_a_file(server, tmp_path):
    assert download(server.serve("/file", whole(b"")), tmp_path / "file").read_bytes() == b""


def test_a_file_that_is_there_is_not_got_again(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    assert download(server.serve("/file", whole(CONTENT)), tmp_path / "file").read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, tmp_path, code):
    url = server.serve("/here", redirect(server.serve("/there", whole(CONTENT)), code))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


def test_a_token_is_not_shown_to_the_host_that_one_is_sent_on_to(server, tmp_path):
    elsewhere = server.serve("/there", whole(CONTENT)).replace("127.0.0.1", "localhost")
    headers = {"Authorization": "Bearer secret"}
    download(server.serve("/here", redirect(elsewhere)), tmp_path / "file", headers=headers)
    assert server.asked("/here")[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.asked("/there")[0]


def test_a_circle_of_redirects_is_an_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr("requests.sessions.DEFAULT_REDIRECT_LIMIT", 5)
    with pytest.raises(DownloadError, match="redirects"):
        download(server.serve("/file", redirect(server.url + "/file")), tmp_path / "file")


# === Transfers that break off ===


@pytest.mark.parametrize("breaks", [cut, stall])
@pytest.mark.parametrize(
    "version", [{"etag": '"1"'}, {"etag": None, "date": "Wed, 01 Jul 2020 10:00:00 GMT"}], ids=["etag", "date"]
)
def test_a_transfer_that_breaks_off_is_resumed(server, tmp_path, breaks, version):
    url = server.serve("/file", breaks(CONTENT, CUT, **version), whole(CONTENT, **version))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    first, second = server.asked("/file")
    assert "Range" not in first
    resumed_at = int(second["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < resumed_at <= CUT
    assert second["If-Range"] == (version.get("date") or version["etag"])
    assert names(tmp_path) == {"file"}


def test_a_later_call_resumes_too(server, tmp_path, monkeypatch):
    path = tmp_path / "file"
    url = server.serve("/file", cut(CONTENT, CUT), whole(CONTENT))
    monkeypatch.setattr(download_module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match=r"the next call resumes at byte [\d,]+\.$"):
        download(url, path)
    assert not path.exists()
    assert 0 < part(path).stat().st_size <= CUT
    assert download(url, path).read_bytes() == CONTENT
    assert "Range" in server.asked("/file")[1]


def test_an_interrupted_call_is_resumed_and_not_taken_for_whole(server, tmp_path, monkeypatch):
    def interrupt(share, doing):
        raise KeyboardInterrupt

    path = tmp_path / "file"
    url = server.serve("/file", whole(CONTENT))
    with monkeypatch.context() as patch:
        patch.setattr("recommenders_miner.progress._bars.update", lambda *_, **__: interrupt(0, ""))
        with pytest.raises(KeyboardInterrupt):
            download(url, path)
    assert not path.exists()
    assert download(url, path).read_bytes() == CONTENT
    assert "Range" in server.asked("/file")[1]


def test_attempts_are_bounded(server, tmp_path):
    with pytest.raises(DownloadError, match=f"That was attempt {ATTEMPTS}"):
        download(server.serve("/file", cut(CONTENT, 0)), tmp_path / "file")
    assert len(server.requests) == ATTEMPTS
    assert not (tmp_path / "file").exists()


def test_a_server_that_hangs_up_is_asked_again(server, tmp_path):
    assert download(server.serve("/file", hang_up, whole(CONTENT)), tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_goes_on_for_less_than_the_rest_is_asked_again(server, tmp_path):
    url = server.serve("/file", cut(CONTENT, CUT), whole(CONTENT, most=100_000))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert len(server.requests) > 3


def test_a_server_that_ignores_ranges_starts_anew(server, tmp_path):
    url = server.serve("/file", cut(CONTENT, CUT), whole(CONTENT, ranges=False))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert "Range" in server.asked("/file")[1]


@pytest.mark.parametrize("version", [{"etag": None}, {"etag": 'W/"1"'}], ids=["nothing", "a weak tag"])
def test_without_a_sure_version_a_transfer_starts_anew(server, tmp_path, version):
    url = server.serve("/file", cut(OTHER, CUT, **version), whole(CONTENT, **version))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert "Range" not in server.asked("/file")[1]


def test_a_file_that_has_changed_meanwhile_starts_anew(server, tmp_path):
    url = server.serve("/file", cut(OTHER, CUT), whole(CONTENT, etag='"2"'))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT), CUT - 100_000])
def test_parts_of_two_versions_are_not_joined_though_the_server_does_not_compare_them(server, tmp_path, length):
    url = server.serve("/file", cut(OTHER, CUT), whole(CONTENT[:length], etag='"2"', if_range=False))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT[:length]


def test_a_part_from_another_address_is_not_gone_on_with(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError):
        download(server.serve("/one", cut(OTHER, CUT)), tmp_path / "file")
    assert download(server.serve("/two", whole(CONTENT)), tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"2"', '"1"', None])
def test_a_part_is_not_taken_for_the_whole_because_a_server_says_later_that_there_is_no_more(server, tmp_path, etag):
    url = server.serve("/file", cut(OTHER, CUT), range_answer(416, "bytes */{have}", etag=etag), whole(CONTENT))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert "Range" not in server.asked("/file")[2]


def test_a_part_of_another_version_is_not_taken_for_the_whole(server, tmp_path):
    """Though it is as long as that version is now."""
    path = tmp_path / "file"
    url = server.serve("/file", range_answer(416, "bytes */{have}", etag='"2"'), whole(CONTENT))
    part(path).write_bytes(OTHER[:CUT])
    note_for(path, url, size=None)
    assert download(url, path).read_bytes() == CONTENT


@pytest.mark.parametrize("total", [CUT, len(CONTENT) - 1, len(CONTENT) + 1, 10**30])
def test_a_part_is_not_gone_on_with_where_the_file_has_another_size(server, tmp_path, total):
    last = min(total, len(CONTENT)) - 1
    wrong = range_answer(206, f"bytes {{have}}-{last}/{total}", CONTENT[: last + 1], etag=None)
    url = server.serve("/file", cut(OTHER, CUT), wrong, whole(CONTENT, etag='"2"'))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


def test_the_size_that_was_said_first_counts_where_it_is_not_said_again(server, tmp_path):
    some_more = range_answer(206, f"bytes {{have}}-{CUT + 1000 - 1}/*", CONTENT[: CUT + 1000])
    url = server.serve("/file", cut(CONTENT, CUT), some_more, whole(CONTENT))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert server.asked("/file")[2]["Range"] == f"bytes={CUT + 1000}-"


def test_a_server_that_has_no_such_range_though_none_was_asked_for_has_sent_nothing(server, tmp_path):
    url = server.serve("/file", status(416, Content_Range="bytes */0"), whole(CONTENT))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "version",
    [{"etag": '"a\r b"'}, {"etag": '"a\x0bb"'}, {"etag": None, "date": "Tue\r 1"}],
    ids=["tag with a line break", "tag with a control character", "date with a line break"],
)
def test_a_version_that_cannot_be_sent_back_is_none(server, tmp_path, version):
    url = server.serve("/file", cut(OTHER, CUT, **version), whole(CONTENT, **version))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT
    assert "Range" not in server.asked("/file")[1]


@pytest.mark.parametrize(
    "changes",
    [{"version": '"a\r\nb"'}, {"version": "\u2603"}, {"version": 1}, {"size": "x"}, {"size": -1}, {"size": 10**400}],
    ids=repr,
)
def test_a_part_whose_note_says_what_cannot_be_starts_anew(server, tmp_path, changes):
    path, url = tmp_path / "file", server.serve("/file", whole(CONTENT))
    part(path).write_bytes(OTHER[:CUT])
    note_for(path, url, **changes)
    assert download(url, path).read_bytes() == CONTENT
    assert "Range" not in server.asked("/file")[0]


@pytest.mark.parametrize("note", ["", "{", "[]", '"x"', '{"url": 1}', "null", "[" * 100_000], ids=lambda note: note[:9])
def test_a_part_whose_note_is_damaged_starts_anew(server, tmp_path, note):
    path = tmp_path / "file"
    part(path).write_bytes(OTHER[:CUT])
    path.with_name(".file.part.json").write_text(note)
    assert download(server.serve("/file", whole(CONTENT)), path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("lacks", [0, 1])
def test_a_part_that_is_nearly_or_quite_whole_is_finished(server, tmp_path, lacks, size):
    path, url = tmp_path / "file", server.serve("/file", whole(CONTENT))
    arrived = len(CONTENT) - lacks
    part(path).write_bytes(CONTENT[:arrived])
    note_for(path, url, size=size)
    assert download(url, path).read_bytes() == CONTENT
    assert [asked["Range"] for asked in server.asked("/file")] == [f"bytes={arrived}-"]
    assert names(tmp_path) == {"file"}


def test_more_than_was_announced_is_not_taken(server, tmp_path):
    path, url = tmp_path / "file", server.serve("/file", whole(CONTENT))
    part(path).write_bytes(CONTENT + b"more")
    note_for(path, url)
    assert download(url, path).read_bytes() == CONTENT


def test_a_file_of_unknown_length_is_got(server, tmp_path):
    assert download(server.serve("/file", whole(CONTENT, length=False)), tmp_path / "file").read_bytes() == CONTENT


def test_of_a_file_of_unknown_length_the_hash_shows_that_it_was_cut(server, tmp_path):
    url = server.serve("/file", cut(CONTENT, CUT, length=False))
    with pytest.raises(DownloadError, match="SHA-256"):
        download(url, tmp_path / "file", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert names(tmp_path) == set()


# === Refusals and wrong content ===


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (401, None, "HTTP 401 Unauthorized"),
        (403, None, "HTTP 403 Forbidden"),
        (404, None, "HTTP 404 Not Found"),
        (409, "Public access is not permitted.", r"HTTP 409 Public access is not permitted\."),
        (410, None, "HTTP 410 Gone"),
    ],
)
def test_a_refusal_is_named_at_once(server, tmp_path, code, reason, message):
    url = server.serve("/file", status(code, reason))
    with pytest.raises(DownloadError, match=message) as caught:
        download(url, tmp_path / "file")
    assert url in str(caught.value)
    assert caught.value.status == code
    assert len(server.requests) == 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_fault_that_may_pass_is_waited_for(server, tmp_path, code):
    url = server.serve("/file", status(code), status(code), whole(CONTENT))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


def test_a_fault_that_does_not_pass_is_named(server, tmp_path):
    with pytest.raises(DownloadError, match="HTTP 500 Internal Server Error"):
        download(server.serve("/file", status(500)), tmp_path / "file")
    assert len(server.requests) == ATTEMPTS


def test_a_host_that_cannot_be_reached_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(download_module.time, "sleep", lambda _: pytest.fail("it waited"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=r"/file: Failed to establish a new connection: .*refused"):
            download(url, tmp_path / "file")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "nonsense", "http://"])
def test_an_address_that_is_none_is_an_error(tmp_path, url):
    with pytest.raises(DownloadError):
        download(url, tmp_path / "file")


def test_another_content_is_refused_and_deleted(server, tmp_path):
    expected = hashlib.sha256(CONTENT).hexdigest()
    corrupt = CONTENT[:1000] + b"x" + CONTENT[1001:]
    url = server.serve("/file", whole(corrupt), whole(CONTENT))
    with pytest.raises(DownloadError, match=f"expected {expected}"):
        download(url, tmp_path / "file", sha256=expected)
    assert names(tmp_path) == set()
    assert download(url, tmp_path / "file", sha256=expected).read_bytes() == CONTENT


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "x-foo", "identity, gzip"])
def test_a_server_that_compresses_on_the_way_is_refused(server, tmp_path, encoding):
    """Of the first half of it, with a length that agrees, requests would make the first half of the file."""
    packed = gzip.compress(CONTENT)
    url = server.serve("/file", whole(packed[: len(packed) // 2], headers={"Content-Encoding": encoding}))
    with pytest.raises(DownloadError, match="packs it on the way"):
        download(url, tmp_path / "file")
    assert names(tmp_path) == set()
    assert len(server.requests) == 1


def test_a_server_may_say_that_it_does_not_compress(server, tmp_path):
    url = server.serve("/file", whole(CONTENT, headers={"Content-Encoding": "Identity"}))
    assert download(url, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "location", ["http://[::1/x", "http://.example.com/", f"http://{'a' * 300}/", "http://\xff\xfe/", "ftp://x/y"]
)
def test_a_redirect_to_an_address_that_is_none_is_an_error(server, tmp_path, location):
    with pytest.raises(DownloadError):
        download(server.serve("/file", redirect(location)), tmp_path / "file")


@pytest.mark.parametrize("size", ["9" * 19, "9" * 400, "9" * 5000, "-1", "many", "5, 5"], ids=lambda size: size[:20])
def test_a_size_that_is_none_is_an_error(server, tmp_path, size):
    with pytest.raises(DownloadError, match=r"the server says that it has '.{,80}' bytes"):
        download(server.serve("/length", status(200, **{"Content-Length": size})), tmp_path / "file")
    with pytest.raises(DownloadError, match=r"answered with the range '.{,80}'"):
        download(server.serve("/range", status(206, Content_Range=f"bytes 0-2/{size}")), tmp_path / "file")
    assert names(tmp_path) == set()


def test_a_token_that_no_header_can_hold_is_an_error(server, tmp_path):
    with pytest.raises(DownloadError) as caught:
        download(server.serve("/file", whole(CONTENT)), tmp_path / "file", headers={"Authorization": "Bearer s\u2603"})
    assert "Bearer" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_named_at_once(server, tmp_path, monkeypatch):
    full = lambda path, mode: open("/dev/full", mode)  # noqa: E731, SIM115
    monkeypatch.setattr(download_module, "open", full, raising=False)
    with pytest.raises(NotWrittenError, match="No space left on device") as caught:
        download(server.serve("/file", whole(CONTENT)), tmp_path / "file")
    assert caught.value.errno == errno.ENOSPC
    assert len(server.requests) == 1
    assert not (tmp_path / "file").exists()


# === The folder for downloads ===


def test_the_folder_for_downloads_goes_when_all_is_done(tmp_path):
    with download_folder(tmp_path / "downloads") as folder:
        (folder / "file").write_bytes(b"x")
    assert names(tmp_path) == set()


def test_what_is_needed_no_more_is_forgotten_unless_another_process_is_at_it(tmp_path):
    pytest.importorskip("fcntl")
    with download_folder(tmp_path / "downloads") as folder:
        (folder / "file").write_bytes(b"x")
        forget_downloads(folder)
        assert (folder / "file").read_bytes() == b"x"
    (tmp_path / "downloads" / "deep").mkdir(parents=True)
    (tmp_path / "downloads" / "deep" / ".file.part").write_bytes(b"x")
    forget_downloads(tmp_path / "downloads")
    forget_downloads(tmp_path / "nothing")
    assert names(tmp_path) == set()


def test_two_processes_do_not_download_into_one_folder(tmp_path):
    pytest.importorskip("fcntl")
    with download_folder(tmp_path / "downloads") as folder:
        (folder / "file").write_bytes(b"x")
        with pytest.raises(DownloadError, match="another process"), download_folder(tmp_path / "downloads"):
            pass
        assert (folder / "file").read_bytes() == b"x"
    with download_folder(tmp_path / "downloads"):
        pass


@pytest.mark.parametrize("opened", [False, True])
def test_a_folder_for_downloads_that_another_process_has_just_removed_is_made_anew(tmp_path, monkeypatch, opened):
    pytest.importorskip("fcntl")
    downloads, system_open = tmp_path / "downloads", os.open

    def open_late(path, *arguments, **options):
        monkeypatch.setattr(os, "open", system_open)
        descriptor = system_open(path, *arguments, **options) if opened else None
        shutil.rmtree(downloads)
        return system_open(path, *arguments, **options) if descriptor is None else descriptor

    monkeypatch.setattr(os, "open", open_late)
    with download_folder(downloads) as folder:
        assert folder.is_dir()
        with pytest.raises(DownloadError, match="another process"), download_folder(downloads):
            pass
    assert names(tmp_path) == set()


def test_a_folder_for_downloads_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "downloads"):
        with pytest.raises(NotWrittenError, match="not written"), download_folder(folder):
            pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "left", "stays"),
    [
        (ValueError, ".file.part", True),
        (ValueError, "file", False),
        (KeyboardInterrupt, "file", True),
        (NotWrittenError("out", OSError(errno.ENOSPC, "full")), "file", True),
        (KeyboardInterrupt, ".file.part", True),
    ],
)
def test_the_folder_for_downloads_stays_where_there_is_something_to_go_on_from(tmp_path, error, left, stays):
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind), download_folder(tmp_path / "downloads") as folder:  # noqa: PT012
        (folder / "deep").mkdir()
        (folder / "deep" / left).write_bytes(b"x")
        raise error
    assert (tmp_path / "downloads" / "deep" / left).exists() == stays
