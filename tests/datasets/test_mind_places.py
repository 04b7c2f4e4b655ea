"""What names of files and folders say of the split and the size of MIND in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.folders import SPLIT_NAMES
from recommenders_miner.datasets.mind_places import TABLES, Place, choose_place, find_places
from tests.datasets.mind_like import read, split_files, within, write, zipped
from tests.test_storage import posix_only


@pytest.mark.parametrize(
    ("label", "size", "split"),
    [
        ("MINDsmall_train", "small", "train"),
        ("MINDlarge_dev (1)", "large", "dev"),
        ("mind-demo-valid", "demo", "dev"),
        ("MIND small validation", "small", "dev"),
        ("MIND_large/TEST", "large", "test"),
        ("small/training", "small", "train"),
        ("MINDsmall_train/dev", "small", "dev"),
        ("MINDlarge/MINDsmall_val", "small", "dev"),
        ("train", None, "train"),
        ("Downloads/latest", None, None),
        ("contest/strain/smallest", None, None),
        ("trainer", None, None),
        ("MINDsmalltrain", "small", "train"),
        ("mindlargedev (1)", "large", "dev"),
        ("MINDtest", None, "test"),
        ("small/trainset", "small", "train"),
        ("MIND-demo_validationset", "demo", "dev"),
        ("testset", None, "test"),
        ("mindset", None, None),
        ("latestset", None, None),
        ("remindtest", None, None),
        ("protest/trainsets/devsettings", None, None),
    ],
)
def test_a_name_says_the_size_and_the_split(label, size, split):
    place = Place(Path("anywhere"), None, tuple(label.split("/")))
    assert (place.size, place.split) == (size, split)


@pytest.mark.parametrize("packed", [False, True])
def test_capitals_in_the_names_of_files_do_not_count(tmp_path, packed):
    names = {
        "news.tsv": "News.tsv",
        "behaviors.tsv": "Behaviors.TSV",
        "entity_embedding.vec": "Entity_Embedding.vec",
        "relation_embedding.vec": "relation_embedding.VEC",
    }
    files = split_files("train")
    given = within("MINDsmall_train", {names[name]: content for name, content in files.items()} | {"NEWS.txt": b"x"})
    [place], _ = find_places(write(tmp_path / "given", {"MIND.zip": zipped(given)} if packed else given))
    place.copy_to(tmp_path / "out", lambda folder: None)
    assert read(tmp_path / "out") == files


def test_minds_own_spelling_comes_before_others(tmp_path):
    files = split_files("train")
    given = write(tmp_path / "train", {"NEWS.tsv": b"x", "News.tsv": b"x", "behaviors.TSV": b"x"} | files)
    if len(list(given.iterdir())) == len(files):
        pytest.skip("the file system takes them for one name")
    [place], _ = find_places(given)
    place.copy_to(tmp_path / "out", lambda folder: None)
    assert read(tmp_path / "out") == files


@posix_only
def test_links_that_lead_nowhere_are_passed_over(tmp_path):
    given = write(tmp_path, within("train", split_files("train")))
    for name, target in {"loop": "loop", "train/loop.zip": "loop.zip", "train/entity.vec": "nowhere"}.items():
        (given / name).symlink_to(target)
    places, faults = find_places(given)
    assert [place.container for place in places] == [given / "train"]
    assert faults == []


def test_what_lies_too_deep_is_not_looked_at(tmp_path):
    write(tmp_path, within("1/2/train", split_files("train")) | within("1/2/3/dev", split_files("dev")))
    places, faults = find_places(tmp_path)
    assert [place.container for place in places] == [tmp_path / "1" / "2" / "train"]
    assert faults == []


WORDS = st.sampled_from(["MIND", "small", "large", "train", "dev", "valid", "test", "x", "_", " ", "-", "1"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map("".join).filter(lambda name: name == name.strip())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=5), st.sampled_from(["small", "large"]))
def test_a_place_that_is_chosen_never_says_that_it_is_another(tmp_path_factory, entries, size):
    folder = tmp_path_factory.mktemp("x")
    files = split_files("any")
    for outer, inner, packed in entries:
        content = {f"{outer}.zip": zipped(within(inner, files))} if packed else within(f"{outer}/{inner}", files)
        write(folder, content)
    places, faults = find_places(folder)
    assert faults == []
    for split in SPLIT_NAMES:
        fitting = [place for place in places if place.split == split and place.size in (size, None)]
        chosen = choose_place(places, size, split, alone=False)
        assert (chosen in fitting) if fitting else (chosen is None)
        if any(place.size == size for place in fitting):
            assert chosen.size == size
        if chosen and chosen.inner is None:
            assert all((chosen.container / name).is_file() for name in TABLES)
