# Commands a developer needs; each sets up .venv by itself, once.
#   make demo    ask the shipped model a question
#   make test    run the fast tests
#   make cpu     build the CPU kernels anew
#   make test-sanitizers  run them under AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer
#   make test-amx  run the CPU kernels' tests with AMX emulated
#   make test-clients  let other programs' clients talk to the server; writes docs/clients.md
#   make test-transformers457  compare with transformers 4.57 as well
#   make check   linters, types, import contracts
#   make docs    the API reference, from the docstrings, and the pages of arguments

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STAMPS := $(VENV)/.installed

# Installing compiles these.
SOURCES := $(wildcard src/ossia/kernels/csrc/cpu/*) packaging/cpu_kernels/CMakeLists.txt

# Clients in environments of their own, and Node for those in JavaScript.
CLIENTS := $(VENV)/clients

# transformers 4.57 and the older packages that it insists on, in a folder beside the newer ones.
TRANSFORMERS_457 := $(VENV)/transformers-4.57
TRANSFORMERS_457_PACKAGES := transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2 \
	accelerate==1.12.0 psutil==7.2.2

.PHONY: demo cpu test test-sanitizers test-amx test-slow test-clients test-transformers457 check docs format clean

demo: $(STAMPS)-run
	$(VENV)/bin/ossia run demo "How many rs are in the word 'strawberry'?" --show-reasoning --temperature 0

cpu: $(STAMPS)-run

test: $(STAMPS)-test
	$(VENV)/bin/python -m pytest -n 2 -m "not gpu and not slow and not network and not clients"

test-sanitizers:
	tests/kernels/cpu/sanitize.sh

test-amx: $(STAMPS)-test
	tests/kernels/cpu/emulate_amx.sh $(VENV)/bin/python

test-slow: $(STAMPS)-test
	$(VENV)/bin/python -m pytest -m "slow and not gpu and not network and not clients"

test-clients: $(STAMPS)-test
	PYTHONPATH=tests $(VENV)/bin/python -m clients.install $(CLIENTS)
	OSSIA_TEST_CLIENTS=$(CURDIR)/$(CLIENTS) OSSIA_TEST_CLIENTS_TABLE=$(CURDIR)/docs/clients.md \
		$(VENV)/bin/python -m pytest tests/clients

test-transformers457: $(STAMPS)-test $(TRANSFORMERS_457)
	OSSIA_TEST_TRANSFORMERS_457=$(CURDIR)/$(TRANSFORMERS_457) \
		$(VENV)/bin/python -m pytest tests/compat/test_transformers_457.py

check: $(STAMPS)-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright

docs: $(STAMPS)-test
	$(VENV)/bin/python docs/reference.py build/docs
	$(VENV)/bin/python docs/arguments.py

format: $(STAMPS)-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit('Ossia needs CPython 3.11 to 3.13') if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None"
	$(PYTHON) -m venv $(VENV)

$(STAMPS)-run: $(VENV)/bin/python pyproject.toml constraints.txt $(SOURCES)
	$(PIP) -e .
	touch $@

$(STAMPS)-test: $(VENV)/bin/python pyproject.toml constraints.txt $(SOURCES)
	$(PIP) -e ".[test]"
	touch $@

$(STAMPS)-dev: $(VENV)/bin/python pyproject.toml constraints.txt $(SOURCES)
	$(PIP) -e ".[dev]"
	touch $@

# Built beside and moved, so that a broken download leaves no half folder.
$(TRANSFORMERS_457): $(VENV)/bin/python
	rm -rf $@.partial
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $@.partial $(TRANSFORMERS_457_PACKAGES)
	mv $@.partial $@
