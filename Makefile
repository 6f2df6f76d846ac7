# Two commands for a newcomer: `make demo` and `make test`. Each installs what it needs, once.
# Paths are relative and never quoted targets, so that a folder with a space in its name works.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := train,molecules,crystals,triton,plot,docs,dev

.PHONY: install demo test test-triton test-slow lint types docs bench bench-gpu clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "graphattn needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch .venv/.installed

demo: install
	$(BIN)/python examples/molecules_quickstart.py

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest -n 2
	$(MAKE) test-triton

# Triton's interpreter is chosen when Triton is imported, hence a process of its own.
test-triton: install
	TRITON_INTERPRET=1 $(BIN)/pytest -n 2 tests/triton

# Every program on every structure in every element type, in the interpreter: an hour.
test-slow: install
	TRITON_INTERPRET=1 $(BIN)/pytest -n 2 tests/triton -m slow

# The variable silences an announcement of another project on the error stream.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Against the peers; the page says what else it needs, such as an environment for DGL.
bench: install
	$(BIN)/python -m benchmarks.run

# On a machine with a GPU.
bench-gpu: install
	$(BIN)/python -m benchmarks.gpu

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
