# Two commands do all the set-up: `make demo` and `make test`. Both make .venv from the lock files when they have changed.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11

# Set, it would make every Ray worker compile its imports anew: 6 s instead of 1.6.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-docs test-oldest unit docs docs-serve screenshots reference lint advisories fuzz format hooks bench bench-automl bench-search bench-monitor bench-serve bench-rollout bench-ensemble bench-features bench-loop bench-decisions bench-soak bench-score starting-points bench-explain up down lock clean

demo: .venv/.made
	$(BIN)/optagent demo

# All tests take two cores. Those that are no unit tests wait half of their time, so that three workers share the cores. A
# file is run by one of them; each has Ray, Redis and MLflow of its own. The folder with the longest files goes first, so
# that none of them is left for the end.
test: unit
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/security tests/contract tests/simulation tests/api

# The site is built, walked and looked at, and the code of its pages is run story by story: some ten minutes.
test-docs: .venv/.made
	$(BIN)/pytest --numprocesses 3 --dist load tests/docs

unit: .venv/.made
	$(BIN)/pytest --numprocesses 2 tests/unit optagent reference

# The unit and contract tests with the oldest libraries that pyproject.toml allows; some half an hour on two cores.
test-oldest: .venv-oldest/.made
	.venv-oldest/bin/pytest --numprocesses 2 tests/unit
	.venv-oldest/bin/pytest --numprocesses 2 --dist loadfile tests/contract

lint: .venv/.made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known advisories on the locked dependencies; it says so where their source cannot be asked.
advisories: .venv/.made
	$(BIN)/python .ci/advisories.py

# The site into site/: fails on an undocumented setting, command, route, metric or error, a missing page, and a dead link.
docs: reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Pictures of the dashboard during a rollout, by Chromium (Debian: chromium); some three minutes.
screenshots: .venv/.made
	$(BIN)/python -m tests.docs.screenshots

# docs/reference from the code.
reference: .venv/.made
	$(BIN)/python -m reference

# Some two minutes on two cores: 20,000 mutated bodies against a running gateway.
fuzz: .venv/.made
	$(BIN)/python -m tests.security.fuzz_bodies --requests 20000

format: .venv/.made
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: .venv/.made
	$(BIN)/pre-commit install

bench: .venv/.made
	$(BIN)/pytest tests/performance --override-ini "python_files=bench_*.py" --benchmark-only --benchmark-columns min,median,max,rounds

# A minute or two on one core: the reasons of one row by family, beside the libraries' own contributions.
bench-explain: .venv/.made
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_explain.py

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

# Some three quarters of an hour on two cores, with nothing else running. The peers live in environments of their own;
# wrk (Debian: wrk) makes the load where it is installed.
bench-serve: .venv/.made .venv-mlserver/.made .venv-litserve/.made .venv-bentoml/.made
	$(BIN)/python tests/performance/bench_serve.py --mlserver .venv-mlserver/bin/python \
		--litserve .venv-litserve/bin/python --bentoml .venv-bentoml/bin/python

# Some ten minutes on two cores.
bench-rollout: .venv/.made
	$(BIN)/python tests/performance/bench_rollout.py
	$(BIN)/python tests/performance/bench_engine.py

# At most half an hour on two cores: error rates and power of every decision. make bench-decisions ROWS="guardrail drift"
bench-decisions: .venv/.made
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_decisions.py $(ROWS)

# Some six minutes on two cores: a year of one busy model ends with Redis and disk flat.
bench-soak: .venv/.made
	$(BIN)/python tests/performance/bench_soak.py

# A minute on two cores, with nothing else running: rows a second of `optagent score`, from file to file.
bench-score: .venv/.made
	$(BIN)/python tests/performance/bench_score.py

# Some five minutes on two cores.
bench-ensemble: .venv/.made
	$(BIN)/python tests/performance/bench_ensemble.py

# Some two hours on two cores a minute of search: twelve tables, three entrants, three seeds. The tables and the peers live
# in environments of their own: make bench-automl AUTOML="--seconds 300 --seeds 0 --data FOLDER"
bench-automl: .venv/.made .venv-tables/.made .venv-flaml/.made .venv-autogluon/.made
	$(BIN)/python -m tests.performance.bench_automl --flaml .venv-flaml/bin/python \
		--autogluon .venv-autogluon/bin/python $(or $(AUTOML),--seconds 60 --seeds 0 1 2)

# Ten minutes of one core for all but CatBoost, and an hour or more for it: measures what is missing in losses.csv, then
# chooses the starting points of searches.
starting-points: .venv/.made .venv-tables/.made
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.performance.automl.learn_starting_points

# Some half an hour on two cores. LightGBM's threads would spin between its short predictions.
bench-features: .venv/.made
	OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_features.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_target_means.py

# An hour or two on two cores, nine streams and all entrants: make bench-loop ELEC2=elec2.csv.gz FLIGHTS=nycflights13.parquet
bench-loop: .venv/.made
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_loop.py $(if $(ELEC2),--elec2 $(ELEC2)) \
		$(if $(FLIGHTS),--flights $(FLIGHTS))
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/performance/bench_windows.py $(if $(ELEC2),--elec2 $(ELEC2)) \
		$(if $(FLIGHTS),--flights $(FLIGHTS))

.venv-oldest/.made: requirements-oldest.txt pyproject.toml .venv/.made
	$(PYTHON) -m venv .venv-oldest
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python .venv-oldest/bin/python $<
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python .venv-oldest/bin/python --editable .
	touch $@

.venv-%/.made: tests/performance/peers/%.txt .venv/.made
	$(PYTHON) -m venv .venv-$*
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-$*/bin/python $<
	touch $@

# The API, predictions and monitors, on a Ray of this machine or on OPT_AGENT_RAY_ADDRESS.
up: .venv/.made
	$(BIN)/optagent up

down: .venv/.made
	$(BIN)/optagent down

# uv is taken from the lock file too, so that nothing is installed that is not pinned.
.venv/.made: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	awk '/^[a-z]/ {wanted = /^uv==/} wanted' requirements-dev.txt > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	touch $@

# The oldest versions that are allowed, with the newest tools to test them with.
lock: .venv/.made
	$(COMPILE) --generate-hashes --extra all pyproject.toml --output-file requirements.txt
	$(COMPILE) --generate-hashes --extra all --extra dev --extra docs --extra bench \
		--constraint requirements.txt pyproject.toml --output-file requirements-dev.txt
	$(COMPILE) --resolution lowest-direct --extra all pyproject.toml --output-file .venv/oldest.txt
	$(COMPILE) --generate-hashes --no-annotate --extra all --extra dev --extra bench --constraint .venv/oldest.txt \
		pyproject.toml requirements-oldest.in --output-file requirements-oldest.txt

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
