package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// The reads of this file count what not everyone may see, private messages for instance. They are for admins; a reader
// that is none gets [ErrPermission]. For what one agent may see there is [Manager.ListActiveSessions].

const (
	defaultDashboardPage = 100
	maxDashboardPage     = 1000
)

// Totals says what the database holds.
type Totals struct {
	Sessions       int64 `json:"sessions"`
	ActiveSessions int64 `json:"active_sessions"`
	Messages       int64 `json:"messages"`
	LiveMemory     int64 `json:"live_memory"` // entries that have not expired, of all agents
}

// Totals counts sessions, messages and live memory as of one moment. It reads these tables, or an index of them, to the
// end; a dashboard asks every few seconds rather than for each visitor. It is for admins.
func (m *Manager) Totals(ctx context.Context, reader Reader) (Totals, error) {
	const operation = "get totals"
	if err := reader.adminInput(operation); err != nil {
		return Totals{}, err
	}
	row, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.DashboardTotalsRow, error) {
		return queries.DashboardTotals(ctx, db)
	})
	return Totals(row), err
}

// adminInput demands a valid reader that is an admin.
func (r Reader) adminInput(operation string) error {
	if err := r.validate(); err != nil {
		return err
	}
	if !r.Admin {
		return fmt.Errorf("%s: %w: the reader is not an admin", operation, ErrPermission)
	}
	return nil
}

// SessionActivity is an active session with what happens in it, whoever may see it.
type SessionActivity struct {
	Session
	MessageCount  int64      `json:"message_count"`
	LastMessageAt *time.Time `json:"last_message_at"` // nil when there is no message
	UniqueAgents  int64      `json:"unique_agents"`   // how many agents have sent these messages
}

// SessionActivityCursor is a place in the list: it continues behind the session that it names.
type SessionActivityCursor struct {
	LastMessageAt *time.Time `json:"last_message_at"`
	ID            string     `json:"id"`
}

// ListSessionActivityParams are the arguments of [Manager.ListSessionActivity].
type ListSessionActivityParams struct {
	// Reader is who asks, an admin. Required.
	Reader Reader
	// Limit is the size of the page, 1 to 1000; 0 means 100.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *SessionActivityCursor
}

