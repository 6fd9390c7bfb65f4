package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newAccess(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Say who may do what in the database",
		Long: `Makes the roles by which a service uses the database without owning it, or says what the role of DATABASE_URL may do. A
service with a role of its own does what the operations of the store do, and cannot change the schema, a message or the
audit log; to read as an agent it becomes the reader, who sees what the rules of visibility show that agent.`,
		Example: `  sharedcontext access grant
  sharedcontext access sql
  sharedcontext access check --json`,
		Args: noCommand,
		RunE: func(*cobra.Command, []string) error { return usage("access: say grant, sql or check") },
	}
	cmd.AddCommand(newAccessGrant(s), newAccessSQL(s), newAccessCheck(s))
	return cmd
}

// rolesFlags adds the flags that name the roles.
func rolesFlags(cmd *cobra.Command, roles *store.AccessRoles) {
	cmd.Flags().StringVar(&roles.Service, "service-role", "", "the role of services (default sharedcontext_service)")
	cmd.Flags().StringVar(&roles.Reader, "reader-role", "", "the role that a service becomes to read as an agent (default DATABASE_READER_ROLE, else sharedcontext_reader)")
}

// fromEnv fills in the name by which services look for the reader.
func fromEnv(roles store.AccessRoles) store.AccessRoles {
	roles.Reader = cmp.Or(roles.Reader, strings.TrimSpace(os.Getenv("DATABASE_READER_ROLE")))
	return roles
}

func newAccessGrant(s streams) *cobra.Command {
	var roles store.AccessRoles
	cmd := &cobra.Command{
		Use:   "grant",
		Short: "Make the roles, with the rights and policies that they need",
		Long: `Makes the roles where they are missing and gives them what they need, no more and no less. It may be run again, and must be
after a migration that adds a table. It needs the owner of the tables, by DIRECT_DATABASE_URL or DATABASE_URL, and
CREATEROLE where a role is missing. The roles cannot log in: grant the service to the login of your program, or make it one.`,
		Example: `  sharedcontext access grant
  sharedcontext access grant --service-role app --reader-role app_reader`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := withMigrator(cmd.Context(), func(ctx context.Context, migrator *store.Migrator) error {
				return migrator.GrantAccess(ctx, fromEnv(roles))
			})
			if err == nil {
				fmt.Fprintln(s.out, `access granted; "sharedcontext access check" with the URL of a service says what it may`)
			}
			return err
		},
	}
	rolesFlags(cmd, &roles)
	return cmd
}

func newAccessSQL(s streams) *cobra.Command {
	var roles store.AccessRoles
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Print what grant runs",
		Long: `Prints the SQL that grant runs, for an administrator to read and to run with psql or in an editor. It asks no database, and
may be run before the migration that brings row-level security as well.`,
		Example: `  sharedcontext access sql
  sharedcontext access sql --service-role app > access.sql`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			script, err := fromEnv(roles).SQL()
			if err != nil {
				return usage("access sql: %w", err)
			}
			fmt.Fprint(s.out, script)
			return nil
		},
	}
	rolesFlags(cmd, &roles)
	return cmd
}

func newAccessCheck(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what the role of DATABASE_URL may do",
		Long: `Asks the database what the role of DATABASE_URL may and may not do, by its rights and by the policies of row-level
security. The exit code is 0 when it could be asked.`,
		Example: `  sharedcontext access check
  sharedcontext access check --json | jq .operations`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return withManager(ctx, func(ctx context.Context, m *store.Manager) error {
				report, err := m.CheckAccess(ctx)
				switch {
				case err != nil:
					return err
				case asJSON:
					return printJSON(s.out, report)
				}
				printAccess(s.out, report)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printAccess(w io.Writer, report store.AccessReport) {
	line := func(name, text string) { fmt.Fprintf(w, "%-20s%s\n", name, text) }
	line("role", report.Role)
	switch {
	case report.Superuser:
		line("is kept from", "nothing: it is a superuser")
	case report.Owner:
		line("is kept from", "nothing: it owns the tables")
	case report.BypassesRowSecurity:
		line("is kept from", "no row: it bypasses row-level security")
	}
	line("row-level security", map[bool]string{true: "on", false: "not on for every table"}[report.RowSecurity])
	for _, operation := range report.Operations {
		text := "may"
		if !operation.Allowed {
			text = "may not, for lack of " + strings.Join(operation.Missing, ", ")
		}
		line(operation.Name, text)
	}
	if len(report.Excess) > 0 {
		line("needs not", strings.Join(report.Excess, ", "))
	}
}
