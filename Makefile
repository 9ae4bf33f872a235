# Every target sets up what it needs in .venv by itself; Python 3.11 or newer is all that must be there.
# The set-up is repeated only when pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
MINUTES ?= 60

# The first interpreter that is new enough; another one: make PYTHON=/path/to/python demo
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$candidate"; break; }; done)

# The networks are small: threads of one process get in each other's way, processes do not.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-all fuzz lint docs pictures shots bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      render films, prepare them, train and compare networks on them, and report (about two minutes)"
	@echo "make test      the tests, without the slow ones"
	@echo "make test-all  all tests"
	@echo "make fuzz      damaged files and drawn recipes, for an hour (make fuzz MINUTES=10: for ten minutes)"
	@echo "make lint      style, types and the direction of imports"
	@echo "make docs      the documentation, in docs/_build/html"
	@echo "make pictures  the README's pictures, into docs/pictures"
	@echo "make shots     the README's pictures of a network at work, into docs/pictures, after make demo (needs Chromium)"
	@echo "make bench     how fast everything is, into benchmarks/results/speed_cpu.json or speed_cuda.json (about an hour)"
	@echo "make clean     remove what these made, the environment included"

demo: $(VENV)/.stamp-run
	@$(BIN)/fusionkit demo --out $(OUT)

test: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" -q

test-all: $(VENV)/.stamp-test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

fuzz: $(VENV)/.stamp-test
	FUSIONKIT_FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest -n 2 -q tests/fuzz

lint: $(VENV)/.stamp-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.stamp-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

pictures: $(VENV)/.stamp-run
	$(BIN)/python docs/pictures.py docs/pictures

shots: $(VENV)/.stamp-test
	$(BIN)/python docs/screenshots.py $(OUT) docs/pictures

bench: $(VENV)/.stamp-test
	$(BIN)/python benchmarks/speed/measure.py

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on PATH" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is needed (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	@echo "installing fusionkit, what it needs and a face detector into $(VENV) (once; PyTorch is large)"
	@$(BIN)/python -m pip install -q -e ".[faces]"
	@touch $@

# Each of these is the ordinary installation and one extra.
$(VENV)/.stamp-%: pyproject.toml | $(BIN)/python
	@echo "installing fusionkit and its extra $* into $(VENV) (once; PyTorch is large)"
	@$(BIN)/python -m pip install -q -e ".[$*]"
	@touch $@
