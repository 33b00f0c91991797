# The two commands: `make demo` does the main job on embedded parts, `make test`
# passes all tests. Both install what they need and say so.

export CGO_ENABLED := 0
# Two tags leave out Go plugins of kustomize and traces of gRPC, which nothing here uses: with them
# the linker must keep every method of every type, and the binary is 69 MB instead of 42.
export GOFLAGS := -trimpath -buildvcs=false -tags=kustomize_disable_go_plugin_support,grpcnotrace

.PHONY: help demo dagger test fuzz soak unit lint bench build tools clean

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## ./shipit
	go build -buildvcs=auto -ldflags="-s -w" -o shipit ./cmd/shipit

demo: ## two releases, a gateway moved by hand, a broken v3 taken back, a rollback: on a cluster, a host and a registry of its own
	@# The shell becomes the demo, which then gets the signals that end make. GOGC: see tools/devcluster/cluster/compile.go.
	@test -e .cache/demo/demo || echo '· building the demo itself (about 20s if nothing is cached)'
	@GOGC=400 go build -o .cache/demo/demo ./tools/demo && exec .cache/demo/demo

tools: ## the control plane, kwok, kubelet, bun and pnpm that tests and demo run on
	go run ./tools/devcluster build

# The packages that take longest begin first.
LONGEST = ./deploy/kube ./cmd/shipit ./deploy/host ./pipeline ./ledger ./attest

# Tests of ./tools/devcluster/cluster beside which there may be no other cluster: that one leaves
# nothing on the machine, and nobody listens where it was.
ALONE = TestARealNodeLeavesNothing|TestDownRemovesWhatUpMade

test: tools lint ## every test; what cannot run here is skipped, and named with the reason at the end
	@# Tests wait more than they compute: for pods, for a service to stay up, for a time limit. So more of them run at once than there are CPUs.
	@# Beside the second run is fuzzing, which makes no cluster. lint has vetted all packages.
	go run ./tools/gotest -vet=off -p 4 -parallel 5 -timeout 40m -skip '^($(ALONE))$$' $(LONGEST) ./... \
		-- -vet=off -timeout 20m -run '^($(ALONE))$$' ./tools/devcluster/cluster --beside nice make --no-print-directory fuzz

dagger: ## the tests with a real Dagger engine, reached in the standard way
	SHIPIT_TEST_DAGGER=1 go test -count=1 -timeout 30m -v -run 'TestARealEngine$$|TestARealEngineInstalls|TestARealEngineRunsTests|TestARealEngineHas' ./pipeline
	SHIPIT_TEST_DAGGER=1 go test -count=1 -timeout 10m -v ./examples/dagger
	if test -n "$$SHIPIT_TEST_DAGGER_MODULE"; then go test -count=1 -timeout 20m -v -run TestTheDaggerModuleWithARealEngine .; fi
	@# The engine is gone after this one.
	if test -n "$$SHIPIT_TEST_DAGGER_KILL"; then SHIPIT_TEST_DAGGER=1 go test -count=1 -timeout 5m -v -run TestARealEngineThatIsKilled ./pipeline; fi

FUZZTIME ?= 3s

fuzz: ## every fuzz target for a while: make fuzz FUZZTIME=10m
	@# Instrumented are this module's packages: `go test -fuzz` compiles all that they import a second time, too.
	@# Without a limit a new input is minimised for a minute, in which nothing is tried. And if a worker is busy when the
	@# time ends, Go may call that a failure, "context deadline exceeded", without any input that fails.
	@set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; trap 'exit 130' INT TERM; \
	for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n 1 dirname | sort -u); do \
		go test -c -gcflags='github.com/joelhooks/shipit/...=-d=libfuzzer' -o "$$work/fuzz" $$dir; \
		kept=$$(go env GOCACHE)/fuzz/$$(go list $$dir); \
		for target in $$("$$work/fuzz" -test.list '^Fuzz'); do \
			echo "fuzz $$target"; \
			search() { (cd $$dir && "$$work/fuzz" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 20x -test.fuzzcachedir "$$kept") >"$$work/said" 2>&1; }; \
			found() { ! grep -qx ' *context deadline exceeded' "$$work/said" || grep -qE 'Failing input|panic|seed#' "$$work/said"; }; \
			search || { ! found && echo "its time ran out while a worker was busy: once more" && search; } || { cat "$$work/said"; exit 1; }; \
		done; \
	done

SOAK ?= 35

soak: tools ## in SOAK minutes what make test does in short: accidents, faults, the fuzzers; all cases with SOAK=all, for hours
	@# The tests of accidents and faults share three fifths of the time: in each, as many cases begin as its part allows.
	SHIPIT_SOAK=$(SOAK_EACH) go test -count=1 -timeout 8h -v -run '^($(subst $() ,|,$(SOAK_TESTS)))$$' ./cmd/shipit
	SHIPIT_PARITY_TIME=$(SOAK_PARITY) go test -count=1 -timeout 2h -v -run Parity ./deploy/...
	@$(MAKE) --no-print-directory fuzz FUZZTIME=$(SOAK_FUZZ)

ifeq ($(SOAK),all)
SOAK_EACH = all
SOAK_PARITY = 30m
SOAK_FUZZ = 10m
else
SOAK_EACH = $(shell expr $(SOAK) \* 60 \* 3 / 5 / $(words $(SOAK_TESTS)))s
SOAK_PARITY = $(shell expr $(SOAK) \* 60 / 6)s
SOAK_FUZZ = $(shell expr $(SOAK) \* 60 / 5 / 16)s
endif

SOAK_TESTS = TestAKilledRunNeedsNoRepair TestAKilledRunNeedsNoRepairOnHosts \
	TestAStoppedRunChangesNothingAfterATakeover TestAStoppedRunChangesNothingOnHostsAfterATakeover \
	TestEveryCommandEndsWhateverItsServersDo TestEveryCommandEndsWhateverAMachineDoes TestEveryCommandEndsWhateverGitDoes TestAFullDisk

unit: ## tests that need no cluster
	go test -short ./...

lint: ## gofmt, vet, and golangci-lint where it is installed
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'gofmt would change these'; exit 1; }
	@# It compiles what the tests import, of which collecting garbage is a quarter.
	GOGC=400 go vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo 'lint: golangci-lint is not installed; go vet and the test of the import direction stand in for it'; fi

bench: ## shipit beside its peers, in one run; writes docs/benchmarks.md and bench/ratios.json
	cd bench && go run .

clean: ## what build made
	rm -rf shipit .cache/demo
