# `make serve` and `make test` are all that a user needs; `make help` lists the rest.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
export BENTOML_DO_NOT_TRACK := True

# On a host with an NVIDIA driver the CUDA libraries come along, some 2 GB of them.
SERVE := serve$(if $(shell nvidia-smi -L 2>/dev/null),-cuda)

.PHONY: help serve models test check format lock clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: models ## install what is missing, and serve on PORT (3000)
	@.venv/bin/facebento serve --host $(HOST) --port $(PORT)

models: .venv/$(SERVE) ## pull the starter models, unless they are there
	@.venv/bin/facebento models pull

test: .venv/dev models ## all tests that this machine can run
	@.venv/bin/pytest

check: .venv/dev ## linters, types, and whether the packages fit together
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pip check

format: .venv/dev ## rewrite the code as the linters want it
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

# Four files from one resolution: what the service needs, the same with CUDA, what pulling models needs, what developing
# needs. Hashes, and no address of an index. Constraints make the four agree.
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate pyproject.toml
lock: .venv/dev ## resolve the dependencies afresh
	@mkdir -p build
	$(COMPILE) --upgrade --all-extras --group dev --no-build --output-file build/all.txt
	sed 's/ \\$$//; /--hash/d' build/all.txt > build/constraints.txt
	$(COMPILE) --constraints build/constraints.txt --output-file requirements/serve.txt
	$(COMPILE) --constraints build/constraints.txt --extra cuda --output-file requirements/serve-cuda.txt
	$(COMPILE) --constraints build/constraints.txt --extra models --output-file requirements/pull.txt
	$(COMPILE) --constraints build/constraints.txt --extra models --group dev --output-file requirements/dev.txt

clean: ## remove what was installed and built; models and .env stay
	rm -rf .venv build

INSTALL := .venv/bin/pip install --disable-pip-version-check
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/$(SERVE): requirements/$(SERVE).txt requirements/pull.txt pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --require-hashes -r requirements/pull.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements/dev.txt .venv/$(SERVE)
	$(INSTALL) --require-hashes -r $<
	@touch $@
