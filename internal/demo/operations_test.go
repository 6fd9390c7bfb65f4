package demo

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

const testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func withKey(t *testing.T) (context.Context, *store.Manager) {
	t.Helper()
	config := storetest.Config(t)
	config.EncryptionKeys = []store.Secret{testKey}
	return storetest.Open(t, config)
}

// TestEveryOperation demands that a demonstration calls every method of a manager, and that all of it is right.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	ctx, manager := withKey(t)
	report, err := Play(ctx, manager, Options{Transcript: mustSample(t), Private: true, Delete: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, mismatch := range report.Mismatches {
		t.Error(mismatch)
	}
	// The first of these is for printing, the next begins every demonstration, and the last is up to the caller.
	elsewhere := []string{"Format", "InitializeDatabase", "Close"}
	methods := reflect.TypeFor[*store.Manager]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		if report.Operations.Calls[name] == 0 && !slices.Contains(elsewhere, name) {
			t.Errorf("%s is not called", name)
		}
	}
	operations := report.Operations
	if !operations.Checked || len(operations.LeftOut) != 0 || operations.Kinds != len(operations.Calls) || operations.Total < int64(operations.Kinds) {
		t.Errorf("operations %+v", operations)
	}
	for _, table := range []string{"sessions", "messages", "agent_memory", "secure_tokens", "message_keys"} {
		if n := countRows(ctx, t, table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
}

// TestSharedDatabase leaves alone what concerns the whole database, and says so.
func TestSharedDatabase(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.EncryptionKeys = nil
	ctx, manager := storetest.Open(t, config)
	if _, err := manager.SetMemory(ctx, store.SetMemoryParams{AgentID: "somebody", Key: "theirs", Value: "stays"}); err != nil {
		t.Fatal(err)
	}
	report, err := Play(ctx, manager, Options{Transcript: mustSample(t), Delete: true})
	if err != nil || !report.OK {
		t.Fatalf("%v, %v", err, report.Mismatches)
	}
	text := report.Operations.text()
	if !strings.Contains(text, "left out: tokens, for which there is no key; health, cleanup and sealing") {
		t.Errorf("text %q", text)
	}
	for _, name := range []string{"SealAudit", "Cleanup", "CleanupExpiredData", "CleanupExpiredTokens", "CreateToken"} {
		if report.Operations.Calls[name] != 0 {
			t.Errorf("%s was called", name)
		}
	}
	if n := countRows(ctx, t, "agent_memory"); n != 1 {
		t.Errorf("%d entries of memory are left, want that of somebody else", n)
	}
}

// TestOperationsCutShort removes what was written so far.
func TestOperationsCutShort(t *testing.T) {
	t.Parallel()
	for _, area := range []string{"writes of messages", "memory", "tokens", "end of a session"} {
		t.Run(area, func(t *testing.T) {
			t.Parallel()
			ctx, manager := withKey(t)
			run, cancel := context.WithCancel(ctx)
			defer cancel()
			report, err := Play(run, manager, Options{
				Transcript: mustSample(t), Delete: true,
				betweenOperations: func(_ context.Context, name string, _ *operations) error {
					if name == area {
						cancel()
					}
					return nil
				},
			})
			if !errors.Is(err, context.Canceled) || report.OK || report.Operations.Checked {
				t.Fatalf("error %v, report OK %v", err, report.OK)
			}
			for _, table := range []string{"sessions", "agent_memory", "secure_tokens"} {
				if n := countRows(ctx, t, table); n != 0 {
					t.Errorf("%d rows of %s are left", n, table)
				}
			}
		})
	}
}

// TestSabotage damages what one area has written before it is read there. That area must find it.
func TestSabotage(t *testing.T) {
	t.Parallel()
	type arguments func(*operations) []any
	own := func(o *operations) []any { return []any{o.session.ID} }
	agent := func(o *operations) []any { return []any{o.agent} }
	some := func(o *operations) []any { return []any{o.written[1].id} }
	for _, test := range []struct {
		area, name, sql string
		arguments       arguments
		read, problem   string
	}{
		{"reads of messages", "sender", "UPDATE messages SET sender = 'someone' WHERE id = ?", some, "reads of messages: by sender", "it is missing"},
		{"reads of messages", "time", "UPDATE messages SET timestamp = timestamp + interval '9 hours' WHERE id = ?", some, "reads of messages: by time", "it is missing"},
		{"reads of messages", "thread", "UPDATE messages SET parent_message_id = NULL WHERE id = ?", some, "reads of messages: thread", "parent is missing"},
		{"reads of messages", "counts", "UPDATE messages SET visibility = 'private' WHERE id = ?", some, "reads of messages: counts", "the total is"},
		{"search", "altered message", "UPDATE messages SET content = 'other' WHERE id = ?", func(o *operations) []any { return []any{o.written[0].id} }, "search", "it is missing"},
		{"search", "hidden message", "UPDATE messages SET visibility = 'admin_only' WHERE id = ?", func(o *operations) []any { return []any{o.written[0].id} }, "search", "it is missing"},
		{"writes of messages", "lost message", "DELETE FROM messages WHERE id = (SELECT max(id) FROM messages WHERE session_id = ?)", own, "", "it is missing"},
		{"writes of messages", "a message twice", `INSERT INTO messages (session_id, sender, content)
			SELECT session_id, sender, content FROM messages WHERE session_id = ? LIMIT 1`, own, "", "this reader must not get it"},
		{"metadata of a session", "lost key", "UPDATE sessions SET metadata = metadata - 'writer_3' WHERE id = ?", own, "", "the session's metadata is"},
		{"transactions", "memory that stayed", "INSERT INTO agent_memory (agent_id, key, value) VALUES (?, 'demo.transaction', 'x')", agent, "", "taken back"},
		{"memory", "altered value", "UPDATE agent_memory SET value = 'x' || value WHERE agent_id = ? AND session_id IS NULL AND key = 'demo.note.01'", agent, "", "differs from character"},
		{"memory", "lost entry", "DELETE FROM agent_memory WHERE agent_id = ? AND session_id IS NULL AND key = 'demo.note.01'", agent, "", "is not listed"},
		{"memory", "later end", "UPDATE agent_memory SET expires_at = expires_at + interval '1 minute' WHERE agent_id = ?", agent, "", "ends at"},
		{"memory", "other session", "UPDATE agent_memory SET session_id = NULL, key = 'demo.moved' WHERE agent_id = ? AND session_id IS NOT NULL AND key = 'demo.note.00'", agent, "", "must not be there"},
		{"tokens", "lost token", "DELETE FROM secure_tokens WHERE agent_id = ?", agent, "", "token is invalid"},
		{"tokens", "other agent", "UPDATE secure_tokens SET agent_id = 'someone' WHERE agent_id = ?", agent, "", "a token is of someone"},
		{"audit", "lost row", "DELETE FROM audit_log WHERE event_type = 'message_added' AND metadata->>'message_id' = ?::bigint::text", some, "", "it has no audit event"},
		{"audit", "a row twice", `INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
			SELECT event_type, agent_id, session_id, metadata FROM audit_log WHERE event_type = 'message_added' AND metadata->>'message_id' = ?::bigint::text`, some, "", "has an event already"},
		{"audit", "lost memory row", "DELETE FROM audit_log WHERE event_type = 'memory_deleted' AND agent_id = ?", agent, "", "the summary of"},
		{"audit", "lost token row", "DELETE FROM audit_log WHERE event_type = 'token_refreshed' AND agent_id = ?", agent, "", "token_refreshed"},
		{"dashboards", "lost message", "DELETE FROM messages WHERE id = ?", some, "", "messages by"},
		{"dashboards", "lost memory", "DELETE FROM agent_memory WHERE agent_id = ?", agent, "", "agents are missing"},
		{"SQL", "altered row", "UPDATE agent_memory SET value = 'x' WHERE key = 'demo.sql' AND agent_id = ?", agent, "", "others than were inserted"},
		{"database", "altered audit row", "UPDATE audit_log SET result = 'x' WHERE event_type LIKE 'demo.%' AND agent_id = ?", agent, "", "changed"},
		{"database", "lost audit row", "DELETE FROM audit_log WHERE event_type = 'token_created' AND agent_id = ?", agent, "", "removed"},
		{"end of a session", "active again", "UPDATE sessions SET is_active = true WHERE id = ?", own, "", "the session is on the active list"},
	} {
		t.Run(test.area+": "+test.name, func(t *testing.T) {
			t.Parallel()
			ctx, manager := withKey(t)
			report, err := Play(ctx, manager, Options{
				Transcript: mustSample(t), Private: true,
				betweenOperations: func(ctx context.Context, area string, o *operations) error {
					if area != test.area {
						return nil
					}
					n, err := store.ExecuteUpdate(ctx, test.sql, test.arguments(o)...)
					if err == nil && n == 0 {
						err = errors.New("the damage did nothing")
					}
					return err
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.OK || report.Verdict() == verdict {
				t.Fatal("the damage was not found")
			}
			read := test.read
			if read == "" {
				read = test.area
			}
			for _, m := range report.Mismatches {
				if m.Read == read && strings.Contains(m.Problem, test.problem) {
					return
				}
			}
			t.Errorf("no mismatch in %q says %q:\n%v", read, test.problem, report.Mismatches)
		})
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ all, want []int }{
		{nil, nil}, {[]int{1}, []int{1}}, {[]int{1, 2, 3}, []int{1, 2, 3}}, {[]int{1, 2, 3, 4, 5, 6, 7}, []int{1, 4, 7}},
	} {
		if got := spread(test.all, 3); !slices.Equal(got, test.want) {
			t.Errorf("spread of %v is %v, want %v", test.all, got, test.want)
		}
	}
}
