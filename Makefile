# Everything that is done with the project; each target builds what it needs in $(VENV).
#   make install | run | test | test-bounds | test-faults | simulate | soak | test-fast | test-all | lint | docs | changelog | lock | fuzz | audit | clean
#   make test-openapi | test-apps | docs-site | release

VENV ?= .venv
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && { command -v $$p; break; }; done)
BIN := $(VENV)/bin
SOURCES := $(shell find caching_proxy twisted -type f -not -name '*.pyc' 2>/dev/null)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
COMPILE := $(BIN)/pip-compile --quiet --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--generate-hashes --strip-extras --allow-unsafe --annotation-style=line
CHECKED := caching_proxy examples $(wildcard bench)

.PHONY: install run test test-bounds test-faults soak test-fast test-all test-epoll lint docs lock clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv and pip was found" \
		"(tried python3, python3.13, python3.12, python3.11; on Debian: apt-get install python3-venv)." \
		"Name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.locked: $(VENV)/.created requirements/run.lock
	$(PIP) --require-hashes -r requirements/run.lock
	@touch $@

# build/ may hold modules that are gone from the sources, and would put them into the wheel again.
$(VENV)/.installed: $(VENV)/.locked setup.cfg pyproject.toml $(SOURCES)
	@rm -rf build *.egg-info
	$(PIP) --no-deps --force-reinstall .
	@rm -rf build *.egg-info
	@touch $@

$(VENV)/.test: $(VENV)/.created requirements/test.lock
	$(PIP) --require-hashes -r requirements/test.lock
	@touch $@

run: $(VENV)/.installed
	@exec $(BIN)/python examples/run.py

lint: $(VENV)/.installed $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(CHECKED)

# On every core, up to four; the tests of a file stay together, as they share what they start. JOBS=0 runs them in turn.
JOBS ?= auto
test: lint
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile --ignore=tests/bounds --ignore=tests/apps \
		-m "not long" $(PYTEST_ARGS)

# The real daemon under load while Redis, the backend or the machine fails, the long cases too. FAULTS_SLACK is how many
# times a promised time a busy machine may take.
test-faults: $(VENV)/.installed $(VENV)/.test
	FAULTS_REPORT=1 $(BIN)/python -m pytest tests/faults $(PYTEST_ARGS)

# The same load for MINUTES with faults at random; prints a report and draws soak.png. SOAK_ARGS="--seed N" repeats one.
MINUTES ?= 30
soak: $(VENV)/.installed $(VENV)/.bench $(VENV)/.test
	$(BIN)/python tests/faults/soak.py $(MINUTES) $(SOAK_ARGS)

# Whole proxies, and the Redis and backend that they talk to, in one process on one clock, in orders chosen by seed.
# SEED=n tells the story of one game, event by event; PROFILE=name chooses a kind of games (tests/simulation/profiles.py).
GAMES ?= 100000
simulate: $(VENV)/.installed $(VENV)/.test
	@$(BIN)/python tests/simulation/run.py $(if $(SEED),--seed $(SEED),--games $(GAMES)) $(if $(PROFILE),--profile "$(PROFILE)")

# How many games it takes to find each guard missing that is taken away (tests/simulation/mutants.py).
simulate-mutants: $(VENV)/.installed $(VENV)/.test
	@$(BIN)/python tests/simulation/run.py --mutants --games $(if $(filter 100000,$(GAMES)),1000,$(GAMES))

.PHONY: simulate simulate-mutants

# What one client may cost the others: memory, the longest hit of another client, backend connections. Prints the table
# of docs/security.md. BOUNDS_SLACK is how many times the promised 50 ms a busy machine may take.
test-bounds: $(VENV)/.installed $(VENV)/.test
	BOUNDS_REPORT=1 $(BIN)/python -m pytest tests/bounds $(PYTEST_ARGS)

# What needs no process, no server, no made-up examples and less than a quarter of a second a test, on every core; for
# every save while you work. Of what is tried over HTTP/1.1 and over HTTP/2, or in several games, the first alone.
test-fast: $(VENV)/.installed $(VENV)/.test
	$(BIN)/python -m pytest -q -n auto --dist worksteal -p no:logging \
		-m "not live and not slow and not hypothesis" $(patsubst %,--ignore=tests/%,apps bounds deploy faults fuzz live) $(PYTEST_ARGS)

# What depends on the reactor once more, with test runner and proxies on Twisted's own epoll: sockets, the wire, the start
# and the end, connections to Redis and the backend. Whatever only uses these is tried once, by `make test`.
EPOLL_LIVE := $(patsubst %,tests/live/test_%.py,caching client_limits http2_live invalidation large_bodies listeners \
	proxying redis start_stop store_outages tls_listener wire_rules workers)
test-epoll: $(VENV)/.installed $(VENV)/.test
	PROXY_REACTOR=epoll $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile --reactor=default tests/server tests/upstream tests/transport $(EPOLL_LIVE) $(PYTEST_ARGS)

# Every Python from 3.11 to 3.13 that is here, on the PATH or of pyenv.
test-all:
	@tried=0; for v in 3.11 3.12 3.13; do \
		for p in python$$v $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$v.*/bin/python; do \
			$$p -c '$(SUITABLE)' >/dev/null 2>&1 || continue; \
			echo "== Python $$v ($$p)"; tried=1; \
			$(MAKE) --no-print-directory test PYTHON=$$p VENV=.venv-$$v || exit 1; break; \
		done; \
	done; test $$tried = 1 || { echo "No Python from 3.11 to 3.13 was found." >&2; exit 1; }

