# Two commands on a fresh machine: `make demo` and `make test`. Each sets up .venv by itself.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test emulated check bench lint types walls wheel readme stolen-keys powercut mutants adversary

# More arguments for the command behind a target: make test ARGS="-k tamper", make demo ARGS="--json"
ARGS ?=
BIN := .venv/bin

# The stamp names this folder: an environment that was moved with its tree is made anew.
ifneq ($(shell cat .venv/.ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/.ready
endif

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.ready ## The whole of Heirloom once, on a simulated device (about half a minute)
	@$(BIN)/heirloom demo $(ARGS)

test: .venv/.ready ## All tests; what is skipped is listed with its reason
	@$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

emulated: .venv/.ready ## The life of a device on emulated boards with real firmware, where emulators and images are (an hour or more)
	@HEIRLOOM_EMULATED=1 $(BIN)/pytest -v -o timeout=7200 tests/hil/test_drivers_emulated.py tests/device/client/test_client_firmware_qemu.py $(ARGS)
	@HEIRLOOM_EMULATED=1 $(BIN)/pytest -v -o timeout=7200 tests/lifecycle --heirloom-driver esp32 --heirloom-driver rp2040 $(ARGS)

check: lint types walls wheel ## What CI runs: lint, types, walls, and the tests against the built wheel

lint: .venv/.ready ## Only ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.ready device/typings/.ready ## Only mypy: host, and the device client against the ESP32 and RP2 stubs
	$(BIN)/mypy
	$(BIN)/mypy $$($(BIN)/python .ci/pure-modules)
	$(BIN)/mypy --config-file device/mypy-esp32.ini
	$(BIN)/mypy --config-file device/mypy-rp2.ini

walls: .venv/.ready ## Only import-linter: which folder may import which
	$(BIN)/lint-imports

wheel: .venv/.ready ## Only the tests against the built wheel, in an environment of its own
	.ci/wheel $(ARGS)

bench: .venv/.ready ## Measure; results go to bench/out
	@for program in $(wildcard bench/bench_*.py); do echo "== $$program"; $(BIN)/python $$program $(ARGS) || exit 1; done

stolen-keys: .venv/.ready ## Run every theft of keys anew and write the table into docs/stolen-keys.md
	@$(BIN)/python tests/e2e/stolen_page.py

powercut: .venv/.ready ## Over 100,000 different power cuts; goes on in .heirloom/powercut when interrupted
	@$(BIN)/heirloom hil powercut --cuts 24000 --keep .heirloom/powercut $(ARGS)

mutants: .venv/.ready ## Break the client in every way that is known, and see the sweep of power cuts find each
	@$(BIN)/heirloom hil mutants $(ARGS)

adversary: .venv/.ready ## Mount every attack anew and write the table into docs/adversary.md (ARGS=FOLDER: attacks.json, too)
	@$(BIN)/python tests/e2e/adversary_page.py $(ARGS)

readme: .venv/.ready ## Bring the help blocks of the README up to date
	@$(BIN)/python .ci/readme

.venv/.ready: pyproject.toml constraints.txt .ci/environment
	@.ci/environment .venv

# The stubs shadow the standard library, so they never go into the environment itself.
device/typings/.ready: constraints.txt | .venv/.ready
	@rm -rf device/typings
	$(BIN)/pip install --quiet --constraint constraints.txt --target device/typings/esp32 micropython-esp32-stubs
	$(BIN)/pip install --quiet --constraint constraints.txt --target device/typings/rp2 micropython-rp2-stubs
	@touch $@
