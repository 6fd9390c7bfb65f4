package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func TestAddMessage(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	parent := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "question"})[0]

	timestamp := time.Date(2025, 8, 22, 23, 48, 35, 123456789, time.FixedZone("", 7200))
	added, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{
		Sender: "alice", SenderType: "claude", Content: " line\r\n\x07\u009b two\u2028 🦜 ", Visibility: store.VisibilityAgentOnly,
		MessageType: store.MessageTypeToolResult, Metadata: struct{ N int }{3}, ParentMessageID: &parent.ID, Timestamp: timestamp,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := store.Message{
		ID: added.ID, SessionID: f.session.ID, Sender: "alice", SenderType: "claude", Content: "line\r\n two\u2028 🦜",
		Visibility: store.VisibilityAgentOnly, MessageType: store.MessageTypeToolResult, Metadata: json.RawMessage(`{"N":3}`),
		Timestamp: time.Date(2025, 8, 22, 21, 48, 35, 123456000, time.UTC), ParentMessageID: &parent.ID,
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("added message (-want +got):\n%s", diff)
	}
	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice, Visibility: store.VisibilityAgentOnly})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Message{want}, page.Messages, jsonValue); diff != "" {
		t.Errorf("read message (-want +got):\n%s", diff)
	}

	audit, err := store.ExecuteQuery(ctx, "SELECT agent_id, session_id, metadata FROM audit_log WHERE event_type = 'message_added' ORDER BY id DESC LIMIT 1")
	if err != nil {
		t.Fatal(err)
	}
	wantAudit := []map[string]any{{
		"agent_id": "alice", "session_id": f.session.ID,
		"metadata": map[string]any{"message_id": float64(added.ID), "visibility": "agent_only"},
	}}
	if diff := cmp.Diff(wantAudit, audit); diff != "" {
		t.Errorf("audit row (-want +got):\n%s", diff)
	}
}

func TestAddMessageDefaults(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	added, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "x"})
	if err != nil {
		t.Fatal(err)
	}
	want := store.Message{
		ID: added.ID, SessionID: f.session.ID, Sender: "alice", SenderType: "generic", Content: "x",
		Visibility: store.VisibilityPublic, MessageType: store.MessageTypeAgentResponse, Timestamp: added.Timestamp,
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("added message (-want +got):\n%s", diff)
	}
	if now := count(ctx, t, "SELECT count(*) FROM messages WHERE id = ? AND timestamp BETWEEN now() - interval '1 hour' AND now() AND metadata IS NULL", added.ID); now != 1 {
		t.Errorf("time %v is not the database's, or the metadata is not NULL", added.Timestamp)
	}
}

