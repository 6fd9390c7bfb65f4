package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	defaultAuditPage = 50
	maxAuditPage     = 1000
)

// AuditEvent is a row of the audit log. Events are ordered by Timestamp, then ID.
type AuditEvent struct {
	ID        int64           `json:"id"`
	Timestamp time.Time       `json:"timestamp"`
	EventType string          `json:"event_type"`
	AgentID   string          `json:"agent_id"`
	SessionID string          `json:"session_id,omitempty"` // empty when there is none, or when it was deleted since
	Resource  string          `json:"resource,omitempty"`
	Action    string          `json:"action,omitempty"`
	Result    string          `json:"result,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"` // a JSON object, nil when there is none
}

// Cursor returns the place of this event in the audit log.
func (e AuditEvent) Cursor() AuditCursor { return AuditCursor{Timestamp: e.Timestamp, ID: e.ID} }

// AuditCursor is a place in the order of the audit log, that of the event of this time and id. As text it survives a
// restart of the reader.
type AuditCursor MessageCursor

// MarshalText returns the cursor as text, microseconds since 1970 and id, for instance "1755906515123456.42".
func (c AuditCursor) MarshalText() ([]byte, error) { return MessageCursor(c).MarshalText() }

// UnmarshalText reads what MarshalText wrote; anything else is a [*ValidationError].
func (c *AuditCursor) UnmarshalText(text []byte) error {
	return (*MessageCursor)(c).UnmarshalText(text)
}

// AppendAuditParams are the arguments of [Manager.AppendAudit].
type AppendAuditParams struct {
	// EventType says what happened, for instance "token_refreshed": 1 to 100 characters. Required.
	EventType string
	// AgentID is the agent that did it. Required.
	AgentID string
	// SessionID is the session that it concerns, which must exist; empty means none.
	SessionID string
	// Resource names what it was done to, at most 255 characters; it may be empty.
	Resource string
	// Action names what was done, at most 100 characters; it may be empty.
	Action string
	// Result says how it ended, at most 100 characters; it may be empty.
	Result string
	// Metadata is nil or anything that marshals to a JSON object of at most 50 keys and 10,000 characters.
	Metadata any
	// Now is the time of the event, kept to the microsecond; nil means the database's clock.
	Now *time.Time
}

