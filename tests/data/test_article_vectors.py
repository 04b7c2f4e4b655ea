"""Ready-made vectors of articles, in each form in which people have them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vectors import article_vectors
from recommenders_miner.errors import DataFormatError

VECTORS = {"3": [1.0, 2.0], "1": [3.0, -4.0], "9": [5.0, 6.0]}
EXPECTED = [[0, 0], [3, -4], [0, 0], [1, 2]]


def news(**extra):
    return NewsTable.from_columns(["1", "2", "3"], ["one", "two", "three"], extra=extra or None)


def parquet(path, ids, kind=None, vectors=None, **more):
    """Writes the vectors as EB-NeRD's files have them."""
    vectors = pa.array(list(VECTORS.values()) if vectors is None else vectors, kind)
    pq.write_table(pa.table({**ids, "google-bert/bert": vectors, **more}), path)
    return path


def ids(name, kind):
    return {name: pa.array(list(VECTORS)).cast(kind)}


FORMS = {
    "EB-NeRD": lambda path: parquet(path / "v.parquet", ids("article_id", pa.int32())),
    "double": lambda path: parquet(path / "v.parquet", ids("id", pa.string()), pa.list_(pa.float64())),
    "half": lambda path: parquet(path / "v.parquet", ids("id", pa.string()), pa.list_(pa.float16())),
    "fixed": lambda path: parquet(path / "v.parquet", ids("news_id", pa.int64()), pa.list_(pa.float32(), 2)),
    "large": lambda path: parquet(path / "v.parquet", ids("my id", pa.large_string()), pa.large_list(pa.float32())),
    "more": lambda path: parquet(path / "v.parquet", ids("article_id", pa.int32()), year=[1, 2, 3]),
}


@pytest.mark.parametrize("form", FORMS)
def test_parquet_files_are_read(form, tmp_path):
    found = article_vectors(str(FORMS[form](tmp_path)), news())
    assert found.dtype == np.float32
    assert found.tolist() == EXPECTED


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_matrix_whose_rows_a_text_file_names(dtype, end, tmp_path):
    np.save(tmp_path / "v.npy", np.array(list(VECTORS.values()), dtype))
    (tmp_path / "v.txt").write_bytes("".join(f"{name}{end}" for name in VECTORS).encode())
    assert article_vectors(str(tmp_path / "v.npy"), news()).tolist() == EXPECTED


def test_a_column_of_the_news_and_articles_without_one(caplog):
    table = news(vector=[[3.0, -4.0], None, [1.0, 2.0]])
    assert article_vectors("vector", table).tolist() == EXPECTED
    assert "1 of 3 articles have no vector" in caplog.text


def npy(path, array, names="3\n1\n9\n"):
    np.save(path / "v.npy", array, allow_pickle=True)
    if names is not None:
        (path / "v.txt").write_text(names)
    return path / "v.npy"


def npz(path):
    with open(path, "wb") as file:
        np.savez(file, vectors=np.ones((3, 2)))
    return path


def text(path, name):
    (path / name).write_text("no vectors")
    return path / name


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path / "v.parquet", "does not exist; expected vectors of articles"),
        (lambda path: text(path, "v.parquet"), "not readable as Parquet"),
        (lambda path: text(path, "v.npy"), "no array in numpy's format"),
        (lambda path: npy(path, np.array([object()] * 3)), "no array in numpy's format"),
        (lambda path: npz(path / "v.npy"), r"no array in numpy's format \(it is an archive of several"),
        (lambda path: npy(path, np.full((3, 2), 1e300)), "article 1 has a number that is not finite, or too large"),
        (lambda path: npy(path, np.zeros(3)), r"got float64 of the shape \(3,\)"),
        (lambda path: npy(path, np.ones((3, 2)), None), "v.txt: the path does not exist; expected the ids of the rows"),
        (lambda path: npy(path, np.ones((3, 2)), "1\n"), "there are 1 ids, but 3 rows"),
        (lambda path: npy(path, np.ones((3, 2)), "N1\nN2\nN3\n"), "none of the 3 articles; the ids that it has are N1"),
        (lambda path: npy(path, np.full((3, 2), np.nan)), "article 1 has a number that is not finite"),
        (
            lambda path: parquet(path / "v.parquet", ids("id", "str"), vectors=[[1.0], [1.0, 2.0], [3.0]]),
            "lengths: 1, 2",
        ),
        (lambda path: parquet(path / "v.parquet", ids("id", "str"), vectors=["a", "b", "c"]), "one column of lists"),
        (lambda path: parquet(path / "v.parquet", ids("id", "str"), other=[[1.0]] * 3), "one column of lists"),
        (lambda path: parquet(path / "v.parquet", {}), "expected ids and one column"),
        (lambda path: parquet(path / "v.parquet", {"id": pa.array([{"a": 1}] * 3)}), "holds no ids"),
        (lambda path: parquet(path / "v.parquet", ids("id", "str"), vectors=[[None, 1.0]] * 3), "not finite"),
    ],
)
def test_what_cannot_be_read_is_refused(make, problem, tmp_path):
    path = make(tmp_path)
    with pytest.raises(DataFormatError, match=problem) as caught:
        article_vectors(str(path), news())
    assert caught.value.path.parent == tmp_path


def test_a_column_that_holds_no_vectors_is_refused():
    with pytest.raises(DataFormatError, match="expected lists of numbers, got string"):
        article_vectors("body", news(body=["a", "b", "c"]))
