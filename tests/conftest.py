"""Quiet logs and a backend, before anything imports Keras; and what several folders of tests share."""

import functools
import os
import tempfile

import pytest
import typer.testing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # at toy sizes, more threads than one get in each other's way


# Making typer's commands takes longer than most of what hundreds of tests ask of them.
typer.main.get_command = typer.testing._get_command = functools.cache(typer.main.get_command)


def pytest_addoption(parser):
    parser.addoption(
        "--compiled",
        action="store_true",
        help="compile TensorFlow functions of tests/models and tests/encoders, as users do",
    )


def pytest_configure(config):
    if os.environ["KERAS_BACKEND"] == "jax" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Many tests compile the same programs: what one has compiled, the others, and their processes, take.
        kept = tempfile.TemporaryDirectory(prefix="compiled-")
        config.add_cleanup(kept.cleanup)
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": kept.name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    if os.environ["KERAS_BACKEND"] == "jax" and not config.getoption("--compiled"):
        import jax

        # Compiling takes nearly all the time of these tests: shapes come but once.
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The synthetic benchmark, preset tiny; not to be written to."""
    from tests.command_line import run

    folder = tmp_path_factory.mktemp("tiny") / "data"
    run("demo-data", folder, "--preset", "tiny")
    return folder


@pytest.fixture(scope="session")
def trained(data):
    """The folder of a run of MINER over words, trained for an epoch of `data`."""
    from tests.command_line import OPTIONS, run

    out = data.parent / "run"
    run("train", "--hparams", "miner", "--data", data, "--out", out, *OPTIONS)
    return out


@pytest.fixture(autouse=True)
def _eager_tensorflow(request):
    """Runs the networks' tests eagerly: at toy sizes, building a graph takes a hundred times longer than running it."""
    folders = ("models", "encoders", "compat", "explain", "retrieval", "experiments")
    files = ("test_cli.py", "test_export.py", "test_runtime.py", "test_loop.py")
    networks = request.path.parent.name in folders or request.path.name in files
    if not networks or os.environ["KERAS_BACKEND"] != "tensorflow" or request.config.getoption("--compiled"):
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
