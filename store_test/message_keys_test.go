package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func TestIdempotentAdd(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	parent := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "parent"})[0]
	message := store.NewMessage{
		Sender: "alice", Content: "x", Metadata: map[string]any{"b": 1, "a": 2}, ParentMessageID: &parent.ID, IdempotencyKey: "key 1",
	}
	first, err := f.AddMessage(ctx, f.session.ID, message)
	if err != nil {
		t.Fatal(err)
	}
	message.Timestamp = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // a retry may come with another clock
	for range 3 {
		again, err := f.AddMessage(ctx, f.session.ID, message)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("retry (-first +again):\n%s", diff)
		}
	}
	batch, err := f.AddMessages(ctx, f.session.ID, []store.NewMessage{message})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Message{first}, batch); diff != "" {
		t.Errorf("retry in a batch (-first +again):\n%s", diff)
	}
	page, err := f.GetMessages(ctx, store.GetMessagesParams{SessionID: f.session.ID, Reader: alice})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Message{parent, first}, page.Messages, jsonValue); diff != "" {
		t.Errorf("stored messages (-want +got):\n%s", diff)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'message_added'"); n != 2 {
		t.Errorf("%d audit rows, want 2", n)
	}

	// The key belongs to its session.
	other, err := f.AddMessage(ctx, newSession(ctx, t, f.Manager).ID, store.NewMessage{Sender: "alice", Content: "other", IdempotencyKey: "key 1"})
	if err != nil || other.ID == first.ID {
		t.Errorf("the key in another session: %+v, %v", other, err)
	}
}

func TestIdempotencyConflict(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	parent := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "parent"})[0]
	message := store.NewMessage{Sender: "alice", Content: "x", IdempotencyKey: "k"}
	if _, err := f.AddMessage(ctx, f.session.ID, message); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*store.NewMessage){
		"sender":        func(m *store.NewMessage) { m.Sender = "bob" },
		"sender type":   func(m *store.NewMessage) { m.SenderType = "claude" },
		"content":       func(m *store.NewMessage) { m.Content = "y" },
		"visibility":    func(m *store.NewMessage) { m.Visibility = store.VisibilityPrivate },
		"message type":  func(m *store.NewMessage) { m.MessageType = store.MessageTypeError },
		"metadata":      func(m *store.NewMessage) { m.Metadata = map[string]any{"a": 1} },
		"parent":        func(m *store.NewMessage) { m.ParentMessageID = &parent.ID },
		"end of sender": func(m *store.NewMessage) { m.Sender, m.SenderType = "aliceg", "eneric" }, // alice, generic
	} {
		changed := message
		change(&changed)
		_, err := f.AddMessage(ctx, f.session.ID, changed)
		if !errors.Is(err, store.ErrIdempotencyConflict) {
			t.Errorf("another %s under the key: %v", name, err)
		}
		_, err = f.AddMessages(ctx, f.session.ID, []store.NewMessage{{Sender: "bob", Content: "lost", IdempotencyKey: "new"}, changed, {Sender: "bob", Content: "lost"}})
		if !errors.Is(err, store.ErrIdempotencyConflict) || !strings.Contains(err.Error(), "messages[1]") {
			t.Errorf("another %s under the key in a batch: %v", name, err)
		}
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 2 {
		t.Errorf("%d messages, want 2: a refused batch leaves nothing", n)
	}
	if n := count(ctx, t, "SELECT count(*) FROM message_keys"); n != 1 {
		t.Errorf("%d keys, want 1: a refused batch leaves nothing", n)
	}
	// In a transaction a conflict spoils nothing.
	err := f.InTx(ctx, func(ctx context.Context) error {
		changed := message
		changed.Content = "y"
		_, err := f.AddMessages(ctx, f.session.ID, []store.NewMessage{changed})
		wantError(t, err, store.ErrIdempotencyConflict)
		_, err = f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "alice", Content: "after"})
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestIdempotentBatch(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	messages := make([]store.NewMessage, 6)
	for i := range messages {
		messages[i] = store.NewMessage{Sender: "alice", Content: fmt.Sprint(i)}
		if i%2 == 0 {
			messages[i].IdempotencyKey = fmt.Sprint("key ", 5-i)
		}
	}
	first, err := f.AddMessages(ctx, f.session.ID, messages)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.AddMessages(ctx, f.session.ID, messages)
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if same := first[i].ID == second[i].ID; same != (i%2 == 0) {
			t.Errorf("message %d has id %d, then %d", i, first[i].ID, second[i].ID)
		}
		if i > 0 && first[i].ID <= first[i-1].ID {
			t.Errorf("ids %d and %d are not in the order given", first[i-1].ID, first[i].ID)
		}
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 9 {
		t.Errorf("%d messages, want 9", n)
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages m JOIN message_keys k ON k.message_id = m.id AND k.timestamp = m.timestamp"); n != 3 {
		t.Errorf("%d messages with their key, want 3", n)
	}

	_, err = f.AddMessages(ctx, unknownSession, messages)
	wantError(t, err, store.ErrSessionNotFound)
	messages[1].ParentMessageID = ptr(int64(1 << 60))
	_, err = f.AddMessages(ctx, f.session.ID, messages)
	wantError(t, err, store.ErrMessageNotFound)
	for _, twice := range []int{3, 4} { // of a neighbour's and of one further away
		messages[twice].IdempotencyKey = messages[2].IdempotencyKey
		_, err = f.AddMessages(ctx, f.session.ID, messages)
		wantInvalid(t, err, fmt.Sprintf("messages[%d].idempotency_key", twice))
		messages[twice].IdempotencyKey = ""
	}
	messages[4].IdempotencyKey = strings.Repeat("k", 256)
	_, err = f.AddMessages(ctx, f.session.ID, messages)
	wantInvalid(t, err, "messages[4].idempotency_key")
	_, err = f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "a", Content: "x", IdempotencyKey: invalidUTF8})
	wantInvalid(t, err, "idempotency_key")
	_, err = f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "a", Content: "x", IdempotencyKey: "free", ParentMessageID: ptr(int64(1 << 60))})
	wantError(t, err, store.ErrMessageNotFound)
	if n := count(ctx, t, "SELECT count(*) FROM message_keys WHERE key = 'free'"); n != 0 {
		t.Error("a refused message keeps its key")
	}
}

// Retries that race each other, alone and in batches of different order, add one message.
func TestIdempotentAddsAtOnce(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	const keys, writers = 8, 20
	group, groupCtx := errgroup.WithContext(ctx)
	ids := make([][keys]int64, writers)
	for writer := range writers {
		group.Go(func() error {
			var batch []store.NewMessage
			for i := range keys {
				key := (i*3 + writer) % keys
				batch = append(batch, store.NewMessage{Sender: "alice", Content: fmt.Sprint(key), IdempotencyKey: fmt.Sprint("key ", key)})
			}
			if writer%2 == 0 {
				for _, message := range batch {
					added, err := f.AddMessage(groupCtx, f.session.ID, message)
					if err != nil {
						return err
					}
					ids[writer][message.Content[0]-'0'] = added.ID
				}
				return nil
			}
			added, err := f.AddMessages(groupCtx, f.session.ID, batch)
			for _, message := range added {
				ids[writer][message.Content[0]-'0'] = message.ID
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for writer := range ids {
		if ids[writer] != ids[0] {
			t.Errorf("writer %d got ids %v, writer 0 %v", writer, ids[writer], ids[0])
		}
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != keys {
		t.Errorf("%d messages, want %d", n, keys)
	}
}
