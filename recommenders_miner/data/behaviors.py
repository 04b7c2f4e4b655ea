"""Reading MIND's `behaviors.tsv` into the arrays of an `ImpressionLog`.

Blocks of lines are taken apart on all cores, as far as a block can be by itself (`_Block`); what depends on the lines
before, the indices of users and histories and whether the log is labelled, follows in file order (`_LogReader`). Python
sees only distinct users, histories and faulty tokens; all else is done on whole columns.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import LineFaults, OnError, SkipReport, describe_columns, read_tsv
from recommenders_miner.errors import DataFormatError

FILE_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
READER_VERSION = 1
"""Raise it whenever the same file is to be read into other arrays."""

UNLABELLED = -1
UNKNOWN_NEWS = -1

_TIME_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S")
# What a token stands for that stands for no known news, beside UNKNOWN_NEWS; an empty one for row 0, the padding news.
_NO_TOKEN, _BAD_LABEL = 0, -2
_UNKNOWN_REMEDY = 'Is the news table that of the same split? on_error="skip" leaves unknown news out.'


def read_behaviors(
    path: Path,
    news: NewsTable,
    on_error: OnError,
    separator: str,
    into: array_cache.ArrayParts | array_cache.ArrayWriter,
) -> SkipReport | None:
    """Reads a log, block by block, into the arrays that are cached; returns what was skipped.

    See `ImpressionLog.read` for the arguments, and for the exceptions.
    """
    faults = LineFaults(path, on_error)
    reader = _LogReader(news, faults, into)
    for block, lines in read_tsv(path, FILE_COLUMNS, faults, separator, parse=functools.partial(_Block.parse, news)):
        reader.add(block, lines)
        faults.raise_earliest()
    skipped = faults.log_summary()
    if reader.labelled is None:
        expected = describe_columns(FILE_COLUMNS, separator)
        raise DataFormatError(path, f"no line could be used; expected {expected}.")
    reader.finish()
    return skipped


# === A block by itself ===


@dataclass(frozen=True)
class _Block:
    """Some lines of the file, with what can be known of them without the lines before.

    Attributes:
        table: the lines' columns, as written.
        impression_id: (rows,) int64, -1 where the text is no number.
        time: (rows,) int64, Unix seconds, -1 where the text is no time.
        users: the user ids.
        histories: the histories as written.
        tokens: the tokens of the impressions.
        candidate: what each distinct token stands for, (distinct,) int32: the row of a news, or why there is none.
        label: the label of each distinct token, (distinct,) int8.
    """

    table: pa.Table
    impression_id: np.ndarray
    time: np.ndarray
    users: _Distinct
    histories: _Distinct
    tokens: _Tokens
    candidate: np.ndarray
    label: np.ndarray

    @classmethod
    def parse(cls, news: NewsTable, table: pa.Table) -> Self:
        """Takes lines apart; never raises for what stands in them."""
        tokens = _Tokens.split(table["impressions"].combine_chunks())
        histories = _Distinct.among(table["history"].combine_chunks())
        _ = histories.digests  # taken here, on a thread of the block's own
        return cls(
            table,
            _parse_impression_ids(table["impression id"]),
            _parse_times(table["time"]),
            _Distinct.among(table["user id"].combine_chunks()),
            histories,
            tokens,
            *_find_candidates(tokens.distinct, news),
        )

    def __len__(self) -> int:
        """The number of lines."""
        return self.table.num_rows


@dataclass(frozen=True)
class _Distinct:
    """The distinct ones among some texts.

    Attributes:
        texts: the texts.
        values: the distinct ones, in the order of their first row.
        index: which of them each text is, (texts,) int32.
    """

    texts: pa.StringArray
    values: pa.StringArray
    index: np.ndarray

    @classmethod
    def among(cls, texts: pa.StringArray) -> Self:
        """Finds them."""
        encoded = texts.dictionary_encode()
        return cls(texts, encoded.dictionary, _as_numpy(encoded.indices))

    @functools.cached_property
    def digests(self) -> list[bytes]:
        """A digest of each distinct text, which takes less memory than the text."""
        return [hashlib.blake2b(text, digest_size=16).digest() for text in self.values.cast(pa.binary()).to_pylist()]

    def of_rows(self, rows: np.ndarray) -> Self:
        """Returns the distinct ones among the texts of some rows, ascending."""
        return self if len(rows) == len(self.index) else self.among(self.texts.take(rows))


@dataclass(frozen=True)
class _Tokens:
    """The tokens of some texts, which spaces separate; two spaces in a row enclose an empty token.

    Attributes:
        distinct: every token that occurs; a token may be there twice.
        token_of: which of them each token is, (tokens,) int32.
        bounds: where each text's tokens begin and the last one's end, (texts + 1,) int64.
    """

    distinct: pa.StringArray
    token_of: np.ndarray
    bounds: np.ndarray

    @classmethod
    def split(cls, texts: pa.StringArray) -> Self:
        """Finds the tokens.

        The bytes are not copied: they are cut behind every space and text, and the space is taken off the distinct
        tokens only.
        """
        data, starts = array_cache.pack_strings(texts)
        ends_token = np.empty(len(data) + 1, bool)
        np.equal(data, ord(" "), out=ends_token[1:])
        ends_token[starts] = True
        cuts = np.flatnonzero(ends_token).astype(np.int32)
        encoded = array_cache.unpack_strings(data, cuts).dictionary_encode()
        distinct = pc.ascii_rtrim(encoded.dictionary, characters=" ")
        return cls(distinct, _as_numpy(encoded.indices), np.searchsorted(cuts, starts))

    def count(self, kind: np.ndarray) -> np.ndarray:
        """How many tokens of each text are of a kind, (texts,) int64; `kind` (distinct,) bool says which are."""
        if kind.all():
            return np.diff(self.bounds)
        places = np.flatnonzero(kind[self.token_of]) if kind.any() else np.empty(0, np.int64)
        return np.diff(np.searchsorted(places, self.bounds))

    def first(self, kind: np.ndarray, text: int) -> str:
        """The first token of a text that is of a kind."""
        tokens = self.token_of[self.bounds[text] : self.bounds[text + 1]]
        return self.distinct[int(tokens[np.argmax(kind[tokens])])].as_py()


def _find_candidates(tokens: pa.StringArray, news: NewsTable) -> tuple[np.ndarray, np.ndarray]:
    """What tokens among the candidates stand for, (tokens,) int32, and their labels, (tokens,) int8.

    `N1-0` and `N1-1` are labelled where `N1` is a known news and `N1` is unlabelled where it is one; ids may
    contain hyphens.
    """
    clicked = _as_numpy(pc.ends_with(tokens, "-1"))
    labelled = clicked | _as_numpy(pc.ends_with(tokens, "-0"))
    rows = _find_news(pc.if_else(labelled, pc.utf8_slice_codeunits(tokens, 0, stop=-2), tokens), news)
    labels = np.where(labelled, clicked, UNLABELLED).astype(np.int8)
    for k in np.flatnonzero((rows < 0) | (labelled & (rows == _NO_TOKEN))):
        token = tokens[int(k)].as_py()
        known, labels[k] = token in news.row_of, UNLABELLED
        rows[k] = (
            news.row_of[token] if known else _BAD_LABEL if token.rpartition("-")[0] in news.row_of else UNKNOWN_NEWS
        )
    return rows, labels


def _find_news(ids: pa.StringArray, news: NewsTable) -> np.ndarray:
    """The rows of news ids, (ids,) int32; that of an empty one is the padding news', of an unknown one -1."""
    return _as_numpy(pc.fill_null(pc.index_in(ids, value_set=news.ids), UNKNOWN_NEWS)).copy()


