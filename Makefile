# `make` alone lists the targets. Needs GNU make 3.81 or newer, and bash.

SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
STORE ?= ./feature_store
TORCH ?= cpu
VENV_ARGS ?=

# Values reach the shell unchanged, through the environment, so that paths may contain quotes, spaces and dollar signs.
# Therefore commands below use "$$DATA" (the shell's variable), and conditions use $(DATA) (make's variable).
EXPORTED := PYTHON STORE TORCH VENV_ARGS RECIPE DATA NAME LOCK MOVE CONFIG EPOCHS SEED WORKERS SIZE PAGE DEVICE SLOW PYTEST_ARGS
$(foreach name,$(EXPORTED),$(eval override $(name) := $$(value $(name))))
export $(EXPORTED)

VENV := .venv
BIN := $(VENV)/bin
DEMO := data/demo/SSC/ssc_test.h5
comma := ,

# ./store was the default store in earlier versions; now it is a package of the code.
ifneq ($(wildcard store/features),)
$(info spikestore: ./store holds feature sets; the default is ./feature_store now: move the folders features, refs and partitions there)
endif

ifeq ($(filter $(TORCH),cpu cuda),)
$(error TORCH is '$(TORCH)': use cpu or cuda)
endif

.PHONY: help preprocess demo train exodus test faults bits lint docs wheels format bench bench-seed peers gpu clean distclean

help: ## list the targets (the default target)
	@echo "make TARGET [VARIABLE=value …]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  RECIPE=FILE       recipe to build (default: recipes/demo.toml)"
	@echo "  DATA=FOLDER       folder with the recordings (default: that of the recipe)"
	@echo "  NAME=NAME         name of the feature sets (default: the recipe's; a shipped recipe with DATA adds the folder's name)"
	@echo "  MOVE=1            move the name even if it refers to other recordings or another transform"
	@echo "  LOCK=FILE         lock of the recipe (default: next to your own recipe; none for a shipped recipe)"
	@echo "  STORE=URL         store of the feature sets (default: ./feature_store)"
	@echo "  CONFIG=FILE       training configuration (default: configs/demo.toml);  EPOCHS=N, SEED=N override it"
	@echo "  WORKERS=N         worker processes for preprocessing (default: one per core)"
	@echo "  SIZE=small|full   size of a benchmark;  PAGE=FOLDER (bench-seed), DEVICE=cpu|cuda (bench-seed, gpu)"
	@echo "  TORCH=cpu|cuda    build of torch to install if none is installed (default: cpu)"
	@echo "  PYTHON=COMMAND    Python 3.11 or newer for .venv (default: python3)"
	@echo "  VENV_ARGS=ARGS    arguments of python -m venv, e.g. --system-site-packages to use the machine's torch"
	@echo "  PYTEST_ARGS=ARGS  more arguments for pytest;  SLOW=1 also runs the slow tests"

# ---------------------------------------------------------------- set-up
# One stamp file per set of extras. If pyproject.toml or constraints.txt is newer than a stamp, make installs again.

$(VENV)/.stamp-venv:
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	    command -v "$$PYTHON" >/dev/null \
	        || { echo "spikestore: command '$$PYTHON' not found: install Python 3.11 or newer, or set PYTHON=…" >&2; exit 1; }; \
	    "$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        || { echo "spikestore: '$$PYTHON' is $$("$$PYTHON" -V 2>&1), but 3.11 or newer is needed: set PYTHON=…" >&2; exit 1; }; \
	    "$$PYTHON" -c 'import ensurepip, venv' 2>/dev/null \
	        || { echo "spikestore: '$$PYTHON' has no venv module: install it (Debian, Ubuntu: python3-venv)" >&2; exit 1; }; \
	    echo "creating $(VENV)" >&2; \
	    "$$PYTHON" -m venv $$VENV_ARGS $(VENV); \
	fi
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "spikestore: $(VENV) has $$($(BIN)/python -V), but 3.11 or newer is needed: run make distclean, then this command again" >&2; exit 1; }
	@touch $@

