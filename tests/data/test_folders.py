"""By which names splits are found, and that nothing which looks like one is passed over in silence."""

from __future__ import annotations

import json

import pytest

from recommenders_miner.data.folders import Split, split_folders, unread_folders
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import inspect_data
from tests.command_line import invoke

NEWS = "".join(f"N{i}\tnews\tworld\tTitle {i}\t\t\t[]\t[]\n" for i in range(1, 4))
LINE = "{}\tU{}\t11/{}/2019 9:00:00 AM\tN3\tN1-1 N2-0\n"


def write(folder, day=9, lines=3, more=""):
    folder.mkdir(parents=True)
    (folder / "news.tsv").write_text(NEWS)
    written = [LINE.format(k, k, day) for k in range(1, lines + 1)]
    (folder / "behaviors.tsv").write_text("".join(written) + more)
    return folder


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *(
            (name, "dev")
            for name in ("valid", "val", "Dev", "validation", "MINDsmall_dev", "DEVEL", "mind-large-valid")
        ),
        *((name, "train") for name in ("Train", "training", "MINDdemo_train", "MIND_train")),
        *((name, "test") for name in ("TEST", "testing", "MINDlarge_test")),
    ],
)
def test_splits_are_found_by_their_usual_names(tmp_path, folder, name):
    path = write(tmp_path / folder)
    assert split_folders(tmp_path) == {name: path}
    assert split_folders(path) == {name: path}
    assert Split.find(tmp_path, name) == Split(path / "news.tsv", path / "behaviors.tsv")
    assert not unread_folders(tmp_path)


def test_the_very_name_comes_first_and_two_others_are_refused(tmp_path, caplog):
    for name in ("train", "dev", "valid", "holdout"):
        write(tmp_path / name, day=9 if name == "train" else 15)
    (tmp_path / "eval").mkdir()  # of results, say
    assert split_folders(tmp_path) == {name: tmp_path / name for name in ("train", "dev")}
    assert unread_folders(tmp_path) == [tmp_path / "holdout", tmp_path / "valid"]
    assert all(f"{tmp_path / name}: holds news.tsv and" in caplog.text for name in ("valid", "holdout"))
    findings = [str(finding) for finding in inspect_data(tmp_path).warnings]
    assert sum("but no command reads it: the splits are train, dev, test" in finding for finding in findings) == 2
    (tmp_path / "dev").rename(tmp_path / "val")
    with pytest.raises(DataFormatError, match=r"val and valid could each be dev\. Name one of them dev\."):
        split_folders(tmp_path)


def test_a_folder_around_the_splits_is_told_from_them(tmp_path):
    write(tmp_path / "MINDsmall" / "train")
    for ask in (split_folders, lambda folder: Split.find(folder, "train")):
        with pytest.raises(DataFormatError, match=rf"Is {tmp_path}/MINDsmall meant\?"):
            ask(tmp_path)


def test_split_pools_all_splits_and_skips_what_is_faulty(tmp_path):
    write(tmp_path / "d" / "train")
    write(
        tmp_path / "d" / "valid",
        day=15,
        lines=4,
        more="9\tU9\tyesterday\t\tN1-1 N2-0\n9\tU9\t11/15/2019 9:00:00 AM\tN9\tN1-1 N9-0\n",
    )
    refused = invoke("split", tmp_path / "d", tmp_path / "out")
    assert isinstance(refused.exception, DataFormatError)
    done = invoke("split", tmp_path / "d", tmp_path / "out", "--on-error", "skip")
    assert done.exit_code == 0, done.output
    counts = json.loads((tmp_path / "out" / "split.json").read_text())
    assert sum(split["impressions"] for split in counts["splits"].values()) == 3 + 4 + 1
    [left_out] = counts["left_out"].values()
    assert left_out["bad time"] == 1
    assert f"Left out of {tmp_path}/d/valid/behaviors.tsv: 1 (bad time)" in done.output.replace("\n", "")
