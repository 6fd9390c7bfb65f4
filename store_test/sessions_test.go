package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestCreateSession(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)

	now := time.Date(2025, 8, 22, 23, 48, 35, 123456000, time.UTC)
	session, err := m.CreateSession(ctx, store.CreateSessionParams{
		Purpose: "  review\x00 the\tparser\n", CreatedBy: "planner-1", Metadata: map[string]any{"repo": "<x>"}, Now: &now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !store.ValidateSessionID(session.ID) {
		t.Errorf("id %q is not one of a session", session.ID)
	}
	want := store.Session{
		ID: session.ID, Purpose: "review the\tparser", CreatedAt: now, UpdatedAt: now, IsActive: true,
		CreatedBy: "planner-1", Metadata: json.RawMessage(`{"repo":"<x>"}`),
	}
	if diff := cmp.Diff(want, session); diff != "" {
		t.Errorf("created session (-want +got):\n%s", diff)
	}

	detail, err := m.GetSession(ctx, session.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, detail.Session, jsonValue); diff != "" {
		t.Errorf("read session (-want +got):\n%s", diff)
	}
	if detail.Messages == nil || len(detail.Messages) != 0 {
		t.Errorf("messages %v, want an empty list", detail.Messages)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'session_created' AND session_id = ? AND agent_id = ?",
		session.ID, "planner-1"); n != 1 {
		t.Errorf("%d audit rows, want 1", n)
	}
}

// jsonValue compares metadata by value: jsonb has a form of its own.
var jsonValue = cmp.Transformer("json", func(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err.Error()
	}
	return value
})

func TestCreateSessionUsesTheDatabaseClock(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	clock := count(ctx, t, "SELECT count(*) FROM sessions WHERE id = ? AND created_at <= now() AND created_at > now() - interval '1 hour'", f.session.ID)
	if clock != 1 {
		t.Errorf("created_at is %v, want about now", f.session.CreatedAt)
	}
}

func TestCreateSessionRefuses(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	valid := store.CreateSessionParams{Purpose: "p", CreatedBy: "alice"}
	tests := []struct {
		name, field string
		change      func(*store.CreateSessionParams)
	}{
		{"no purpose", "purpose", func(p *store.CreateSessionParams) { p.Purpose = "" }},
		{"white purpose", "purpose", func(p *store.CreateSessionParams) { p.Purpose = " \x00\t\n" }},
		{"long purpose", "purpose", func(p *store.CreateSessionParams) { p.Purpose = strings.Repeat("ж", 1001) }},
		{"invalid UTF-8", "purpose", func(p *store.CreateSessionParams) { p.Purpose = invalidUTF8 }},
		{"no creator", "created_by", func(p *store.CreateSessionParams) { p.CreatedBy = "" }},
		{"creator with newline", "created_by", func(p *store.CreateSessionParams) { p.CreatedBy = "alice\n" }},
		{"creator with quote", "created_by", func(p *store.CreateSessionParams) { p.CreatedBy = "a'b" }},
		{"metadata is a list", "metadata", func(p *store.CreateSessionParams) { p.Metadata = []int{1} }},
		{"metadata with NUL", "metadata", func(p *store.CreateSessionParams) { p.Metadata = map[string]any{"k": "a\x00b"} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			params := valid
			test.change(&params)
			_, err := m.CreateSession(ctx, params)
			wantInvalid(t, err, test.field)
		})
	}
	t.Run("1000 characters of more than a byte", func(t *testing.T) {
		t.Parallel()
		params := valid
		params.Purpose = strings.Repeat("ж", 1000)
		if _, err := m.CreateSession(ctx, params); err != nil {
			t.Error(err)
		}
	})
}

