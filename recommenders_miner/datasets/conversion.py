"""What converters share: the folder that they write, whole or not at all, articles, and clicks as impressions.

Events are a table: `user` (a dictionary of texts), `article` (int32, places in a table of articles), `time` (int64 Unix
seconds), and where they say what was shown, `clicked` (bool) and `group` (which rows belong together).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import ARTICLES_FILE, BEHAVIORS_FILE, NEWS_FILE, WHOLE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.past_clicks import CONVERSION_FILE, Histories, require_length
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError
from recommenders_miner.data.write import require_apart, write_articles, write_behaviors, write_table
from recommenders_miner.datasets.columns import Block, read_columns
from recommenders_miner.datasets.negatives import Negatives, draw_negatives
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

_BREAKS = "[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+"  # what str.splitlines breaks a text at, and the tab
_LONG_HISTORY = 10_000
_MOST_USELESS = 0.5
_NEVER = np.iinfo(np.int64).max
_LOW_BITS = 2**32 - 1

Texts = pa.StringArray | Sequence[str | None]


@dataclass
class Conversion:
    """What a conversion made.

    Attributes:
        folder: where it is written; a temporary folder while it is.
        counts: what each split holds and how often the converter had to decide something, by split and kind.
        left_out: how often something was left out, by file and reason.
        on_error: what becomes of faulty lines: "raise" or "skip".
    """

    folder: Path
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    on_error: OnError = "raise"

    def note(self, split: str, **counts: int) -> None:
        """Add counts to those of a split; underscores in their names stand for spaces."""
        noted = self.counts.setdefault(split, {})
        for name, count in counts.items():
            noted[name.replace("_", " ")] = noted.get(name.replace("_", " "), 0) + int(count)

    @contextmanager
    def errors_of(self, path: Path) -> Iterator[LineErrors]:
        """Lend what is to be told of a file's faulty lines; note, and log, what was left out when the block ends."""
        errors = LineErrors(path, self.on_error)
        yield errors
        report = errors.log_summary()
        if report is not None and report.counts:
            self.left_out[str(path)] = dict(report.counts)

    def read(
        self, paths: Sequence[Path], columns: Sequence[str | None], separator: str = ",", optional: Sequence[str] = ()
    ) -> Iterator[Block]:
        """Read some columns of files, one after another, as `read_columns` does."""
        for path in paths:
            with self.errors_of(path) as errors:
                yield from read_columns(path, columns, errors, separator, optional)


