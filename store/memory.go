package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// MemoryEntry is what an agent keeps under a key, either for itself everywhere (global memory) or in one session. Each
// agent has its own memory: no other reads or changes it.
type MemoryEntry struct {
	AgentID   string          `json:"agent_id"`
	SessionID string          `json:"session_id,omitempty"` // empty for global memory
	Key       string          `json:"key"`
	Value     string          `json:"value"`
	Metadata  json.RawMessage `json:"metadata,omitempty"` // a JSON object, nil when there is none
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty"` // nil means never
}

// SetMemoryParams are the arguments of [Manager.SetMemory].
type SetMemoryParams struct {
	// AgentID is the agent whose memory it is. Required.
	AgentID string
	// SessionID is the session to which the entry belongs and with which it is deleted; empty means global memory.
	SessionID string
	// Key names the entry: 1 to 255 characters without white space, after control characters and outer white space are
	// removed. Required.
	Key string
	// Value is the text to keep, 1 to 100,000 characters, not only white space. It comes back byte for byte; one with a
	// NUL character or with invalid UTF-8, which PostgreSQL cannot store, is refused. Required.
	Value string
	// Metadata is nil or anything that marshals to a JSON object of at most 50 keys and 10,000 characters.
	Metadata any
	// TTL is how long the entry lives from now on, at most 365 days, in microseconds, rounded up; 0 means forever.
	TTL time.Duration
	// KeepExisting refuses the call with ErrMemoryKeyExists where the key has a live entry. Without it the value, the
	// metadata and the TTL of the entry are replaced, as by default in the first generation.
	KeepExisting bool
	// Now is the time of the call; nil means the database's clock.
	Now *time.Time
}

// SetMemory sets an entry of an agent's memory and returns it as stored; its audit row memory_set is written with it.
// Calls at the same time never fail for that, and leave one entry. An entry that has expired counts as gone: setting it
// again makes a new one, with a CreatedAt of its own. UpdatedAt of an entry that is replaced is always the database's
// clock. An unknown session is [ErrSessionNotFound], a live key together with KeepExisting is [ErrMemoryKeyExists].
//
// In a transaction the database's clock stands at the start of that transaction.
func (m *Manager) SetMemory(ctx context.Context, params SetMemoryParams) (MemoryEntry, error) {
	key, err := memoryKeyInput(params.AgentID, params.SessionID, params.Key)
	if err != nil {
		return MemoryEntry{}, err
	}
	if err := valueInput(params.Value); err != nil {
		return MemoryEntry{}, err
	}
	metadata, err := metadataInput(params.Metadata)
	if err != nil {
		return MemoryEntry{}, err
	}
	ttl, err := ttlInput("ttl", params.TTL)
	if err != nil {
		return MemoryEntry{}, err
	}
	now, err := nowInput(params.Now, ttl)
	if err != nil {
		return MemoryEntry{}, err
	}
	row, err := query(ctx, m, "set memory", func(db gen.DBTX) (gen.MemorySetSessionRow, error) {
		row := gen.MemorySetSessionRow{SessionFound: true}
		var err error
		if params.SessionID == "" {
			var global gen.MemorySetGlobalRow
			global, err = queries.MemorySetGlobal(ctx, db, gen.MemorySetGlobalParams{
				AgentID: params.AgentID, Key: key, Value: params.Value, Metadata: metadata, TtlMicroseconds: ttl.Microseconds(),
				Now: now, Overwrite: !params.KeepExisting,
			})
			row.ID, row.CreatedAt, row.UpdatedAt, row.ExpiresAt = global.ID, global.CreatedAt, global.UpdatedAt, global.ExpiresAt
		} else {
			row, err = queries.MemorySetSession(ctx, db, gen.MemorySetSessionParams{
				SessionID: params.SessionID, AgentID: params.AgentID, Key: key, Value: params.Value, Metadata: metadata,
				TtlMicroseconds: ttl.Microseconds(), Now: now, Overwrite: !params.KeepExisting,
			})
		}
		switch {
		case err != nil:
		case !row.SessionFound:
			err = ErrSessionNotFound
		case row.ID == 0:
			err = ErrMemoryKeyExists
		}
		return row, err
	})
	m.announce(ctx, memoryTopic(params.AgentID, params.SessionID), err)
	if err != nil {
		return MemoryEntry{}, err
	}
	return MemoryEntry{
		AgentID: params.AgentID, SessionID: params.SessionID, Key: key, Value: params.Value, Metadata: metadata,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
	}, nil
}

