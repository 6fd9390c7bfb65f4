package peer

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// pgxOwn writes in transactions and sends two statements of a read as one batch.
type pgxOwn struct{ pool *pgxpool.Pool }

func (o pgxOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	err := pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		if err := pgxSessionExists(ctx, tx, message.SessionID); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, plainInsertMessage, plainMessageArgs(&message)...).Scan(&message.ID, &message.Timestamp); err != nil {
			return err
		}
		audit, err := messageAudit(&message)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, plainInsertMessageAudit, message.Sender, message.SessionID, audit)
		return err
	})
	return message, err
}

// pgxSessionExists returns an error unless there is such a session.
func pgxSessionExists(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, sessionID string,
) error {
	var exists bool
	err := db.QueryRow(ctx, plainSessionExists, sessionID).Scan(&exists)
	if err == nil && !exists {
		err = store.ErrSessionNotFound
	}
	return err
}

func (o pgxOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	added := make([]store.Message, 0, len(messages))
	err := pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		if err := pgxSessionExists(ctx, tx, sessionID); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, plainInsertMessages, plainMessagesArgs(sessionID, messages)...)
		if err != nil {
			return err
		}
		var (
			id        int64
			timestamp time.Time
		)
		if _, err := pgx.ForEachRow(rows, []any{&id, &timestamp}, func() error {
			message := messages[len(added)]
			message.SessionID, message.ID, message.Timestamp = sessionID, id, timestamp
			added = append(added, message)
			return nil
		}); err != nil {
			return err
		}
		args, err := plainMessageAuditsArgs(sessionID, added)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, plainInsertMessageAudits, args...)
		return err
	})
	return added, err
}

func (o pgxOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var (
		total    int64
		messages []store.Message
		batch    pgx.Batch
	)
	batch.Queue(plainCountMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType).
		QueryRow(func(row pgx.Row) error { return row.Scan(&total) })
	batch.Queue(plainGetMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, pageSize, offset).Query(func(rows pgx.Rows) (err error) {
		messages, err = pgxPlainMessages(rows, sessionID)
		return err
	})
	err := o.pool.SendBatch(ctx, &batch).Close()
	if err == nil && total == 0 {
		err = pgxSessionExists(ctx, o.pool, sessionID)
	}
	return pageByOffset(messages, offset, total), err
}

func (o pgxOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	rows, err := o.pool.Query(ctx, plainGetMessagesAfter, sessionID, reader.Admin, reader.AgentID, reader.AgentType, after.Timestamp, after.ID, pageSize+1)
	if err != nil {
		return store.MessagePage{}, err
	}
	messages, err := pgxPlainMessages(rows, sessionID)
	if err == nil && len(messages) == 0 {
		err = pgxSessionExists(ctx, o.pool, sessionID)
	}
	return pageAfter(messages, after), err
}

func (o pgxOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var (
		detail store.SessionDetail
		batch  pgx.Batch
	)
	batch.Queue(plainGetSession, sessionID).QueryRow(func(row pgx.Row) error {
		s := &detail.Session
		return row.Scan(&s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, &s.Metadata)
	})
	batch.Queue(plainLatestMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, latestMessages).Query(func(rows pgx.Rows) (err error) {
		detail.Messages, err = pgxPlainMessages(rows, sessionID)
		return err
	})
	err := o.pool.SendBatch(ctx, &batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		err = store.ErrSessionNotFound
	}
	return detail, err
}

func pgxPlainMessages(rows pgx.Rows, sessionID string) ([]store.Message, error) {
	messages := make([]store.Message, 0, pageSize+1)
	m := store.Message{SessionID: sessionID}
	_, err := pgx.ForEachRow(rows, []any{&m.ID, &m.Sender, &m.SenderType, &m.Content, (*string)(&m.Visibility), (*string)(&m.MessageType),
		&m.Metadata, &m.Timestamp, &m.ParentMessageID}, func() error {
		messages = append(messages, m)
		m.Metadata = nil
		return nil
	})
	return messages, err
}

func (o pgxOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	err := pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, plainSetMemory, entry.AgentID, entry.Key, entry.Value, entry.Metadata, ttl.Microseconds()).
			Scan(&entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt); err != nil {
			return err
		}
		audit, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, plainInsertMemoryAudit, entry.AgentID, audit)
		return err
	})
	return entry, err
}

func (o pgxOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	return pgxMemory(o.pool.QueryRow(ctx, plainGetMemory, agentID, key), agentID, key)
}

func (o pgxOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows, err := o.pool.Query(ctx, plainListMemory, agentID, pageSize+1)
	return pgxMemoryPage(rows, err, agentID)
}