func TestGetSessionShowsTheLatest(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	var messages []store.NewMessage
	for i := range 60 {
		messages = append(messages, store.NewMessage{Sender: "alice", Content: fmt.Sprint(i)})
	}
	messages = append(messages, store.NewMessage{Sender: "bob", Content: "secret", Visibility: store.VisibilityPrivate})
	added := f.add(ctx, t, messages...)

	detail, err := f.GetSession(ctx, f.session.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := 59; i >= 10; i-- {
		want = append(want, fmt.Sprint(i))
	}
	if diff := cmp.Diff(want, contents(detail.Messages)); diff != "" {
		t.Errorf("latest messages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(added[59], detail.Messages[0]); diff != "" {
		t.Errorf("newest message (-added +read):\n%s", diff)
	}
}

func TestGetSessionRefuses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	_, err := f.GetSession(ctx, unknownSession, alice)
	wantError(t, err, store.ErrSessionNotFound)
	_, err = f.GetSession(ctx, f.session.ID+"\n", alice)
	wantInvalid(t, err, "session_id")
	_, err = f.GetSession(ctx, f.session.ID, store.Reader{})
	wantInvalid(t, err, "agent_id")
	_, err = f.GetSession(ctx, f.session.ID, store.Reader{AgentID: "a", AgentType: strings.Repeat("x", 51)})
	wantInvalid(t, err, "agent_type")
}

func TestListActiveSessions(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	base := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

	// quiet has no message, busy has the latest; hidden has only a message that alice may not see; ended is inactive.
	create := func(purpose string, minutes int) store.Session {
		session, err := m.CreateSession(ctx, store.CreateSessionParams{
			Purpose: purpose, CreatedBy: "alice", Now: ptr(base.Add(time.Duration(minutes) * time.Minute)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	post := func(session store.Session, sender string, visibility store.Visibility, minutes int) {
		_, err := m.AddMessage(ctx, session.ID, store.NewMessage{
			Sender: sender, Content: "x", Visibility: visibility, Timestamp: base.Add(time.Duration(minutes) * time.Minute), Admin: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet, busy, hidden, ended := create("quiet", 30), create("busy", 1), create("hidden", 2), create("ended", 3)
	post(busy, "alice", store.VisibilityPublic, 10)
	post(busy, "bob", store.VisibilityPublic, 50)
	post(busy, "bob", store.VisibilityPrivate, 60)
	post(hidden, "bob", store.VisibilityAdminOnly, 90)
	post(ended, "bob", store.VisibilityPublic, 95)
	if err := m.DeactivateSession(ctx, ended.ID, "alice"); err != nil {
		t.Fatal(err)
	}

	type row struct {
		ID                         string
		MessageCount, Participants int64
		Minutes                    int
	}
	list := func(reader store.Reader, limit int) []row {
		var rows []row
		params := store.ListActiveSessionsParams{Reader: reader, Limit: limit}
		for {
			page, err := m.ListActiveSessions(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Sessions {
				rows = append(rows, row{s.ID, s.MessageCount, s.Participants, int(s.LastActivity.Sub(base).Minutes())})
			}
			if page.HasMore != (page.Next != nil) || page.HasMore && len(page.Sessions) != limit {
				t.Fatalf("page of %d: has more %t, next %v", len(page.Sessions), page.HasMore, page.Next)
			}
			if !page.HasMore {
				return rows
			}
			params.After = page.Next
		}
	}
	wantAlice := []row{{busy.ID, 2, 2, 50}, {quiet.ID, 0, 0, 30}, {hidden.ID, 0, 0, 2}}
	wantAdmin := []row{{hidden.ID, 1, 1, 90}, {busy.ID, 3, 2, 60}, {quiet.ID, 0, 0, 30}}
	for _, limit := range []int{1, 2, 3, 50} {
		if diff := cmp.Diff(wantAlice, list(alice, limit)); diff != "" {
			t.Errorf("pages of %d for alice (-want +got):\n%s", limit, diff)
		}
		if diff := cmp.Diff(wantAdmin, list(admin, limit)); diff != "" {
			t.Errorf("pages of %d for an admin (-want +got):\n%s", limit, diff)
		}
	}

	_, err := m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice, Limit: 1001})
	wantInvalid(t, err, "limit")
	_, err = m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice, Limit: -1})
	wantInvalid(t, err, "limit")
	_, err = m.ListActiveSessions(ctx, store.ListActiveSessionsParams{})
	wantInvalid(t, err, "agent_id")
	_, err = m.ListActiveSessions(ctx, store.ListActiveSessionsParams{Reader: alice, After: &store.SessionCursor{ID: "\x00"}})
	wantInvalid(t, err, "session_id")
	_, err = m.ListActiveSessions(ctx, store.ListActiveSessionsParams{
		Reader: alice, After: &store.SessionCursor{ID: busy.ID, LastActivity: time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)},
	})
	wantInvalid(t, err, "cursor")
}

// Memory is private to its agent: a reader counts its own in a session, an admin that of all. What has expired and what is
// global counts nowhere.
func TestListActiveSessionsCountsMemory(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	shared, empty := newSession(ctx, t, f.Manager), newSession(ctx, t, f.Manager)
	past := time.Now().Add(-2 * time.Hour)
	for _, entry := range []store.SetMemoryParams{
		{AgentID: "alice", Key: "global"},
		{AgentID: "alice", SessionID: f.session.ID, Key: "live"},
		{AgentID: "alice", SessionID: f.session.ID, Key: "expiring", TTL: time.Hour},
		{AgentID: "alice", SessionID: f.session.ID, Key: "expired", TTL: time.Hour, Now: &past},
		{AgentID: "alice", SessionID: shared.ID, Key: "live"},
		{AgentID: "bob", SessionID: shared.ID, Key: "live"},
		{AgentID: "bob", SessionID: shared.ID, Key: "expired", TTL: time.Hour, Now: &past},
	} {
		entry.Value = "x"
		if _, err := f.SetMemory(ctx, entry); err != nil {
			t.Fatal(err)
		}
	}
	// Messages neither multiply the count nor hide it.
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "1"}, store.NewMessage{Sender: "bob", Content: "2"},
		store.NewMessage{Sender: "alice", Content: "3", Visibility: store.VisibilityPrivate})
	for _, test := range []struct {
		reader store.Reader
		want   map[string]int64
	}{
		{alice, map[string]int64{f.session.ID: 2, shared.ID: 1, empty.ID: 0}},
		{store.Reader{AgentID: "bob"}, map[string]int64{f.session.ID: 0, shared.ID: 1, empty.ID: 0}},
		{store.Reader{AgentID: "stranger", AgentType: "claude"}, map[string]int64{f.session.ID: 0, shared.ID: 0, empty.ID: 0}},
		{admin, map[string]int64{f.session.ID: 2, shared.ID: 2, empty.ID: 0}},
	} {
		got := make(map[string]int64)
		params := store.ListActiveSessionsParams{Reader: test.reader, Limit: 1}
		for more := true; more; {
			page, err := f.ListActiveSessions(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			for _, session := range page.Sessions {
				got[session.ID] = session.MemoryCount
			}
			more, params.After = page.HasMore, page.Next
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("memory counts for %s (-want +got):\n%s", test.reader.AgentID, diff)
		}
	}
}

// Sessions of the same instant have an order too, so that no page misses or repeats one.
func TestListActiveSessionsOfOneInstant(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	want := make(map[string]bool)
	for range 25 {
		session, err := m.CreateSession(ctx, store.CreateSessionParams{Purpose: "x", CreatedBy: "alice", Now: &now})
		if err != nil {
			t.Fatal(err)
		}
		want[session.ID] = true
	}
	got := make(map[string]bool)
	params := store.ListActiveSessionsParams{Reader: alice, Limit: 4}
	for more := true; more; {
		page, err := m.ListActiveSessions(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		for _, session := range page.Sessions {
			if got[session.ID] {
				t.Errorf("%s is listed twice", session.ID)
			}
			got[session.ID] = true
		}
		more, params.After = page.HasMore, page.Next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed sessions (-want +got):\n%s", diff)
	}
}

func TestDeactivateSession(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for range 2 { // the second time changes nothing
		if err := f.DeactivateSession(ctx, f.session.ID, "bob"); err != nil {
			t.Fatal(err)
		}
	}
	detail, err := f.GetSession(ctx, f.session.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	if detail.IsActive {
		t.Error("the session is active")
	}
	if !detail.UpdatedAt.After(f.session.UpdatedAt) {
		t.Errorf("updated_at stays %v", detail.UpdatedAt)
	}
	audit := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'session_deactivated' AND session_id = ? AND agent_id = 'bob'", f.session.ID)
	if audit != 1 {
		t.Errorf("%d audit rows, want 1", audit)
	}
	if _, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "late"}); err != nil {
		t.Errorf("a message to an inactive session: %v", err)
	}
	wantError(t, f.DeactivateSession(ctx, unknownSession, "bob"), store.ErrSessionNotFound)
	wantInvalid(t, f.DeactivateSession(ctx, "x", "bob"), "session_id")
	wantInvalid(t, f.DeactivateSession(ctx, f.session.ID, ""), "agent_id")
}

func TestDeleteSession(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	other := newSession(ctx, t, f.Manager)
	f.add(ctx, t, store.NewMessage{Sender: "alice", Content: "gone"})
	if _, err := f.AddMessage(ctx, other.ID, store.NewMessage{Sender: "alice", Content: "stays"}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ExecuteInsert(ctx, "INSERT INTO agent_memory (agent_id, session_id, key, value) VALUES ('alice', ?, 'k', 'v')", f.session.ID); err != nil {
		t.Fatal(err)
	}

	if err := f.DeleteSession(ctx, f.session.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	wantError(t, f.DeleteSession(ctx, f.session.ID, "bob"), store.ErrSessionNotFound)
	_, err := f.GetSession(ctx, f.session.ID, admin)
	wantError(t, err, store.ErrSessionNotFound)
	left := map[string]int64{
		"messages": count(ctx, t, "SELECT count(*) FROM messages"),
		"memory":   count(ctx, t, "SELECT count(*) FROM agent_memory"),
		"sessions": count(ctx, t, "SELECT count(*) FROM sessions"),
		"audit":    count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'session_deleted' AND resource = ? AND agent_id = 'bob' AND session_id IS NULL", f.session.ID),
		"trail":    count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'message_added'"),
	}
	want := map[string]int64{"messages": 1, "memory": 0, "sessions": 1, "audit": 1, "trail": 2}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("rows after the deletion (-want +got):\n%s", diff)
	}
	wantInvalid(t, f.DeleteSession(ctx, "session_0", "bob"), "session_id")
	wantInvalid(t, f.DeleteSession(ctx, other.ID, "b b"), "agent_id")
}

func contents(messages []store.Message) []string {
	texts := make([]string, len(messages))
	for i, message := range messages {
		texts[i] = message.Content
	}
	return texts
}
