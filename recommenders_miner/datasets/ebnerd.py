"""EB-NeRD, the Ekstra Bladet News Recommendation Dataset (RecSys Challenge 2024), as a data folder in MIND's form.

A bundle (`ebnerd_demo`, `ebnerd_small`, `ebnerd_large`) has `articles.parquet` and the folders `train` and
`validation`, each with `behaviors.parquet` and `history.parquet`; `ebnerd_testset` has `articles.parquet` and the
folder `test`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import UNLABELLED
from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE
from recommenders_miner.data.past_clicks import require_length
from recommenders_miner.data.ragged import stretches
from recommenders_miner.data.tsv import LineFaults, OnError
from recommenders_miner.data.write import BehaviorsBlock, blocks_of_rows, write_behaviors, write_table
from recommenders_miner.datasets.column_files import read_columns
from recommenders_miner.datasets.conversion import Conversion, conversion_to
from recommenders_miner.datasets.news_rows import news_rows
from recommenders_miner.datasets.times import LAST_SECOND, TimeColumn
from recommenders_miner.datasets.typed_columns import integers_of, texts_of
from recommenders_miner.errors import DataFormatError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
"""The folders of EB-NeRD, and what they are called here."""

_ARTICLES, _BEHAVIORS, _HISTORY = "articles.parquet", "behaviors.parquet", "history.parquet"
_UNKNOWN_REMEDY = f"Is {_ARTICLES} that of the same bundle? --on-error skip leaves unknown articles out."


def convert_ebnerd(
    bundle: str | Path,
    out: str | Path,
    test: str | Path | None = None,
    max_history: int | None = None,
    on_error: OnError = "raise",
) -> Conversion:
    """Writes `out/train`, `out/dev` and, of the test set, `out/test`, which has no labels.

    Kept are impression, user and article ids, times, what was in view and clicked on, and the click histories; of an
    article its title, its subtitle as abstract, its category, and the number of its first subcategory. A `news.tsv`
    holds the articles that its split refers to. An article that was clicked on and is not among those in view is added
    to them. A user without a history has an empty one.

    Args:
        bundle: the folder of a bundle.
        out: the folder to write. One that holds an earlier conversion is replaced.
        test: the folder of the test set.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        on_error: "raise" stops at the first faulty row; "skip" leaves out faulty rows, and of sound ones the unknown
            articles, and counts them.

    Raises:
        DataFormatError: a file is missing, lacks a column, or has a faulty row.
        RecommendersMinerError: `out` holds something else.
        ValueError: `max_history` is negative.
    """
    require_length(max_history)
    sources = [Path(bundle)] if test is None else [Path(bundle), Path(test)]
    found = [[name for name in SPLITS if (source / name).is_dir()] for source in sources]
    for source, names in zip(sources, found, strict=True):
        if not names:
            raise DataFormatError(source, f"holds none of the folders {', '.join(SPLITS)} of EB-NeRD.")
    names = [name for of_source in found for name in of_source]
    if len(set(names)) < len(names):
        raise DataFormatError(sources[1], f"both folders hold a split {max(names, key=names.count)!r}.")
    settings = {"converter": "ebnerd", "source": [str(source) for source in sources], "max_history": max_history}
    with conversion_to(out, settings) as conversion:
        for source, names in zip(sources, found, strict=True):
            articles = _Articles.read(source / _ARTICLES, conversion, on_error)
            for name in names:
                _convert_split(source / name, SPLITS[name], articles, max_history, conversion, on_error)
    return conversion


def _convert_split(
    folder: Path,
    split: str,
    articles: _Articles,
    max_history: int | None,
    conversion: Conversion,
    on_error: OnError,
) -> None:
    histories = _UserHistories.read(folder / _HISTORY, articles, max_history, conversion, on_error)
    needed = np.zeros(len(articles.ids), bool)

    def blocks() -> Iterator[BehaviorsBlock]:
        for block in _read_behaviors(folder / _BEHAVIORS, split, articles, histories, conversion, on_error):
            needed[block.candidates] = needed[block.histories] = True
            yield block

    target = conversion.folder / split
    target.mkdir()
    write_behaviors(target / BEHAVIORS_FILE, articles.ids, blocks())
    if not needed.any():
        raise DataFormatError(folder / _BEHAVIORS, "there are no impressions that could be used.")
    write_table(target / NEWS_FILE, articles.rows.filter(pa.array(needed)))
    conversion.note(split, news=needed.sum())


# === Articles ===


@dataclass(frozen=True)
class _Articles:
    """The articles of a bundle.

    Attributes:
        rows: as news.tsv has them.
        numbers: their ids, (N,) int64, ascending.
        place: where each of `numbers` stands in `rows`, (N,) int64.
    """

    rows: pa.Table
    numbers: np.ndarray
    place: np.ndarray

    @property
    def ids(self) -> pa.StringArray:
        """The ids as texts, in the order of `rows`."""
        return self.rows["news id"].chunk(0)

    @classmethod
    def read(cls, path: Path, conversion: Conversion, on_error: OnError) -> _Articles:
        """Reads articles.parquet; the body is not read."""
        faults = LineFaults(path, on_error)
        wanted = ["article_id", "title", "subtitle", "category_str", "subcategory", "url"]
        parts = list(read_columns(path, wanted, faults, retained=True))
        if not parts:
            raise DataFormatError(path, "there are no articles.")
        table = pa.concat_tables([block for block, _ in parts]).combine_chunks()
        lines = np.concatenate([lines for _, lines in parts])
        numbers = integers_of(path, table, "article_id")
        missing = _report_missing(numbers < 0, lines, "article_id", faults)
        first = np.zeros(len(lines), bool)
        first[np.unique(numbers, return_index=True)[1]] = True
        repeated = np.flatnonzero(~first & ~missing)
        faults.add(
            "article repeated",
            lines[repeated],
            lambda k: f"the article {numbers[repeated[k]]}, column 'article_id', came before.",
        )
        faults.raise_earliest()
        conversion.finish(faults)
        kept = np.flatnonzero(first & ~missing)
        if not len(kept):
            raise DataFormatError(path, "there are no articles that could be used.")
        table, numbers = table.take(pa.array(kept)), numbers[kept]
        subcategories = _Lists.of(path, table, "subcategory")
        rows = news_rows(
            pa.array(numbers).cast(pa.string()),
            texts_of(path, table, "title"),
            category=texts_of(path, table, "category_str"),
            subcategory=subcategories.first(),
            abstract=texts_of(path, table, "subtitle"),
            url=texts_of(path, table, "url"),
        ).combine_chunks()
        order = np.argsort(numbers)
        return cls(rows, numbers[order], order)

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Where articles stand, (len(numbers),) int64; -1 where there is none of that number."""
        near = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[near] == numbers, self.place[near], -1)


