package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// What keeps a database from being used, as an exit code of health.
const (
	exitUnreachable = 3
	exitSchema      = 4
)

// defaultHealthTimeout is shorter than DATABASE_TIMEOUT: a check that takes that long has its answer.
const defaultHealthTimeout = 10 * time.Second

func newHealth(s streams) *cobra.Command {
	var (
		asJSON  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the database how it is",
		Long: `Asks, on one connection of its own, whether the database can be reached and whether its schema is complete and up to date.
It ends after --timeout at the latest, or after DATABASE_TIMEOUT if that is shorter, also where a server takes the connection
and then says nothing.

Exit codes:
  0  healthy
  1  another failure, such as a setting that cannot be used
  2  wrong usage
  3  the database cannot be reached, does not let us in or does not answer in time
  4  the schema is missing, damaged, being migrated, or of another version than this program`,
		Example: `  sharedcontext health
  sharedcontext health --timeout 2s
  sharedcontext health --json | jq .connection_count`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usage("--timeout %s: must be more than 0", timeout)
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			status, problem := checkHealth(ctx, timeout)
			return showHealth(s, asJSON, status, problem)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultHealthTimeout, "how long to wait for the answer at most")
	return cmd
}

// checkHealth returns the answer of the database, and the error that keeps it from being used.
func checkHealth(ctx context.Context, timeout time.Duration) (store.HealthStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	config, err := store.ConfigFromEnv()
	if err != nil {
		return unhealthy(err)
	}
	config.MinConnections = -1 // one is enough, and may be the last one that the server has
	manager, err := store.Open(ctx, config)
	if err != nil {
		return unhealthy(err)
	}
	status := store.HealthCheck(store.NewContext(ctx, manager))
	// A server that does not answer does not say goodbye either. The end of the program closes what is still open then.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = manager.Close(ctx)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
	}
	return status, status.Err()
}

// unhealthy is the answer where there is nobody to ask, as there is no usable configuration.
func unhealthy(err error) (store.HealthStatus, error) {
	return store.HealthStatus{Status: "unhealthy", Timestamp: store.UTCTimestamp(), Error: oneLine(err)}, err
}

func showHealth(s streams, asJSON bool, status store.HealthStatus, problem error) error {
	if asJSON {
		if err := printJSON(s.out, status); err != nil {
			return err
		}
	} else {
		printHealth(s.out, status)
	}
	if status.Healthy() {
		return nil
	}
	exit := &exitError{code: exitFailure}
	switch {
	case errors.As(problem, new(*store.DatabaseConnectionError)):
		exit.code = exitUnreachable
	case errors.As(problem, new(*store.DatabaseSchemaError)):
		exit.code = exitSchema
	}
	if !asJSON { // the object says why
		exit.cause = errors.New("unhealthy: " + status.Error)
	}
	return exit
}

func printHealth(w io.Writer, status store.HealthStatus) {
	fmt.Fprintf(w, "%-13s%s\n", "status", status.Status)
	fmt.Fprintf(w, "%-13s%s\n", "reachable", yesNo(status.DatabaseExists))
	if status.DatabaseExists {
		fmt.Fprintf(w, "%-13s%s\n", "initialized", yesNo(status.DatabaseInitialized))
		fmt.Fprintf(w, "%-13s%.1f MB\n", "size", status.DatabaseSizeMB)
		fmt.Fprintf(w, "%-13s%d\n", "connections", status.ConnectionCount)
	}
	fmt.Fprintf(w, "%-13s%s\n", "asked at", status.Timestamp)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
