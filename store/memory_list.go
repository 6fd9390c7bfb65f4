package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	defaultMemoryPage = 50
	maxMemoryPage     = 200
)

// MemoryScope says which part of an agent's memory a list shows.
type MemoryScope string

// The scopes of a list of memory.
const (
	MemoryScopeAll     MemoryScope = "all"     // global memory, then that of every session; the default
	MemoryScopeGlobal  MemoryScope = "global"  // only global memory
	MemoryScopeSession MemoryScope = "session" // only the memory in one session
)

// MemoryInfo is an entry of memory in a list: all but its value and metadata.
type MemoryInfo struct {
	AgentID   string     `json:"agent_id"`
	SessionID string     `json:"session_id,omitempty"` // empty for global memory
	Key       string     `json:"key"`
	Size      int        `json:"size"` // length of the value in characters
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // nil means never
}

// MemoryCursor is a place in the list of an agent's memory: it continues behind the entry that it names.
type MemoryCursor struct {
	SessionID string `json:"session_id,omitempty"`
	Key       string `json:"key"`
}

// ListMemoryParams are the arguments of [Manager.ListMemory].
type ListMemoryParams struct {
	// AgentID is the agent whose memory it is. Required.
	AgentID string
	// Scope is the part of the memory to list; empty means all.
	Scope MemoryScope
	// SessionID is the session of MemoryScopeSession, where it is required; it is refused with the other scopes.
	SessionID string
	// Prefix narrows to the keys that begin with it, character by character: %, _ and \ are nothing special. It is
	// cleaned as a key is; empty means every key.
	Prefix string
	// Limit is the size of the page, 1 to 200; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *MemoryCursor
	// Now is the time at which the entries must be live; nil means the database's clock.
	Now *time.Time
}

