# Each target does its own set-up, on a fresh machine with Python 3.11 or newer:
#   make demo    install what the simulator needs and fly the built-in mission
#   make test    install the development tools and run the tests
#   make lint    formatting, lint, types, import arrows
#   make bench   benchmarks, quick form
#   make docs    the documentation as a site, in build/site/
#   make coverage  lines and branches of what flies that the tests reach, in every process that they start
#   make encoder  trains the encoder that comes with swath anew, into build/encoder/
#   make campaign  a few hundred missions with faults

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN = $(VENV)/bin
# Some processors have these set for old OpenBLAS builds; a stray value would change the speed, never the result.
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: demo test lint format bench docs coverage campaign encoder clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.sim
	$(BIN)/swath-sim run --out runs/demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks all --quick

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

coverage: $(VENV)/.dev
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n auto --dist worksteal; tests=$$?; \
	$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report && exit $$tests

campaign: $(VENV)/.dev
	$(BIN)/swath-sim campaign --missions 200 --jobs 2

# On synthetic chips only. Copy released.tflite and released.onnx to ground/encoders/released/ to release them.
ENCODER = build/encoder
encoder: $(VENV)/.encoders
	@mkdir -p $(ENCODER)
	for seed in 101 102 103 104; do \
	  $(BIN)/swath-sim world export --chips 1000 --seed $$seed -o $(ENCODER)/world$$seed.npz || exit 1; done
	$(BIN)/swath-ground encoder pretrain $(ENCODER)/world10[1-4].npz --split all -o $(ENCODER)/released.safetensors \
	  --architecture small --epochs 750 --crop 32 --near 16 --light 0.2
	$(BIN)/swath-ground encoder freeze $(ENCODER)/released.safetensors $(ENCODER)/world10[1-4].npz --split all \
	  -o $(ENCODER)/released.npz --name swath-small --bands red,green,blue
	for form in tflite onnx; do $(BIN)/swath-ground encoder export $(ENCODER)/released.npz --format $$form \
	  $(foreach seed,101 102 103 104,--calibration $(ENCODER)/world$(seed).npz) -o $(ENCODER)/released.$$form || exit 1; done

$(VENV)/.venv:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "swath needs Python 3.11 or newer, and found none on the PATH (python3 is $$(python3 --version 2>&1))."; \
	  echo "Install one (Debian: apt install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.12 demo"; \
	  exit 1; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.sim: $(VENV)/.venv pyproject.toml
	@echo "Installing swath and what the simulator needs (about 145 MB to download, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[sim]'
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml
	@echo "Installing swath and its development tools (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.sim

$(VENV)/.encoders: $(VENV)/.dev
	@echo "Installing what training encoders needs (once); torch for a GPU is large"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[encoders]'
	@touch $@

$(VENV)/.docs: $(VENV)/.venv pyproject.toml
	@echo "Installing what the documentation's site needs (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info
