package peer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sharedcontext/sharedcontext/v2/bench/fixture"
	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

const (
	connections    = 2
	unknownSession = "session_0000000000000000"
)

// setup fills a database and connects all tools to it.
func setup(t *testing.T) (context.Context, *store.Manager, fixture.Fixture, []peer.Peer) {
	t.Helper()
	config := storetest.Config(t)
	ctx, manager := storetest.Open(t, config)
	f, err := fixture.Fill(ctx, manager)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := peer.Open(ctx, config.URL, connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.CloseAll(peers) })
	if peers[len(peers)-1].Tool != peer.SQLAlchemy {
		t.Log("SQLAlchemy is left out: no Python with the packages of requirements.txt; BENCH_PYTHON names another interpreter")
	}
	return ctx, manager, f, peers
}

// sameJSON compares metadata by value: tools print it with other white space.
var sameJSON = cmp.Comparer(func(a, b json.RawMessage) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	var x, y any
	return a == nil || json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
})

// same compares what a tool returned with what the store returned.
func same[T any](t *testing.T, p peer.Peer, what string, got, want T, options ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, append(options, sameJSON)...); diff != "" {
		t.Errorf("%s, %s: %s differs from the store (-store +%s):\n%s", p.Tool, p.Way, what, p.Tool, diff)
	}
}

func wantError(t *testing.T, p peer.Peer, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s, %s: %s gives the error %v, want %v", p.Tool, p.Way, what, err, want)
	}
}

func check[T any](t *testing.T, p peer.Peer) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s, %s: %v", p.Tool, p.Way, err)
		}
		return value
	}
}

func TestReadsReturnTheSame(t *testing.T) {
	t.Parallel()
	ctx, manager, f, peers := setup(t)
	empty, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "nothing in it", CreatedBy: "planner"})
	if err != nil {
		t.Fatal(err)
	}
	readers := []store.Reader{fixture.Reader, {AgentID: "agent_2"}, {AgentID: "stranger", AgentType: "gemini"}, {AgentID: "root", Admin: true}}
	middle, last := f.Messages[len(f.Messages)/2].Cursor(), f.Messages[len(f.Messages)-1].Cursor()
	for _, p := range peers[1:] {
		for _, reader := range readers {
			for _, id := range []string{f.Session.ID, empty.ID} {
				for _, offset := range []int{0, 330, 5000} {
					got := check[store.MessagePage](t, p)(p.GetMessages(ctx, id, reader, offset))
					want := check[store.MessagePage](t, peers[0])(peers[0].GetMessages(ctx, id, reader, offset))
					same(t, p, fmt.Sprintf("page at %d for %s", offset, reader.AgentID), got, want)
				}
				for _, after := range []store.MessageCursor{{}, middle, last} {
					got := check[store.MessagePage](t, p)(p.GetMessagesAfter(ctx, id, reader, after))
					want := check[store.MessagePage](t, peers[0])(peers[0].GetMessagesAfter(ctx, id, reader, after))
					same(t, p, "page after a cursor for "+reader.AgentID, got, want)
				}
				got := check[store.SessionDetail](t, p)(p.GetSession(ctx, id, reader))
				want := check[store.SessionDetail](t, peers[0])(peers[0].GetSession(ctx, id, reader))
				same(t, p, "session for "+reader.AgentID, got, want)
			}
		}
		for _, key := range []string{"key_0000", "key_0001", "key_0002"} {
			got := check[store.MemoryEntry](t, p)(p.GetMemory(ctx, f.Agent, key))
			same(t, p, key, got, check[store.MemoryEntry](t, peers[0])(peers[0].GetMemory(ctx, f.Agent, key)))
		}
		for _, agent := range []string{f.Agent, "stranger"} {
			got := check[store.MemoryPage](t, p)(p.ListMemory(ctx, agent))
			same(t, p, "list of memory of "+agent, got, check[store.MemoryPage](t, peers[0])(peers[0].ListMemory(ctx, agent)))
		}
	}
}

