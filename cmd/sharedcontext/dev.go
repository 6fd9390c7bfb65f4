package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
)

// devDir holds the data of the server, beside the project that uses it: a cache directory may be emptied at any time.
const devDir = ".sharedcontext"

func newDev(s streams) *cobra.Command {
	var dir string
	var temporary bool
	cmd := &cobra.Command{
		Use:   "dev [-- COMMAND ARGUMENT...]",
		Short: "Run a PostgreSQL for development",
		Long: `Runs a private PostgreSQL with an up-to-date schema, with installed programs or, where there are none, downloaded ones. It
listens on a Unix socket that only its user can open, and ends with this command, even if that is killed.

The data stay in ` + devDir + ` below the current directory, or in the directory that --dir names, for the next time; with
--temporary they are gone afterwards.

Without a command it prints the address as a line for a shell and runs until it is interrupted. With one it runs that
with DATABASE_URL set, and ends with its exit code.`,
		Example: `  sharedcontext dev
  sharedcontext dev --dir ~/data/shared
  sharedcontext dev --temporary -- go test ./...
  sharedcontext dev -- sh -c 'psql "$DATABASE_URL"'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return fmt.Errorf("write -- before the command: sharedcontext dev -- %s", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if temporary {
				dir = ""
			}
			if len(args) == 0 {
				return devServer(cmd.Context(), s, dir)
			}
			return devCommand(cmd.Context(), s, dir, args)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "where the data stay")
	cmd.Flags().BoolVar(&temporary, "temporary", false, "keep no data")
	cmd.MarkFlagsMutuallyExclusive("dir", "temporary")
	return cmd
}

// withDevServer starts the lasting server of a directory, or one that leaves nothing when dir is empty.
func withDevServer(ctx context.Context, dir string, fn func(ctx context.Context, url, description string) error) error {
	return withServer(ctx, postgres.Options{Dir: dir, Durable: dir != ""}, func(ctx context.Context, url, description string) error {
		if dir == devDir {
			// Version control leaves the directory alone; a failure to say so does no harm.
			_ = os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o600)
		}
		if err := migrateTo(ctx, url); err != nil {
			return err
		}
		return fn(ctx, url, description)
	})
}

// devServer runs the server until it is interrupted, which is how it is meant to end.
func devServer(ctx context.Context, s streams, dir string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return withDevServer(ctx, dir, func(ctx context.Context, url, description string) error {
		fmt.Fprintf(s.err, "%s, data %s; stop it with Ctrl-C\n", description, place(dir))
		if _, err := fmt.Fprintf(s.out, "export DATABASE_URL=%s\n", shellQuote(url)); err != nil {
			return err
		}
		<-ctx.Done()
		fmt.Fprintln(s.err, "stopping")
		return nil
	})
}

// place says where the data are.
func place(dir string) string {
	if dir == "" {
		return "not kept"
	}
	return "in " + dir
}

// devCommand runs a command beside the server. Signals are the command's business: an interrupt from the terminal reaches
// it anyway (psql, for one, goes on after it), a termination is passed on.
func devCommand(ctx context.Context, s streams, dir string, args []string) error {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	starting, started := interruptible(ctx)
	defer started()
	return withDevServer(starting, dir, func(_ context.Context, url, _ string) error {
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		defer signal.Stop(signals)
		if err := starting.Err(); err != nil {
			return err
		}
		started()
		child := exec.CommandContext(ctx, program, args[1:]...) //nolint:gosec // running what the user says is its purpose
		child.Args[0] = args[0]
		child.Env = append(os.Environ(), "DATABASE_URL="+url, "DIRECT_DATABASE_URL=")
		child.Stdin, child.Stdout, child.Stderr = s.in, s.out, s.err
		child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
		child.WaitDelay = closeTimeout
		if err := child.Start(); err != nil {
			return err
		}
		ended := make(chan struct{})
		forwarded := make(chan struct{})
		go func() {
			defer close(forwarded)
			for {
				select {
				case sig := <-signals:
					if sig != syscall.SIGINT || !isTerminal(s.in) {
						_ = child.Process.Signal(sig) // it may have ended just now
					}
				case <-ended:
					return
				}
			}
		}()
		err := child.Wait()
		close(ended)
		<-forwarded
		return childExit(err)
	})
}

// childExit makes this program end as its child did, by a shell's rule where that was by a signal.
func childExit(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitError{code: 128 + int(status.Signal())}
	}
	return &exitError{code: exit.ExitCode()}
}

// shellQuote writes a text so that a shell reads exactly it.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