# $(call install,EXTRAS): keeps the version of an installed torch, even if constraints.txt names another one.
define install
@echo "installing spikestore[$(1)] into $(VENV)" >&2
@$(BIN)/python -c 'import importlib.metadata as m, pathlib, re; \
    have = [d.version for d in m.distributions(name="torch")][:1]; \
    text = pathlib.Path("constraints.txt").read_text(encoding="utf-8"); \
    text = re.sub(r"(?m)^torch==.*$$", "torch==" + have[0], text) if have else text; \
    pathlib.Path("$(VENV)/constraints.txt").write_text(text, encoding="utf-8")'
@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[$(1)]'
endef

$(VENV)/.stamp-pipeline: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(call install,pipeline)
	@touch $@

# Tonic is installed without its requirements (pyproject.toml says why); the extra `tonic` lists the packages that it imports.
$(VENV)/.stamp-dev: $(VENV)/.stamp-train pyproject.toml constraints.txt
	$(call install,pipeline$(comma)formats$(comma)report$(comma)tonic$(comma)train$(comma)dev)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt --no-deps \
	    tonic importRosbag
	@touch $@ $(VENV)/.stamp-pipeline

$(VENV)/.stamp-docs: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(call install,docs)
	@touch $@

# pip's indexes determine which build of torch it finds; TORCH=cuda checks that it is a CUDA build.
$(VENV)/.stamp-train: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' || { \
	    echo "installing torch ($(TORCH)) into $(VENV)" >&2; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch; }
	@test "$(TORCH)" = cpu || $(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' \
	    || { echo "spikestore: TORCH=cuda, but the torch in $(VENV) is a CPU build: install a CUDA build in $(VENV)" >&2; exit 1; }
	$(call install,train)
	@touch $@

# ---------------------------------------------------------------- the work

# Without RECIPE and DATA, the demo recipe runs; its recordings are generated, not downloaded.
export recipe := $(or $(RECIPE),$(if $(DATA),,recipes/demo.toml))
demo_data := $(if $(DATA),,$(if $(filter recipes/demo.toml ./recipes/demo.toml,$(recipe)),$(DEMO)))

preprocess: $(VENV)/.stamp-pipeline $(demo_data) ## turn recordings into feature sets in the store
	@$(BIN)/spikestore preprocess $(if $(DATA),--data "$$DATA") --store "$$STORE" $(if $(NAME),--name "$$NAME") $(if $(MOVE),--move) \
	    $(if $(LOCK),--lock "$$LOCK") $(if $(WORKERS),--workers "$$WORKERS") $(if $(recipe),-- "$$recipe")

demo: $(DEMO) ## create the demo recordings in data/demo (2,000 / 400 / 400)

$(DEMO): | $(VENV)/.stamp-pipeline
	@$(BIN)/spikestore demo-data data/demo

# The demo configuration needs the demo feature sets; another configuration names its own.
export config := $(or $(CONFIG),configs/demo.toml)

train: $(VENV)/.stamp-train $(if $(CONFIG),,preprocess) ## train the demo network on the demo feature sets
	@$(if $(SEED),run=$$(basename -- "$$config");) \
	$(BIN)/spikestore train --store "$$STORE" $(if $(EPOCHS),--epochs "$$EPOCHS") \
	    $(if $(SEED),--seed "$$SEED" --folder "runs/$${run%.*}-seed$$SEED") -- "$$config"

exodus: $(VENV)/.stamp-train ## build the backend exodus for the installed torch and CUDA, or report what is missing
	@$(BIN)/python -m spikestore.train.models.build_exodus

bench: $(VENV)/.stamp-dev ## run most benchmarks with small sizes, in some minutes; SIZE=full for the published numbers
	@$(BIN)/python -m benchmarks.preprocess --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.store --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.codecs --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.datasets --size "$${SIZE:-small}"
	@$(BIN)/python -m benchmarks.transforms --size "$${SIZE:-small}"
	@$(BIN)/python -m benchmarks.augmentation --size "$${SIZE:-small}"
	@$(BIN)/python -m benchmarks.loading --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.iaf --size "$${SIZE:-small}"
	@$(BIN)/python -m benchmarks.seed --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.accuracy --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.report --size "$${SIZE:-small}"

export page := $(or $(PAGE),runs/bench-seed)

bench-seed: $(VENV)/.stamp-dev ## run the seed experiment: every way of loading with every backend; results in runs/bench-seed
	@mkdir -p -- "$$page"
	@$(BIN)/python -m benchmarks.seed --size "$${SIZE:-full}" --device "$${DEVICE:-cpu}" \
	    $(if $(DATA),--data "$$DATA") --page "$$page" --json "$$page/seed.json"

peers: $(VENV)/.stamp-dev ## create the environments of the libraries that benchmarks compare with, in .peers
	@$(BIN)/python -m benchmarks.peers

# This target installs nothing, because a machine with a GPU may have no registry. It uses `.venv` if that exists.
gpu: ## run everything that needs a GPU, in at most 8 minutes (python3 -m benchmarks.gpu); DEVICE=cpu tries it without a GPU
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu --device $(or $(DEVICE),cuda)

# ---------------------------------------------------------------- checks

# The tests of the backend exodus use its own Python code, which is downloaded here: tests use no network.
$(VENV)/.stamp-exodus-source: $(VENV)/.stamp-dev tests/train/exodus_source.py
	@if $(BIN)/python tests/train/exodus_source.py $(VENV)/exodus-source; then touch $@; fi

# The GPU kernels run in Triton's interpreter. CUDA builds of torch include Triton. With a CPU build it takes a gigabyte, so it is
# installed for slow tests only. It is not in constraints.txt, because a CUDA build needs another version.
$(VENV)/.stamp-triton: $(VENV)/.stamp-dev
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("triton") is None)' \
	    || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps triton==3.9.0 \
	    || echo "Triton is not available for this machine: its tests are skipped" >&2
	@touch $@

