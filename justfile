# Conveniences; `cargo` alone is enough for everything.

# Everything that must be green before a commit.
check: format lint test

format:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

test:
    cargo test --workspace

deny:
    cargo deny check bans licenses sources

# Throws bytes at one parser of what strangers and peers send, until stopped. Needs cargo-fuzz.
fuzz TARGET *ARGS:
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none {{TARGET}} -- {{ARGS}}

# Builds one plugin, ready for `host plugin install`.
plugin NAME:
    cargo build -p {{NAME}} --profile plugin --target wasm32-wasip2

# Prints one JSON line per measurement.
bench *ARGS:
    cargo bench -p shardhost-benches {{ARGS}}
