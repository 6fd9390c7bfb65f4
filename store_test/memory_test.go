package store_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// noon is a time far from the clock of any test, to which the tests of expiry count.
var noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// scopes returns the two scopes of memory by name: the id of the session, and none for global memory.
func (f fixture) scopes() map[string]string {
	return map[string]string{"global": "", "session": f.session.ID}
}

// set sets an entry of alice's memory.
func (f fixture) set(ctx context.Context, tb testing.TB, params store.SetMemoryParams) store.MemoryEntry {
	tb.Helper()
	if params.AgentID == "" {
		params.AgentID = "alice"
	}
	entry, err := f.SetMemory(ctx, params)
	if err != nil {
		tb.Fatal(err)
	}
	return entry
}

// value returns the value of a key of alice's memory, and fails unless it is live.
func (f fixture) value(ctx context.Context, tb testing.TB, sessionID, key string, now *time.Time) string {
	tb.Helper()
	entry, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: key, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return entry.Value
}

// memoryAudit returns the audit rows of memory, oldest first.
func memoryAudit(ctx context.Context, tb testing.TB) []map[string]any {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, "SELECT event_type, agent_id, session_id, metadata FROM audit_log WHERE event_type LIKE 'memory%' ORDER BY id")
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

func TestMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			agent := "agent_" + scope
			var session any
			if sessionID != "" {
				session = sessionID
			}
			at := noon.Add(1999 * time.Nanosecond) // kept to the microsecond
			set, err := f.SetMemory(ctx, store.SetMemoryParams{
				AgentID: agent, SessionID: sessionID, Key: " plan\x07 ", Value: " step 1\r\n", Metadata: struct{ N int }{3},
				TTL: time.Hour + time.Nanosecond, Now: &at,
			})
			if err != nil {
				t.Fatal(err)
			}
			want := store.MemoryEntry{
				AgentID: agent, SessionID: sessionID, Key: "plan", Value: " step 1\r\n", Metadata: json.RawMessage(`{"N":3}`),
				CreatedAt: noon.Add(time.Microsecond), UpdatedAt: noon.Add(time.Microsecond),
				ExpiresAt: ptr(noon.Add(time.Hour + 2*time.Microsecond)),
			}
			if diff := cmp.Diff(want, set); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			key := store.GetMemoryParams{AgentID: agent, SessionID: sessionID, Key: "plan\n", Now: &noon}
			got, err := f.GetMemory(ctx, key)
			if diff := cmp.Diff(want, got, jsonValue); diff != "" || err != nil {
				t.Errorf("get: %v (-want +got):\n%s", err, diff)
			}

			// Replacing keeps CreatedAt; value, metadata and time to live are the new ones.
			later := noon.Add(time.Minute)
			replaced, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: agent, SessionID: sessionID, Key: "plan", Value: "step 2", Now: &later})
			if err != nil {
				t.Fatal(err)
			}
			want = store.MemoryEntry{
				AgentID: agent, SessionID: sessionID, Key: "plan", Value: "step 2", CreatedAt: want.CreatedAt, UpdatedAt: replaced.UpdatedAt,
			}
			if diff := cmp.Diff(want, replaced); diff != "" || !replaced.UpdatedAt.After(later) {
				t.Errorf("replaced at %v (-want +got):\n%s", replaced.UpdatedAt, diff)
			}
			got, err = f.GetMemory(ctx, key)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("get the replaced: %v (-want +got):\n%s", err, diff)
			}

			// Keeping what exists changes nothing.
			_, err = f.SetMemory(ctx, store.SetMemoryParams{AgentID: agent, SessionID: sessionID, Key: "plan", Value: "other", KeepExisting: true})
			wantError(t, err, store.ErrMemoryKeyExists)
			got, err = f.GetMemory(ctx, key)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("get the kept: %v (-want +got):\n%s", err, diff)
			}

			deletion := store.DeleteMemoryParams{AgentID: agent, SessionID: sessionID, Key: " plan"}
			if err := f.DeleteMemory(ctx, deletion); err != nil {
				t.Fatal(err)
			}
			wantError(t, f.DeleteMemory(ctx, deletion), store.ErrMemoryNotFound)
			_, err = f.GetMemory(ctx, key)
			wantError(t, err, store.ErrMemoryNotFound)

			metadata := map[string]any{"key": "plan", "scope": scope}
			row := func(event string) map[string]any {
				return map[string]any{"event_type": event, "agent_id": agent, "session_id": session, "metadata": metadata}
			}
			var audit []map[string]any
			for _, row := range memoryAudit(ctx, t) {
				if row["agent_id"] == agent {
					audit = append(audit, row)
				}
			}
			wantAudit := []map[string]any{row("memory_set"), row("memory_set"), row("memory_deleted")}
			if diff := cmp.Diff(wantAudit, audit); diff != "" {
				t.Errorf("audit rows (-want +got):\n%s", diff)
			}
		})
	}
}

