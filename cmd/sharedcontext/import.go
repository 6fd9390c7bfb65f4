package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

type importFlags struct {
	dryRun, remapIDs, asJSON bool
	report, onOrphan         string
	batch                    int
}

func newImport(s streams) *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Move a deployment of the first generation, an SQLite file, into the database",
		Long: `Copies sessions, messages, memory, audit log and tokens of an SQLite file of the first generation into the database that
DATABASE_URL names, whose schema it creates or brings up to date. Ids and times are kept, and the sequences continue behind
the ids. Then it reads everything back, compares it with the file and says PASS or FAIL; at FAIL nothing is imported.

The file is not changed, and what its -wal holds is included. A server may go on writing to it: what is imported is the
state of the moment at which the import began.

An import is there completely or not at all. After an interruption of any kind, run it again. A file that is in the database
already is only compared with it. Where rows of the file have ids that other rows of the database have, nothing is imported;
with --remap-ids the rows of the file get new ids, and what refers to them follows.

What PostgreSQL or the rules of the schema cannot hold is repaired by fixed rules, and each case is in the report: a JSON
object per line with table, id, rule, and the value before and after.`,
		Example: `  sharedcontext import --dry-run chat_history.db
  sharedcontext import chat_history.db
  sharedcontext import --report moved.jsonl --on-orphan skip --json chat_history.db`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return runImport(ctx, s, flags, args[0])
		},
	}
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be done, write nothing to the database")
	cmd.Flags().StringVar(&flags.report, "report", "", "file for the report (default: name of FILE with .import-report.jsonl, in this directory; none with --dry-run)")
	cmd.Flags().IntVar(&flags.batch, "batch", importer.DefaultBatch, "rows that travel together")
	addOnOrphan(cmd, &flags.onOrphan)
	cmd.Flags().BoolVar(&flags.remapIDs, "remap-ids", false, "give messages, memory, audit rows and tokens new ids, and sessions whose id is taken")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print one JSON object")
	return cmd
}

func addOnOrphan(cmd *cobra.Command, onOrphan *string) {
	cmd.Flags().StringVar(onOrphan, "on-orphan", string(importer.Placeholder),
		"rows whose session is gone: placeholder makes a session for them, skip leaves them to the report")
}

func checkOnOrphan(command, onOrphan string) error {
	if onOrphan != string(importer.Placeholder) && onOrphan != string(importer.Skip) {
		return usage("%s: --on-orphan is %q, neither placeholder nor skip", command, onOrphan)
	}
	return nil
}

func (f importFlags) check() error {
	if f.batch < 1 || f.batch > 100_000 {
		return usage("import: --batch is %d, not in 1 to 100000", f.batch)
	}
	return checkOnOrphan("import", f.onOrphan)
}

func runImport(ctx context.Context, s streams, flags importFlags, file string) error {
	options := importer.Options{
		OnOrphan: importer.OnOrphan(flags.onOrphan), RemapIDs: flags.remapIDs, DryRun: flags.dryRun, Batch: flags.batch,
		Report: flags.report, Progress: newRowProgress(s.err),
	}
	if options.Report == "" && !flags.dryRun {
		options.Report = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)) + ".import-report.jsonl"
	}
	if !flags.asJSON {
		options.Planned = func(plan *importer.Result) { plan.WritePlan(s.out) }
	}
	return withManager(ctx, func(ctx context.Context, manager *store.Manager) error {
		result, err := importer.Import(ctx, manager, file, options)
		return showImport(s, "import", flags.asJSON, result, err)
	})
}

// showImport prints what an import or a verification found, and makes a failed one the exit code 1.
func showImport(s streams, command string, asJSON bool, result *importer.Result, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if asJSON {
		if err := printJSON(s.out, result); err != nil {
			return err
		}
	} else {
		result.WriteText(s.out)
	}
	if !result.Pass {
		return &exitError{exitFailure, errors.New(command + ": " + result.Verdict())}
	}
	return nil
}