func TestErrorsAreTheSame(t *testing.T) {
	t.Parallel()
	ctx, manager, f, peers := setup(t)
	past := time.Now().Add(-time.Hour)
	if _, err := manager.SetMemory(ctx, store.SetMemoryParams{AgentID: f.Agent, Key: "expired", Value: "old", TTL: time.Minute, Now: &past}); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		_, err := p.AddMessage(ctx, newMessage(unknownSession, 1))
		wantError(t, p, "adding to an unknown session", err, store.ErrSessionNotFound)
		_, err = p.AddMessages(ctx, unknownSession, []store.Message{newMessage(unknownSession, 1), newMessage(unknownSession, 2)})
		wantError(t, p, "adding many to an unknown session", err, store.ErrSessionNotFound)
		_, err = p.GetMessages(ctx, unknownSession, fixture.Reader, 0)
		wantError(t, p, "a page of an unknown session", err, store.ErrSessionNotFound)
		_, err = p.GetMessagesAfter(ctx, unknownSession, fixture.Reader, store.MessageCursor{})
		wantError(t, p, "a page of an unknown session after a cursor", err, store.ErrSessionNotFound)
		_, err = p.GetSession(ctx, unknownSession, fixture.Reader)
		wantError(t, p, "an unknown session", err, store.ErrSessionNotFound)
		for _, key := range []string{"unknown", "expired"} {
			_, err = p.GetMemory(ctx, f.Agent, key)
			wantError(t, p, "memory "+key, err, store.ErrMemoryNotFound)
		}
	}
	if events := auditEvents(ctx, t, manager, unknownSession); len(events) > 0 {
		t.Errorf("what was refused has left audit rows: %v", events)
	}
}

func newMessage(sessionID string, n int) store.Message {
	m := store.Message{
		SessionID: sessionID, Sender: fixture.Reader.AgentID, SenderType: "claude", Content: fmt.Sprintf("what is said with 'quotes', a ? and a $1: %d", n),
		Visibility: store.VisibilityAgentOnly, MessageType: store.MessageTypeToolResult,
	}
	if n%2 == 1 {
		m.Metadata = json.RawMessage(fmt.Sprintf(`{"number":%d,"text":"it's <here>"}`, n))
	}
	return m
}

// auditEvents returns the audit rows of a session but for its creation, oldest first.
func auditEvents(ctx context.Context, t *testing.T, manager *store.Manager, sessionID string) []store.AuditEvent {
	t.Helper()
	page, err := manager.ListAudit(ctx, store.ListAuditParams{Reader: store.Reader{AgentID: "root", Admin: true}, SessionID: sessionID, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var events []store.AuditEvent
	for i := len(page.Events) - 1; i >= 0; i-- {
		if page.Events[i].EventType != "session_created" {
			events = append(events, page.Events[i])
		}
	}
	return events
}

// Each tool adds the same messages to a session of its own: what it returns is what is stored, and that is what the store
// has stored, with the same audit rows.
func TestWritesOfMessagesLeaveTheSame(t *testing.T) {
	t.Parallel()
	ctx, manager, _, peers := setup(t)
	const many = 5
	write := func(p peer.Peer) (stored []store.Message, audit []store.AuditEvent) {
		session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "write", CreatedBy: "planner"})
		if err != nil {
			t.Fatal(err)
		}
		added := []store.Message{
			check[store.Message](t, p)(p.AddMessage(ctx, newMessage(session.ID, 1))),
			check[store.Message](t, p)(p.AddMessage(ctx, newMessage(session.ID, 2))),
		}
		batch := make([]store.Message, many)
		for i := range batch {
			batch[i] = newMessage(session.ID, 3+i)
		}
		added = append(added, check[[]store.Message](t, p)(p.AddMessages(ctx, session.ID, batch))...)

		page, err := manager.GetMessages(ctx, store.GetMessagesParams{SessionID: session.ID, Reader: fixture.Reader})
		if err != nil {
			t.Fatal(err)
		}
		same(t, p, "what is returned of added messages", added, page.Messages)
		audit = auditEvents(ctx, t, manager, session.ID)
		if len(audit) != len(added) {
			t.Fatalf("%s, %s: %d audit rows for %d messages", p.Tool, p.Way, len(audit), len(added))
		}
		for i := range audit {
			var object struct {
				MessageID int64 `json:"message_id"`
			}
			if err := json.Unmarshal(audit[i].Metadata, &object); err != nil || object.MessageID != added[i].ID {
				t.Errorf("%s, %s: the audit row of message %d is %s", p.Tool, p.Way, added[i].ID, audit[i].Metadata)
			}
			audit[i].Metadata = json.RawMessage(fmt.Sprintf("%q", dropID(t, audit[i].Metadata)))
		}
		return page.Messages, audit
	}
	wantStored, wantAudit := write(peers[0])
	for _, p := range peers[1:] {
		stored, audit := write(p)
		same(t, p, "what is stored of messages", stored, wantStored, cmpopts.IgnoreFields(store.Message{}, "ID", "SessionID", "Timestamp"))
		same(t, p, "the audit rows of messages", audit, wantAudit, cmpopts.IgnoreFields(store.AuditEvent{}, "ID", "SessionID", "Timestamp"))
	}
}

