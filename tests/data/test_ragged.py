"""Ragged: every operation against plain loops over lists."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.ragged import Ragged, offsets_of

lists = st.lists(st.lists(st.integers(-9, 9), max_size=6), max_size=7)
some = settings(max_examples=40, deadline=None)


def plain(ragged):
    return [row.tolist() for row in ragged]


@st.composite
def rows_of(draw):
    """Lists, and some of their rows in any order."""
    rows = draw(lists.filter(bool))
    return rows, np.array(draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)), int)


@some
@given(lists)
def test_rows_are_those_that_it_is_made_of(rows):
    ragged, flat = Ragged.of_lists(rows), list(itertools.chain(*rows))
    lengths = [len(row) for row in rows]
    assert (ragged.values.dtype, ragged.offsets.dtype) == (np.int32, np.int64)
    assert plain(ragged) == rows
    assert plain(Ragged.of_lengths(np.array(flat, int), np.array(lengths, int))) == rows
    assert ragged.offsets.tolist() == offsets_of(np.array(lengths, int)).tolist() == [0, *itertools.accumulate(lengths)]
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == lengths
    for place in range(-len(rows), len(rows)):
        assert ragged[place].tolist() == rows[place]
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            ragged[beyond]


@some
@given(lists)
def test_each_value_knows_its_row_and_its_rank(rows):
    ragged = Ragged.of_lists(rows)
    places = [(r, k) for r, row in enumerate(rows) for k in range(len(row))]
    assert ragged.rows().tolist() == [r for r, _ in places]
    assert ragged.ranks().tolist() == [k for _, k in places]
    assert ragged.row_of(np.arange(len(places))).tolist() == [r for r, _ in places]
    of_rows = np.arange(2 * len(rows)).reshape(-1, 2)
    assert ragged.repeat(of_rows).tolist() == [of_rows[r].tolist() for r, _ in places]


@some
@given(lists, st.randoms(use_true_random=False))
def test_sums_and_what_is_kept(rows, random):
    ragged = Ragged.of_lists(rows)
    assert ragged.sums().tolist() == [sum(row) for row in rows]
    assert ragged.sums(ragged.values**2).tolist() == [sum(x * x for x in row) for row in rows]
    kept = [[random.random() < 0.5 for _ in row] for row in rows]
    expected = [[x for x, is_kept in zip(*pair, strict=True) if is_kept] for pair in zip(rows, kept, strict=True)]
    assert plain(ragged.keep(np.array(list(itertools.chain(*kept)), bool))) == expected


@some
@given(rows_of())
def test_rows_are_taken_in_any_order(drawn):
    rows, wanted = drawn
    ragged = Ragged.of_lists(rows)
    assert plain(ragged.take(wanted)) == [rows[r] for r in wanted]
    places = ragged.places(wanted)
    assert [ragged.values[own].tolist() for own in places] == [rows[r] for r in wanted]


@some
@given(lists, st.integers(0, 7), st.integers(0, 7))
def test_a_slice_shares_its_values(rows, start, stop):
    start, stop = sorted(min(bound, len(rows)) for bound in (start, stop))
    ragged = Ragged.of_lists(rows)
    part = ragged.slice(start, stop)
    assert plain(part) == rows[start:stop]
    assert not len(part.values) or np.shares_memory(part.values, ragged.values)


@some
@given(lists, lists)
def test_parts_stand_one_after_another(first, second):
    parts = [Ragged.of_lists(rows) for rows in (first, second)]
    assert plain(Ragged.concat(parts)) == first + second
    assert plain(Ragged.concat(parts[:1])) == first


@some
@given(rows_of(), st.integers(1, 8))
def test_matrices_have_zeros_behind(drawn, size):
    rows, wanted = drawn
    ragged = Ragged.of_lists(rows)
    newest = [rows[r][-size:] for r in wanted]
    assert ragged.last(wanted, size).tolist() == [row + [0] * (size - len(row)) for row in newest]


def test_matrices_of_no_value_at_all():
    nothing = Ragged.of_lists([[], []])
    assert not nothing.last(np.array([0, 1, 1]), 3).any()
    assert nothing.last(np.array([0, 1, 1]), 3).shape == (3, 3)


def test_values_may_have_axes_of_their_own():
    ragged = Ragged.of_lengths(np.arange(8.0).reshape(4, 2), np.array([1, 0, 3]))
    assert ragged.take(np.array([2, 0])).values.tolist() == [[2, 3], [4, 5], [6, 7], [0, 1]]
