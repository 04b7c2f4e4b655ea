"""News as a model sees it: one array a feature, one row a news."""

from __future__ import annotations

import numpy as np

from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.tokenize import tokenize
from recommenders_miner.io.vocabularies import Vocabularies

NewsFeatures = dict[str, np.ndarray]


def news_features(news: NewsTable, vocabularies: Vocabularies, title_size: int) -> NewsFeatures:
    """Turns a news table into arrays of ids. Row 0 is the padding news: all zeros.

    Args:
        news: the table, N news and the padding row.
        vocabularies: what names the ids; names it lacks become id 1, unknown.
        title_size: words of a title that are kept.

    Returns:
        `title` (N+1, title_size), `category` (N+1,) and `subcategory` (N+1,), all int32. A title stands at the left
        of its row, zeros behind it. A news without a title has one unknown word, so that it is no padding.
    """
    titles = [vocabularies.words.encode(tokenize(title)[:title_size]) or [1] for title in news.title.to_pylist()]
    titles[0] = []
    return {
        "title": _padded(titles, title_size),
        "category": np.array([0, *vocabularies.categories.encode(news.category.to_pylist()[1:])], "int32"),
        "subcategory": np.array([0, *vocabularies.subcategories.encode(news.subcategory.to_pylist()[1:])], "int32"),
    }


def _padded(sequences: list[list[int]], size: int) -> np.ndarray:
    """Sets ragged id lists into an int32 matrix, zeros behind each."""
    lengths = np.array([len(sequence) for sequence in sequences])
    matrix = np.zeros((len(sequences), size), "int32")
    matrix[np.arange(size) < lengths[:, None]] = np.concatenate([np.array(s, "int32") for s in sequences])
    return matrix
