"""The package's metadata. The hyperparameter files of the checkout's top are installed inside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "recommenders_miner" / "__init__.py").read_text())[1]

setup(
    name="recommenders-miner",
    version=VERSION,
    description="MINER and the news recommenders that its paper compares with, on Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["recommenders_miner", "recommenders_miner.*"]),
        "recommenders_miner.hparams_files",
    ],
    package_dir={"recommenders_miner.hparams_files": "hparams"},
    package_data={
        "recommenders_miner.hparams_files": ["*.yaml", "scales/*.yaml"],
        "recommenders_miner.datasets": ["*.yaml"],
        "recommenders_miner.datasets.synthetic": ["*.yaml"],
        "recommenders_miner.experiments": ["*.yaml"],
        "recommenders_miner.serving": ["*.html"],
    },
    install_requires=[
        "tensorflow>=2.19",
        "tensorflow-text>=2.19",
        "keras>=3.15",
        "keras-nlp>=0.32",
        "numpy>=2.0",
        "pandas>=2.2",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "pyyaml>=6.0",
        "pydantic>=2.7",
        "pyarrow>=17",
        "matplotlib>=3.9",
        "typer>=0.15",
        "rich>=13.9",
        "safetensors>=0.4",
        "tokenizers>=0.21",
        "faiss-cpu>=1.9",
        "sentencepiece>=0.2",
        "requests>=2.32",
        "urllib3>=2",
        "huggingface_hub>=0.30",
        "kagglehub>=0.3.12",
    ],
    extras_require={
        "jax": ["jax>=0.6"],
        "torch": ["torch>=2.6"],
        "icu": ["icu4py>=1.2"],
        "export": ["tf2onnx>=1.17", "onnxruntime>=1.20"],
        "serve": ["onnxruntime>=1.20", "fastapi>=0.115", "uvicorn>=0.32", "prometheus-client>=0.21", "redis>=5.2"],
        "ray": ["ray[default]>=2.40", "jax>=0.6"],
        "notebooks": ["jupyterlab>=4.2", "ipykernel>=6.29", "ipywidgets>=8.1", "nbclient>=0.10"],
        "fuzz": ["atheris>=3.0"],
        "dev": [
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.110",
            "ruff>=0.13",
            "build>=1.2",
            "ipykernel>=6.29",
            "nbclient>=0.10",
            "jax>=0.6",
            "icu4py>=1.2",
            "tf2onnx>=1.17",
            "onnxruntime>=1.20",
            "fastapi>=0.115",
            "uvicorn>=0.32",
            "prometheus-client>=0.21",
            "redis>=5.2",
            "ray[default]>=2.40",
            "httpx>=0.28",
            "schemathesis>=4",
            "playwright>=1.49",
        ],
    },
    entry_points={"console_scripts": ["recommenders-miner = recommenders_miner.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
