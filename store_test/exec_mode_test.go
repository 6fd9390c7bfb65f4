package store_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Whatever way statements are sent, the operations give the same. STORETEST_EXEC_MODE runs all other tests in a mode.
func TestExecModes(t *testing.T) {
	t.Parallel()
	needsOwner(t, "cleans up the audit log")
	modes := []store.ExecMode{
		store.ExecModeAuto, store.ExecModeCacheStatement, store.ExecModeCacheDescribe, store.ExecModeExec, store.ExecModeSimpleProtocol,
	}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			ctx, m := storetest.Open(t, inMode(t, tokenConfig(t, tokenKey), mode))
			now := time.Date(2025, 6, 1, 12, 0, 0, 1000, time.UTC)
			session, err := m.CreateSession(ctx, store.CreateSessionParams{
				Purpose: `quote ' and \ and $1`, CreatedBy: "alice", Metadata: json.RawMessage(`{"a":[1,"b\n'"]}`), Now: &now,
			})
			if err != nil {
				t.Fatal(err)
			}
			first, err := m.AddMessage(ctx, session.ID, store.NewMessage{Sender: "alice", Content: `it's "$1" ? \'`, Timestamp: now})
			if err != nil {
				t.Fatal(err)
			}
			added, err := m.AddMessages(ctx, session.ID, []store.NewMessage{
				{Sender: "bob", Content: "{\",\\}", Metadata: map[string]any{"x": "NULL"}, ParentMessageID: &first.ID, Timestamp: now},
				{Sender: "bob", Content: "NULL", Visibility: store.VisibilityPrivate, Timestamp: now},
			})
			if err != nil {
				t.Fatal(err)
			}
			page, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: admin, After: &store.MessageCursor{}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]store.Message{first}, added...), page.Messages, jsonValue); diff != "" {
				t.Errorf("messages (-added +read):\n%s", diff)
			}
			detail, err := m.GetSession(ctx, session.ID, alice)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(session, detail.Session, jsonValue); diff != "" {
				t.Errorf("session (-created +read):\n%s", diff)
			}
			if diff := cmp.Diff([]string{added[0].Content, first.Content}, contents(detail.Messages)); diff != "" {
				t.Errorf("latest messages (-want +got):\n%s", diff)
			}
			results, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: session.ID, Reader: admin, Query: `it's "$1" ? \'`, Window: store.SearchWindowAll})
			if err != nil || len(results.Results) == 0 || results.Results[0].Score != 100 {
				t.Fatalf("search: %+v, %v", results, err)
			}
			if diff := cmp.Diff(first, results.Results[0].Message, jsonValue); diff != "" {
				t.Errorf("message found (-added +found):\n%s", diff)
			}
			list, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Sessions) != 1 || list.Sessions[0].MessageCount != 2 || !list.Sessions[0].LastActivity.Equal(now) {
				t.Errorf("active sessions: %+v", list)
			}
			if err := m.InitializeDatabase(ctx); err != nil {
				t.Error(err)
			}
			if health := store.HealthCheck(ctx); !health.Healthy() {
				t.Errorf("health: %+v", health)
			}
			if _, err := store.CleanupExpiredData(ctx); err != nil {
				t.Error(err)
			}
			event, err := m.AppendAudit(ctx, store.AppendAuditParams{EventType: "x", AgentID: "carol", Metadata: map[string]any{"x": "'"}, Now: &now})
			if err != nil {
				t.Fatal(err)
			}
			events, err := m.ListAudit(ctx, store.ListAuditParams{Reader: admin, AgentID: "carol"})
			if diff := cmp.Diff([]store.AuditEvent{event}, events.Events, jsonValue); diff != "" || err != nil {
				t.Errorf("audit events: %v (-appended +read):\n%s", err, diff)
			}
			if _, err := m.ListSessionActivity(ctx, store.ListSessionActivityParams{Reader: admin}); err != nil {
				t.Error(err)
			}
			if _, err := m.Cleanup(ctx); err != nil {
				t.Error(err)
			}
			if verification, err := m.VerifyAudit(ctx); err != nil || len(verification.Problems) > 0 || verification.Rows == 0 {
				t.Errorf("verification %+v, error %v", verification, err)
			}
			rows, err := store.ExecuteQuery(ctx, "SELECT ?::text AS text, ?::bigint AS number, ?::timestamptz AS time, ?::jsonb AS json",
				"it's", int64(1)<<40, now, json.RawMessage(`{"a":1}`))
			if err != nil {
				t.Fatal(err)
			}
			want := []map[string]any{{"text": "it's", "number": int64(1) << 40, "time": now, "json": map[string]any{"a": 1.0}}}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Errorf("execute query (-want +got):\n%s", diff)
			}
			token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: `it's \ "$1" ?`, Now: ptr(time.Now())})
			if err != nil {
				t.Fatal(err)
			}
			if token, err = m.RefreshToken(ctx, token.ID); err != nil {
				t.Fatal(err)
			}
			if resolved, err := m.ResolveToken(ctx, token.ID); err != nil || resolved.JWT != `it's \ "$1" ?` {
				t.Errorf("token: %v, %v", resolved, err)
			}
			if agent, err := m.RecoverToken(ctx, token.ID); err != nil || agent != "alice" {
				t.Errorf("agent of the token: %q, %v", agent, err)
			}
			if _, err := m.CleanupExpiredTokens(ctx); err != nil {
				t.Error(err)
			}
			if err := m.DeactivateSession(ctx, session.ID, "alice"); err != nil {
				t.Error(err)
			}
			if err := m.DeleteSession(ctx, session.ID, "alice"); err != nil {
				t.Error(err)
			}
		})
	}
}
