# Two commands for a newcomer: `make demo` and `make test`. Both make .venv themselves, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
INSTALLED := $(VENV)/.installed
# a user who has switched bytecode off would compile torch and its friends anew at each start: 15 s
unexport PYTHONDONTWRITEBYTECODE
# uv fetches in parallel: half the time; pip where uv is not allowed or its index not reached
# --no-compile: Python compiles the third of the files that is imported, a minute less than all of them
# a dot every two seconds, since both are silent for minutes
installing = ($(BIN)/python -m pip install --quiet uv \
	&& $(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$(1)]' \
	|| $(BIN)/python -m pip install --quiet --no-compile --editable '.[$(1)]') & work=$$!; \
	while kill -0 $$work 2>/dev/null; do printf .; sleep 2; done; echo; wait $$work

.DEFAULT_GOAL := help
.PHONY: help install demo test lint unit minimum docs clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

install: $(INSTALLED)  ## make .venv with everything that tests and demo need

# torch, torchvision and timm are resolved in one go with the rest, so that their versions fit
$(INSTALLED): pyproject.toml
	@echo "Installing into $(VENV), once: the package, what its demo needs, the tools of the tests. Minutes."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(call installing,test)
	@touch $@

$(DEMO): pyproject.toml
	@echo "Installing into $(VENV), once: PyTorch, Lightning, timm, transformers. A few GB, some minutes."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(call installing,demo)
	@touch $@

# the tests' environment has all of the demo's
demo: $(or $(wildcard $(INSTALLED)),$(DEMO))  ## pretrained models in a simulated brain space: runs/demo/report.html
	@echo "$(BIN)/nfas demo: five minutes on two cores; $(BIN)/nfas demo --quick: one."
	@$(BIN)/nfas demo

test: lint unit  ## everything that has to pass: lint, then unit

lint: $(INSTALLED)  ## style, spelling, types, import direction, workflow files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.readthedocs .readthedocs.yaml

unit: $(INSTALLED)  ## the tests and the examples in docstrings
	$(BIN)/python -m pytest -n 2 --dist worksteal

minimum:  ## the tests on the lowest versions that pyproject.toml allows, in .venv-minimum
	$(PYTHON) -m venv .venv-minimum
	.venv-minimum/bin/python -m pip install --quiet uv
	.venv-minimum/bin/uv pip install --quiet --python .venv-minimum --resolution lowest-direct --editable '.[test]'
	.venv-minimum/bin/python -m pytest -n 2 --dist worksteal

docs: $(INSTALLED)  ## the documentation site: build/docs/index.html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -q -W -E -a -b html docs build/docs

clean:  ## remove what make install and the tests leave behind
	rm -rf $(VENV) .venv-minimum build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
