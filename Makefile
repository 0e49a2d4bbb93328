# Two commands for a newcomer: `make demo` and `make test`. Both do all set-up themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Test files at the same time. Half of what a test does is to wait for processes.
WORKERS ?= 2
# Beside any other busy process, spinning OpenMP threads are 7 to 35 times slower.
export OMP_WAIT_POLICY := passive

.PHONY: demo test check bench faults twin screenshots clean help
help:
	@echo "make demo    set up, then the main job from import to batch on sample data"
	@echo "make test    set up, then all tests"
	@echo "make check   ruff, mypy, import-linter, and the guard against a shadowed platform module"
	@echo "make bench   the benchmarks that docs/performance.md quotes (long)"
	@echo "make twin    write the asyncio client anew from the one that blocks, after a change in platform/bedplate/remote"
	@echo "make screenshots   docs/studio/*.png, on the sample data of the demo (about ten minutes)"
	@echo "make faults  10,000 random schedules on a virtual clock, 100 with real processes, kills and cuts of the registry, the kill matrix (long)"

# The environment is made anew when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Bedplate needs Python 3.11 or newer; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# timm wants torchvision, whose builds for this torch load beside a CUDA torch only. This older one imports without
	@# its compiled operators, which nothing here calls. Where torch is a CUDA build, use the extra [timm] instead.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps timm==1.0.31 torchvision==0.16.2
	@touch $@

demo: $(READY)
	$(BIN)/bedplate demo

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -c "import uuid, platform; platform.system()"

bench: $(READY)
	$(BIN)/python benchmarks/run_all.py

twin: $(READY)
	$(BIN)/python platform/make_twin.py

screenshots: $(READY)
	$(BIN)/python platform/make_screenshots.py

faults: $(READY)
	$(BIN)/python tests/faults/run.py --schedules 10000 --real 100
	$(BIN)/python tests/faults/registry_disk.py kills errors cuts
	$(BIN)/python tests/faults/registry_random.py --kills 1000
	$(BIN)/python -m pytest -m faults tests/e2e/test_kill_matrix.py tests/trainers/test_resume.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
