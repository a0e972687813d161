# The only front door. `make help` lists the doors; everything that is missing installs itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
CLUSTER ?= tacho
ENGINE ?= llamacpp
PYTEST := $(BIN)/pytest
# More processes than cores: tests of processes and of probes mostly wait. Each collects all tests.
CROWD := --numprocesses=$(shell cores=$$(nproc); echo $$((cores < 3 ? cores + 1 : 4))) --dist=worksteal
# Over the cores, four at most: these tests compute.
SPREAD := --numprocesses=auto --maxprocesses=4 --dist=worksteal
# Each process starts an API server of its own and mostly waits for it.
PAIR := --numprocesses=2 --dist=worksteal
# The processes share one cluster, on one of the user's there is one; a test at a time, in their order: those that run alone are the last ones.
TRIO := $(if $(TACHO_KUBECONFIG),,--numprocesses=3 --dist=load --maxschedchunk=1)
# Tests must not meet a production context: only TACHO_KUBECONFIG names a cluster of the user's.
unexport KUBECONFIG
# Each process would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- install ---------------------------------------------------------------------------------------
LOCKS := requirements/bootstrap.txt requirements/dev.txt requirements/model.txt
STAMP := $(VENV)/.installed

.PHONY: install
install: $(STAMP) ## Put tacho and all it needs into .venv
	@echo "tacho is in $(BIN): try $(BIN)/tacho --help"

$(STAMP): pyproject.toml $(LOCKS)
	@tools/venv.sh $(PYTHON) $(VENV)
	@touch $@

.PHONY: lock
lock: $(STAMP) ## Resolve the dependencies anew (hashes, no index addresses)
	@tools/lock.sh $(BIN)/uv

# --- generated files -------------------------------------------------------------------------------
.PHONY: generate
generate: $(STAMP) ## Write the CRD and the generated docs
	$(PY) -m tools.generate

# --- the cluster and the images --------------------------------------------------------------------
.PHONY: cluster-build cluster-up cluster-down kubeconfig images push
cluster-build: $(STAMP) ## Build etcd, Kubernetes, kubectl and helm once, into the cache
	@$(PY) -m tools.cluster build

cluster-up: $(STAMP) ## Start a cluster with a node on this machine (root)
	@$(PY) -m tools.cluster up --name $(CLUSTER)

cluster-down: $(STAMP) ## Stop it and leave nothing behind
	@$(PY) -m tools.cluster down --name $(CLUSTER)

kubeconfig: $(STAMP) ## Print the path of the running cluster's kubeconfig (make -s kubeconfig)
	@$(PY) -m tools.cluster kubeconfig --name $(CLUSTER)

images: $(STAMP) ## Build the images: tacho, the engines, the test servers (root)
	@$(PY) -m tools.images build

push: $(STAMP) ## Put what is built into REGISTRY=…, named as the chart wants it (`buildah login` first)
	@$(PY) -m tools.images push --registry "$(REGISTRY)"

DASHBOARDS := build/dashboards/packages
.PHONY: dashboards
dashboards: $(DASHBOARDS)/.installed ## Write the Grafana dashboards of the chart (CHECK=1: say which one has drifted)
	@PYTHONPATH=$(DASHBOARDS) $(PY) -m tools.dashboards $(if $(CHECK),--check)

$(DASHBOARDS)/.installed: requirements/dashboards.txt $(STAMP)
	@rm -rf $(DASHBOARDS)
	@$(BIN)/uv pip install -q --python $(PY) --target $(DASHBOARDS) --require-hashes -r requirements/dashboards.txt
	@touch $@

SITE := build/site/packages
.PHONY: site
site: $(SITE)/.installed ## Write docs/ as a static site into build/site/html; fails at a warning
	@$(PY) -m tools.site
	@PYTHONPATH=$(SITE) NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict -q

