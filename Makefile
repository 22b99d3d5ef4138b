# What there is to do with a clone. Everything needs Rust (rustup.rs) and a Debian-like system;
# the scripts install the few packages that they need and say which.

.PHONY: demo test soak deny bench micro deb oracle

demo: ## shows the main job in under a minute, on a real IPVS table
	tests/lab/demo

test: ## format, lints, docs, all tests, those on a real kernel too
	tests/run

soak: ## the same tests for hours: 200 times kill -9, a million histories, texts and hostile answers
	tests/soak

deny: ## licences, bans and sources of the dependencies
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

bench: ## measures beside keepalived and the floor; writes tests/bench/RESULTS.md (an hour; QUICK=1: ten minutes)
	tests/bench/run

micro: ## measures what runs for each server, each part beside its floor (ONLY=parse, diff, step …: some of it)
	cargo bench --locked --bench micro -- $(ONLY)

deb: ## a Debian package in target/
	cargo build --release --locked
	packaging/deb/build "$${CARGO_TARGET_DIR:-target}/release/lvsentry" "$${CARGO_TARGET_DIR:-target}"

oracle: ## records anew what ldirectord makes of tests/oracle/cases (from a private root; nothing is installed here)
	tests/oracle/record
