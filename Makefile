# Two commands suffice on a fresh machine: `make train` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help train recipes reproduce reproduce-quick frontier faults fuzz bench peers drawn pictures tensorboard lint format test test-all lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp is newer than the lock file once everything in it is installed, so a second make installs nothing.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements.lock)"
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --no-deps --editable .
	@touch $@

train: .venv/installed  ## set up, then train and test the pooled convnet
	$(BIN)/python train.py model=convnet optim=adam

recipes: .venv/installed  ## list the recipes: what each shows, claims and reaches
	@$(BIN)/python tools/recipes.py list

reproduce: .venv/installed  ## measure all recipes over their seeds, or one: make reproduce ROW=softmax
	$(BIN)/python tools/recipes.py run $(if $(ROW),--only $(ROW)) $(OPTIONS)

reproduce-quick: .venv/installed  ## the same with one seed for each recipe that takes under a minute
	$(BIN)/python tools/recipes.py run --quick $(OPTIONS)

frontier: .venv/installed  ## measure the best figures at every budget and write docs/FRONTIER.md: make frontier ROW=tiny
	$(BIN)/python tools/frontier.py run $(if $(ROW),--only $(ROW)) $(OPTIONS)

faults: .venv/installed  ## break runs in many ways and write docs/RELIABILITY.md (as root, to mount a small disk)
	$(BIN)/python tests/faults.py

fuzz: .venv/installed  ## feed 20,000 changed files of each kind to the readers
	FUZZ_EXAMPLES=20000 $(BIN)/pytest -n 2 tests/runs/test_untrusted.py -k strange

bench: .venv/installed  ## measure how fast it is and write docs/BENCHMARKS.md: make bench SECTION=steps
	$(BIN)/python benchmarks/speed.py $(SECTION)

peers: benchmarks/peers.txt  ## set up .venv-peers: Keras, TensorFlow and JAX for `make bench` to compare with
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt

drawn: .venv/installed  ## measure runs on digits that others drew: make drawn RUNS="outputs/pooled/<run>"
	$(BIN)/python tools/drawn.py $(RUNS) $(OPTIONS)

pictures: .venv/installed  ## make the pictures of the documentation from real runs (needs chromium)
	$(BIN)/python tools/lessons.py
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/explore_pictures.py

tensorboard: .venv/installed  ## open the dashboard on outputs/
	@echo "the story of each run: http://localhost:6006/#custom_scalars"
	$(BIN)/tensorboard --logdir outputs --port 6006

lint: .venv/installed  ## style, types, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/installed  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## set up, lint, type check, test
	$(BIN)/pytest -n 2 -m "not slow"

test-all: lint  ## the same with the slow tests
	$(BIN)/pytest -n 2

lock: .venv/installed  ## renew requirements.lock with uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --all-extras --python-version 3.11 \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## remove the environment and caches; outputs/ and data/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
