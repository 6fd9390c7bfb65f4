package peer

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newSqlx(db *sql.DB) *sqlx.DB { return sqlx.NewDb(db, "pgx") }

// sqlxOwn writes in transactions of plain statements, many rows as named ones, and reads into structs.
type sqlxOwn struct{ db *sqlx.DB }

// sqlxTx runs fn in a transaction.
func sqlxTx(ctx context.Context, db *sqlx.DB, fn func(tx *sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

func sqlxSessionExists(ctx context.Context, db sqlx.QueryerContext, sessionID string) error {
	var exists bool
	err := sqlx.GetContext(ctx, db, &exists, plainSessionExists, sessionID)
	if err == nil && !exists {
		err = store.ErrSessionNotFound
	}
	return err
}

func (o sqlxOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	err := sqlxTx(ctx, o.db, func(tx *sqlx.Tx) error {
		if err := sqlxSessionExists(ctx, tx, message.SessionID); err != nil {
			return err
		}
		if err := tx.QueryRowxContext(ctx, plainInsertMessage, plainMessageArgs(&message)...).Scan(&message.ID, &message.Timestamp); err != nil {
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

type sqlxNewMessage struct {
	SessionID   string          `db:"session_id"`
	Sender      string          `db:"sender"`
	SenderType  string          `db:"sender_type"`
	Content     string          `db:"content"`
	Visibility  string          `db:"visibility"`
	MessageType string          `db:"message_type"`
	Metadata    json.RawMessage `db:"metadata"`
}

type sqlxNewAudit struct {
	AgentID   string          `db:"agent_id"`
	SessionID string          `db:"session_id"`
	Metadata  json.RawMessage `db:"metadata"`
}

// The values of these two are repeated for each row.
const (
	sqlxInsertMessages = `INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata)
		VALUES (:session_id, :sender, :sender_type, :content, :visibility, :message_type, :metadata) RETURNING id, timestamp`
	sqlxInsertAudits = `INSERT INTO audit_log (event_type, agent_id, session_id, metadata) VALUES ('message_added', :agent_id, :session_id, :metadata)`
)

func (o sqlxOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	added := make([]store.Message, len(messages))
	err := sqlxTx(ctx, o.db, func(tx *sqlx.Tx) error {
		if err := sqlxSessionExists(ctx, tx, sessionID); err != nil {
			return err
		}
		values := make([]sqlxNewMessage, len(messages))
		for i := range messages {
			m := &messages[i]
			values[i] = sqlxNewMessage{sessionID, m.Sender, m.SenderType, m.Content, string(m.Visibility), string(m.MessageType), m.Metadata}
		}
		rows, err := sqlx.NamedQueryContext(ctx, tx, sqlxInsertMessages, values)
		if err != nil {
			return err
		}
		var returned []struct {
			ID        int64     `db:"id"`
			Timestamp time.Time `db:"timestamp"`
		}
		if err := sqlx.StructScan(rows, &returned); err != nil {
			return err
		}
		audits := make([]sqlxNewAudit, len(messages))
		for i := range returned {
			added[i] = messages[i]
			added[i].SessionID, added[i].ID, added[i].Timestamp = sessionID, returned[i].ID, returned[i].Timestamp
			audit, err := messageAudit(&added[i])
			if err != nil {
				return err
			}
			audits[i] = sqlxNewAudit{added[i].Sender, sessionID, audit}
		}
		_, err = tx.NamedExecContext(ctx, sqlxInsertAudits, audits)
		return err
	})
	return added, err
}

func (o sqlxOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var total int64
	if err := o.db.GetContext(ctx, &total, plainCountMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType); err != nil {
		return store.MessagePage{}, err
	}
	if total == 0 {
		return pageByOffset([]store.Message{}, offset, 0), sqlxSessionExists(ctx, o.db, sessionID)
	}
	messages, err := o.messages(ctx, sessionID, plainGetMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, pageSize, offset)
	return pageByOffset(messages, offset, total), err
}

func (o sqlxOwn) messages(ctx context.Context, sessionID, query string, args ...any) ([]store.Message, error) {
	var rows []messageRow
	err := o.db.SelectContext(ctx, &rows, query, args...)
	return scannedMessages(sessionID, rows), err
}

func (o sqlxOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	messages, err := o.messages(ctx, sessionID, plainGetMessagesAfter,
		sessionID, reader.Admin, reader.AgentID, reader.AgentType, after.Timestamp, after.ID, pageSize+1)
	if err == nil && len(messages) == 0 {
		err = sqlxSessionExists(ctx, o.db, sessionID)
	}
	return pageAfter(messages, after), err
}

func (o sqlxOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var row sessionRow
	if err := o.db.GetContext(ctx, &row, plainGetSession, sessionID); err != nil {
		return store.SessionDetail{}, foundSession(err)
	}
	messages, err := o.messages(ctx, sessionID, plainLatestMessages, sessionID, reader.Admin, reader.AgentID, reader.AgentType, latestMessages)
	return store.SessionDetail{Session: row.session(), Messages: messages}, err
}

func (o sqlxOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	err := sqlxTx(ctx, o.db, func(tx *sqlx.Tx) error {
		var row memoryRow
		if err := tx.GetContext(ctx, &row, plainSetMemory, entry.AgentID, entry.Key, entry.Value, entry.Metadata, ttl.Microseconds()); err != nil {
			return err
		}
		entry.CreatedAt, entry.UpdatedAt, entry.ExpiresAt = row.CreatedAt, row.UpdatedAt, row.ExpiresAt
		audit, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, plainInsertMemoryAudit, entry.AgentID, audit)
		return err
	})
	return entry, err
}

func (o sqlxOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	var row memoryRow
	err := o.db.GetContext(ctx, &row, plainGetMemory, agentID, key)
	return row.entry(agentID, key), foundMemory(err)
}

func (o sqlxOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	var rows []memoryInfoRow
	err := o.db.SelectContext(ctx, &rows, plainListMemory, agentID, pageSize+1)
	return memoryPage(memoryInfos(agentID, rows)), err
}
