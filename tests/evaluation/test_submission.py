import re
import time
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation import submission
from recommenders_miner.evaluation.metrics import rank_candidates
from recommenders_miner.evaluation.submission import read_scores, submission_file, write_scores, write_submission

in_one_folder = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[2, 50_000])
def _block_size(request, monkeypatch):
    """Runs a test with logs cut into many blocks, and with whole ones."""
    monkeypatch.setattr(submission, "IMPRESSIONS_PER_BLOCK", request.param)
    monkeypatch.setattr(submission, "BYTES_PER_BLOCK", request.param)


def rows_of(values, width):
    return st.lists(st.lists(values, max_size=6), max_size=8).map(lambda rows: Ragged.of_lists(rows, f"float{width}"))


def prediction(path, name="prediction.txt"):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [name]
        assert archive.testzip() is None
        return archive.read(name).decode()


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
@in_one_folder
def test_scores_come_back_exactly(tmp_path, width, data):
    scores = data.draw(rows_of(st.floats(allow_nan=False, allow_infinity=False, width=width), width))
    write_scores(tmp_path / "scores.txt", scores)
    read = read_scores(tmp_path / "scores.txt")
    assert (read.values.dtype, read.offsets.dtype) == (np.float64, np.int64)
    assert read.values.astype(scores.values.dtype).tobytes() == scores.values.tobytes()
    assert read.offsets.tolist() == scores.offsets.tolist()
    assert rank_candidates(read).tolist() == rank_candidates(scores).tolist()


def test_score_file_is_a_line_per_impression_with_single_spaces_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "s.txt"
    write_scores(path, Ragged.of_lists([[0.1, -2], [], [1 / 3]], "float32"))
    assert path.read_bytes() == b"0.1 -2\n\n0.33333334\n"


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize(
    ("text", "rows"), [(b"1.50  2e-3\r\n-0\t+7\n\n 3 ", [[1.5, 0.002], [0, 7], [], [3]]), (b"", [])]
)
def test_score_file_of_another_hand(tmp_path, text, rows):
    (tmp_path / "s.txt").write_bytes(text)
    assert [row.tolist() for row in read_scores(tmp_path / "s.txt")] == rows


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("bad", ["x", "1,2", "nan", "inf", "0x10", "1e999", "\ufffd", "1\u00a02"])
def test_bad_score_names_file_and_line(tmp_path, bad):
    path = tmp_path / "s.txt"
    path.write_text(f"1 2\n3\n4 {bad} 5\n6\n", encoding="utf-8")
    with pytest.raises(DataFormatError, match=re.escape(f"{path}, line 3: ")) as error:
        read_scores(path)
    assert error.value.line == 3
    assert f"found {bad!r}" in str(error.value)
    path.write_bytes(b"1\n\xff\xfe\n")
    with pytest.raises(DataFormatError, match="line 2"):
        read_scores(path)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("1 2\n1 2 3\n", "", None),
        ("1 2\n", "", "has 1 lines, but the log has 2 impressions"),
        ("1 2\n1 2 3\n\n", "", "has 3 lines, but the log has 2 impressions"),
        ("1 2\n1 2\n", ", line 2", "has 2 scores, but the impression has 3 candidates"),
        ("1 2 3\n1 2\n", ", line 1", "has 3 scores, but the impression has 2 candidates"),
    ],
)
def test_scores_of_another_log_are_refused(tmp_path, text, place, message):
    news = NewsTable.from_columns(["N1", "N2", "N3"], ["title"] * 3)
    log = ImpressionLog.from_columns(news, [[], []], [["N1", "N2"], ["N3", "N2", "N1"]])
    path = tmp_path / "click_logits.txt"
    path.write_text(text)
    if message is None:
        assert read_scores(path, log).values.tolist() == [1, 2, 1, 2, 3]
        return
    with pytest.raises(DataFormatError, match=re.escape(f"{path}{place}: {message}")):
        read_scores(path, log)


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("ids", [["7", "b", "8"], np.array([7, "b", 8]), pa.array(["7", "b", "8"])])
def test_submission_holds_the_ranks_and_nothing_else(tmp_path, ids):
    scores = Ragged.of_lists([[0.1, 0.9, 0.5], [1.0], [2.0, 2.0, 3.0]], "float64")
    write_submission(tmp_path / "p.zip", ids, scores)
    assert prediction(tmp_path / "p.zip") == "7 [3,1,2]\nb [1]\n8 [2,3,1]\n"
    with pytest.raises(ValueError, match="2 impression ids for 3 impressions"):
        write_submission(tmp_path / "p.zip", ids[:2], scores)


@pytest.mark.parametrize(
    ("description", "name"),
    [
        *((f'{{"converter": "{converter}"}}', "prediction.txt") for converter in ("own", "xmind", "adressa")),
        ('{"converter": "ebnerd", "source": ["ebnerd_testset"]}', "predictions.txt"),
        *((damaged, "prediction.txt") for damaged in (None, "", "[", "[1]", "3", "{}", b"\xff")),
    ],
)
def test_the_file_in_the_zip_is_named_as_the_leaderboard_of_the_data_takes_it(tmp_path, description, name):
    if description is not None:
        content = description if isinstance(description, bytes) else description.encode()
        (tmp_path / "conversion.json").write_bytes(content)
    assert submission_file(tmp_path) == name
    write_submission(tmp_path / "p.zip", [7], Ragged.of_lists([[0.1, 0.9]], "float64"), submission_file(tmp_path))
    assert prediction(tmp_path / "p.zip", name) == "7 [2,1]\n"


@pytest.mark.usefixtures("_block_size")
@given(data=st.data())
@in_one_folder
def test_submission_agrees_with_the_ranks(tmp_path, data):
    scores = data.draw(rows_of(st.integers(0, 3), 32))
    write_submission(tmp_path / "p.zip", np.arange(len(scores)) + 5, scores)
    ranks = Ragged(rank_candidates(scores), scores.offsets)
    expected = [f"{number} [{','.join(map(str, row))}]" for number, row in enumerate(ranks, start=5)]
    assert prediction(tmp_path / "p.zip").splitlines() == expected


def test_submission_bytes_do_not_depend_on_the_clock(tmp_path, monkeypatch):
    arguments = (np.array([1, 2]), Ragged.of_lists([[0.1, 0.9], [0.5]], "float64"))
    write_submission(tmp_path / "now.zip", *arguments)
    next_year = time.time() + 4e7
    monkeypatch.setattr(time, "time", lambda: next_year)
    write_submission(tmp_path / "then.zip", *arguments)
    assert (tmp_path / "now.zip").read_bytes() == (tmp_path / "then.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "now.zip") as archive:
        assert archive.getinfo("prediction.txt").date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_and_crashes_leave_the_old_file_and_no_other(tmp_path, monkeypatch, bad):
    path, scores = tmp_path / "s.txt", Ragged.of_lists([[0.0], [1.0]], "float64")
    write_scores(path, scores)

    def both(scores, error, message):
        with pytest.raises(error, match=message):
            write_scores(path, scores)
        with pytest.raises(error, match=message):
            write_submission(tmp_path / "p.zip", [1, 2], scores)
        assert path.read_text() == "0\n1\n"
        assert list(tmp_path.iterdir()) == [path]

    both(Ragged.of_lists([[0.0], [bad]], "float64"), ValueError, r"1 of 2 scores .*counted from 0: 1")

    def crash(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(submission, "_join_rows", crash)
    both(scores, OSError, "no space left")
