package store_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/postgres"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// runTool runs a program of PostgreSQL, as docs/operations.md says. It skips the test where the program is not installed
// or older than the server.
func runTool(tb testing.TB, name string, args ...string) {
	tb.Helper()
	dir, err := postgres.FindBinaries(tb.Context())
	if err != nil {
		tb.Skip(err)
	}
	program := filepath.Join(dir, name)
	if _, err := os.Stat(program); err != nil {
		tb.Skipf("SKIPPED, NOT TESTED: %s is not installed: apt install postgresql, or make test-deps", name)
	}
	output, err := exec.CommandContext(tb.Context(), program, args...).CombinedOutput()
	if strings.Contains(string(output), "server version mismatch") {
		tb.Skipf("SKIPPED, NOT TESTED: %s is older than the server: %s", name, output)
	}
	if err != nil {
		tb.Fatalf("%s: %v: %s", name, err, output)
	}
}

// What pg_dump has written and pg_restore has read is the same database: complete, intact and writable.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	needsOwner(t, "dumps the database")
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	question := f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "what is a lexer?", Metadata: map[string]any{"n": 1}, IdempotencyKey: "k1"})[0]
	f.add(ctx, t,
		store.NewMessage{Sender: "bob", SenderType: "claude", Content: "\u00e4\n\\.\t'", ParentMessageID: &question.ID, Visibility: store.VisibilityAgentOnly},
		store.NewMessage{Sender: "bob", Content: "private", Visibility: store.VisibilityPrivate})
	memory, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "key", Value: " value\r\n", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: "header.payload.signature"})
	if err != nil {
		t.Fatal(err)
	}
	for report := (store.SealReport{Waiting: true}); report.Waiting; {
		report = f.seal(ctx, t)
	}

	dump := filepath.Join(t.TempDir(), "sharedcontext.dump")
	runTool(t, "pg_dump", "--format=custom", "--file="+dump, "--dbname="+serverURL(config))
	target := storetest.EmptyConfig(t)
	target.EncryptionKeys = config.EncryptionKeys
	runTool(t, "pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "--dbname="+serverURL(target), dump)

	restoredCtx, restored := storetest.Open(t, target)
	if status := store.HealthCheck(restoredCtx); !status.Healthy() {
		t.Fatalf("health after restore: %+v", status)
	}
	if err := restored.InitializeDatabase(restoredCtx); err != nil {
		t.Fatal(err)
	}
	type content struct {
		Page   store.MessagePage
		Audit  store.AuditVerification
		Memory store.MemoryEntry
		Token  store.ResolvedToken
		Again  store.Message
	}
	read := func(ctx context.Context, m *store.Manager) (c content) {
		t.Helper()
		var err error
		if c.Page, err = m.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: admin}); err != nil {
			t.Fatal(err)
		}
		if c.Audit, err = m.VerifyAudit(ctx); err != nil {
			t.Fatal(err)
		}
		if c.Memory, err = m.GetMemory(ctx, store.GetMemoryParams{AgentID: memory.AgentID, Key: memory.Key}); err != nil {
			t.Fatal(err)
		}
		if c.Token, err = m.ResolveToken(ctx, token.ID); err != nil {
			t.Fatal(err)
		}
		c.Again, err = m.AddMessage(ctx, f.session.ID, store.NewMessage{
			Sender: "alice", Content: "what is a lexer?", Metadata: map[string]any{"n": 1}, IdempotencyKey: "k1",
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want, got := read(ctx, m), read(restoredCtx, restored)
	if want.Page.TotalCount != 3 || want.Audit.Blocks == 0 || want.Audit.LastDigest == "" || want.Again.ID != question.ID {
		t.Fatalf("nothing to compare: %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-source +restored):\n%s", diff)
	}
	// The sequences go on behind what is there.
	next, err := restored.AddMessage(restoredCtx, f.session.ID, store.NewMessage{Sender: "alice", Content: "next"})
	if err != nil {
		t.Fatal(err)
	}
	if last := want.Page.Messages[2].ID; next.ID <= last {
		t.Errorf("message %d after %d", next.ID, last)
	}
}
