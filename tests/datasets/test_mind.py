"""MIND: where it comes from, what is taken of what a user has, and what is checked. The data is invented."""

from __future__ import annotations

import hashlib
import logging
import random
import re
from unittest import mock

import pytest

from recommenders_miner.datasets import mind
from recommenders_miner.datasets.mind import LICENCE_URL, fetch_mind, find_places, known_files, said_by
from recommenders_miner.errors import (
    DataFormatError,
    DownloadError,
    LicenceError,
    RecommendersMinerError,
)
from tests.datasets.loopback import cut, status, whole
from tests.datasets.mind_like import BOTH, DEV, FILES, TRAIN, facts, read, split_files, within, write, zipped

LARGE = split_files("large", 8)
UNPACKED = within("MINDsmall_train", TRAIN) | within("MINDsmall_dev", DEV)
FIRST, SECOND = (f"/datasets/{owner}/MIND/resolve/main/MINDsmall_{{}}.zip" for owner in ("yjw1029", "Recommenders"))


@pytest.fixture(autouse=True)
def _small_mind(monkeypatch, tmp_path_factory):
    """MIND-small is the files above; the licence has been accepted; Kaggle does not answer."""
    known = {
        "demo": {"train": facts(TRAIN), "dev": facts(DEV)},
        "small": {"train": facts(TRAIN), "dev": facts(DEV)},
        "large": {"train": facts(LARGE), "dev": facts(LARGE), "test": facts(LARGE)},
        "zips": {"Recommenders/MIND": {"MINDsmall_train.zip": hashlib.sha256(zipped(TRAIN)).hexdigest()}},
    }
    home = tmp_path_factory.mktemp("home")
    write(home, {"accepted_licences.json": f'{{"{LICENCE_URL}": "2031-03-01"}}'.encode()})
    monkeypatch.setattr(mind, "known_files", lambda: known)
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(home))

    offline = mock.Mock(side_effect=ConnectionError("Kaggle is far away"))
    monkeypatch.setattr("kagglehub.dataset_download", offline)


@pytest.fixture
def mirrors(hub):
    """Set what the mirrors answer, one after another, to a request for a split; those not named answer 404."""

    def set_mirrors(split, **answers):
        for path, mirror in ((FIRST, "first"), (SECOND, "second")):
            if mirror in answers:
                hub.serve(path.format(split), *answers[mirror])
        return hub

    return set_mirrors


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# === Mirrors ===


def test_a_data_folder_is_made_and_nothing_else_is_left(mirrors, tmp_path):
    mirrors("train", first=[whole(zipped(within("MINDsmall_train", TRAIN) | {"__MACOSX/._news.tsv": b"x"}))])
    server = mirrors("dev", first=[whole(zipped(DEV | {"readme.txt": b"x"}))])
    assert fetch_mind("small", tmp_path / "data" / "mind") == tmp_path / "data" / "mind"
    assert read(tmp_path) == within("data/mind", BOTH)
    assert len(server.requests) == 2


FAILURES = {
    "gated": (status(401, X_Error_Message="Access to it is restricted."), r"HTTP 401 Access to .* hf auth login"),
    "forbidden": (status(403), r"Forbidden\. Accept its terms on http\S+/datasets/yjw1029/MIND, then: hf auth login"),
    "a page": (whole(b"<html>Moved</html>"), "is no zip file"),
    "dangerous": (whole(zipped(TRAIN | {"../evil": b"x"})), "leaves its folder"),
    "another split": (whole(zipped(DEV)), r"news.tsv: has 6 rows, expected 9\. It is not MIND-small's of train"),
    "without its log": (whole(zipped({"news.tsv": b"x"})), "has no train split"),
}


@pytest.mark.parametrize(("answer", "message"), FAILURES.values(), ids=FAILURES)
def test_a_mirror_that_fails_is_named_and_the_next_one_tried(mirrors, tmp_path, caplog, answer, message):
    mirrors("train", first=[answer], second=[whole(zipped(TRAIN))])
    with caplog.at_level(logging.INFO, "recommenders_miner"):
        fetch_mind("small", tmp_path / "mind", ["train"])
    assert read(tmp_path) == within("mind/train", TRAIN)
    [named] = [text for text in caplog.messages if "not from the Hugging Face hub (yjw1029/MIND)" in text]
    assert re.search(message, named)
    assert "MIND-small, train: from the Hugging Face hub (Recommenders/MIND)" in caplog.messages


