package peer

import (
	"cmp"
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// scanStatement sends the statements of the store through the raw interface of a tool that reads rows into structs. scan
// reads all rows into dest, a pointer to a slice.
type scanStatement struct {
	statements
	scan func(ctx context.Context, dest any, sql string, args ...any) error
}

// The rows of the statements, with the tags of sqlx; GORM and bun derive the names of columns, ent takes the tag sql.

type addedRow struct {
	ID           int64     `db:"id" sql:"id"`
	Timestamp    time.Time `db:"timestamp" sql:"timestamp"`
	SessionFound bool      `db:"session_found" sql:"session_found"`
}

// messageRow is a message; the total is 0 where a statement does not count.
type messageRow struct {
	TotalCount      int64     `db:"total_count" sql:"total_count"`
	ID              int64     `db:"id" sql:"id"`
	Sender          string    `db:"sender" sql:"sender"`
	SenderType      string    `db:"sender_type" sql:"sender_type"`
	Content         string    `db:"content" sql:"content"`
	Visibility      string    `db:"visibility" sql:"visibility"`
	MessageType     string    `db:"message_type" sql:"message_type"`
	Metadata        []byte    `db:"metadata" sql:"metadata"`
	Timestamp       time.Time `db:"timestamp" sql:"timestamp"`
	ParentMessageID *int64    `db:"parent_message_id" sql:"parent_message_id"`
}

func (r *messageRow) message(sessionID string) store.Message {
	return store.Message{
		ID: r.ID, SessionID: sessionID, Sender: r.Sender, SenderType: r.SenderType, Content: r.Content, Visibility: store.Visibility(r.Visibility),
		MessageType: store.MessageType(r.MessageType), Metadata: r.Metadata, Timestamp: r.Timestamp, ParentMessageID: r.ParentMessageID,
	}
}

type sessionRow struct {
	ID              string    `db:"id" sql:"id"`
	Purpose         string    `db:"purpose" sql:"purpose"`
	CreatedAt       time.Time `db:"created_at" sql:"created_at"`
	UpdatedAt       time.Time `db:"updated_at" sql:"updated_at"`
	IsActive        bool      `db:"is_active" sql:"is_active"`
	CreatedBy       string    `db:"created_by" sql:"created_by"`
	Metadata        []byte    `db:"metadata" sql:"metadata"`
	MessageID       int64     `db:"message_id" sql:"message_id"`
	Sender          string    `db:"sender" sql:"sender"`
	SenderType      string    `db:"sender_type" sql:"sender_type"`
	Content         string    `db:"content" sql:"content"`
	Visibility      string    `db:"visibility" sql:"visibility"`
	MessageType     string    `db:"message_type" sql:"message_type"`
	MessageMetadata []byte    `db:"message_metadata" sql:"message_metadata"`
	Timestamp       time.Time `db:"timestamp" sql:"timestamp"`
	ParentMessageID *int64    `db:"parent_message_id" sql:"parent_message_id"`
}

func (r *sessionRow) session() store.Session {
	return store.Session{
		ID: r.ID, Purpose: r.Purpose, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, IsActive: r.IsActive, CreatedBy: r.CreatedBy, Metadata: r.Metadata,
	}
}

type memoryRow struct {
	ID        int64      `db:"id" sql:"id"`
	Value     string     `db:"value" sql:"value"`
	Metadata  []byte     `db:"metadata" sql:"metadata"`
	CreatedAt time.Time  `db:"created_at" sql:"created_at"`
	UpdatedAt time.Time  `db:"updated_at" sql:"updated_at"`
	ExpiresAt *time.Time `db:"expires_at" sql:"expires_at"`
}

func (r *memoryRow) entry(agentID, key string) store.MemoryEntry {
	return store.MemoryEntry{
		AgentID: agentID, Key: key, Value: r.Value, Metadata: r.Metadata, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ExpiresAt: r.ExpiresAt,
	}
}

type memoryInfoRow struct {
	Key       string     `db:"key" sql:"key"`
	Size      int        `db:"size" sql:"size"`
	CreatedAt time.Time  `db:"created_at" sql:"created_at"`
	UpdatedAt time.Time  `db:"updated_at" sql:"updated_at"`
	ExpiresAt *time.Time `db:"expires_at" sql:"expires_at"`
}

func memoryInfos(agentID string, rows []memoryInfoRow) []store.MemoryInfo {
	entries := make([]store.MemoryInfo, len(rows))
	for i := range rows {
		r := &rows[i]
		entries[i] = store.MemoryInfo{AgentID: agentID, Key: r.Key, Size: r.Size, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ExpiresAt: r.ExpiresAt}
	}
	return entries
}

func (o scanStatement) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	var rows []addedRow
	if err := o.scan(ctx, &rows, o.addMessage, addMessageArgs(&message)...); err != nil {
		return message, err
	}
	if !rows[0].SessionFound {
		return message, store.ErrSessionNotFound
	}
	message.ID, message.Timestamp = rows[0].ID, rows[0].Timestamp
	return message, nil
}

