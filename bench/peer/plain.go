package peer

import (
	"encoding/json"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// The statements that one writes by hand where each does one thing, for pgx, database/sql and sqlx in their own way.
const (
	messageColumns = "id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id"
	// visible takes the reader as parameters 2 to 4: whether it is an admin, its id and its type.
	visible = `($2 OR visibility = 'public' OR visibility IN ('private', 'agent_only') AND sender = $3
		OR visibility = 'agent_only' AND sender_type = $4)`

	plainSessionExists = `SELECT EXISTS (SELECT FROM sessions WHERE id = $1)`
	plainInsertMessage = `INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata)
		VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, timestamp`
	plainInsertMessages = `INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata)
		SELECT $1, sender, sender_type, content, visibility, message_type, nullif(metadata, '')::jsonb
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
			AS m (sender, sender_type, content, visibility, message_type, metadata)
		RETURNING id, timestamp`
	plainInsertMessageAudit  = `INSERT INTO audit_log (event_type, agent_id, session_id, metadata) VALUES ('message_added', $1, $2, $3)`
	plainInsertMessageAudits = `INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
		SELECT 'message_added', sender, $1, metadata::jsonb FROM unnest($2::text[], $3::text[]) AS m (sender, metadata)`

	plainCountMessages    = `SELECT count(*) FROM messages WHERE session_id = $1 AND ` + visible
	plainGetMessages      = `SELECT ` + messageColumns + ` FROM messages WHERE session_id = $1 AND ` + visible + ` ORDER BY timestamp, id LIMIT $5 OFFSET $6`
	plainGetMessagesAfter = `SELECT ` + messageColumns + ` FROM messages WHERE session_id = $1 AND ` + visible + ` AND (timestamp, id) > ($5, $6)
		ORDER BY timestamp, id LIMIT $7`
	plainGetSession     = `SELECT id, purpose, created_at, updated_at, is_active, created_by, metadata FROM sessions WHERE id = $1`
	plainLatestMessages = `SELECT ` + messageColumns + ` FROM messages WHERE session_id = $1 AND ` + visible + ` ORDER BY timestamp DESC, id DESC LIMIT $5`

	plainSetMemory = `INSERT INTO agent_memory AS m (agent_id, key, value, metadata, expires_at)
		VALUES ($1, $2, $3, $4, now() + nullif($5::bigint, 0) * interval '1 microsecond')
		ON CONFLICT (agent_id, key) WHERE session_id IS NULL DO UPDATE
		SET value = excluded.value, metadata = excluded.metadata, expires_at = excluded.expires_at,
			created_at = CASE WHEN m.expires_at <= excluded.created_at THEN excluded.created_at ELSE least(m.created_at, excluded.created_at) END
		RETURNING created_at, updated_at, expires_at`
	plainInsertMemoryAudit = `INSERT INTO audit_log (event_type, agent_id, metadata) VALUES ('memory_set', $1, $2)`
	plainGetMemory         = `SELECT value, metadata, created_at, updated_at, expires_at FROM agent_memory
		WHERE agent_id = $1 AND session_id IS NULL AND key = $2 AND (expires_at IS NULL OR expires_at > now())`
	plainListMemory = `SELECT key, length(value) AS size, created_at, updated_at, expires_at FROM agent_memory
		WHERE agent_id = $1 AND session_id IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY key LIMIT $2`
)

// keptCreatedAtOf is the time of creation of an entry that is set again: its own, unless it has expired.
func keptCreatedAtOf(table string) string {
	return "CASE WHEN " + table + ".expires_at <= excluded.created_at THEN excluded.created_at ELSE least(" + table + ".created_at, excluded.created_at) END"
}

func plainMessageArgs(m *store.Message) []any {
	return []any{m.SessionID, m.Sender, m.SenderType, m.Content, string(m.Visibility), string(m.MessageType), m.Metadata}
}

func plainMessagesArgs(sessionID string, messages []store.Message) []any {
	n := len(messages)
	senders, senderTypes, contents := make([]string, n), make([]string, n), make([]string, n)
	visibilities, messageTypes, metadata := make([]string, n), make([]string, n), make([]string, n)
	for i := range messages {
		m := &messages[i]
		senders[i], senderTypes[i], contents[i] = m.Sender, m.SenderType, m.Content
		visibilities[i], messageTypes[i], metadata[i] = string(m.Visibility), string(m.MessageType), string(m.Metadata)
	}
	return []any{sessionID, senders, senderTypes, contents, visibilities, messageTypes, metadata}
}

func plainMessageAuditsArgs(sessionID string, messages []store.Message) ([]any, error) {
	senders, metadata := make([]string, len(messages)), make([]string, len(messages))
	for i := range messages {
		object, err := messageAudit(&messages[i])
		if err != nil {
			return nil, err
		}
		senders[i], metadata[i] = messages[i].Sender, string(object)
	}
	return []any{sessionID, senders, metadata}, nil
}

// messageAudit is the metadata of the audit row of a message.
func messageAudit(m *store.Message) (json.RawMessage, error) {
	return json.Marshal(struct {
		MessageID  int64            `json:"message_id"`
		Visibility store.Visibility `json:"visibility"`
	}{m.ID, m.Visibility})
}

// memoryAudit is the metadata of the audit row of an entry of global memory.
func memoryAudit(key string) (json.RawMessage, error) {
	return json.Marshal(struct {
		Key   string `json:"key"`
		Scope string `json:"scope"`
	}{key, "global"})
}
