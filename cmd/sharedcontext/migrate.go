package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newMigrate(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Change the schema of the database",
		Long: `Changes the schema of the database that DATABASE_URL names, or DIRECT_DATABASE_URL where DATABASE_URL is a pooler. One
process at a time migrates a database; the others wait for it. Databases of the first generation are adopted in place.`,
		Example: `  sharedcontext migrate status
  sharedcontext migrate up
  sharedcontext migrate down --to 4`,
		Args: noCommand,
		RunE: func(*cobra.Command, []string) error { return usage("migrate: say up, down, status or force") },
	}
	cmd.AddCommand(newMigrateUp(s), newMigrateDown(s), newMigrateStatus(s), newMigrateForce(s))
	return cmd
}

// withMigrator calls fn with a migrator of the database that the environment names, and closes it.
func withMigrator(ctx context.Context, fn func(ctx context.Context, migrator *store.Migrator) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	migrator, err := store.OpenMigrator(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, migrator), migrator.Close())
}

func newMigrateUp(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "up",
		Short:   "Create the schema or bring it up to date",
		Example: `  sharedcontext migrate up`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMigrator(cmd.Context(), func(ctx context.Context, migrator *store.Migrator) error {
				return move(s, migrator, func() error { return migrator.Up(ctx) })
			})
		},
	}
}

func newMigrateDown(s streams) *cobra.Command {
	var to uint
	var yes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take migrations back",
		Long: `Takes the last migration back, or all down to the one that --to names. Rows and columns that only the newer schema has
are lost; --to 0 drops everything. It asks first; where nobody can be asked, it needs --yes.`,
		Example: `  sharedcontext migrate down
  sharedcontext migrate down --to 4 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes && !isTerminal(s.in) {
				return usage("migrate down: it may lose data and there is no terminal to ask on: confirm with --yes")
			}
			return withMigrator(cmd.Context(), func(ctx context.Context, migrator *store.Migrator) error {
				status, err := migrator.Status()
				if err != nil {
					return err
				}
				target := to
				if !cmd.Flags().Changed("to") {
					target = max(status.Version, 1) - 1
				}
				if status.Version == 0 {
					return errors.New("migrate down: no migration is applied")
				}
				if target >= status.Version {
					return fmt.Errorf("migrate down: the database is at version %d, which is not above %d", status.Version, target)
				}
				if !yes && !confirm(ctx, s, question(status.Version, target)) {
					return errors.New("migrate down: not confirmed, nothing was changed")
				}
				return move(s, migrator, func() error { return migrator.To(ctx, target) })
			})
		},
	}
	cmd.Flags().UintVar(&to, "to", 0, "the last migration to keep, 0 for none (default: the one before the current)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func question(from, to uint) string {
	if to == 0 {
		return fmt.Sprintf("Take all migrations from version %d back and lose ALL data?", from)
	}
	return fmt.Sprintf("Take the database from version %d back to %d? Data that only the newer schema has is lost.", from, to)
}

// confirm asks a person. Only a written yes counts.
func confirm(ctx context.Context, s streams, question string) bool {
	fmt.Fprintf(s.err, "%s [yes/no] ", question)
	answer := make(chan string, 1)
	go func() { // reading cannot be interrupted; it ends with the program
		line, _ := bufio.NewReader(s.in).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.EqualFold(strings.TrimSpace(line), "yes")
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return false
	}
}

func newMigrateStatus(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which migrations are applied",
		Example: `  sharedcontext migrate status
  sharedcontext migrate status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return withManager(ctx, func(ctx context.Context, manager *store.Manager) error {
				status, err := manager.MigrationStatus(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(s.out, status)
				}
				fmt.Fprintln(s.out, describe(status))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// describe puts a status into words.
func describe(status store.MigrationStatus) string {
	text := fmt.Sprintf("version %d of %d: ", status.Version, status.Latest)
	switch {
	case status.Dirty:
		return text + `interrupted; run "sharedcontext migrate up", which says how to go on`
	case status.Version > status.Latest:
		return text + "migrated by a newer program"
	case status.Version == status.Latest:
		return text + "up to date"
	default:
		return text + fmt.Sprintf(`%d to apply with "sharedcontext migrate up"`, status.Latest-status.Version)
	}
}

func newMigrateForce(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "force VERSION",
		Short: "Record a version without running anything",
		Long: `Records that the migrations up to VERSION, and no others, are applied, and that none was interrupted. Nothing is run: it
is the way out of an interrupted migration, after a person has seen to it that the schema is what VERSION means.`,
		Example: `  sharedcontext migrate force 6`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil {
				return usage("migrate force: %q is not the number of a migration", args[0])
			}
			return withMigrator(cmd.Context(), func(_ context.Context, migrator *store.Migrator) error {
				return move(s, migrator, func() error { return migrator.Force(uint(version)) })
			})
		},
	}
}

// move changes the version and says from where to where.
func move(s streams, migrator *store.Migrator, change func() error) error {
	before, err := migrator.Status()
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := migrator.Status()
	if err != nil {
		return err
	}
	if before.Version == after.Version {
		fmt.Fprintln(s.out, describe(after))
	} else {
		fmt.Fprintf(s.out, "from version %d, now %s\n", before.Version, describe(after))
	}
	return nil
}
