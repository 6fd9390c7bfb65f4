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
	plot    string
	pgbench bool
	rounds  int
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
end, unless --keep is given; of its audit rows the cleanup takes care. The exit code is 1 if an operation failed.

With --pgbench agents only add messages, and in turn with them pgbench sends the same statement with as many clients.`,
		Example: `  sharedcontext bench
  sharedcontext bench --agents 1,20,200 --mix add --duration 30s --json
  sharedcontext bench --agents 1,20,200 --plot bench.html
  sharedcontext bench --pgbench --agents 20 --duration 20s`,
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
	cmd.Flags().DurationVar(&flags.options.Warmup, "warmup", 2*time.Second, "how long to call before that; not with --operations")
	cmd.Flags().Int64Var(&flags.options.Operations, "operations", 0, "end after so many operations instead")
	cmd.Flags().Uint64Var(&flags.options.Seed, "seed", 1, "of the order of the operations")
	cmd.Flags().BoolVar(&flags.options.Keep, "keep", false, "leave the sessions in the database")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print one JSON list")
	cmd.Flags().StringVar(&flags.plot, "plot", "", "file for a page in HTML with latency over time and by number of agents")
	cmd.Flags().BoolVar(&flags.pgbench, "pgbench", false, "compare with pgbench")
	cmd.Flags().IntVar(&flags.rounds, "rounds", 3, "how many times in turn with --pgbench")
	cmd.MarkFlagsMutuallyExclusive("duration", "operations")
	cmd.MarkFlagsMutuallyExclusive("warmup", "operations")
	for _, flag := range []string{"mix", "operations", "plot", "keep", "warmup"} {
		cmd.MarkFlagsMutuallyExclusive("pgbench", flag)
	}
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
	if flags.options.Operations > 0 {
		flags.options.Warmup = 0
	}
	var pgbench string
	if flags.pgbench {
		if flags.rounds < 1 || flags.options.Duration < time.Second {
			return usage("bench: --rounds must be 1 or more, --duration with --pgbench a second or more")
		}
		if pgbench, err = bench.FindPgbench(); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	measure := func(ctx context.Context, config store.Config) error {
		config.PoolSize, config.MaxConnections, config.MinConnections = flags.pool, flags.pool, -1
		config.StatementTimeout = -1 // a session of a long run takes its time to be deleted
		return withConfig(ctx, config, func(ctx context.Context, manager *store.Manager) error {
			if flags.pgbench {
				return comparePgbench(ctx, s, flags, config, manager, pgbench)
			}
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
	if flags.plot != "" {
		err = errors.Join(err, os.WriteFile(flags.plot, []byte(bench.Plot(reports)), 0o644)) //nolint:gosec // a page for everyone
	}
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("bench: %s failed", count.Of(failed, "operation")))
	}
	return errors.Join(err, ctx.Err())
}

// comparePgbench measures each number of agents beside pgbench.
func comparePgbench(ctx context.Context, s streams, flags benchFlags, config store.Config, manager *store.Manager, pgbench string) error {
	if err := manager.InitializeDatabase(ctx); err != nil {
		return err
	}
	comparisons := []bench.Comparison{}
	for _, agents := range flags.agents {
		fmt.Fprintf(s.err, "%s and pgbench in turn, %s\n", count.Of(int64(agents), "agent"), count.Of(int64(flags.rounds), "time"))
		c, err := bench.Compare(ctx, config, manager, pgbench, agents, flags.rounds, flags.options.Duration)
		if err != nil {
			return err
		}
		comparisons = append(comparisons, c)
		if !flags.asJSON {
			fmt.Fprintf(s.out, "%s adding messages: store %.0f a second, pgbench %.0f, ratio of the medians %.2f\n",
				count.Of(int64(agents), "agent"), c.Store, c.Pgbench, c.Ratio)
		}
	}
	if flags.asJSON {
		return printJSON(s.out, comparisons)
	}
	return nil
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
