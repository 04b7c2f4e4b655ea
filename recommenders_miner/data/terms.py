"""TF-IDF weights of titles: fitted once on the training titles, kept as readable text, applied without a dense row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.text import Segmenter, tokenize
from recommenders_miner.data.vocabulary import UNKNOWN_ID, Vocabulary
from recommenders_miner.errors import DataFormatError

TERMS_FILE, IDF_FILE = "terms.txt", "term_idf.txt"
_EXPECTED = f"inverse document frequencies: one positive number a line for each term of {TERMS_FILE}"


@dataclass(frozen=True, eq=False)
class TermWeights:
    """What TF-IDF learns of the training titles, and the weights that it gives to any titles.

    It is scikit-learn's `TfidfVectorizer` over the words of `tokenize`: a term's weight in a title is its count there
    times its idf, and a title's weights are scaled to length 1. Words that are no term are left out.
    """

    terms: Vocabulary  # with ids as everywhere: 0 is padding, 1 unknown
    idf: np.ndarray  # (len(terms),) float64; zero for the two ids that are no term

    @classmethod
    def fit(cls, titles: Sequence[str], title_size: int, max_terms: int, segmenter: Segmenter = "none") -> Self:
        """Learn the `max_terms` most frequent of the first `title_size` words of titles as terms, and their idf."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes half a second, and only two models need it

        words = [tokenize(title, segmenter)[:title_size] for title in titles]
        if not any(words):
            return cls(Vocabulary([]), np.zeros(2))
        vectorizer = TfidfVectorizer(tokenizer=list, token_pattern=None, lowercase=False, max_features=max_terms)
        vectorizer.fit(words)
        return cls(Vocabulary(vectorizer.get_feature_names_out().tolist()), np.concatenate([[0, 0], vectorizer.idf_]))

    def weigh(
        self, titles: Iterable[str], title_size: int, segmenter: Segmenter = "none"
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the sparse TF-IDF vector of the first `title_size` words of each title.

        Of each, the ids of its distinct terms, ascending int64, and their weights, float64; both empty where no term is
        known.
        """
        documents = [self.terms.encode(tokenize(title, segmenter)[:title_size]) for title in titles]
        words = Ragged.of_lists(documents, "int64")
        title_of, ids = words.rows(), words.values
        known = ids > UNKNOWN_ID
        pairs, counts = np.unique(title_of[known] * len(self.terms) + ids[known], return_counts=True)
        title_of, ids = np.divmod(pairs, len(self.terms))
        weights = counts * self.idf[ids]
        weights /= np.sqrt(np.bincount(title_of, weights**2, minlength=len(documents)))[title_of]
        lengths = np.bincount(title_of, minlength=len(documents))
        return list(Ragged.of_lengths(ids, lengths)), list(Ragged.of_lengths(weights, lengths))

    def save(self, folder: str | Path) -> None:
        """Write terms.txt, a term a line, and term_idf.txt, their idf in the same order, exactly."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.terms.save(Path(folder) / TERMS_FILE)
        np.savetxt(Path(folder) / IDF_FILE, self.idf[2:], fmt="%.17g")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote."""
        terms, path = Vocabulary.load(Path(folder) / TERMS_FILE), Path(folder) / IDF_FILE
        try:
            idf = np.array([float(line) for line in path.read_text(encoding="utf-8").split()])
        except (OSError, ValueError) as error:
            raise DataFormatError(path, f"expected {_EXPECTED} ({error}).") from None
        if len(idf) != len(terms) - 2 or not (np.isfinite(idf) & (idf > 0)).all():
            raise DataFormatError(path, f"expected {_EXPECTED}.")
        return cls(terms, np.concatenate([[0, 0], idf]))