@contextmanager
def conversion_to(
    out: str | Path, settings: Mapping[str, Any], sources: Sequence[Path], on_error: OnError, overwrite: bool
) -> Iterator[Conversion]:
    """Lend a conversion whose folder becomes `out`, with the settings and counts, when the block ends without an error.

    Raises:
        FolderExistsError: `out` holds something.
        RecommendersMinerError: `out` is a source, or a folder around one.
        ValueError: the setting `max_history` is negative.
    """
    out = Path(out)
    require_length(settings.get("max_history"))
    require_apart(out, *sources)
    with new_folder(out, overwrite) as folder:
        conversion = Conversion(folder, on_error=on_error)
        yield conversion
        description = {**settings, "counts": conversion.counts, "left out": conversion.left_out}
        text = json.dumps(description, indent=2, default=str, ensure_ascii=False)
        # Of a path that is no UTF-8, the odd bytes become escapes, which JSON has, too.
        (folder / CONVERSION_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    conversion.folder = out


# === Articles ===


class FirstRows:
    """Picks the rows that name an id, in the first of `compared`, for the first time.

    A later row of an id has to say the same in all columns `compared`.
    """

    def __init__(self, compared: Sequence[str]) -> None:
        self._compared, self._content_of = compared, {}

    def pick(self, block: Block, rows: pa.Table, reason: str, says: str, remedy: str) -> pa.Table:
        """Return the sound rows, one a row of the block, of new ids; report those that contradict earlier ones.

        In `says`, what is wrong, `{}` stands for the id.
        """
        contents = list(zip(*(rows[name].to_pylist() for name in self._compared), strict=True))
        new, clashing = np.zeros((2, len(rows)), bool)
        for row in np.flatnonzero(block.sound).tolist():
            news_id = contents[row][0]
            new[row] = news_id not in self._content_of
            clashing[row] = self._content_of.setdefault(news_id, contents[row]) != contents[row]
        block.report(reason, clashing, lambda row: says.format(repr(contents[row][0])), remedy)
        return rows.filter(pa.array(new))


def news_rows(
    ids: Texts,
    titles: Texts,
    category: Texts | None = None,
    subcategory: Texts | None = None,
    abstract: Texts | None = None,
    url: Texts | None = None,
) -> pa.Table:
    """Make the eight columns of a `news.tsv`, without entities; what is None is empty.

    Tabs and line ends in texts become a space, since nothing can quote them there.
    """
    given = (ids, category, subcategory, titles, abstract, url)
    columns = [one_line([None] * len(ids) if texts is None else texts) for texts in given]
    return pa.table([*columns, *[pa.repeat("[]", len(ids))] * 2], names=list(FILE_COLUMNS))


def one_line(texts: Texts) -> pa.StringArray:
    """Return texts with a space for every tab and line end, and the empty text for None."""
    texts = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    return pc.replace_substring_regex(texts.fill_null(""), _BREAKS, " ")


def write_news(folder: Path, news: pa.Table) -> None:
    """Write the columns that `news_rows` makes as `news.tsv`, and further ones, if any, as `articles.parquet`."""
    write_table(folder / NEWS_FILE, news.select(FILE_COLUMNS))
    further = news.drop_columns(list(FILE_COLUMNS))
    if further.num_columns:
        write_articles(folder / ARTICLES_FILE, further.add_column(0, "id", news["news id"]))


# === Impressions ===


def write_shown(conversion: Conversion, events: pa.Table, news: pa.Table, max_history: int | None, path: Path) -> None:
    """Write rows that say what was clicked on, those of each group and user as one impression.

    An impression is as old as its earliest row. An article that stands in it twice is one candidate, clicked if one of
    the rows is, when the earliest of these says. Impressions are in the order of time, candidates in that of the rows.
    """
    article, time, clicked = (events[name].to_numpy() for name in ("article", "time", "clicked"))
    users = events["user"].combine_chunks()
    group, _ = _numbered(events["group"].combine_chunks())
    impression, pairs = _numbered(pa.array(group.astype(np.int64) << 32 | users.indices.to_numpy()))
    pairs = pairs.to_numpy()  # in the order of their first rows
    begins = np.full(len(pairs), _NEVER)
    np.minimum.at(begins, impression, time)
    order = np.argsort(begins, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    candidate, keys = _numbered(pa.array(place[impression] << 32 | article))
    keys = keys.to_numpy()
    clicked_at = np.full(len(keys), _NEVER)
    np.minimum.at(clicked_at, candidate[clicked], time[clicked])
    by_impression = np.argsort(keys >> 32, kind="stable")
    clicked_at = clicked_at[by_impression]
    columns = {
        "users": users.dictionary,
        "user_of": (pairs[order] & _LOW_BITS).astype(np.int32),
        "time": begins[order],
        "candidates": Ragged.of_lengths((keys[by_impression] & _LOW_BITS).astype(np.int32), np.bincount(keys >> 32)),
        "labels": (clicked_at != _NEVER).astype(np.int8),
    }
    remedy = "Rows that were shown together need one second, or one id in a column that 'impression' names."
    _write_impressions(conversion, news, max_history, (path, remedy), columns, clicked_at)


def _numbered(keys: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Number keys in the order in which they first come; return the number of each, and the keys by number."""
    encoded = keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def write_clicks(
    conversion: Conversion,
    events: pa.Table,
    news: pa.Table,
    negatives: Negatives,
    max_history: int | None,
    path: Path,
) -> int:
    """Write each user's first click on each article as an impression with negatives; return how many are left out.

    An article's time of publication, which decides where it can be a negative, is that in `news`, if it has any.
    """
    by_time = events.take(np.argsort(events["time"].to_numpy(), kind="stable"))
    users, article = by_time["user"].combine_chunks(), by_time["article"].to_numpy()
    _, first = np.unique(users.indices.to_numpy().astype(np.int64) << 32 | article, return_index=True)
    first = np.sort(first)
    user, time, article = users.indices.to_numpy()[first], by_time["time"].to_numpy()[first], article[first]
    published = np.full(len(news), -1)
    if "published" in news.column_names:
        published = news["published"].fill_null(-1).to_numpy()
    candidates, labels = draw_negatives(user, time, article, published, negatives)
    columns = {"users": users.dictionary, "user_of": user, "time": time, "candidates": candidates, "labels": labels}
    remedy = "Nobody else's click is near enough in time: more users, or a longer --window-hours, may help."
    _write_impressions(conversion, news, max_history, (path, remedy), columns)
    return len(events) - len(first)


def _write_impressions(
    conversion: Conversion,
    news: pa.Table,
    max_history: int | None,
    warning: tuple[Path, str],
    columns: dict[str, Any],
    clicked_at: np.ndarray | None = None,
) -> None:
    """Write the split `all` from columns of a log, the history of an impression being the clicks before its second.

    Where nothing can be learnt from most impressions, or a history is longer than a person's, a warning is logged, with
    the file and what may help. `clicked_at` is for `Histories.rebuilt`.
    """
    rows = len(columns["time"])
    nothing = {"histories": Ragged.of_lists([[]]), "history_of": np.zeros(rows, np.int32)}
    log = ImpressionLog(**columns, **nothing, impression_id=np.arange(1, rows + 1))
    folder = conversion.folder / WHOLE
    folder.mkdir()
    histories = Histories.rebuilt(log, log.time, clicked_at).newest(max_history)
    clicks = Ragged(log.labels, log.candidates.offsets).sums()
    useless = (clicks == 0) | (clicks == log.candidates.lengths)
    if useless.mean() > _MOST_USELESS:
        LOGGER.warning(
            "%s: %s of %s impressions lack a click, or an article that was passed over, and teach a model nothing. %s",
            warning[0],
            f"{useless.sum():,}",
            f"{len(log):,}",
            warning[1],
        )
    longest = int(np.argmax(histories.length))
    if histories.length[longest] > _LONG_HISTORY:
        user, clicked = log.users[int(log.user_of[longest])].as_py(), f"{histories.length[longest]:,}"
        LOGGER.warning("The user %r clicked %s times; one person? Cut histories by --max-history.", user, clicked)
    ids = news["news id"].combine_chunks()
    write_behaviors(folder / BEHAVIORS_FILE, ids, [(log, histories, np.arange(len(log)))])
    write_news(folder, news)
    conversion.note(
        WHOLE,
        news=len(news),
        users=len(np.unique(log.user_of)),
        impressions=len(log),
        candidates=len(log.candidates.values),
        clicks=clicks.sum(),
        impressions_without_a_click=(clicks == 0).sum(),
        impressions_without_a_negative=(clicks == log.candidates.lengths).sum(),
    )