// Without a time of the caller's the database's clock counts.
func TestMemoryOnTheDatabaseClock(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: scope, TTL: store.MaxTTL})
		if got := f.value(ctx, t, sessionID, "k", &time.Time{}); got != scope { // the zero time is none
			t.Errorf("got %q, want %q", got, scope)
		}
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "past", Value: "x", TTL: time.Second, Now: &noon})
		_, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "past"})
		wantError(t, err, store.ErrMemoryNotFound)
	}
	if n := count(ctx, t, `SELECT count(*) FROM agent_memory WHERE key = 'k' AND created_at BETWEEN now() - interval '1 hour' AND now()
		AND updated_at = created_at AND expires_at = created_at + 31536000 * interval '1 second' AND metadata IS NULL`); n != 2 {
		t.Errorf("%d entries are as they should, want 2", n)
	}
}

// Memory is apart by agent, session and key, the capitals of each included.
func TestMemoryIsApart(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	other := newSession(ctx, t, f.Manager)
	places := []store.SetMemoryParams{
		{AgentID: "alice", Key: "k"},
		{AgentID: "Alice", Key: "k"},
		{AgentID: "bob", Key: "k"},
		{AgentID: "alice", Key: "K"},
		{AgentID: "alice", Key: "k\u0301"},
		{AgentID: "alice", Key: "k", SessionID: f.session.ID},
		{AgentID: "alice", Key: "k", SessionID: other.ID},
		{AgentID: "bob", Key: "k", SessionID: f.session.ID},
	}
	for i, place := range places {
		place.Value, place.KeepExisting = strings.Repeat("x", i+1), true
		f.set(ctx, t, place)
	}
	for i, place := range places {
		entry, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: place.AgentID, SessionID: place.SessionID, Key: place.Key})
		if err != nil || len(entry.Value) != i+1 {
			t.Errorf("%+v: got %q, %v", place, entry.Value, err)
		}
	}
	if err := f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", Key: "k"}); err != nil {
		t.Error(err)
	}
	if err := f.DeleteSession(ctx, other.ID, "alice"); err != nil {
		t.Error(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != int64(len(places)-2) {
		t.Errorf("%d entries are left, want %d", n, len(places)-2)
	}
}

func TestMemoryExpires(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for scope, sessionID := range f.scopes() {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			before, end, after := noon.Add(time.Hour-time.Microsecond), noon.Add(time.Hour), noon.Add(2*time.Hour)
			first := store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: "first", TTL: time.Hour, Now: &noon}
			f.set(ctx, t, first)
			if got := f.value(ctx, t, sessionID, "k", &before); got != "first" {
				t.Errorf("before its end: %q", got)
			}
			keep := store.SetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Value: "second", KeepExisting: true, Now: &before}
			_, err := f.SetMemory(ctx, keep)
			wantError(t, err, store.ErrMemoryKeyExists)
			for _, now := range []*time.Time{&end, &after, nil} {
				_, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Now: now})
				wantError(t, err, store.ErrMemoryNotFound)
			}

			// From its end on it may be set again, and then is new.
			keep.Now = &end
			second, err := f.SetMemory(ctx, keep)
			if err != nil {
				t.Fatal(err)
			}
			if !second.CreatedAt.Equal(end) || second.ExpiresAt != nil {
				t.Errorf("the second is %+v, want one created at %v that never expires", second, end)
			}
			_, err = f.SetMemory(ctx, keep)
			wantError(t, err, store.ErrMemoryKeyExists)

			// Replacing one that has expired makes a new one, too.
			f.set(ctx, t, first)
			replaced := f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: "third", TTL: time.Microsecond, Now: &after})
			if !replaced.CreatedAt.Equal(after) {
				t.Errorf("replaced after its end: created %v, want %v", replaced.CreatedAt, after)
			}

			// Deleting one that has expired removes it and says that it was not there.
			err = f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Now: ptr(after.Add(time.Microsecond))})
			wantError(t, err, store.ErrMemoryNotFound)
			if n := count(ctx, t, "SELECT count(*) FROM agent_memory WHERE session_id IS NOT DISTINCT FROM nullif(?, '')", sessionID); n != 0 {
				t.Errorf("%d entries are left", n)
			}
			if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'memory_deleted'"); n != 0 {
				t.Errorf("%d audit rows of deletions", n)
			}
		})
	}
}

// A clock that is behind the one of an earlier call makes no entry that ends before it begins.
func TestMemoryOfClocksApart(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for _, sessionID := range f.scopes() {
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: "ahead", Now: ptr(noon.Add(time.Hour))})
		entry := f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: "behind", TTL: time.Second, Now: &noon})
		if !entry.CreatedAt.Equal(noon) || !entry.ExpiresAt.Equal(noon.Add(time.Second)) {
			t.Errorf("got %+v", entry)
		}
	}
}

