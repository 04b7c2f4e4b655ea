"""No file makes a reader raise anything but the package's own errors, hang, or take memory out of proportion."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.nearly_right import nearly_right
from tests.fuzz.targets import TARGETS, check
from tests.fuzz.try_for import UNHURRIED, try_for

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
SLOW_SECONDS = 5


@every_target
def test_the_seeds_are_read(target):
    for seed in target.seeds:
        check(target, seed)


@every_target
@settings(max_examples=20, **UNHURRIED)
@given(data=st.data())
def test_nearly_right_files(target, data):
    check(target, data.draw(nearly_right(target.seeds)))


@pytest.mark.slow
@every_target
def test_many_nearly_right_files(target):
    tried = try_for(SLOW_SECONDS, nearly_right(target.seeds, most_changes=12), lambda content: check(target, content))
    print(f"{target.file_name}: {tried:,} inputs")