$(SITE)/.installed: requirements/site.txt $(STAMP)
	@rm -rf $(SITE)
	@$(BIN)/uv pip install -q --python $(PY) --target $(SITE) --require-hashes -r requirements/site.txt
	@touch $@

.PHONY: pictures
pictures: $(STAMP) ## Take the pictures of `tacho report` and `tacho status` in docs/pictures anew (Chromium; root if it is missing)
	@$(PY) -m tools.pictures

LITELLM := build/litellm/packages
$(LITELLM)/.installed: requirements/litellm.txt $(STAMP)
	@rm -rf $(LITELLM)
	@$(BIN)/uv pip install -q --python $(PY) --target $(LITELLM) --require-hashes -r requirements/litellm.txt
	@touch $@

.PHONY: release audit
release: $(STAMP) ## Build, sign and package VERSION=… for REGISTRY=… with KEY=… (root; DRY_RUN=1: say what)
	@$(PY) -m tools.release --version "$(VERSION)" --registry "$(REGISTRY)" --key "$(KEY)" $(if $(DRY_RUN),--dry-run)

AUDIT := build/audit/packages
audit: $(AUDIT)/.installed ## Look every locked package up in the advisory database; fails where none answers
	@PYTHONPATH=$(AUDIT) $(PY) -m tools.audit

$(AUDIT)/.installed: requirements/audit.txt $(STAMP)
	@rm -rf $(AUDIT)
	@$(BIN)/uv pip install -q --python $(PY) --target $(AUDIT) --require-hashes -r requirements/audit.txt
	@touch $@

.PHONY: demo
demo: $(STAMP) ## From nothing to measured tokens per second and an answered chat (ENGINE=vllm, transformers)
	@$(PY) -m tools.demo --cluster $(CLUSTER) --engine $(ENGINE) $(if $(TRANSCRIPT),--transcript $(TRANSCRIPT))

.PHONY: engines-env
engines-env: $(STAMP) ## Put the engines that run on a CPU, and a model for them, into the cache (6 GB)
	@$(PY) -m tools.engines

# --- tests -----------------------------------------------------------------------------------------
TIERS := lint types unit wiring pages engines charts api e2e
PARTS := properties probe engines autoscaling e2e scalers alerts endpoint release install soak
.PHONY: test nightly ahead $(TIERS) $(PARTS:%=nightly-%) $(PARTS:%=needs-%)
test: $(STAMP) ## Everything CI runs, tier by tier (tools/tiers.py), and one closing line
	@$(PY) -m tools.tiers ci

nightly: $(STAMP) $(patsubst %,needs-%,$(if $(PART),$(filter $(PART),$(PARTS)),$(PARTS))) ## What takes too long for every change (PART=name: one part)
	@$(PY) -m tools.tiers nightly $(PART)

ahead: engines-env cluster-build images ## What the tiers download and build, so that they need not

lint: $(STAMP) ## Style, layers, drift of generated files
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports --no-cache
	$(PY) -m tools.generate --check
	$(BIN)/hadolint $$(find operator runtime examples tools -name 'Dockerfile*')

types: $(STAMP) ## The strict type checker, and what is injected for the oldest Python of an engine's image
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 $(addprefix -p ,tacho_contract tacho_engines tacho_runtime)

unit: $(STAMP) ## Pure decisions, the runtime, the probe, the engine in a process
	$(PYTEST) $(CROWD) -m 'not nightly' tests/unit

wiring: $(STAMP) ## Handlers, queue and requests against an API double
	$(PYTEST) $(SPREAD) tests/wiring

pages: $(STAMP) ## The HTML pages that commands write, in Debian's Chromium (installed where it is missing: root)
	$(PYTEST) tests/pages

api: $(STAMP) cluster-build ## CRD, rules and the operator against a real API server
	$(PYTEST) $(PAIR) -m 'not nightly' tests/api

charts: $(STAMP) cluster-build ## The chart, rendered by helm; its alerts in Debian's promtool (installed where it is missing: root)
	$(PYTEST) tests/charts

