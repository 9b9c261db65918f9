# The two commands of the README are `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check gpu lowest wheel bench quality peers calibrate soak sweep lock clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[dev]'
	touch $@

run: .venv/installed
	$(BIN)/tuner run demo

# Three processes on two cores: most tests wait for others. A file at a time: fixtures are slow to make.
# In the order of their names, in which the slow files of tests/acceptance come first.
test: .venv/installed-dev
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# On a CUDA machine, at most nine minutes and nothing from a network; PYTHON is the one there that has
# torch. Without this project installed, whole searches are left out. OUT gets gpu.json and gpu.md.
# DEVICE=cpu ARGS=--tiny runs the same lines on a CPU.
DEVICE ?= cuda
OUT ?= benchmarks/results
gpu:
	$(PYTHON) -m pytest tests/gpu --noconftest --override-ini addopts= --override-ini filterwarnings= \
		-p no:cacheprovider
	PYTHONPATH=".:$$PYTHONPATH" $(PYTHON) -m benchmarks.gpu --device $(DEVICE) --out $(OUT) $(ARGS)

# The tests with every dependency at its lowest version, but for torch: PyPI has no old one without CUDA.
# Warnings are of old versions beside new ones, and no errors here.
lowest: .venv/installed-dev
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/python .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --disable-pip-version-check --quiet \
		--constraint .venv-lowest/constraints.txt --editable '.[test]'
	.venv-lowest/bin/pytest --ignore tests/soak --ignore tests/acceptance/deploy \
		--override-ini filterwarnings= --numprocesses 2 --dist loadfile -p no:cacheprovider

# What is published: sdist and wheel are built and checked, the wheel is installed in a fresh environment,
# and the demo is run with it, all by PYTHON; ARGS=--lowest takes the lowest versions.
wheel:
	$(PYTHON) .ci/wheel.py $(ARGS)

bench: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step.py --device cpu
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bookkeeping.py daily
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecasters.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/study.py
	$(BIN)/python benchmarks/scale.py

# A plain script and ours, and both scored again, on the two targets.
quality: .venv/installed-dev
	$(BIN)/python benchmarks/quality.py --target range
	$(BIN)/python benchmarks/quality.py --target return

# 450 MB more to install.
peers: .venv/installed-dev
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[peers]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peers.py
	$(BIN)/python -m benchmarks.auto

# Half an hour on a busy machine: how often report and walk find skill in random walks, and in a planted signal.
calibrate: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibrate
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibrate_walk

# Half an hour: workers killed, suspended and disconnected; then the speed of the databases.
soak: .venv/installed-dev
	$(BIN)/pytest tests/soak --long -s
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.storage
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.idle

# An hour: every command killed and suspended at each of its commits, on both databases.
sweep: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.soak.sweep

# What the image installs, with hashes. torch is not among it: its wheels without CUDA are on an
# index of their own, with hashes of their own. The platform is one without CUDA for the same
# reason; the hashes are those of the files for every platform.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-annotate \
	--python-version 3.11.14 --python-platform aarch64-apple-darwin --custom-compile-command 'make lock'
lock: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --quiet uv
	$(LOCK) --no-emit-package torch pyproject.toml --output-file deploy/requirements.lock
	echo hatchling | $(LOCK) - --output-file deploy/build-requirements.lock

clean:
	rm -rf .venv .venv-lowest
