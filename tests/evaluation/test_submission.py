import re
import time
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation import submission
from recommenders_miner.evaluation.metrics import rank_candidates
from recommenders_miner.evaluation.submission import read_scores, write_scores, write_submission

in_one_folder = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[2, 50_000])
def _block_size(request, monkeypatch):
    """Runs a test with logs cut into many blocks, and with whole ones."""
    monkeypatch.setattr(submission, "IMPRESSIONS_PER_BLOCK", request.param)
    monkeypatch.setattr(submission, "BYTES_PER_BLOCK", request.param)


def ragged(values, width):
    return st.lists(st.lists(values, max_size=6), max_size=8).map(
        lambda rows: (
            np.array([value for row in rows for value in row], f"float{width}"),
            np.cumsum([0, *map(len, rows)]),
        )
    )


# === Score files ===


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
@in_one_folder
def test_scores_come_back_exactly(tmp_path, width, data):
    values = st.floats(allow_nan=False, allow_infinity=False, width=width)
    scores, offsets = data.draw(ragged(values, width))
    write_scores(tmp_path / "scores.txt", scores, offsets)
    read, read_offsets = read_scores(tmp_path / "scores.txt")
    assert (read.dtype, read_offsets.dtype) == (np.float64, np.int64)
    assert read.astype(scores.dtype).tobytes() == scores.tobytes()
    assert read_offsets.tolist() == offsets.tolist()
    assert rank_candidates(read, read_offsets).tolist() == rank_candidates(scores, offsets).tolist()


def test_score_file_is_a_line_per_impression_with_single_spaces(tmp_path):
    write_scores(tmp_path / "s.txt", np.array([0.1, -2, 1 / 3], np.float32), np.array([0, 2, 2, 3]))
    assert (tmp_path / "s.txt").read_bytes() == b"0.1 -2\n\n0.33333334\n"


@pytest.mark.usefixtures("_block_size")
def test_score_file_of_another_hand(tmp_path):
    (tmp_path / "s.txt").write_bytes(b"1.50  2e-3\r\n-0\t+7\n\n 3 ")
    scores, offsets = read_scores(tmp_path / "s.txt")
    assert scores.tolist() == [1.5, 0.002, 0, 7, 3]
    assert offsets.tolist() == [0, 2, 4, 4, 5]


def test_empty_score_file_has_no_impressions(tmp_path):
    (tmp_path / "s.txt").touch()
    scores, offsets = read_scores(tmp_path / "s.txt")
    assert (scores.tolist(), offsets.tolist()) == ([], [0])


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("bad", ["x", "1,2", "nan", "inf", "0x10", "1e999", "\ufffd", "1\u00a02"])
def test_bad_score_names_file_and_line(tmp_path, bad):
    path = tmp_path / "s.txt"
    path.write_text(f"1 2\n3\n4 {bad} 5\n6\n", encoding="utf-8")
    with pytest.raises(DataFormatError, match=re.escape(f"{path}, line 3: ")) as error:
        read_scores(path)
    assert error.value.line == 3
    assert f"found {bad!r}" in str(error.value)


def test_file_that_is_not_text_names_the_line(tmp_path):
    (tmp_path / "s.txt").write_bytes(b"1\n\xff\xfe\n")
    with pytest.raises(DataFormatError, match="line 2"):
        read_scores(tmp_path / "s.txt")


def test_missing_score_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_scores(tmp_path / "none.txt")


# === Submissions ===


@pytest.mark.usefixtures("_block_size")
def test_submission_holds_the_ranks_and_nothing_else(tmp_path):
    path = tmp_path / "prediction.zip"
    scores = np.array([0.1, 0.9, 0.5, 1.0, 2.0, 2.0, 3.0])
    write_submission(path, np.array([7, 10, 8]), scores, np.array([0, 3, 4, 7]))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["prediction.txt"]
        assert archive.testzip() is None
        assert archive.read("prediction.txt") == b"7 [3,1,2]\n10 [1]\n8 [2,3,1]\n"


@pytest.mark.parametrize("ids", [["a", "b"], np.array(["a", "b"]), pa.array(["a", "b"])])
def test_impression_ids_may_be_strings(tmp_path, ids):
    write_submission(tmp_path / "p.zip", ids, np.array([1.0, 2.0]), np.array([0, 1, 2]))
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.read("prediction.txt") == b"a [1]\nb [1]\n"


@pytest.mark.usefixtures("_block_size")
@given(data=st.data())
@in_one_folder
def test_submission_agrees_with_the_ranks(tmp_path, data):
    scores, offsets = data.draw(ragged(st.integers(0, 3), 32))
    write_submission(tmp_path / "p.zip", np.arange(len(offsets) - 1) + 5, scores, offsets)
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        lines = archive.read("prediction.txt").decode().splitlines()
    ranks = rank_candidates(scores, offsets)
    assert lines == [
        f"{i + 5} [{','.join(map(str, ranks[offsets[i] : offsets[i + 1]]))}]" for i in range(len(offsets) - 1)
    ]


def test_submission_bytes_do_not_depend_on_the_clock(tmp_path, monkeypatch):
    arguments = (np.array([1, 2]), np.array([0.1, 0.9, 0.5]), np.array([0, 2, 3]))
    write_submission(tmp_path / "now.zip", *arguments)
    next_year = time.time() + 4e7
    monkeypatch.setattr(time, "time", lambda: next_year)
    write_submission(tmp_path / "then.zip", *arguments)
    assert (tmp_path / "now.zip").read_bytes() == (tmp_path / "then.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "now.zip") as archive:
        assert archive.getinfo("prediction.txt").date_time == (1980, 1, 1, 0, 0, 0)


def test_submission_needs_an_id_per_impression(tmp_path):
    with pytest.raises(ValueError, match="3 impression ids for 2 impressions"):
        write_submission(tmp_path / "p.zip", [1, 2, 3], np.zeros(2), np.array([0, 1, 2]))


# === Whole files or none ===


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused_and_leave_no_file(tmp_path, bad):
    scores, offsets = np.array([0.0, bad]), np.array([0, 1, 2])
    with pytest.raises(ValueError, match=r"1 of 2 scores .*counted from 0: 1"):
        write_scores(tmp_path / "s.txt", scores, offsets)
    with pytest.raises(ValueError, match=r"1 of 2 scores .*counted from 0: 1"):
        write_submission(tmp_path / "p.zip", [1, 2], scores, offsets)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_half_way_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "s.txt"
    write_scores(path, np.array([1.0]), np.array([0, 1]))

    def crash(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(submission, "_write_strings", crash)
    with pytest.raises(OSError, match="no space left"):
        write_scores(path, np.array([2.0]), np.array([0, 1]))
    with pytest.raises(OSError, match="no space left"):
        write_submission(tmp_path / "p.zip", [1], np.array([2.0]), np.array([0, 1]))
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    write_scores(tmp_path / "a" / "b" / "s.txt", np.array([1.0]), np.array([0, 1]))
    assert (tmp_path / "a" / "b" / "s.txt").read_text() == "1\n"