# === Histories ===


@dataclass(frozen=True)
class _UserHistories:
    """The click histories of a split.

    Attributes:
        users: (U,) int64, ascending.
        start: (U,) int64, where the history of each user begins in `clicks`.
        length: (U,) int64.
        clicks: places of articles, oldest first, int32.
    """

    users: np.ndarray
    start: np.ndarray
    length: np.ndarray
    clicks: np.ndarray

    @classmethod
    def read(
        cls, path: Path, articles: _Articles, max_history: int | None, conversion: Conversion, on_error: OnError
    ) -> _UserHistories:
        """Reads history.parquet."""
        faults = LineFaults(path, on_error)
        users, lengths, clicks = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        seen: set[int] = set()
        for block, lines in read_columns(path, ["user_id", "article_id_fixed"], faults):
            user = integers_of(path, block, "user_id")
            missing = _report_missing(user < 0, lines, "user_id", faults)
            new = np.zeros(len(user), bool)
            new[np.unique(user, return_index=True)[1]] = True
            new &= np.array([number not in seen for number in user.tolist()], bool)
            seen.update(user.tolist())
            repeated = np.flatnonzero(~new & ~missing)
            faults.add(
                "user repeated",
                lines[repeated],
                lambda k, user=user, repeated=repeated: f"the user {user[repeated[k]]}, column 'user_id', came before.",
            )
            read = _Lists.of(path, block, "article_id_fixed").take(np.flatnonzero(new & ~missing)).newest(max_history)
            known, places = _known(read, articles, lines[new & ~missing], "article_id_fixed", faults)
            faults.raise_earliest()
            users.append(user[new & ~missing])
            lengths.append(known.lengths)
            clicks.append(places.astype(np.int32))
        conversion.finish(faults)
        user, length = np.concatenate(users), np.concatenate(lengths)
        order = np.argsort(user)
        return cls(user[order], (np.cumsum(length) - length)[order], length[order], np.concatenate(clicks))

    def of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Returns where the histories of some users begin, how long they are, and how many users have none."""
        if not len(self.users):
            return np.zeros(len(users), np.int64), np.zeros(len(users), np.int64), len(users)
        near = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        known = self.users[near] == users
        return np.where(known, self.start[near], 0), np.where(known, self.length[near], 0), int((~known).sum())


# === Behaviors ===


def _read_behaviors(
    path: Path, split: str, articles: _Articles, histories: _UserHistories, conversion: Conversion, on_error: OnError
) -> Iterator[BehaviorsBlock]:
    faults = LineFaults(path, on_error)
    needed = ["impression_id", "user_id", "impression_time", "article_ids_inview"]
    time_column = TimeColumn("impression_time")
    conversion.note(split, impressions=0, candidates=0, clicks=0)
    for block, lines in read_columns(path, needed, faults, optional=["article_ids_clicked"]):
        labelled = "article_ids_clicked" in block.column_names
        if not labelled and split != "test":
            raise DataFormatError(path, "there is no column 'article_ids_clicked'; only the test set may lack it.")
        impression_id, user = integers_of(path, block, "impression_id"), integers_of(path, block, "user_id")
        time = time_column.seconds(path, block["impression_time"])
        missing = _report_missing(impression_id < 0, lines, "impression_id", faults)
        missing |= _report_missing(user < 0, lines, "user_id", faults)
        missing |= _report_missing((time < 0) | (time > LAST_SECOND), lines, "impression_time", faults)
        shown, places = _known(
            _Lists.of(path, block, "article_ids_inview"), articles, lines, "article_ids_inview", faults
        )
        if labelled:
            clicks, clicked = _known(
                _Lists.of(path, block, "article_ids_clicked"), articles, lines, "article_ids_clicked", faults
            )
            candidates = _Candidates.labelled(shown, places, clicks, clicked)
        else:
            candidates = _Candidates(places, np.full(len(places), UNLABELLED, np.int8), shown.lengths, 0)
        empty = candidates.lengths == 0
        faults.add("nothing in view", lines[empty], lambda _: "nothing is in view: column 'article_ids_inview'.")
        faults.raise_earliest()
        kept = np.flatnonzero(~(missing | empty))
        candidates = candidates.take(kept)
        start, length, without = histories.of(user[kept])
        conversion.note(
            split,
            impressions=len(kept),
            candidates=len(candidates.places),
            clicks=(candidates.labels == 1).sum(),
            impressions_of_users_without_a_history=without,
            clicks_that_were_not_in_view=candidates.added,
        )
        first = np.cumsum(candidates.lengths) - candidates.lengths
        for rows in blocks_of_rows(length + candidates.lengths):
            slots = stretches(first[rows], candidates.lengths[rows])
            yield BehaviorsBlock(
                impression_id=impression_id[kept][rows],
                user=pa.array(user[kept][rows]).cast(pa.string()),
                time=time[kept][rows],
                histories=histories.clicks[stretches(start[rows], length[rows])],
                history_length=length[rows],
                candidates=candidates.places[slots],
                labels=candidates.labels[slots],
                num_candidates=candidates.lengths[rows],
            )
    conversion.finish(faults)


@dataclass(frozen=True)
class _Candidates:
    """The candidates of some impressions, one impression after another.

    Attributes:
        places: of the articles, int64.
        labels: 1, 0 or -1, int8.
        lengths: (rows,) how many each impression has.
        added: how many were clicked on without being in view.
    """

    places: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    added: int

    @classmethod
    def labelled(cls, shown: _Lists, places: np.ndarray, clicks: _Lists, clicked: np.ndarray) -> _Candidates:
        """Labels what was in view by what was clicked on, and adds what was clicked on only."""
        in_view, hit = shown.row_of << 32 | places, np.unique(clicks.row_of << 32 | clicked)
        unseen = np.setdiff1d(hit, in_view)
        keys = np.concatenate([in_view, unseen])
        keys = keys[np.argsort(keys >> 32, kind="stable")]
        lengths = np.bincount(keys >> 32, minlength=len(shown.lengths))
        return cls(keys & (2**32 - 1), np.isin(keys, hit).astype(np.int8), lengths, len(unseen))

    def take(self, rows: np.ndarray) -> _Candidates:
        """Returns those of some impressions."""
        slots = stretches((np.cumsum(self.lengths) - self.lengths)[rows], self.lengths[rows])
        return _Candidates(self.places[slots], self.labels[slots], self.lengths[rows], self.added)


# === Columns ===


@dataclass(frozen=True)
class _Lists:
    """A column of lists of numbers.

    Attributes:
        values: the numbers of all lists, int64.
        lengths: (rows,) int64.
    """

    values: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, path: Path, table: pa.Table, column: str) -> _Lists:
        """Takes a column; a missing list is empty, a missing number in a list is left out."""
        lists = table[column].combine_chunks()
        is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
        if not is_list or not (pa.types.is_integer(lists.type.value_type) or pa.types.is_null(lists.type.value_type)):
            raise DataFormatError(path, f"column {column!r} holds {lists.type}; expected lists of whole numbers.")
        row_of = pc.list_parent_indices(lists).to_numpy()
        numbers = pc.list_flatten(lists)
        real = pc.is_valid(numbers).to_numpy(zero_copy_only=False)
        values = numbers.cast(pa.int64(), safe=False).fill_null(0).to_numpy()[real]
        return cls(values, np.bincount(row_of[real], minlength=len(lists)))

    @property
    def row_of(self) -> np.ndarray:
        """The row of each value, int64."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def take(self, rows: np.ndarray) -> _Lists:
        """Returns the lists of some rows."""
        slots = stretches((np.cumsum(self.lengths) - self.lengths)[rows], self.lengths[rows])
        return _Lists(self.values[slots], self.lengths[rows])

    def newest(self, count: int | None) -> _Lists:
        """Returns the lists cut to their last `count` values."""
        if count is None:
            return self
        lengths = np.minimum(self.lengths, count)
        return _Lists(self.values[stretches(np.cumsum(self.lengths) - lengths, lengths)], lengths)

    def first(self) -> pa.StringArray:
        """Returns the first value of each list as a text, an empty one for an empty list."""
        filled = np.append(self.values, 0)[np.minimum(np.cumsum(self.lengths) - self.lengths, len(self.values))]
        return pc.if_else(pa.array(self.lengths > 0), pa.array(filled).cast(pa.string()), "")


def _known(
    lists: _Lists, articles: _Articles, lines: np.ndarray, column: str, faults: LineFaults
) -> tuple[_Lists, np.ndarray]:
    """The lists without unknown articles, which are faults, and the places of the others."""
    places, row_of = articles.places(lists.values), lists.row_of
    unknown = np.flatnonzero(places < 0)
    faults.add(
        f"unknown article in {column}",
        lines[row_of[unknown]],
        lambda k: f"the article {lists.values[unknown[k]]}, column {column!r}, is not in {_ARTICLES}.",
        remedy=_UNKNOWN_REMEDY,
    )
    kept = places >= 0
    lengths = np.bincount(row_of[kept], minlength=len(lists.lengths))
    return _Lists(lists.values[kept], lengths), places[kept]


def _report_missing(missing: np.ndarray, lines: np.ndarray, column: str, faults: LineFaults) -> np.ndarray:
    """Reports the rows that have no value where they need one, and returns them, (rows,) bool."""
    faults.add(f"no {column}", lines[missing], lambda _: f"column {column!r} has no usable value.")
    return missing
