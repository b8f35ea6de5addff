# Two commands do all the set-up: `make demo` and `make test`. Both make .venv from the lock files when they have changed.
PYTHON ?= python3
BIN := .venv/bin

# Set, it would make every Ray worker compile its imports anew: 6 s instead of 1.6.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test unit lint format hooks bench bench-search bench-monitor up lock clean

demo: .venv/.made
	$(BIN)/python demo/run.py

# The unit tests take both cores; the others have Ray, Redis and MLflow of their own, one after the other.
test: unit
	$(BIN)/pytest tests/contract tests/integration tests/e2e

unit: .venv/.made
	$(BIN)/pytest --numprocesses 2 tests/unit optagent

lint: .venv/.made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.made
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: .venv/.made
	$(BIN)/pre-commit install

bench: .venv/.made
	$(BIN)/pytest tests/performance --override-ini "python_files=bench_*.py" --benchmark-only --benchmark-columns min,median,max,rounds

# Some twenty minutes on two cores.
bench-search: .venv/.made
	$(BIN)/python tests/performance/bench_search.py
	$(BIN)/python tests/performance/bench_samplers.py

# Some ten minutes on two cores. Evidently and NannyML live in environments of their own.
bench-monitor: .venv/.made .venv-evidently/.made .venv-nannyml/.made
	$(BIN)/python tests/performance/bench_drift.py --evidently .venv-evidently/bin/python --nannyml .venv-nannyml/bin/python
	$(BIN)/python tests/performance/bench_detectors.py
	$(BIN)/python tests/performance/bench_ingest.py
	$(BIN)/python tests/performance/bench_monitor_actor.py

.venv-%/.made: tests/performance/peers/%.txt .venv/.made
	$(PYTHON) -m venv .venv-$*
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-$*/bin/python $<
	touch $@

# A Ray head on this machine, with its dashboard at http://127.0.0.1:8265; `.venv/bin/ray stop` ends it. Jobs find their
# `python` by the head's PATH.
up: .venv/.made
	PATH="$(CURDIR)/$(BIN):$$PATH" RAY_worker_niceness=0 RAY_agent_register_timeout_ms=120000 $(BIN)/ray start --head --dashboard-host 127.0.0.1

# uv is taken from the lock file too, so that nothing is installed that is not pinned.
.venv/.made: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	awk '/^[a-z]/ {wanted = /^uv==/} wanted' requirements-dev.txt > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	touch $@

lock: .venv/.made
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --extra demo \
		pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --extra demo --extra dev --extra bench \
		--constraint requirements.txt pyproject.toml --output-file requirements-dev.txt

clean:
	rm -rf .venv .venv-evidently .venv-nannyml build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
