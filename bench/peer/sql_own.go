package peer

import (
	"context"
	"database/sql"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// sqlOwn writes in transactions of plain statements.
type sqlOwn struct{ db *sql.DB }

// sqlTx runs fn in a transaction of database/sql.
func sqlTx(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// sqlSessionExists returns an error unless there is such a session.
func sqlSessionExists(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, sessionID string,
) error {
	var exists bool
	err := db.QueryRowContext(ctx, plainSessionExists, sessionID).Scan(&exists)
	if err == nil && !exists {
		err = store.ErrSessionNotFound
	}
	return err
}

func (o sqlOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	err := sqlTx(ctx, o.db, func(tx *sql.Tx) error {
		if err := sqlSessionExists(ctx, tx, message.SessionID); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, plainInsertMessage, plainMessageArgs(&message)...).Scan(&message.ID, &message.Timestamp); err != nil {
			return err
		}
		audit, err := messageAudit(&message)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, plainInsertMessageAudit, message.Sender, message.SessionID, audit)
		return err
	})
	return message, err
}

func (o sqlOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	added := make([]store.Message, 0, len(messages))
	err := sqlTx(ctx, o.db, func(tx *sql.Tx) error {
		if err := sqlSessionExists(ctx, tx, sessionID); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, plainInsertMessages, plainMessagesArgs(sessionID, messages)...)
		if err := sqlEach(rows, err, func() error {
			message := messages[len(added)]
			message.SessionID = sessionID
			if err := rows.Scan(&message.ID, &message.Timestamp); err != nil {
				return err
			}
			added = append(added, message)
			return nil
		}); err != nil {
			return err
		}
		args, err := plainMessageAuditsArgs(sessionID, added)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, plainInsertMessageAudits, args...)
		return err
	})
	return added, err
}

func (o sqlOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var total int64
	if err := o.db.QueryRowContext(ctx, plainCountMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType).Scan(&total); err != nil {
		return store.MessagePage{}, err
	}
	if total == 0 {
		return pageByOffset([]store.Message{}, offset, 0), sqlSessionExists(ctx, o.db, sessionID)
	}
	rows, err := o.db.QueryContext(ctx, plainGetMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, pageSize, offset)
	messages, err := sqlPlainMessages(rows, err, sessionID)
	return pageByOffset(messages, offset, total), err
}

func (o sqlOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	rows, err := o.db.QueryContext(ctx, plainGetMessagesAfter, sessionID, reader.Admin, reader.AgentID, reader.AgentType, after.Timestamp, after.ID, pageSize+1)
	messages, err := sqlPlainMessages(rows, err, sessionID)
	if err == nil && len(messages) == 0 {
		err = sqlSessionExists(ctx, o.db, sessionID)
	}
	return pageAfter(messages, after), err
}

func (o sqlOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var detail store.SessionDetail
	s := &detail.Session
	if err := o.db.QueryRowContext(ctx, plainGetSession, sessionID).
		Scan(&s.ID, &s.Purpose, &s.CreatedAt, &s.UpdatedAt, &s.IsActive, &s.CreatedBy, (*[]byte)(&s.Metadata)); err != nil {
		return detail, foundSession(err)
	}
	rows, err := o.db.QueryContext(ctx, plainLatestMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, latestMessages)
	detail.Messages, err = sqlPlainMessages(rows, err, sessionID)
	return detail, err
}

func sqlPlainMessages(rows *sql.Rows, err error, sessionID string) ([]store.Message, error) {
	messages := make([]store.Message, 0, pageSize+1)
	m := store.Message{SessionID: sessionID}
	targets := sqlMessageTargets(&m)
	err = sqlEach(rows, err, func() error {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		messages = append(messages, m)
		return nil
	})
	return messages, err
}

func (o sqlOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	err := sqlTx(ctx, o.db, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, plainSetMemory, entry.AgentID, entry.Key, entry.Value, entry.Metadata, ttl.Microseconds()).
			Scan(&entry.CreatedAt, &entry.UpdatedAt, &entry.ExpiresAt); err != nil {
			return err
		}
		audit, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, plainInsertMemoryAudit, entry.AgentID, audit)
		return err
	})
	return entry, err
}

func (o sqlOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	return sqlMemory(o.db.QueryRowContext(ctx, plainGetMemory, agentID, key), agentID, key)
}

func (o sqlOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows, err := o.db.QueryContext(ctx, plainListMemory, agentID, pageSize+1)
	return sqlMemoryPage(rows, err, agentID)
}
