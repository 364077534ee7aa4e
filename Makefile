# Every entry point of the project; `make help` lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
PY := .venv/bin/python
# Container images often set it. Without byte code every process of the tests would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Integration tests wait more than they compute; all jobs share one RocketMQ (about 1 GiB).
JOBS ?= 5
# With a RocketMQ of your choice (ROCKETMQ=5.5.1), what depends on its version: the broker client.
TESTS ?= $(if $(ROCKETMQ),$(wildcard tests/integration/broker/test_*.py),tests/integration)
# The slowest tests of a tier, shown after it.
SLOWEST := --durations=12 --durations-min=2

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: venv
venv: ## the Python environment in .venv
	@scripts/bootstrap

.PHONY: try
try: venv ## the idea in one minute, without a cluster: a spoken conversation survives kill -9 of its gateway
	@scripts/install-dev
	@$(PY) -m litevoice_dev try

.PHONY: command
command: venv ## the `litevoice` command as a single file: dist/litevoice
	@$(PY) -m litevoice_dev.single_file dist/litevoice

.PHONY: walk
walk: venv ## from a caller who hears nothing to the cause: plants faults, asks `litevoice`, prints what it got right
	@scripts/install-dev
	@$(PY) -m litevoice_dev walk $(ARGS)

.PHONY: demo
demo: venv ## a real cluster, a real broker, a spoken conversation that survives the death of its pod
	@$(PY) -m e2e.demo

.PHONY: demo-down
demo-down: ## remove everything that `make demo` made
	@e2e/cluster/down

.PHONY: dev
dev: venv ## gateway and worker as plain processes beside a local RocketMQ
	@scripts/install-dev
	@$(PY) -m litevoice_dev up

.PHONY: dev-down
dev-down: venv ## stop what `make dev` started
	@$(PY) -m litevoice_dev down

.PHONY: check
check: venv ## format, lint, types, import rules, generated files
	@scripts/tier check scripts/check

.PHONY: unit
unit: venv ## unit tests: no sockets, virtual time; coverage of the state machines
	@scripts/install-helm >/dev/null
	@scripts/tier unit $(PY) -m pytest tests -m unit -n 2 -p tests.core_coverage -q -o asyncio_debug=true $(SLOWEST)

.PHONY: integration
integration: venv ## tests against a real RocketMQ and a real API server
	@scripts/install-dev
	@scripts/tier integration $(PY) -m pytest $(TESTS) -m integration -n $(JOBS) --dist loadfile --no-loadscope-reorder $(SLOWEST)

.PHONY: e2e
e2e: venv ## tests on a real Kubernetes cluster
	@scripts/tier e2e scripts/e2e $(SLOWEST)

.PHONY: test
test: check unit simulate-brief integration chaos-brief e2e fleet-brief ## everything
	@scripts/tier --report

TIMES ?= 5
.PHONY: properties
properties: venv ## property tests with examples that are new each time: TIMES=5; exits 1 at the first that fails
	@for _ in $$(seq $(TIMES)); do $(PY) -m pytest tests -m "unit and hypothesis" -n 2 -q --hypothesis-profile=random || exit 1; done

SEEDS ?= 500
.PHONY: simulate
simulate: venv ## the whole path in virtual time over a model broker: SEEDS=500 stories of faults; exits 1 when one fails
	@nice $(PY) -m tests.simulation --seeds $(SEEDS) --jobs 2 --shrink

.PHONY: simulate-brief
simulate-brief: venv ## the first 500 of these stories; part of `make test`
	@scripts/tier simulate-brief $(PY) -m tests.simulation --seeds 500 --jobs 2 --shrink

.PHONY: fleet
fleet: venv ## a fleet is scaled, rolled, drained and struck on a real cluster while 150 call: ARGS="--sessions 40 --only scale"
	@$(PY) -m e2e.fleet $(ARGS)

.PHONY: fleet-brief
fleet-brief: venv ## the same in four minutes, with 16 callers; part of `make test`
	@scripts/tier fleet-brief $(PY) -m e2e.fleet --brief

# Between the tiers and not beside others: its callers speak in real time.
.PHONY: chaos-brief
chaos-brief: venv ## each kind of fault once, in two minutes; part of `make test`
	@scripts/install-dev
	@scripts/tier chaos-brief $(PY) -m litevoice_dev chaos --minutes 1.9 --sessions 6 --speaking 2 --churn 0.5 --brokers 1 --seed 1

.PHONY: chaos
chaos: venv ## calls while everything fails, checked packet by packet: MINUTES=30, ARGS="--sessions 40 --seed 7 --only worker-kill"
	@scripts/install-dev
	@$(PY) -m litevoice_dev chaos --minutes $(MINUTES) $(ARGS)

.PHONY: clients
clients: venv ## six unchanged client libraries hold the same conversation; writes docs/clients.json and its table: ARGS="--only livekit"
	@scripts/install-dev
	@$(PY) -m litevoice_dev clients $(ARGS)

# How large: open microphones, and how long they are measured; sessions that come back at once.
bench-storm: SESSIONS ?= 10000
bench-outage: SESSIONS ?= 40
SESSIONS ?= 200
PART ?= broker
MINUTES ?= 30
SECONDS ?= 120

.PHONY: bench-path
bench-path: venv ## measure the whole path: SESSIONS=200 open microphones, SECONDS=120; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.path --sessions $(SESSIONS) --seconds $(SECONDS)

.PHONY: bench-gateway
bench-gateway: venv ## measure a gateway alone, beside gateways in Rust, Go and Python; exits 1 when a bar is missed
	@$(PY) -m bench.gateway

.PHONY: bench-broker
bench-broker: venv ## measure our producer beside the official Python client, on a real RocketMQ
	@scripts/install-dev
	@$(PY) -m bench.broker

.PHONY: bench-worker
bench-worker: venv ## measure a worker alone, up to the end of voice activity detection; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.worker

.PHONY: bench-overload
bench-overload: venv ## three times the load that the stack holds, for 60 s, then half; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.overload

.PHONY: bench-growth
bench-growth: venv ## measure what a session costs when there are 100, 1,000, 10,000; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.growth

.PHONY: bench-storm
bench-storm: venv ## measure how SESSIONS=10000 sessions come back after kill -9 of their gateway; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.storm --sessions $(SESSIONS)

.PHONY: bench-outage
bench-outage: venv ## measure how SESSIONS=40 go on after kill -9 of PART=broker|proxy; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.outage --sessions $(SESSIONS) --part $(PART)

.PHONY: bench-operator
bench-operator: venv ## measure the operator with 10, 100, 1,000 pods on a real API server; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.operator $(ARGS)

TOPICS ?= 100000
.PHONY: bench-alerts
bench-alerts: venv ## measure how soon alerts tell of faults, and what looking costs: TOPICS=100000; exits 1 when a bar is missed
	@scripts/install-dev
	@$(PY) -m bench.alerts --topics $(TOPICS) $(ARGS)

.PHONY: bench-programs
bench-programs: ## format, lint and test the programs in Rust and Go that the measurements use
	@scripts/check-bench

.PHONY: format
format: venv ## format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

.PHONY: crds
crds: venv ## write crds/ from the pydantic models
	@$(PY) -m litevoice_operator.crdgen

.PHONY: reference
reference: venv ## write docs/reference from CRDs, settings, chart, metrics and protocol events; docs/sizing.md's tables
	@$(PY) -m litevoice_dev.reference
	@$(PY) -m bench.sizing --write

.PHONY: lock
lock: ## resolve the dependencies anew into locks/
	@scripts/bootstrap && scripts/lock
