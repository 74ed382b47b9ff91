# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints/dev.txt

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
WHEEL := build/wheel
HEADING = @printf '\n\033[1m== %s\033[0m\n'

.PHONY: help demo test lint types imports unit smoke docs clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo   install, embed examples/astronaut.mp4, show what came out'
	@echo 'make test   install with [dev], then lint, types, imports, unit, smoke, docs'
	@echo 'make clean  remove everything that make made'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(HEADING) 'install'
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(HEADING) 'install [dev]'
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py

test: lint types imports unit smoke docs
	$(HEADING) 'all green'

lint: $(VENV)/.installed-dev
	$(HEADING) 'ruff'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(HEADING) 'mypy --strict'
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(HEADING) 'import-linter'
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev
	$(HEADING) 'pytest'
	$(BIN)/python -m pytest --quiet

# The wheel lies in a folder of its own, and the tests run from another, so that the source tree cannot be imported.
smoke: $(VENV)/.installed-dev
	$(HEADING) 'wheel'
	rm -rf $(WHEEL) build/dist
	$(BIN)/python -m build --wheel --no-isolation --outdir build/dist . > build.log || (cat build.log; exit 1)
	@rm -f build.log
	$(PIP) --no-deps --target $(WHEEL) build/dist/*.whl
	cd build && PYTHONPATH=wheel ../$(BIN)/python -P -m pytest --quiet -c ../pyproject.toml --rootdir .. \
	    -p no:cacheprovider ../tests/smoke

docs: $(VENV)/.installed-dev
	$(HEADING) 'docs'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

clean:
	rm -rf $(VENV) build site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
