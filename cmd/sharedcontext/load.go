package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/load"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newLoad(s streams) *cobra.Command {
	var options load.Options
	var remove bool
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Fill the database with generated messages, to measure at size",
		Long: `Adds sessions with generated messages by COPY, without audit rows and without dropping an index, to a database whose schema
is up to date. With --remove it deletes all sessions that it has ever added there, and nothing else.`,
		Example: `  sharedcontext load --messages 1000000 --sessions 1000
  sharedcontext load --remove`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := store.ConfigFromEnv()
			if err != nil {
				return err
			}
			url := cmp.Or(config.DirectURL, config.URL) // its connections have settings of their own
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			if remove {
				sessions, err := load.Remove(ctx, url)
				if err != nil {
					return err
				}
				fmt.Fprintf(s.out, "removed %d sessions\n", sessions)
				return nil
			}
			return fill(ctx, s, url, options)
		},
	}
	cmd.Flags().IntVar(&options.Messages, "messages", 100_000, "how many messages to add")
	cmd.Flags().IntVar(&options.Sessions, "sessions", 100, "over how many new sessions to spread them")
	cmd.Flags().Uint64Var(&options.Seed, "seed", 1, "makes the same texts again")
	cmd.Flags().BoolVar(&remove, "remove", false, "delete what this command has added")
	return cmd
}

func fill(ctx context.Context, s streams, url string, options load.Options) error {
	progress := newProgress(s.err)
	progress.Start("copying messages", options.Messages)
	defer progress.Stop()
	options.Progress = progress.Add
	report, err := load.Fill(ctx, url, options)
	if err != nil {
		return fmt.Errorf("%w; sharedcontext load --remove takes back what was copied", err)
	}
	fmt.Fprintf(s.out, "added %d messages to %d sessions in %s, %.0f a second\n", report.Messages, len(report.Sessions),
		report.Duration.Round(time.Millisecond), float64(report.Messages)/report.Duration.Seconds())
	return nil
}
