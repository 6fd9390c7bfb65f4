package peer

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// openSQL opens a pool of database/sql over pgx. All tools but pgx itself work on one of these.
func openSQL(url string, connections int) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return newSQL(config, connections), nil
}

func newSQL(config *pgx.ConnConfig, connections int) *sql.DB {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// sqlStatement sends the statements of the store with database/sql.
type sqlStatement struct {
	db *sql.DB
	statements
}

func (o sqlStatement) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	var found bool
	err := o.db.QueryRowContext(ctx, o.addMessage, addMessageArgs(&message)...).Scan(&message.ID, &message.Timestamp, &found)
	if err == nil && !found {
		err = store.ErrSessionNotFound
	}
	return message, err
}

func (o sqlStatement) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	added := make([]store.Message, 0, len(messages))
	rows, err := o.db.QueryContext(ctx, o.addMessages, addMessagesArgs(sessionID, messages)...)
	err = sqlEach(rows, err, func() error {
		message := store.Message{}
		var found bool
		if len(added) < len(messages) {
			message = messages[len(added)]
			message.SessionID = sessionID
		}
		if err := rows.Scan(&message.ID, &message.Timestamp, &found); err != nil {
			return err
		}
		if !found {
			return store.ErrSessionNotFound
		}
		added = append(added, message)
		return nil
	})
	return added, err
}

// sqlEach calls scan for each row.
func sqlEach(rows *sql.Rows, err error, scan func() error) error {
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (o sqlStatement) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var total int64
	rows, err := o.db.QueryContext(ctx, o.getMessages, getMessagesArgs(sessionID, reader, offset)...)
	messages, err := sqlMessages(rows, err, sessionID, &total)
	return pageByOffset(messages, offset, total), err
}

func (o sqlStatement) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	rows, err := o.db.QueryContext(ctx, o.getMessagesAfter, getMessagesAfterArgs(sessionID, reader, after)...)
	messages, err := sqlMessages(rows, err, sessionID)
	return pageAfter(messages, after), err
}

func (o sqlStatement) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var detail store.SessionDetail
	s := &detail.Session
	rows, err := o.db.QueryContext(ctx, o.getSession, getSessionArgs(sessionID, reader)...)
	detail.Messages, err = sqlMessages(rows, err, sessionID, &s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, (*[]byte)(&s.Metadata))
	return detail, err
}

// sqlMessages reads messages after the columns before, as pgxMessages does.
func sqlMessages(rows *sql.Rows, err error, sessionID string, before ...any) ([]store.Message, error) {
	var (
		messages = make([]store.Message, 0, pageSize+1)
		m        = store.Message{SessionID: sessionID}
		targets  = append(before, sqlMessageTargets(&m)...)
		found    bool
	)
	err = sqlEach(rows, err, func() error {
		found = true
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if m.ID != 0 {
			messages = append(messages, m)
		}
		return nil
	})
	if err == nil && !found {
		err = store.ErrSessionNotFound
	}
	return messages, err
}

// sqlMessageTargets are where the columns of a message are scanned to. Metadata and parent are fresh in each row.
func sqlMessageTargets(m *store.Message) []any {
	return []any{&m.ID, &m.Sender, &m.SenderType, &m.Content, &m.Visibility, &m.MessageType, (*[]byte)(&m.Metadata), &m.Timestamp, &m.ParentMessageID}
}

func (o sqlStatement) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	var id int64
	err := o.db.QueryRowContext(ctx, o.setMemory, setMemoryArgs(&entry, ttl)...).Scan(&id, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
	return entry, err
}

func (o sqlStatement) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	return sqlMemory(o.db.QueryRowContext(ctx, o.getMemory, getMemoryArgs(agentID, key)...), agentID, key)
}

func sqlMemory(row *sql.Row, agentID, key string) (store.MemoryEntry, error) {
	entry := store.MemoryEntry{AgentID: agentID, Key: key}
	err := row.Scan(&entry.Value, (*[]byte)(&entry.Metadata), &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt)
	return entry, foundMemory(err)
}

// foundMemory turns the absence of a row into the error of the store.
func foundMemory(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrMemoryNotFound
	}
	return err
}

// foundSession does the same for a session.
func foundSession(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrSessionNotFound
	}
	return err
}

func (o sqlStatement) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows, err := o.db.QueryContext(ctx, o.listMemory, listMemoryArgs(agentID)...)
	return sqlMemoryPage(rows, err, agentID)
}

func sqlMemoryPage(rows *sql.Rows, err error, agentID string) (store.MemoryPage, error) {
	entries := make([]store.MemoryInfo, 0, pageSize+1)
	entry := store.MemoryInfo{AgentID: agentID}
	err = sqlEach(rows, err, func() error {
		if err := rows.Scan(&entry.Key, &entry.Size, &entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt); err != nil {
			return err
		}
		entries = append(entries, entry)
		return nil
	})
	return memoryPage(entries), err
}