// dropID returns the metadata of an audit row without the id of the message.
func dropID(t *testing.T, metadata json.RawMessage) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(metadata, &object); err != nil {
		t.Fatal(err)
	}
	delete(object, "message_id")
	rest, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(rest)
}

func TestWritesOfMemoryLeaveTheSame(t *testing.T) {
	t.Parallel()
	ctx, manager, _, peers := setup(t)
	ignoreTimes := cmpopts.IgnoreFields(store.MemoryEntry{}, "AgentID", "CreatedAt", "UpdatedAt", "ExpiresAt")
	past := time.Now().Add(-time.Hour)
	write := func(p peer.Peer, agent string) (entries []store.MemoryEntry, audit []store.AuditEvent) {
		// The third key has expired before, the second is set twice.
		expired, err := manager.SetMemory(ctx, store.SetMemoryParams{AgentID: agent, Key: "third", Value: "old", TTL: time.Minute, Now: &past})
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []struct {
			key, value, metadata string
			ttl                  time.Duration
		}{
			{"first", "it's 'one', ? and $1", `{"n":1}`, time.Hour},
			{"second", "two", "", 0},
			{"second", "two again", `{"n":2}`, time.Hour},
			{"third", "three", "", 0},
		} {
			entry := store.MemoryEntry{AgentID: agent, Key: set.key, Value: set.value}
			if set.metadata != "" {
				entry.Metadata = json.RawMessage(set.metadata)
			}
			before, _ := manager.GetMemory(ctx, store.GetMemoryParams{AgentID: agent, Key: set.key})
			got := check[store.MemoryEntry](t, p)(p.SetMemory(ctx, entry, set.ttl))
			stored, err := manager.GetMemory(ctx, store.GetMemoryParams{AgentID: agent, Key: set.key})
			if err != nil {
				t.Fatal(err)
			}
			same(t, p, "what is returned of memory", got, stored)
			if !before.CreatedAt.IsZero() && !stored.CreatedAt.Equal(before.CreatedAt) {
				t.Errorf("%s, %s: setting %s again changes the time of its creation", p.Tool, p.Way, set.key)
			}
			if set.key == "third" && !stored.CreatedAt.After(expired.CreatedAt) {
				t.Errorf("%s, %s: an entry that takes the place of an expired one has the time of its creation", p.Tool, p.Way)
			}
			if (set.ttl == 0) != (stored.ExpiresAt == nil) {
				t.Errorf("%s, %s: with a time to live of %v %s expires at %v", p.Tool, p.Way, set.ttl, set.key, stored.ExpiresAt)
			}
			if stored.ExpiresAt != nil && stored.ExpiresAt.Sub(stored.UpdatedAt).Round(time.Minute) != set.ttl {
				t.Errorf("%s, %s: %s lives from %v to %v, not %v", p.Tool, p.Way, set.key, stored.UpdatedAt, stored.ExpiresAt, set.ttl)
			}
			entries = append(entries, stored)
		}
		page, err := manager.ListAudit(ctx, store.ListAuditParams{Reader: store.Reader{AgentID: agent}, AgentID: agent})
		if err != nil {
			t.Fatal(err)
		}
		return entries, page.Events
	}
	wantEntries, wantAudit := write(peers[0], "writer_0")
	for i, p := range peers[1:] {
		entries, audit := write(p, fmt.Sprintf("writer_%d", i+1))
		same(t, p, "what is stored of memory", entries, wantEntries, ignoreTimes)
		same(t, p, "the audit rows of memory", audit, wantAudit, cmpopts.IgnoreFields(store.AuditEvent{}, "ID", "AgentID", "Timestamp"))
	}
}
