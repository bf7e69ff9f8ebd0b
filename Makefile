# Everything one word each: `make` alone lists the words. GNU make 3.81 or newer, and bash.

SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
STORE ?= ./feature_store
TORCH ?= cpu
VENV_ARGS ?=

# Values reach the shell through the environment, letter by letter: no quote, space or dollar sign in a path breaks a line.
# So recipes below say "$$DATA" where the value goes to a command, and conditions of make say $(DATA).
SAID := PYTHON STORE TORCH VENV_ARGS RECIPE DATA NAME LOCK MOVE CONFIG EPOCHS SEED WORKERS SIZE PAGE DEVICE SLOW PYTEST_ARGS
$(foreach name,$(SAID),$(eval override $(name) := $$(value $(name))))
export $(SAID)

VENV := .venv
BIN := $(VENV)/bin
DEMO := data/demo/SSC/ssc_test.h5
comma := ,

# ./store was the default once; now it is a package of the code.
ifneq ($(wildcard store/features),)
$(info spikestore: ./store holds feature sets; the default is ./feature_store now: move its folders features, refs and partitions there)
endif

ifeq ($(filter $(TORCH),cpu cuda),)
$(error TORCH is '$(TORCH)': it can be cpu or cuda)
endif

.PHONY: help preprocess demo train exodus test bits lint format bench bench-seed peers gpu clean distclean

help: ## list the targets (this is what `make` alone does)
	@echo "make TARGET [VARIABLE=value …]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  RECIPE=FILE       what to build (default: recipes/demo.toml)"
	@echo "  DATA=FOLDER       where the raw recordings are (default: what the recipe says)"
	@echo "  NAME=NAME         what to call the feature sets (default: the recipe's name, and DATA's with a shipped recipe)"
	@echo "  MOVE=1            move the name even if it stands for other recordings or another transform"
	@echo "  LOCK=FILE         where the recipe's lock is (default: beside your own recipe, nowhere for a shipped one)"
	@echo "  STORE=URL         where feature sets go (default: ./feature_store)"
	@echo "  CONFIG=FILE       what to train (default: configs/demo.toml); EPOCHS=N, SEED=N"
	@echo "  WORKERS=N         processes that preprocess (default: one per core)"
	@echo "  SIZE=small|full   how much to measure;  PAGE=FOLDER, DEVICE=cpu|cuda: of bench-seed and gpu"
	@echo "  TORCH=cpu|cuda    which torch to install where one is needed and none is there (default: cpu)"
	@echo "  PYTHON=COMMAND    the Python 3.11+ that .venv is made with (default: python3)"
	@echo "  VENV_ARGS=ARGS    e.g. --system-site-packages, to use the machine's torch"
	@echo "  PYTEST_ARGS=ARGS  more arguments for pytest;  SLOW=1 runs the slow tests too"

# ---------------------------------------------------------------- set-up
# One stamp per set of extras. A stamp is newer than pyproject.toml and constraints.txt, or make installs again.

$(VENV)/.stamp-venv:
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	    command -v "$$PYTHON" >/dev/null \
	        || { echo "spikestore: no '$$PYTHON' here: install Python 3.11 or newer, or say PYTHON=…" >&2; exit 1; }; \
	    "$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        || { echo "spikestore: '$$PYTHON' is $$("$$PYTHON" -V 2>&1), 3.11 or newer is needed: say PYTHON=…" >&2; exit 1; }; \
	    "$$PYTHON" -c 'import ensurepip, venv' 2>/dev/null \
	        || { echo "spikestore: '$$PYTHON' has no venv module: install it (Debian, Ubuntu: python3-venv)" >&2; exit 1; }; \
	    echo "making $(VENV)" >&2; \
	    "$$PYTHON" -m venv $$VENV_ARGS $(VENV); \
	fi
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "spikestore: $(VENV) has $$($(BIN)/python -V), 3.11 or newer is needed: make distclean" >&2; exit 1; }
	@touch $@

# $(call install,EXTRAS): a torch that is already there is held at its version, whatever constraints.txt says.
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

# Tonic goes in without what it requires (pyproject.toml says why); the extra `tonic` has what it imports.
$(VENV)/.stamp-dev: $(VENV)/.stamp-train pyproject.toml constraints.txt
	$(call install,pipeline$(comma)tonic$(comma)train$(comma)dev)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt --no-deps \
	    tonic importRosbag
	@touch $@ $(VENV)/.stamp-pipeline

