// Command table measures the same operations through the store and through its peers, and prints a table.
//
//	go run ./table             # some two minutes
//	go run ./table -rounds 200 # longer, for steadier figures
//	go run ./table -json
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func main() {
	rounds := flag.Int("rounds", 60, "how often to measure each operation through each tool")
	block := flag.Duration("block", 15*time.Millisecond, "how long to measure it each time")
	asJSON := flag.Bool("json", false, "print one JSON object")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "table: -rounds must be 1 or more, and there are no arguments")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, options{
		rounds: *rounds, block: *block, connections: 4,
		progress: func(round int) { fmt.Fprintf(os.Stderr, "\rround %d of %d", round+1, *rounds) },
	}, *asJSON)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ntable:", err)
		os.Exit(1)
	}
}

// run measures on a private server and prints.
func run(ctx context.Context, options options, asJSON bool) (err error) {
	// Vacuum runs between the rounds, not during them.
	server, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"autovacuum": "off"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	url := server.URL("postgres")
	manager, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Close(context.WithoutCancel(ctx))) }()
	if err := manager.InitializeDatabase(ctx); err != nil {
		return err
	}
	version, err := store.ExecuteQuery(store.NewContext(ctx, manager), "SHOW server_version")
	if err != nil {
		return err
	}
	results, err := measure(ctx, manager, url, options)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr)
	if !slices.ContainsFunc(results, func(r result) bool { return r.Tool == peer.SQLAlchemy }) {
		fmt.Fprintln(os.Stderr, "SQLAlchemy is left out: no Python with the packages of peer/requirements.txt; BENCH_PYTHON names another interpreter")
	}
	setting := fmt.Sprintf("PostgreSQL %s without fsync on the same machine, %s, %d CPUs, one call at a time, %d rounds of %v.",
		version[0]["server_version"], runtime.Version(), runtime.NumCPU(), options.rounds, options.block)
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Setting string   `json:"setting"`
			Results []result `json:"results"`
		}{setting, results})
	}
	return writeMarkdown(os.Stdout, setting, results)
}