// refusals are messages that neither AddMessage nor AddMessages accepts.
var refusals = []struct {
	name, field string
	message     store.NewMessage
}{
	{"no sender", "sender", store.NewMessage{Content: "x"}},
	{"sender with a space", "sender", store.NewMessage{Sender: "a b", Content: "x"}},
	{"sender of 101", "sender", store.NewMessage{Sender: strings.Repeat("a", 101), Content: "x"}},
	{"look-alike sender", "sender", store.NewMessage{Sender: "аlice", Content: "x"}}, // the а is Cyrillic
	{"sender type of 51", "sender_type", store.NewMessage{Sender: "a", SenderType: strings.Repeat("a", 51), Content: "x"}},
	{"no content", "content", store.NewMessage{Sender: "a"}},
	{"only control characters", "content", store.NewMessage{Sender: "a", Content: "\x00\x01 \x7f"}},
	{"100,001 characters", "content", store.NewMessage{Sender: "a", Content: strings.Repeat("ж", 100_001)}},
	{"invalid UTF-8", "content", store.NewMessage{Sender: "a", Content: invalidUTF8}},
	{"unknown visibility", "visibility", store.NewMessage{Sender: "a", Content: "x", Visibility: "everyone"}},
	{"visibility in capitals", "visibility", store.NewMessage{Sender: "a", Content: "x", Visibility: "PUBLIC"}},
	{"message type of 51", "message_type", store.NewMessage{Sender: "a", Content: "x", MessageType: store.MessageType(strings.Repeat("a", 51))}},
	{"metadata is no object", "metadata", store.NewMessage{Sender: "a", Content: "x", Metadata: "text"}},
	{"metadata with an escaped NUL", "metadata", store.NewMessage{Sender: "a", Content: "x", Metadata: json.RawMessage(`{"a":"\u0000"}`)}},
	{"metadata with half a surrogate", "metadata", store.NewMessage{Sender: "a", Content: "x", Metadata: json.RawMessage(`{"a":"\ud83d"}`)}},
	{"parent 0", "parent_message_id", store.NewMessage{Sender: "a", Content: "x", ParentMessageID: ptr(int64(0))}},
	{"year 10000", "timestamp", store.NewMessage{Sender: "a", Content: "x", Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
}

func TestAddMessageRefuses(t *testing.T) { //nolint:tparallel // the group ends before the count
	t.Parallel()
	ctx, f := setup(t)
	t.Run("group", func(t *testing.T) { // ends when its parallel tests have ended
		for _, test := range refusals {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				_, err := f.AddMessage(ctx, f.session.ID, test.message)
				wantInvalid(t, err, test.field)
				_, err = f.AddMessages(ctx, f.session.ID, []store.NewMessage{{Sender: "a", Content: "x"}, test.message})
				wantInvalid(t, err, "messages[1]."+test.field)
			})
		}
	})
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func TestAddMessageLongest(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	content := strings.Repeat("🦜", 100_000)
	added := f.add(ctx, t, store.NewMessage{Sender: "a", Content: content})
	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Messages) != 1 || page.Messages[0].Content != content || page.Messages[0].ID != added[0].ID {
		t.Error("100,000 characters do not come back as they were")
	}
}

func TestAddMessagePermission(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	secret := store.NewMessage{Sender: "alice", Content: "x", Visibility: store.VisibilityAdminOnly}
	_, err := f.AddMessage(ctx, f.session.ID, secret)
	wantError(t, err, store.ErrPermission)
	_, err = f.AddMessages(ctx, f.session.ID, []store.NewMessage{{Sender: "a", Content: "x"}, secret})
	wantError(t, err, store.ErrPermission)
	if !strings.Contains(err.Error(), "messages[1]") {
		t.Errorf("the error does not name the message: %v", err)
	}
	secret.Admin = true
	if _, err := f.AddMessage(ctx, f.session.ID, secret); err != nil {
		t.Error(err)
	}
}

