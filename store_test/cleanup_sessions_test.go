package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// retain is a configuration that deletes sessions after 5 and audit rows after 10 days.
func retain(tb testing.TB) store.Config {
	tb.Helper()
	config := storetest.Config(tb)
	config.AuditRetention, config.InactiveSessionRetention = 10*24*time.Hour, 5*24*time.Hour
	return config
}

// fillWithSessions writes sessions of which n, of more than two batches, are to be deleted, and five to be kept.
func fillWithSessions(ctx context.Context, tb testing.TB, n int) {
	tb.Helper()
	for sql, args := range map[string][]any{
		`WITH s AS (
			INSERT INTO sessions (id, purpose, created_by, is_active, updated_at)
			SELECT 'unused_' || n, 'x', 'alice', false, now() - interval '5 days 1 minute' - (n / 3) * interval '1 second' FROM generate_series(0, ?::int - 1) AS n
			RETURNING id
		), m AS (
			INSERT INTO messages (session_id, sender, content, timestamp) SELECT id, 'alice', 'x', now() - interval '5 days 1 minute' FROM s
		)
		INSERT INTO agent_memory (agent_id, session_id, key, value) SELECT 'alice', id, 'k', 'v' FROM s`: {n},
		`WITH s AS (
			INSERT INTO sessions (id, purpose, created_by, is_active, updated_at) VALUES
				('session_aaaaaaaaaaaaaaa0', 'x', 'alice', true, now() - interval '1 year'),
				('session_aaaaaaaaaaaaaaa1', 'x', 'alice', false, now() - interval '4 days 23 hours 59 minutes'),
				('session_aaaaaaaaaaaaaaa2', 'x', 'alice', false, now()),
				('session_aaaaaaaaaaaaaaa3', 'x', 'alice', false, now() - interval '1 year'),
				('session_aaaaaaaaaaaaaaa4', 'x', 'alice', true, now())
			RETURNING id
		)
		INSERT INTO messages (session_id, sender, content, timestamp)
		SELECT id, 'alice', 'x', now() - CASE WHEN id LIKE '%3' THEN interval '4 days' ELSE interval '2 years' END FROM s`: nil,
	} {
		if _, err := store.ExecuteUpdate(ctx, sql, args...); err != nil {
			tb.Fatal(err)
		}
	}
}

