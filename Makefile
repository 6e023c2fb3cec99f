# Two commands start this project: `make demo` and `make test`.  Both set up everything in .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECK_PYTHON := 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'

.PHONY: demo test check compile bench bench-report bench-check criu containerd kube-apiserver fuzz k8s-tools clean

demo: $(VENV)/.run
	$(BIN)/interceptor demo

# Two at a time: most of them wait for processes. A file's tests stay together, because they share servers.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# After editing a module of the hot path: until then it is read from source, which costs more CPU.
compile: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --editable .

# CPU microseconds a request beside nginx and haproxy, which it needs together with wrk (Debian packages).
bench: $(VENV)/.run
	$(BIN)/python -m bench cost

# CRIU 4 for --checkpoint-engine criu, in .criu/; nothing is installed on the system but patchelf.
criu:
	scripts/criu.sh .criu

# containerd 2 with runc, CRIU and network plugins in .containerd/, for the tests of --checkpoint-engine kubelet.
containerd:
	scripts/containerd.sh .containerd

# kube-apiserver and etcd in .kube/, for KUBEBUILDER_ASSETS where there is no setup-envtest: five minutes of compiling.
kube-apiserver:
	scripts/kube_apiserver.sh .kube

# All experiments, into docs/performance.md: a quarter of an hour. nginx, haproxy and wrk are Debian packages.
bench-report: $(VENV)/.bench
	$(BIN)/python -m bench report

# A request beside nginx and a bare forwarder, against bench/baseline.json: two minutes, fails where it has become dearer.
bench-check: $(VENV)/.bench
	$(BIN)/python -m bench check

# Ten minutes on the wire layer, coverage-guided, then ten minutes on a live listener.
fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	INTERCEPTOR_COMPILED=0 $(BIN)/python -m tests.fuzz.wire 600
	$(BIN)/python -m tests.fuzz.live 600

# helm 4 and kubectl, with which the tests of the chart are run.
k8s-tools: $(VENV)/.run
	$(BIN)/python helm/kubernetes_tools.py

clean:
	rm -rf $(VENV) build hotpath/*.so hotpath/SOURCES.json *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: pyproject.toml setup.py
	$(PYTHON) -c $(CHECK_PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# An installation compiles the hot path (see hotpath/), so that of the tests serves for running too.
$(VENV)/.dev: pyproject.toml setup.py
	$(PYTHON) -c $(CHECK_PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.run $@

$(VENV)/.bench: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@
