"""No file makes a reader raise anything but the package's own errors, hang, or take memory out of proportion."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import time

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.reliability.readers import EVENTS, LOG, READERS, check, parquet

pytestmark = pytest.mark.slow
SECONDS = 10  # for each reader
SIZE = 2**18

TOKENS = (
    *(b"\x00", b"\r", b"\n", b"\n\n\n", b"\t", b"\t\t", b" ", b"  ", b"'", b'"', b"\\", b"\\ud800", b"<padding>"),
    *("\ufeff".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xff\xfea\x00", "😀".encode(), "\u2028\x85".encode()),
    *(b"nan", b"-inf", b"1e999", b"-1e38", b"9" * 20, b"9" * 400, b"9" * 5000, b"0x10", b"1_0", b"-0", b"-1"),
    *("\u0661".encode(), b"1:59:59", b"2019-99-99", b"12/31/9999 11:59:59 PM", b"02/30/2019 1:00:00 AM"),
    *(b"N1-1", b"N4-1-1", b"N1-2", b"N9", b"-1-1", b"[" * 2000, b'{"a":' * 400, b"null", b"true", b"}", b"]", b","),
    *(b'"WikidataId": 5,', b'{"WikidataId": "a\\nb"}', b'"OccurrenceOffsets": null'),
    *(b"a: &a [1, 1]\nb: &b [*a, *a]\n", b"<<: *a", b"&a ", b"!!python/object/apply:os.system ['true']", b"!!int x"),
    *(
        b"!!timestamp x",
        b"!!binary x",
        b"? [a]\n: b\n",
        b"--- ",
        b"- " * 500,
        b"base: own.yaml\n",
        b".inf",
        b"%YAML 9.9\n",
    ),
    *(b"\x80\x05", b"cposix\nsystem\n", b"\x1f\x8b", b"PK\x03\x04", b"|O", b"-" * 3000),
)


@st.composite
def nearly_right(draw, good):
    """Draw a good file with bytes flipped, cut, doubled, and put in that readers trip over, or with other JSON."""
    content = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.integers(0, len(content)))
        head, tail = content[:place], content[place:]
        token, count = draw(st.sampled_from(TOKENS)), draw(st.integers(1, 40))
        changes = {
            "flip": lambda: head + bytes(byte ^ count for byte in tail[:1]) + tail[1:],  # noqa: B023
            "insert": lambda: head + token + tail,  # noqa: B023
            "replace": lambda: head + token + tail[count:],  # noqa: B023
            "remove": lambda: head + tail[count:],  # noqa: B023
            "cut": lambda: head,  # noqa: B023
            "repeat": lambda: head + tail[:count] * 300 + tail,  # noqa: B023
            "double": lambda: head + tail[:count] + tail,  # noqa: B023
            "json": lambda: changed_json(draw, content),  # noqa: B023
        }
        content = changes[draw(st.sampled_from(sorted(changes)))]()
    return content


def changed_json(draw, content):
    """Replace or remove a part of a JSON document; of a file of several, the first byte says which and stays."""
    for start in (0, 1):
        try:
            document = json.loads(content[start:])
        except (ValueError, RecursionError):
            continue
        part = document
        while isinstance(part, dict | list) and part:
            keys = list(part) if isinstance(part, dict) else list(range(len(part)))
            key = draw(st.sampled_from(keys))
            if draw(st.integers(0, 3)) == 0 or not isinstance(part[key], dict | list):
                value = draw(st.sampled_from([None, True, -1, 0, 1, 2.5, "", "relu", "os", [], {}, [[]], "N" * 300]))
                part[key] = value
                break
            part = part[key]
        return content[:start] + json.dumps(document).encode()
    return content


@pytest.fixture(autouse=True)
def _no_warnings():
    logger = logging.getLogger("recommenders_miner")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # fuzzed files are warned of by the thousand
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("name", READERS)
def test_nearly_right_files(name):
    reader = READERS[name]
    good = reader.good()
    for content in good:
        check(reader, content)
    end, tried = time.monotonic() + SECONDS, 0
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):

        @seed(number)
        @settings(max_examples=25, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(nearly_right(good))
        def try_some(content):
            nonlocal tried
            tried += 1
            check(reader, content)

        try_some()
    print(f"{name}: {tried:,} files")


# === Files of a quarter of a megabyte that are made to take more than their share ===


def fill(unit, start=b"", end=b"", size=SIZE):
    return start + unit * ((size - len(start + end)) // len(unit)) + end


def yaml_of(unit, start=b"", end=b""):
    return fill(unit, start, end, size=2**14)  # as long as YAML may be


EVENT = b"1\tU1\t11/12/2019 2:14:46 PM\t"
LAUGHS = ", ".join(["&a0 [1, 1]", *(f"&a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12))])
CSV = b"\x02user,day,id,clicked,page\n"
HOSTILE = [
    *(("news", fill(unit)) for unit in (b"\t", b"\r", b"x", b"\t" * 7 + b"\n", b"\xff\n")),
    ("news", fill(b"\n", end=b"x")),
    ("news", b"".join(b"%d\t\t\t\t\t\t\t\n" % k for k in range(SIZE // 13))),
    *(("behaviors", fill(unit, EVENT + b"\t")) for unit in (b" ", b"N1-0 ", b"x ")),
    *(("behaviors", fill(unit, EVENT, b"\tN1-0\n")) for unit in (b" ", b"x ")),
    ("behaviors", fill(LOG)),
    ("behaviors", fill(b"1", b"1\tU1\t", b"\t\tN1-0\n")),
    *(("entities", fill(unit)) for unit in (b"[", b'{"a":')),
    ("entities", fill(b"{},", b"[", b"{}]")),
    ("entities", fill(b"1,", b'[{"WikidataId": "Q1", "OccurrenceOffsets": [', b"1]}]")),
    ("entities", fill(b"9", b'[{"WikidataId": ', b"}]")),
    ("vectors", fill(b" 1", b"moss")),
    ("vectors", b"x" * 2**21),
    ("vectors", fill(b"9", b"1 ", b"\nmoss 1\n", size=100_000)),
    ("vectors", gzip.compress(b"\x00" * 2**28)),
    ("vectors", gzip.compress(b"\n" * 2**22)),
    ("vocabulary", fill(b"\n", b"<padding>\n<unknown>\n")),
    ("yaml", f"model: {{window_sizes: [{LAUGHS}]}}".encode()),
    ("yaml", yaml_of(b"[", b"model: ")),
    ("yaml", yaml_of(b"9", b"model: {head_num: ", b"}")),
    ("yaml", yaml_of(b":1", b"model: {head_num: 1", b"}")),
    ("yaml", fill(b"a: 1\n")),
    *(("yaml", yaml_of(b"{a: 1},", tag + b"[", b"]")) for tag in (b"!!omap ", b"!!pairs ", b"<<: ")),
    *(("yaml", yaml_of(b"? ,", tag, end)) for tag, end in ((b"[", b"]"), (b"!!set {", b"}"))),
    ("yaml", b"model: !!python/object/apply:os.system ['exit 1']"),
    ("own logs", b"\x02" + parquet({name: ["x" * 1000] * 2**12 for name in EVENTS})),
    *(("own logs", fill(unit, CSV)) for unit in (b'""', b",,,,\n")),
    ("own logs", fill(b",\n", CSV + b'"')),
    ("own logs", fill(b"a,", b"\x02")),
    ("own logs", f"\x00news: [{LAUGHS}]".encode()),
    *(("adressa", fill(unit)) for unit in (b"[", b"{}\n")),
    ("adressa", fill(b"9", b'{"userId": "u", "time": ', b"}")),
]


@pytest.mark.parametrize(("name", "content"), HOSTILE, ids=[f"{name}-{part[:30]!r}" for name, part in HOSTILE])
def test_hostile_files(name, content):
    check(READERS[name], content, block_bytes=4 * SIZE)
