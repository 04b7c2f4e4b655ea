"""The package as a user installs it: from a wheel, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_wheel_holds_all_that_the_package_reads(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", CHECKOUT]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = """
import recommenders_miner
from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.experiments.runs import PUBLISHED
print(recommenders_miner.__file__)
print(prepare_hparams("miner.yaml").num_interests, prepare_hparams("miner-max", scale="fast").aggregation)
print(PUBLISHED["table2"]["small"]["miner"][0])
write_synthetic_benchmark("data", "tiny", 1)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", program]
    place, values, reported = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True).splitlines()
    assert Path(place).is_relative_to(tmp_path / "site")
    assert (values, reported) == ("32 max", "69.61")
    assert (tmp_path / "data" / "train" / "behaviors.tsv").exists()
