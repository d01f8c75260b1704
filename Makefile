PYTHON ?= python3
PYTEST_ARGS ?=
CELLS ?=
NEW := .venv/airflow-3.3/bin
OLD := .venv/airflow-2.11/bin
STRICT := airflow_provider_conductor dev benchmarks tests/client/typed_calls.py

.DEFAULT_GOAL := help
.PHONY: help setup test unit coverage matrix docs faults bench soak scale production backend lint format demo airflow server ui lock clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv/airflow-2.11 and .venv/airflow-3.3, if they aren't up to date
	@$(PYTHON) dev/environments.py

lint: setup ## ruff and mypy
	$(NEW)/ruff check .
	$(NEW)/ruff format --check .
	$(NEW)/mypy $(STRICT)

format: setup ## Let ruff put the code in order
	$(NEW)/ruff check --fix .
	$(NEW)/ruff format .

test: lint ## All checks, then the tests on Airflow 2.11 and 3.3 side by side (PYTEST_ARGS="-k name")
	@$(PYTHON) dev/run_tests.py $(PYTEST_ARGS)

unit: setup ## The tests that need no Conductor server, on Airflow 3.3 (PYTEST_ARGS="-k name")
	$(NEW)/python -m pytest -n 4 --dist worksteal -m "not (integration or airflow or faults)" $(PYTEST_ARGS)

coverage: setup ## Which lines of the package no test runs, on Airflow 3.3 (PYTEST_ARGS="-m 'not integration'")
	COVERAGE_CORE=sysmon $(NEW)/python -m pytest --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

matrix: ## What imports Airflow, on 2.11 to 3.3 with Python 3.11 to 3.14 (CELLS="3.0.6-3.12 3.3.2-3.13")
	@$(PYTHON) dev/matrix.py --pytest-args="$$PYTEST_ARGS" $(CELLS)

docs: ## The site of docs/ and the API reference, in build/docs; a broken link or reference fails
	@$(PYTHON) dev/environments.py docs
	rm -rf docs/api
	.venv/docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs build/docs
	@echo build/docs/index.html

faults: setup ## The long runs: crashes, kills, network faults, thousands of workflows; on both Airflows
	$(OLD)/python -m pytest -m faults
	$(NEW)/python -m pytest -m faults

bench: setup ## The provider beside its peers: a table, and build/benchmarks.json (ARGS="--only get,parse")
	@$(PYTHON) dev/environments.py --with-peers
	$(NEW)/python -m benchmarks $(ARGS)

soak: setup ## Half an hour of waits, with two crashes of the server: none lost, nothing grows
	$(NEW)/python -m benchmarks.soak --minutes 30 $(ARGS)

scale: setup ## What 10,000 running workflows cost a Conductor on PostgreSQL: CPU of both, build/bulk_at_scale.json (ARGS="--count 1000")
	@$(PYTHON) dev/environments.py production
	.venv/production/bin/python -m benchmarks.bulk_at_scale $(ARGS)

production: ## The provider in production shape: PostgreSQL, Redis, Celery, two triggerers; everything lost once (BACKEND=mysql|redis, ARGS="--size bounded --only waits")
	@$(PYTHON) dev/environments.py production
	.venv/production/bin/python -m dev.production $(if $(BACKEND),--backend $(BACKEND)) $(ARGS)

backend: setup ## The tests on real servers, with another Conductor (BACKEND=sqlite|postgres|mysql|redis, VERSION=3.21.14, PYTEST_ARGS="-k name")
	@$(PYTHON) dev/environments.py production
	.venv/production/bin/python -m dev.production.backend $(if $(BACKEND),--backend $(BACKEND)) $(if $(VERSION),--version $(VERSION)) $(PYTEST_ARGS)

demo: setup ## The provider at work, on a real Conductor server
	$(NEW)/python dev/demo.py

airflow: setup ## Airflow with the example DAGs, and a Conductor server beside it
	$(NEW)/python dev/airflow_standalone.py

server: ## A Conductor server in the foreground (ARGS="--version 3.13.8 --port 8080")
	$(PYTHON) dev/conductor_server.py $(ARGS)

ui: ## The pages in Airflow's UI: checks, tests, and the bundle in airflow_provider_conductor/ui/static, which is committed
	cd ui && npm ci --no-audit --no-fund && npm run check && npm test && npm run build

lock: ## Resolve requirements/*.txt anew
	$(PYTHON) dev/environments.py --lock

clean: ## Remove the environments and what tools left behind
	rm -rf .venv ui/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist docs/api
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
