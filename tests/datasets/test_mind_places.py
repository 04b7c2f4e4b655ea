"""What names of files and folders say of the split and the size of MIND in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets.mind_places import TABLES, Place, choose_place, find_places
from recommenders_miner.io.splits import SPLIT_NAMES
from tests.datasets.mind_like import split_files, within, write, zipped


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
    ],
)
def test_a_name_says_the_size_and_the_split(label, size, split):
    place = Place(Path("anywhere"), None, tuple(label.split("/")))
    assert (place.size, place.split) == (size, split)


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