func wantSessionsCleanedUp(ctx context.Context, tb testing.TB, n int64) {
	tb.Helper()
	for sql, want := range map[string]int64{
		"SELECT count(*) FROM sessions":                                          5,
		"SELECT count(*) FROM sessions WHERE id LIKE 'session_aaaaaaaaaaaaaaa_'": 5,
		"SELECT count(*) FROM messages":                                          5,
		"SELECT count(*) FROM agent_memory":                                      0,
		"SELECT count(DISTINCT resource) FROM audit_log WHERE event_type = 'session_deleted' AND agent_id = 'system' AND resource LIKE 'unused_%'": n,
		"SELECT count(*) FROM audit_log": n,
	} {
		if got := count(ctx, tb, sql); got != want {
			tb.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	ctx, m := storetest.Open(t, retain(t))
	fillForCleanup(ctx, t)
	const tokens = "INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES ('long ago', '', 'a', now() - interval '8 days'), ('recoverable', '', 'a', now() - interval '6 days')"
	if _, err := store.ExecuteUpdate(ctx, tokens); err != nil {
		t.Fatal(err)
	}
	want := store.CleanupReport{
		CleanupStats: store.CleanupStats{ExpiredMemory: expiredMemoryRows, OldAuditLogs: oldAuditRows}, ExpiredTokens: 1,
	}
	got, err := m.Cleanup(ctx)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	wantCleanedUp(ctx, t)
	if diff := cmp.Diff([]string{"expired_memory", "expired_tokens", "inactive_sessions", "old_audit_logs"}, jsonKeys(t, got)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestCleanupSessions(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	for _, n := range []int{0, 1, 100, 217} { // less than a batch, whole batches, and one that is not full
		ctx, m := storetest.Open(t, retain(t))
		fillWithSessions(ctx, t, n)
		for _, want := range []int64{int64(n), 0} {
			got, err := m.Cleanup(ctx)
			if diff := cmp.Diff(store.CleanupReport{InactiveSessions: want}, got); diff != "" || err != nil {
				t.Errorf("%d sessions: %v (-want +got):\n%s", n, err, diff)
			}
			wantSessionsCleanedUp(ctx, t, int64(n))
		}
	}
}

func TestCleanupSessionsByManyAtOnce(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	config := retain(t)
	ctx, _ := storetest.Open(t, config)
	const sessions, cleaners = 330, 4
	fillWithSessions(ctx, t, sessions)
	var reports [cleaners]store.CleanupReport
	var errs [cleaners]error
	var cleaning sync.WaitGroup
	for i := range cleaners {
		ctx, m := storetest.Open(t, config)
		cleaning.Go(func() { reports[i], errs[i] = m.Cleanup(ctx) })
	}
	cleaning.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	var deleted int64
	for _, report := range reports {
		deleted += report.InactiveSessions
	}
	if deleted != sessions {
		t.Errorf("%d sessions were deleted together, want %d", deleted, sessions)
	}
	wantSessionsCleanedUp(ctx, t, sessions)
}

// A session that somebody is writing to is left alone, without waiting, and stays when the message is there.
func TestCleanupSparesSessionsInUse(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, m := storetest.Open(t, retain(t))
	session := newSession(ctx, t, m)
	if _, err := store.ExecuteUpdate(ctx, "ALTER TABLE sessions DISABLE TRIGGER sessions_updated_at_trigger"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ExecuteUpdate(ctx, "UPDATE sessions SET is_active = false, updated_at = now() - interval '1 year'"); err != nil {
		t.Fatal(err)
	}
	clean := func(ctx context.Context, when string, want int64) {
		t.Helper()
		got, err := m.Cleanup(ctx)
		if err != nil || got.InactiveSessions != want {
			t.Errorf("%s: %d sessions deleted, want %d (error %v)", when, got.InactiveSessions, want, err)
		}
	}
	err := m.InTx(ctx, func(inTx context.Context) error {
		if _, err := m.AddMessage(inTx, session.ID, store.NewMessage{Sender: "alice", Content: "x"}); err != nil {
			return err
		}
		clean(store.WithoutTx(inTx), "while a message is being written", 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	clean(ctx, "with a new message", 0)
	if _, err := store.ExecuteUpdate(ctx, "UPDATE messages SET timestamp = now() - interval '1 year'"); err != nil {
		t.Fatal(err)
	}
	clean(ctx, "with an old message", 1)
}

func TestCleanupReportsSessionsBeforeItFailed(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, m := storetest.Open(t, retain(t))
	fillForCleanup(ctx, t)
	fillWithSessions(ctx, t, 60)
	if _, err := store.ExecuteUpdate(ctx, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'`); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ExecuteUpdate(ctx, "CREATE TRIGGER refuse BEFORE DELETE ON sessions FOR EACH ROW WHEN (OLD.id = 'unused_0') EXECUTE FUNCTION refuse()"); err != nil {
		t.Fatal(err)
	}
	got, err := m.Cleanup(ctx)
	var failure *store.DatabaseError
	if !errors.As(err, &failure) || failure.Op != "clean up inactive sessions" {
		t.Errorf("got error %v, want a DatabaseError of this operation", err)
	}
	want := store.CleanupReport{CleanupStats: store.CleanupStats{ExpiredMemory: expiredMemoryRows}, InactiveSessions: 50}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'session_deleted'"); n != 50 {
		t.Errorf("%d sessions have an audit row, want 50", n)
	}
}

// Sessions may hold more messages than can be deleted within statement_timeout, which is for requests.
func TestCleanupOfLargeSessions(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	config := retain(t)
	config.StatementTimeout = 100 * time.Millisecond
	ctx, m := storetest.Open(t, config)
	for _, sql := range []string{
		"CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$",
		"CREATE TRIGGER slowly BEFORE DELETE ON messages FOR EACH ROW EXECUTE FUNCTION slowly()",
		"INSERT INTO sessions (id, purpose, created_by, is_active, updated_at) VALUES ('large', 'x', 'alice', false, now() - interval '6 days')",
		`INSERT INTO messages (session_id, sender, content, timestamp)
			SELECT 'large', 'alice', 'x', now() - interval '6 days' FROM generate_series(1, 10)`,
	} {
		if _, err := store.ExecuteUpdate(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	report, err := m.Cleanup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if report.InactiveSessions != 1 {
		t.Errorf("report %+v", report)
	}
	if throughPooler(config) {
		return // which the store gives no limit to
	}
	// What follows on the same connection has its limit.
	if _, err := store.ExecuteQuery(ctx, "SELECT pg_sleep(60)"); sqlState(err) != "57014" {
		t.Errorf("got error %v", err)
	}
}
