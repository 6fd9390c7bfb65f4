package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// messageReads read a page of the messages of a session, behind the skip messages that came before, of which next is the end.
var messageReads = map[string]func(ctx context.Context, f fixture, reader store.Reader, size, skip int, next *store.MessageCursor) (store.MessagePage, error){
	"by offset": func(ctx context.Context, f fixture, reader store.Reader, size, skip int, _ *store.MessageCursor) (store.MessagePage, error) {
		return f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: reader, Limit: size, Offset: skip})
	},
	"by key": func(ctx context.Context, f fixture, reader store.Reader, size, _ int, next *store.MessageCursor) (store.MessagePage, error) {
		if next == nil {
			next = &store.MessageCursor{}
		}
		return f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: reader, Limit: size, After: next})
	},
	"by time": func(ctx context.Context, f fixture, reader store.Reader, size, _ int, next *store.MessageCursor) (store.MessagePage, error) {
		return f.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: f.session.ID, Reader: reader, Limit: size, After: next})
	},
	"by sender": func(ctx context.Context, f fixture, reader store.Reader, size, _ int, next *store.MessageCursor) (store.MessagePage, error) {
		return f.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: f.session.ID, Reader: reader, Sender: "bob", Limit: size, Before: next})
	},
	"latest": func(ctx context.Context, f fixture, reader store.Reader, _, _ int, _ *store.MessageCursor) (store.MessagePage, error) {
		detail, err := f.GetSession(ctx, f.session.ID, reader)
		return store.MessagePage{Messages: detail.Messages}, err
	},
}

// readAll returns the messages of all pages of a read, oldest first.
func readAll(ctx context.Context, t *testing.T, f fixture, reader store.Reader, read string, size int) []store.Message {
	t.Helper()
	var all []store.Message
	var next *store.MessageCursor
	for more := true; more; {
		before := len(all)
		page, err := messageReads[read](ctx, f, reader, size, before, next)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Messages...)
		more, next = page.HasMore, &page.Next
		// More that was promised is there, and the end of the page is its last message.
		if n := len(page.Messages); read != "latest" && (n > size || n == 0 && before > 0 || n > 0 && page.Next != page.Messages[n-1].Cursor()) {
			t.Fatalf("%s: behind %d messages a page of %d, of at most %d, with the end %v", read, before, n, size, page.Next)
		}
	}
	if read == "by sender" || read == "latest" {
		slices.Reverse(all)
	}
	return all
}

// The order of messages is that of time and id, whatever way the server finds them: here it may use no index, and the rows
// lie in the table in another order.
func TestMessageOrderNeedsNoIndex(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	public, private, agentOnly := store.VisibilityPublic, store.VisibilityPrivate, store.VisibilityAgentOnly
	for name, test := range map[string]struct {
		reader store.Reader
		levels []store.Visibility // of the messages, in turn
	}{
		"everyone's": {alice, []store.Visibility{public}},
		"its own":    {store.Reader{AgentID: "bob"}, []store.Visibility{private}},
		"its kind's": {alice, []store.Visibility{agentOnly}},
		"any":        {store.Reader{AgentID: "bob", AgentType: "claude"}, []store.Visibility{public, private, agentOnly, private, public}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkOrderWithoutIndex(t, test.reader, test.levels)
		})
	}
}

func checkOrderWithoutIndex(t *testing.T, reader store.Reader, levels []store.Visibility) {
	t.Helper()
	config := storetest.Config(t)
	config.MaxConnections = 1 // which keeps the settings
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	instant := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	messages := make([]store.NewMessage, 60)
	for i := range messages { // several of each instant, the latest first
		messages[i] = store.NewMessage{
			Sender: "bob", SenderType: "claude", Content: fmt.Sprint(i), Visibility: levels[i%len(levels)],
			Timestamp: instant.Add(-time.Duration(i/6) * time.Second),
		}
	}
	messages[20].Timestamp, messages[30].Timestamp = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	want := f.add(ctx, t, messages...)
	for _, hidden := range []store.NewMessage{ // from all readers of this test, and in the way of what they see
		{Sender: "carol", SenderType: "gemini", Visibility: store.VisibilityPrivate},
		{Sender: "carol", SenderType: "gemini", Visibility: store.VisibilityAgentOnly},
		{Sender: "bob", SenderType: "claude", Visibility: store.VisibilityAdminOnly, Admin: true},
	} {
		for i := range messages {
			hidden.Content, hidden.Timestamp = "hidden", messages[i].Timestamp
			messages[i] = hidden
		}
		f.add(ctx, t, messages...)
	}
	slices.SortFunc(want, func(a, b store.Message) int {
		if a.Timestamp.Equal(b.Timestamp) {
			return int(a.ID - b.ID)
		}
		return a.Timestamp.Compare(b.Timestamp)
	})
	for _, sql := range []string{
		"SET enable_indexscan = off", "SET enable_indexonlyscan = off", "SET enable_bitmapscan = off",
		"UPDATE messages SET content = content WHERE id % 3 = 1", // moves them behind the others
	} {
		if _, err := store.ExecuteUpdate(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	for read := range messageReads {
		want := want
		if read == "latest" {
			want = want[10:]
		}
		for _, size := range []int{6, 59, 60} {
			if diff := cmp.Diff(want, readAll(ctx, t, f, reader, read, size)); diff != "" {
				t.Errorf("%s, pages of %d (-want +got):\n%s", read, size, diff)
			}
		}
	}
	if page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: reader}); err != nil || len(page.Messages) != 50 {
		t.Errorf("a page without a limit has %d messages, %v, want 50", len(page.Messages), err)
	}
	for i := range want { // all but the root answer it, also those with an earlier time
		want[i].ParentMessageID = &want[5].ID
	}
	want[5].ParentMessageID = nil
	if _, err := store.ExecuteUpdate(ctx, "UPDATE messages SET parent_message_id = nullif(?::bigint, id)", want[5].ID); err != nil {
		t.Fatal(err)
	}
	thread, err := f.GetMessageThread(ctx, f.session.ID, want[0].ID, reader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, thread); diff != "" {
		t.Errorf("thread (-want +got):\n%s", diff)
	}
}

// Every read gives all that there is to a message. Metadata that the first generation wrote as a JSON null is none.
func TestMessageReadsAreComplete(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, f := setup(t)
	root := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "question"})[0]
	answer := f.add(ctx, t, store.NewMessage{
		Sender: "bob", SenderType: "claude", Content: "answer", Visibility: store.VisibilityAgentOnly, MessageType: store.MessageTypeToolResult,
		Metadata: json.RawMessage(`{"a": [1, "b"]}`), ParentMessageID: &root.ID,
	})[0]
	null := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "null"})[0]
	if _, err := store.ExecuteUpdate(ctx, "UPDATE messages SET metadata = 'null' WHERE id = ?", null.ID); err != nil {
		t.Fatal(err)
	}
	want := []store.Message{root, answer, null}
	for read := range messageReads {
		got := readAll(ctx, t, f, alice, read, 50)
		if diff := cmp.Diff(want, got, jsonValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", read, diff)
		} else if got[2].Metadata != nil {
			t.Errorf("%s: metadata that is null is shown as %s", read, got[2].Metadata)
		}
	}
	thread, err := f.GetMessageThread(ctx, f.session.ID, root.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:2], thread, jsonValue); diff != "" {
		t.Errorf("thread (-want +got):\n%s", diff)
	}
}
