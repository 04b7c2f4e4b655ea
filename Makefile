# make demo   sets up .venv once, then trains and compares the models on the demo data
# make table  does so for all the models of MINER's Table 2 and miner-plus, with three seeds, in an hour or two
# make results  re-runs the paper's experiments, and miner-plus', on the demo data with three seeds, for docs/results.md
# make test   sets up .venv once, then runs the tests on TensorFlow and on JAX
# make test-slow  runs the models' tests again as users run them (compiled, and trained on JAX), and the slow tests
# make notebooks  runs the notebooks of examples/ on the demo data and keeps their outputs; with PRESET=tiny only checks that they run
# make reliability  kills a hundred processes at random moments and fuzzes every reader, in about an hour; docs/reliability.md
# make paper-shapes  takes the models at their published settings through one update, on this machine, in about half an hour
# make bench  times the package against Microsoft Recommenders and PyTorch, in about an hour; the figures of benchmarks/
# make lint   checks style

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

COMPARE = $(BIN)/recommenders-miner compare --data demo/data --scale fast --skip-unavailable $(OPTIONS)
# Epochs are selected on training users that are held out, so that no figure was tuned on what it reports.
SELECTED = -o held_out=users -o select=best -o patience=1 -o epochs=8 -o unbert.epochs=1
DEMO_MODELS ?= miner,nrms-plm,lstur
PRESET ?= demo
SCORES = tests/models/test_every_model.py::test_score_is_the_papers
ON_JAX = tests/layers/test_every_layer.py::test_shared_checks tests/layers/test_miner_layers.py "$(SCORES)[nrms]" "$(SCORES)[miner]"
TRAINED_ON_JAX = tests/layers $(SCORES) $(addprefix tests/models/test_,own_models.py training.py saved_models.py large_batches.py)
COMPILED = tests/models/test_training.py tests/compat $(SCORES)

.PHONY: demo demo-data table results test test-slow notebooks bench paper-shapes reliability lint clean

demo: demo-data
	$(COMPARE) --models $(DEMO_MODELS) --out demo/results
	@echo "What they recommend, and why, on a page: $(BIN)/recommenders-miner serve demo/results/runs/*/seed-42 --news demo/data/dev/news.tsv"

# The table in README.md: every model of MINER's Table 2, and miner-plus.
table: demo-data
	$(COMPARE) --models all,miner-plus --seeds 3 $(SELECTED) --out demo/table

results: demo-data
	for experiment in all plus; do $(BIN)/recommenders-miner reproduce $$experiment --data demo/data --out demo/reproduction \
	  --scale fast --seeds 3 $(SELECTED) || exit 1; done
	rm -rf docs/results && cp -r demo/reproduction/results docs/results && cp demo/reproduction/results.md docs/results.md

demo-data: $(STAMP)
	test -d demo/data || $(BIN)/recommenders-miner demo-data demo/data --preset demo
	$(BIN)/recommenders-miner fetch minilm || echo "Going on without MiniLM: its rows will be missing."

test: $(STAMP)
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -n 2 --dist loadfile
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -n 2 $(ON_JAX)

# As users run them: compiled; on JAX the models, trained too; and what is slow.
test-slow: $(STAMP)
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -n 2 --dist loadfile --compiled $(COMPILED)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -n 2 --dist worksteal $(TRAINED_ON_JAX) --durations=15
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -m slow tests/distributed
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow --durations=30 --ignore=tests/distributed

notebooks: $(STAMP)
	$(BIN)/recommenders-miner fetch minilm || echo "Going on without MiniLM: its notebooks will be left out."
	$(BIN)/python examples/run.py --preset $(PRESET)

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/large_log.py

# On a GPU: make paper-shapes OPTIONS="--backend jax --precision bfloat16"
paper-shapes: $(STAMP)
	$(BIN)/python benchmarks/paper_shapes.py $(OPTIONS)

reliability: $(STAMP)
	RELIABILITY=1 KILLS=20 $(BIN)/python -m pytest -q -s -m slow tests/reliability tests/serving/test_store_kills.py tests/serving/test_export.py
	RELIABILITY=1 KERAS_BACKEND=jax $(BIN)/python -m pytest -q -m slow tests/distributed
	$(BIN)/python -m pip install --quiet -e ".[fuzz]"
	$(BIN)/python tests/reliability/coverage_guided.py --seconds 60

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# uv installs in seconds what takes pip minutes; where it cannot be had, pip does the work. Without bytecode, each process
# that imports TensorFlow would compile it anew for 10 seconds where writing it beside the sources is switched off.
$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e ".[dev]" \
	  || $(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo build dist *.egg-info
