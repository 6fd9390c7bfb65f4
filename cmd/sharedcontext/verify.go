package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newVerify(s streams) *cobra.Command {
	var onOrphan string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Compare an SQLite file of the first generation with the database",
		Long: `Applies the rules of import to each row of an SQLite file of the first generation and compares the result with what the
database holds: PASS or FAIL for each table, with a checksum of both sides and the first row that differs. It changes nothing.

How a file was imported is known from the import. For a file that was not, or that was written to since, ids are taken to be
kept, and --on-orphan says what became of rows whose session is gone. Rows that only the database has are not looked at.`,
		Example: `  sharedcontext verify chat_history.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOnOrphan("verify", onOrphan); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			options := importer.Options{OnOrphan: importer.OnOrphan(onOrphan), Progress: newRowProgress(s.err)}
			return withManager(ctx, func(ctx context.Context, manager *store.Manager) error {
				result, err := importer.Verify(ctx, manager, args[0], options)
				return showImport(s, "verify", asJSON, result, err)
			})
		},
	}
	addOnOrphan(cmd, &onOrphan)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
