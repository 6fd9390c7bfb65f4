package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/bench"
	"github.com/sharedcontext/sharedcontext/v2/internal/count"
	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

type benchFlags struct {
	agents  []int
	mix     string
	pool    int
	asJSON  bool
	options bench.Options
}

func newBench(s streams) *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure operations that agents call at once",
		Long: `Has agents call operations in one session, each again when its last call has returned, and prints how long they took.
Operations of a mix: ` + strings.Join(bench.Names(), ", ") + `.

Without DATABASE_URL it starts a private PostgreSQL, whose commits do not wait for the disk. With it, it brings that
database up to date and writes a session of its own for each number of agents, created by "bench-…", and deletes it at the
end, unless --keep is given; of its audit rows the cleanup takes care. The exit code is 1 if an operation failed.`,
		Example: `  sharedcontext bench
  sharedcontext bench --agents 1,20,200 --mix add --duration 30s --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return runBench(ctx, s, flags)
		},
	}
	cmd.Flags().IntSliceVar(&flags.agents, "agents", []int{20}, "how many agents; several numbers are measured in turn")
	cmd.Flags().StringVar(&flags.mix, "mix", "add=70,page=10,poll=10,memory-get=5,memory-set=5", "operations and their weights")
	cmd.Flags().IntVar(&flags.pool, "pool", 20, "connections, 1 to 100")
	cmd.Flags().DurationVar(&flags.options.Duration, "duration", 10*time.Second, "how long to measure each number of agents")
	cmd.Flags().Int64Var(&flags.options.Operations, "operations", 0, "end after so many operations instead")
	cmd.Flags().Uint64Var(&flags.options.Seed, "seed", 1, "of the order of the operations")
	cmd.Flags().BoolVar(&flags.options.Keep, "keep", false, "leave the sessions in the database")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print one JSON list")
	cmd.MarkFlagsMutuallyExclusive("duration", "operations")
	return cmd
}

func runBench(ctx context.Context, s streams, flags benchFlags) error {
	var err error
	if flags.options.Mix, err = bench.ParseMix(flags.mix); err != nil {
		return usage("bench: %w", err)
	}
	if len(flags.agents) == 0 || slices.Min(flags.agents) < 1 || flags.pool < 1 || flags.pool > 100 || flags.options.Operations < 0 {
		return usage("bench: --agents must be 1 or more, --pool 1 to 100, --operations not negative")
	}
	measure := func(ctx context.Context, config store.Config) error {
		config.PoolSize, config.MaxConnections, config.MinConnections = flags.pool, flags.pool, -1
		return withConfig(ctx, config, func(ctx context.Context, manager *store.Manager) error {
			return benchAgents(ctx, s, flags, manager)
		})
	}
	if strings.TrimSpace(os.Getenv("DATABASE_URL")) == "" {
		return withServer(ctx, postgres.Options{}, func(ctx context.Context, url, _ string) error {
			return measure(ctx, store.Config{URL: url})
		})
	}
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	return measure(ctx, config)
}

// benchAgents measures each number of agents, and prints also what an interruption has left.
func benchAgents(ctx context.Context, s streams, flags benchFlags, manager *store.Manager) error {
	if err := manager.InitializeDatabase(ctx); err != nil {
		return err
	}
	reports, failed := []bench.Report{}, int64(0)
	var err error
	for _, agents := range flags.agents {
		if err != nil || ctx.Err() != nil {
			break
		}
		fmt.Fprintf(s.err, "%s in a new session\n", count.Of(int64(agents), "agent"))
		flags.options.Agents = agents
		var report bench.Report
		report, err = bench.Run(ctx, manager, flags.options)
		reports = append(reports, report)
		for _, n := range report.Errors {
			failed += n
		}
		if !flags.asJSON {
			writeBench(s.out, report)
		}
	}
	if flags.asJSON {
		err = errors.Join(err, printJSON(s.out, reports))
	}
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("bench: %s failed", count.Of(failed, "operation")))
	}
	return errors.Join(err, ctx.Err())
}

func writeBench(w io.Writer, r bench.Report) {
	fmt.Fprintf(w, "%s, %s operations/s in %.2f s\n", count.Of(int64(r.Agents), "agent"), count.Group(int64(r.PerSecond)), r.Seconds)
	fmt.Fprintf(w, "%-14s%10s%10s%10s%10s%10s%10s\n", "latency, ms", "p50", "p95", "p99", "p99.9", "max", "calls")
	line := func(name string, l latency.Summary) {
		fmt.Fprintf(w, "%-14s%10.2f%10.2f%10.2f%10.2f%10.2f%10s\n", name, l.P50, l.P95, l.P99, l.P999, l.Max, count.Group(l.Calls))
	}
	for _, name := range slices.Sorted(maps.Keys(r.ByOperation)) {
		line(name, r.ByOperation[name])
	}
	line("all", r.All)
	for _, text := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(w, "error, %s: %s\n", count.Of(r.Errors[text], "time"), text)
	}
}
