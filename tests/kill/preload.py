"""What the server imports that the processes to be killed are forked from, once for all of them."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import huggingface_hub.utils  # noqa: F401
import requests  # noqa: F401

import recommenders_miner.cli
import recommenders_miner.datasets.mind
import recommenders_miner.models  # noqa: F401
import tests.kill.children  # noqa: F401
