package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/demo"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

const proven = "everything written is there, in order, and visible to exactly the right readers"

// TestDemo starts a server of its own.
func TestDemo(t *testing.T) {
	withDatabase(t, "")
	r := call(t, "demo")
	r.want(t, exitOK, "\n"+proven+"\n", "12 agents writing messages (47)\n")
	for _, text := range []string{"server      private PostgreSQL ", "3 sessions, 12 agents, 47 messages", "differences 0\n", "add message",
		"operations  ", ", all checked\n"} {
		if !strings.Contains(r.out, text) {
			t.Errorf("%q is not in:\n%s", text, r.out)
		}
	}
	if strings.Contains(r.out+r.err, "\x1b") {
		t.Errorf("there is no terminal, but control sequences:\n%q%q", r.out, r.err)
	}
}

// TestDemoInDatabase leaves a database as it was, unless it is told to keep the sessions.
func TestDemoInDatabase(t *testing.T) {
	config := storetest.EmptyConfig(t)
	ctx, manager := storetest.Open(t, config)
	withDatabase(t, config.URL)
	sessions := func(want int) {
		t.Helper()
		page, err := manager.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: store.Reader{AgentID: "tester"}})
		if err != nil || len(page.Sessions) != want {
			t.Errorf("%d sessions, want %d, %v", len(page.Sessions), want, err)
		}
	}
	r := call(t, "demo", "--json")
	r.want(t, exitOK, "", "deleting sessions")
	var report demo.Report
	r.decode(t, &report)
	if !report.OK || report.Error != "" || report.Written != 47 || report.MessagesRead == 0 || report.MismatchCount != 0 ||
		report.Deleted != 3 || !strings.HasPrefix(report.Server, "PostgreSQL ") || report.AddMessage.Max <= 0 || report.ReadPage.P50 <= 0 {
		t.Errorf("report %+v", report)
	}
	if o := report.Operations; !o.Checked || o.Calls["ResolveToken"] == 0 || o.Calls["SealAudit"] != 0 || len(o.LeftOut) != 1 {
		t.Errorf("operations %+v", o)
	}
	left := func(sql string, want bool) {
		t.Helper()
		rows, err := store.ExecuteQuery(ctx, sql)
		if err != nil || len(rows) > 0 != want {
			t.Errorf("%s: %d rows, %v", sql, len(rows), err)
		}
	}
	const memory, tokens = "SELECT FROM agent_memory WHERE key LIKE 'demo.%'", "SELECT FROM secure_tokens WHERE agent_id LIKE 'demo-%'"
	sessions(0)
	left(memory, false)
	left(tokens, false)
	call(t, "demo", "--keep").want(t, exitOK, proven, "")
	sessions(3)
	left(memory, true)
	left(tokens, true)
	call(t, "demo").want(t, exitOK, "deleted     3 sessions", "")
	sessions(3)
}

func TestDemoRefuses(t *testing.T) {
	withDatabase(t, "")
	call(t, "demo", "--keep").want(t, exitUsage, "", "--keep needs DATABASE_URL")
	name := filepath.Join(t.TempDir(), "broken.jsonl")
	call(t, "demo", "--transcript", name).want(t, exitFailure, "", "broken.jsonl: no such file")
	if err := os.WriteFile(name, []byte("{\"ref\":1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := call(t, "demo", "--transcript", name)
	r.want(t, exitFailure, "", "sharedcontext: "+name+`: line 1: field "session" is missing`)
	if strings.Contains(r.err, "starting") {
		t.Error("a server was started for a transcript that cannot be played")
	}
}

func TestDemoInterrupted(t *testing.T) {
	withDatabase(t, storetest.Config(t).URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := callContext(ctx, "demo")
	r.want(t, exitFailure, "", "sharedcontext: interrupted")
	if strings.Contains(r.out, proven) {
		t.Error("it claims what it has not checked")
	}
}

func TestBarProgress(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	p := &barProgress{w: &shown}
	p.Stop() // before any start
	p.Start("one", 2)
	p.Add(1)
	p.Start("two", 3)
	p.Add(1)
	p.Stop()
	if text := shown.String(); !strings.Contains(text, "one") || !strings.Contains(text, "two") {
		t.Errorf("shown %q", text)
	}
}

func TestColored(t *testing.T) {
	t.Parallel()
	if got := colored(io.Discard, green, "text"); got != "text" {
		t.Errorf("%q", got)
	}
	if isTerminal(new(atomic.Bool)) || isTerminal(io.Discard) {
		t.Error("that is no terminal")
	}
}
