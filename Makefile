# `make demo` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test notebooks lint format docs bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e '.[cpu]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install -q -c constraints.txt -e '.[cpu,jax,dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/roadseg demo $(if $(OUT),--out $(OUT)) $(if $(MINUTES),--minutes $(MINUTES))

# The whole suite on TensorFlow, the small battery again on JAX, and on PyTorch where it is installed.
test: $(VENV)/installed-dev lint
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n 2 --dist loadfile
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m battery
	if $(BIN)/python -c 'import torch' 2>/dev/null; then KERAS_BACKEND=torch $(BIN)/python -m pytest -m battery; \
	else echo 'PyTorch is not installed here: its battery is not run'; fi

# As they are, about five minutes; `make test` runs them with tiny settings.
notebooks: $(VENV)/installed-dev
	ROADSEG_NOTEBOOKS=full $(BIN)/python -m pytest tests/test_notebooks.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pages that are made: the reference of the configuration of the code, the results of the kept figures.
docs: $(VENV)/installed
	$(BIN)/python -m roadseg.reports.reference docs/configuration.md
	$(BIN)/python -m roadseg.reports.results docs/results docs/results.md README.md

# Speeds on this machine: make bench [CIL=path/to/cil] [PEERS=path/to/peers] [RESULTS=DIR]; hours with both, and PyTorch
# in .venv for the peers. Pieces of time_to_learn that RESULTS holds already are not done again.
RESULTS ?= build/bench
PROGRAM = export ROADSEG_PEERS='$(PEERS)'; $(BIN)/python benchmarks
bench: SHELL = /bin/bash
bench: .SHELLFLAGS = -o pipefail -c
bench: $(VENV)/installed-dev
	mkdir -p $(RESULTS)
	$(BIN)/roadseg bench all --json | tee $(RESULTS)/bench.jsonl
	$(PROGRAM)/normalization.py | tee $(RESULTS)/normalization.txt
	$(PROGRAM)/perturb.py | tee $(RESULTS)/perturb.txt
	$(PROGRAM)/startup.py | tee $(RESULTS)/startup.jsonl
	$(if $(PEERS),$(PROGRAM)/step.py | tee $(RESULTS)/step.jsonl,@echo 'step.py is not run: give PEERS=path/to/peers')
	$(if $(CIL),$(PROGRAM)/memory.py '$(CIL)' | tee $(RESULTS)/memory.jsonl,@echo 'memory.py is not run: give CIL=path/to/cil')
	$(if $(and $(CIL),$(PEERS)),$(PROGRAM)/time_to_learn.py '$(CIL)' --out $(RESULTS)/time_to_learn_pieces.jsonl --share 0.4 1.0 | tee $(RESULTS)/time_to_learn.jsonl,@echo 'time_to_learn.py is not run: give CIL and PEERS')
	$(if $(and $(CIL),$(PEERS)),$(PROGRAM)/side_by_side.py classic '$(CIL)' | tee $(RESULTS)/classic.jsonl,@echo 'side_by_side.py is not run: give CIL and PEERS')
	@echo 'results -> $(RESULTS)'

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