docs: $(VENV)/.installed
	$(BIN)/python -m caching_proxy.settings.docs
	$(BIN)/python tests/support/module_list.py --write

lock: $(VENV)/.created
	$(PIP) pip-tools
	$(COMPILE) -o requirements/run.lock setup.cfg
	$(COMPILE) --extra test -c requirements/run.lock -o requirements/test.lock setup.cfg
	$(COMPILE) --extra bench -c requirements/test.lock -o requirements/bench.lock setup.cfg
	$(COMPILE) -o requirements/apps.lock requirements/apps.in

clean:
	rm -rf $(VENV) .venv-3.1* .venv-tools .venv-apps build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find caching_proxy examples tests twisted -name __pycache__ -type d -prune -exec rm -rf {} +

# Tools that only these targets need; none is in a lock, and any may be missing from an index.
fuzz audit changelog docs-site release test-openapi: TOOLS = .venv-tools

# Every parser for SECONDS in all; what is found is kept under tests/fuzz/regressions and fails the next `make test`.
SECONDS ?= 60
fuzz: $(VENV)/.test
	@$(BIN)/python -c 'import venv; venv.create("$(TOOLS)", with_pip=True)'
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install --only-binary :all: atheris \
		|| { echo "fuzz: skipped, atheris has no wheel for this Python on this machine" >&2; exit 0; }; \
	! $(TOOLS)/bin/python -c 'import atheris' 2>/dev/null \
		|| PYTHONPATH=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
		$(TOOLS)/bin/python tests/fuzz/run.py $(SECONDS) $(HARNESSES)

# The admin endpoints of a running proxy against openapi.json.
test-openapi: $(VENV)/.installed $(VENV)/.test
	@$(BIN)/python -c 'import venv; venv.create("$(TOOLS)", with_pip=True)'
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install schemathesis \
		|| { echo "test-openapi: skipped, schemathesis cannot be installed from this index" >&2; exit 0; }; \
	$(BIN)/python -m pytest tests/live/test_openapi_live.py $(PYTEST_ARGS)

# Real applications behind the daemon, driven by real clients; each answer is held against the direct one. What they need is
# in environments of their own: .venv-apps from requirements/apps.lock, .venv-apps/node by npm. What is absent is skipped.
APPS := .venv-apps
test-apps: $(VENV)/.installed $(VENV)/.test $(APPS)/.installed $(APPS)/.node
	$(BIN)/python -m pytest tests/apps $(PYTEST_ARGS)

$(APPS)/.installed: requirements/apps.lock | $(VENV)/.created
	@test -x $(APPS)/bin/python || $(BIN)/python -c 'import venv; venv.create("$(APPS)", with_pip=True)'
	$(APPS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/apps.lock
	@touch $@

$(APPS)/.node: tests/apps/node/package.json tests/apps/node/package-lock.json | $(APPS)/.installed
	@mkdir -p $(APPS)/node && cp tests/apps/node/package*.json $(APPS)/node/
	@command -v npm >/dev/null || { echo "test-apps: Express, Socket.IO, undici and axios are skipped, there is no npm" >&2; exit 0; }; \
	cd $(APPS)/node && npm ci --silent --no-audit --no-fund && touch ../.node

# Known vulnerabilities in what is installed for production.
audit: $(VENV)/.created
	@$(BIN)/python -c 'import venv; venv.create("$(TOOLS)", with_pip=True)'
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit \
		|| { echo "audit: skipped, pip-audit cannot be installed from this index" >&2; exit 0; }; \
	! $(TOOLS)/bin/python -c 'import pip_audit' 2>/dev/null \
		|| $(TOOLS)/bin/python -m pip_audit --require-hashes --disable-pip -r requirements/run.lock

# docs/ as a site in site/; fails on a link or an anchor that leads nowhere.
docs-site: $(VENV)/.created
	@$(BIN)/python -c 'import venv; venv.create("$(TOOLS)", with_pip=True)'
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install 'mkdocs<2' mkdocs-material
	@test -e $(TOOLS)/package/dist/mermaid.min.js || { cd $(TOOLS) && npm pack --silent mermaid@11 && tar xzf mermaid-11*.tgz; } >/dev/null 2>&1 \
		|| echo "docs-site: diagrams stay text, mermaid cannot be fetched: there is no npm, or its index has none" >&2
	@NO_MKDOCS_2_WARNING=1 $(TOOLS)/bin/mkdocs build --strict --quiet

# sdist and wheel in dist/, checked, installed in a bare environment and removed again; nothing is uploaded.
release: $(VENV)/.created
	@.ci/release $(BIN)/python $(TOOLS)

# The fragments of changelog.d become the section of VERSION in CHANGELOG.md.
VERSION ?= $(shell sed -n 's/^version = //p' setup.cfg)
changelog: $(VENV)/.created
	@$(BIN)/python -c 'import venv; venv.create("$(TOOLS)", with_pip=True)'
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install towncrier
	@$(TOOLS)/bin/towncrier build --yes --version $(VERSION)

.PHONY: fuzz audit changelog docs-site release test-openapi test-apps

$(VENV)/.bench: $(VENV)/.created requirements/bench.lock
	$(PIP) --require-hashes -r requirements/bench.lock
	@touch $@

# The comparison with nginx and Varnish; BENCH_ARGS="--growth docs/performance" draws the growth curves instead.
# What is missing of nginx, Varnish, wrk and Redis is named and left out.
bench: $(VENV)/.installed $(VENV)/.bench
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-micro: $(VENV)/.installed $(VENV)/.test
	$(BIN)/python -m pytest tests/bench --benchmark-enable --benchmark-columns=median,iqr,ops --benchmark-sort=name

.PHONY: bench bench-micro
