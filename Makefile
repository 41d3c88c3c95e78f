# `make` alone lists what there is. Everything that a fresh machine lacks is installed into .venv and ~/.cache/countersign.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# local: real etcd, kube-apiserver and kube-controller-manager as processes. kind: a cluster in Docker.
CLUSTER ?= local
export CLUSTER

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Called with PYTEST_ARGS='-k name -x' and the like.
PYTEST := $(PY) -m pytest $(PYTEST_ARGS)
# As many processes as cores; PYTEST_ARGS='-n 0' for one that a debugger can stop in.
UNIT := $(PY) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)
# The end-to-end suites' shares: with the attacks they are two rounds of three lanes, all of about the same length.
SHARES := e2e-1 e2e-2 e2e-3 e2e-4 e2e-5
EMPTY :=
# Those joined by + run three at a time: they mostly wait, each for a control plane of its own. Two kind clusters would be too much for two cores.
STAGES := lint types imports unit fuzz $(if $(filter kind,$(CLUSTER)),e2e jailbreak,$(subst $(EMPTY) $(EMPTY),+,$(SHARES) jailbreak))
# Seconds, for all targets together; `make test` fuzzes for TEST_SECONDS.
SECONDS ?= 60
TEST_SECONDS := 20
# Named by what they are not, so that no new suite is forgotten.
ON_A_CLUSTER := tests/e2e tests/jailbreak tests/docs/test_commands.py
CRDS := charts/countersign/crds
STATIC := charts/countersign/files/static-manifest.yaml

.PHONY: help venv generate schemas lint format types imports unit fuzz e2e $(SHARES) jailbreak conformance chaos test up down logs demo bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  up, down, e2e, jailbreak, test and demo take CLUSTER=local (the default) or CLUSTER=kind."

venv: $(STAMP) ## Python's packages, as locked, in .venv

$(STAMP): requirements-dev.lock pyproject.toml
	@python=$$(for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
		"$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$candidate" && break; \
	done); \
	if [ -z "$$python" ] && [ ! -x $(PY) ]; then \
		echo "No Python 3.11 or newer with its venv module is in the PATH. Install one: https://www.python.org/downloads/ (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; \
	fi; \
	[ -x $(PY) ] || { echo "Making $(VENV) with $$python (once, about a minute)"; "$$python" -m venv $(VENV); }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

generate: venv ## What is made from the models, from values.yaml and from the chart: CRDs, schema, pages, deploy/manifests
	$(PY) -m countersign.wire.crds $(CRDS)
	$(PY) -m countersign.wire.static $(STATIC)
	$(PY) -m tests.chart.reference
	$(PY) -m tests.docs.metrics
	$(PY) -m tests.chart.manifests

schemas: venv ## What each Kubernetes takes, from its own OpenAPI (needs Go and the network)
	$(PY) -m tests.chart.make_schemas

lint: venv ## Style, and that generated files are up to date
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m countersign.wire.crds $(CRDS) --check
	$(PY) -m countersign.wire.static $(STATIC) --check
	$(PY) -m tests.chart.reference --check
	$(PY) -m tests.chart.manifests --check

format: venv ## Puts the code into the one format
	$(PY) -m ruff format
	$(PY) -m ruff check --fix

types: venv ## mypy, strict
	$(PY) -m mypy
	$(PY) -m mypy tests

imports: venv ## Which layer may import which
	$(VENV)/bin/lint-imports

unit: venv ## Everything that needs no cluster
	$(UNIT) tests $(addprefix --ignore=,$(ON_A_CLUSTER))

fuzz: venv ## Chance against the core and the readers; SECONDS=60 for all of them
	$(PY) -m tests.fuzz --seconds $(if $(IN_TEST),$(TEST_SECONDS),$(SECONDS))

# A cluster of its own, so that the one you play with is left alone.
e2e: venv ## The main job and its edges, on a real cluster
	COUNTERSIGN_STATE=.cluster-e2e $(PYTEST) $(filter-out tests/jailbreak,$(ON_A_CLUSTER))

# A share of it, on a cluster of its own.
$(SHARES): e2e-%: venv
	COUNTERSIGN_STATE=.cluster-e2e-$* E2E_SHARE=$*/$(words $(SHARES)) $(PYTEST) $(filter-out tests/jailbreak,$(ON_A_CLUSTER))

# KUBECONFIG is passed on under another name: no other suite may ever touch the cluster that it names.
jailbreak: venv ## Each attack with and without its guard; KUBECONFIG=FILE: against your own cluster
	COUNTERSIGN_STATE=.cluster-jailbreak JAILBREAK_KUBECONFIG="$(KUBECONFIG)" $(PYTEST) -q tests/jailbreak

conformance: venv ## Kubernetes' own tests, with and without; CONFORMANCE='standard/Agents …' for some of it
	$(PY) -m tests.conformance $(CONFORMANCE)

chaos: venv ## What breaks costs agents a retry and people nothing: kind, 3 nodes; CHAOS='frozen drain' for some of it
	$(PY) -m tests.chaos $(CHAOS)

test: venv ## All stages of CI and a summary: lint types imports unit fuzz e2e jailbreak
	@IN_TEST=yes $(PY) -m tests.stages $(STAGES)

up: venv ## A cluster with Countersign, for you to play with
	@$(PY) -m tests.controlplane up

down: venv ## Ends it, and removes its state
	@$(PY) -m tests.controlplane down

logs: venv ## Brings .cluster/logs up to date and lists them
	@$(PY) -m tests.controlplane logs

demo: venv ## The story, played with kubectl and ssh-keygen
	@$(PY) -m tests.demo

bench: venv ## Decisions per second, latency, size
	@$(PY) -m tests.bench
