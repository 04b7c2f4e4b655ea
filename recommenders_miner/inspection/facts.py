"""What an inspection finds, as plain figures. Each says beside its declaration how it is taken, and its row's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from recommenders_miner.data.behaviors import file_time
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.write import blocks_of_rows
from recommenders_miner.evaluation.metrics import cold_candidates

NOTHING = "-"
UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY = "unknown news id among the candidates", "unknown news id in the history"
_UNLABELLED_ROWS = (
    "some candidates labelled and some not",
    "labels where the log has none, or none where it has them",
)


@dataclass(frozen=True, eq=False)
class Distribution:
    """The distinct values among some whole numbers, ascending, and how often each occurs, (distinct,) both."""

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, numbers: ArrayLike) -> Self:
        """Count some numbers."""
        return cls(*np.unique(numbers, return_counts=True))

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean of the numbers, of which there has to be one."""
        return float(np.average(self.values, weights=self.counts))

    def percentile(self, percent: float) -> int:
        """Return the smallest number that at least so many percent do not exceed; there has to be one."""
        return int(np.percentile(self.values, percent, method="inverted_cdf", weights=self.counts))


class Fact(NamedTuple):
    """A figure: how it is taken of the columns at hand, its name in the table, if it is there, and what stands there.

    `show` is given the facts of which it is one; without it, the table shows the figure.
    """

    take: Callable[[Any], Any]
    row: str = ""
    show: Callable[[Any], Any] | None = None


class Facts:
    """Figures, each declared in the class as a `Fact` and in an instance a value."""

    def __init__(self, **columns: Any) -> None:
        of = SimpleNamespace(**columns)
        declared = {name: fact for name, fact in vars(type(self)).items() if isinstance(fact, Fact)}
        vars(self).update({name: fact.take(of) for name, fact in declared.items()})

    @classmethod
    def table_rows(cls, columns: Sequence[Any]) -> list[list[str]]:
        """Lay out facts of this kind, a column each; None is a column of dashes."""
        rows = []
        for name, fact in vars(cls).items():
            if isinstance(fact, Fact) and fact.row:
                show = fact.show or attrgetter(name)
                rows.append([fact.row, *(shown(facts and show(facts)) for facts in columns)])
        return rows


class NewsFacts(Facts):
    """What a news table holds: each figure counts articles, unless its row says otherwise.

    `categories` has the most frequent first; `entities_readable` says whether titles' and abstracts' entities are JSON
    of MIND's form; `title_words` are those of each title, as spaces separate them.
    """

    news = Fact(lambda of: len(of.news) - 1, "news in the table")
    repeated = Fact(lambda of: of.repeated, "… in a second line")
    without_title = Fact(lambda of: len(find_blank(of.news.title)), "… without title")
    without_category = Fact(lambda of: len(find_blank(of.news.category)), "… without category")
    without_abstract = Fact(lambda of: len(find_blank(of.news.abstract)), "… without abstract")
    categories = Fact(
        lambda of: dict(Counter(sorted(of.news.category.to_pylist()[1:])).most_common()),
        "categories",
        lambda news: len(news.categories.keys() - {""}),
    )
    subcategories = Fact(lambda of: len(set(of.news.subcategory.to_pylist()) - {""}), "subcategories")
    with_title_entities = Fact(
        lambda of: sum(text not in ("", "[]") for text in of.news.title_entities.to_pylist()),
        "titles with entities",
        lambda news: news.with_title_entities if news.entities_readable else "unreadable",
    )
    entities_readable = Fact(lambda of: of.entities_readable)
    title_words = Fact(lambda of: Distribution.of([len(title.split()) for title in of.news.title.to_pylist()[1:]]))


def _if_labelled(name: str) -> Callable[[Any], int | None]:
    return lambda log: getattr(log, name) if log.labelled else None


