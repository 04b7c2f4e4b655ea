"""News as rows of MIND's `news.tsv`, and the ids that its form can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.tsv import LineFaults

# What str.splitlines breaks a text at, and the tab.
_BREAKS = "[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+"
_NOT_IN_A_USER = "[\\x00-\\x1f\\x7f\x85\u2028\u2029\ufeff]"
_NOT_IN_A_NEWS = "[\\x00-\\x20\\x7f\x85\u2028\u2029\ufeff]"

Texts = pa.StringArray | Sequence[str | None]


def news_rows(
    ids: Texts,
    titles: Texts,
    category: Texts | None = None,
    subcategory: Texts | None = None,
    abstract: Texts | None = None,
    url: Texts | None = None,
) -> pa.Table:
    """Makes the eight columns of a `news.tsv`, without entities.

    Tabs and line ends in texts become a space, since nothing can quote them there.

    Args:
        ids: news ids, as `check_news_ids` accepts them.
        titles: titles. Here and in what follows None is the empty text.
        category: category names; all empty where left out, as are the others.
        subcategory: subcategory names.
        abstract: abstracts.
        url: addresses.
    """
    given = (ids, category, subcategory, titles, abstract, url)
    columns = [one_line([None] * len(ids) if texts is None else texts) for texts in given]
    no_entities = pa.array(["[]"]).take(pa.array(np.zeros(len(ids), np.int64)))
    return pa.table([*columns, no_entities, no_entities], names=list(FILE_COLUMNS))


def one_line(texts: Texts) -> pa.StringArray:
    """Returns texts with a space for every tab and line end, and the empty text for None."""
    if not isinstance(texts, pa.Array):
        texts = pa.array(texts, pa.string())
    return pc.replace_substring_regex(texts.fill_null(""), _BREAKS, " ")


def check_news_ids(ids: pa.StringArray, lines: np.ndarray, column: str, faults: LineFaults) -> np.ndarray:
    """Finds the news ids that behaviors.tsv, where spaces separate them, can hold.

    Args:
        ids: the ids; None counts as empty.
        lines: the 1-based line of each, (ids,) int64.
        column: the name of their column, for messages.
        faults: told of the others.

    Returns:
        (ids,) bool.
    """
    return _check("news id", _NOT_IN_A_NEWS, "a space, tab, line end or the like", ids, lines, column, faults)


def check_user_ids(ids: pa.StringArray, lines: np.ndarray, column: str, faults: LineFaults) -> np.ndarray:
    """Finds the user ids that a column of behaviors.tsv can hold; a space is no harm there. See `check_news_ids`."""
    return _check("user id", _NOT_IN_A_USER, "a tab, line end or the like", ids, lines, column, faults)


def _check(
    kind: str, unfit: str, characters: str, ids: pa.StringArray, lines: np.ndarray, column: str, faults: LineFaults
) -> np.ndarray:
    empty = pc.equal(ids.fill_null(""), "").to_numpy(zero_copy_only=False)
    faults.add(
        f"empty {kind}",
        lines[empty],
        lambda _: f"the {kind}, column {column!r}, is empty.",
        remedy="--on-error skip leaves such rows out, and counts them.",
    )
    broken = pc.match_substring_regex(ids, unfit).fill_null(False).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(broken)
    faults.add(
        f"{kind} with {characters}",
        lines[rows],
        lambda k: f"the {kind}, column {column!r}, holds {characters}: {ids[int(rows[k])].as_py()!r}.",
        remedy="MIND's files have no way to write it; replace such characters, by _ for example.",
    )
    return ~(empty | broken)


def misread_ids(ids: pa.StringArray) -> np.ndarray:
    """Finds the news ids that an unlabelled `behaviors.tsv` cannot tell from another news with a label.

    If both `7` and `7-1` are news, the candidate `7-1` means the one clicked on or the other one not labelled.

    Returns:
        (ids,) bool.
    """
    labelled = pc.match_substring_regex(ids, "-[01]$")
    stem = pc.if_else(labelled, pc.utf8_slice_codeunits(ids, 0, stop=-2), "")
    return pc.and_(labelled, pc.is_in(stem, value_set=ids)).to_numpy(zero_copy_only=False)
