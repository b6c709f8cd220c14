# `make serve` and `make test` are all that a user needs; `make help` lists the rest.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
export BENTOML_DO_NOT_TRACK := True

# On a host with an NVIDIA driver the CUDA libraries come along, some 2 GB of them.
SERVE := serve$(if $(shell nvidia-smi -L 2>/dev/null),-cuda)

# The bento's version: the release and the commit, with -dirty behind it where files differ from the commit or are new.
COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git status --porcelain 2>/dev/null | sed 's/.*/-dirty/;q')
VERSION = $(shell .venv/bin/python -c 'import api; print(api.__version__)')-$(COMMIT)

# With CUDA or, VARIANT=cpu, without.
VARIANT ?= cuda
IMAGE ?= facebento
BACKEND ?= docker

.PHONY: help serve models test test-browser test-image fuzz stress soak bench docs docs-serve check audit format lock bento image clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: models ## install what is missing, and serve on PORT (3000)
	@.venv/bin/facebento serve --host $(HOST) --port $(PORT)

models: .venv/$(SERVE) ## pull the starter models, unless they are there
	@.venv/bin/facebento models pull

# Three processes, for two cores: one of them mostly waits for servers.
test: .venv/dev models ## all tests that this machine can run
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest --numprocesses 3

test-browser: .venv/dev models ## the page, /docs and the docs in a real browser; needs chromium and chromedriver
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest -m browser

test-image: export VARIANT = cpu
test-image: .venv/dev models ## build and run the real image; needs podman, buildah and root
	@.venv/bin/pytest -m image

# How long for each of the three.
SECONDS ?= 300
fuzz: .venv/dev models ## fuzz images, features and bodies for SECONDS (300) each, then try many made-up requests
	@for each in image feature bodies; do .venv/bin/python -m tests.fuzz.fuzz_$$each --seconds $(SECONDS) || exit 1; done
	@.venv/bin/pytest --hypothesis-profile many tests/api tests/faces tests/e2e/test_openapi.py

stress: .venv/dev models ## bad inputs, overload and faults, with figures; a quarter of an hour
	@mkdir -p build
	@status=0; for name in bad_inputs overload faults; do \
		.venv/bin/python -m bench.$$name --json build/stress-$$name.json || status=1; done; exit $$status

MINUTES ?= 30
soak: .venv/dev models ## mixed good and bad requests for MINUTES (30): does memory stay where it was?
	@.venv/bin/python -m bench.soak --minutes $(MINUTES)

bench: .venv/dev models ## speed against what this machine could do, into build/bench; needs wrk; a quarter of an hour
	@.venv/bin/python -m bench.speed --output build/bench $(OPTIONS)

docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: .venv/dev ## the documentation as a site that needs no network, into build/site
	@.venv/bin/mkdocs build --strict
	@echo "Open build/site/index.html"

docs-serve: .venv/dev ## the same on port 8001, made anew whenever a page is saved
	@.venv/bin/mkdocs serve --strict --dev-addr 127.0.0.1:8001

check: .venv/dev ## linters, types, and whether the packages fit together
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pip check

audit: .venv/dev ## ask PyPI for known vulnerabilities of the locked packages; needs internet
	@for each in serve serve-cuda pull dev; do \
		.venv/bin/uv tool run pip-audit --disable-pip --require-hashes -r requirements/$$each.txt || exit 1; done

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

bento: models ## the versioned bento; ALLOW=missing,altered,unlicensed lets it take in what it would refuse
	@.venv/bin/bentoml delete --yes facebento:$(VERSION) >/dev/null 2>&1 || true
	@.venv/bin/bentoml build --version $(VERSION) $(if $(ALLOW),--arg allow=$(ALLOW))

image: bento ## the bento's image, IMAGE:VERSION, by BACKEND docker or podman; VARIANT=cpu leaves out CUDA
	.venv/bin/bentoml containerize facebento:$(VERSION) --backend $(BACKEND) $(OPTIONS) \
		--image-tag $(IMAGE):$(VERSION)$(if $(filter cpu,$(VARIANT)),-cpu) --opt build-arg=VARIANT=$(VARIANT) \
		--opt build-arg=VERSION=$(VERSION) --opt build-arg=REVISION=$(COMMIT)

clean: ## remove what was installed and built; models and .env stay
	rm -rf .venv build

INSTALL := .venv/bin/pip install --disable-pip-version-check
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

# What pulls models holds all that serves, but for the CUDA libraries.
.venv/$(SERVE): requirements/$(SERVE).txt requirements/pull.txt pyproject.toml | .venv/bin/python
	$(if $(findstring cuda,$@),$(INSTALL) --require-hashes -r $<)
	$(INSTALL) --require-hashes -r requirements/pull.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# Uncompiled: most of it is never imported, and what is gets compiled then, by as many processes as there are.
.venv/dev: requirements/dev.txt .venv/$(SERVE)
	$(INSTALL) --no-compile --require-hashes -r $<
	@touch $@
