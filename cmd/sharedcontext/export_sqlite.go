package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/sqliteexport"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newExportSQLite(s streams) *cobra.Command {
	var asJSON bool
	options := sqliteexport.Options{}
	cmd := &cobra.Command{
		Use:   "export-sqlite FILE",
		Short: "Write what the database holds into a file of the first generation",
		Long: `Writes the database of DATABASE_URL into a new SQLite file that servers of the first generation open: its tables, triggers,
indexes and views, its ways of writing times, the same ids. The file holds the state of one moment; services may go on
writing. It is compared with the database and gets its name only when it holds the same: a run that fails leaves no file.

What the first generation does not know is left out and named. A row that breaks one of its rules fails the export.`,
		Example: `  sharedcontext export-sqlite chat_history.db
  sharedcontext export-sqlite --force --json chat_history.db`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			options.Progress = newRowProgress(s.err)
			return withManager(ctx, func(ctx context.Context, manager *store.Manager) error {
				result, err := sqliteexport.Export(ctx, manager, args[0], options)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(s.out, result)
				}
				fmt.Fprintf(s.out, "%-15s%10s  %s\n", "table", "rows", "verification")
				for _, table := range result.Tables {
					fmt.Fprintf(s.out, "%-15s%10d  PASS, sha256 %.16s\n", table.Table, table.Rows, table.Checksum)
				}
				fmt.Fprintf(s.out, "left out, as the first generation does not know them: %s\n", strings.Join(result.LeftOut, ", "))
				fmt.Fprintf(s.out, "PASS: %s holds what the database holds\n", result.File)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&options.Force, "force", false, "replace FILE if it is there")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