class LogFacts(Facts):
    """What a click log holds. Impressions that cannot be read, and unknown articles, do not count.

    `candidates` are articles shown, each as often as it was; `news_shown` counts each once. `unlabelled` are those
    without labels, or left out among labelled ones. `clicks_in_history` and `non_clicks_in_history` are
    candidates that the impression's own history holds. Times are by the clock of the files; `hours` those of the
    impressions in whole hours since 1970. Shares are None where there is nothing to take them of; figures of clicks
    are 0 in an unlabelled log.
    """

    impressions = Fact(lambda of: len(of.log), "impressions")
    users = Fact(lambda of: len(of.log.users), "users")
    candidates = Fact(lambda of: len(of.clicked), "candidates")
    clicks = Fact(lambda of: int(of.clicked.sum()), "clicks", _if_labelled("clicks"))
    click_rate = Fact(lambda of: float(of.clicked.mean()) if of.log.labelled else None, "click rate")
    first = Fact(lambda of: file_time(of.log.time.min()), "first impression")
    last = Fact(lambda of: file_time(of.log.time.max()), "last impression")
    without_history = Fact(lambda of: int((of.history_length == 0).sum()), "impressions without history")
    without_click = Fact(
        lambda of: int((of.clicks == 0).sum()) if of.log.labelled else 0,
        "… without a click",
        _if_labelled("without_click"),
    )
    without_non_click = Fact(
        lambda of: int((of.clicks == of.sizes).sum()), "… without a non-click", _if_labelled("without_non_click")
    )
    unlabelled = Fact(
        lambda of: sum(map(of.skipped, _UNLABELLED_ROWS)) + (0 if of.log.labelled else len(of.log)), "… without labels"
    )
    repeated_ids = Fact(lambda of: len(of.doubtful.repeated_ids), "… with an id that is there before")
    repeated_rows = Fact(lambda of: len(of.doubtful.repeated_rows), "… equal to one before")
    contradictory = Fact(lambda of: len(of.doubtful.contradictory), "… with an article clicked and not clicked")
    click_share_in_history = Fact(lambda of: _share(of.known_clicked, of.clicked), "clicks that their history holds")
    non_click_share_in_history = Fact(
        lambda of: _share(~of.known_clicked, ~of.clicked) if of.log.labelled else None,
        "non-clicks that their history holds",
    )
    unknown_candidates = Fact(lambda of: of.skipped(UNKNOWN_CANDIDATE), "unknown ids among candidates")
    unknown_in_histories = Fact(lambda of: of.skipped(UNKNOWN_IN_HISTORY), "unknown ids in histories")
    news_shown = Fact(lambda of: int((of.showings > 0).sum()), "news shown")
    labelled = Fact(lambda of: of.log.labelled)
    clicks_in_history = Fact(lambda of: int(of.known_clicked.sum()))
    non_clicks_in_history = Fact(lambda of: int((~of.known_clicked).sum()))
    history_length = Fact(lambda of: Distribution.of(of.history_length))
    candidates_per_impression = Fact(lambda of: Distribution.of(of.sizes))
    clicks_per_impression = Fact(lambda of: Distribution.of(of.clicks if of.log.labelled else of.clicks[:0]))
    showings = Fact(lambda of: Distribution.of(of.showings[of.showings > 0]))
    hours = Fact(lambda of: Distribution.of(of.log.time // 3600))
    category_showings = Fact(lambda of: _by_category(of.news, of.log.candidates.values))
    category_clicks = Fact(lambda of: _by_category(of.news, of.log.candidates.values[of.clicked]))


class Comparison(Facts):
    """What of a split train does not know. Shares lie between 0 and 1; those of clicks are None where none are known.

    Cold are articles that train neither showed nor has in its histories, absent those that its news table lacks.
    """

    cold_candidates = Fact(lambda of: float(of.cold.mean()), "candidates of news that train never showed")
    cold_clicks = Fact(lambda of: _share(of.cold & of.clicked, of.clicked), "clicks on such news")
    absent_candidates = Fact(lambda of: float(of.absent.mean()), "candidates of news that train's table lacks")
    absent_clicks = Fact(lambda of: _share(of.absent & of.clicked, of.clicked), "clicks on such news, lacking there")
    new_users = Fact(
        lambda of: 1 - float(_is_in(of.log.users, of.training_log.users).mean()), "users without an impression in train"
    )
    before_train_ends = Fact(
        lambda of: int((of.log.time <= of.training_log.time.max()).sum()),
        "impressions that are not later than train's last",
    )
    changed_news = Fact(lambda of: len(of.changed), "news with another title or category than in train")


class DoubtfulRows(NamedTuple):
    """Rows of a log that something may be wrong with, each an ascending array of indices."""

    repeated_ids: np.ndarray  # impressions with the id of an earlier one
    repeated_rows: np.ndarray  # impressions that equal an earlier one but for the id
    contradictory: np.ndarray  # impressions that show an article both as clicked and as not clicked
    in_history: np.ndarray  # candidates of a labelled log that the impression's own history holds


def measure_log(log: ImpressionLog, news: NewsTable, doubtful: DoubtfulRows) -> LogFacts:
    """Take the figures of a log that was read with `on_error="skip"`, or of an ingested one, which may skip nothing."""
    clicked = log.labels == 1
    skipped = log.skipped.counts if log.skipped else {}
    return LogFacts(
        log=log,
        news=news,
        doubtful=doubtful,
        skipped=lambda reason: skipped.get(reason, 0),
        clicked=clicked,
        clicks=np.add.reduceat(clicked, log.candidates.offsets[:-1], dtype=np.int64),
        known_clicked=clicked[doubtful.in_history],
        sizes=log.candidates.lengths,
        history_length=log.histories.lengths[log.history_of],
        showings=np.bincount(log.candidates.values, minlength=len(news)),
    )


def compare_to_train(
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable
) -> tuple[Comparison, np.ndarray]:
    """Find what of a split train does not know, and the rows of the articles with another title or category there."""
    place = pc.index_in(news.ids, value_set=training_news.ids)
    differs = [
        pc.not_equal(getattr(news, name), getattr(training_news, name).take(place)) for name in ("title", "category")
    ]
    changed = np.flatnonzero(pc.or_(*differs).fill_null(False).to_numpy(zero_copy_only=False))
    comparison = Comparison(
        log=log,
        training_log=training_log,
        clicked=log.labels == 1,
        cold=cold_candidates(log, news, training_log, training_news),
        absent=~_is_in(news.ids, training_news.ids)[log.candidates.values],
        changed=changed,
    )
    return comparison, changed


def find_blank(texts: pa.Array) -> np.ndarray:
    """Find the rows of a news table that are empty or blank, ascending, without the padding row."""
    return 1 + np.flatnonzero([not text.strip() for text in texts.to_pylist()[1:]])


def find_doubtful_rows(log: ImpressionLog) -> DoubtfulRows:
    """Find the impressions that repeat an earlier one, contradict themselves, or show what their history holds."""
    import pandas as pd  # takes half a second

    hashes, contradictory, in_history = np.empty(len(log), np.uint64), [np.empty(0, int)], [np.empty(0, int)]
    factors = np.random.default_rng(0).integers(2**64, size=log.candidates.lengths.max(), dtype=np.uint64)
    for rows in blocks_of_rows(log.candidates.lengths + log.histories.lengths[log.history_of]):
        shown = log.candidates.slice(rows.start, rows.stop)
        first, last = log.candidates.offsets[[rows.start, rows.stop]]
        clicked = log.labels[first:last] == 1
        tokens = (2 * shown.values.astype(np.int64) + clicked).astype(np.uint64)
        hashes[rows] = np.add.reduceat(tokens * factors[shown.ranks()], shown.offsets[:-1])
        if log.labelled:
            keys = shown.rows() << 32 | shown.values
            contradictory.append(rows.start + np.unique(np.intersect1d(keys[clicked], keys[~clicked]) >> 32))
            distinct, history = np.unique(log.history_of[rows], return_inverse=True)
            known = log.histories.take(distinct)
            in_own = np.isin(shown.repeat(history) << 32 | shown.values, known.rows() << 32 | known.values)
            in_history.append(first + np.flatnonzero(in_own))
    content = pd.DataFrame({"shown": hashes, "history": log.history_of, "user": log.user_of, "time": log.time})
    return DoubtfulRows(
        repeated_ids=np.flatnonzero(pd.Series(log.impression_id).duplicated()),
        repeated_rows=np.flatnonzero(content.duplicated()),
        contradictory=np.concatenate(contradictory),
        in_history=np.concatenate(in_history),
    )


def _by_category(news: NewsTable, articles: np.ndarray) -> dict[str, int]:
    """Count rows of the news table by their category; each category of the table is there."""
    encoded = news.category.slice(1).dictionary_encode()
    counts = np.bincount(articles, minlength=len(news))[1:]
    totals = np.bincount(encoded.indices.to_numpy(), counts, minlength=len(encoded.dictionary))
    return dict(zip(encoded.dictionary.to_pylist(), totals.astype(int).tolist(), strict=True))


def _is_in(values: pa.Array, known: pa.Array) -> np.ndarray:
    return pc.is_in(values, value_set=known).to_numpy(zero_copy_only=False)


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.any() else None


def shown(value: Any) -> str:
    """Write a figure: counts with commas, shares in percent, a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else str(value)
