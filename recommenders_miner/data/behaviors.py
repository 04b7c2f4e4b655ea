"""Reading MIND's `behaviors.tsv` into the arrays of an `ImpressionLog`.

Blocks of lines are taken apart on all cores, as far as a block can be by itself (`_Block`); what depends on the lines
before, the indices of users and histories and whether the log is labelled, follows in file order (`_LogReader`). Python
sees only distinct users, histories and tokens with an error; all else is done on whole columns.
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

from recommenders_miner.backend import keep_freed_memory
from recommenders_miner.data.cache import ArrayParts, ArrayWriter, pack_strings
from recommenders_miner.data.file_clock import parse_times
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError, SkipReport, describe_columns, read_tsv
from recommenders_miner.errors import DataFormatError

FILE_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
READER_VERSION = 1
"""Raise it whenever the same file is to be read into other arrays."""

UNLABELLED = -1
UNKNOWN_NEWS = -1

_NO_TOKEN, _BAD_LABEL = 0, -2  # what a token stands for, beside a row of the table and UNKNOWN_NEWS
_UNKNOWN_REMEDY = 'Is the news table that of the same split? on_error="skip" leaves unknown news out.'


def read_behaviors(
    path: Path, news: NewsTable, on_error: OnError, separator: str, into: ArrayParts | ArrayWriter
) -> SkipReport | None:
    """Read a log, block by block, into the arrays that are cached; return what was skipped.

    See `ImpressionLog.read` for the arguments, and for the exceptions.
    """
    keep_freed_memory()  # each block would else ask the kernel for the pages that the last one gave back
    errors = LineErrors(path, on_error)
    reader = _LogReader(news, errors, into)
    for block, lines in read_tsv(path, FILE_COLUMNS, errors, separator, parse=functools.partial(_Block.parse, news)):
        reader.add(block, lines)
        errors.raise_earliest()
    skipped = errors.log_summary()
    if reader.labelled is None:
        expected = describe_columns(FILE_COLUMNS, separator)
        raise DataFormatError(path, f"no line could be used; expected {expected}.")
    reader.finish()
    return skipped


@dataclass(frozen=True)
class _Block:
    """Some lines of the file, with what can be known of them without the lines before.

    Attributes:
        table: the lines' columns, as written.
        impression_id: (rows,) int64, -1 where the text is no number.
        time: (rows,) int64, Unix seconds, -1 where the text is no time.
        users: the user ids.
        histories: the histories as written.
        tokens: the distinct tokens of the impressions.
        shown: which of them each impression shows.
        news: what each distinct token stands for, (distinct,) int32: a row of the table, or why there is none.
        label: the label of each distinct token, (distinct,) int8.
        bad, unknown, labelled, unlabelled: how many tokens of each impression are of that kind, (rows,) int64.
    """

    table: pa.Table
    impression_id: np.ndarray
    time: np.ndarray
    users: pa.DictionaryArray
    histories: pa.DictionaryArray
    tokens: pa.StringArray
    shown: Ragged
    news: np.ndarray
    label: np.ndarray
    bad: np.ndarray
    unknown: np.ndarray
    labelled: np.ndarray
    unlabelled: np.ndarray

    @classmethod
    def parse(cls, news: NewsTable, table: pa.Table) -> Self:
        """Take lines apart; never raises for what stands in them."""
        tokens, shown = _split(table["impressions"].combine_chunks())
        rows, label = _find_candidates(tokens, news)
        kinds = rows == _BAD_LABEL, rows == UNKNOWN_NEWS, (rows > 0) & (label >= 0), (rows > 0) & (label < 0)
        is_number = pc.match_substring_regex(table["impression id"], "^[0-9]{1,18}$")
        return cls(
            table,
            pc.if_else(is_number, table["impression id"], "-1").cast(pa.int64()).to_numpy(),
            parse_times(table["time"]),
            *(table[name].combine_chunks().dictionary_encode() for name in ("user id", "history")),
            tokens,
            shown,
            rows,
            label,
            *(_count(shown, kind) for kind in kinds),
        )

    def first(self, kind: int, row: int) -> str:
        """Return the first token of an impression that stands for `kind`."""
        shown = self.shown[row]
        return self.tokens[int(shown[np.argmax(self.news[shown] == kind)])].as_py()


def _split(texts: pa.StringArray) -> tuple[pa.StringArray, Ragged]:
    """Split texts at spaces; return the distinct tokens, and which of them each text has."""
    words = pc.split_pattern(texts, " ")
    encoded = words.flatten().dictionary_encode()
    return encoded.dictionary, Ragged(encoded.indices.to_numpy(), words.offsets.to_numpy().astype(np.int64))


def _count(tokens: Ragged, kind: np.ndarray) -> np.ndarray:
    return tokens.sums(kind[tokens.values]) if kind.any() else np.zeros(len(tokens), np.int64)


def _find_candidates(tokens: pa.StringArray, news: NewsTable) -> tuple[np.ndarray, np.ndarray]:
    """Find what tokens among the candidates stand for, (tokens,) int32, and their labels, (tokens,) int8.

    `N1-0` and `N1-1` are labelled where `N1` is a known id and `N1` is unlabelled where it is one; ids may
    contain hyphens.
    """
    clicked = pc.ends_with(tokens, "-1")
    labelled = pc.or_(clicked, pc.ends_with(tokens, "-0"))
    rows = _find_news(pc.if_else(labelled, pc.utf8_slice_codeunits(tokens, 0, stop=-2), tokens), news)
    clicked, labelled = (flags.to_numpy(zero_copy_only=False) for flags in (clicked, labelled))
    labels = np.where(labelled, clicked, UNLABELLED).astype(np.int8)
    for k in np.flatnonzero((rows < 0) | (labelled & (rows == _NO_TOKEN))):
        token = tokens[int(k)].as_py()
        otherwise = _BAD_LABEL if token.rpartition("-")[0] in news.row_of else UNKNOWN_NEWS
        rows[k], labels[k] = news.row_of.get(token, otherwise), UNLABELLED
    return rows, labels


def _find_news(ids: pa.StringArray, news: NewsTable) -> np.ndarray:
    """Return the rows of news ids, (ids,) int32; that of an empty one is 0, of an unknown one -1."""
    return pc.index_in(ids, value_set=news.ids).fill_null(UNKNOWN_NEWS).to_numpy().copy()


class _LogReader:
    """Joins blocks of lines into the arrays of a log.

    Args:
        news: the news that the log refers to.
        errors: told of every line with an error.
        into: where the arrays grow.

    Attributes:
        labelled: whether the log is; known from the first sound impression on.
    """

    def __init__(self, news: NewsTable, errors: LineErrors, into: ArrayParts | ArrayWriter) -> None:
        self.labelled: bool | None = None
        self._news = news
        self._errors = errors
        self._into = into
        self._users: list[pa.DictionaryArray] = []
        self._row_of: dict[bytes, int] = {}  # digest of a history as written, which is shorter -> its row
        self._unknown_in: dict[int, int] = {}  # row of a history -> unknown news in it, if any
        self._num_candidates = self._num_clicked = 0  # of all impressions, of all histories
        into.append(offsets=np.zeros(1, np.int64), history_offsets=np.zeros(1, np.int64))

    def add(self, block: _Block, lines: np.ndarray) -> None:
        """Add some lines. Of several errors in one line, the first one found counts."""
        table, errors = block.table, self._errors
        sound = np.ones(len(lines), bool)

        def reject(wrong: np.ndarray, reason: str, describe: Callable[[int], str]) -> None:
            """Take out the rows that are `wrong`, (rows,) bool; `describe` words the problem of a row."""
            rows = np.flatnonzero(sound & wrong)
            errors.add(reason, lines[rows], lambda k: describe(int(rows[k])))
            sound[rows] = False

        reject(
            block.impression_id < 0,
            "bad impression id",
            lambda row: f"impression id '{table['impression id'][row]}' is not a non-negative integer.",
        )
        reject(pc.equal(table["user id"], "").to_numpy(), "empty user id", lambda _: "the user id is empty.")
        reject(
            block.time < 0,
            "bad time",
            lambda row: f"expected a time like 11/12/2019 2:14:46 PM, got {table['time'][row].as_py()!r}.",
        )
        labelled, unlabelled = block.labelled, block.unlabelled
        reject(
            labelled + unlabelled + block.unknown + block.bad == 0,
            "no candidates",
            lambda _: "the impression has no candidates.",
        )
        reject(
            block.bad > 0,
            "bad label",
            lambda row: f"the label after the last hyphen must be 0 or 1, got {block.first(_BAD_LABEL, row)!r}.",
        )
        unknown_in = np.repeat(np.arange(len(lines)), block.unknown * sound)
        errors.add(
            "unknown news id among the candidates",
            lines[unknown_in],
            lambda k: f"the candidate {block.first(UNKNOWN_NEWS, unknown_in[k])!r} is not in the news table.",
            remedy=_UNKNOWN_REMEDY,
        )
        reject(
            (labelled > 0) & (unlabelled > 0),
            "some candidates labelled and some not",
            lambda _: "some candidates of the impression have a label and some have none.",
        )
        reject(labelled + unlabelled == 0, "no known candidates", lambda _: "none of the candidates is known.")
        if self.labelled is None and sound.any():
            self.labelled = bool(labelled[np.argmax(sound)])
        here, before = ("no labels", "have them") if self.labelled else ("labels", "have none")
        reject(
            unlabelled > 0 if self.labelled else labelled > 0,
            "labels where the log has none, or none where it has them",
            lambda _: f"the impression has {here}, but those before it {before}.",
        )
        self._append(block, lines, sound, (labelled + unlabelled)[sound])

    def _append(self, block: _Block, lines: np.ndarray, sound: np.ndarray, num_candidates: np.ndarray) -> None:
        """Append the sound rows of a block."""
        shown, users, histories = block.shown.values, block.users, block.histories
        if not sound.all() or (block.news <= 0).any():
            shown = shown[(block.news > 0)[shown] & block.shown.repeat(sound)]
            kept = block.table.filter(pa.array(sound))
            users, histories = (kept[name].combine_chunks().dictionary_encode() for name in ("user id", "history"))
        self._users.append(users)
        self._into.append(
            candidates=block.news[shown],
            labels=block.label[shown],
            offsets=self._num_candidates + np.cumsum(num_candidates),
            time=block.time[sound],
            impression_id=block.impression_id[sound],
            history_of=self._find_histories(histories, lines[sound]),
        )
        self._num_candidates += len(shown)

    def _find_histories(self, histories: pa.DictionaryArray, lines: np.ndarray) -> np.ndarray:
        """Return the row of each history, (rows,) int32; those not met before are appended."""
        distinct, which = histories.dictionary, histories.indices.to_numpy()
        first_new = len(self._row_of)
        digests = (hashlib.blake2b(text, digest_size=16).digest() for text in distinct.cast(pa.binary()).to_pylist())
        rows = np.array([self._row_of.setdefault(digest, len(self._row_of)) for digest in digests], np.int32)
        self._append_histories(distinct.filter(pa.array(rows >= first_new)), first_new)
        unknown = np.zeros(len(rows), np.int64)
        if self._unknown_in:
            unknown[:] = [self._unknown_in.get(row, 0) for row in rows.tolist()]
        wrong = np.repeat(np.arange(len(lines)), unknown[which])

        def describe(k: int) -> str:
            history = histories[int(wrong[k])].as_py().split(" ")
            news_id = next(news_id for news_id in history if news_id and news_id not in self._news.row_of)
            return f"the news {news_id!r} in the history is not in the news table."

        self._errors.add("unknown news id in the history", lines[wrong], describe, remedy=_UNKNOWN_REMEDY)
        return rows[which]

    def _append_histories(self, texts: pa.StringArray, first_row: int) -> None:
        """Append histories that were not met before; the first of them gets the row `first_row`."""
        tokens, history = _split(texts)
        news = _find_news(tokens, self._news)
        unknown = _count(history, news == UNKNOWN_NEWS)
        self._unknown_in |= {first_row + int(k): int(unknown[k]) for k in np.flatnonzero(unknown)}
        clicks = Ragged(news[history.values], history.offsets)
        clicks = clicks.keep(clicks.values > 0)
        self._into.append(histories=clicks.values, history_offsets=self._num_clicked + clicks.offsets[1:])
        self._num_clicked += len(clicks.values)

    def finish(self) -> None:
        """Append what is known at the end only: the users."""
        users = pa.chunked_array(self._users).unify_dictionaries()
        user_bytes, user_offsets = pack_strings(users.chunk(0).dictionary)
        for chunk in users.chunks:
            self._into.append(user_of=chunk.indices.to_numpy())
        self._into.append(user_bytes=user_bytes, user_offsets=user_offsets)
