"""Files of a quarter of a megabyte that are made to take more than their share of time or memory."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest

from tests.fuzz.converters import EVENT_COLUMNS, parquet
from tests.fuzz.readers import ENTITIES
from tests.fuzz.targets import TARGETS, check

SIZE = 2**18
EVENT = b"1\tU1\t11/12/2019 2:14:46 PM\t"
LAUGHS = ", ".join(["&a0 [1, 1]", *(f"&a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12))])
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 12))


def fill(unit: bytes) -> bytes:
    return unit * (SIZE // len(unit))


def events(count: int, **columns: pa.Array) -> bytes:
    return parquet({name: pa.nulls(count, pa.string()) for name in EVENT_COLUMNS} | columns)


def yaml_of(start: bytes, unit: bytes, end: bytes) -> bytes:
    """As long as YAML may be."""
    return start + unit * ((2**14 - len(start + end)) // len(unit)) + end


def of_one_history(count: int) -> bytes:
    clicks = pa.array([[3] * count], pa.list_(pa.int32()))
    return b"\x02" + parquet({"user_id": pa.array([7], pa.uint32()), "article_id_fixed": clicks})


HOSTILE = {
    "news of tabs": ("news", fill(b"\t")),
    "news of line ends": ("news", fill(b"\n") + b"x"),
    "news of carriage returns": ("news", fill(b"\r")),
    "news of one word": ("news", fill(b"x")),
    "news of empty rows": ("news", fill(b"\t" * 7 + b"\n")),
    "news of tiny rows": ("news", b"".join(b"%d\t\t\t\t\t\t\t\n" % k for k in range(SIZE // 13))),
    "news that are no text": ("news", fill(b"\xff\n")),
    "one impression of spaces": ("behaviors", EVENT + b"\t" + fill(b" ")),
    "one impression of one news": ("behaviors", EVENT + b"\t" + fill(b"N1-0 ")),
    "one impression of unknown news": ("behaviors", EVENT + b"\t" + b" ".join(b"%d" % k for k in range(SIZE // 7))),
    "one history of spaces": ("behaviors", EVENT + fill(b" ") + b"\tN1-0\n"),
    "one history of unknown news": ("behaviors", EVENT + fill(b"x ") + b"\tN1-0\n"),
    "many impressions": ("behaviors", fill(b"1\tU\t1/1/2019 1:1:1 AM\t\tN1-0\n")),
    "one time": ("behaviors", b"1\tU1\t" + fill(b"1") + b"\t\tN1-0\n"),
    "nested lists of entities": ("entities", fill(b"[")),
    "nested objects of entities": ("entities", fill(b'{"a":')),
    "empty entities": ("entities", b"[" + fill(b"{},") + b"{}]"),
    "many entities": ("entities", b"[" + fill(ENTITIES[1:-1] + b",") + ENTITIES[1:-1] + b"]"),
    "one entity of many places": ("entities", b'[{"WikidataId": "Q1", "OccurrenceOffsets": [' + fill(b"1,") + b"1]}]"),
    "a long number": ("entities", b'[{"WikidataId": ' + fill(b"9") + b"}]"),
    "a vector of too many numbers": ("vectors", b"moss" + b" 1" * (SIZE // 4)),
    "a line without end": ("vectors", b"x" * 2**21),
    "vectors of one number": ("vectors", fill(b"moss 1\n")),
    "a header of many digits": ("vectors", b"1 " + b"9" * 100_000 + b"\nmoss 1\n"),
    "a gzip bomb of one line": ("vectors", gzip.compress(b"\x00" * 2**28, mtime=0)),
    "a gzip bomb of line ends": ("vectors", gzip.compress(b"\n" * 2**22, mtime=0)),
    "a matrix of a long header": ("matrix", b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f{'descr': '<f4'}"),
    "nested JSON": ("dictionary", fill(b"[")),
    "a dictionary of empty lists": ("dictionary", b'{"a": [' + fill(b"[],") + b"[]]}"),
    "a dictionary": ("dictionary", json.dumps({f"w{k}": k + 1 for k in range(SIZE // 14)}).encode()),
    "a pickle of dicts": ("pickle", b"\x80\x04" + fill(b"}") + b"."),
    "a pickle of marks": ("pickle", b"\x80\x04" + fill(b"(") + b"."),
    "a pickle of a long text": ("pickle", b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + fill(b"x")),
    "a vocabulary of line ends": ("vocabulary", b"<padding>\n<unknown>\n" + fill(b"\n")),
    "YAML that laughs": ("yaml", f"model: {{window_sizes: [{LAUGHS}]}}".encode()),
    "YAML that merges": ("yaml", f"model:\n  {MERGES}".replace("\na", "\n  a").encode()),
    "nested YAML": ("yaml", b"model: " + b"[" * 16_000),
    "YAML of one number": ("yaml", b"model: {head_num: " + b"9" * 16_000 + b"}"),
    "YAML of one number in base 60": ("yaml", b"model: {head_num: 1" + b":1" * 8_000 + b"}"),
    "long YAML": ("yaml", fill(b"a: 1\n")),
    "YAML of ordered maps": ("yaml", yaml_of(b"!!omap [", b"{a},", b"]")),
    "YAML of pairs": ("yaml", yaml_of(b"!!pairs [", b"{a: 1},", b"]")),
    "YAML of mappings to merge": ("yaml", yaml_of(b"<<: [", b"{a: 1},", b"]")),
    "YAML of empty keys": ("yaml", yaml_of(b"[", b"? ,", b"]")),
    "YAML of a set": ("yaml", yaml_of(b"!!set {", b"a,", b"}")),
    "YAML of keys by themselves": ("yaml", yaml_of(b"", b"? 1\n", b"")),
    "Parquet of rows of nothing, as many as may be": ("own events", events(2**19)),
    "Parquet of one text of a megabyte, ten times": ("own events", events(10, user=pa.array(["x" * 10**6] * 10))),
    "Parquet of a history of a million clicks": ("ebnerd", of_one_history(10**6)),
    "CSV of quotes": ("own events", b"user,day,id,clicked,page\n" + fill(b'""')),
    "CSV of an open quote": ("own events", b'user,day,id,clicked,page\n"' + fill(b",\n")),
    "CSV of empty rows": ("own events", b"user,day,id,clicked,page\n" + fill(b",,,,\n")),
    "CSV of columns": ("own events", fill(b"a,")),
    "a JSON line of lists": ("adressa", fill(b"[")),
    "JSON lines of nothing": ("adressa", fill(b"{}\n")),
    "a JSON line of a long number": ("adressa", b'{"userId": "u", "time": ' + fill(b"9") + b"}"),
    "translations of tabs": ("xmind", fill(b"\t")),
    "a schema that laughs": ("own schema", f"news: [{LAUGHS}]".encode()),
    "YAML that runs a command": ("yaml", b"model: !!python/object/apply:os.system ['exit 1']"),
}


@pytest.mark.parametrize(("target", "content"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files(target, content):
    check(TARGETS[target], content, block_bytes=4 * SIZE)