engines: $(STAMP) engines-env ## Real engines on this CPU, loaded and answering
	$(PYTEST) -m 'not nightly' tests/engines

e2e: $(STAMP) cluster-build images engines-env ## Real node, real engine, real model
	$(PYTEST) $(TRIO) -m 'not nightly' tests/e2e

# What a part needs is built before its minutes begin.
needs-probe: $(STAMP)
needs-properties: cluster-build
needs-engines needs-autoscaling needs-e2e needs-scalers needs-release needs-install needs-soak: cluster-build images engines-env
needs-alerts: cluster-build $(DASHBOARDS)/.installed
needs-endpoint: $(LITELLM)/.installed
needs-release: $(SITE)/.installed
needs-e2e:
	@$(PY) -m tools.cluster build helm3 etcdutl
needs-scalers:
	@$(PY) -m tools.cluster build keda
needs-release needs-install:
	@$(PY) -m tools.cluster build cosign syft

# The parts of `make nightly`.
# SEED=…: the examples of another night, which printed it.
nightly-properties: SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
nightly-properties: needs-properties
	$(PYTEST) $(SPREAD) --hypothesis-profile=nightly --hypothesis-seed=$(SEED) --timeout=2000 -m hypothesis tests/unit tests/wiring tests/api

nightly-probe: needs-probe
	$(PYTEST) -m nightly tests/unit

nightly-engines: needs-engines
	$(PYTEST) -m nightly tests/engines tests/e2e/test_engines.py

nightly-autoscaling: needs-autoscaling
	$(PYTEST) -s -m nightly tests/e2e/test_autoscaling.py tests/e2e/test_default_scaling.py

nightly-e2e: needs-e2e
	$(PYTEST) -m nightly tests/e2e/test_measured_again.py tests/e2e/test_cluster_node.py tests/e2e/test_pages_on_a_node.py tests/e2e/test_upgrade_under_load.py tests/api

nightly-scalers: needs-scalers
	$(PYTEST) tests/nightly/scalers

nightly-alerts: needs-alerts
	$(PYTEST) -s tests/nightly/alerts
	@$(MAKE) -s dashboards CHECK=1

nightly-endpoint: needs-endpoint
	$(PYTEST) tests/nightly/endpoint

nightly-release: needs-release
	$(PYTEST) tests/nightly/release
	@$(MAKE) -s site

nightly-install: needs-install
	$(PYTEST) -s tests/nightly/install

# TACHO_SOAK_SECONDS=3600: an hour of it.
nightly-soak: needs-soak
	$(PYTEST) -s tests/nightly/soak

.PHONY: goals
goals: $(STAMP) ## All goals of measurement, memory and speed; fails where one is missed (20 minutes; PART=planner: half a one)
	$(if $(filter planner,$(PART)),,$(PY) -m benchmarks.probe.virtual --runs 56 --again)
	$(if $(filter planner,$(PART)),,$(PY) -m benchmarks.probe.virtual --runs 56 --budget plan --again --out benchmarks/probe/results/virtual-planned.json)
	$(if $(filter planner,$(PART)),,$(PY) -m benchmarks.probe.laws --count 14 --again)
	@$(PY) -m benchmarks.goals $(PART)

# What it needs lies in a folder of its own: nothing else is to depend on it.
MUTATION := build/mutation/packages
.PHONY: mutation
mutation: $(MUTATION)/.installed ## Break the core on purpose, print what no test notices (PATHS=…: less of it)
	@$(PY) -m tools.mutation $(PATHS)

$(MUTATION)/.installed: requirements/mutation.txt $(STAMP)
	@rm -rf $(MUTATION)
	@$(BIN)/uv pip install -q --python $(PY) --target $(MUTATION) --require-hashes -r requirements/mutation.txt
	@touch $@

.PHONY: clean
clean: ## Remove what builds left in this folder (caches outside it stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
