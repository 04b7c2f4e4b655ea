"""EB-NeRD, the Ekstra Bladet News Recommendation Dataset (RecSys Challenge 2024), as a data folder in MIND's form.

A bundle (`ebnerd_demo`, `ebnerd_small`, `ebnerd_large`) has `articles.parquet` and the folders `train` and
`validation`, each with `behaviors.parquet` and `history.parquet`; `ebnerd_testset` has `articles.parquet` and the
folder `test`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import UNLABELLED
from recommenders_miner.data.folders import BEHAVIORS_FILE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.past_clicks import Histories
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError, open_data
from recommenders_miner.data.write import write_behaviors
from recommenders_miner.datasets.columns import LAST_SECOND, NO_TIME, Block
from recommenders_miner.datasets.conversion import Conversion, conversion_to, news_rows, write_news
from recommenders_miner.errors import DataFormatError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
"""The folders of EB-NeRD, and what they are called here."""

FURTHER_COLUMNS = ("body", "premium", "article_type", "topics", "sentiment_score", "sentiment_label")
"""What articles.parquet keeps of EB-NeRD's columns beside `published`.

The counts of views and of time spent reading are not among them, since they know the future."""

_BUNDLE = "the folder of a bundle of EB-NeRD"
_ARTICLES, _BEHAVIORS, _HISTORY = "articles.parquet", "behaviors.parquet", "history.parquet"


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
        DataFormatError: a file is missing, lacks a column, or has a faulty row; or `test` has a split of `bundle`, too.
        FolderExistsError: `out` holds something.
        ValueError: `max_history` is negative.
    """
    sources = [Path(bundle)] if test is None else [Path(bundle), Path(test)]
    settings = {"converter": "ebnerd", "source": [str(source) for source in sources], "max_history": max_history}
    with conversion_to(out, settings, sources, on_error, overwrite) as conversion:
        of_sources = [_find_splits(source) for source in sources]
        if both := [name for name in of_sources[-1] if test is not None and name in of_sources[0]]:
            remedy = "--test takes the folder of the test set alone."
            raise DataFormatError(test, f"holds {', '.join(both)}, as {bundle} does; expected test.", remedy=remedy)
        for source, names in zip(sources, of_sources, strict=True):
            news = _read_articles(source / _ARTICLES, conversion)
            for name in names:
                _convert_split(source / name, SPLITS[name], news, max_history, conversion)
    return conversion


def _find_splits(source: Path) -> list[str]:
    """Return which of the folders of EB-NeRD there are."""
    if not source.is_dir():
        with open_data(source, _BUNDLE):  # an archive is named as such
            raise DataFormatError(source, f"is a file; expected {_BUNDLE}.")
    names = [name for name in SPLITS if (source / name).is_dir()]
    if not names:
        raise DataFormatError(source, f"holds none of the folders {', '.join(SPLITS)} of EB-NeRD.")
    return names


def _convert_split(folder: Path, split: str, news: pa.Table, max_history: int | None, conversion: Conversion) -> None:
    ids = news["news id"].combine_chunks()
    articles = ids.cast(pa.int64()).to_numpy()
    users, histories = _read_histories(folder / _HISTORY, articles, max_history, conversion)
    target = conversion.folder / split
    target.mkdir()
    logs = _read_behaviors(folder / _BEHAVIORS, split, articles, users, histories, conversion)
    needed = write_behaviors(target / BEHAVIORS_FILE, ids, logs)
    if not needed.any():
        raise DataFormatError(folder / _BEHAVIORS, "there are no impressions that could be used.")
    write_news(target, news.filter(pa.array(needed)))
    conversion.note(split, news=needed.sum())


def _read_articles(path: Path, conversion: Conversion) -> pa.Table:
    """Return the columns of news.tsv and articles.parquet."""
    parts, seen = [], np.empty(0, np.int64)
    wanted = ["article_id", "title", "subtitle", "category_str", "subcategory", "url"]
    for block in conversion.read([path], wanted, optional=["published_time", *FURTHER_COLUMNS]):
        numbers = _first_numbers(block, "article", "article_id", seen)
        seen = np.append(seen, numbers[block.sound])
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
            seconds = block.seconds("published_time")
            news = news.append_column("published", pa.array(seconds, mask=seconds == NO_TIME))
        for name in FURTHER_COLUMNS:
            if name in block.table.column_names:
                news = news.append_column(name, block.table[name])
        parts.append(news.filter(pa.array(block.sound)))
    if not len(seen):
        raise DataFormatError(path, "there are no articles that could be used.")
    return pa.concat_tables(parts)


