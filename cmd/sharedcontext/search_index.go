package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newSearchIndex(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "search-index",
		Short: "Make searches of the whole history fast",
		Long: `Builds, drops or shows the index that makes a search of the whole history of a session fast. It needs the extension
pg_trgm. Writers do not pay for it: it holds the messages that are older than its build, and each search reads the newer
ones. Build it anew from time to time, for instance every night. Without it every search gives the same, but one of the
whole history reads all of it.`,
		Example: `  sharedcontext search-index build
  sharedcontext search-index status --json
  sharedcontext search-index drop`,
		Args: noCommand,
		RunE: func(*cobra.Command, []string) error { return usage("search-index: say build, drop or status") },
	}
	cmd.AddCommand(newSearchIndexBuild(s), newSearchIndexDrop(s), newSearchIndexStatus(s))
	return cmd
}

func newSearchIndexBuild(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build the index, or build it anew up to now",
		Long: `Builds the index with the messages up to now and then drops the one before. It takes about a minute for a million
messages and blocks nobody. When it is interrupted the index before stays in use.`,
		Example: `  sharedcontext search-index build`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return changeSearchIndex(cmd.Context(), s, (*store.Migrator).BuildSearchIndex)
		},
	}
}

func newSearchIndexDrop(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "drop",
		Short:   "Drop the index",
		Example: `  sharedcontext search-index drop`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return changeSearchIndex(cmd.Context(), s, (*store.Migrator).DropSearchIndex)
		},
	}
}

// changeSearchIndex changes the index and says what is there then.
func changeSearchIndex(ctx context.Context, s streams, change func(*store.Migrator, context.Context) error) error {
	err := withMigrator(ctx, func(ctx context.Context, migrator *store.Migrator) error { return change(migrator, ctx) })
	if err != nil {
		return err
	}
	return showSearchIndex(ctx, s, false)
}

func newSearchIndexStatus(s streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say whether there is an index and what it holds",
		Example: `  sharedcontext search-index status --json`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return showSearchIndex(cmd.Context(), s, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func showSearchIndex(ctx context.Context, s streams, asJSON bool) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return withManager(ctx, func(ctx context.Context, manager *store.Manager) error {
		index, err := manager.SearchIndex(ctx)
		switch {
		case err != nil:
			return err
		case asJSON:
			return printJSON(s.out, index)
		case !index.Ready:
			fmt.Fprintln(s.out, `no search index: a search of the whole history reads all of it; "sharedcontext search-index build" makes one`)
		default:
			fmt.Fprintf(s.out, "search index of the messages before %s, %.1f MB\n", index.Before.Format(time.RFC3339), float64(index.Bytes)/1e6)
		}
		return nil
	})
}
