"""What names of files and folders say of the split and the size of MIND in them."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.folders import SPLIT_NAMES
from recommenders_miner.datasets.mind_places import TABLES, Place, choose_place, find_places
from tests.datasets.mind_like import read, split_files, within, write, zipped

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
        place = Place(Path("anywhere"), PurePath(), tuple(label.split("/")), {})
        assert (place.size, place.split) == named, label


def copied(place, tmp_path):
    (tmp_path / "out").mkdir()
    place.copy_to(tmp_path / "out")
    return read(tmp_path / "out")


@pytest.mark.parametrize("packed", [False, True])
def test_capitals_in_the_names_of_files_do_not_count(tmp_path, packed):
    names = ("News.tsv", "Behaviors.TSV", "Entity_Embedding.vec", "relation_embedding.VEC")
    files = split_files("train")
    given = within("MINDsmall_train", dict(zip(names, files.values(), strict=True)) | {"NEWS.txt": b"x"})
    [place], _ = find_places(write(tmp_path / "given", {"MIND.zip": zipped(given)} if packed else given))
    assert copied(place, tmp_path) == files


def test_minds_own_spelling_comes_before_others(tmp_path):
    files = split_files("train")
    given = write(tmp_path / "train", {"NEWS.tsv": b"x", "News.tsv": b"x", "behaviors.TSV": b"x"} | files)
    if len(list(given.iterdir())) == len(files):
        pytest.skip("the file system takes them for one name")
    [place], _ = find_places(given)
    assert copied(place, tmp_path) == files


def test_links_that_lead_nowhere_and_what_lies_too_deep_are_passed_over(tmp_path):
    files = split_files("train")
    write(tmp_path, within("train", files) | within("1/2/train", files) | within("1/2/3/dev", files))
    for name, target in {"loop": "loop", "train/loop.zip": "loop.zip", "train/entity.vec": "nowhere"}.items():
        (tmp_path / name).symlink_to(target)
    places, errors = find_places(tmp_path)
    assert [str(place) for place in places] == [str(tmp_path / "1" / "2" / "train"), str(tmp_path / "train")]
    assert errors == []


WORDS = st.sampled_from(["MIND", "small", "large", "train", "dev", "valid", "test", "x", "_", " ", "-", "1"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map("".join).filter(lambda name: name == name.strip())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=5), st.sampled_from(["small", "large"]))
def test_a_place_that_is_chosen_never_says_that_it_is_another(tmp_path_factory, entries, size):
    folder = tmp_path_factory.mktemp("x")
    files = split_files("any")
    for outer, inner, packed in entries:
        content = {f"{outer}.zip": zipped(within(inner, files))} if packed else within(f"{outer}/{inner}", files)
        write(folder, content)
    places, errors = find_places(folder)
    assert errors == []
    for split in SPLIT_NAMES:
        fitting = [place for place in places if place.split == split and place.size in (size, None)]
        chosen = choose_place(places, size, split, alone=False)
        assert (chosen in fitting) if fitting else (chosen is None)
        if any(place.size == size for place in fitting):
            assert chosen.size == size
        if chosen and not chosen.is_zipped:
            assert all((chosen.container / chosen.inner / name).is_file() for name in TABLES)
