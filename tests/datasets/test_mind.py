"""MIND: where it comes from, what is taken of what a user has, and what is checked. The data is invented."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import re
import zipfile

import pytest

from recommenders_miner.datasets import mind
from recommenders_miner.datasets.licence import Licence
from recommenders_miner.datasets.mind import LICENCE, count_rows, fetch_mind, known_files
from recommenders_miner.errors import (
    DataFormatError,
    DownloadError,
    LicenceError,
    NotWrittenError,
    RecommendersMinerError,
)
from tests.datasets.loopback import cut, status, whole
from tests.datasets.mind_like import FILES, facts, read, split_files, within, write, zipped
from tests.test_storage import NO_FOLDERS, posix_only

TRAIN, DEV, LARGE = split_files("train", 9), split_files("dev", 6), split_files("large", 8)
BOTH = within("train", TRAIN) | within("dev", DEV)
FIRST, SECOND, OLD = "/datasets/yjw1029/MIND", "/datasets/Recommenders/MIND", "/old"


@pytest.fixture(autouse=True)
def _small_mind(monkeypatch, tmp_path_factory):
    """MIND-small is the files above; the licence has been accepted; Kaggle does not answer."""
    known = {
        "demo": {"train": facts(TRAIN), "dev": facts(DEV)},
        "small": {"train": facts(TRAIN), "dev": facts(DEV)},
        "large": {"train": facts(LARGE), "dev": facts(LARGE), "test": facts(LARGE)},
        "zips": {"Recommenders/MIND": {"MINDsmall_train.zip": hashlib.sha256(zipped(TRAIN)).hexdigest()}},
    }
    monkeypatch.setattr(mind, "known_files", lambda: known)
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path_factory.mktemp("home")))
    LICENCE.require(accept=True)

    def offline(handle):
        raise ConnectionError("Kaggle is far away")

    monkeypatch.setattr("kagglehub.dataset_download", offline)


@pytest.fixture
def mirrors(hub, monkeypatch):
    """Sets what the mirrors answer, one after another, to a request for a split; those not named answer 404."""
    monkeypatch.setattr(mind, "OLD_HOSTS", (hub.url + OLD,))

    def set_mirrors(split, first=(), second=(), old=()):
        name = f"MINDsmall_{split}.zip"
        for path, answers in {
            f"{FIRST}/resolve/main/{name}": first,
            f"{SECOND}/resolve/main/{name}": second,
            f"{OLD}/{name}": old,
        }.items():
            if answers:
                hub.serve(path, *answers)
        return hub

    return set_mirrors


# === Mirrors ===


def test_a_data_folder_is_made_and_nothing_else_is_left(mirrors, tmp_path):
    mirrors("train", first=[whole(zipped(TRAIN))])
    server = mirrors("dev", first=[whole(zipped(DEV))])
    assert fetch_mind("small", tmp_path / "data" / "mind") == tmp_path / "data" / "mind"
    assert read(tmp_path) == within("data/mind", BOTH)
    assert len(server.requests) == 2


@pytest.mark.parametrize("folder", ["", "MINDsmall_train/", "a/b/"])
def test_the_files_may_lie_in_folders_of_the_zip_file(mirrors, tmp_path, folder):
    extra = {"__MACOSX/._news.tsv": b"x", "readme.txt": b"x"}
    mirrors("train", first=[whole(zipped({folder + name: content for name, content in TRAIN.items()} | extra))])
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN)


FAULTS = {
    "gated": (status(401, X_Error_Message="Access to it is restricted."), r"HTTP 401 Access to .* hf auth login"),
    "forbidden": (status(403), r"Forbidden\. Accept its terms on http\S+/datasets/yjw1029/MIND, then: hf auth login"),
    "gone": (status(404), "HTTP 404 Not Found"),
    "closed": (status(409, "Public access is not permitted on this storage account."), "HTTP 409 Public access is not"),
    "failing": (status(500), "HTTP 500 Internal Server Error"),
    "a page": (whole(b"<html>Moved</html>"), "is no zip file"),
    "cut before it was put there": (whole(zipped(TRAIN)[:-40]), "is no zip file"),
    "corrupt": (whole(zipped(TRAIN).replace(b"PK\3\4", b"PK\3\5")), "is no zip file"),
    "dangerous": (whole(zipped(TRAIN | {"../evil": b"x"})), "leaves its folder"),
    "another split": (whole(zipped(DEV)), "news.tsv: has 6 rows, expected 9"),
    "something else": (whole(zipped({"readme.txt": b"x"})), "has no train split"),
    "without its log": (whole(zipped({"news.tsv": b"x"})), "has no train split"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mirror_that_fails_is_named_and_the_next_one_tried(mirrors, tmp_path, caplog, fault):
    answer, message = FAULTS[fault]
    mirrors("train", first=[answer], second=[whole(zipped(TRAIN))])
    with caplog.at_level(logging.INFO, "recommenders_miner"):
        fetch_mind("small", tmp_path / "mind", ["train"])
    assert read(tmp_path) == within("mind/train", TRAIN)
    [named] = [text for text in caplog.messages if "not from the Hugging Face hub (yjw1029/MIND)" in text]
    assert re.search(message, named)
    assert "MIND-small, train: from the Hugging Face hub (Recommenders/MIND)" in caplog.messages


def test_when_all_fail_each_is_named_and_nothing_is_left(mirrors, tmp_path):
    mirrors("train", first=[status(401)], second=[whole(zipped(TRAIN | {"more": b""}))], old=[status(409)])
    with pytest.raises(DownloadError) as caught:
        fetch_mind("small", tmp_path, ["train"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "MIND-small, train: could not be fetched."
    assert "(yjw1029/MIND): http" in lines[1]
    assert "HTTP 401" in lines[1]
    assert "(Recommenders/MIND): http" in lines[2]
    assert "SHA-256" in lines[2]
    assert "Kaggle (arashnic/mind-news-dataset): Kaggle is far away" in lines[3]
    assert lines[4].startswith("  the old host 127.0.0.1: http")
    assert "HTTP 409" in lines[4]
    assert "--from PATH" in lines[5]
    assert read(tmp_path) == {}


def test_the_users_token_is_shown_to_the_hub_and_to_nobody_else(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    server = mirrors("train", old=[whole(zipped(TRAIN))])
    fetch_mind("small", tmp_path, ["train"])
    shown = {path: headers.get("Authorization") for path, headers in server.requests}
    assert shown == {
        f"{FIRST}/resolve/main/MINDsmall_train.zip": "Bearer hf_secret",
        f"{SECOND}/resolve/main/MINDsmall_train.zip": "Bearer hf_secret",
        f"{OLD}/MINDsmall_train.zip": None,
    }


def test_kaggles_folder_of_all_splits_is_searched(mirrors, tmp_path, monkeypatch):
    def download(handle):
        assert handle == "arashnic/mind-news-dataset"
        files = within("MINDsmall_train", TRAIN) | within("MINDsmall_dev", DEV) | {"news.tsv/news.tsv": b"x"}
        return str(write(tmp_path / "cache", files))

    monkeypatch.setattr("kagglehub.dataset_download", download)
    mirrors("train")
    fetch_mind("small", tmp_path / "out")
    assert read(tmp_path / "out") == BOTH


# === Going on ===


def test_a_transfer_that_broke_off_is_resumed_by_the_next_call(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr("recommenders_miner.datasets.fetch.ATTEMPTS", 1)
    content = zipped(TRAIN | {"ballast": random.Random(1).randbytes(300_000)})
    server = mirrors("train", first=[cut(content, 200_000), whole(content)])
    with pytest.raises(DownloadError, match="the next call resumes at byte"):
        fetch_mind("small", tmp_path, ["train"])
    assert not (tmp_path / "train").exists()
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN)
    assert "Range" in server.asked(f"{FIRST}/resolve/main/MINDsmall_train.zip")[1]


def test_a_download_that_was_refused_is_not_taken_for_whole_by_the_next_call(mirrors, tmp_path, monkeypatch):
    """Though the part of another one keeps the folder of downloads."""
    monkeypatch.setattr("recommenders_miner.datasets.fetch.ATTEMPTS", 1)
    part = cut(random.Random(1).randbytes(300_000), 200_000)
    mirrors("train", first=[whole(b"<html>"), whole(zipped(TRAIN))], second=[part])
    with pytest.raises(DownloadError, match="is no zip file"):
        fetch_mind("small", tmp_path, ["train"])
    assert list(tmp_path.rglob(".*.part"))
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN)


def test_an_interruption_while_unpacking_does_not_cost_the_download(mirrors, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    server = mirrors("train", first=[whole(zipped(TRAIN))])
    with monkeypatch.context() as patch:
        patch.setattr(mind, "count_rows", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch_mind("small", tmp_path, ["train"])
    assert not (tmp_path / "train").exists()
    fetch_mind("small", tmp_path, ["train"])
    assert read(tmp_path) == within("train", TRAIN)
    assert len(server.requests) == 1


def test_what_a_killed_call_left_goes_when_all_splits_are_there(tmp_path):
    zips = {"MINDsmall_train.zip": zipped(TRAIN), "MINDsmall_dev.zip": zipped(DEV)}
    part = {"out/.downloads/0/.MINDsmall_dev.zip.part": b"PK"}
    write(tmp_path, within("given", zips) | part)
    (tmp_path / "out" / ".train.01234567.tmp").mkdir()
    fetch_mind("small", tmp_path / "out", ["train"], tmp_path / "given")
    assert read(tmp_path / "out") == within("train", TRAIN) | {".downloads/0/.MINDsmall_dev.zip.part": b"PK"}
    fetch_mind("small", tmp_path / "out", source=tmp_path / "given")
    assert read(tmp_path / "out") == BOTH
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train", "dev"}


def test_splits_that_are_there_are_left_as_they_are(mirrors, tmp_path):
    write(tmp_path, within("train", TRAIN) | {"train/.cache/mine": b"x"})
    server = mirrors("dev", first=[whole(zipped(DEV))])
    fetch_mind("small", tmp_path)
    assert read(tmp_path) == BOTH | {"train/.cache/mine": b"x"}
    assert [path for path, _ in server.requests] == [f"{FIRST}/resolve/main/MINDsmall_dev.zip"]
    fetch_mind("small", tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("files", [{"thesis.txt": b"years"}, LARGE, {"news.tsv": TRAIN["news.tsv"]}])
def test_a_folder_with_something_else_is_never_replaced(tmp_path, files):
    mine = within("train", files)
    write(tmp_path, mine)
    with pytest.raises(
        RecommendersMinerError, match=r"train: not overwritten, since it holds something else than MIND"
    ):
        fetch_mind("small", tmp_path, source=write(tmp_path / "given", within("train", TRAIN)))
    assert {name: content for name, content in read(tmp_path).items() if name.startswith("train")} == mine


@posix_only
@pytest.mark.parametrize("make", NO_FOLDERS)
def test_what_is_no_folder_is_never_replaced(tmp_path, make):
    given = write(tmp_path / "given", within("train", TRAIN))
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / "train")
    before = os.lstat(tmp_path / "out" / "train")
    for source in (given, None):
        with pytest.raises(RecommendersMinerError, match="train: not overwritten, since it is no folder"):
            fetch_mind("small", tmp_path / "out", ["train"], source)
    assert os.path.samestat(os.lstat(tmp_path / "out" / "train"), before)


def test_a_file_in_the_place_of_the_data_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("mine")
    for source in (write(tmp_path / "given", within("train", TRAIN)), None):
        with pytest.raises(NotWrittenError, match="not written"):
            fetch_mind("small", tmp_path / "out", ["train"], source)
    assert (tmp_path / "out").read_text() == "mine"


# === What the user has ===


def one_zip(folder):
    return write(folder, {"MIND.zip": zipped(BOTH)}) / "MIND.zip"


def kaggles_zip(folder):
    files = within("MINDsmall_train", TRAIN) | within("MINDsmall_dev", DEV) | {"news.tsv/news.tsv": b"x"}
    return write(folder, {"archive.zip": zipped(files)}) / "archive.zip"


def download_folder(folder):
    clutter = {
        "MINDlarge_train.zip": zipped(LARGE),
        "MINDlarge_dev.zip": zipped(LARGE),
        "photos.zip": zipped({"a.jpg": b"x"}),
        "broken.zip": b"no zip file",
        "bank.pdf": b"x",
        "project/train/notes.txt": b"x",
    }
    return write(folder, clutter | {"MINDsmall_train.zip": zipped(TRAIN), "MINDsmall_dev.zip": zipped(DEV)})


def zips_of_folders(folder):
    train, dev = zipped(within("MINDsmall_train", TRAIN)), zipped(within("MINDsmall_dev", DEV))
    return write(folder, {"MINDsmall_train.zip": train, "sub/MINDsmall_dev.zip": dev})


def renamed_zips(folder):
    return write(folder, {"Train.ZIP": zipped(TRAIN), "mind valid (1).zip": zipped(DEV)})


def unpacked(folder):
    return write(folder, within("MINDsmall_train", TRAIN) | within("MINDsmall_dev", DEV))


def nested(folder):
    return write(folder, within("MIND/train/MINDsmall_train", TRAIN) | within("MIND/valid", DEV))


def data_folder(folder):
    return write(folder, BOTH | {".cache/train/news.tsv": b"x", ".cache/train/behaviors.tsv": b"x"})


def unpacked_beside_zips(folder):
    zips = {"MINDsmall_train.zip": zipped(TRAIN), "MINDsmall_dev.zip": b"damaged"}
    return write(folder, zips | within("MINDsmall_train", TRAIN) | within("MINDsmall_dev", DEV))


FORMS = [
    one_zip,
    kaggles_zip,
    download_folder,
    zips_of_folders,
    renamed_zips,
    unpacked,
    nested,
    data_folder,
    unpacked_beside_zips,
]


@pytest.mark.parametrize("form", FORMS)
def test_whatever_form_the_users_files_have_the_data_folder_is_the_same(tmp_path, form, caplog):
    given = form(tmp_path / "given")
    before = read(tmp_path / "given")
    fetch_mind("small", tmp_path / "out", source=str(given))
    assert read(tmp_path / "out") == BOTH
    assert read(tmp_path / "given") == before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_single_split_may_be_called_anything_if_its_name_is_said(tmp_path, form):
    given = write(tmp_path / "stuff", TRAIN if form == "folder" else {"stuff.zip": zipped(TRAIN)})
    with pytest.raises(DataFormatError, match=r"has no train or dev split of MIND-small\. There is .*stuff.*--split"):
        fetch_mind("small", tmp_path / "out", source=given)
    fetch_mind("small", tmp_path / "out", ["train"], given)
    assert read(tmp_path / "out") == within("train", TRAIN)


def test_another_size_is_not_taken(tmp_path):
    given = write(tmp_path / "given", {"MINDlarge_train.zip": zipped(LARGE), "MINDlarge_dev.zip": zipped(LARGE)})
    with pytest.raises(DataFormatError, match=r"has no train or dev split of MIND-small\. There is .*MINDlarge_train"):
        fetch_mind("small", tmp_path / "out", source=given)
    assert not (tmp_path / "out").exists()
    fetch_mind("large", tmp_path / "out", ["train"], source=given)
    assert read(tmp_path / "out") == within("train", LARGE)


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
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"MIND-small, train: news.tsv has {size + 9:,} bytes, expected {size:,}.",
        "MIND-small, dev: behaviors.tsv has 1 rows, expected 5.",
        "MIND-small, dev: relation_embedding.vec is missing.",
    ]


def test_a_count_that_is_not_sure_is_a_warning_of_a_download_too(mirrors, tmp_path, caplog):
    mind.known_files()["small"]["train"]["news.tsv"] |= {"rows": 4, "sure": False}
    mirrors("train", first=[whole(zipped(TRAIN))])
    fetch_mind("small", tmp_path, ["train"])
    assert "MIND-small, train: news.tsv has 9 rows, expected 4." in caplog.messages


@pytest.mark.parametrize("content", [zipped(TRAIN)[:-30], b"", zipped(TRAIN | {"/evil": b"x"})])
def test_a_damaged_or_dangerous_zip_file_of_the_user_is_named(tmp_path, content):
    given = write(tmp_path / "given", {"MINDsmall_train.zip": content})
    for source in (given, given / "MINDsmall_train.zip"):
        with pytest.raises(DataFormatError, match=r"MINDsmall_train\.zip: (is no zip file|the entry)"):
            fetch_mind("small", tmp_path / "out", source=source)
    assert not (tmp_path / "out").exists()
    assert read(given) == {"MINDsmall_train.zip": content}


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataFormatError, match="nowhere: does not exist"):
        fetch_mind("small", tmp_path / "out", source=tmp_path / "nowhere")


@pytest.mark.parametrize(("size", "splits"), [("tiny", None), ("small", ["test"]), ("small", ["train", "valid"])])
def test_sizes_and_splits_that_mind_does_not_have_are_errors(tmp_path, size, splits):
    with pytest.raises(ValueError, match=r"size must be|has the splits train, dev, not"):
        fetch_mind(size, tmp_path, splits)


# === Checks ===


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 0),
        (b"a", 1),
        (b"a\n", 1),
        (b"a\nb", 2),
        (b"a\r\nb\r\n", 2),
        (b"a\nb\n\n", 2),
        (b"a\r\nb\r\n\r\n\r\n", 2),
        (b"a\n\nb\n", 3),
        (b"\n\n", 0),
        (b"a\n" * 5000, 5000),
    ],
)
def test_rows_are_lines_but_for_blank_ones_at_the_end(tmp_path, monkeypatch, content, rows):
    (tmp_path / "file").write_bytes(content)
    assert count_rows(tmp_path / "file") == rows
    monkeypatch.setattr(mind, "_BLOCK_BYTES", 3)
    assert count_rows(tmp_path / "file") == rows


def test_the_known_facts_are_complete(monkeypatch):
    known = known_files()
    assert {size: tuple(known[size]) for size in mind.SIZES} == {
        "demo": ("train", "dev"),
        "small": ("train", "dev"),
        "large": ("train", "dev", "test"),
    }
    assert all(tuple(files) == FILES for size in mind.SIZES for files in known[size].values())
    assert {len(bytes.fromhex(digest)) for digest in known["zips"]["Recommenders/MIND"].values()} == {32}


# === Licence ===


def test_the_licence_has_to_be_accepted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    given = write(tmp_path / "given", BOTH)
    with pytest.raises(LicenceError, match=r"MSR%20License_Data\.pdf\n.*non-commercial.*\n.*--accept-licence"):
        fetch_mind("small", tmp_path / "out", source=given)
    assert not (tmp_path / "out").exists()
    fetch_mind("small", tmp_path / "out", source=given, accept_licence=True)
    fetch_mind("small", tmp_path / "again", source=given)
    assert read(tmp_path / "again") == BOTH


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "null", "[" * 100_000, '{"https://other.test": "2031-03-01"}'], ids=lambda text: text[:20]
)
def test_a_record_that_does_not_say_so_does_not_count(tmp_path, monkeypatch, record):
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path))
    (tmp_path / "accepted_licences.json").write_text(record)
    one, other = (Licence("data", f"https://{name}.test", "Free.") for name in ("one", "other"))
    known = other.is_accepted()
    assert known == ("other" in record)
    assert not one.is_accepted()
    one.require(accept=True)
    assert one.is_accepted()
    assert other.is_accepted() == known


def test_an_acceptance_that_cannot_be_remembered_counts_for_this_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "file" / "home"))
    LICENCE.require(accept=True)
    assert "cannot be remembered" in caplog.text
    assert not LICENCE.is_accepted()


def test_the_zip_files_of_these_tests_are_sound():
    assert zipfile.is_zipfile(io.BytesIO(zipped(TRAIN)))