def test_when_all_fail_each_is_named_in_order_and_the_hub_was_shown_the_token(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    server = mirrors("train", first=[status(401)], second=[whole(zipped(TRAIN | {"more": b""}))])
    with pytest.raises(DownloadError) as caught:
        fetch_mind("small", tmp_path, ["train"])
    expected = [
        "^MIND-small, train: could not be fetched.$",
        r"\(yjw1029/MIND\): http.*HTTP 401",
        r"\(Recommenders/MIND\): http.*SHA-256",
        r"Kaggle \(arashnic/mind-news-dataset\): Kaggle is far away",
        "--from PATH",
    ]
    for line, pattern in zip(str(caught.value).splitlines(), expected, strict=True):
        assert re.search(pattern, line)
    assert read(tmp_path) == {}
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hf_secret"] * 2


def test_kaggles_folder_of_all_splits_is_searched(mirrors, tmp_path, monkeypatch):
    cache = write(tmp_path / "cache", UNPACKED | {"news.tsv/news.tsv": b"x"})
    download = mock.Mock(return_value=str(cache))
    monkeypatch.setattr("kagglehub.dataset_download", download)
    mirrors("train")
    fetch_mind("small", tmp_path / "out")
    download.assert_called_with("arashnic/mind-news-dataset")
    assert read(tmp_path / "out") == BOTH


# === Going on ===


@pytest.mark.parametrize("refused", [False, True])
def test_a_later_call_resumes_what_broke_off_but_nothing_that_was_refused(mirrors, tmp_path, monkeypatch, refused):
    monkeypatch.setattr("recommenders_miner.datasets.fetch.ATTEMPTS", 1)
    content = zipped(TRAIN | {"ballast": random.Random(1).randbytes(300_000)})
    broken = [cut(content, 200_000), whole(content)]
    first = [whole(b"<html>"), whole(zipped(TRAIN))] if refused else broken
    server = mirrors("train", first=first, second=broken if refused else [status(404)])
    with pytest.raises(DownloadError, match="the next call resumes at byte"):
        fetch_mind("small", tmp_path, ["train"])
    assert [path.name[:26] for path in tmp_path.rglob("*.zip*")] == [".MINDsmall_train.zip.part-"]
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN)
    assert ("Range" in server.asked(FIRST.format("train"))[1]) != refused


def test_splits_that_are_there_are_left_as_they_are_and_what_a_killed_call_left_goes(mirrors, tmp_path):
    mine, left = {"train/.cache/mine": b"x"}, {".dev.downloads/0/.MINDsmall_dev.zip.part-1": b"PK"}
    write(tmp_path, within("train", TRAIN) | mine | left | {".train.downloads/0/.MINDsmall_train.zip.part-1": b"PK"})
    server = mirrors("dev", first=[whole(zipped(DEV))])
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN) | mine | left
    fetch_mind("small", tmp_path)
    assert read(tmp_path) == BOTH | mine
    assert [path for path, _ in server.requests] == [FIRST.format("dev")]


@pytest.mark.parametrize("files", [{"thesis.txt": b"years"}, LARGE, {"news.tsv": TRAIN["news.tsv"]}])
def test_a_folder_with_something_else_is_never_replaced(tmp_path, files):
    given = write(tmp_path / "given", BOTH)
    write(tmp_path / "out" / "train", files)
    with pytest.raises(RecommendersMinerError, match="train: not overwritten, since it is something else than MIND"):
        fetch_mind("small", tmp_path / "out", source=given)
    assert read(tmp_path / "out") == within("train", files)


# === What the user has ===


