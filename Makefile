# `make help` lists the targets. Tools are built into .bin/ from the versions pinned in go.mod and here.

GO            ?= go
BIN           := $(CURDIR)/.bin
GOLANGCI_LINT := v2.15.0
COVER_MIN     := 84
TESTFLAGS     ?=
FUZZTIME      ?= 1m
SOAK          ?= 10m
BENCHFLAGS    ?=
SIZES         ?= 10000,1000000,10000000

# Where the tests find a server, first match: STORETEST_DATABASE_URL, installed PostgreSQL binaries, a download.

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(BIN)/sqlc $(BIN)/golangci-lint ## Download the modules and build the tools (the other targets do what they need of it)
	$(GO) mod download

.PHONY: demo
demo: ## Start a private PostgreSQL, let agents write and read a shared context, check the result
	$(GO) run ./cmd/sharedcontext demo

.PHONY: test
test: ## Run all tests with the race detector
	$(GO) test -race $(TESTFLAGS) ./...
	cd telemetry && $(GO) test -race $(TESTFLAGS) ./...
	@./.ci/test-deps --check

.PHONY: test-deps
test-deps: ## Install the Debian packages that tests need: PgBouncer, PostgreSQL
	@./.ci/test-deps

.PHONY: test-pooler
test-pooler: ## Run the tests of the store through a PgBouncer in transaction mode
	STORETEST_PGBOUNCER=1 $(GO) test -race $(TESTFLAGS) ./store_test

# The tests of the store by category, each a list of files of store_test/. What is in none of them is integration.
CONCURRENCY := concurrency memory_concurrency tokens_refresh message_keys transaction_options cleanup cleanup_sessions audit_seal
SECURITY    := visibility hostile_text hostile_arguments query_log tokens tokens_secrecy memory_input dependencies access reader_scope reader_role supabase
FAILURE     := connection_failure starvation manager_close transaction_misuse initialize migrations migration_cancel pooler

.PHONY: test-unit test-integration test-concurrency test-security test-faults test-failure
test-unit: ## Run the tests that need no database operations: rules of input, URLs, placeholders, times
	$(GO) test -race $(TESTFLAGS) ./store ./schema
test-integration: ## Run the tests of the store on a server that are in no other category
	$(GO) test -race $(TESTFLAGS) ./store_test -skip "$$(./.ci/tests-in $(CONCURRENCY) $(SECURITY) $(FAILURE))"
test-concurrency: ## Run the tests of many agents, processes and retries at once
	$(GO) test -race $(TESTFLAGS) ./store_test -run "$$(./.ci/tests-in $(CONCURRENCY))"
test-security: ## Run the tests of visibility, hostile input, secrets and tampering
	$(GO) test -race $(TESTFLAGS) ./store_test -run "$$(./.ci/tests-in $(SECURITY))"
test-faults: ## Run the tests that cut connections, kill servers and fill disks under load, with a ledger of what was acknowledged
	$(GO) test -race $(TESTFLAGS) ./fault_test ./internal/faultproxy ./internal/ledger
test-failure: ## Run the tests of lost servers, cancelled work, misuse and interrupted migrations
	$(GO) test -race $(TESTFLAGS) ./store_test -run "$$(./.ci/tests-in $(FAILURE))"

.PHONY: cover
cover: ## Run the tests and print the coverage of hand-written code; fails below $(COVER_MIN) %
	$(GO) test -coverpkg=./store,./storetest,./schema,./internal/...,./cmd/... -coverprofile=coverage.out ./...
	cd telemetry && $(GO) test -coverprofile=coverage.out ./... && tail -n +2 coverage.out >>../coverage.out
	@./.ci/coverage coverage.out $(COVER_MIN)

.PHONY: bench
bench: ## Run the benchmarks of the store beside hand-written pgx
	$(GO) test -run '^$$' -bench . -benchmem -count 6 ./store_test
	cd telemetry && $(GO) test -run '^$$' -bench . -benchmem -count 6