def _parse_impression_ids(texts: pa.ChunkedArray) -> np.ndarray:
    """The numbers, (rows,) int64; -1 where a text is no non-negative integer that an int64 holds."""
    sound = pc.match_substring_regex(texts, "^[0-9]{1,18}$")
    return _as_numpy(pc.if_else(sound, texts, "-1").cast(pa.int64()))


def _parse_times(texts: pa.ChunkedArray) -> np.ndarray:
    """Unix seconds, (rows,) int64; -1 where a text is no time since 1970."""
    times = pc.coalesce(*(pc.strptime(texts, format=form, unit="s", error_is_null=True) for form in _TIME_FORMATS))
    # strptime takes 2/30 for 3/1 or 3/2; a day that ran over so is at most the third.
    ran_over = pc.and_(
        pc.less_equal(pc.day(times), 3),
        pc.match_substring_regex(texts, "^[0-9]+[/-]([0-9]+-)?(29|30|31)[/ ]"),
    )
    seconds = pc.if_else(ran_over, None, times).cast(pa.int64())
    return np.maximum(_as_numpy(pc.fill_null(seconds, -1)), -1)


def _as_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)


# === Block after block ===


class _LogReader:
    """Joins blocks of lines into the arrays of a log.

    Args:
        news: the news that the log refers to.
        faults: told of every faulty line.
        into: where the arrays grow.
    """

    def __init__(
        self, news: NewsTable, faults: LineFaults, into: array_cache.ArrayParts | array_cache.ArrayWriter
    ) -> None:
        self.labelled: bool | None = None  # known from the first sound impression on
        self._news = news
        self._faults = faults
        self._into = into
        self._users: list[pa.DictionaryArray] = []
        self._histories: dict[bytes, int] = {}  # digest of a history as written -> its row
        self._unknown_in_history: dict[int, int] = {}  # row of a history -> unknown news in it, if any
        self._num_candidates = self._num_clicked = 0  # of all impressions, of all histories
        into.append(offsets=np.zeros(1, np.int64), history_offsets=np.zeros(1, np.int64))

    def add(self, block: _Block, lines: np.ndarray) -> None:
        """Adds some lines. Of several faults in one line, the first one found counts."""
        rows = _SoundRows(lines, self._faults)
        rows.reject(
            block.impression_id < 0,
            "bad impression id",
            lambda row: f"impression id '{block.table['impression id'][row]}' is not a non-negative integer.",
        )
        no_user = _as_numpy(pc.equal(block.users.texts, ""))
        rows.reject(no_user, "empty user id", lambda _: "the user id is empty.")
        rows.reject(
            block.time < 0,
            "bad time",
            lambda row: f"expected a time like 11/12/2019 2:14:46 PM, got {block.table['time'][row].as_py()!r}.",
        )
        self._add_candidates(block, rows)
        kept = np.flatnonzero(rows.sound)
        users = block.users.of_rows(kept)
        self._users.append(pa.DictionaryArray.from_arrays(users.index, users.values))
        self._into.append(
            time=block.time[kept],
            impression_id=block.impression_id[kept],
            history_of=self._find_histories(block.histories.of_rows(kept), lines[kept]),
        )

    def _add_candidates(self, block: _Block, rows: _SoundRows) -> None:
        """Appends the candidates of the sound rows, after the last rows with faults are rejected."""
        tokens, candidate, label = block.tokens, block.candidate, block.label
        has_none = tokens.count(candidate != _NO_TOKEN) == 0
        rows.reject(has_none, "no candidates", lambda _: "the impression has no candidates.")
        bad, unknown = candidate == _BAD_LABEL, candidate == UNKNOWN_NEWS
        rows.reject(
            tokens.count(bad) > 0,
            "bad label",
            lambda row: f"the label after the last hyphen must be 0 or 1, got {tokens.first(bad, row)!r}.",
        )
        unknown_in = np.repeat(np.arange(len(block)), tokens.count(unknown) * rows.sound)
        self._faults.add(
            "unknown news id among the candidates",
            rows.lines[unknown_in],
            lambda k: f"the candidate {tokens.first(unknown, unknown_in[k])!r} is not in the news table.",
            remedy=_UNKNOWN_REMEDY,
        )
        labelled = tokens.count((candidate > 0) & (label != UNLABELLED))
        unlabelled = tokens.count((candidate > 0) & (label == UNLABELLED))
        rows.reject(
            (labelled > 0) & (unlabelled > 0),
            "some candidates labelled and some not",
            lambda _: "some candidates of the impression have a label and some have none.",
        )
        rows.reject(labelled + unlabelled == 0, "no known candidates", lambda _: "none of the candidates is known.")
        if self.labelled is None and rows.sound.any():
            self.labelled = bool(labelled[np.argmax(rows.sound)])
        odd = unlabelled > 0 if self.labelled else labelled > 0
        here, before = ("no labels", "have them") if self.labelled else ("labels", "have none")
        rows.reject(
            odd,
            "labels where the log has none, or none where it has them",
            lambda _: f"the impression has {here}, but those before it {before}.",
        )
        kept = tokens.token_of
        if not rows.sound.all() or not (candidate > 0).all():
            kept = kept[(candidate > 0)[kept] & np.repeat(rows.sound, np.diff(tokens.bounds))]
        ends = self._num_candidates + np.cumsum((labelled + unlabelled)[rows.sound])
        self._num_candidates += len(kept)
        self._into.append(candidates=candidate[kept], labels=label[kept], offsets=ends)

    def _find_histories(self, histories: _Distinct, lines: np.ndarray) -> np.ndarray:
        """The row of each history, (rows,) int32; histories not met before are added."""
        first_row, row_of = len(self._histories), self._histories
        rows = np.array([row_of.setdefault(digest, len(row_of)) for digest in histories.digests], np.int32)
        new = np.flatnonzero(rows >= first_row)
        if len(new):
            self._add_histories(histories.values.take(pa.array(new)), first_row)

        unknown_count = np.zeros(len(rows), np.int64)
        if self._unknown_in_history:
            unknown_count[:] = [self._unknown_in_history.get(row, 0) for row in rows.tolist()]
        faulty = np.repeat(np.arange(len(lines)), unknown_count[histories.index])

        def describe(k: int) -> str:
            history = histories.texts[int(faulty[k])].as_py().split(" ")
            news_id = next(news_id for news_id in history if news_id and news_id not in self._news.row_of)
            return f"the news {news_id!r} in the history is not in the news table."

        self._faults.add("unknown news id in the history", lines[faulty], describe, remedy=_UNKNOWN_REMEDY)
        return rows[histories.index]

    def _add_histories(self, texts: pa.StringArray, first_row: int) -> None:
        """Appends histories that were not met before; the first of them gets the row `first_row`."""
        tokens = _Tokens.split(texts)
        news = _find_news(tokens.distinct, self._news)
        unknown = tokens.count(news == UNKNOWN_NEWS)
        self._unknown_in_history |= {first_row + int(k): int(unknown[k]) for k in np.flatnonzero(unknown)}
        rows = news[tokens.token_of]
        rows = rows[rows > 0]
        ends = self._num_clicked + np.cumsum(tokens.count(news > 0))
        self._num_clicked += len(rows)
        self._into.append(histories=rows, history_offsets=ends)

    def finish(self) -> None:
        """Adds what is known at the end only: the users."""
        users = pa.chunked_array(self._users).unify_dictionaries()
        user_bytes, user_offsets = array_cache.pack_strings(users.chunk(0).dictionary)
        for chunk in users.chunks:
            self._into.append(user_of=_as_numpy(chunk.indices))
        self._into.append(user_bytes=user_bytes, user_offsets=user_offsets)


class _SoundRows:
    """The rows of a block that no fault has been found in so far.

    Attributes:
        lines: the 1-based line of each row, (rows,) int64.
        sound: which rows are still sound, (rows,) bool.
    """

    def __init__(self, lines: np.ndarray, faults: LineFaults) -> None:
        self.lines = lines
        self.sound = np.ones(len(lines), bool)
        self._faults = faults

    def reject(self, faulty: np.ndarray, reason: str, describe: Callable[[int], str]) -> None:
        """Takes out the rows that are `faulty`, (rows,) bool; `describe` words the problem of a row."""
        rows = np.flatnonzero(self.sound & faulty)
        self._faults.add(reason, self.lines[rows], lambda k: describe(int(rows[k])))
        self.sound[rows] = False
