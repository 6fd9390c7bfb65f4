package peer

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// openBun has pgx send statements in the simple protocol, as bun's documentation says: bun writes the arguments into the
// text of each statement, so that a cache of prepared ones would never find any again.
func openBun(url string, connections int) (*bun.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return bun.NewDB(newSQL(config, connections), pgdialect.New()), nil
}

var numberedParameter = regexp.MustCompile(`\$([0-9]+)`)

// forBun returns the statements with parameters as bun numbers them, from ?0 on.
func (s statements) forBun() statements {
	for _, sql := range []*string{
		&s.addMessage, &s.addMessages, &s.getMessages, &s.getMessagesAfter, &s.getSession, &s.setMemory, &s.getMemory, &s.listMemory,
	} {
		*sql = numberedParameter.ReplaceAllStringFunc(*sql, func(parameter string) string {
			n, _ := strconv.Atoi(parameter[1:]) // digits, by the pattern
			return "?" + strconv.Itoa(n-1)
		})
	}
	return s
}

func bunScan(db *bun.DB) func(ctx context.Context, dest any, sql string, args ...any) error {
	return func(ctx context.Context, dest any, sql string, args ...any) error {
		for i, arg := range args {
			switch arg.(type) {
			case []string, []int64, []time.Time:
				args[i] = pgdialect.Array(arg)
			}
		}
		return db.NewRaw(sql, args...).Scan(ctx, dest)
	}
}

type bunSession struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID        string `bun:",pk"`
	Purpose   string
	CreatedAt time.Time
	UpdatedAt time.Time
	IsActive  bool
	CreatedBy string
	Metadata  json.RawMessage `bun:"type:jsonb"`
	Messages  []*bunMessage   `bun:"rel:has-many,join:id=session_id"`
}

type bunMessage struct {
	bun.BaseModel `bun:"table:messages,alias:m"`

	ID              int64 `bun:",pk,autoincrement"`
	SessionID       string
	Sender          string
	SenderType      string
	Content         string
	Visibility      string
	MessageType     string
	Metadata        json.RawMessage `bun:"type:jsonb,nullzero"`
	Timestamp       time.Time       `bun:",nullzero,default:now()"`
	ParentMessageID *int64
}

func newBunMessage(m *store.Message, sessionID string) *bunMessage {
	return &bunMessage{
		SessionID: sessionID, Sender: m.Sender, SenderType: m.SenderType, Content: m.Content, Visibility: string(m.Visibility),
		MessageType: string(m.MessageType), Metadata: m.Metadata,
	}
}

func bunMessages(rows []*bunMessage) []store.Message {
	messages := make([]store.Message, len(rows))
	for i, r := range rows {
		messages[i] = store.Message{
			ID: r.ID, SessionID: r.SessionID, Sender: r.Sender, SenderType: r.SenderType, Content: r.Content, Visibility: store.Visibility(r.Visibility),
			MessageType: store.MessageType(r.MessageType), Metadata: r.Metadata, Timestamp: r.Timestamp, ParentMessageID: r.ParentMessageID,
		}
	}
	return messages
}

type bunAgentMemory struct {
	bun.BaseModel `bun:"table:agent_memory,alias:am"`

	ID        int64 `bun:",pk,autoincrement"`
	AgentID   string
	SessionID *string
	Key       string
	Value     string
	Metadata  json.RawMessage `bun:"type:jsonb,nullzero"`
	CreatedAt time.Time       `bun:",nullzero,default:now()"`
	UpdatedAt time.Time       `bun:",nullzero,default:now()"`
	ExpiresAt *time.Time
}

type bunAuditLog struct {
	bun.BaseModel `bun:"table:audit_log,alias:al"`

	ID        int64     `bun:",pk,autoincrement"`
	Timestamp time.Time `bun:",nullzero,default:now()"`
	EventType string
	AgentID   string
	SessionID *string
	Metadata  json.RawMessage `bun:"type:jsonb"`
}

func newBunMessageAudit(m *store.Message) (*bunAuditLog, error) {
	metadata, err := messageAudit(m)
	return &bunAuditLog{EventType: "message_added", AgentID: m.Sender, SessionID: &m.SessionID, Metadata: metadata}, err
}

// bunOwn works on models.
type bunOwn struct{ db *bun.DB }

// bunVisible narrows to the messages that a reader may see.
func bunVisible(reader store.Reader) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		if reader.Admin {
			return q
		}
		return q.Where("m.visibility = 'public' OR m.visibility IN ('private', 'agent_only') AND m.sender = ? OR m.visibility = 'agent_only' AND m.sender_type = ?",
			reader.AgentID, reader.AgentType)
	}
}

func bunSessionExists(ctx context.Context, db bun.IDB, sessionID string) error {
	exists, err := db.NewSelect().Model((*bunSession)(nil)).Where("s.id = ?", sessionID).Exists(ctx)
	if err == nil && !exists {
		err = store.ErrSessionNotFound
	}
	return err
}

