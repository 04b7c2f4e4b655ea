"""Microsoft Recommenders' side: NRMS, LSTUR and NAML as in its notebooks, on TensorFlow 2.15.

Run by `bench.py` with the Python of an environment that has `recommenders==1.2.1`. Its own code does all that is timed.
"""

import os
import pickle
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from settings import SIZES, WORD_DIM, arguments, rate, report

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

WORD = re.compile(r"[\w]+|[.,!?;|]")


def write_dictionaries(data, folder):
    """Write the pickles that Recommenders asks for, as its notebooks' preparation would; return hyperparameters."""
    words, categories, subcategories, users = {}, {}, {}, {}
    for split in ("train", "dev"):
        for line in (data / split / "news.tsv").read_text(encoding="utf-8").splitlines():
            _, category, subcategory, title, abstract, *_ = line.split("\t")
            for word in WORD.findall(f"{title} {abstract}".lower()):
                words.setdefault(word, len(words) + 1)
            categories.setdefault(category, len(categories) + 1)
            subcategories.setdefault(subcategory, len(subcategories) + 1)
    for line in (data / "train" / "behaviors.tsv").read_text(encoding="utf-8").splitlines():
        users.setdefault(line.split("\t", 2)[1], len(users) + 1)
    vectors = np.random.default_rng(0).normal(0, 0.3, (len(words) + 1, WORD_DIM)).astype("float32")
    np.save(folder / "vectors.npy", vectors)
    named = {"wordDict": words, "userDict": users, "vertDict": categories, "subvertDict": subcategories}
    for name, values in named.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(values))
    files = {f"{name}_file": str(folder / f"{name}.pkl") for name in named}
    counts = {"vert_num": len(categories) + 1, "subvert_num": len(subcategories) + 1, "user_num": len(users) + 1}
    return {**files, "wordEmb_file": str(folder / "vectors.npy"), **counts}


def hyperparameters(model, batch, given, folder):
    from recommenders.models.newsrec.newsrec_utils import prepare_hparams

    sizes = {
        **SIZES,
        **given,
        "model_type": model,
        "data_format": "naml" if model == "naml" else "news",
        "word_emb_dim": WORD_DIM,
        "user_emb_dim": SIZES["filter_num"],
        "gru_unit": SIZES["filter_num"],
        "type": "ini",
        "vert_emb_dim": 100,
        "subvert_emb_dim": 100,
        "metrics": ["group_auc", "mean_mrr", "ndcg@5;10"],
        "batch_size": batch,
        "epochs": 1,
        "loss": "cross_entropy_loss",
        "optimizer": "adam",
        "support_quick_scoring": True,
    }
    path = folder / "hparams.yaml"
    path.write_text(yaml.safe_dump({"data": sizes}))
    return prepare_hparams(str(path))


def make(model, batch, data, folder):
    from recommenders.models.newsrec.io.mind_all_iterator import MINDAllIterator
    from recommenders.models.newsrec.io.mind_iterator import MINDIterator
    from recommenders.models.newsrec.models.lstur import LSTURModel
    from recommenders.models.newsrec.models.naml import NAMLModel
    from recommenders.models.newsrec.models.nrms import NRMSModel

    hparams = hyperparameters(model, batch, write_dictionaries(data, folder), folder)
    creator = MINDAllIterator if model == "naml" else MINDIterator
    return {"nrms": NRMSModel, "lstur": LSTURModel, "naml": NAMLModel}[model](hparams, creator, seed=42)


def train(data, folder, model, batch, steps, evaluate=False):
    """Train for some steps with the model's own `train`, as its `fit` does; then, where asked, call `run_eval`."""
    made = make(model, batch, data, folder)
    ends = []
    files = str(data / "train" / "news.tsv"), str(data / "train" / "behaviors.tsv")
    for inputs in made.train_iterator.load_data_from_file(*files):
        made.train(inputs)
        ends.append(time.perf_counter())
        if len(ends) == steps:
            break
    figures = {"samples_per_s": rate(batch, ends)}
    if evaluate:
        began = time.perf_counter()
        metrics = made.run_eval(str(data / "dev" / "news.tsv"), str(data / "dev" / "behaviors.tsv"))
        figures |= {"eval_s": time.perf_counter() - began, "metrics": {k: float(v) for k, v in metrics.items()}}
    report(**figures)


def read(data, folder):
    """Read and index behaviors.tsv, the news being read already."""
    iterator = make("nrms", 32, data, folder).train_iterator
    iterator.init_news(str(data / "train" / "news.tsv"))
    began = time.perf_counter()
    iterator.init_behaviors(str(data / "train" / "behaviors.tsv"))
    seconds = time.perf_counter() - began
    report(rows_per_s=len(iterator.histories) / seconds)


def metrics(folder, scores):
    """Compute the metrics of a log, impression after impression; the lists are cut before the clock starts."""
    from recommenders.models.deeprec.deeprec_utils import cal_metric

    stored = np.load(scores)
    cuts = stored["offsets"][1:-1]
    labels, predictions = np.split(stored["labels"], cuts), np.split(stored["scores"], cuts)
    began = time.perf_counter()
    values = cal_metric(labels, predictions, ["group_auc", "mean_mrr", "ndcg@5;10"])
    report(seconds=time.perf_counter() - began, metrics={name: float(value) for name, value in values.items()})


if __name__ == "__main__":
    task = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        if "data" in task:
            task["data"] = Path(task["data"])
        globals()[task.pop("task")](folder=Path(temporary), **task)