// GetMemoryParams are the arguments of [Manager.GetMemory].
type GetMemoryParams struct {
	// AgentID is the agent whose memory it is. Required.
	AgentID string
	// SessionID is the session to which the entry belongs; empty means global memory.
	SessionID string
	// Key names the entry, cleaned as in [SetMemoryParams]. Required.
	Key string
	// Now is the time at which the entry must be live; nil means the database's clock.
	Now *time.Time
}

// GetMemory returns an entry of an agent's memory. One that was never set or has expired is [ErrMemoryNotFound], and so
// is every entry of a session that does not exist. Global memory does not stand in for that of a session.
func (m *Manager) GetMemory(ctx context.Context, params GetMemoryParams) (MemoryEntry, error) {
	key, err := memoryKeyInput(params.AgentID, params.SessionID, params.Key)
	if err != nil {
		return MemoryEntry{}, err
	}
	now, err := nowInput(params.Now, 0)
	if err != nil {
		return MemoryEntry{}, err
	}
	row, err := repeatable(ctx, m, "get memory", func(db gen.DBTX) (gen.MemoryGetSessionRow, error) {
		var row gen.MemoryGetSessionRow
		var err error
		if params.SessionID == "" {
			var global gen.MemoryGetGlobalRow
			global, err = queries.MemoryGetGlobal(ctx, db, gen.MemoryGetGlobalParams{AgentID: params.AgentID, Key: key, Now: now})
			row = gen.MemoryGetSessionRow(global)
		} else {
			row, err = queries.MemoryGetSession(ctx, db, gen.MemoryGetSessionParams{
				AgentID: params.AgentID, SessionID: params.SessionID, Key: key, Now: now,
			})
		}
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrMemoryNotFound
		}
		return row, err
	})
	if err != nil {
		return MemoryEntry{}, err
	}
	return MemoryEntry{
		AgentID: params.AgentID, SessionID: params.SessionID, Key: key, Value: row.Value, Metadata: row.Metadata,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, ExpiresAt: row.ExpiresAt,
	}, nil
}

// DeleteMemoryParams are the arguments of [Manager.DeleteMemory].
type DeleteMemoryParams struct {
	// AgentID is the agent whose memory it is. Required.
	AgentID string
	// SessionID is the session to which the entry belongs; empty means global memory.
	SessionID string
	// Key names the entry, cleaned as in [SetMemoryParams]. Required.
	Key string
	// Now is the time at which the entry must be live; nil means the database's clock.
	Now *time.Time
}

// DeleteMemory deletes an entry of an agent's memory, with its audit row memory_deleted. One that was never set or has
// expired is [ErrMemoryNotFound], and so is every entry of a session that does not exist; one that has expired is
// removed all the same, without an audit row.
func (m *Manager) DeleteMemory(ctx context.Context, params DeleteMemoryParams) error {
	key, err := memoryKeyInput(params.AgentID, params.SessionID, params.Key)
	if err != nil {
		return err
	}
	now, err := nowInput(params.Now, 0)
	if err != nil {
		return err
	}
	_, err = query(ctx, m, "delete memory", func(db gen.DBTX) (bool, error) {
		var expired bool
		var err error
		if params.SessionID == "" {
			expired, err = queries.MemoryDeleteGlobal(ctx, db, gen.MemoryDeleteGlobalParams{AgentID: params.AgentID, Key: key, Now: now})
		} else {
			expired, err = queries.MemoryDeleteSession(ctx, db, gen.MemoryDeleteSessionParams{
				SessionID: params.SessionID, AgentID: params.AgentID, Key: key, Now: now,
			})
		}
		if errors.Is(err, pgx.ErrNoRows) || err == nil && expired {
			err = ErrMemoryNotFound
		}
		return expired, err
	})
	return err
}

// memoryKeyInput checks what names an entry, and returns the key as it is stored. No session means global memory.
func memoryKeyInput(agentID, sessionID, key string) (string, error) {
	if err := memoryScopeInput(agentID, sessionID); err != nil {
		return "", err
	}
	return keyInput("key", key)
}

func memoryScopeInput(agentID, sessionID string) error {
	if err := agentIDInput("agent_id", agentID); err != nil {
		return err
	}
	if sessionID == "" {
		return nil
	}
	return sessionIDInput(sessionID)
}

// nowInput accepts the times that timestampInput does, as long as the time to live that begins then ends in them too.
func nowInput(now *time.Time, ttl time.Duration) (*time.Time, error) {
	if now == nil {
		return nil, nil
	}
	checked, err := timestampInput("now", *now)
	if err != nil || checked == nil {
		return nil, err
	}
	_, err = timestampInput("now", checked.Add(ttl))
	return checked, err
}
