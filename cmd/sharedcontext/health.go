package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newHealth(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the database how it is",
		Long: `Asks whether the database can be reached and whether its schema is complete and up to date. It waits no longer than
DATABASE_TIMEOUT. The exit code is 0 for a healthy database and 1 for any other.`,
		Example: `  sharedcontext health
  sharedcontext health --json | jq .connection_count`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return health(ctx, s, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func health(ctx context.Context, s streams, asJSON bool) error {
	var status store.HealthStatus
	err := withManager(ctx, func(ctx context.Context, _ *store.Manager) error {
		status = store.HealthCheck(ctx)
		return nil
	})
	if err != nil && status.Status == "" {
		// Without a usable configuration there is nothing to ask.
		status = store.HealthStatus{Status: "unhealthy", Timestamp: store.UTCTimestamp(), Error: oneLine(err)}
	}
	if asJSON {
		if err := printJSON(s.out, status); err != nil {
			return err
		}
	} else {
		printHealth(s.out, status)
	}
	switch {
	case status.Healthy():
		return err
	case asJSON:
		return &exitError{code: exitFailure} // the object says why
	default:
		return errors.New("unhealthy: " + status.Error)
	}
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
