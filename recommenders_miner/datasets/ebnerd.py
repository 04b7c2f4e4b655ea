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
from recommenders_miner.data.folders import BEHAVIORS_FILE
from recommenders_miner.data.past_clicks import require_length
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError
from recommenders_miner.data.write import BehaviorsBlock, blocks_of_rows, write_behaviors
from recommenders_miner.datasets.columns import LAST_SECOND, NO_TIME, Block, TimeColumn, read_columns
from recommenders_miner.datasets.conversion import Conversion, conversion_to, news_rows, write_news
from recommenders_miner.errors import DataFormatError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
"""The folders of EB-NeRD, and what they are called here."""

FURTHER_COLUMNS = ("body", "premium", "article_type", "topics", "sentiment_score", "sentiment_label")
"""What articles.parquet keeps of EB-NeRD's columns beside `published`.

The counts of views and of time spent reading are not among them, since they know the future."""

_ARTICLES, _BEHAVIORS, _HISTORY = "articles.parquet", "behaviors.parquet", "history.parquet"
_UNKNOWN_REMEDY = f"Is {_ARTICLES} that of the same bundle? --on-error skip leaves unknown articles out."


def convert_ebnerd(
    bundle: str | Path,
    out: str | Path,
    test: str | Path | None = None,
    max_history: int | None = None,
    on_error: OnError = "raise",
    overwrite: bool = False,
) -> Conversion:
    """Write `out/train`, `out/dev` and, of the test set, `out/test`, which has no labels.

    Kept are impression, user and article ids, times, what was in view and clicked on, and the click histories; of an
    article its title, its subtitle as abstract, its category, the number of its first subcategory, and in
    `articles.parquet` its time of publication and `FURTHER_COLUMNS`, where the bundle has them. A `news.tsv` holds the
    articles that its split refers to. An article that was clicked on and is not among those in view is added to them. A
    user without a history has an empty one.

    Args:
        bundle: the folder of a bundle.
        out: the folder to write.
        test: the folder of the test set.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        on_error: "raise" stops at the first faulty row; "skip" leaves out faulty rows, and of sound ones the unknown
            articles, and counts them.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: a file is missing, lacks a column, or has a faulty row.
        FolderExistsError: `out` holds something.
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
    with conversion_to(out, settings, sources, overwrite) as conversion:
        for source, names in zip(sources, found, strict=True):
            articles = _read_articles(source / _ARTICLES, conversion, on_error)
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
    users, histories = _read_histories(folder / _HISTORY, articles, max_history, conversion, on_error)
    ids = articles.news["news id"].combine_chunks()
    needed = np.zeros(len(ids), bool)

    def blocks() -> Iterator[BehaviorsBlock]:
        for block in _read_behaviors(folder / _BEHAVIORS, split, articles, users, histories, conversion, on_error):
            needed[block.candidates.values] = needed[block.histories.values] = True
            yield block

    target = conversion.folder / split
    target.mkdir()
    write_behaviors(target / BEHAVIORS_FILE, ids, blocks())
    if not needed.any():
        raise DataFormatError(folder / _BEHAVIORS, "there are no impressions that could be used.")
    write_news(target, articles.news.filter(pa.array(needed)))
    conversion.note(split, news=needed.sum())


@dataclass(frozen=True)
class _Articles:
    """The articles of a bundle.

    Attributes:
        news: the columns of news.tsv and articles.parquet.
        numbers: their ids, (N,) int64.
    """

    news: pa.Table
    numbers: np.ndarray

    def known(self, lists: Ragged, block: Block, column: str) -> Ragged:
        """Return the places of the articles in lists of numbers, without unknown ones, which are errors."""
        place = _find(lists.values, self.numbers)
        unknown = np.flatnonzero(place < 0)
        block.errors.add(
            f"unknown article in {column}",
            block.lines[lists.row_of(unknown)],
            lambda k: f"the article {lists.values[unknown[k]]}, column {column!r}, is not in {_ARTICLES}.",
            remedy=_UNKNOWN_REMEDY,
        )
        return Ragged(place, lists.offsets).keep(place >= 0)


def _read_articles(path: Path, conversion: Conversion, on_error: OnError) -> _Articles:
    errors = LineErrors(path, on_error)
    wanted = ["article_id", "title", "subtitle", "category_str", "subcategory", "url"]
    blocks = list(read_columns(path, wanted, errors, optional=["published_time", *FURTHER_COLUMNS]))
    if not blocks:
        raise DataFormatError(path, "there are no articles.")
    lines = np.concatenate([block.lines for block in blocks])
    block = Block(pa.concat_tables([block.table for block in blocks]), lines, errors)
    numbers = block.integers("article_id")
    _report_repeated("article", "article_id", block, numbers, _is_later(numbers))
    errors.raise_earliest()
    conversion.finish(errors)
    kept = np.flatnonzero(block.sound)
    if not len(kept):
        raise DataFormatError(path, "there are no articles that could be used.")
    block, numbers = Block(block.table.take(pa.array(kept)), lines[kept], errors), numbers[kept]
    subcategories = block.lists("subcategory")
    first = np.append(subcategories.values, 0)[subcategories.offsets[:-1]]
    news = news_rows(
        pa.array(numbers).cast(pa.string()),
        block.texts("title"),
        category=block.texts("category_str"),
        subcategory=pc.if_else(pa.array(subcategories.lengths > 0), pa.array(first).cast(pa.string()), ""),
        abstract=block.texts("subtitle"),
        url=block.texts("url"),
    )
    if "published_time" in block.table.column_names:
        seconds = TimeColumn("published_time").seconds(path, block.table["published_time"])
        news = news.append_column("published", pa.array(seconds, mask=seconds == NO_TIME))
    for name in FURTHER_COLUMNS:
        if name in block.table.column_names:
            news = news.append_column(name, block.table[name])
    return _Articles(news, numbers)


def _read_histories(
    path: Path, articles: _Articles, max_history: int | None, conversion: Conversion, on_error: OnError
) -> tuple[np.ndarray, Ragged]:
    """Return the users, and the places of the articles that each clicked on, oldest first."""
    errors = LineErrors(path, on_error)
    users, clicks = np.empty(0, np.int64), []
    for block in read_columns(path, ["user_id", "article_id_fixed"], errors):
        user = block.integers("user_id")
        _report_repeated("user", "user_id", block, user, _is_later(user) | (_find(user, users) >= 0))
        kept = np.flatnonzero(block.sound)
        lists = block.lists("article_id_fixed")
        if max_history is not None:
            lists = lists.keep(lists.ranks() >= lists.repeat(lists.lengths - max_history))
        lists = lists.keep(lists.repeat(block.sound))  # of an unsound row, nothing else is reported
        known = articles.known(lists, block, "article_id_fixed").take(kept)
        errors.raise_earliest()
        users = np.append(users, user[kept])
        clicks.append(Ragged(known.values.astype(np.int32), known.offsets))
    conversion.finish(errors)
    return users, Ragged.concat([Ragged.of_lists([]), *clicks])


def _read_behaviors(
    path: Path,
    split: str,
    articles: _Articles,
    users: np.ndarray,
    histories: Ragged,
    conversion: Conversion,
    on_error: OnError,
) -> Iterator[BehaviorsBlock]:
    histories = Ragged.concat([histories, Ragged.of_lists([[]])])  # the last one is that of users who have none
    errors = LineErrors(path, on_error)
    needed = ["impression_id", "user_id", "impression_time", "article_ids_inview"]
    time_column = TimeColumn("impression_time")
    conversion.note(split, impressions=0, candidates=0, clicks=0)
    for block in read_columns(path, needed, errors, optional=["article_ids_clicked"]):
        is_labelled = "article_ids_clicked" in block.table.column_names
        if not is_labelled and split != "test":
            raise DataFormatError(path, "there is no column 'article_ids_clicked'; only the test set may lack it.")
        impression_id, user = block.integers("impression_id"), block.integers("user_id")
        time = time_column.seconds(path, block.table["impression_time"])
        timeless = (time < 0) | (time > LAST_SECOND)
        block.report("no impression_time", timeless, lambda _: "column 'impression_time' has no usable value.")
        shown, *clicked = (
            articles.known(block.lists(column), block, column)
            for column in ("article_ids_inview", "article_ids_clicked")[: 1 + is_labelled]
        )
        candidates, labels, added = _labelled(shown, *clicked)
        invisible = candidates.lengths == 0
        block.report("nothing in view", invisible, lambda _: "nothing is in view: column 'article_ids_inview'.")
        errors.raise_earliest()
        kept = np.flatnonzero(block.sound)
        place = _find(user[kept], users)
        history = np.where(place < 0, len(users), place)
        clicks = Ragged(labels == 1, candidates.offsets).sums()[kept]
        conversion.note(
            split,
            impressions=len(kept),
            candidates=candidates.lengths[kept].sum(),
            clicks=clicks.sum(),
            impressions_of_users_without_a_history=(place < 0).sum(),
            clicks_that_were_not_in_view=added,
        )
        for rows in blocks_of_rows(histories.lengths[history] + candidates.lengths[kept]):
            here = kept[rows]
            slots = candidates.places(here)
            yield BehaviorsBlock(
                impression_id=impression_id[here],
                user=pa.array(user[here]).cast(pa.string()),
                time=time[here],
                histories=histories.take(history[rows]),
                candidates=Ragged(candidates.values[slots.values], slots.offsets),
                labels=labels[slots.values],
            )
    conversion.finish(errors)


def _labelled(shown: Ragged, clicked: Ragged | None = None) -> tuple[Ragged, np.ndarray, int]:
    """Label what was in view by what was clicked on, and add what was clicked on only, and say how many these are."""
    if clicked is None:
        return shown, np.full(len(shown.values), UNLABELLED, np.int8), 0
    in_view, hit = shown.rows() << 32 | shown.values, np.unique(clicked.rows() << 32 | clicked.values)
    unseen = np.setdiff1d(hit, in_view)
    keys = np.concatenate([in_view, unseen])
    keys = keys[np.argsort(keys >> 32, kind="stable")]
    lengths = np.bincount(keys >> 32, minlength=len(shown))
    return Ragged.of_lengths(keys & (2**32 - 1), lengths), np.isin(keys, hit).astype(np.int8), len(unseen)


def _find(wanted: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return where numbers stand for the first time among others, -1 where they do not."""
    return pc.index_in(pa.array(wanted), value_set=pa.array(numbers)).fill_null(-1).to_numpy().astype(np.int64)


def _is_later(numbers: np.ndarray) -> np.ndarray:
    """Return whether each number came before, (rows,) bool."""
    return _find(numbers, numbers) < np.arange(len(numbers))


def _report_repeated(what: str, column: str, block: Block, numbers: np.ndarray, later: np.ndarray) -> None:
    block.report(
        f"{what} repeated",
        later & block.sound,
        lambda row: f"the {what} {numbers[row]}, column {column!r}, came before.",
    )
