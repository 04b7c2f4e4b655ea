"""Where the splits of a data set are looked for."""

import pytest

from recommenders_miner.data.folders import split_folders
from recommenders_miner.errors import DataFormatError


def test_splits_come_in_the_order_of_their_use_unless_there_is_none(tmp_path):
    (tmp_path / "all").mkdir()
    assert split_folders(tmp_path) == {"all": tmp_path / "all"}
    for name in ("test", "dev", "other", "train"):
        (tmp_path / name).mkdir()
    assert list(split_folders(tmp_path).items()) == [(name, tmp_path / name) for name in ("train", "dev", "test")]


@pytest.mark.parametrize("file", ["news.tsv", "behaviors.tsv"])
def test_a_folder_with_a_file_of_its_own_is_one_split(tmp_path, monkeypatch, file):
    folder = tmp_path / "mine"
    (folder / "train").mkdir(parents=True)
    (folder / file).touch()
    assert split_folders(folder) == {"mine": folder}
    monkeypatch.chdir(folder)
    assert list(split_folders(".")) == ["mine"]


def test_a_folder_without_splits_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataFormatError, match=r"holds neither news\.tsv .* nor a folder train, dev, test or all"):
            split_folders(folder)