ZIPS = {"MINDsmall_train.zip": zipped(TRAIN), "MINDsmall_dev.zip": zipped(DEV)}
CLUTTER = {
    "MINDlarge_train.zip": zipped(LARGE),
    "MINDlarge_dev.zip": zipped(LARGE),
    "photos.zip": zipped({"a.jpg": b"x"}),
    "broken.zip": b"no zip file",
    "bank.pdf": b"x",
    "project/train/notes.txt": b"x",
}
FORMS = {
    "one zip file": ({"MIND.zip": zipped(BOTH)}, "MIND.zip"),
    "Kaggle's zip file": ({"archive.zip": zipped(UNPACKED | {"news.tsv/news.tsv": b"x"})}, "archive.zip"),
    "a download folder": (CLUTTER | ZIPS, ""),
    "renamed zip files": ({"Train.ZIP": zipped(TRAIN), "mind valid (1).zip": zipped(DEV)}, ""),
    "unpacked": (UNPACKED, ""),
    "nested": (within("MIND/train/MINDsmall_train", TRAIN) | within("MIND/valid", DEV), ""),
    "a data folder": (BOTH | {".cache/train/news.tsv": b"x", ".cache/train/behaviors.tsv": b"x"}, ""),
    "unpacked beside zip files": (ZIPS | UNPACKED, ""),
}


@pytest.mark.parametrize(("files", "source"), FORMS.values(), ids=FORMS)
def test_whatever_form_the_users_files_have_the_data_folder_is_the_same(tmp_path, files, source, caplog):
    given = write(tmp_path / "given", files)
    fetch_mind("small", tmp_path / "out", source=str(given / source))
    assert read(tmp_path / "out") == BOTH
    assert read(given) == files
    assert warnings_in(caplog) == []


def test_a_single_split_may_be_called_anything_if_its_name_is_said(tmp_path):
    given = write(tmp_path / "stuff", {"stuff.zip": zipped(TRAIN)})
    with pytest.raises(DataFormatError, match=r"has no train or dev split of MIND-small\. There is .*stuff.*--split"):
        fetch_mind("small", tmp_path / "out", source=given)
    fetch_mind("small", tmp_path / "out", ["train"], given)
    assert read(tmp_path / "out") == within("train", TRAIN)


def test_another_size_is_not_taken(tmp_path):
    given = write(tmp_path / "given", {"MINDlarge_train.zip": zipped(LARGE)})
    with pytest.raises(DataFormatError, match=r"has no train or dev split of MIND-small\. There is .*MINDlarge_train"):
        fetch_mind("small", tmp_path / "out", source=given)


def test_a_split_that_is_not_there_is_named(tmp_path, caplog):
    given = write(tmp_path / "given", {"MINDsmall_train.zip": zipped(TRAIN)})
    with pytest.raises(DataFormatError, match="has no dev split"):
        fetch_mind("small", tmp_path / "out", ["train", "dev"], given)
    assert not (tmp_path / "out").exists()
    fetch_mind("small", tmp_path / "out", source=given)
    assert read(tmp_path / "out") == within("train", TRAIN)
    assert f"{given} has no dev split of MIND-small." in caplog.messages


def test_files_that_are_not_as_minds_are_known_to_be_are_taken_with_a_warning(tmp_path, caplog):
    mine = {name: content for name, content in DEV.items() if name != "relation_embedding.vec"}
    crlf = TRAIN | {"news.tsv": TRAIN["news.tsv"].replace(b"\n", b"\r\n")}
    given = write(tmp_path / "given", within("train", crlf) | within("dev", mine | {"behaviors.tsv": b"x\n"}))
    fetch_mind("small", tmp_path / "out", source=given)
    assert read(tmp_path / "out") == read(given)
    size = len(TRAIN["news.tsv"])
    assert warnings_in(caplog) == [
        f"MIND-small, train: news.tsv has {size + 9:,} bytes, expected {size:,}.",
        "MIND-small, dev: behaviors.tsv has 1 rows, expected 5.",
        "MIND-small, dev: relation_embedding.vec is missing.",
    ]


def test_a_count_that_is_not_sure_is_a_warning_of_a_download_too(mirrors, tmp_path, caplog):
    mind.known_files()["small"]["train"]["news.tsv"] |= {"rows": 4, "sure": False}
    mirrors("train", first=[whole(zipped(TRAIN))])
    fetch_mind("small", tmp_path, ["train"])
    assert warnings_in(caplog) == ["MIND-small, train: news.tsv has 9 rows, expected 4."]


