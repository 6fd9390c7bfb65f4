package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newCleanup(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Delete what has expired",
		Long: `Deletes memory entries that have expired and audit rows older than AUDIT_LOG_RETENTION_DAYS, in small batches, while the
services go on. It may run at any time, and several times at once.`,
		Example: `  sharedcontext cleanup
  AUDIT_LOG_RETENTION_DAYS=90 sharedcontext cleanup --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return withManager(ctx, func(ctx context.Context, _ *store.Manager) error {
				stats, err := store.CleanupExpiredData(ctx)
				if err != nil {
					return fmt.Errorf("after deleting %d memory entries and %d audit rows: %w",
						stats.ExpiredMemory, stats.OldAuditLogs, err)
				}
				if asJSON {
					return printJSON(s.out, stats)
				}
				fmt.Fprintf(s.out, "deleted %d expired memory entries and %d old audit rows\n", stats.ExpiredMemory, stats.OldAuditLogs)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
