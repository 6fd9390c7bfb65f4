package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// waysToAdd are the ways in which a message is added, each a statement of its own.
func waysToAdd(f fixture) map[string]func(context.Context, string, store.NewMessage) (store.Message, error) {
	batch := func(ctx context.Context, session string, message store.NewMessage) (store.Message, error) {
		added, err := f.AddMessages(ctx, session, []store.NewMessage{message})
		if err != nil {
			return store.Message{}, err
		}
		return added[0], nil
	}
	return map[string]func(context.Context, string, store.NewMessage) (store.Message, error){
		"alone":      f.AddMessage,
		"in a batch": batch,
		"alone under a key": func(ctx context.Context, session string, message store.NewMessage) (store.Message, error) {
			message.IdempotencyKey = "alone"
			return f.AddMessage(ctx, session, message)
		},
		"in a batch under a key": func(ctx context.Context, session string, message store.NewMessage) (store.Message, error) {
			message.IdempotencyKey = "in a batch"
			return batch(ctx, session, message)
		},
	}
}

// However a message is added, it is stored as it was given, with its audit row, or not at all.
func TestEveryWayToAdd(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	parent := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "question"})[0]
	elsewhere, err := f.AddMessage(ctx, newSession(ctx, t, f.Manager).ID, store.NewMessage{Sender: "a", Content: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, add := range waysToAdd(f) {
		message := store.NewMessage{
			Sender: "alice", SenderType: "claude", Content: name, Visibility: store.VisibilityPrivate, MessageType: store.MessageTypeToolResult,
			Metadata: json.RawMessage(`{"n":3}`), ParentMessageID: &elsewhere.ID, Timestamp: time.Date(2024, 2, 29, 12, 0, 0, 1000, time.UTC),
		}
		_, err := add(ctx, f.session.ID, message)
		if !errors.Is(err, store.ErrMessageNotFound) {
			t.Errorf("%s, to a parent of another session: %v", name, err)
		}
		message.ParentMessageID = &parent.ID
		_, err = add(ctx, unknownSession, message)
		if !errors.Is(err, store.ErrSessionNotFound) {
			t.Errorf("%s, to an unknown session: %v", name, err)
		}
		added, err := add(ctx, f.session.ID, message)
		if err != nil {
			t.Fatal(err)
		}
		want := store.Message{
			ID: added.ID, SessionID: f.session.ID, Sender: "alice", SenderType: "claude", Content: name, Visibility: store.VisibilityPrivate,
			MessageType: store.MessageTypeToolResult, Metadata: json.RawMessage(`{"n":3}`), Timestamp: message.Timestamp, ParentMessageID: &parent.ID,
		}
		if diff := cmp.Diff(want, added); diff != "" {
			t.Errorf("added %s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(want, readMessage(ctx, t, f.Manager, f.session.ID, added.ID), jsonValue); diff != "" {
			t.Errorf("read, added %s (-want +got):\n%s", name, diff)
		}
		rows, err := store.ExecuteQuery(ctx, `SELECT agent_id, session_id, metadata->>'visibility' AS visibility FROM audit_log
			WHERE event_type = 'message_added' AND metadata->'message_id' = to_jsonb(?::bigint)`, added.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]map[string]any{{"agent_id": "alice", "session_id": f.session.ID, "visibility": "private"}}, rows); diff != "" {
			t.Errorf("audit row, added %s (-want +got):\n%s", name, diff)
		}
	}
	if n := count(ctx, t, "SELECT count(*) FROM messages"); n != 6 {
		t.Errorf("%d messages, want 6", n)
	}
}

// A message has the time of its statement, not that of a transaction that began long before: an answer comes after its
// question.
func TestAnswerInALongTransaction(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for name, add := range waysToAdd(f) {
		err := f.InTx(ctx, func(inside context.Context) error {
			if _, err := store.ExecuteQuery(inside, "SELECT 1"); err != nil { // fixes the time of the transaction
				return err
			}
			question, err := f.AddMessage(ctx, f.session.ID, store.NewMessage{Sender: "bob", Content: "question"})
			if err != nil {
				return err
			}
			answer, err := add(inside, f.session.ID, store.NewMessage{Sender: "alice", Content: "answer", ParentMessageID: &question.ID})
			if err == nil && !question.Timestamp.Before(answer.Timestamp) {
				t.Errorf("%s: the question has the time %v, its answer %v", name, question.Timestamp, answer.Timestamp)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