func (o bunOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	err := o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := bunSessionExists(ctx, tx, message.SessionID); err != nil {
			return err
		}
		row := newBunMessage(&message, message.SessionID)
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		message.ID, message.Timestamp = row.ID, row.Timestamp
		audit, err := newBunMessageAudit(&message)
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(audit).Exec(ctx)
		return err
	})
	return message, err
}

func (o bunOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	rows := make([]*bunMessage, len(messages))
	var added []store.Message
	err := o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := bunSessionExists(ctx, tx, sessionID); err != nil {
			return err
		}
		for i := range messages {
			rows[i] = newBunMessage(&messages[i], sessionID)
		}
		if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return err
		}
		added = bunMessages(rows)
		audits := make([]*bunAuditLog, len(added))
		for i := range added {
			var err error
			if audits[i], err = newBunMessageAudit(&added[i]); err != nil {
				return err
			}
		}
		_, err := tx.NewInsert().Model(&audits).Exec(ctx)
		return err
	})
	return added, err
}

func (o bunOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	rows := make([]*bunMessage, 0, pageSize)
	total, err := o.db.NewSelect().Model(&rows).Where("m.session_id = ?", sessionID).Apply(bunVisible(reader)).
		Order("m.timestamp", "m.id").Limit(pageSize).Offset(int64(offset)).ScanAndCount(ctx)
	if err == nil && total == 0 {
		err = bunSessionExists(ctx, o.db, sessionID)
	}
	return pageByOffset(bunMessages(rows), offset, total), err
}

func (o bunOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	rows := make([]*bunMessage, 0, pageSize+1)
	err := o.db.NewSelect().Model(&rows).Where("m.session_id = ?", sessionID).Where("(m.timestamp, m.id) > (?, ?)", after.Timestamp, after.ID).
		Apply(bunVisible(reader)).Order("m.timestamp", "m.id").Limit(pageSize + 1).Scan(ctx)
	if err == nil && len(rows) == 0 {
		err = bunSessionExists(ctx, o.db, sessionID)
	}
	return pageAfter(bunMessages(rows), after), err
}

func (o bunOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var row bunSession
	err := o.db.NewSelect().Model(&row).Relation("Messages", func(q *bun.SelectQuery) *bun.SelectQuery {
		return bunVisible(reader)(q).Order("m.timestamp DESC", "m.id DESC").Limit(latestMessages)
	}).Where("s.id = ?", sessionID).Scan(ctx)
	return store.SessionDetail{
		Session: store.Session{
			ID: row.ID, Purpose: row.Purpose, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, IsActive: row.IsActive, CreatedBy: row.CreatedBy,
			Metadata: row.Metadata,
		},
		Messages: bunMessages(row.Messages),
	}, foundSession(err)
}

func (o bunOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	row := bunAgentMemory{AgentID: entry.AgentID, Key: entry.Key, Value: entry.Value, Metadata: entry.Metadata}
	err := o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		insert := tx.NewInsert().Model(&row).On("CONFLICT (agent_id, key) WHERE session_id IS NULL DO UPDATE").
			Set("value = excluded.value, metadata = excluded.metadata, expires_at = excluded.expires_at").
			Set("created_at = ?", bun.Safe(keptCreatedAtOf("am"))).
			Returning("created_at, updated_at, expires_at")
		if ttl > 0 {
			insert.Value("expires_at", "now() + ? * interval '1 microsecond'", ttl.Microseconds())
		}
		if _, err := insert.Exec(ctx); err != nil {
			return err
		}
		metadata, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(&bunAuditLog{EventType: "memory_set", AgentID: entry.AgentID, Metadata: metadata}).Exec(ctx)
		return err
	})
	entry.CreatedAt, entry.UpdatedAt, entry.ExpiresAt = row.CreatedAt, row.UpdatedAt, row.ExpiresAt
	return entry, err
}

func (o bunOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	var row bunAgentMemory
	err := o.db.NewSelect().Model(&row).Where("am.agent_id = ? AND am.session_id IS NULL AND am.key = ?", agentID, key).
		Where("am.expires_at IS NULL OR am.expires_at > now()").Scan(ctx)
	return store.MemoryEntry{
		AgentID: agentID, Key: key, Value: row.Value, Metadata: row.Metadata, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
	}, foundMemory(err)
}

func (o bunOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows := make([]memoryInfoRow, 0, pageSize+1)
	err := o.db.NewSelect().Model((*bunAgentMemory)(nil)).Column("key").ColumnExpr("length(am.value) AS size").
		Column("created_at", "updated_at", "expires_at").Where("am.agent_id = ? AND am.session_id IS NULL", agentID).
		Where("am.expires_at IS NULL OR am.expires_at > now()").Order("am.key").Limit(pageSize+1).Scan(ctx, &rows)
	return memoryPage(memoryInfos(agentID, rows)), err
}