// SessionActivityPage is a page of the active sessions with what happens in them.
type SessionActivityPage struct {
	Sessions []SessionActivity      `json:"sessions"`
	HasMore  bool                   `json:"has_more"`
	Next     *SessionActivityCursor `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListSessionActivity returns the view active_sessions_with_activity: the session with the latest message first, those
// without a message last, by id where that is equal. Each page counts the messages of all active sessions. A session that
// gets a message between two pages moves to the front: it may then be missing from the later page. It is for admins.
func (m *Manager) ListSessionActivity(ctx context.Context, params ListSessionActivityParams) (SessionActivityPage, error) {
	const operation = "list session activity"
	if err := params.Reader.adminInput(operation); err != nil {
		return SessionActivityPage{}, err
	}
	limit, err := limitInput(params.Limit, defaultDashboardPage, maxDashboardPage)
	if err != nil {
		return SessionActivityPage{}, err
	}
	before, id := endOfTime, ""
	if params.After != nil {
		if err := columnText(params.After.ID); err != nil {
			return SessionActivityPage{}, err
		}
		before, id = time.Time{}, params.After.ID
		if at := params.After.LastMessageAt; at != nil {
			if _, err := timestampInput("after", *at); err != nil {
				return SessionActivityPage{}, err
			}
			before = at.UTC()
		}
	}
	rows, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]gen.DashboardActiveSessionsRow, error) {
		return queries.DashboardActiveSessions(ctx, db, gen.DashboardActiveSessionsParams{
			BeforeTimestamp: before, BeforeID: id, MaxRows: limit + 1,
		})
	})
	if err != nil {
		return SessionActivityPage{}, err
	}
	page := SessionActivityPage{HasMore: len(rows) > int(limit)}
	if page.HasMore {
		rows = rows[:limit]
	}
	page.Sessions = make([]SessionActivity, len(rows))
	for i := range rows {
		row := &rows[i]
		page.Sessions[i] = SessionActivity{
			Session: Session{
				ID: row.ID, Purpose: row.Purpose, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, IsActive: true,
				CreatedBy: row.CreatedBy, Metadata: row.Metadata,
			},
			MessageCount: row.MessageCount, UniqueAgents: row.UniqueAgents,
		}
		if row.MessageCount > 0 {
			page.Sessions[i].LastMessageAt = &row.LastMessageAt
		}
	}
	if page.HasMore {
		last := page.Sessions[limit-1]
		page.Next = &SessionActivityCursor{LastMessageAt: last.LastMessageAt, ID: last.ID}
	}
	return page, nil
}

// AgentMemorySummary says what the memory of an agent holds, entries that have expired and are not cleaned up included.
type AgentMemorySummary struct {
	AgentID         string    `json:"agent_id"`
	TotalEntries    int64     `json:"total_entries"`
	GlobalEntries   int64     `json:"global_entries"`
	SessionEntries  int64     `json:"session_entries"`
	ExpiringEntries int64     `json:"expiring_entries"` // entries that have a time to live
	FirstEntry      time.Time `json:"first_entry"`
	LastUpdated     time.Time `json:"last_updated"`
}

// AgentMemoryCursor is a place in the list: it continues behind the agent that it names.
type AgentMemoryCursor struct {
	TotalEntries int64  `json:"total_entries"`
	AgentID      string `json:"agent_id"`
}

// ListAgentMemoryParams are the arguments of [Manager.ListAgentMemory].
type ListAgentMemoryParams struct {
	// Reader is who asks, an admin. Required.
	Reader Reader
	// Limit is the size of the page, 1 to 1000; 0 means 100.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *AgentMemoryCursor
}

// AgentMemoryPage is a page of the agents that have memory.
type AgentMemoryPage struct {
	Agents  []AgentMemorySummary `json:"agents"`
	HasMore bool                 `json:"has_more"`
	Next    *AgentMemoryCursor   `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListAgentMemory returns the view agent_memory_summary: the agent with the most entries first, by agent id where that is
// equal. Each page reads the whole table. An agent whose number of entries changes between two pages may be in both or in
// neither. It is for admins.
func (m *Manager) ListAgentMemory(ctx context.Context, params ListAgentMemoryParams) (AgentMemoryPage, error) {
	const operation = "list agent memory"
	if err := params.Reader.adminInput(operation); err != nil {
		return AgentMemoryPage{}, err
	}
	limit, err := limitInput(params.Limit, defaultDashboardPage, maxDashboardPage)
	if err != nil {
		return AgentMemoryPage{}, err
	}
	after := AgentMemoryCursor{TotalEntries: math.MaxInt64}
	if params.After != nil {
		after = *params.After
		if err := columnText(after.AgentID); err != nil {
			return AgentMemoryPage{}, err
		}
		if after.TotalEntries < 0 {
			return AgentMemoryPage{}, &ValidationError{
				Field: "after", Rule: "range", Limit: "at 0 entries or more", Got: fmt.Sprint(after.TotalEntries),
			}
		}
	}
	rows, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]gen.DashboardAgentMemoryRow, error) {
		return queries.DashboardAgentMemory(ctx, db, gen.DashboardAgentMemoryParams{
			AfterNegativeEntries: -after.TotalEntries, AfterAgentID: after.AgentID, MaxRows: limit + 1,
		})
	})
	if err != nil {
		return AgentMemoryPage{}, err
	}
	page := AgentMemoryPage{HasMore: len(rows) > int(limit)}
	if page.HasMore {
		rows = rows[:limit]
		last := rows[limit-1]
		page.Next = &AgentMemoryCursor{TotalEntries: last.TotalEntries, AgentID: last.AgentID}
	}
	page.Agents = convert(rows, func(row gen.DashboardAgentMemoryRow) AgentMemorySummary { return AgentMemorySummary(row) })
	return page, nil
}
