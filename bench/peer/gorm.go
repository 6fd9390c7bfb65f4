package peer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// newGorm sets what GORM's guide to performance recommends: no transaction around single statements. The driver caches
// prepared statements itself.
func newGorm(db *sql.DB) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{
		SkipDefaultTransaction: true, DisableAutomaticPing: true, Logger: logger.Discard,
	})
}

// gormScan passes statements with numbered parameters on as they are, as GORM only replaces question marks.
func gormScan(db *gorm.DB) func(ctx context.Context, dest any, sql string, args ...any) error {
	return func(ctx context.Context, dest any, sql string, args ...any) error {
		return db.WithContext(ctx).Raw(sql, args...).Scan(dest).Error
	}
}

type gormSession struct {
	ID        string
	Purpose   string
	CreatedAt time.Time
	UpdatedAt time.Time
	IsActive  bool
	CreatedBy string
	Metadata  json.RawMessage
	Messages  []gormMessage `gorm:"foreignKey:SessionID"`
}

func (gormSession) TableName() string { return "sessions" }

type gormMessage struct {
	ID              int64
	SessionID       string
	Sender          string
	SenderType      string
	Content         string
	Visibility      string
	MessageType     string
	Metadata        json.RawMessage
	Timestamp       time.Time `gorm:"default:now()"`
	ParentMessageID *int64
}

func (gormMessage) TableName() string { return "messages" }

func newGormMessage(m *store.Message, sessionID string) gormMessage {
	return gormMessage{
		SessionID: sessionID, Sender: m.Sender, SenderType: m.SenderType, Content: m.Content, Visibility: string(m.Visibility),
		MessageType: string(m.MessageType), Metadata: m.Metadata,
	}
}

func gormMessages(rows []gormMessage) []store.Message {
	messages := make([]store.Message, len(rows))
	for i := range rows {
		r := &rows[i]
		messages[i] = store.Message{
			ID: r.ID, SessionID: r.SessionID, Sender: r.Sender, SenderType: r.SenderType, Content: r.Content, Visibility: store.Visibility(r.Visibility),
			MessageType: store.MessageType(r.MessageType), Metadata: r.Metadata, Timestamp: r.Timestamp, ParentMessageID: r.ParentMessageID,
		}
	}
	return messages
}

type gormAgentMemory struct {
	ID        int64
	AgentID   string
	SessionID *string
	Key       string
	Value     string
	Metadata  json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
	ExpiresAt *time.Time
}

func (gormAgentMemory) TableName() string { return "agent_memory" }

type gormAuditLog struct {
	ID        int64
	Timestamp time.Time `gorm:"default:now()"`
	EventType string
	AgentID   string
	SessionID *string
	Metadata  json.RawMessage
}

func (gormAuditLog) TableName() string { return "audit_log" }

func newGormMessageAudit(m *store.Message) (gormAuditLog, error) {
	metadata, err := messageAudit(m)
	return gormAuditLog{EventType: "message_added", AgentID: m.Sender, SessionID: &m.SessionID, Metadata: metadata}, err
}

// gormOwn works on models.
type gormOwn struct{ db *gorm.DB }

// gormVisible narrows to the messages that a reader may see.
func gormVisible(reader store.Reader) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if reader.Admin {
			return db
		}
		return db.Where("visibility = 'public' OR visibility IN ('private', 'agent_only') AND sender = ? OR visibility = 'agent_only' AND sender_type = ?",
			reader.AgentID, reader.AgentType)
	}
}

func gormSessionExists(db *gorm.DB, sessionID string) error {
	err := db.Select("id").Take(&gormSession{}, "id = ?", sessionID).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = store.ErrSessionNotFound
	}
	return err
}

func (o gormOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	err := o.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := gormSessionExists(tx, message.SessionID); err != nil {
			return err
		}
		row := newGormMessage(&message, message.SessionID)
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		message.ID, message.Timestamp = row.ID, row.Timestamp
		audit, err := newGormMessageAudit(&message)
		if err != nil {
			return err
		}
		return tx.Create(&audit).Error
	})
	return message, err
}

func (o gormOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	rows := make([]gormMessage, len(messages))
	var added []store.Message
	err := o.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := gormSessionExists(tx, sessionID); err != nil {
			return err
		}
		for i := range messages {
			rows[i] = newGormMessage(&messages[i], sessionID)
		}
		if err := tx.Create(&rows).Error; err != nil {
			return err
		}
		added = gormMessages(rows)
		audits := make([]gormAuditLog, len(added))
		for i := range added {
			var err error
			if audits[i], err = newGormMessageAudit(&added[i]); err != nil {
				return err
			}
		}
		return tx.Create(&audits).Error
	})
	return added, err
}

