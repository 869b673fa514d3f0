# Two commands from a bare clone: `make gameday` plays a game day, `make test` runs the tests. Everything they need is
# set up on the way: Debian packages where we are root, .venv/ with all libraries, the node image at the first start.
# A user in the docker group needs no root; `blackstart doctor` says what is missing and the line that installs it.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLAYBOOK ?= playbooks/az-power-off.yaml
# A newer one where the plain name is too old for us.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
SEEDS ?= 5000
START ?= 0
PYTEST ?= -n 2 --dist loadfile

.PHONY: help gameday test test-slow cluster dashboard lint format venv system system-test bench soak clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

gameday: system venv ## set everything up and play a zone's power cut (PLAYBOOK=... for another, ARGS=... for flags)
	$(BIN)/blackstart run $(PLAYBOOK) $(ARGS)

test: system system-test venv ## set everything up and run the tests (PYTEST=... for flags of pytest)
	$(BIN)/pytest $(PYTEST) -m "not slow"

test-slow: system system-test venv ## whole game days, planted bugs and a killed controller on real clusters (half an hour)
	$(BIN)/pytest -m slow

cluster: system venv ## start a cluster and print how to reach it
	$(BIN)/blackstart cluster up $(ARGS)

dashboard: venv ## the live page over the latest run below runs/, on loopback (ARGS=... for flags)
	$(BIN)/blackstart dashboard $(ARGS)

bench: system venv ## figures, as ratios against peers
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: venv ## explore SEEDS simulated game days from START on all cores, under an hour
	$(BIN)/blackstart explore --start $(START) --seeds $(SEEDS) --keep-going $(ARGS)

lint: venv ## style, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(STAMP) ## .venv/ with everything in it

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install -y python3 python3-venv" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "python3 -m venv does not work: apt-get install -y python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[control,load,dev]'
	@touch $@

# program:package; as root what is missing is installed, otherwise doctor and the runtimes say what they lack.
NEEDED := nft:nftables ip:iproute2 mkfs.ext4:e2fsprogs iptables:iptables unshare:util-linux mount:mount
NEEDED_TEST := chromium:chromium
APT_LOG := /tmp/blackstart-apt.log

define install
	@missing=; for pair in $(1); do \
	  (PATH="$$PATH:/usr/sbin:/sbin"; command -v "$${pair%%:*}") >/dev/null || missing="$$missing $${pair##*:}"; done; \
	$(2) \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing:$$missing"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } \
	    >$(APT_LOG) 2>&1 || { tail -n 20 $(APT_LOG) >&2; echo "apt-get could not install:$$missing" >&2; exit 2; }; \
	fi
endef

system: ## Debian packages that a cluster needs (as root)
	$(call install,$(NEEDED),[ -x $(BIN)/python ] || "$(or $(PYTHON),python3)" -c 'import ensurepip' 2>/dev/null || missing="$$missing python3 python3-venv";)

system-test: ## Debian packages that the tests need besides (as root)
	$(call install,$(NEEDED_TEST),)

clean: ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
