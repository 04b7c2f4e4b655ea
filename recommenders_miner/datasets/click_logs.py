"""Events of users as impressions: rows shown together, or clicks with drawn negatives.

Events are a table: `user` and `article` (int32, places in a list of users and a table of articles), `time` (int64 Unix
seconds), and where they say what was shown, `clicked` (bool) and `group` (int64, which rows belong together).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data.folders import BEHAVIORS_FILE, WHOLE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.past_clicks import Histories, log_blocks
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.write import write_behaviors
from recommenders_miner.datasets.conversion import Conversion, write_news
from recommenders_miner.datasets.negatives import Negatives, draw_negatives

LOGGER = logging.getLogger("recommenders_miner")

NO_NEGATIVES = "Nobody else's click is near enough in time: more users, or a longer --window-hours, may help."
_LONG_HISTORY = 10_000
_MOST_USELESS = 0.5
_NEVER = np.iinfo(np.int64).max
_LOW_BITS = 2**32 - 1


def group_shown(events: pa.Table, users: pa.StringArray) -> tuple[ImpressionLog, np.ndarray]:
    """Make an impression of the rows of each group and user.

    An impression is as old as its earliest row. An article that stands in it twice is one candidate, clicked if one of
    the rows is. Impressions are in the order of time, candidates in the order of the rows.

    Args:
        events: the rows.
        users: what the column `user` refers to.

    Returns:
        The log; and when each candidate was clicked on, the earliest row that says so, (candidates,) int64 Unix
        seconds, or anything where it was not.
    """
    user, article, time, clicked = (events[name].to_numpy() for name in ("user", "article", "time", "clicked"))
    group, _ = _numbered(events["group"].to_numpy())
    impression, pairs = _numbered(group.astype(np.int64) << 32 | user)  # in the order of their first rows
    begins = np.full(len(pairs), _NEVER)
    np.minimum.at(begins, impression, time)
    order = np.argsort(begins, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    candidate, keys = _numbered(place[impression] << 32 | article)
    clicked_at = np.full(len(keys), _NEVER)
    np.minimum.at(clicked_at, candidate[clicked], time[clicked])
    by_impression = np.argsort(keys >> 32, kind="stable")
    clicked_at = clicked_at[by_impression]
    log = _log(
        users,
        user=(pairs[order] & _LOW_BITS).astype(np.int32),
        time=begins[order],
        candidates=Ragged.of_lengths((keys[by_impression] & _LOW_BITS).astype(np.int32), np.bincount(keys >> 32)),
        labels=(clicked_at != _NEVER).astype(np.int8),
    )
    return log, clicked_at


def _numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number keys in the order in which they first come; return the number of each, and the keys by number."""
    encoded = pa.array(keys).dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_numpy()


def first_clicks(events: pa.Table) -> pa.Table:
    """Return each user's first event with each article, in the order of time."""
    by_time = events.take(np.argsort(events["time"].to_numpy(), kind="stable"))
    numbered = by_time.append_column("row", pa.array(np.arange(len(events))))
    first = numbered.group_by(["user", "article"]).aggregate([("row", "min")])["row_min"]
    return by_time.take(np.sort(first.to_numpy()))


def clicks_with_negatives(
    clicks: pa.Table, news: pa.Table, users: pa.StringArray, negatives: Negatives
) -> ImpressionLog:
    """Make an impression of each click and articles that the user could have clicked on instead; see `draw_negatives`.

    Args:
        clicks: the clicks, as `first_clicks` returns them.
        news: what their column `article` refers to, perhaps with a column `published`.
        users: what their column `user` refers to.
        negatives: how negatives are drawn.
    """
    user, time, article = (clicks[name].to_numpy() for name in ("user", "time", "article"))
    published = np.full(len(news), -1)
    if "published" in news.column_names:
        published = news["published"].fill_null(-1).to_numpy()
    candidates, labels = draw_negatives(user, time, article, published, negatives)
    return _log(users, user, time, candidates, labels)


def _log(
    users: pa.StringArray, user: np.ndarray, time: np.ndarray, candidates: Ragged, labels: np.ndarray
) -> ImpressionLog:
    """Make a log without histories, whose articles are places in a table without a padding row."""
    return ImpressionLog(
        candidates=candidates,
        labels=labels,
        histories=Ragged.of_lists([[]]),
        history_of=np.zeros(len(user), np.int32),
        user_of=user,
        time=time,
        impression_id=np.arange(1, len(user) + 1),
        users=users,
    )


def write_log(
    conversion: Conversion,
    log: ImpressionLog,
    news: pa.Table,
    max_history: int | None,
    path: Path,
    remedy: str,
    clicked_at: np.ndarray | None = None,
) -> None:
    """Write a log as the split `all`, the history of an impression being the user's clicks before its second.

    Where nothing can be learnt from most impressions, or a history is of a length that no person has, a warning is
    logged.

    Args:
        conversion: where to, and where counts are noted.
        log: the impressions, whose articles are rows of `news`.
        news: the columns of news.tsv, and perhaps others.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        path: the file of the events, for the warning.
        remedy: what to do where nothing can be learnt from most impressions, a sentence.
        clicked_at: (candidates,) Unix seconds of each click; None: clicks are as old as their impressions.
    """
    folder = conversion.folder / WHOLE
    folder.mkdir()
    histories = Histories.rebuilt(log, log.time, clicked_at).newest(max_history)
    clicks = Ragged(log.labels, log.candidates.offsets).sums()
    _warn_of_little_use(log, clicks, path, remedy)
    _warn_of_long_histories(log, histories)
    ids = news["news id"].combine_chunks()
    write_behaviors(folder / BEHAVIORS_FILE, ids, log_blocks(log, histories, np.arange(len(log))))
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


def _warn_of_little_use(log: ImpressionLog, clicks: np.ndarray, path: Path, remedy: str) -> None:
    useless = (clicks == 0) | (clicks == log.candidates.lengths)
    if useless.mean() > _MOST_USELESS:
        LOGGER.warning(
            "%s: %s of %s impressions lack a click, or an article that was passed over, and teach a model nothing. %s",
            path,
            f"{useless.sum():,}",
            f"{len(log):,}",
            remedy,
        )


def _warn_of_long_histories(log: ImpressionLog, histories: Histories) -> None:
    longest = int(np.argmax(histories.length))
    if histories.length[longest] > _LONG_HISTORY:
        LOGGER.warning(
            "The user %r clicked %s times; is that one person? Each of the user's lines holds all clicks before it, "
            "unless --max-history says how many.",
            log.users[int(log.user_of[longest])].as_py(),
            f"{histories.length[longest]:,}",
        )
