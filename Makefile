# make demo   sets up .venv once, then trains and compares the models on the demo data
# make table  does so for every variant of MINER and three seeds
# make test   sets up .venv once, then runs the tests on TensorFlow and on JAX
# make test-slow  runs the models' tests again as users run them (compiled, and trained on JAX), and the slow tests
# make lint   checks style

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# MiniLM as it comes, its title vectors computed once, and sizes that suit two cores. The regulariser's published weight, 0.8,
# is for fine-tuning and 20 times the data: see "What the demo shows" in README.md.
PLM_OPTIONS := -o plm=minilm -o plm_trainable=none -o plm_pooling=mean -o news_dim=128 \
  -o category_embedding=learned -o word_embedding=null -o warmup=0 -o decay=constant
DEMO_OPTIONS ?= -o epochs=3 -o batch_size=64 -o learning_rate=2e-3 -o word_emb_dim=64 -o head_num=8 -o head_dim=16 \
  -o attention_hidden_dim=64 -o filter_num=96 -o vert_emb_dim=16 -o subvert_emb_dim=16 \
  -o num_interests=8 -o code_dim=64 -o disagreement_weight=0.02
COMPARE = $(BIN)/recommenders-miner compare --data demo/data --skip-unavailable $(PLM_OPTIONS) $(DEMO_OPTIONS)
DEMO_MODELS ?= miner,nrms-plm,lstur-plm,nrms,lstur
TABLE_MODELS ?= miner,miner-max,miner-mean,nrms-plm,lstur-plm,miner-knowledge,nrms,lstur

.PHONY: demo demo-data table test test-slow lint clean

demo: demo-data
	$(COMPARE) --models $(DEMO_MODELS) --out demo/results

# The table in README.md: every variant, three seeds.
table: demo-data
	$(COMPARE) --models $(TABLE_MODELS) --seeds 3 --out demo/table

demo-data: $(STAMP)
	$(BIN)/recommenders-miner demo-data demo/data --preset demo
	$(BIN)/recommenders-miner fetch minilm || echo "Going on without MiniLM: its rows will be missing."

test: $(STAMP)
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -n 2
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -n 2 tests/layers tests/models/test_scores.py

test-slow: $(STAMP)
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -n 2 --compiled tests/models tests/encoders
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q -n 2 tests/encoders tests/models/test_training.py tests/models/test_plm_models.py
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -q -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# uv installs in seconds what takes pip minutes; where it cannot be had, pip does the work.
$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[dev]" \
	  || $(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo build dist *.egg-info
