package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func TestListMessagesBySender(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	instant := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	var messages []store.NewMessage
	for i := range 20 { // all of one instant or the next, so that only the id orders most of them
		message := store.NewMessage{Sender: "bob", Content: fmt.Sprint(i), Timestamp: instant.Add(time.Duration(i/10) * time.Second)}
		if i%4 == 1 {
			message.Visibility = store.VisibilityPrivate
		}
		if i%4 == 2 {
			message.Sender = "alice"
		}
		messages = append(messages, message)
	}
	var want []store.Message
	added := f.add(ctx, t, messages...)
	for i := len(added) - 1; i >= 0; i-- {
		if i%4 == 0 || i%4 == 3 {
			want = append(want, added[i])
		}
	}
	for _, limit := range []int{1, 3, 10, 1000} {
		var got []store.Message
		params := store.ListMessagesBySenderParams{SessionID: f.session.ID, Reader: alice, Sender: "bob", Limit: limit}
		for more := true; more; {
			page, err := f.ListMessagesBySender(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Messages...)
			more, params.Before = page.HasMore, &page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}

	params := store.ListMessagesBySenderParams{SessionID: f.session.ID, Reader: alice, Sender: "nobody"}
	if page, err := f.ListMessagesBySender(ctx, params); err != nil || len(page.Messages) != 0 || page.HasMore {
		t.Errorf("messages of nobody: %+v, %v", page, err)
	}
	params.Sender = "a b"
	_, err := f.ListMessagesBySender(ctx, params)
	wantInvalid(t, err, "sender")
	params = store.ListMessagesBySenderParams{SessionID: unknownSession, Reader: alice, Sender: "bob"}
	_, err = f.ListMessagesBySender(ctx, params)
	wantError(t, err, store.ErrSessionNotFound)
	params.Before = &store.MessageCursor{ID: -1}
	_, err = f.ListMessagesBySender(ctx, params)
	wantInvalid(t, err, "cursor")
}

func TestListMessagesByTime(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	base := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	var messages []store.NewMessage
	for i := range 10 {
		messages = append(messages, store.NewMessage{Sender: "bob", Content: fmt.Sprint(i), Timestamp: base.Add(time.Duration(i/2) * time.Minute)})
	}
	messages = append(messages, store.NewMessage{Sender: "bob", Content: "hidden", Visibility: store.VisibilityPrivate, Timestamp: base.Add(2 * time.Minute)})
	f.add(ctx, t, messages...)
	minute := func(n int) time.Time { return base.Add(time.Duration(n) * time.Minute) }
	tests := []struct {
		name        string
		from, until time.Time
		want        string
	}{
		{"everything", time.Time{}, time.Time{}, "0123456789"},
		{"from is in the range", minute(2), time.Time{}, "456789"},
		{"until is not", time.Time{}, minute(2), "0123"},
		{"both", minute(1), minute(3), "2345"},
		{"to the microsecond", minute(1).Add(time.Microsecond), minute(2).Add(time.Microsecond), "45"},
		{"empty", minute(2), minute(2), ""},
		{"other time zone", minute(1).In(time.FixedZone("", -3600)), minute(3).In(time.FixedZone("", 3600)), "2345"},
	}
	for _, test := range tests {
		for _, limit := range []int{1, 2, 3, 50} {
			var got strings.Builder
			params := store.ListMessagesByTimeParams{SessionID: f.session.ID, Reader: alice, From: test.from, Until: test.until, Limit: limit}
			for more := true; more; {
				page, err := f.ListMessagesByTime(ctx, params)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString(strings.Join(contents(page.Messages), ""))
				more, params.After = page.HasMore, &page.Next
			}
			if got.String() != test.want {
				t.Errorf("%s, pages of %d: got %q, want %q", test.name, limit, got.String(), test.want)
			}
		}
	}
	refused := store.ListMessagesByTimeParams{SessionID: f.session.ID, Reader: alice, From: minute(2), Until: minute(1)}
	_, err := f.ListMessagesByTime(ctx, refused)
	wantInvalid(t, err, "until")
	refused.Until, refused.From = time.Time{}, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = f.ListMessagesByTime(ctx, refused)
	wantInvalid(t, err, "from")
	_, err = f.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: unknownSession, Reader: alice})
	wantError(t, err, store.ErrSessionNotFound)
}

