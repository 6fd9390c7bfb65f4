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
		Long: `Deletes memory entries that have expired, sessions marked inactive in which nothing has happened for
INACTIVE_SESSION_RETENTION_DAYS, tokens that ended a week ago, and audit rows older than AUDIT_LOG_RETENTION_DAYS, in small
batches, while the services go on. It may run at any time, and several times at once. At the end it seals the audit log.`,
		Example: `  sharedcontext cleanup
  AUDIT_LOG_RETENTION_DAYS=90 sharedcontext cleanup --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return withManager(ctx, func(ctx context.Context, m *store.Manager) error {
				report, err := m.Cleanup(ctx)
				done := fmt.Sprintf("%d expired memory entries, %d inactive sessions, %d expired tokens and %d old audit rows",
					report.ExpiredMemory, report.InactiveSessions, report.ExpiredTokens, report.OldAuditLogs)
				if err != nil {
					return fmt.Errorf("after deleting %s: %w", done, err)
				}
				if asJSON {
					return printJSON(s.out, report)
				}
				fmt.Fprintf(s.out, "deleted %s\n", done)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