func TestAddMessageWhereItCannotGo(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	elsewhere, err := f.AddMessage(ctx, newSession(ctx, t, f.Manager).ID, store.NewMessage{Sender: "a", Content: "x"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		session string
		parent  *int64
		want    error
	}{
		{"unknown session", unknownSession, nil, store.ErrSessionNotFound},
		{"unknown session with a parent", unknownSession, &elsewhere.ID, store.ErrSessionNotFound},
		{"unknown parent", f.session.ID, ptr(int64(1 << 60)), store.ErrMessageNotFound},
		{"parent of another session", f.session.ID, &elsewhere.ID, store.ErrMessageNotFound},
	}
	for _, test := range tests {
		message := store.NewMessage{Sender: "a", Content: "x", ParentMessageID: test.parent}
		_, err := f.AddMessage(ctx, test.session, message)
		wantError(t, err, test.want)
		_, err = f.AddMessages(ctx, test.session, []store.NewMessage{{Sender: "a", Content: "x"}, message})
		wantError(t, err, test.want)
	}
	_, err = f.AddMessage(ctx, "session_XYZ", store.NewMessage{Sender: "a", Content: "x"})
	wantInvalid(t, err, "session_id")
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 1 {
		t.Errorf("%d messages, want only the first", n)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'message_added'"); n != 1 {
		t.Errorf("%d audit rows, want one for the message that was added", n)
	}

	// In a transaction none of these failures spoils what comes after.
	err = f.InTx(ctx, func(ctx context.Context) error {
		_, err := f.AddMessage(ctx, unknownSession, store.NewMessage{Sender: "a", Content: "x"})
		wantError(t, err, store.ErrSessionNotFound)
		_, err = f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "a", Content: "after"})
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAddMessages(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	first := f.add(ctx, t, store.NewMessage{Sender: "a", Content: "first"})[0]
	timestamp := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	var messages []store.NewMessage
	for i := range 1000 {
		message := store.NewMessage{Sender: fmt.Sprintf("agent_%d", i%7), Content: fmt.Sprint(i), SenderType: "gemini"}
		switch i % 4 {
		case 1:
			message.Metadata = map[string]any{"i": i}
		case 2:
			message.ParentMessageID = &first.ID
		case 3:
			message.Visibility, message.MessageType = store.VisibilityPrivate, "thought"
		}
		if i == 500 {
			message.Timestamp = timestamp
		}
		messages = append(messages, message)
	}
	added := f.add(ctx, t, messages...)
	if len(added) != len(messages) {
		t.Fatalf("%d messages were added, want %d", len(added), len(messages))
	}
	for i := 1; i < len(added); i++ {
		if added[i].ID <= added[i-1].ID {
			t.Fatalf("message %d has id %d after %d: ids are not in the order given", i, added[i].ID, added[i-1].ID)
		}
	}
	if !added[500].Timestamp.Equal(timestamp) {
		t.Errorf("message 500 has time %v, want its own", added[500].Timestamp)
	}

	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: admin, Limit: 1000, Offset: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := append(append([]store.Message{}, added[:500]...), added[501:]...) // 500 is oldest by its time
	if diff := cmp.Diff(want, page.Messages, jsonValue); diff != "" {
		t.Errorf("read messages (-added +read):\n%s", diff)
	}
	if page.TotalCount != 1001 || page.HasMore {
		t.Errorf("total %d, has more %t", page.TotalCount, page.HasMore)
	}
	if n := count(ctx, t, "SELECT count(DISTINCT metadata->'message_id') FROM audit_log WHERE event_type = 'message_added'"); n != 1001 {
		t.Errorf("%d messages have an audit row, want 1001", n)
	}

	_, err = f.AddMessages(ctx, f.session.ID, nil)
	wantInvalid(t, err, "number of messages")
	_, err = f.AddMessages(ctx, f.session.ID, make([]store.NewMessage, 1001))
	wantInvalid(t, err, "number of messages")
}

func TestGetMessagesPages(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	instant := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	var messages []store.NewMessage
	for i := range 23 { // several of each instant, and every third is not for alice
		message := store.NewMessage{Sender: "bob", Content: fmt.Sprint(i), Timestamp: instant.Add(time.Duration(i/5) * time.Second)}
		if i%3 == 0 {
			message.Visibility = store.VisibilityPrivate
		}
		messages = append(messages, message)
	}
	var want []store.Message
	for i, message := range f.add(ctx, t, messages...) {
		if i%3 != 0 {
			want = append(want, message)
		}
	}

	for _, limit := range []int{1, 2, 5, 7, 15, 16, 1000} {
		var byOffset, byKey []store.Message
		params := store.GetMessagesParams{SessionID: f.session.ID, Reader: alice, Limit: limit}
		for more := true; more; params.Offset += limit {
			page, err := f.GetMessages(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			if page.TotalCount != int64(len(want)) {
				t.Errorf("total %d, want %d", page.TotalCount, len(want))
			}
			byOffset = append(byOffset, page.Messages...)
			more = page.HasMore
		}
		cursor := store.MessageCursor{}
		for more := true; more; {
			page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice, Limit: limit, After: &cursor})
			if err != nil {
				t.Fatal(err)
			}
			if page.TotalCount != -1 {
				t.Errorf("a page by key counts %d", page.TotalCount)
			}
			byKey = append(byKey, page.Messages...)
			more = page.HasMore

			// The cursor survives as text.
			text, err := page.Next.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			if err := cursor.UnmarshalText(text); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, byOffset); diff != "" {
			t.Errorf("pages of %d by offset (-want +got):\n%s", limit, diff)
		}
		if diff := cmp.Diff(want, byKey); diff != "" {
			t.Errorf("pages of %d by key (-want +got):\n%s", limit, diff)
		}
	}
}

func TestGetMessagesPolls(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	poll := func(after store.MessageCursor) store.MessagePage {
		page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice, After: &after})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	page := poll(store.MessageCursor{})
	if len(page.Messages) != 0 || page.HasMore || page.Next != (store.MessageCursor{}) {
		t.Errorf("an empty session gives %+v", page)
	}
	added := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "1"}, store.NewMessage{Sender: "bob", Content: "2"})
	page = poll(page.Next)
	if diff := cmp.Diff([]string{"1", "2"}, contents(page.Messages)); diff != "" {
		t.Errorf("first poll (-want +got):\n%s", diff)
	}
	if page.Next != added[1].Cursor() {
		t.Errorf("next is %v, want behind %v", page.Next, added[1])
	}
	again := poll(page.Next)
	if len(again.Messages) != 0 || again.Next != page.Next {
		t.Errorf("nothing new gives %+v", again)
	}
}

