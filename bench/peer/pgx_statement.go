package peer

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func openPgx(ctx context.Context, url string, connections int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	return pgxpool.NewWithConfig(ctx, config)
}

// pgxStatement sends the statements of the store by hand.
type pgxStatement struct {
	pool *pgxpool.Pool
	statements
}

func (o pgxStatement) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	var found bool
	err := o.pool.QueryRow(ctx, o.addMessage, addMessageArgs(&message)...).Scan(&message.ID, &message.Timestamp, &found)
	if err == nil && !found {
		err = store.ErrSessionNotFound
	}
	return message, err
}

func (o pgxStatement) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	rows, err := o.pool.Query(ctx, o.addMessages, addMessagesArgs(sessionID, messages)...)
	if err != nil {
		return nil, err
	}
	added := make([]store.Message, 0, len(messages))
	var (
		id        int64
		timestamp time.Time
		found     bool
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &timestamp, &found}, func() error {
		if !found {
			return store.ErrSessionNotFound
		}
		message := messages[len(added)]
		message.SessionID, message.ID, message.Timestamp = sessionID, id, timestamp
		added = append(added, message)
		return nil
	})
	return added, err
}

func (o pgxStatement) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var total int64
	rows, err := o.pool.Query(ctx, o.getMessages, getMessagesArgs(sessionID, reader, offset)...)
	messages, err := pgxMessages(rows, err, sessionID, &total)
	return pageByOffset(messages, offset, total), err
}

func (o pgxStatement) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	rows, err := o.pool.Query(ctx, o.getMessagesAfter, getMessagesAfterArgs(sessionID, reader, after)...)
	messages, err := pgxMessages(rows, err, sessionID)
	return pageAfter(messages, after), err
}

func (o pgxStatement) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var detail store.SessionDetail
	s := &detail.Session
	rows, err := o.pool.Query(ctx, o.getSession, getSessionArgs(sessionID, reader)...)
	detail.Messages, err = pgxMessages(rows, err, sessionID, &s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, &s.Metadata)
	return detail, err
}

// pgxMessages reads messages after the columns before. A row with id 0 says that the session exists, no row that it does
// not.
func pgxMessages(rows pgx.Rows, err error, sessionID string, before ...any) ([]store.Message, error) {
	if err != nil {
		return nil, err
	}
	var (
		messages = make([]store.Message, 0, pageSize+1)
		m        = store.Message{SessionID: sessionID}
		found    bool
	)
	_, err = pgx.ForEachRow(rows, append(before, &m.ID, &m.Sender, &m.SenderType, &m.Content, (*string)(&m.Visibility),
		(*string)(&m.MessageType), &m.Metadata, &m.Timestamp, &m.ParentMessageID), func() error {
		found = true
		if m.ID != 0 {
			messages = append(messages, m)
		}
		m.Metadata = nil
		return nil
	})
	if err == nil && !found {
		err = store.ErrSessionNotFound
	}
	return messages, err
}

func (o pgxStatement) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	var id int64
	err := o.pool.QueryRow(ctx, o.setMemory, setMemoryArgs(&entry, ttl)...).Scan(&id, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
	return entry, err
}

func (o pgxStatement) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	return pgxMemory(o.pool.QueryRow(ctx, o.getMemory, getMemoryArgs(agentID, key)...), agentID, key)
}

func pgxMemory(row pgx.Row, agentID, key string) (store.MemoryEntry, error) {
	entry := store.MemoryEntry{AgentID: agentID, Key: key}
	err := row.Scan(&entry.Value, &entry.Metadata, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
	if errors.Is(err, pgx.ErrNoRows) {
		err = store.ErrMemoryNotFound
	}
	return entry, err
}

func (o pgxStatement) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows, err := o.pool.Query(ctx, o.listMemory, listMemoryArgs(agentID)...)
	return pgxMemoryPage(rows, err, agentID)
}

func pgxMemoryPage(rows pgx.Rows, err error, agentID string) (store.MemoryPage, error) {
	if err != nil {
		return store.MemoryPage{}, err
	}
	entries := make([]store.MemoryInfo, 0, pageSize+1)
	entry := store.MemoryInfo{AgentID: agentID}
	_, err = pgx.ForEachRow(rows, []any{&entry.Key, &entry.Size, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt}, func() error {
		entries = append(entries, entry)
		return nil
	})
	return memoryPage(entries), err
}
