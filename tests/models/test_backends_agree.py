"""The same training on TensorFlow, and on JAX where there is no TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recommenders_miner.datasets.minilm import fetch_minilm
from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark

SCRIPT = Path(__file__).with_name("loss_curve.py")


@pytest.mark.slow
def test_fine_tuning_without_tensorflow_follows_its_loss_curve(tmp_path):
    fetch_minilm()
    write_synthetic_benchmark(tmp_path / "data", "tiny", 1)
    curves = {}
    for backend, options in (("tensorflow", []), ("jax", ["--without-tensorflow"])):
        out = tmp_path / f"{backend}.json"
        command = [sys.executable, SCRIPT, tmp_path / "data", tmp_path / "weights.npz", out, *options]
        subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": backend})
        curves[backend] = json.loads(out.read_text())
    assert [curves[backend]["tensorflow"] for backend in ("tensorflow", "jax")] == [True, False]
    assert curves["jax"]["losses"] == pytest.approx(curves["tensorflow"]["losses"], abs=1e-3)
    assert len(curves["jax"]["losses"]) == 10
    assert curves["jax"]["losses"][-1] != pytest.approx(curves["jax"]["losses"][0], abs=1e-2)