func (o scanStatement) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	var rows []addedRow
	if err := o.scan(ctx, &rows, o.addMessages, addMessagesArgs(sessionID, messages)...); err != nil {
		return nil, err
	}
	if !rows[0].SessionFound {
		return nil, store.ErrSessionNotFound
	}
	added := make([]store.Message, len(messages))
	for i := range rows {
		added[i] = messages[i]
		added[i].SessionID, added[i].ID, added[i].Timestamp = sessionID, rows[i].ID, rows[i].Timestamp
	}
	return added, nil
}

func (o scanStatement) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var rows []messageRow
	err := o.scan(ctx, &rows, o.getMessages, getMessagesArgs(sessionID, reader, offset)...)
	if err != nil || len(rows) == 0 {
		return store.MessagePage{}, cmp.Or(err, store.ErrSessionNotFound)
	}
	return pageByOffset(scannedMessages(sessionID, rows), offset, rows[0].TotalCount), nil
}

func (o scanStatement) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	var rows []messageRow
	err := o.scan(ctx, &rows, o.getMessagesAfter, getMessagesAfterArgs(sessionID, reader, after)...)
	if err != nil || len(rows) == 0 {
		return store.MessagePage{}, cmp.Or(err, store.ErrSessionNotFound)
	}
	return pageAfter(scannedMessages(sessionID, rows), after), nil
}

// scannedMessages returns the messages of rows. One with id 0 says that the session exists.
func scannedMessages(sessionID string, rows []messageRow) []store.Message {
	messages := make([]store.Message, 0, len(rows))
	for i := range rows {
		if rows[i].ID != 0 {
			messages = append(messages, rows[i].message(sessionID))
		}
	}
	return messages
}

func (o scanStatement) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var rows []sessionRow
	err := o.scan(ctx, &rows, o.getSession, getSessionArgs(sessionID, reader)...)
	if err != nil || len(rows) == 0 {
		return store.SessionDetail{}, cmp.Or(err, store.ErrSessionNotFound)
	}
	detail := store.SessionDetail{Session: rows[0].session(), Messages: make([]store.Message, 0, len(rows))}
	for i := range rows {
		r := &rows[i]
		if r.MessageID == 0 {
			continue
		}
		detail.Messages = append(detail.Messages, store.Message{
			ID: r.MessageID, SessionID: sessionID, Sender: r.Sender, SenderType: r.SenderType, Content: r.Content, Visibility: store.Visibility(r.Visibility),
			MessageType: store.MessageType(r.MessageType), Metadata: r.MessageMetadata, Timestamp: r.Timestamp, ParentMessageID: r.ParentMessageID,
		})
	}
	return detail, nil
}

func (o scanStatement) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	var rows []memoryRow
	if err := o.scan(ctx, &rows, o.setMemory, setMemoryArgs(&entry, ttl)...); err != nil {
		return entry, err
	}
	entry.CreatedAt, entry.UpdatedAt, entry.ExpiresAt = rows[0].CreatedAt, rows[0].UpdatedAt, rows[0].ExpiresAt
	return entry, nil
}

func (o scanStatement) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	var rows []memoryRow
	err := o.scan(ctx, &rows, o.getMemory, getMemoryArgs(agentID, key)...)
	if err != nil || len(rows) == 0 {
		return store.MemoryEntry{}, cmp.Or(err, store.ErrMemoryNotFound)
	}
	return rows[0].entry(agentID, key), nil
}

func (o scanStatement) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	var rows []memoryInfoRow
	err := o.scan(ctx, &rows, o.listMemory, listMemoryArgs(agentID)...)
	return memoryPage(memoryInfos(agentID, rows)), err
}
