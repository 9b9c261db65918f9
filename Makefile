# The two commands of the README are `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check gpu bench quality peers calibrate soak clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[dev]'
	touch $@

run: .venv/installed
	$(BIN)/tuner run demo

# Two at once: most tests wait for processes. One file each, since its fixtures are dear.
test: .venv/installed-dev
	$(BIN)/pytest --numprocesses 2 --dist loadfile

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Needs a CUDA machine, whose own Python with torch it uses where PYTHON says so.
gpu:
	$(PYTHON) -m pytest tests/gpu --override-ini addopts= -p no:cacheprovider
	PYTHONPATH=. $(PYTHON) benchmarks/step.py --device cuda

bench: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step.py --device cpu
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bookkeeping.py daily
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecasters.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/study.py

# Two hours and more, at half an hour a seed: a plain script and ours, and both scored again.
quality: .venv/installed-dev
	$(BIN)/python benchmarks/quality.py

# Seven minutes, and 450 MB more to install.
peers: .venv/installed-dev
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[peers]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peers.py

# A quarter of an hour on a busy machine: how often the report cries victory over random walks, and over a planted signal.
calibrate: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibrate.py

# Half an hour: workers killed, suspended and cut off; then what the databases bear.
soak: .venv/installed-dev
	$(BIN)/pytest tests/soak --long -s
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/storage.py

clean:
	rm -rf .venv
