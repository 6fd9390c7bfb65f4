// Command soak lets agents write, read, search and follow for minutes while the server is killed, connections are cut,
// slowed down and silenced, and demands an exact account of every message at the end. It starts its own PostgreSQL, and a
// PgBouncer if that is installed, through which half of the agents go. It prints one line for each round, then a summary,
// and fails where a message is lost or doubled, for the ledger or for a follower, or where something grows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/pgbouncer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const statementTimeout = 5 * time.Second

// options are what the flags say.
type options struct {
	duration, round time.Duration
	agents          int
	seed            uint64
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long to go on")
	flag.DurationVar(&o.round, "round", 40*time.Second, "how long agents write to one session before it is checked")
	flag.IntVar(&o.agents, "agents", 10, "agents that write, for each way to the server")
	flag.Uint64Var(&o.seed, "seed", 1, "what the choice of faults begins with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	c, err := startCluster(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop(ctx)) }()
	config := store.Config{URL: c.url(), PoolSize: 10, AcquireTimeout: 10 * time.Second, StatementTimeout: statementTimeout, Logger: slog.New(slog.DiscardHandler)}
	direct, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, direct.Close(context.WithoutCancel(ctx))) }()
	if err := direct.InitializeDatabase(ctx); err != nil {
		return err
	}
	ways := map[string]*store.Manager{"direct": direct}
	pooler, err := pgbouncer.Start(ctx, pgbouncer.Options{Server: c.url(), PoolSize: 5})
	switch {
	case errors.Is(err, pgbouncer.ErrNotInstalled):
		fmt.Println("no pooler:", err)
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, pooler.Stop(context.WithoutCancel(ctx))) }()
		config.URL, config.DirectURL = pooler.URL("postgres")+"&pgbouncer=true", c.url()
		pooled, err := store.Open(ctx, config)
		if err != nil {
			return err
		}
		defer func() { _ = pooled.Close(context.WithoutCancel(ctx)) }()
		ways["pooler"] = pooled
	}

	random := rand.New(rand.NewPCG(o.seed, 0))
	var rounds []result
	for end := time.Now().Add(o.duration); time.Now().Before(end) && ctx.Err() == nil; {
		result, err := round(ctx, c, ways, o, random)
		if err != nil {
			if pooler != nil {
				if _, silent := pooler.Console(ctx, "SHOW VERSION"); silent != nil {
					err = fmt.Errorf("%w (the pooler does not answer: %w)", err, silent)
				}
			}
			return fmt.Errorf("round %d: %w", len(rounds)+1, err)
		}
		rounds = append(rounds, result)
		fmt.Printf("round %d: %v\n", len(rounds), result)
	}
	return summarize(rounds)
}

// summarize prints what all rounds come to, and fails where the last ones need more than the first.
func summarize(rounds []result) error {
	var all result
	for _, r := range rounds {
		all.add(r)
	}
	fmt.Printf("in all: %v\n", all)
	if len(rounds) < 4 {
		return nil // too few to tell growth from chance
	}
	first, last := rounds[1], rounds[len(rounds)-1] // the first round fills pools and caches
	fmt.Printf("from round 2 to %d: goroutines %d to %d, heap %.1f to %.1f MB, connections %d to %d\n", len(rounds),
		first.goroutines, last.goroutines, float64(first.heap)/1e6, float64(last.heap)/1e6, first.connections, last.connections)
	var grown []error
	if last.goroutines > first.goroutines+5 {
		grown = append(grown, fmt.Errorf("goroutines have grown from %d to %d", first.goroutines, last.goroutines))
	}
	if last.heap > first.heap*3/2+5e6 {
		grown = append(grown, fmt.Errorf("the heap has grown from %d to %d bytes", first.heap, last.heap))
	}
	if last.connections > first.connections+5 {
		grown = append(grown, fmt.Errorf("connections have grown from %d to %d", first.connections, last.connections))
	}
	return errors.Join(grown...)
}
