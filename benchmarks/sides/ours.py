"""Our side: the same tasks as the peers', and MINER's evaluation in the fast and in the direct form."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
from settings import MINER_SIZES, SIZES, WORD_DIM, arguments, rate, report

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def make(model, batch=128, **given):
    """Return an untrained model in the peers' sizes, whose words start from random vectors as theirs do."""
    from recommenders_miner import prepare_hparams
    from recommenders_miner.models import MODELS

    options = {**SIZES, "word_embedding": None, "word_emb_dim": WORD_DIM, "batch_size": batch, "epochs": 1}
    options["clicks_per_user"] = 4  # the package's default; the files have the published 1
    if model == "miner":
        options |= {**MINER_SIZES, "news_encoder": "self_attention", "plm": None, "category_embedding": "learned"}
    hparams = prepare_hparams(model, **{**options, **given})
    return MODELS[model](hparams, seed=42)


def files(data, split):
    from recommenders_miner.data.folders import log_in

    return data / split / "news.tsv", log_in(data / split)


def forget(data):
    """Remove what was cached of a data set, so that it is read again."""
    for folder in data.glob("*/.recommenders_miner_cache"):
        shutil.rmtree(folder)


def steps_callback(limit):
    """Return a callback that ends training after some steps, and the list where it notes when each ended."""
    import keras

    ends = []

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())
            self.model.stop_training = len(ends) >= limit

    return Steps(), ends


def train(data, model, batch, steps, evaluate=False, keep_cache=False, **given):
    """Train for some steps with `fit`; then, where asked, call `run_eval`, which reads the files for the first time."""
    if not keep_cache:
        forget(data)
    made = make(model, batch, **given)
    callback, ends = steps_callback(steps)
    began = time.perf_counter()
    made.fit(*files(data, "train"), callbacks=[callback], verbose=0)
    figures = {"samples_per_s": rate(batch, ends), "first_step_s": ends[0] - began}
    if evaluate:
        began = time.perf_counter()
        metrics = made.run_eval(*files(data, "dev"))
        figures |= {"eval_s": time.perf_counter() - began, "metrics": metrics}
    report(**figures)


def read(data, split="train"):
    """Read and index behaviors.tsv, the news being read already; keep nothing."""
    from recommenders_miner import ImpressionLog, NewsTable

    news = NewsTable.read(data / split / "news.tsv")
    began = time.perf_counter()
    log = ImpressionLog.read(data / split / "behaviors.tsv", news, cache=False)
    report(rows_per_s=len(log) / (time.perf_counter() - began))


def cache(data):
    """Read behaviors.tsv of the training split into its cache."""
    from recommenders_miner import ImpressionLog, NewsTable

    news, behaviors = files(data, "train")
    report(impressions=len(ImpressionLog.read(behaviors, NewsTable.read(news))))


def context(data):
    """Count a training log for its context, then compute the columns of its last hundred thousand candidates."""
    from recommenders_miner import ImpressionLog, NewsTable
    from recommenders_miner.data.context import Context

    news_file, behaviors = files(data, "train")
    news = NewsTable.read(news_file)
    log = ImpressionLog.read(behaviors, news)
    began = time.perf_counter()
    counted = Context.of_log(log, news, cache=data / "counts")
    counted.counts()
    counting = time.perf_counter() - began
    places = np.arange(len(log.candidates.values) - 100_000, len(log.candidates.values))
    began = time.perf_counter()
    counted.of(log.candidates.row_of(places), log.candidates.values[places])
    report(counting_s=counting, us_per_candidate=10 * (time.perf_counter() - began))


def make_scores(data, scores):
    """Write the labels of a dev log and random scores, for the metrics of both sides."""
    from recommenders_miner import ImpressionLog, NewsTable

    news, behaviors = files(data, "dev")
    log = ImpressionLog.read(behaviors, NewsTable.read(news))
    random = np.random.default_rng(0).random(len(log.candidates.values)).astype("float32")
    np.savez(scores, scores=random, labels=log.labels, offsets=log.candidates.offsets)
    report(impressions=len(log), candidates=len(log.candidates.values))


def metrics(scores):
    """Compute the metrics of a log."""
    from recommenders_miner.evaluation.metrics import evaluate_scores

    stored = np.load(scores)
    labels, offsets, values = (stored[name] for name in ("labels", "offsets", "scores"))
    began = time.perf_counter()
    evaluation = evaluate_scores(values, labels, offsets)
    report(seconds=time.perf_counter() - began, metrics=evaluation.metrics)


def open_cached(data):
    """Open both splits from their cache, which a first reading has left."""
    from recommenders_miner import ImpressionLog, NewsTable

    def read_all():
        pairs = [files(data, split) for split in ("train", "dev")]
        return [ImpressionLog.read(behaviors, NewsTable.read(news)) for news, behaviors in pairs]

    read_all()
    began = time.perf_counter()
    read_all()
    report(seconds=time.perf_counter() - began)


def miner_evaluation(data, form):
    """Score a dev log with MINER-weighted and category weighting, untrained: the whole call, files read before."""
    made = make("miner")
    made.build(made.train_iterator.load(*files(data, "train")) and made.train_iterator.vocabularies)
    dev = made.read(*files(data, "dev"))
    began = time.perf_counter()
    scores = made.score_log(dev) if form == "fast" else score_with_interests_of_every_candidate(made, dev)
    report(seconds=time.perf_counter() - began, checksum=float(np.abs(scores).sum(dtype="float64")))


def score_with_interests_of_every_candidate(model, data, slots_at_once=2048):
    """Score a log by Eq. 5 as it stands: articles encoded once, but interests made for each candidate."""
    import keras

    from recommenders_miner.encoders.whole_table import NetworkPart

    network, log = model.network, data.log

    def score(news, history, user, candidates):
        clicked, shown = ({n: keras.ops.take(v, at, axis=0) for n, v in news.items()} for at in (history, candidates))
        return network.click_predictor(network.user_encoder(clicked, history > 0, user, shown), shown, candidates > 0)

    part = NetworkPart(network, score)
    news = model.log_scorer.encode_news(model.network_features(data))
    table = {name: keras.ops.convert_to_tensor(values) for name, values in news.items()}
    sizes = log.candidates.lengths
    order, scores, first = np.argsort(sizes, kind="stable"), np.empty(len(log.candidates.values), "float32"), 0
    while first < len(order):
        count = max(1, slots_at_once // int(sizes[order[min(first + 16, len(order) - 1)]]))
        impressions = order[first : first + count]
        first += count
        width = np.arange(sizes[impressions].max())
        real = width < sizes[impressions, None]
        slots = np.where(real, log.candidates.offsets[impressions, None] + width, 0)
        batch = {
            "news": table,
            "history": log.histories.last(log.history_of[impressions], SIZES["his_size"]),
            "user": data.users[log.user_of[impressions]],
            "candidates": np.where(real, log.candidates.values[slots], 0),
        }
        scores[slots[real]] = part.predict_on_batch(batch)[real]
    return scores


if __name__ == "__main__":
    task = arguments()
    if "data" in task:
        task["data"] = Path(task["data"])
    globals()[task.pop("task")](**task)
