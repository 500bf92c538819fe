# One environment in .venv, made with plain venv and pip; your pip settings (indexes, mirrors, proxies) are honoured.
#   make demo              one photograph through the real server and the engine: demo.mp4, and demo.webp of it
#   make demo ENGINE=mock  the same in seconds, without torch
#   make test              the test suite
PYTHON ?= python3
ENGINE ?= process
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: install demo test check check-web bench clean
.DELETE_ON_ERROR:

install: $(VENV)/.dev

demo: $(VENV)/.demo-$(ENGINE)
	$(BIN)/stillmotion demo --engine $(ENGINE) --image examples/chelsea.png --output demo.mp4 --preview demo.webp

# Three at a time, each file by one: most tests wait for a server of theirs. Several hundred processes are started: one
# that finds no compiled modules needs 0.3 s more, so they are written, also where the surroundings say otherwise.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

check: $(VENV)/.dev check-web
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The playground's JSDoc types. Its sources run as they are; only this check needs node.
check-web:
	@if command -v npm >/dev/null; then \
	  npm ci --no-audit --no-fund --silent --prefix tests/web/js && npm run --silent --prefix tests/web/js check; \
	elif [ "$$STILLMOTION_TEST_REQUIRE" = all ]; then echo "npm is missing"; exit 1; \
	else echo "npm is not installed: the types of the playground's scripts are not checked"; fi

bench: $(VENV)/.bench
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) demo.mp4 demo.webp

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Stillmotion needs $(PYTHON), 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Stillmotion needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) lacks venv; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.demo-mock: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the core (about 340 MB) into $(VENV) ..."
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.demo-process: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the core and the engine (about 1.5 GB with a CPU build of torch, several more with CUDA) into $(VENV) ..."
	$(PIP) --editable '.[engine,demo]'
	@touch $@ $(VENV)/.demo-mock

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the core, the engine and the tools (about 1.5 GB with a CPU build of torch, several more with CUDA) into $(VENV) ..."
	$(PIP) --editable '.[engine,demo,dev]'
	@touch $@ $(VENV)/.demo-mock $(VENV)/.demo-process

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[engine,demo,dev,bench]'
	@touch $@
