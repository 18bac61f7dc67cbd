# make run     fetches what is missing, builds release, starts the server with the demo page
# make test    installs what the tests need, starts real servers, runs everything
# make install  puts the program, the demo page, a configuration and a unit for systemd into place
# make bench   compares with a bare socketioxide server, measures text pushes and the chat, and counts
#              what pages get whose connections are cut
# make fuzz    gives every parser ten minutes of made-up input, fuzz-quick (a part of the test) seconds
# make deny    looks at the licences and origins of all that is built in
# Debian with Rust, Node and root is all that is assumed.

PREFIX := /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share/campanile
CLIENTS := tests/clients
BIN := target/release/campanile
DEBIAN := g++ curl php-cli php-curl chromium fonts-wqy-microhei fonts-noto-color-emoji postgresql nginx-light python3 openssl

.PHONY: run install test bench build tools lint rust-test client-test conformance budgets fuzz fuzz-quick deny clean

run: build web-demo/node_modules
	$(BIN) serve

build:
	cargo build --release --locked

# A configuration that is there stays; root alone reads it.
install: build web-demo/node_modules
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/campanile
	install -d $(SHARE)/node_modules/socket.io-client
	install -m 644 web-demo/*.html web-demo/*.css web-demo/*.js $(SHARE)
	cp -R web-demo/node_modules/socket.io-client/dist $(SHARE)/node_modules/socket.io-client/
	install -d $(DESTDIR)/etc/systemd/system
	test -e $(DESTDIR)/etc/campanile.toml \
	  || $(BIN) config | sed 's|^root = .*|root = "$(PREFIX)/share/campanile"|' \
	  | install -m 600 /dev/stdin $(DESTDIR)/etc/campanile.toml
	sed 's|/usr/local/bin|$(PREFIX)/bin|' packaging/campanile.service \
	  | install -m 644 /dev/stdin $(DESTDIR)/etc/systemd/system/campanile.service

test: tools lint rust-test client-test conformance budgets fuzz-quick

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --lib --locked -- -D warnings --cfg fuzzing
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

rust-test: tools
	cargo test --locked

client-test: tools build $(CLIENTS)/node_modules web-demo/node_modules
	cd $(CLIENTS) && npm test

conformance: build $(CLIENTS)/node_modules
	node --test tests/conformance/recorded.test.mjs

bench: build $(CLIENTS)/node_modules
	cargo build --release --locked --package bare
	node benches/compare.mjs
	node benches/cousins.mjs
	node benches/cuts.mjs

budgets: build $(CLIENTS)/node_modules
	cargo build --release --locked --package bare
	node benches/compare.mjs --quick --check
	node benches/cousins.mjs --quick --check
	node benches/cuts.mjs --quick --check

# What each target checks is in src/fuzzing.rs. cargo-fuzz is not needed, and stable Rust will do.
fuzz: tools
	fuzz/build
	fuzz/run 600

fuzz-quick: tools
	fuzz/build
	fuzz/run 3

# Built once, in some minutes.
CARGO_DENY := target/tools/bin/cargo-deny

deny: $(CARGO_DENY)
	$(CARGO_DENY) --locked check --hide-inclusion-graph licenses bans sources

$(CARGO_DENY):
	cargo install cargo-deny --locked --version 0.20.2 --root target/tools

# Installed once; nothing is fetched when all of it is there.
tools:
	@if ! command -v c++ >/dev/null || ! command -v curl >/dev/null || ! command -v php >/dev/null || ! php -m | grep -q '^curl$$' || ! command -v chromium >/dev/null \
	  || ! fc-list 2>/dev/null | grep -qi wqy || ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
	  || ! test -x /usr/sbin/nginx || ! command -v python3 >/dev/null || ! command -v openssl >/dev/null; then \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(DEBIAN); \
	fi

%/node_modules: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

clean:
	rm -rf target web-demo/node_modules $(CLIENTS)/node_modules
