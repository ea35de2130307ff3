# make demo · make test · make lab: each does its own set-up in .venv, re-used the next time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-browser site test-site kaggle test-kaggle lab lint results notebooks \
  bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   train, predict and score the two-stage pipeline on a phantom"
	@echo "make test   lint, types, unit tests and every notebook under the ci profile"
	@echo "make lab    JupyterLab on the notebooks"
	@echo "make results PROFILE=gpu   every record of the results tables, under a profile; resumes"
	@echo "make bench  one full-size study from files to probabilities, timed against deck B's settings"
	@echo "make site   the course as a website in build/site, from the committed outputs"
	@echo "make test-site   its pages, links and search in headless Chromium"
	@echo "make test-browser   the viewer in a real JupyterLab (needs an installed Chromium)"
	@echo "make kaggle KAGGLE_USERNAME=... RUN=...   a bundle for kernels without a network"
	@echo "make test-kaggle    predict from such a bundle in an empty environment, offline"

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@echo "setting up .venv (once, a few minutes) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[weights,course,winners,dev]"
	@touch $@

demo: .venv/ready
	$(BIN)/cspine demo

lab: .venv/ready
	$(BIN)/jupyter lab notebooks

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# One thread per worker: two processes of two threads each crawl on two cores.
# loadscope keeps the cells of one notebook in one worker.
test: export OMP_NUM_THREADS := 1
test: export CSPINE_PROFILE := ci
# Unit tests and notebooks share one phantom, cache and run, made first.
test: export CSPINE_HOME := $(CURDIR)
test: lint
	$(BIN)/cspine prepare --profile ci
	$(BIN)/pytest -n 2 --dist loadscope --nbval-lax tests notebooks

# The viewer in JupyterLab, in headless Chromium; its screenshots land in runs/browser.
test-browser: export CSPINE_PROFILE := ci
test-browser: export CSPINE_HOME := $(CURDIR)
test-browser: .venv/ready
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[browser]"
	$(BIN)/cspine prepare --profile ci
	$(BIN)/pytest -m browser tests/browser

# The course as static pages, from committed outputs: nothing is executed.  Once the extra is
# installed no network is needed, neither to build nor to read.
site: .venv/ready
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[site]"
	$(BIN)/python website/build.py build/site

# Every page and link of it in headless Chromium; some screenshots land in runs/site.
test-site: site
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[browser]"
	$(BIN)/pytest -m site tests/website
# docs/kaggle_and_colab.md says what is in the bundle and how to upload it.
kaggle: .venv/ready
	KAGGLE_USERNAME="$(KAGGLE_USERNAME)" $(BIN)/python -m cspine_lib.bundle --out dist/kaggle \
	  $(if $(RUN),--run "$(RUN)")

test-kaggle: export CSPINE_PROFILE := ci
test-kaggle: export CSPINE_HOME := $(CURDIR)
test-kaggle: .venv/ready
	$(BIN)/cspine prepare --profile ci
	$(BIN)/pytest -m kaggle tests/test_bundle_offline.py

# All that the tables are drawn from; stopped and started again, it goes on.  Then
# "make notebooks" under the same CSPINE_PROFILE draws them.
PROFILE ?= laptop
results: .venv/ready
	$(BIN)/cspine run --methods systems --profile $(PROFILE) --record
	$(BIN)/cspine run --methods cnn3d_spine --profile $(PROFILE) --folds 0
	$(BIN)/cspine final --methods systems --profile $(PROFILE) --record
	$(BIN)/cspine ablate --profile $(PROFILE)
	$(BIN)/python -m cspine_lib.beyond_lab --profile $(PROFILE)
	$(BIN)/python -m cspine_lib.norm_grid --profile $(PROFILE)
	$(BIN)/python -m cspine_lib.leak_demo --profile $(PROFILE) --folds 0
	for d in 0.35 0.65; do \
	  $(BIN)/cspine phantom data/phantom-$(PROFILE)-$$d --profile $(PROFILE) --test-studies 0 \
	    --difficulty $$d --seed 3 && \
	  $(BIN)/cspine run --methods all --profile $(PROFILE) --data data/phantom-$(PROFILE)-$$d \
	    --folds 0 --record --tag difficulty-$$d || exit 1; \
	done
	$(BIN)/python -m cspine_lib.results README.md
	$(BIN)/python -m cspine_lib.model_card docs/model_card.md

# Executes the notebooks in place, top to bottom, under the profile of the committed outputs.
notebooks: .venv/ready
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb

# One process of two threads; about five minutes on two idle cores.
bench: .venv/ready
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/bench_study.py --out benchmarks

clean:
	rm -rf .venv build dist *.egg-info
