"""What a training step takes, by arithmetic: memory and matrix operations, from hyperparameters and a log."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable, distinct_rows
from recommenders_miner.data.pieces import fetched_preset
from recommenders_miner.data.sampling import TrainingSamples
from recommenders_miner.data.text import tokenize
from recommenders_miner.errors import PresetError
from recommenders_miner.hparams import HParams

_ENTITY, _ENTITY_DIM = re.compile(r'"(Q[0-9]+)"'), 100  # as MIND's
_READY_DIM = 768  # of ready-made vectors, whose files are not opened
_MATRICES = {
    **{"nrms": 3, "nrms-plm": 3, "lstur": 6, "lstur-plm": 6, "hierec": 1, "miner": 2},
    **{"caum": 8, "crown": 3, "fastformer": 4, "glory": 15, "pp-rec": 9},
}
"""Weights of a user encoder in squares of the news vector's dimension; 1 where none are much larger."""

_CONFIGS = (  # KerasHub's names of a language model's sizes, and Hugging Face's two
    "num_layers hidden_dim num_heads intermediate_dim vocabulary_size max_sequence_length",
    "num_hidden_layers hidden_size num_attention_heads intermediate_size vocab_size max_position_embeddings",
    "n_layers dim n_heads hidden_dim vocab_size max_position_embeddings",  # DistilBERT's there
)


class LanguageModel(NamedTuple):
    """The sizes of a transformer; the defaults are BERT-base's (Devlin et al., NAACL 2019, Section 3)."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    pieces: int = 30_522
    positions: int = 512

    @classmethod
    def of_preset(cls, preset: str, depth: int | None = None) -> LanguageModel:
        """Return the sizes in a preset's config, or BERT-base's or -large's where it is not on this machine."""
        found, config = cls(24, 1024, 16, 4096) if "large" in preset else cls(), Path()
        with contextlib.suppress(PresetError):
            config = Path(fetched_preset(preset)) / "config.json"
        if config.is_file():
            read = json.loads(config.read_text(encoding="utf-8"))
            sizes = read.get("config", read)
            for names in (names.split() for names in _CONFIGS):
                if sizes.keys() >= set(names):
                    found = cls(*(sizes[name] for name in names))
                    break
        return found._replace(layers=depth or found.layers)

    @property
    def layer_parameters(self) -> int:
        """Four projections of the attention, two of the feed-forward layer, with biases, and two normalisations."""
        return (self.hidden + 1) * (4 * self.hidden + self.intermediate) + (self.intermediate + 5) * self.hidden

    def kept(self, layers: int, texts: int, length: int, remat: bool) -> float:
        """Return the bytes that layers keep at 16 bit: s·b·h·(34 + 5·a·s/h) each (Korthikanti et al. 2022, Eq. 2).

        With `remat` each keeps its inputs, 2·s·b·h, and one at a time the rest.
        """
        one = length * texts * (34 * self.hidden + 5 * self.heads * length)
        return one + layers * 2 * length * texts * self.hidden if remat and layers else layers * one

    def operations(self, layers: int, texts: int, length: int) -> float:
        """Return the matrix operations of some layers, forward: two for each weight, and attention's two products."""
        weights = 4 * self.hidden**2 + 2 * self.hidden * self.intermediate
        return layers * length * texts * (2 * weights + 4 * length * self.hidden)


class Memory(NamedTuple):
    """What a training step takes at most, and what an update of the weights costs."""

    parameters: int  # weights
    states: float  # bytes of weights, gradients, Adam's moments, and what is accumulated
    activations: float  # bytes kept for the gradients
    bytes: float  # of both
    operations: float  # multiplications and additions in matrix products, forward and backward, of an update
    articles: int  # distinct articles of a step


