package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exitError ends the program with a code. Without a cause nothing more is said.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// usage is the error of a command that was called wrongly.
func usage(format string, arguments ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, arguments...)}
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s) //nolint:contextcheck // commands take the context from cobra
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	// Cobra's own complaints, about flags and arguments, come before a command has started.
	started := false
	markStart(root, &started)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitFailure, err}
		if !started {
			exit.code = exitUsage
		}
	}
	if exit.cause != nil {
		text := oneLine(exit.cause)
		if exit.code == exitUsage {
			text += fmt.Sprintf(" (see %s --help)", command.CommandPath())
		}
		fmt.Fprintf(s.err, "sharedcontext: %s\n", text)
	}
	return exit.code
}

// markStart makes every command note that it runs.
func markStart(command *cobra.Command, started *bool) {
	if runE := command.RunE; runE != nil {
		command.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return runE(cmd, args)
		}
	}
	for _, child := range command.Commands() {
		markStart(child, started)
	}
}

// oneLine writes an error into one line. Errors that were joined come one per line.
func oneLine(err error) string {
	var lines []string
	if errors.Is(err, context.Canceled) {
		lines = append(lines, "interrupted")
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "sharedcontext",
		Short: "Look after the database of a shared-context server",
		Long: `sharedcontext looks after the PostgreSQL database of a shared-context server.

The database is the one that DATABASE_URL names; DIRECT_DATABASE_URL, if it is set, is used for migrations. The commands
dev and demo start a private PostgreSQL where there is none. Exit codes: 0 all well, 1 failure, 2 wrong usage;
health has more.`,
		Example: `  sharedcontext demo                     let agents write at once, and verify what they read
  sharedcontext dev                      run a PostgreSQL for development, print its DATABASE_URL
  sharedcontext dev -- go test ./...     run a command with that DATABASE_URL
  sharedcontext migrate up               create the schema or bring it up to date
  sharedcontext health --json            ask the database how it is
  sharedcontext search-index build       make searches of the whole history fast
  sharedcontext access grant             make a role for services that does not own the database`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2 // letters
	root.AddCommand(
		newMigrate(s), newHealth(s), newCleanup(s), newSearchIndex(s), newAccess(s),
		newImport(s), newVerify(s), newExportSQLite(s),
		newLoad(s), newBench(s), newDev(s), newDemo(s),
	)
	return root
}

// noCommand refuses an argument where the name of a command belongs.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		text += fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return errors.New(text)
}

// withManager calls fn with a manager of the database that the environment names, and closes it.
func withManager(ctx context.Context, fn func(ctx context.Context, manager *store.Manager) error) error {
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	return withConfig(ctx, config, fn)
}

// withConfig is withManager with a configuration of the caller's own.
func withConfig(ctx context.Context, config store.Config, fn func(ctx context.Context, manager *store.Manager) error) (err error) {
	manager, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, manager.Close(closing))
	}()
	return fn(store.NewContext(ctx, manager), manager)
}

// printJSON writes one JSON value for a program to read.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