func TestMemoryOfUnknownSession(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	// In a transaction none of these failures spoils what comes after.
	err := f.InTx(ctx, func(ctx context.Context) error {
		for _, keep := range []bool{false, true} {
			_, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: unknownSession, Key: "k", Value: "v", KeepExisting: keep})
			wantError(t, err, store.ErrSessionNotFound)
		}
		_, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: unknownSession, Key: "k"})
		wantError(t, err, store.ErrMemoryNotFound)
		err = f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: unknownSession, Key: "k"})
		wantError(t, err, store.ErrMemoryNotFound)
		_, err = f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "k", Value: "after"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != 1 || len(memoryAudit(ctx, t)) != 1 {
		t.Errorf("%d entries and audit rows %v, want one of each", n, memoryAudit(ctx, t))
	}
}

// A transaction that is rolled back leaves neither the entry nor its audit row.
func TestMemoryRollsBack(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.set(ctx, t, store.SetMemoryParams{Key: "kept", Value: "v"})
	err := f.InTx(ctx, func(ctx context.Context) error {
		f.set(ctx, t, store.SetMemoryParams{Key: "k", Value: "v"})
		if err := f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", Key: "kept"}); err != nil {
			t.Error(err)
		}
		return errFailed
	})
	wantError(t, err, errFailed)
	f.value(ctx, t, "", "kept", nil)
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != 1 || len(memoryAudit(ctx, t)) != 1 {
		t.Errorf("%d entries and audit rows %v, want those of the first", n, memoryAudit(ctx, t))
	}
}

// Cleaning up removes what has expired and nothing else; the key may then be set as if it had never been.
func TestMemoryAndCleanup(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	ctx, f := setup(t)
	for _, sessionID := range f.scopes() {
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "expired", Value: "v", TTL: time.Hour, Now: &noon})
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "live", Value: "v", TTL: time.Hour})
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "forever", Value: "v", Now: &noon})
	}
	stats, err := store.CleanupExpiredData(ctx)
	if err != nil || stats.ExpiredMemory != 2 {
		t.Errorf("%+v, %v; want 2 expired", stats, err)
	}
	for _, sessionID := range f.scopes() {
		f.value(ctx, t, sessionID, "live", nil)
		f.value(ctx, t, sessionID, "forever", nil)
		f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "expired", Value: "v", KeepExisting: true})
	}
}

// Whatever way statements are sent, memory is the same.
func TestMemoryExecModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []store.ExecMode{
		store.ExecModeCacheStatement, store.ExecModeCacheDescribe, store.ExecModeExec, store.ExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			ctx, m := storetest.Open(t, inMode(t, storetest.Config(t), mode))
			f := fixture{m, newSession(ctx, t, m)}
			now := noon.Add(time.Minute)
			for _, sessionID := range f.scopes() {
				set := f.set(ctx, t, store.SetMemoryParams{
					SessionID: sessionID, Key: `it's\$1?`, Value: "{\"a\":\\'$2 ?\n}", Metadata: json.RawMessage(`{"a":[1,"b\n'"]}`), TTL: store.MaxTTL, Now: &noon,
				})
				got, err := f.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: `it's\$1?`, Now: &now})
				if diff := cmp.Diff(set, got, jsonValue); diff != "" || err != nil {
					t.Errorf("get: %v (-want +got):\n%s", err, diff)
				}
				_, err = f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: `it's\$1?`, Value: "v", KeepExisting: true, Now: &now})
				wantError(t, err, store.ErrMemoryKeyExists)
			}
			checkMemoryLists(ctx, t, f, `it's\`, &now)
			for _, sessionID := range f.scopes() {
				if err := f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: sessionID, Key: `it's\$1?`, Now: &now}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// checkMemoryLists checks each list of a database that holds one entry of alice in global memory and one in the session.
func checkMemoryLists(ctx context.Context, t *testing.T, f fixture, prefix string, now *time.Time) {
	t.Helper()
	for scope, want := range map[store.MemoryScope]int{store.MemoryScopeAll: 2, store.MemoryScopeGlobal: 1, store.MemoryScopeSession: 1} {
		params := store.ListMemoryParams{AgentID: "alice", Scope: scope, Prefix: prefix, After: &store.MemoryCursor{}, Now: now}
		if scope == store.MemoryScopeSession {
			params.SessionID = f.session.ID
		}
		page, err := f.ListMemory(ctx, params)
		if err != nil || len(page.Entries) != want || page.HasMore {
			t.Errorf("list of %s: %v, %+v; want %d", scope, err, page, want)
		}
	}
	all, err := f.ListAllMemory(ctx, store.ListAllMemoryParams{Reader: admin, Now: now})
	if err != nil || len(all.Entries) != 2 {
		t.Errorf("list of all: %v, %+v", err, all)
	}
	counts, err := f.CountMemory(ctx, store.CountMemoryParams{Reader: admin, Now: now})
	if diff := cmp.Diff(store.MemoryCounts{Total: 2, Global: 1, Session: 1, Expiring: 2, Agents: 1}, counts); diff != "" || err != nil {
		t.Errorf("counts: %v (-want +got):\n%s", err, diff)
	}
}
