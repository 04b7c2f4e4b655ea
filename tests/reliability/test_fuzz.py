"""No file makes a reader raise anything but the package's own errors, hang, or take memory out of proportion."""

from __future__ import annotations

import itertools
import json
import logging
import os
import time

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from recommenders_miner.hparams import prepare_hparams
from tests.reliability.readers import LOG, READERS, check

pytestmark = pytest.mark.slow
SECONDS = 30 if os.environ.get("RELIABILITY") else 2  # for each reader
SIZE = 2**18

TOKENS = (
    *b"\x00 \r \n \n\n\n \t \t\t ' \" \\ \\ud800 <padding> nan -inf 1e999 -1e38 0x10 1_0 -0 -1 1:59:59".split(b" "),
    *"\ufeff 😀 \u2028\x85 \u0661 2019-99-99 N1-1 N4-1-1 N1-2 N9 -1-1 null true } ] ,".encode().split(b" "),
    *(b" ", b"  ", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xff\xfea\x00", b"\x80\x05", b"cposix\nsystem\n", b"\x1f\x8b"),
    *(b"9" * 20, b"9" * 400, b"9" * 5000, b"-" * 3000, b"[" * 2000, b'{"a":' * 400, b"- " * 500, b"PK\x03\x04", b"|O"),
    *(b"12/31/9999 11:59:59 PM", b"02/30/2019 1:00:00 AM", b'"WikidataId": 5,', b'{"WikidataId": "a\nb"}'),
    *(b'"OccurrenceOffsets": null', b"a: &a [1, 1]\nb: &b [*a, *a]\n", b"<<: *a", b"&a ", b"? [a]\n: b\n", b"--- "),
    *(b"!!python/object/apply:os.system ['true']", b"!!int x", b"!!timestamp x", b"!!binary x", b"base: own.yaml\n"),
)


@st.composite
def nearly_right(draw, good):
    """Draw a good file with bytes flipped, cut, doubled, and put in that readers trip over, or with other JSON."""
    content = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(0, 8))):
        place, token, count = draw(st.tuples(st.integers(0, len(content)), st.sampled_from(TOKENS), st.integers(1, 40)))
        head, tail = content[:place], content[place:]
        changes = (
            head + bytes(byte ^ count for byte in tail[:1]) + tail[1:],
            head + token + tail,
            head + token + tail[count:],
            head + tail[count:],
            head,
            head + tail[:count] * 300 + tail,
            head + tail[:count] + tail,
            None,
        )
        content = draw(st.sampled_from(changes)) or changed_json(draw, content)
    return content


def changed_json(draw, content):
    """Replace a part of a JSON document; of a file of several, the first byte says which and stays."""
    for start in (0, 1):
        try:
            document = json.loads(content[start:])
        except (ValueError, RecursionError):
            continue
        part = document
        while isinstance(part, dict | list) and part:
            key = draw(st.sampled_from(list(part) if isinstance(part, dict) else range(len(part))))
            if draw(st.integers(0, 3)) == 0 or not isinstance(part[key], dict | list):
                part[key] = draw(st.sampled_from([None, True, -1, 0, 2.5, "", "relu", "os", [], {}, [[]], "N" * 300]))
                break
            part = part[key]
        return content[:start] + json.dumps(document).encode()
    return content


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    # Files are warned of by the thousand.
    monkeypatch.setattr(logging.getLogger("recommenders_miner"), "disabled", True)
    prepare_hparams("nrms")  # imports the models, before a clock runs


@pytest.mark.parametrize("name", READERS)
def test_nearly_right_files(name):
    reader = READERS[name]
    good = reader.good()
    for content in good:
        check(reader, content)
    end = time.monotonic() + SECONDS
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):

        @seed(number)
        @settings(max_examples=25, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(nearly_right(good))
        def try_some(content):
            check(reader, content)

        try_some()


# === Files of a quarter of a megabyte that are made to take more than their share ===


def fill(unit, start=b"", end=b"", size=SIZE):
    return start + unit * ((size - len(start + end)) // len(unit)) + end


def yaml_of(unit, start=b"", end=b""):
    return fill(unit, start, end, size=2**14)  # as long as YAML may be


EVENT = b"1\tU1\t11/12/2019 2:14:46 PM\t"
LAUGHS = ", ".join(["&a0 [1, 1]", *(f"&a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12))])
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
    ("vectors", fill(b"9", b"1 ", b"\nmoss 1\n", size=100_000)),
    ("vocabulary", fill(b"\n", b"<padding>\n<unknown>\n")),
    ("yaml", f"model: {{window_sizes: [{LAUGHS}]}}".encode()),
    ("yaml", yaml_of(b"[", b"model: ")),
    ("yaml", yaml_of(b"9", b"model: {head_num: ", b"}")),
    ("yaml", yaml_of(b":1", b"model: {head_num: 1", b"}")),
    ("yaml", fill(b"a: 1\n")),
    *(("yaml", yaml_of(b"{a: 1},", tag + b"[", b"]")) for tag in (b"!!omap ", b"!!pairs ", b"<<: ")),
    *(("yaml", yaml_of(b"? ,", tag, end)) for tag, end in ((b"[", b"]"), (b"!!set {", b"}"))),
    ("yaml", b"model: !!python/object/apply:os.system ['exit 1']"),
]


@pytest.mark.parametrize(("name", "content"), HOSTILE, ids=[f"{name}-{part[:30]!r}" for name, part in HOSTILE])
def test_hostile_files(name, content):
    check(READERS[name], content, block_bytes=4 * SIZE)