@pytest.mark.parametrize("source", ["", "MINDsmall_train.zip"])
def test_a_damaged_zip_file_of_the_user_is_named(tmp_path, source):
    given = write(tmp_path / "given", {"MINDsmall_train.zip": b""})
    with pytest.raises(DataFormatError, match=r"MINDsmall_train\.zip: is no zip file"):
        fetch_mind("small", tmp_path / "out", source=given / source)
    assert read(tmp_path) == {"given/MINDsmall_train.zip": b""}


@pytest.mark.parametrize(
    ("size", "splits", "message"),
    [
        ("small", None, "nowhere: does not exist"),
        ("tiny", None, "size must be one of demo, small, large"),
        ("small", ["train", "test"], "MIND-small has the splits train, dev, not test"),
    ],
)
def test_paths_sizes_and_splits_that_there_are_not_are_errors(tmp_path, size, splits, message):
    with pytest.raises(ValueError, match=message):
        fetch_mind(size, tmp_path / "out", splits, tmp_path / "nowhere")


# === Names of files and folders ===


NAMED = {
    ("small", "train"): "MINDsmall_train|small/training|MINDsmalltrain|small/trainset",
    ("small", "dev"): "MIND small validation|MINDsmall_train/dev|MINDlarge/MINDsmall_val",
    ("large", "dev"): "MINDlarge_dev (1)|mindlargedev (1)",
    ("demo", "dev"): "mind-demo-valid|MIND-demo_validationset",
    ("large", "test"): "MIND_large/TEST",
    (None, "train"): "train",
    (None, "test"): "MINDtest|testset",
    (None, None): "Downloads/latest|contest/strain/smallest|trainer|mindset|latestset|remindtest|protest/devsettings",
}


@pytest.mark.parametrize(("named", "labels"), NAMED.items(), ids=str)
def test_a_name_says_the_size_and_the_split(named, labels):
    for label in labels.split("|"):
        assert said_by(label.split("/")) == named, label


def test_links_that_lead_nowhere_and_what_lies_too_deep_are_passed_over(tmp_path):
    write(tmp_path, within("train", TRAIN) | within("1/2/train", TRAIN) | within("1/2/3/dev", DEV))
    for name, target in {"loop": "loop", "train/loop.zip": "loop.zip", "train/entity.vec": "nowhere"}.items():
        (tmp_path / name).symlink_to(target)
    places = [str(place) for place in find_places(tmp_path)]
    assert places == [str(tmp_path / "1" / "2" / "train"), str(tmp_path / "train")]


# === Checks ===


def test_the_known_facts_are_complete():
    known, splits = known_files(), ("train", "dev", "test")
    assert [tuple(known[size]) for size in mind.SIZES] == [splits[:2], splits[:2], splits]
    assert all(tuple(files) == FILES for size in mind.SIZES for files in known[size].values())
    assert {len(bytes.fromhex(digest)) for digest in known["zips"]["Recommenders/MIND"].values()} == {32}


# === Licence ===


@pytest.mark.parametrize("record", [None, "", "{", "\xff"])
def test_the_licence_has_to_be_accepted_once(tmp_path, monkeypatch, record):
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    given = write(tmp_path / "given", BOTH)
    if record is not None:
        write(tmp_path / "home", {"accepted_licences.json": record.encode("latin-1")})
    with pytest.raises(LicenceError, match=r"MSR%20License_Data\.pdf\n.*non-commercial.*\n.*--accept-licence"):
        fetch_mind("small", tmp_path / "out", source=given)
    assert not (tmp_path / "out").exists()
    fetch_mind("small", tmp_path / "out", source=given, accept_licence=True)
    fetch_mind("small", tmp_path / "again", source=given)
    assert read(tmp_path / "again") == BOTH


def test_an_acceptance_that_cannot_be_remembered_counts_for_this_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "file" / "home"))
    given = write(tmp_path / "given", BOTH)
    fetch_mind("small", tmp_path / "out", source=given, accept_licence=True)
    assert "cannot be remembered" in caplog.text
