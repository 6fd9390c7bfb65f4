package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestTotals(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	got, err := m.Totals(ctx, admin)
	if diff := cmp.Diff(store.Totals{}, got); diff != "" || err != nil {
		t.Errorf("an empty database: %v (-want +got):\n%s", err, diff)
	}
	f := fixture{m, newSession(ctx, t, m)}
	f.add(ctx, t, store.NewMessage{Sender: "a", Content: "1"}, store.NewMessage{Sender: "b", Content: "2", Visibility: store.VisibilityPrivate})
	if err := m.DeactivateSession(ctx, newSession(ctx, t, m).ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ExecuteUpdate(ctx, `INSERT INTO agent_memory (agent_id, key, value, created_at, expires_at) VALUES
		('a', 'forever', 'v', now(), NULL), ('a', 'lives', 'v', now(), now() + interval '1 hour'),
		('a', 'gone', 'v', now() - interval '2 hours', now() - interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	got, err = m.Totals(ctx, admin)
	if diff := cmp.Diff(store.Totals{Sessions: 2, ActiveSessions: 1, Messages: 2, LiveMemory: 2}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestDashboardsRefuse(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	calls := map[string]func(reader store.Reader, limit int) error{
		"totals": func(reader store.Reader, _ int) error { _, err := m.Totals(ctx, reader); return err },
		"session activity": func(reader store.Reader, limit int) error {
			_, err := m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: reader, Limit: limit})
			return err
		},
		"agent memory": func(reader store.Reader, limit int) error {
			_, err := m.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: reader, Limit: limit})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, call(alice, 0), store.ErrPermission)
			wantInvalid(t, call(store.Reader{Admin: true}, 0), "agent_id")
			if name == "totals" {
				return
			}
			wantInvalid(t, call(admin, -1), "limit")
			wantInvalid(t, call(admin, 1001), "limit")
		})
	}
	_, err := m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin, After: &store.SessionActivityCursor{ID: invalidUTF8}})
	wantInvalid(t, err, "after")
	year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin, After: &store.SessionActivityCursor{LastMessageAt: &year10000}})
	wantInvalid(t, err, "after")
	_, err = m.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: admin, After: &store.AgentMemoryCursor{TotalEntries: -1}})
	wantInvalid(t, err, "after")
	_, err = m.ListAgentMemory(ctx, store.ListAgentMemoryParams{Reader: admin, After: &store.AgentMemoryCursor{AgentID: "a\x00"}})
	wantInvalid(t, err, "after")
}

func TestListSessionActivity(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	instant := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 9 { // three without a message, and of the others always two with the same time of the latest one
		f := fixture{m, newSession(ctx, t, m)}
		for n := range i - 2 {
			f.add(ctx, t, store.NewMessage{
				Sender: fmt.Sprint("agent_", n%2), Content: "x", Visibility: store.VisibilityPrivate,
				Timestamp: instant.Add(time.Duration(i/2-n) * time.Second),
			})
		}
	}
	if err := m.DeactivateSession(ctx, newSession(ctx, t, m).ID, "alice"); err != nil {
		t.Fatal(err)
	}
	rows, err := store.ExecuteQuery(ctx, "SELECT id, message_count, unique_agents FROM active_sessions_with_activity ORDER BY last_message_at DESC NULLS LAST, id DESC")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 9 {
		t.Fatalf("the view has %d sessions, want 9", len(rows))
	}
	for _, limit := range []int{0, 1, 2, 4, 9} {
		params := store.ListSessionActivityParams{Reader: admin, Limit: limit}
		var got []map[string]any
		for more := true; more; {
			page, err := m.ListSessionActivity(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			for _, session := range page.Sessions {
				got = append(got, map[string]any{"id": session.ID, "message_count": session.MessageCount, "unique_agents": session.UniqueAgents})
				if (session.LastMessageAt == nil) != (session.MessageCount == 0) || !session.IsActive || session.Purpose != "test" {
					t.Errorf("session %+v", session)
				}
			}
			more, params.After = page.HasMore, page.Next
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
}

func TestListAgentMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	created := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := store.ExecuteUpdate(ctx, `INSERT INTO agent_memory (agent_id, session_id, key, value, created_at, updated_at, expires_at)
		SELECT agent, CASE WHEN n % 2 = 1 THEN ?::text END, 'k' || n, 'v', ?::timestamptz, ?::timestamptz + n * interval '1 second',
			CASE WHEN n = 0 THEN ?::timestamptz + interval '1 minute' END
		FROM (VALUES ('a', 2), ('b', 3), ('c', 2), ('d', 1), ('e', 2)) AS v (agent, entries), generate_series(0, entries - 1) AS n`,
		f.session.ID, created, created, created); err != nil {
		t.Fatal(err)
	}
	entry := func(agent string, total, global, session int64) store.AgentMemorySummary {
		return store.AgentMemorySummary{
			AgentID: agent, TotalEntries: total, GlobalEntries: global, SessionEntries: session, ExpiringEntries: 1,
			FirstEntry: created, LastUpdated: created.Add(time.Duration(total-1) * time.Second),
		}
	}
	want := []store.AgentMemorySummary{entry("b", 3, 2, 1), entry("a", 2, 1, 1), entry("c", 2, 1, 1), entry("e", 2, 1, 1), entry("d", 1, 1, 0)}
	for _, limit := range []int{0, 1, 2, 3, 5} {
		params := store.ListAgentMemoryParams{Reader: admin, Limit: limit}
		var got []store.AgentMemorySummary
		for more := true; more; {
			page, err := f.ListAgentMemory(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Agents...)
			more, params.After = page.HasMore, page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
}