def _read_histories(
    path: Path, articles: np.ndarray, max_history: int | None, conversion: Conversion
) -> tuple[np.ndarray, Ragged]:
    """Return the users, and the places of the articles that each clicked on, oldest first; and none after the last."""
    users, clicks = np.empty(0, np.int64), []
    for block in conversion.read([path], ["user_id", "article_id_fixed"]):
        user = _first_numbers(block, "user", "user_id", users)
        lists = block.lists("article_id_fixed")
        if max_history is not None:
            lists = lists.keep(lists.ranks() >= lists.repeat(lists.lengths - max_history))
        lists = lists.keep(lists.repeat(block.sound))  # of an unsound row, nothing else is reported
        known = _known(lists, block, "article_id_fixed", articles).take(np.flatnonzero(block.sound))
        users = np.append(users, user[block.sound])
        clicks.append(Ragged(known.values.astype(np.int32), known.offsets))
    return users, Ragged.concat([*clicks, Ragged.of_lists([[]])])


def _read_behaviors(
    path: Path, split: str, articles: np.ndarray, users: np.ndarray, histories: Ragged, conversion: Conversion
) -> Iterator[tuple[ImpressionLog, Histories, np.ndarray]]:
    """Yield logs as `write_behaviors` takes them; the last of `histories` is that of users who have none."""
    needed = ["impression_id", "user_id", "impression_time", "article_ids_inview"]
    conversion.note(split, impressions=0, candidates=0, clicks=0)
    for block in conversion.read([path], needed, optional=["article_ids_clicked"]):
        is_labelled = "article_ids_clicked" in block.table.column_names
        if not is_labelled and split != "test":
            raise DataFormatError(path, "there is no column 'article_ids_clicked'; only the test set may lack it.")
        impression_id, user = block.integers("impression_id"), block.integers("user_id")
        time = block.seconds("impression_time")
        timeless = (time < 0) | (time > LAST_SECOND)
        block.report("no impression_time", timeless, lambda _: "column 'impression_time' has no usable value.")
        shown, *clicked = (
            _known(block.lists(column), block, column, articles)
            for column in ("article_ids_inview", "article_ids_clicked")[: 1 + is_labelled]
        )
        candidates, labels, added = _labelled(shown, *clicked)
        invisible = candidates.lengths == 0
        block.report("nothing in view", invisible, lambda _: "nothing is in view: column 'article_ids_inview'.")
        kept, place = np.flatnonzero(block.sound), _find(user, users)
        conversion.note(
            split,
            impressions=len(kept),
            candidates=candidates.lengths[kept].sum(),
            clicks=Ragged(labels == 1, candidates.offsets).sums()[kept].sum(),
            impressions_of_users_without_a_history=(place[kept] < 0).sum(),
            clicks_that_were_not_in_view=added,
        )
        log = ImpressionLog(
            candidates=candidates,
            labels=labels,
            histories=histories,
            history_of=np.where(place < 0, len(users), place),
            user_of=np.arange(len(user)),
            time=time,
            impression_id=impression_id,
            users=pa.array(user).cast(pa.string()),
        )
        yield log, Histories.of_log(log), kept


def _known(lists: Ragged, block: Block, column: str, articles: np.ndarray) -> Ragged:
    """Return the places of articles in lists of their numbers, without unknown ones, which are errors."""
    place = _find(lists.values, articles)
    unknown = np.flatnonzero(place < 0)
    block.errors.add(
        f"unknown article in {column}",
        block.lines[lists.row_of(unknown)],
        lambda k: f"the article {lists.values[unknown[k]]}, column {column!r}, is not in {_ARTICLES}.",
        remedy=f"Is {_ARTICLES} that of the same bundle? --on-error skip leaves unknown articles out.",
    )
    return Ragged(place, lists.offsets).keep(place >= 0)


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


def _first_numbers(block: Block, what: str, column: str, seen: np.ndarray) -> np.ndarray:
    """Return a column of numbers, (rows,) int64, that may neither stand in it twice nor be among those seen before."""
    numbers = block.integers(column)
    again = (_find(numbers, numbers) < np.arange(len(numbers))) | (_find(numbers, seen) >= 0)
    block.report(
        f"{what} repeated",
        again & block.sound,
        lambda row: f"the {what} {numbers[row]}, column {column!r}, came before.",
    )
    return numbers