func (o gormOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	db := o.db.WithContext(ctx)
	var total int64
	if err := db.Model(&gormMessage{}).Where("session_id = ?", sessionID).Scopes(gormVisible(reader)).Count(&total).Error; err != nil {
		return store.MessagePage{}, err
	}
	if total == 0 {
		return pageByOffset([]store.Message{}, offset, 0), gormSessionExists(db, sessionID)
	}
	rows := make([]gormMessage, 0, pageSize)
	err := db.Where("session_id = ?", sessionID).Scopes(gormVisible(reader)).Order("timestamp, id").Limit(pageSize).Offset(offset).Find(&rows).Error
	return pageByOffset(gormMessages(rows), offset, total), err
}

func (o gormOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	db := o.db.WithContext(ctx)
	rows := make([]gormMessage, 0, pageSize+1)
	err := db.Where("session_id = ?", sessionID).Where("(timestamp, id) > (?, ?)", after.Timestamp, after.ID).Scopes(gormVisible(reader)).
		Order("timestamp, id").Limit(pageSize + 1).Find(&rows).Error
	if err == nil && len(rows) == 0 {
		err = gormSessionExists(db, sessionID)
	}
	return pageAfter(gormMessages(rows), after), err
}

func (o gormOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var row gormSession
	err := o.db.WithContext(ctx).Preload("Messages", func(db *gorm.DB) *gorm.DB {
		return gormVisible(reader)(db).Order("timestamp DESC, id DESC").Limit(latestMessages)
	}).Take(&row, "id = ?", sessionID).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = store.ErrSessionNotFound
	}
	return store.SessionDetail{
		Session: store.Session{
			ID: row.ID, Purpose: row.Purpose, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, IsActive: row.IsActive, CreatedBy: row.CreatedBy,
			Metadata: row.Metadata,
		},
		Messages: gormMessages(row.Messages),
	}, err
}

// SetMemory takes the times from the clock of the program, as GORM does.
func (o gormOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	row := gormAgentMemory{AgentID: entry.AgentID, Key: entry.Key, Value: entry.Value, Metadata: entry.Metadata, CreatedAt: time.Now()}
	row.UpdatedAt = row.CreatedAt
	if ttl > 0 {
		expires := row.CreatedAt.Add(ttl)
		row.ExpiresAt = &expires
	}
	err := o.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{
			Columns:     []clause.Column{{Name: "agent_id"}, {Name: "key"}},
			TargetWhere: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "session_id IS NULL"}}},
			DoUpdates: append(clause.AssignmentColumns([]string{"value", "metadata", "expires_at"}),
				clause.Assignment{Column: clause.Column{Name: "created_at"}, Value: gorm.Expr(keptCreatedAtOf("agent_memory"))}),
		}, clause.Returning{}).Create(&row).Error; err != nil {
			return err
		}
		metadata, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		return tx.Create(&gormAuditLog{EventType: "memory_set", AgentID: entry.AgentID, Metadata: metadata}).Error
	})
	entry.CreatedAt, entry.UpdatedAt, entry.ExpiresAt = row.CreatedAt, row.UpdatedAt, row.ExpiresAt
	return entry, err
}

func gormLive(db *gorm.DB) *gorm.DB { return db.Where("expires_at IS NULL OR expires_at > now()") }

func (o gormOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	var row gormAgentMemory
	err := o.db.WithContext(ctx).Where("agent_id = ? AND session_id IS NULL AND key = ?", agentID, key).Scopes(gormLive).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = store.ErrMemoryNotFound
	}
	return store.MemoryEntry{
		AgentID: agentID, Key: key, Value: row.Value, Metadata: row.Metadata, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
	}, err
}

func (o gormOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	rows := make([]memoryInfoRow, 0, pageSize+1)
	err := o.db.WithContext(ctx).Model(&gormAgentMemory{}).Select("key, length(value) AS size, created_at, updated_at, expires_at").
		Where("agent_id = ? AND session_id IS NULL", agentID).Scopes(gormLive).Order("key").Limit(pageSize + 1).Find(&rows).Error
	return memoryPage(memoryInfos(agentID, rows)), err
}