// MemoryPage is a page of the list of an agent's memory.
type MemoryPage struct {
	Entries []MemoryInfo  `json:"entries"`
	HasMore bool          `json:"has_more"`
	Next    *MemoryCursor `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListMemory returns the live entries of an agent's memory without their values: global memory first, then session by
// session, by key in the order of the database's collation. An entry that lives while all pages are read is in exactly
// one of them, however often it is set meanwhile. A session that does not exist has no entries.
func (m *Manager) ListMemory(ctx context.Context, params ListMemoryParams) (MemoryPage, error) {
	limit, err := params.clean()
	if err != nil {
		return MemoryPage{}, err
	}
	var after MemoryCursor
	if params.After != nil {
		after = *params.After
	}
	rows, err := repeatable(ctx, m, "list memory", func(db gen.DBTX) ([]MemoryInfo, error) {
		switch params.Scope {
		case MemoryScopeGlobal:
			rows, err := queries.MemoryListGlobal(ctx, db, gen.MemoryListGlobalParams{
				AgentID: params.AgentID, AfterKey: after.Key, Prefix: params.Prefix, Now: params.Now, MaxRows: limit + 1,
			})
			return convert(rows, func(row gen.MemoryListGlobalRow) MemoryInfo {
				return MemoryInfo{params.AgentID, "", row.Key, int(row.Size), row.CreatedAt, row.UpdatedAt, row.ExpiresAt}
			}), err
		case MemoryScopeSession:
			rows, err := queries.MemoryListSession(ctx, db, gen.MemoryListSessionParams{
				AgentID: params.AgentID, SessionID: params.SessionID, AfterKey: after.Key, Prefix: params.Prefix, Now: params.Now,
				MaxRows: limit + 1,
			})
			return convert(rows, func(row gen.MemoryListSessionRow) MemoryInfo {
				return MemoryInfo{params.AgentID, params.SessionID, row.Key, int(row.Size), row.CreatedAt, row.UpdatedAt, row.ExpiresAt}
			}), err
		default:
			rows, err := queries.MemoryListAgent(ctx, db, gen.MemoryListAgentParams{
				AgentID: params.AgentID, AfterSessionID: after.SessionID, AfterKey: after.Key, Prefix: params.Prefix, Now: params.Now,
				MaxRows: limit + 1,
			})
			return convert(rows, func(row gen.MemoryListAgentRow) MemoryInfo {
				return MemoryInfo{params.AgentID, row.SessionID, row.Key, int(row.Size), row.CreatedAt, row.UpdatedAt, row.ExpiresAt}
			}), err
		}
	})
	if err != nil {
		return MemoryPage{}, err
	}
	page := MemoryPage{Entries: rows, HasMore: len(rows) > int(limit)}
	if page.HasMore {
		page.Entries = rows[:limit]
		last := page.Entries[limit-1]
		page.Next = &MemoryCursor{SessionID: last.SessionID, Key: last.Key}
	}
	return page, nil
}

// clean checks the arguments of a list, puts them into the form that the statements take, and returns the limit.
func (p *ListMemoryParams) clean() (int32, error) {
	if err := memoryScopeInput(p.AgentID, p.SessionID); err != nil {
		return 0, err
	}
	switch p.Scope {
	case MemoryScopeSession:
		if err := sessionIDInput(p.SessionID); err != nil {
			return 0, err
		}
	case "", MemoryScopeAll, MemoryScopeGlobal:
		if p.SessionID != "" {
			return 0, &ValidationError{Field: "session_id", Rule: "enum", Limit: "empty unless the scope is session", Got: "a session"}
		}
	default:
		return 0, &ValidationError{Field: "scope", Rule: "enum", Limit: "one of all, global, session", Got: "an unknown scope"}
	}
	var err error
	if p.Prefix != "" {
		if p.Prefix, err = keyInput("prefix", p.Prefix); err != nil {
			return 0, err
		}
	}
	if p.After != nil { // rows of the first generation may hold keys that break the rules for new ones
		if err := storableInput("after", p.After.SessionID); err != nil {
			return 0, err
		}
		if err := storableInput("after", p.After.Key); err != nil {
			return 0, err
		}
	}
	if p.Now, err = nowInput(p.Now, 0); err != nil {
		return 0, err
	}
	return limitInput(p.Limit, defaultMemoryPage, maxMemoryPage)
}

// MemoryUpdateCursor is a place in the list of all memory: it continues behind the entry that it names.
type MemoryUpdateCursor struct {
	UpdatedAt time.Time `json:"updated_at"`
	ID        int64     `json:"id"`
}

// ListAllMemoryParams are the arguments of [Manager.ListAllMemory].
type ListAllMemoryParams struct {
	// Reader is who asks; it must be an admin. Required.
	Reader Reader
	// Limit is the size of the page, 1 to 200; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *MemoryUpdateCursor
	// Now is the time at which the entries must be live; nil means the database's clock.
	Now *time.Time
}

// AllMemoryPage is a page of the list of all memory.
type AllMemoryPage struct {
	Entries []MemoryInfo        `json:"entries"`
	HasMore bool                `json:"has_more"`
	Next    *MemoryUpdateCursor `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListAllMemory returns the live entries of all agents, for dashboards, without their values, the latest updated first.
// An entry that is set between two pages moves to the front: it may then be missing from the later page, never be in it
// twice. A reader who is no admin gets [ErrPermission].
func (m *Manager) ListAllMemory(ctx context.Context, params ListAllMemoryParams) (AllMemoryPage, error) {
	const operation = "list all memory"
	if err := params.Reader.mustBeAdmin(operation); err != nil {
		return AllMemoryPage{}, err
	}
	limit, err := limitInput(params.Limit, defaultMemoryPage, maxMemoryPage)
	if err != nil {
		return AllMemoryPage{}, err
	}
	now, err := nowInput(params.Now, 0)
	if err != nil {
		return AllMemoryPage{}, err
	}
	after := MemoryUpdateCursor{UpdatedAt: time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC), ID: math.MaxInt64}
	if params.After != nil {
		if _, err := timestampInput("after", params.After.UpdatedAt); err != nil {
			return AllMemoryPage{}, err
		}
		after = *params.After
	}
	rows, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]gen.MemoryListLatestRow, error) {
		return queries.MemoryListLatest(ctx, db, gen.MemoryListLatestParams{
			BeforeUpdatedAt: after.UpdatedAt, BeforeID: after.ID, Now: now, MaxRows: limit + 1,
		})
	})
	if err != nil {
		return AllMemoryPage{}, err
	}
	page := AllMemoryPage{HasMore: len(rows) > int(limit)}
	if page.HasMore {
		rows = rows[:limit]
		last := &rows[limit-1]
		page.Next = &MemoryUpdateCursor{UpdatedAt: last.UpdatedAt, ID: last.ID}
	}
	page.Entries = convert(rows, func(row gen.MemoryListLatestRow) MemoryInfo {
		return MemoryInfo{row.AgentID, row.SessionID, row.Key, int(row.Size), row.CreatedAt, row.UpdatedAt, row.ExpiresAt}
	})
	return page, nil
}

// MemoryCounts says how many live entries of memory there are.
type MemoryCounts struct {
	Total    int64 `json:"total"`
	Global   int64 `json:"global"`   // of these, in global memory
	Session  int64 `json:"session"`  // of these, in sessions
	Expiring int64 `json:"expiring"` // of these, with a time to live
	Agents   int64 `json:"agents"`   // agents that have any
}

// CountMemoryParams are the arguments of [Manager.CountMemory].
type CountMemoryParams struct {
	// Reader is who asks; it must be an admin. Required.
	Reader Reader
	// Now is the time at which the entries must be live; nil means the database's clock.
	Now *time.Time
}

// CountMemory counts the live entries of all agents, for dashboards. It reads the whole memory. A reader who is no admin
// gets [ErrPermission].
func (m *Manager) CountMemory(ctx context.Context, params CountMemoryParams) (MemoryCounts, error) {
	const operation = "count memory"
	if err := params.Reader.mustBeAdmin(operation); err != nil {
		return MemoryCounts{}, err
	}
	now, err := nowInput(params.Now, 0)
	if err != nil {
		return MemoryCounts{}, err
	}
	counts, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.MemoryCountRow, error) {
		return queries.MemoryCount(ctx, db, now)
	})
	return MemoryCounts(counts), err
}

// mustBeAdmin demands a reader who is an admin.
func (r Reader) mustBeAdmin(operation string) error {
	if err := r.validate(); err != nil {
		return err
	}
	if !r.Admin {
		return fmt.Errorf("%s: %w: the reader is not an admin", operation, ErrPermission)
	}
	return nil
}