.PHONY: bench-indexes
bench-indexes: ## Measure what each index costs the operations, before and after the indexes that serve none were dropped
	@$(GO) build -o $(BIN)/sharedcontext ./cmd/sharedcontext && $(GO) build -o $(BIN)/indexcost ./internal/cmd/indexcost
	@$(BIN)/sharedcontext dev --temporary -- sh -ec '$(BIN)/sharedcontext load --messages 200000 --sessions 200 && \
		$(BIN)/sharedcontext migrate down --to 13 --yes && $(BIN)/indexcost && \
		$(BIN)/sharedcontext migrate up && $(BIN)/indexcost -trigrams'

.PHONY: bench-sizes
bench-sizes: ## Measure hot operations with 10 thousand, 1 million and 10 million messages stored, and plot them
	@$(GO) build -o $(BIN)/sharedcontext ./cmd/sharedcontext && $(GO) build -o $(BIN)/sizelatency ./internal/cmd/sizelatency
	@$(BIN)/sharedcontext dev --temporary -- $(BIN)/sizelatency -sizes $(SIZES) -plot docs/latency-by-size.svg

.PHONY: soak
soak: ## Let agents work for SOAK (10m) while servers and connections fail, and demand an exact account of it
	$(GO) run ./internal/cmd/soak -duration $(SOAK)

.PHONY: bench-follow
bench-follow: ## Measure what followers of a session cost its writers, and the delay from commit to follower
	@$(GO) build -o $(BIN)/sharedcontext ./cmd/sharedcontext && $(GO) build -o $(BIN)/followcost ./internal/cmd/followcost
	@$(BIN)/sharedcontext dev --temporary -- sh -ec '$(BIN)/sharedcontext migrate up >&2 && $(BIN)/followcost'

.PHONY: bench-peers
bench-peers: ## Print a table of the same operations through the store, pgx, database/sql, sqlx, GORM, bun and ent
	cd bench && $(GO) run ./table $(BENCHFLAGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (1m)
	@for package in ./store ./internal/fuzzy; do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$package/*_test.go | cut -d' ' -f2); do \
			echo "$$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; done; done

.PHONY: generate
generate: $(BIN)/sqlc ## Compile queries/ and schema/ into gen/, and list what the schema holds
	$(BIN)/sqlc generate
	$(GO) run ./internal/cmd/schemaobjects schema/objects.txt

.PHONY: verify
verify: $(BIN)/sqlc ## Fail when generated code is not what a clean run writes
	@rm -rf $(BIN)/verify && mkdir -p $(BIN)/verify && mv gen schema/objects.txt $(BIN)/verify/ && mkdir gen && touch schema/objects.txt
	@$(MAKE) --no-print-directory generate || { rm -rf gen && mv $(BIN)/verify/gen . && mv $(BIN)/verify/objects.txt schema/; exit 1; }
	@diff -r $(BIN)/verify/gen gen && diff $(BIN)/verify/objects.txt schema/objects.txt || \
		{ echo "generated code was stale: commit what make generate has written now" >&2; exit 1; }

.PHONY: vet-sql
vet-sql: $(BIN)/sqlc ## Prepare every query on a migrated database and refuse unbounded writes
	$(GO) run ./cmd/sharedcontext dev --temporary -- sh -c 'SQLC_DATABASE_URL="$$DATABASE_URL" $(BIN)/sqlc vet'

.PHONY: lint
lint: $(BIN)/golangci-lint ## Check formatting and run the linters
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(BIN)/golangci-lint run
	cd telemetry && $(GO) mod tidy -diff && $(GO) vet ./... && $(BIN)/golangci-lint run
	@./.ci/file-rules

.PHONY: fmt
fmt: $(BIN)/golangci-lint ## Format the Go code
	$(BIN)/golangci-lint fmt

.PHONY: clean
clean: ## Remove what the targets have built
	rm -rf $(BIN) coverage.out telemetry/coverage.out

$(BIN)/sqlc: go.mod
	$(GO) build -o $@ github.com/sqlc-dev/sqlc/cmd/sqlc

$(BIN)/golangci-lint: Makefile
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	@touch $@