// AppendAudit adds an event to the audit log and returns it as stored. An unknown session is [ErrSessionNotFound].
//
// The operations of this package write their own events; this is for what else a service does. In [Manager.InTx] the
// event and what it records are written both or neither.
func (m *Manager) AppendAudit(ctx context.Context, params AppendAuditParams) (AuditEvent, error) {
	event, now, err := params.clean()
	if err != nil {
		return AuditEvent{}, err
	}
	row, err := query(ctx, m, "append audit event", func(db gen.DBTX) (gen.AuditAppendRow, error) {
		row, err := queries.AuditAppend(ctx, db, gen.AuditAppendParams{
			EventType: event.EventType, AgentID: event.AgentID, SessionID: textOrNull(event.SessionID),
			Resource: textOrNull(event.Resource), Action: textOrNull(event.Action), Result: textOrNull(event.Result),
			Metadata: event.Metadata, Now: now,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrSessionNotFound
		}
		return row, err
	})
	if err != nil {
		return AuditEvent{}, err
	}
	event.ID, event.Timestamp = row.ID, row.Timestamp
	return event, nil
}

// clean checks an event and returns it as it is stored, but for the id, and its time, nil for the database's clock.
func (p *AppendAuditParams) clean() (event AuditEvent, now *time.Time, err error) {
	event = AuditEvent{AgentID: p.AgentID, SessionID: p.SessionID}
	if event.EventType, err = eventTypeInput(p.EventType); err != nil {
		return AuditEvent{}, nil, err
	}
	if err = agentIDInput("agent_id", p.AgentID); err != nil {
		return AuditEvent{}, nil, err
	}
	if p.SessionID != "" {
		if err = sessionIDInput(p.SessionID); err != nil {
			return AuditEvent{}, nil, err
		}
	}
	if event.Resource, err = optionalTextInput("resource", p.Resource, MaxAuditResourceLength); err != nil {
		return AuditEvent{}, nil, err
	}
	if event.Action, err = optionalTextInput("action", p.Action, MaxAuditActionLength); err != nil {
		return AuditEvent{}, nil, err
	}
	if event.Result, err = optionalTextInput("result", p.Result, MaxAuditActionLength); err != nil {
		return AuditEvent{}, nil, err
	}
	if event.Metadata, err = metadataInput(p.Metadata); err != nil {
		return AuditEvent{}, nil, err
	}
	if p.Now != nil {
		if now, err = timestampInput("now", *p.Now); err != nil {
			return AuditEvent{}, nil, err
		}
	}
	return event, now, nil
}

// ListAuditParams are the arguments of [Manager.ListAudit].
type ListAuditParams struct {
	// Reader is who asks. An agent reads its own events, those with its AgentID; all others need an admin. Required.
	Reader Reader
	// AgentID narrows to the events of one agent; empty means those of all agents.
	AgentID string
	// SessionID narrows to the events of one session; empty means no narrowing.
	SessionID string
	// EventType narrows to one type of event; empty means all types. Together with AgentID or SessionID the events of
	// these are read until the page is full, so that a rare type costs as much as all events of the agent or session.
	EventType string
	// From is the earliest time; zero means from the beginning.
	From time.Time
	// To is the time that all events are before; zero means to the end.
	To time.Time
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start, that is the latest event.
	After *AuditCursor
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Events  []AuditEvent `json:"events"`
	HasMore bool         `json:"has_more"`
	Next    *AuditCursor `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListAudit returns a page of the audit log, newest first. A non-admin that asks for more than its own events gets
// [ErrPermission]. An unknown agent, session or event type gives nothing.
func (m *Manager) ListAudit(ctx context.Context, params ListAuditParams) (AuditPage, error) {
	const operation = "list audit events"
	before, limit, err := params.clean()
	if err != nil {
		return AuditPage{}, err
	}
	if err := params.Reader.mayAudit(operation, params.AgentID); err != nil {
		return AuditPage{}, err
	}
	rows, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]gen.AuditLog, error) {
		from := params.From.UTC()
		switch {
		case params.SessionID != "":
			return queries.AuditListBySession(ctx, db, gen.AuditListBySessionParams{
				SessionID: params.SessionID, FromTime: from, BeforeTimestamp: before.Timestamp, BeforeID: before.ID,
				AgentID: params.AgentID, EventType: params.EventType, MaxRows: limit + 1,
			})
		case params.AgentID != "":
			return queries.AuditListByAgent(ctx, db, gen.AuditListByAgentParams{
				AgentID: params.AgentID, FromTime: from, BeforeTimestamp: before.Timestamp, BeforeID: before.ID,
				EventType: params.EventType, MaxRows: limit + 1,
			})
		case params.EventType != "":
			return queries.AuditListByEventType(ctx, db, gen.AuditListByEventTypeParams{
				EventType: params.EventType, FromTime: from, BeforeTimestamp: before.Timestamp, BeforeID: before.ID,
				MaxRows: limit + 1,
			})
		default:
			return queries.AuditList(ctx, db, gen.AuditListParams{
				FromTime: from, BeforeTimestamp: before.Timestamp, BeforeID: before.ID, MaxRows: limit + 1,
			})
		}
	})
	if err != nil {
		return AuditPage{}, err
	}
	page := AuditPage{HasMore: len(rows) > int(limit)}
	if page.HasMore {
		rows = rows[:limit]
	}
	page.Events = make([]AuditEvent, len(rows))
	for i := range rows {
		row := &rows[i]
		page.Events[i] = AuditEvent{
			ID: row.ID, Timestamp: row.Timestamp, EventType: row.EventType, AgentID: row.AgentID, SessionID: deref(row.SessionID),
			Resource: deref(row.Resource), Action: deref(row.Action), Result: deref(row.Result), Metadata: row.Metadata,
		}
	}
	if page.HasMore {
		next := page.Events[limit-1].Cursor()
		page.Next = &next
	}
	return page, nil
}

// clean checks the arguments and returns the place that the page is behind, and its size.
func (p *ListAuditParams) clean() (before AuditCursor, limit int32, err error) {
	if err := p.Reader.validate(); err != nil {
		return before, 0, err
	}
	if p.AgentID != "" {
		if err := agentIDInput("agent_id", p.AgentID); err != nil {
			return before, 0, err
		}
	}
	if p.SessionID != "" {
		if err := sessionIDInput(p.SessionID); err != nil {
			return before, 0, err
		}
	}
	if p.EventType, err = optionalTextInput("event_type", p.EventType, MaxEventTypeLength); err != nil {
		return before, 0, err
	}
	if _, err := timestampInput("from", p.From); err != nil {
		return before, 0, err
	}
	if _, err := timestampInput("to", p.To); err != nil {
		return before, 0, err
	}
	if limit, err = limitInput(p.Limit, defaultAuditPage, maxAuditPage); err != nil {
		return before, 0, err
	}
	before.Timestamp = endOfTime
	if !p.To.IsZero() {
		if p.To.Before(p.From) {
			return before, 0, &ValidationError{Field: "to", Rule: "range", Limit: "no earlier than from"}
		}
		before.Timestamp = p.To.UTC()
	}
	if p.After != nil {
		if err := MessageCursor(*p.After).validate(); err != nil {
			return before, 0, err
		}
		if p.After.Timestamp.Before(before.Timestamp) {
			before = *p.After
		}
	}
	return before, limit, nil
}

// mayAudit refuses a reader that asks for events that are not all its own.
func (r Reader) mayAudit(operation, agentID string) error {
	if r.Admin || agentID == r.AgentID {
		return nil
	}
	return fmt.Errorf("%s: %w: events of other agents are for admins; set AgentID to the reader's own", operation, ErrPermission)
}

// AuditActivity says how often an agent caused events of a type.
type AuditActivity struct {
	AgentID    string    `json:"agent_id"`
	EventType  string    `json:"event_type"`
	EventCount int64     `json:"event_count"`
	FirstEvent time.Time `json:"first_event"`
	LastEvent  time.Time `json:"last_event"`
}

// AuditActivityCursor is a place in the summary: it continues behind this agent and event type.
type AuditActivityCursor struct {
	AgentID   string `json:"agent_id"`
	EventType string `json:"event_type"`
}

// SummarizeAuditParams are the arguments of [Manager.SummarizeAudit].
type SummarizeAuditParams struct {
	// Reader is who asks. An agent reads the summary of its own events; that of others needs an admin. Required.
	Reader Reader
	// AgentID narrows to the events of one agent; empty means those of all agents, for which the whole log is read.
	AgentID string
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *AuditActivityCursor
}

// AuditActivityPage is a page of the summary of the audit log.
type AuditActivityPage struct {
	Activities []AuditActivity      `json:"activities"`
	HasMore    bool                 `json:"has_more"`
	Next       *AuditActivityCursor `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// SummarizeAudit returns the view audit_activity_summary: how many events of each type each agent caused, ordered by agent
// and event type, of which pages neither lose nor repeat one. Events that the cleanup has deleted do not count. A
// non-admin that asks for more than its own events gets [ErrPermission].
func (m *Manager) SummarizeAudit(ctx context.Context, params SummarizeAuditParams) (AuditActivityPage, error) {
	const operation = "summarize audit events"
	if err := params.Reader.validate(); err != nil {
		return AuditActivityPage{}, err
	}
	if params.AgentID != "" {
		if err := agentIDInput("agent_id", params.AgentID); err != nil {
			return AuditActivityPage{}, err
		}
	}
	limit, err := limitInput(params.Limit, defaultAuditPage, maxAuditPage)
	if err != nil {
		return AuditActivityPage{}, err
	}
	if err := params.Reader.mayAudit(operation, params.AgentID); err != nil {
		return AuditActivityPage{}, err
	}
	var after AuditActivityCursor
	if params.After != nil {
		if after, err = params.After.clean(); err != nil {
			return AuditActivityPage{}, err
		}
	}
	rows, err := repeatable(ctx, m, operation, func(db gen.DBTX) ([]AuditActivity, error) {
		if params.AgentID == "" {
			rows, err := queries.AuditSummary(ctx, db, gen.AuditSummaryParams{
				AfterAgentID: after.AgentID, AfterEventType: after.EventType, MaxRows: limit + 1,
			})
			return convert(rows, func(row gen.AuditSummaryRow) AuditActivity { return AuditActivity(row) }), err
		}
		rows, err := queries.AuditSummaryOfAgent(ctx, db, gen.AuditSummaryOfAgentParams{
			AgentID: params.AgentID, AfterEventType: after.EventType, MaxRows: limit + 1,
		})
		return convert(rows, func(row gen.AuditSummaryOfAgentRow) AuditActivity { return AuditActivity(row) }), err
	})
	if err != nil {
		return AuditActivityPage{}, err
	}
	page := AuditActivityPage{Activities: rows, HasMore: len(rows) > int(limit)}
	if page.HasMore {
		page.Activities = rows[:limit]
		last := rows[limit-1]
		page.Next = &AuditActivityCursor{AgentID: last.AgentID, EventType: last.EventType}
	}
	return page, nil
}

// clean refuses what no text column can be compared with. Old rows may hold agent ids of other forms than today's.
func (c AuditActivityCursor) clean() (AuditActivityCursor, error) {
	if err := columnText(c.AgentID); err != nil {
		return c, err
	}
	return c, columnText(c.EventType)
}

// columnText demands what a text column can hold, for the parts of a cursor.
func columnText(s string) error {
	if _, err := optionalTextInput("after", s, 255); err != nil {
		return err
	}
	if controlIndex(s) >= 0 {
		return &ValidationError{Field: "after", Rule: "pattern", Limit: "free of control characters"}
	}
	return nil
}

// textOrNull is NULL for an empty text.
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// deref is an empty text for NULL.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
