package peer

import (
	"context"
	stdsql "database/sql"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"github.com/sharedcontext/sharedcontext/v2/bench/ent/gen"
	"github.com/sharedcontext/sharedcontext/v2/bench/ent/gen/agentmemory"
	"github.com/sharedcontext/sharedcontext/v2/bench/ent/gen/message"
	"github.com/sharedcontext/sharedcontext/v2/bench/ent/gen/predicate"
	"github.com/sharedcontext/sharedcontext/v2/bench/ent/gen/session"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

func newEnt(db *stdsql.DB) *gen.Client {
	return gen.NewClient(gen.Driver(sql.OpenDB(dialect.Postgres, db)))
}

func entScan(client *gen.Client) func(ctx context.Context, dest any, query string, args ...any) error {
	return func(ctx context.Context, dest any, query string, args ...any) error {
		rows, err := client.QueryContext(ctx, query, args...) //nolint:rowserrcheck // ScanSlice does
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		return sql.ScanSlice(rows, dest)
	}
}

// entOwn works on the generated builders. ent does not return what a column's default has become, so that it writes the
// times of messages and audit rows from the clock of the program.
type entOwn struct{ client *gen.Client }

// entTx runs fn in a transaction.
func entTx(ctx context.Context, client *gen.Client, fn func(tx *gen.Tx) error) error {
	tx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// entNow is the time as the database keeps it.
func entNow() time.Time { return time.Now().Truncate(time.Microsecond) }

// entVisible narrows to the messages that a reader may see.
func entVisible(reader store.Reader) predicate.Message {
	if reader.Admin {
		return func(*sql.Selector) {}
	}
	return message.Or(
		message.Visibility("public"),
		message.And(message.VisibilityIn("private", "agent_only"), message.Sender(reader.AgentID)),
		message.And(message.Visibility("agent_only"), message.SenderType(reader.AgentType)),
	)
}

func entSessionExists(ctx context.Context, sessions *gen.SessionClient, sessionID string) error {
	exists, err := sessions.Query().Where(session.ID(sessionID)).Exist(ctx)
	if err == nil && !exists {
		err = store.ErrSessionNotFound
	}
	return err
}

func entMessages(rows []*gen.Message) []store.Message {
	messages := make([]store.Message, len(rows))
	for i, r := range rows {
		messages[i] = store.Message{
			ID: r.ID, SessionID: r.SessionID, Sender: r.Sender, SenderType: r.SenderType, Content: r.Content, Visibility: store.Visibility(r.Visibility),
			MessageType: store.MessageType(r.MessageType), Metadata: r.Metadata, Timestamp: r.Timestamp, ParentMessageID: r.ParentMessageID,
		}
	}
	return messages
}

// entNewMessage fills in a builder.
func entNewMessage(create *gen.MessageCreate, m *store.Message, sessionID string, now time.Time) *gen.MessageCreate {
	create.SetSessionID(sessionID).SetSender(m.Sender).SetSenderType(m.SenderType).SetContent(m.Content).
		SetVisibility(string(m.Visibility)).SetMessageType(string(m.MessageType)).SetTimestamp(now)
	if m.Metadata != nil {
		create.SetMetadata(m.Metadata)
	}
	return create
}

// entNewMessageAudit fills in the builder of its audit row.
func entNewMessageAudit(create *gen.AuditLogCreate, m *store.Message, now time.Time) (*gen.AuditLogCreate, error) {
	metadata, err := messageAudit(m)
	return create.SetEventType("message_added").SetAgentID(m.Sender).SetSessionID(m.SessionID).SetMetadata(metadata).SetTimestamp(now), err
}

func (o entOwn) AddMessage(ctx context.Context, m store.Message) (store.Message, error) {
	err := entTx(ctx, o.client, func(tx *gen.Tx) error {
		if err := entSessionExists(ctx, tx.Session, m.SessionID); err != nil {
			return err
		}
		now := entNow()
		row, err := entNewMessage(tx.Message.Create(), &m, m.SessionID, now).Save(ctx)
		if err != nil {
			return err
		}
		m.ID, m.Timestamp = row.ID, row.Timestamp
		audit, err := entNewMessageAudit(tx.AuditLog.Create(), &m, now)
		if err != nil {
			return err
		}
		return audit.Exec(ctx)
	})
	return m, err
}

func (o entOwn) AddMessages(ctx context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	var added []store.Message
	err := entTx(ctx, o.client, func(tx *gen.Tx) error {
		if err := entSessionExists(ctx, tx.Session, sessionID); err != nil {
			return err
		}
		now := entNow()
		rows, err := tx.Message.MapCreateBulk(messages, func(create *gen.MessageCreate, i int) {
			entNewMessage(create, &messages[i], sessionID, now)
		}).Save(ctx)
		if err != nil {
			return err
		}
		added = entMessages(rows)
		audits := make([]*gen.AuditLogCreate, len(added))
		for i := range added {
			if audits[i], err = entNewMessageAudit(tx.AuditLog.Create(), &added[i], now); err != nil {
				return err
			}
		}
		return tx.AuditLog.CreateBulk(audits...).Exec(ctx)
	})
	return added, err
}

func (o entOwn) GetMessages(ctx context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	visible := o.client.Message.Query().Where(message.SessionID(sessionID), entVisible(reader))
	total, err := visible.Clone().Count(ctx)
	if err != nil {
		return store.MessagePage{}, err
	}
	if total == 0 {
		return pageByOffset([]store.Message{}, offset, 0), entSessionExists(ctx, o.client.Session, sessionID)
	}
	rows, err := visible.Order(message.ByTimestamp(), message.ByID()).Limit(pageSize).Offset(offset).All(ctx)
	return pageByOffset(entMessages(rows), offset, int64(total)), err
}

func (o entOwn) GetMessagesAfter(ctx context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	behind := func(s *sql.Selector) {
		s.Where(sql.CompositeGT([]string{s.C(message.FieldTimestamp), s.C(message.FieldID)}, after.Timestamp, after.ID))
	}
	rows, err := o.client.Message.Query().Where(message.SessionID(sessionID), behind, entVisible(reader)).
		Order(message.ByTimestamp(), message.ByID()).Limit(pageSize + 1).All(ctx)
	if err == nil && len(rows) == 0 {
		err = entSessionExists(ctx, o.client.Session, sessionID)
	}
	return pageAfter(entMessages(rows), after), err
}

func (o entOwn) GetSession(ctx context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	row, err := o.client.Session.Query().Where(session.ID(sessionID)).WithMessages(func(q *gen.MessageQuery) {
		q.Where(entVisible(reader)).Order(message.ByTimestamp(sql.OrderDesc()), message.ByID(sql.OrderDesc())).Limit(latestMessages)
	}).Only(ctx)
	if err != nil {
		if gen.IsNotFound(err) {
			err = store.ErrSessionNotFound
		}
		return store.SessionDetail{}, err
	}
	return store.SessionDetail{
		Session: store.Session{
			ID: row.ID, Purpose: row.Purpose, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, IsActive: row.IsActive, CreatedBy: row.CreatedBy,
			Metadata: row.Metadata,
		},
		Messages: entMessages(row.Edges.Messages),
	}, nil
}

// SetMemory reads the entry again, as of an upsert ent returns the id only.
func (o entOwn) SetMemory(ctx context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	err := entTx(ctx, o.client, func(tx *gen.Tx) error {
		now := entNow()
		create := tx.AgentMemory.Create().SetAgentID(entry.AgentID).SetKey(entry.Key).SetValue(entry.Value).SetCreatedAt(now).SetUpdatedAt(now)
		if entry.Metadata != nil {
			create.SetMetadata(entry.Metadata)
		}
		if ttl > 0 {
			create.SetExpiresAt(now.Add(ttl))
		}
		id, err := create.OnConflict(
			sql.ConflictColumns(agentmemory.FieldAgentID, agentmemory.FieldKey),
			sql.ConflictWhere(sql.IsNull(agentmemory.FieldSessionID)),
			sql.ResolveWith(func(u *sql.UpdateSet) {
				u.SetExcluded(agentmemory.FieldValue).SetExcluded(agentmemory.FieldMetadata).SetExcluded(agentmemory.FieldExpiresAt).
					Set(agentmemory.FieldCreatedAt, sql.Expr(keptCreatedAtOf(agentmemory.Table)))
			}),
		).ID(ctx)
		if err != nil {
			return err
		}
		row, err := tx.AgentMemory.Get(ctx, id)
		if err != nil {
			return err
		}
		entry.CreatedAt, entry.UpdatedAt, entry.ExpiresAt = row.CreatedAt, row.UpdatedAt, row.ExpiresAt
		metadata, err := memoryAudit(entry.Key)
		if err != nil {
			return err
		}
		return tx.AuditLog.Create().SetEventType("memory_set").SetAgentID(entry.AgentID).SetMetadata(metadata).SetTimestamp(now).Exec(ctx)
	})
	return entry, err
}

// entLive narrows to entries that have not expired by the clock of the database.
func entLive(s *sql.Selector) {
	s.Where(sql.Or(sql.IsNull(s.C(agentmemory.FieldExpiresAt)), sql.ExprP(s.C(agentmemory.FieldExpiresAt)+" > now()")))
}

func (o entOwn) GetMemory(ctx context.Context, agentID, key string) (store.MemoryEntry, error) {
	row, err := o.client.AgentMemory.Query().
		Where(agentmemory.AgentID(agentID), agentmemory.SessionIDIsNil(), agentmemory.Key(key), entLive).Only(ctx)
	if err != nil {
		if gen.IsNotFound(err) {
			err = store.ErrMemoryNotFound
		}
		return store.MemoryEntry{}, err
	}
	return store.MemoryEntry{
		AgentID: agentID, Key: key, Value: row.Value, Metadata: row.Metadata, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
	}, nil
}

func (o entOwn) ListMemory(ctx context.Context, agentID string) (store.MemoryPage, error) {
	var rows []memoryInfoRow
	size := func(s *sql.Selector) string { return sql.As("length("+s.C(agentmemory.FieldValue)+")", "size") }
	err := o.client.AgentMemory.Query().Where(agentmemory.AgentID(agentID), agentmemory.SessionIDIsNil(), entLive).
		Order(agentmemory.ByKey()).Limit(pageSize+1).
		Select(agentmemory.FieldKey, agentmemory.FieldCreatedAt, agentmemory.FieldUpdatedAt, agentmemory.FieldExpiresAt).
		Aggregate(size).Scan(ctx, &rows)
	return memoryPage(memoryInfos(agentID, rows)), err
}