# Which build of torch pip finds depends on the indexes it is set up with; TORCH=cuda insists on what it means.
$(VENV)/.stamp-train: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' || { \
	    echo "installing torch ($(TORCH)) into $(VENV)" >&2; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch; }
	@test "$(TORCH)" = cpu || $(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' \
	    || { echo "spikestore: TORCH=cuda, but the torch in $(VENV) is a CPU build: install a CUDA build there" >&2; exit 1; }
	$(call install,train)
	@touch $@

# ---------------------------------------------------------------- the work

# The demo recipe is what runs when nothing is said; its recordings are made, not downloaded.
export recipe := $(or $(RECIPE),$(if $(DATA),,recipes/demo.toml))
demo_data := $(if $(DATA),,$(if $(filter recipes/demo.toml ./recipes/demo.toml,$(recipe)),$(DEMO)))

preprocess: $(VENV)/.stamp-pipeline $(demo_data) ## raw events in, a committed feature set in the store out
	@$(BIN)/spikestore preprocess $(if $(DATA),--data "$$DATA") --store "$$STORE" $(if $(NAME),--name "$$NAME") $(if $(MOVE),--move) \
	    $(if $(LOCK),--lock "$$LOCK") $(if $(WORKERS),--workers "$$WORKERS") $(if $(recipe),-- "$$recipe")

demo: $(DEMO) ## make the demo recordings in data/demo (2,000 / 400 / 400)

$(DEMO): | $(VENV)/.stamp-pipeline
	@$(BIN)/spikestore demo-data data/demo

# The demo network wants the demo feature sets; another configuration says itself what it needs.
export config := $(or $(CONFIG),configs/demo.toml)

train: $(VENV)/.stamp-train $(if $(CONFIG),,preprocess) ## train the seed's network on the demo feature sets
	@$(if $(SEED),run=$$(basename -- "$$config");) \
	$(BIN)/spikestore train --store "$$STORE" $(if $(EPOCHS),--epochs "$$EPOCHS") \
	    $(if $(SEED),--seed "$$SEED" --folder "runs/$${run%.*}-seed$$SEED") -- "$$config"

exodus: $(VENV)/.stamp-train ## build the backend exodus against the installed torch and CUDA, or say what is missing
	@$(BIN)/python -m spikestore.train.models.build_exodus

bench: $(VENV)/.stamp-dev ## run all benchmarks, small: some minutes; SIZE=full for the real numbers
	@$(BIN)/python -m benchmarks.preprocess --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.store --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.codecs --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.loading --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.iaf --size "$${SIZE:-small}"
	@$(BIN)/python -m benchmarks.seed --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")
	@$(BIN)/python -m benchmarks.accuracy --size "$${SIZE:-small}" $(if $(DATA),--data "$$DATA")

export page := $(or $(PAGE),runs/bench-seed)

bench-seed: $(VENV)/.stamp-dev ## the seed's experiment, whole: every way of loading with every backend, in runs/bench-seed
	@mkdir -p -- "$$page"
	@$(BIN)/python -m benchmarks.seed --size "$${SIZE:-full}" --device "$${DEVICE:-cpu}" \
	    $(if $(DATA),--data "$$DATA") --page "$$page" --json "$$page/seed.json"

peers: $(VENV)/.stamp-dev ## make the environments of peers that benchmarks compare with, in .peers
	@$(BIN)/python -m benchmarks.peers

# Nothing is installed here: a borrowed GPU has no registry, perhaps. `.venv` is used if it is there.
gpu: ## everything that needs a GPU, in 8 minutes: python3 -m benchmarks.gpu; DEVICE=cpu tries it without one
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu --device $(or $(DEVICE),cuda)

# ---------------------------------------------------------------- checks

# The backend exodus is tested on its own Python code, which is fetched here: tests use no network.
$(VENV)/.stamp-exodus-source: $(VENV)/.stamp-dev tests/train/exodus_source.py
	@if $(BIN)/python tests/train/exodus_source.py $(VENV)/exodus-source; then touch $@; fi

# The GPU's kernels run in Triton's interpreter. CUDA builds of torch bring their own Triton; here it is a gigabyte, which
# only slow tests are worth. Not in constraints.txt: with a CUDA build it would be the wrong one.
$(VENV)/.stamp-triton: $(VENV)/.stamp-dev
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("triton") is None)' \
	    || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps triton==3.9.0 \
	    || echo "no Triton for this machine: its tests are skipped" >&2
	@touch $@

test: $(VENV)/.stamp-dev $(VENV)/.stamp-exodus-source $(if $(SLOW),$(VENV)/.stamp-triton) ## run the tests that need neither a GPU nor much time
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(if $(SLOW),-m 'not gpu') $(PYTEST_ARGS)

bits: $(VENV)/.stamp-dev ## run the tests that compare bits, on simulated processors, with one thread and four
	@.ci/bits $(PYTEST_ARGS)

lint: $(VENV)/.stamp-dev ## ruff, mypy, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.stamp-dev ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove caches and builds; leaves .venv, data and stores
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too; data and stores stay
	@rm -rf $(VENV)
