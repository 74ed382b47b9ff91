# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints/dev.txt

BIN := $(abspath $(VENV))/bin
WHEEL := $(abspath build/wheel)
# Twice quiet, so that only errors are printed.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint $(CONSTRAINTS)
HEADING = @printf '\n\033[1m== %s\033[0m\n'

.PHONY: help demo test lint types imports unit smoke docs clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo   install, embed examples/astronaut.mp4, show what came out'
	@echo 'make test   install with [dev], then lint, types, imports, unit, smoke, docs (each is a target too)'
	@echo 'make clean  remove everything that make made'
	@echo
	@echo 'PYTHON=python3.12, VENV=build/venv312 and CONSTRAINTS=constraints/oldest.txt choose what it runs on.'

$(VENV)/.created:
	$(HEADING) 'virtual environment in $(VENV)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml $(CONSTRAINTS)
	$(HEADING) 'install with $(CONSTRAINTS) (the first time, this takes minutes)'
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(HEADING) 'install [dev]'
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py

# Old releases carry other type hints, or none: mypy is for the pins of dev.txt.
test: lint $(if $(filter %oldest.txt,$(CONSTRAINTS)),,types) imports unit smoke docs
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

# In the order of collection: golden and integration first, whose files take longest, though they hold few tests.
unit: $(VENV)/.installed-dev
	$(HEADING) 'pytest'
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --quiet --numprocesses auto \
	    --dist loadfile --no-loadscope-reorder

# The wheel lies in a folder of its own, and the tests run from another, so that the source tree cannot be imported.
smoke: $(VENV)/.installed-dev
	$(HEADING) 'wheel'
	@rm -rf $(WHEEL) build/dist && mkdir -p build
	$(BIN)/python -m build --wheel --no-isolation --outdir build/dist . > build/wheel.log 2>&1 || (cat build/wheel.log; exit 1)
	$(PIP) --no-deps --target $(WHEEL) build/dist/*.whl
	cd build && PYTHONPATH=$(WHEEL) $(BIN)/pytest --quiet -c ../pyproject.toml --rootdir .. \
	    -p no:cacheprovider ../tests/smoke

# No --quiet: it hides the warnings from --strict too, and the build is green whatever is wrong.
docs: $(VENV)/.installed-dev
	$(HEADING) 'docs'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

clean:
	rm -rf $(VENV) build site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