func TestGetMessagesBeyondTheEnd(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "1"})
	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice, Offset: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Messages) != 0 || page.TotalCount != 1 || page.HasMore {
		t.Errorf("a page beyond the end is %+v", page)
	}
}

func TestGetMessagesRefuses(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	tests := []struct {
		name, field string
		change      func(*store.GetMessagesParams)
	}{
		{"session", "session_id", func(p *store.GetMessagesParams) { p.SessionID = "1" }},
		{"reader", "agent_id", func(p *store.GetMessagesParams) { p.Reader.AgentID = "" }},
		{"visibility", "visibility", func(p *store.GetMessagesParams) { p.Visibility = "all" }},
		{"limit above 1000", "limit", func(p *store.GetMessagesParams) { p.Limit = 1001 }},
		{"negative limit", "limit", func(p *store.GetMessagesParams) { p.Limit = -1 }},
		{"negative offset", "offset", func(p *store.GetMessagesParams) { p.Offset = -1 }},
		{"offset beyond int32", "offset", func(p *store.GetMessagesParams) { p.Offset = 1 << 31 }},
		{"offset and cursor", "offset", func(p *store.GetMessagesParams) { p.Offset, p.After = 1, &store.MessageCursor{} }},
		{"cursor in the year 20000", "cursor", func(p *store.GetMessagesParams) {
			p.After = &store.MessageCursor{Timestamp: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}
		}},
		{"cursor with a negative id", "cursor", func(p *store.GetMessagesParams) { p.After = &store.MessageCursor{ID: -1} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			params := store.GetMessagesParams{SessionID: f.session.ID, Reader: alice}
			test.change(&params)
			_, err := f.GetMessages(ctx, params)
			wantInvalid(t, err, test.field)
		})
	}
	for _, after := range []*store.MessageCursor{nil, {}} {
		_, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: unknownSession, Reader: alice, After: after})
		wantError(t, err, store.ErrSessionNotFound)
	}
}

func TestMessageCursorText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", ".", "1", "1.", ".1", "x.1", "1.x", "1.-1", "9223372036854775807.1", "1.9223372036854775808", "1.2.3", " 1.2"} {
		var cursor store.MessageCursor
		wantInvalid(t, cursor.UnmarshalText([]byte(text)), "cursor")
	}
	encoded, err := json.Marshal(store.MessageCursor{Timestamp: time.UnixMicro(1755906515123456), ID: 42})
	if err != nil {
		t.Fatal(err)
	}
	if string(encoded) != `"1755906515123456.42"` {
		t.Errorf("cursor in JSON: %s", encoded)
	}
}

// The type of a reader is cleaned as that of a sender is.
func TestReaderTypeIsCleaned(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.add(ctx, t, store.NewMessage{Sender: "bob", SenderType: " claude\n", Content: "x", Visibility: store.VisibilityAgentOnly})
	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: store.Reader{AgentID: "alice", AgentType: "\x00claude "}})
	if err != nil || len(page.Messages) != 1 {
		t.Errorf("page %+v, %v", page, err)
	}
}