def training_memory(hparams: HParams, news: NewsTable, log: ImpressionLog) -> Memory:
    """Compute what a model's first training step takes, from its training news and log, without building it.

    Language models and word tables are counted as they are, what stands behind a news encoder, which is small, roughly.
    The program itself, the table of news and what a backend reserves come on top. All titles are taken to be of
    `title_size`. The first step of the log says how many distinct articles a step has; a click graph may bring in as
    many more as there are neighbours.
    """
    samples = TrainingSamples(log, hparams.batch_size, hparams.npratio, hparams.clicks_per_user)
    impressions, candidates = samples.of_step(0)
    history = log.histories.last(log.history_of[impressions], hparams.his_size)
    articles, slots = len(distinct_rows(len(news), candidates, history)), len(impressions) * hparams.his_size
    if related := getattr(hparams, "graph_neighbours", 0):  # as many as there may be
        articles = min(len(news), articles * (1 + related) ** hparams.graph_hops)
    of_words = _over_words(hparams, news, log, articles) if hparams.news_encoder != "plm" else (0, 0, 0.0, 0.0)
    if hparams.news_encoder == "plm" or "plm" in getattr(hparams, "views", ()):
        plm = LanguageModel.of_preset(hparams.plm, hparams.plm_depth)
        trained = plm.layers if hparams.plm_layers == "all" else hparams.plm_layers
        sizes = [hparams.title_size if text == "title" else hparams.text_size for text in hparams.plm_texts]
        dim, levels = hparams.news_dim or len(sizes) * plm.hidden, [(trained, articles, size) for size in sizes]
        parameters = (plm.pieces + plm.positions + plm.hidden + 5) * plm.hidden + plm.layers * plm.layer_parameters
        frozen = 0 if hparams.plm_layers == "all" else parameters - trained * plm.layer_parameters
        if hparams.model_type == "unbert":  # a text for each candidate, and above it the states of the text's articles
            size, own = min(hparams.input_size, plm.positions), hparams.news_level_layers
            levels = [(trained, candidates.size, size), (own, candidates.size, 2 + hparams.his_size)]
            parameters += own * plm.layer_parameters
        kept = sum(plm.kept(*level, hparams.remat) for level in levels)
        # Forward, twice as much backward, and with `remat` forward once more.
        operations = (4 if hparams.remat else 3) * sum(plm.operations(*level) for level in levels)
        parameters, kept, operations = parameters + of_words[1], kept + of_words[2], operations + of_words[3]
    else:
        frozen, (dim, parameters, kept, operations) = 0, of_words
    if hparams.model_type not in ("unbert", "libfm", "deepfm"):
        has_users, of_categories = hparams.model_type.startswith("lstur"), ("vert_emb_dim", "subvert_emb_dim")
        dim += sum(getattr(hparams, name) for name in of_categories) if has_users else 0
        matrices = _MATRICES.get(hparams.model_type, 1) * dim * dim
        parameters += matrices + len(log.users) * (dim if has_users else getattr(hparams, "user_emb_dim", 0))
        operations += 6 * slots * matrices
        kept += 2 * slots * (6 * dim + 2 * hparams.his_size)
        kept += 8 * candidates.size * getattr(hparams, "num_interests", 0) * (dim + hparams.his_size)
    half = hparams.precision != "float32"  # which has the weights once more, in 16 bit
    states = (6 if half else 4) * parameters + (parameters - frozen) * (16 if hparams.accumulate_steps > 1 else 12)
    activations = kept if half else 2 * kept
    operations *= hparams.accumulate_steps
    return Memory(parameters, states, activations, states + activations, operations, articles)


def _over_words(hparams: HParams, news: NewsTable, log: ImpressionLog, articles: int) -> tuple[int, int, float, float]:
    """Return dimension and parameters, and of a step the bytes kept at 16 bit and the operations, of other encoders."""
    encoder, length, inputs, heads = hparams.news_encoder, hparams.title_size, hparams.word_emb_dim, 0
    texts = (news.title, news.abstract) if encoder in ("multi_view", "intents") else (news.title,)
    if encoder == "vectors":
        sizes = [_READY_DIM, *hparams.vector_layers, hparams.news_dim or 0]
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        return sizes[-1] or sizes[-2], weights, 2 * articles * sum(sizes), 6 * articles * weights
    titles = (text for column in texts for text in column.to_pylist())
    words = len({word for text in titles for word in tokenize(text, hparams.word_segmenter)})
    if encoder == "tfidf":
        dim, layers = hparams.factor_dim, [3 * hparams.factor_dim, *getattr(hparams, "layer_sizes", [])]
        dense = sum(a * b for a, b in itertools.pairwise(layers))
        rows = len(distinct_rows(len(news), log.candidates.values)) + len(log.users)
        rows += 2 * min(hparams.max_terms, words)  # in titles, and in titles of histories
        return dim, rows * (1 + dim) + dense, 4 * articles * length * dim, 6 * hparams.batch_size * dense
    if named := re.search(r"([0-9]+)d", hparams.word_embedding or ""):
        inputs = int(named[1])
    if encoder in ("self_attention", "knowledge", "joined"):
        width, heads = hparams.head_num * hparams.head_dim, hparams.head_num
        weights = 3 * width * (inputs + _ENTITY_DIM * (encoder == "knowledge"))
    elif encoder == "intents":  # a transformer's layer over either text, as wide as its words
        width, heads = 2 * hparams.intent_dim + hparams.vert_emb_dim + hparams.subvert_emb_dim, hparams.head_num
        weights = 4 * inputs * heads * hparams.head_dim + 2 * inputs * hparams.feedforward_dim
        weights = 2 * weights + hparams.intent_num * hparams.intent_dim * (inputs + hparams.vert_emb_dim)
    else:
        windows, channels = getattr(hparams, "window_sizes", 0) or [hparams.window_size], 1 + 2 * (encoder == "kcnn")
        width, weights = hparams.filter_num * len(windows), sum(windows) * channels * inputs * hparams.filter_num
        weights *= 1 + (encoder == "multi_view")  # of titles and of abstracts, each read by its own
    tables = inputs * words
    if encoder in ("knowledge", "kcnn"):
        tables += _ENTITY_DIM * len(set(_ENTITY.findall(" ".join(news.title_entities.to_pylist()))))
    more = {"multi_view": "body_size", "intents": "body_size", "knowledge": "entity_size"}.get(encoder)
    length += getattr(hparams, more) if more else 0
    weights += width * hparams.attention_hidden_dim
    kept = 2 * articles * length * (inputs + 4 * width + hparams.attention_hidden_dim + 2 * heads * length)
    return width, tables + weights, kept, 6 * articles * length * weights
