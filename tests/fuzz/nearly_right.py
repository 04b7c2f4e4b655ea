"""Nearly right files: ones that a reader takes, with bytes flipped, cut, doubled, and put in that readers trip over."""

from __future__ import annotations

import gzip

from hypothesis import strategies as st

TOKENS = (
    # Text
    *(b"\x00", b"\r", b"\n", b"\n\n\n", b"\t", b"\t\t", b" ", b"  ", b"'", b'"', b"\\", b"\\ud800", b"<padding>"),
    *("\ufeff".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xff\xfea\x00", "😀".encode(), "\u2028\x85".encode()),
    # Numbers and times
    *(
        b"nan",
        b"-inf",
        b"1e999",
        b"-1e38",
        b"1e-999",
        b"9" * 20,
        b"9" * 400,
        b"9" * 5000,
        b"0x10",
        b"1_0",
        b"-0",
        b"-1",
    ),
    *(
        "\u0661".encode(),
        b"1:59:59",
        b"2019-99-99",
        b"12/31/9999 11:59:59 PM",
        b"02/30/2019 1:00:00 AM",
        b"1/1/1 1:1:1 AM",
    ),
    # News and JSON
    *(
        b"N1-1",
        b"N4-1-1",
        b"N1-2",
        b"N9",
        b"-1-1",
        b"[" * 2000,
        b'{"a":' * 400,
        b"null",
        b"true",
        b"}",
        b"]",
        b",",
        b":",
    ),
    *(b'"WikidataId": 5,', b'{"WikidataId": "a\\nb"}', b'"OccurrenceOffsets": null'),
    # YAML
    *(b"a: &a [1, 1]\nb: &b [*a, *a]\n", b"<<: *a", b"*a", b"&a ", b"!!python/object/apply:os.system ['true']"),
    *(b"!!int x", b"!!timestamp x", b"!!binary x", b"!!float ", b"? [a]\n: b\n", b"--- ", b"- " * 500),
    *(b"base: own.yaml\n", b"base: 5\n", b"base: ''\n", b".inf", b"%YAML 9.9\n"),
    # Pickles, gzip, NumPy
    *(b"\x80\x05", b"cposix\nsystem\n", b"}", b"(d", b"\x94", b"r\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 7 + b"\x7f"),
    *(b"\x1f\x8b", gzip.compress(b"moss 1 2 3\n" * 3, mtime=0), b"PK\x03\x04", b"\x93NUMPY\x01\x00"),
    *(b"(99999999999, 3)", b"|O", b"-" * 3000),
)


@st.composite
def nearly_right(draw: st.DrawFn, seeds: tuple[bytes, ...], most_changes: int = 6) -> bytes:
    """Draws one of the seeds with some changes, or now and then any bytes at all."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, most_changes))):
        content = draw(st.sampled_from(_CHANGES))(draw, content)
    return content


def _place(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    changed = bytes(byte ^ draw(st.integers(1, 255)) for byte in content[place : place + 1])
    return content[:place] + changed + content[place + 1 :]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw(st.sampled_from(TOKENS)) + content[place:]


def _replace(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw(st.sampled_from(TOKENS)) + content[place + draw(st.integers(1, 30)) :]


def _remove(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + content[place + draw(st.integers(1, 40)) :]


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _repeat(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    part = content[place : place + draw(st.integers(1, 60))]
    return content[:place] + part * draw(st.sampled_from([2, 3, 300])) + content[place:]


def _double_line(draw: st.DrawFn, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    return content + draw(st.sampled_from(lines))


def _double_column(draw: st.DrawFn, content: bytes) -> bytes:
    separator = draw(st.sampled_from([b"\t", b" ", b",", b"\n"]))
    fields = content.split(separator)
    number = draw(st.integers(0, len(fields) - 1))
    return separator.join([*fields[: number + 1], *fields[number:]])


def _anything(draw: st.DrawFn, content: bytes) -> bytes:
    return draw(st.binary(max_size=60))


_CHANGES = [
    _flip,
    _insert,
    _insert,
    _replace,
    _replace,
    _remove,
    _cut,
    _repeat,
    _double_line,
    _double_column,
    _anything,
]