test: $(VENV)/.stamp-dev $(VENV)/.stamp-exodus-source $(if $(SLOW),$(VENV)/.stamp-triton) ## run the fast tests that need no GPU
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(if $(SLOW),-m 'not gpu') $(PYTEST_ARGS)

# Random numbers from the clock, unless SEED says which: a failure is repeated with the seed that the first lines show.
export faults_seed := $(or $(SEED),$(shell date +%s))

faults: $(VENV)/.stamp-dev ## break stores, caches and recordings in many ways, for at most an hour; SEED=N repeats a run
	@echo "make faults SEED=$$faults_seed"
	@FAULTS=long FAULTS_SEED="$$faults_seed" timeout --signal=INT --kill-after=60 3600 $(BIN)/python -m pytest -n auto --maxprocesses 8 -m 'not gpu' \
	    tests/faults tests/scenarios/test_damage.py tests/scenarios/test_lifetimes.py tests/scenarios/test_crowd.py \
	    tests/scenarios/test_kill.py tests/store/test_build_crashes.py --hypothesis-seed="$$faults_seed" $(PYTEST_ARGS)

bits: $(VENV)/.stamp-dev ## run the tests that compare bits, on simulated processors, with one thread and with four
	@.ci/bits $(PYTEST_ARGS)

lint: $(VENV)/.stamp-dev ## check with ruff, mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.stamp-docs ## build the documentation as a site in build/site; warnings and broken links are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@$(BIN)/python -m tests.site.fetched build/site
	@echo "to read it: python3 -m http.server --bind 127.0.0.1 --directory build/site" >&2

wheels: $(VENV)/.stamp-dev ## install wheel and sdist with each extra into clean environments, on every installed Python from 3.11 on
	@$(BIN)/python -m tests.packaging.clean_installs

format: $(VENV)/.stamp-dev ## format the code and apply ruff's automatic fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove caches and builds; keep .venv, data and stores
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too; keep data and stores
	@rm -rf $(VENV)
