# The two commands of the README are `make run` and `make test`; the rest is for those who work on it.

CARGO  ?= cargo
PREFIX ?= /usr/local
NAME   ?= rpm

TARGET  = $(or $(CARGO_TARGET_DIR),target)
RELEASE = $(TARGET)/release/rpm
DEPS    = $(abspath $(TARGET))/test-deps

.PHONY: all run test check unit e2e conformance conformance-http soak conformance-record chaos chaos-long deny setup fuzz load releases bench bench-logs bench-edge layout install uninstall clean

all: check unit

# Builds the release binary and does the main job with it, for real.
run: $(RELEASE)
	@RPM=$(abspath $(RELEASE)) sh examples/run.sh

.PHONY: $(RELEASE)
$(RELEASE):
	$(CARGO) build --release -p rpm-cli -p rpm-bench

# Everything: installs what the tests need, then runs all of them.
test: setup check deny
	$(CARGO) build --workspace --all-targets
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test --workspace --no-fail-fast
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test -p rpm-tests --test chaos -- --quick

setup:
	sh tests/setup.sh $(DEPS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --quiet

unit:
	$(CARGO) test --workspace --exclude rpm-tests

e2e: setup
	$(CARGO) build -p rpm-cli
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test -p rpm-tests

# The scenarios of tests/conformance with PM2 beside rpm; `make test` compares with what PM2 did when it was recorded.
conformance: setup
	$(CARGO) build -p rpm-cli
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test -p rpm-tests --test conformance -- --live $(SCENARIOS)

# Odd requests and answers, slow and hostile clients, HTTP/2 frame by frame; beside nginx and HAProxy.
conformance-http: setup
	$(CARGO) build -p rpm-cli
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test -p rpm-tests --test http -- --include-ignored --nocapture $(SCENARIOS)

# A mixed load on the balancer for MINUTES: memory stays flat, no descriptor is left behind.
soak: setup
	$(CARGO) build -p rpm-cli
	SOAK_SECONDS=$$(( $(or $(MINUTES),30) * 60 )) RPM_TEST_DEPS=$(DEPS) \
	  $(CARGO) test -p rpm-tests --test http -- --include-ignored --nocapture soak

conformance-record: setup
	RPM_TEST_DEPS=$(DEPS) $(CARGO) test -p rpm-tests --test conformance -- --record $(SCENARIOS)

# What can go wrong, done on purpose, once and short. SCENARIOS chooses by name: "killed_during --seed 7".
chaos:
	$(CARGO) build -p rpm-cli
	$(CARGO) test -p rpm-tests --test chaos -- $(SCENARIOS)

# The same ten times longer, with new seeds, for half an hour; seeds that fail are kept in tests/chaos/seeds.txt.
chaos-long:
	$(CARGO) build -p rpm-cli
	$(CARGO) test -p rpm-tests --test chaos -- --long --minutes $(or $(MINUTES),30) $(SCENARIOS)

# Bytes from outside at every door, SECONDS for each (nightly; `cargo install cargo-fuzz`). fuzz/README.md says more.
SECONDS ?= 60
TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz:
	$(CARGO) +nightly fuzz build
	@for target in $(TARGETS); do \
	  mkdir -p $(abspath $(TARGET))/fuzz-corpus/$$target; \
	  $(CARGO) +nightly fuzz run $$target $(abspath $(TARGET))/fuzz-corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 || exit 1; \
	done

# Licences, sources and banned crates of what is linked in. Advisories too, where their database can be reached: one that
# came out today is told, and stops nobody who did not cause it.
TOOLS = $(abspath $(TARGET))/tools
DENY  = PATH="$(TOOLS)/bin:$$PATH" $(CARGO) deny
deny:
	@$(DENY) --version >/dev/null 2>&1 || $(CARGO) install cargo-deny@0.20.2 --locked --quiet --root "$(TOOLS)"
	$(DENY) --log-level error check licenses bans sources
	@if $(DENY) fetch db >/dev/null 2>&1; then $(DENY) check advisories || echo "deny: see the advisories above"; \
	else echo "deny: the database of advisories cannot be reached"; fi

# Reloads, scaling and kill -9 of the daemon under load: the number of failed requests is the result.
load: $(RELEASE)
	RPM_BIN=$(abspath $(RELEASE)) $(TARGET)/release/scenario

# What users see of releases that are good, broken, slow, hanging or failing, beside PM2 from npm.
releases: setup $(RELEASE)
	RPM_BIN=$(abspath $(RELEASE)) $(TARGET)/release/releases --pm2 $(DEPS)/node_modules/.bin/pm2

# Every figure of docs/SPECIFICATION.md, side by side with PM2 from npm.
bench: setup $(RELEASE)
	RPM_BIN=$(abspath $(RELEASE)) $(TARGET)/release/bench --pm2 $(DEPS)/node_modules/.bin/pm2 $(BENCH)

# The balancer beside nginx, HAProxy, Caddy and a Node proxy, on the same servers.
bench-edge: setup $(RELEASE)
	$(TARGET)/release/bench-edge --modules $(DEPS) $(BENCH)

# What logs cost, as ratios to `program > file`, with PM2 beside it.
bench-logs: setup $(RELEASE)
	RPM_BIN=$(abspath $(RELEASE)) $(TARGET)/release/bench-logs --pm2 $(DEPS)/node_modules/.bin/pm2 $(BENCH)

# The order in which the linker lays the program out: what runs comes first. To be made again when much has changed.
layout:
	RPM_SYMBOLS=1 $(CARGO) build --release -p rpm-cli -p rpm-bench
	python3 tools/layout.py $(RELEASE) tools/layout.sh > $(abspath $(TARGET))/layout.ld
	mv $(abspath $(TARGET))/layout.ld crates/rpm-cli/layout.ld

install: $(RELEASE)
	@sh tools/install.sh $(RELEASE) "$(DESTDIR)$(PREFIX)/bin" "$(NAME)"

uninstall:
	@sh tools/install.sh --remove "$(DESTDIR)$(PREFIX)/bin" "$(NAME)"

clean:
	$(CARGO) clean