func TestGetMessageThread(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, f := setup(t)
	add := func(content string, parent *store.Message, visibility store.Visibility) store.Message {
		message := store.NewMessage{Sender: "bob", Content: content, Visibility: visibility}
		if parent != nil {
			message.ParentMessageID = &parent.ID
		}
		return f.add(ctx, t, message)[0]
	}
	// root ─┬─ a ─── secret ─── below     other
	//       └─ b
	root := add("root", nil, "")
	other := add("other", nil, "")
	a := add("a", &root, "")
	secret := add("secret", &a, store.VisibilityPrivate)
	b := add("b", &root, "")
	below := add("below", &secret, "")

	want := []string{"root", "a", "b", "below"}
	for _, member := range []store.Message{root, a, b, below} {
		thread, err := f.GetMessageThread(ctx, f.session.ID, member.ID, alice)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, contents(thread)); diff != "" {
			t.Errorf("thread of %s (-want +got):\n%s", member.Content, diff)
		}
	}
	thread, err := f.GetMessageThread(ctx, f.session.ID, secret.ID, store.Reader{AgentID: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Message{root, a, secret, b, below}, thread); diff != "" {
		t.Errorf("thread for its writer (-want +got):\n%s", diff)
	}
	alone, err := f.GetMessageThread(ctx, f.session.ID, other.ID, alice)
	if err != nil || len(alone) != 1 {
		t.Errorf("thread of a message alone: %v, %v", alone, err)
	}

	_, err = f.GetMessageThread(ctx, f.session.ID, secret.ID, alice)
	wantError(t, err, store.ErrMessageNotFound)
	_, err = f.GetMessageThread(ctx, newSession(ctx, t, f.Manager).ID, root.ID, alice)
	wantError(t, err, store.ErrMessageNotFound)
	_, err = f.GetMessageThread(ctx, f.session.ID, 0, alice)
	wantInvalid(t, err, "message_id")

	// Rows of the first generation may form a cycle; it is walked once.
	reparent := func(child, parent store.Message) {
		if _, err := store.ExecuteUpdate(ctx, "UPDATE messages SET parent_message_id = ? WHERE id = ?", parent.ID, child.ID); err != nil {
			t.Fatal(err)
		}
	}
	reparent(root, b)
	thread, err = f.GetMessageThread(ctx, f.session.ID, a.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(thread)); diff != "" {
		t.Errorf("thread that is a cycle (-want +got):\n%s", diff)
	}

	// They may also answer a message of another session, which is no part of the thread and joins nothing.
	elsewhere, err := f.AddMessage(ctx, newSession(ctx, t, f.Manager).ID, store.NewMessage{Sender: "bob", Content: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	reparent(other, elsewhere)
	reparent(root, elsewhere)
	for member, want := range map[int64][]string{other.ID: {"other"}, below.ID: want} {
		thread, err = f.GetMessageThread(ctx, f.session.ID, member, alice)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, contents(thread)); diff != "" {
			t.Errorf("thread with a parent elsewhere (-want +got):\n%s", diff)
		}
	}
	reparent(elsewhere, other)
	thread, err = f.GetMessageThread(ctx, f.session.ID, other.ID, alice)
	if err != nil || len(thread) != 1 {
		t.Errorf("thread with an answer elsewhere: %v, %v", contents(thread), err)
	}
	_, err = f.GetMessageThread(ctx, f.session.ID, elsewhere.ID, alice)
	wantError(t, err, store.ErrMessageNotFound)

	// The oldest thousand of a long thread.
	answers := make([]store.NewMessage, 1000)
	for i := range answers {
		answers[i] = store.NewMessage{Sender: "bob", Content: fmt.Sprint(i), ParentMessageID: &other.ID}
	}
	f.add(ctx, t, answers...)
	thread, err = f.GetMessageThread(ctx, f.session.ID, other.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(thread); n != 1000 || thread[0].ID != other.ID || thread[n-1].Content != "998" {
		t.Errorf("a long thread has %d messages, want the oldest 1000", n)
	}
}

func TestCountMessages(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	counts, err := f.CountMessages(ctx, f.session.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	empty := store.MessageCounts{ByVisibility: map[store.Visibility]int64{}, BySender: map[string]int64{}}
	if diff := cmp.Diff(empty, counts); diff != "" {
		t.Errorf("counts of an empty session (-want +got):\n%s", diff)
	}
	f.add(ctx, t,
		store.NewMessage{Sender: "alice", Content: "1"}, store.NewMessage{Sender: "alice", Content: "2", Visibility: store.VisibilityPrivate},
		store.NewMessage{Sender: "bob", Content: "3"}, store.NewMessage{Sender: "bob", Content: "4", Visibility: store.VisibilityPrivate})
	counts, err = f.CountMessages(ctx, f.session.ID, alice)
	if err != nil {
		t.Fatal(err)
	}
	want := store.MessageCounts{
		Total: 3, ByVisibility: map[store.Visibility]int64{store.VisibilityPublic: 2, store.VisibilityPrivate: 1},
		BySender: map[string]int64{"alice": 2, "bob": 1},
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	_, err = f.CountMessages(ctx, unknownSession, alice)
	wantError(t, err, store.ErrSessionNotFound)
	_, err = f.CountMessages(ctx, f.session.ID, store.Reader{})
	wantInvalid(t, err, "agent_id")
}

func TestMergeSessionMetadata(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	merge := func(patch any, want string) {
		t.Helper()
		got, err := f.MergeSessionMetadata(ctx, f.session.ID, patch)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(json.RawMessage(want), got, jsonValue); diff != "" {
			t.Errorf("merged metadata (-want +got):\n%s", diff)
		}
	}
	merge(map[string]any{"participant_count": 1}, `{"participant_count":1}`)
	merge(nil, `{"participant_count":1}`)
	merge(json.RawMessage(`{"participant_count":2,"nested":{"a":1}}`), `{"participant_count":2,"nested":{"a":1}}`)
	merge(map[string]any{"nested": nil}, `{"participant_count":2,"nested":null}`)

	// Mergers at once do not lose each other's keys.
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range 20 {
		group.Go(func() error {
			_, err := f.MergeSessionMetadata(groupCtx, f.session.ID, map[string]any{fmt.Sprintf("key_%d", i): i})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM sessions, jsonb_object_keys(metadata) WHERE id = ?", f.session.ID); n != 22 {
		t.Errorf("%d keys, want 22", n)
	}

	many := make(map[string]any)
	for i := range 40 {
		many[fmt.Sprintf("other_%d", i)] = i
	}
	_, err := f.MergeSessionMetadata(ctx, f.session.ID, many)
	wantInvalid(t, err, "metadata")
	_, err = f.MergeSessionMetadata(ctx, f.session.ID, map[string]any{"long": strings.Repeat("x", 9900)})
	wantInvalid(t, err, "metadata")
	if n := count(ctx, t, "SELECT count(*) FROM sessions, jsonb_object_keys(metadata) WHERE id = ?", f.session.ID); n != 22 {
		t.Errorf("after refused merges %d keys, want 22", n)
	}
	_, err = f.MergeSessionMetadata(ctx, f.session.ID, []int{1})
	wantInvalid(t, err, "metadata")
	_, err = f.MergeSessionMetadata(ctx, unknownSession, nil)
	wantError(t, err, store.ErrSessionNotFound)
	_, err = f.MergeSessionMetadata(ctx, "", nil)
	wantInvalid(t, err, "session_id")
}
