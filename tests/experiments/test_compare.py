"""compare_trained, beside what `compare` reports of the same training; the rest is tested through the command line."""

import numpy as np
import pytest

from recommenders_miner.experiments.compare import compare, compare_trained
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import NRMSModel

OVERRIDES = {"epochs": 1, "word_emb_dim": 8, "head_num": 2, "head_dim": 4, "attention_hidden_dim": 8}


@pytest.mark.slow
def test_a_trained_models_row_is_the_one_of_compare(data, tmp_path):
    [*references, compared] = compare(data, ["nrms"], tmp_path / "out", OVERRIDES, seeds=[7]).results
    model = NRMSModel(prepare_hparams("nrms", **OVERRIDES), seed=7)
    model.fit(data / "train" / "news.tsv", data / "train" / "behaviors.tsv", verbose=0)
    found = compare_trained(model, "nrms", data)
    assert found.results[1:] == references
    row = found.results[0]
    assert (row.model, row.parameters) == ("nrms", compared.parameters)
    assert row.train_seconds is row.eval_seconds is row.samples_per_second is None
    assert row.metrics.keys() == compared.metrics.keys()
    for name, value in row.metrics.items():
        np.testing.assert_allclose(value, compared.metrics[name], rtol=1e-5)
