package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharedcontext/sharedcontext/v2/internal/demo"
	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

type demoFlags struct {
	transcript   string
	asJSON, keep bool
}

func newDemo(s streams) *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Let agents write at once, and verify what they read",
		Long: `Plays a transcript: every sender becomes an agent of its own, all of them write at once. Then every agent, and some who
were not there, read everything back in every way there is, and each answer is compared with what the rules say. At last
every other operation is called, from memory and tokens to the audit log, and checked too. The exit code is 1 if anything
differs.

Without DATABASE_URL it starts a private PostgreSQL, which vanishes at the end. With it, the demo writes sessions of its
own into that database, with memory and tokens of agents "demo-…", and deletes them at the end, unless --keep is given; of
its audit rows the cleanup takes care. Cleaning up and sealing the audit log, which concern the whole database, are left
out there. Without JWT_ENCRYPTION_KEY it encrypts its tokens with a key that it makes up and forgets.

A transcript has a JSON object per line:
  {"ref":2,"session":"session_0123456789abcdef","purpose":"…","sender":"agent_1","sender_type":"claude",
   "visibility":"public","content":"…","metadata":{…},"parent":1,"time":1699459964.967051}
The parent is the ref of an earlier line of the same session. Without --transcript a small one is played that comes with
the program. All of it is checked before anything is written.`,
		Example: `  sharedcontext demo
  sharedcontext demo --transcript transcript.jsonl
  DATABASE_URL=postgresql://… sharedcontext demo --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return runDemo(ctx, s, flags)
		},
	}
	cmd.Flags().StringVar(&flags.transcript, "transcript", "", "file of JSON lines to play")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&flags.keep, "keep", false, "leave sessions, memory and tokens in the database that DATABASE_URL names")
	return cmd
}

func runDemo(ctx context.Context, s streams, flags demoFlags) error {
	given := strings.TrimSpace(os.Getenv("DATABASE_URL")) != ""
	if flags.keep && !given {
		return usage("demo: --keep needs DATABASE_URL: a private server vanishes with its sessions")
	}
	transcript, err := readTranscript(flags.transcript)
	if err != nil {
		return err
	}
	options := demo.Options{Transcript: transcript, Delete: given && !flags.keep, Progress: newProgress(s.err)}
	if given {
		config, err := store.ConfigFromEnv()
		if err != nil {
			return err
		}
		if len(config.EncryptionKeys) == 0 {
			config.EncryptionKeys = []store.Secret{newDemoKey()}
		}
		return withConfig(ctx, config, func(ctx context.Context, manager *store.Manager) error {
			if options.Server, err = describeDatabase(ctx, manager); err != nil {
				return err
			}
			return playDemo(ctx, s, flags, manager, options)
		})
	}
	options.Private = true
	options.Progress.Start("starting a private PostgreSQL", 1)
	return withServer(ctx, postgres.Options{}, func(ctx context.Context, url, description string) error {
		options.Progress.Add(1)
		options.Server = description
		return withConfig(ctx, store.Config{URL: url, EncryptionKeys: []store.Secret{newDemoKey()}}, func(ctx context.Context, manager *store.Manager) error {
			return playDemo(ctx, s, flags, manager, options)
		})
	})
}

// newDemoKey returns a key for tokens that nobody needs after this run.
func newDemoKey() store.Secret {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails, by its documentation
	return store.Secret(base64.URLEncoding.EncodeToString(key[:]))
}

func readTranscript(name string) (*demo.Transcript, error) {
	if name == "" {
		return demo.Sample()
	}
	return demo.ReadTranscriptFile(name)
}

// playDemo plays and prints. What was found is printed also when the demonstration did not get to its end.
func playDemo(ctx context.Context, s streams, flags demoFlags, manager *store.Manager, options demo.Options) error {
	report, playErr := demo.Play(ctx, manager, options)
	if flags.asJSON {
		if err := printJSON(s.out, report); err != nil {
			return err
		}
		if report.OK {
			return nil
		}
		return &exitError{code: exitFailure, cause: playErr}
	}
	if playErr != nil && report.Written == 0 {
		return playErr
	}
	if err := report.WriteText(s.out); err != nil {
		return err
	}
	switch {
	case playErr != nil:
		return playErr
	case !report.OK:
		return errors.New("demo: " + report.Verdict())
	}
	fmt.Fprintf(s.out, "\n%s\n", colored(s.out, green, report.Verdict()))
	return nil
}
