package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// statements are what the store sends, one for each operation.
type statements struct {
	addMessage, addMessages, getMessages, getMessagesAfter, getSession, setMemory, getMemory, listMemory string
}

// recorder keeps the latest statement that a manager sent.
type recorder struct{ sql string }

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.sql = data.SQL
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// record runs each operation of the store once, in a session of its own that is deleted again, and returns what was sent.
func record(ctx context.Context, config store.Config) (recorded statements, err error) {
	r := new(recorder)
	config.Tracer = r
	config.NotifyInterval = -1 // its statements come beside those to record
	manager, err := store.Open(ctx, config)
	if err != nil {
		return statements{}, err
	}
	defer func() { err = errors.Join(err, manager.Close(context.WithoutCancel(ctx))) }()

	const agent = "recorder"
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "record the statements", CreatedBy: agent})
	if err != nil {
		return statements{}, err
	}
	operations := storeOperations{manager}
	message := store.Message{SessionID: session.ID, Sender: agent, SenderType: "generic", Content: "text"}
	reader := store.Reader{AgentID: agent}
	for _, step := range []struct {
		sql  *string
		call func() error
	}{
		{&recorded.addMessage, func() error { _, err := operations.AddMessage(ctx, message); return err }},
		{&recorded.addMessages, func() error {
			_, err := operations.AddMessages(ctx, session.ID, []store.Message{message})
			return err
		}},
		{&recorded.getMessages, func() error { _, err := operations.GetMessages(ctx, session.ID, reader, 0); return err }},
		{&recorded.getMessagesAfter, func() error {
			_, err := operations.GetMessagesAfter(ctx, session.ID, reader, store.MessageCursor{})
			return err
		}},
		{&recorded.getSession, func() error { _, err := operations.GetSession(ctx, session.ID, reader); return err }},
		{&recorded.setMemory, func() error {
			_, err := operations.SetMemory(ctx, store.MemoryEntry{AgentID: agent, Key: "key", Value: "value"}, 0)
			return err
		}},
		{&recorded.getMemory, func() error { _, err := operations.GetMemory(ctx, agent, "key"); return err }},
		{&recorded.listMemory, func() error { _, err := operations.ListMemory(ctx, agent); return err }},
	} {
		if err := step.call(); err != nil {
			return statements{}, fmt.Errorf("record the statements of the store: %w", err)
		}
		*step.sql = r.sql
	}
	if err := manager.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: agent, Key: "key"}); err != nil {
		return statements{}, err
	}
	return recorded, manager.DeleteSession(ctx, session.ID, agent)
}

// The arguments of each statement, in its order.

func addMessageArgs(m *store.Message) []any {
	var (
		timestamp *time.Time
		parent    *int64
	)
	return []any{m.SessionID, m.Sender, m.SenderType, m.Content, string(m.Visibility), string(m.MessageType), m.Metadata, timestamp, parent}
}

func addMessagesArgs(sessionID string, messages []store.Message) []any {
	n := len(messages)
	contents, senders, senderTypes := make([]string, n), make([]string, n), make([]string, n)
	visibilities, messageTypes, metadata := make([]string, n), make([]string, n), make([]string, n)
	timestamps, parents := make([]time.Time, n), make([]int64, n)
	for i := range messages {
		m := &messages[i]
		contents[i], senders[i], senderTypes[i] = m.Content, m.Sender, m.SenderType
		visibilities[i], messageTypes[i], metadata[i] = string(m.Visibility), string(m.MessageType), string(m.Metadata)
	}
	return []any{sessionID, contents, senders, senderTypes, visibilities, messageTypes, metadata, timestamps, parents}
}

// sightArgs are the levels of visibility that a reader sees, as the statements of the store take them.
func sightArgs(reader store.Reader) []any {
	switch {
	case reader.Admin:
		all := []string{"public", "private", "agent_only", "admin_only"}
		return []any{all, []string(nil), reader.AgentID, []string(nil), reader.AgentType}
	case reader.AgentType == "":
		return []any{[]string{"public"}, []string{"private", "agent_only"}, reader.AgentID, []string(nil), reader.AgentType}
	default:
		return []any{[]string{"public"}, []string{"private", "agent_only"}, reader.AgentID, []string{"agent_only"}, reader.AgentType}
	}
}

// mergedSightArgs are the same in the order of the statements that merge a page.
func mergedSightArgs(reader store.Reader) []any {
	args := sightArgs(reader)
	return []any{args[0], args[1], args[3], args[2], args[4]}
}

func getMessagesArgs(sessionID string, reader store.Reader, offset int) []any {
	return append(sightArgs(reader), offset, pageSize, sessionID)
}

func getMessagesAfterArgs(sessionID string, reader store.Reader, after store.MessageCursor) []any {
	return append(mergedSightArgs(reader), after.Timestamp, after.ID, pageSize+1, sessionID)
}

func getSessionArgs(sessionID string, reader store.Reader) []any {
	return append(mergedSightArgs(reader), latestMessages, sessionID)
}

func setMemoryArgs(entry *store.MemoryEntry, ttl time.Duration) []any {
	var now *time.Time
	return []any{entry.AgentID, entry.Key, entry.Value, entry.Metadata, ttl.Microseconds(), now, true}
}

func getMemoryArgs(agentID, key string) []any {
	var now *time.Time
	return []any{agentID, key, now}
}

func listMemoryArgs(agentID string) []any {
	var now *time.Time
	return []any{agentID, "", "", now, pageSize + 1}
}
