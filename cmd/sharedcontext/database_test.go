package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// unreachable is the address of no server, with a password to keep.
const unreachable = "postgresql://user:sEcReT-word@127.0.0.1:1/nothing"

func TestUnreachable(t *testing.T) {
	withDatabase(t, unreachable)
	for _, args := range []string{"migrate status", "migrate up", "migrate down --yes", "migrate force 1", "cleanup", "demo"} {
		r := call(t, strings.Fields(args)...)
		r.want(t, exitFailure, "", "sharedcontext: ")
		if strings.Contains(r.out+r.err, "sEcReT") {
			t.Errorf("%s: the password is shown:\n%s%s", args, r.out, r.err)
		}
		if strings.Contains(r.out+r.err, "Usage:") {
			t.Errorf("%s: a runtime error shows the usage:\n%s%s", args, r.out, r.err)
		}
	}
}

func TestCleanup(t *testing.T) {
	config := storetest.Config(t)
	ctx, _ := storetest.Open(t, config)
	for _, sql := range []string{
		`INSERT INTO sessions (id, purpose, created_by, is_active, updated_at) VALUES
			('old', 'x', 'a', false, now() - interval '8 days'), ('new', 'x', 'a', false, now()), ('active', 'x', 'a', true, now() - interval '8 days')`,
		"INSERT INTO audit_log (event_type, agent_id, timestamp) VALUES ('old', 'a', now() - interval '31 days'), ('new', 'a', now())",
		`INSERT INTO agent_memory (agent_id, key, value, created_at, expires_at)
			VALUES ('a', 'gone', '1', now() - interval '2 hours', now() - interval '1 hour'), ('a', 'here', '1', now(), NULL)`,
	} {
		if _, err := store.ExecuteUpdate(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	withDatabase(t, config.URL)
	r := call(t, "cleanup", "--json")
	r.want(t, exitOK, "", "")
	var report store.CleanupReport
	r.decode(t, &report)
	if report != (store.CleanupReport{CleanupStats: store.CleanupStats{ExpiredMemory: 1, OldAuditLogs: 1}, InactiveSessions: 1}) {
		t.Errorf("report %+v", report)
	}
	call(t, "cleanup").want(t, exitOK, "deleted 0 expired memory entries, 0 inactive sessions, 0 expired tokens and 0 old audit rows\n", "")
}

func TestMigrate(t *testing.T) {
	withDatabase(t, storetest.EmptyConfig(t).URL)
	latest := schema.Latest()
	status := func(version uint, dirty bool) {
		t.Helper()
		r := call(t, "migrate", "status", "--json")
		r.want(t, exitOK, "", "")
		var got store.MigrationStatus
		r.decode(t, &got)
		if want := (store.MigrationStatus{Version: version, Latest: latest, Dirty: dirty}); got != want {
			t.Fatalf("status %+v, want %+v", got, want)
		}
	}
	status(0, false)
	call(t, "migrate", "status").want(t, exitOK, "version 0 of ", "")
	call(t, "migrate", "down", "--yes").want(t, exitFailure, "", "no migration is applied")
	call(t, "migrate", "up").want(t, exitOK, "from version 0, now version ", "")
	status(latest, false)
	call(t, "migrate", "up").want(t, exitOK, "up to date\n", "")
	call(t, "migrate", "down", "--yes").want(t, exitOK, "1 to apply", "")
	status(latest-1, false)
	call(t, "migrate", "down", "--to", "4", "--yes").want(t, exitOK, "now version 4 of ", "")
	status(4, false)
	call(t, "migrate", "down", "--to", "4", "--yes").want(t, exitFailure, "", "which is not above 4")
	call(t, "migrate", "down", "--to", "0", "--yes").want(t, exitOK, "now version 0 of ", "")
	status(0, false)
	call(t, "migrate", "up").want(t, exitOK, "up to date\n", "")

	call(t, "migrate", "force", "3").want(t, exitOK, "now version 3 of ", "")
	status(3, false)
	call(t, "migrate", "force", "999").want(t, exitFailure, "", "knows migrations up to")
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status store.MigrationStatus
		want   string
	}{
		{store.MigrationStatus{Version: 3, Latest: 3}, "version 3 of 3: up to date"},
		{store.MigrationStatus{Version: 4, Latest: 3}, "version 4 of 3: migrated by a newer program"},
		{store.MigrationStatus{Version: 1, Latest: 3}, `version 1 of 3: 2 to apply with "sharedcontext migrate up"`},
		{store.MigrationStatus{Version: 3, Latest: 3, Dirty: true},
			`version 3 of 3: interrupted; run "sharedcontext migrate up", which says how to go on`},
	} {
		if got := describe(test.status); got != test.want {
			t.Errorf("%+v: %q, want %q", test.status, got, test.want)
		}
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"yes\n": true, "YES": true, "y\n": false, "no\n": false, "": false, "\n": false} {
		var shown strings.Builder
		if got := confirm(t.Context(), streams{in: strings.NewReader(answer), err: &shown}, question(4, 0)); got != want {
			t.Errorf("answer %q: %v", answer, got)
		}
		if !strings.Contains(shown.String(), "lose ALL data") {
			t.Errorf("asked %q", shown.String())
		}
	}
	if !strings.Contains(question(4, 2), "from version 4 back to 2") {
		t.Error(question(4, 2))
	}
}

// TestConfirmInterrupted ends the question while nobody answers.
func TestConfirmInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asked := &notice{heard: make(chan struct{})}
	in := &silent{until: make(chan struct{})}
	defer close(in.until)
	answered := make(chan bool)
	go func() { answered <- confirm(ctx, streams{in: in, err: asked}, "?") }()
	<-asked.heard
	cancel()
	select {
	case answer := <-answered:
		if answer {
			t.Error("an interruption counts as a yes")
		}
	case <-time.After(time.Minute):
		t.Fatal("the question outlives the interruption")
	}
}

// notice tells when something was first written.
type notice struct {
	heard chan struct{}
	text  strings.Builder
}

func (n *notice) Write(p []byte) (int, error) {
	if n.text.Len() == 0 {
		close(n.heard)
	}
	return n.text.Write(p)
}

// silent is a person who does not answer.
type silent struct{ until chan struct{} }

func (s *silent) Read([]byte) (int, error) {
	<-s.until
	return 0, context.Canceled
}
