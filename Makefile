# `make demo` runs the loop on the micro-world; `make test` passes the tests. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch's own version comes first and alone: left open, pip would fetch the CUDA build of the newest one.
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test test-slow setup lint clean

setup: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/gaptutor demo $(if $(FRESH),--if-exists delete)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A worker a core, with one thread each; what the workers share is made once.
SIDE_BY_SIDE := -n logical --maxprocesses 4

test: lint
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

# Slow, served and browser tests; those whose part is missing on the machine say why they are skipped.
test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m 'slow or served or browser' -o timeout=2400 -rs $(SIDE_BY_SIDE) $(ARGS)

clean:
	rm -rf $(VENV) .venv-vllm build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
