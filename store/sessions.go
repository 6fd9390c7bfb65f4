package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	// latestMessages is how many messages GetSession returns, as in the first generation.
	latestMessages = 50
	// sessionColumns is how many columns of each row of SessionGet are those of the session.
	sessionColumns     = 7
	defaultSessionPage = 50
	maxSessionPage     = 1000
)

// Session is the common context of the agents that work on one task.
type Session struct {
	ID        string          `json:"id"`
	Purpose   string          `json:"purpose"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	IsActive  bool            `json:"is_active"`
	CreatedBy string          `json:"created_by"`
	Metadata  json.RawMessage `json:"metadata,omitempty"` // a JSON object, nil when there is none
}

// CreateSessionParams are the arguments of [Manager.CreateSession].
type CreateSessionParams struct {
	// Purpose says what the session is for: 1 to 1000 characters. Required.
	Purpose string
	// CreatedBy is the id of the agent that creates it. Required.
	CreatedBy string
	// Metadata is nil or anything that marshals to a JSON object of at most 50 keys and 10,000 characters.
	Metadata any
	// Now is the time of creation; nil means the database's clock.
	Now *time.Time
}

// CreateSession makes an active session with a new random id, and its audit row session_created with it.
func (m *Manager) CreateSession(ctx context.Context, params CreateSessionParams) (Session, error) {
	purpose, err := textInput("purpose", params.Purpose, MaxPurposeLength)
	if err != nil {
		return Session{}, err
	}
	if err := agentIDInput("created_by", params.CreatedBy); err != nil {
		return Session{}, err
	}
	metadata, err := metadataInput(params.Metadata)
	if err != nil {
		return Session{}, err
	}
	if params.Now != nil {
		if _, err := timestampInput("now", *params.Now); err != nil {
			return Session{}, err
		}
	}
	id := newSessionID()
	created, err := query(ctx, m, "create session", func(db gen.DBTX) (time.Time, error) {
		return queries.SessionCreate(ctx, db, gen.SessionCreateParams{
			ID: id, Purpose: purpose, CreatedBy: params.CreatedBy, Metadata: metadata, Now: params.Now,
		})
	})
	if err != nil {
		return Session{}, err
	}
	return Session{
		ID: id, Purpose: purpose, CreatedAt: created, UpdatedAt: created, IsActive: true,
		CreatedBy: params.CreatedBy, Metadata: metadata,
	}, nil
}

// newSessionID returns "session_" and 16 random hex digits.
func newSessionID() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	return "session_" + hex.EncodeToString(random[:])
}

// SessionDetail is a session and its latest messages.
type SessionDetail struct {
	Session
	// Messages are the 50 latest that the reader may see, newest first.
	Messages []Message `json:"messages"`
}

// GetSession returns a session, active or not, with its 50 latest messages that reader may see, newest first. An unknown
// id is [ErrSessionNotFound].
func (m *Manager) GetSession(ctx context.Context, sessionID string, reader Reader) (SessionDetail, error) {
	if err := sessionIDInput(sessionID); err != nil {
		return SessionDetail{}, err
	}
	if err := reader.validate(); err != nil {
		return SessionDetail{}, err
	}
	sight := reader.see(nil)
	rows, err := repeatable(ctx, m, "get session", func(db gen.DBTX) ([]gen.SessionGetRow, error) {
		return foundSession(queries.SessionGet(ctx, repeatedDB{db, sessionColumns}, gen.SessionGetParams{
			Seen: sight.seen, Own: sight.own, Reader: reader.AgentID, Kin: sight.kin, ReaderType: reader.AgentType,
			MaxMessages: latestMessages, ID: sessionID,
		}))
	})
	if err != nil {
		return SessionDetail{}, err
	}
	detail := SessionDetail{Session: Session(rows[0].Session), Messages: make([]Message, 0, len(rows))}
	detail.Metadata = objectOrNil(detail.Metadata)
	for i := range rows {
		row := &rows[i]
		if row.MessageID == 0 { // the session has no message to show
			continue
		}
		detail.Messages = append(detail.Messages, Message{
			ID: row.MessageID, SessionID: sessionID, Sender: row.Sender, SenderType: row.SenderType, Content: row.Content,
			Visibility: Visibility(row.Visibility), MessageType: MessageType(row.MessageType), Metadata: objectOrNil(row.MessageMetadata),
			Timestamp: row.Timestamp, ParentMessageID: row.ParentMessageID,
		})
	}
	return detail, nil
}

// ActiveSession is a session of the active list with what happens in it, as far as the reader may see it.
type ActiveSession struct {
	Session
	MessageCount int64     `json:"message_count"`
	Participants int64     `json:"participants"`  // how many agents have sent these messages
	LastActivity time.Time `json:"last_activity"` // time of the latest of them, else of the session's creation
	// MemoryCount is how many entries of memory that have not expired belong to the session: the reader's own, as memory is
	// private to its agent, or those of all agents for an admin.
	MemoryCount int64 `json:"memory_count"`
}

// SessionCursor is a place in the active list: it continues behind the session that it names.
type SessionCursor struct {
	LastActivity time.Time `json:"last_activity"`
	ID           string    `json:"id"`
}

// ListActiveSessionsParams are the arguments of [Manager.ListActiveSessions].
type ListActiveSessionsParams struct {
	// Reader is who asks; messages and memory that it may not see are not counted. Required.
	Reader Reader
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *SessionCursor
}

// SessionPage is a page of the active list.
type SessionPage struct {
	Sessions []ActiveSession `json:"sessions"`
	HasMore  bool            `json:"has_more"`
	Next     *SessionCursor  `json:"next,omitempty"` // for After of the next page; nil when there is none
}

// ListActiveSessions returns the active sessions, the one with the latest visible message first. A session that sees a
// message between two pages moves to the front and may then be missing from the later page; only a message dated before all
// others of its session can bring it back into a later page. Each call looks at the latest message of every active session:
// deactivate sessions that are over.
func (m *Manager) ListActiveSessions(ctx context.Context, params ListActiveSessionsParams) (SessionPage, error) {
	if err := params.Reader.validate(); err != nil {
		return SessionPage{}, err
	}
	limit, err := limitInput(params.Limit, defaultSessionPage, maxSessionPage)
	if err != nil {
		return SessionPage{}, err
	}
	after := SessionCursor{LastActivity: endOfTime}
	if params.After != nil {
		after = *params.After
		if err := sessionIDInput(after.ID); err != nil {
			return SessionPage{}, err
		}
		if _, err := timestampInput("cursor", after.LastActivity); err != nil {
			return SessionPage{}, err
		}
	}
	sight := params.Reader.see(nil)
	rows, err := repeatable(ctx, m, "list active sessions", func(db gen.DBTX) ([]gen.SessionListActiveRow, error) {
		return queries.SessionListActive(ctx, db, gen.SessionListActiveParams{
			Seen: sight.seen, Own: sight.own, Reader: params.Reader.AgentID, Kin: sight.kin, ReaderType: params.Reader.AgentType,
			BeforeActivity: after.LastActivity, BeforeID: after.ID, MaxRows: limit + 1, AllAgents: params.Reader.Admin,
		})
	})
	if err != nil {
		return SessionPage{}, err
	}
	page := SessionPage{HasMore: len(rows) > int(limit)}
	if page.HasMore {
		rows = rows[:limit]
	}
	page.Sessions = make([]ActiveSession, len(rows))
	for i := range rows {
		row := &rows[i]
		page.Sessions[i] = ActiveSession{
			Session: Session{
				ID: row.ID, Purpose: row.Purpose, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, IsActive: true,
				CreatedBy: row.CreatedBy, Metadata: objectOrNil(row.Metadata),
			},
			MessageCount: row.MessageCount, Participants: row.Participants, LastActivity: row.LastActivity,
			MemoryCount: row.MemoryCount,
		}
	}
	if page.HasMore {
		last := page.Sessions[limit-1]
		page.Next = &SessionCursor{LastActivity: last.LastActivity, ID: last.ID}
	}
	return page, nil
}

// DeactivateSession takes a session off the active list, with the audit row session_deactivated for agentID. Its
// messages stay readable, and new ones are still accepted. Doing it twice is harmless; an unknown id is
// [ErrSessionNotFound]. Who may do it is the service's decision.
func (m *Manager) DeactivateSession(ctx context.Context, sessionID, agentID string) error {
	return m.endSession(ctx, "deactivate session", sessionID, agentID, func(db gen.DBTX) error {
		_, err := queries.SessionDeactivate(ctx, db, gen.SessionDeactivateParams{ID: sessionID, AgentID: agentID})
		return err
	})
}

// DeleteSession deletes a session with its messages and its session memory, with the audit row session_deleted for
// agentID, whose resource is the session's id. An unknown id is [ErrSessionNotFound]. Who may do it is the service's
// decision.
func (m *Manager) DeleteSession(ctx context.Context, sessionID, agentID string) error {
	return m.endSession(ctx, "delete session", sessionID, agentID, func(db gen.DBTX) error {
		_, err := queries.SessionDelete(ctx, db, gen.SessionDeleteParams{ID: sessionID, AgentID: agentID})
		return err
	})
}

// MergeSessionMetadata merges an object into the metadata of a session, for instance {"participant_count": 3}, and returns
// the result: keys of patch replace those of the same name, others stay. Mergers that run at once do not lose each
// other's keys. An unknown session is [ErrSessionNotFound]; where the result would break the limits of metadata (50 keys,
// 10,000 characters as the database prints them) it is a [*ValidationError] and nothing is changed.
func (m *Manager) MergeSessionMetadata(ctx context.Context, sessionID string, patch any) (json.RawMessage, error) {
	if err := sessionIDInput(sessionID); err != nil {
		return nil, err
	}
	object, err := metadataInput(patch)
	if err != nil {
		return nil, err
	}
	if object == nil {
		object = json.RawMessage("{}")
	}
	return query(ctx, m, "merge session metadata", func(db gen.DBTX) (json.RawMessage, error) {
		merged, err := queries.SessionMergeMetadata(ctx, db, gen.SessionMergeMetadataParams{
			ID: sessionID, Patch: object, MaxLength: MaxMetadataLength, MaxKeys: MaxMetadataKeys,
		})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			err = ErrSessionNotFound
		case err == nil && merged == nil:
			err = metadataError("length", fmt.Sprintf("at most %d keys and %d characters after merging", MaxMetadataKeys, MaxMetadataLength), "more")
		}
		return merged, err
	})
}

// endSession runs a statement that returns a row when the session exists.
func (m *Manager) endSession(ctx context.Context, operation, sessionID, agentID string, statement func(gen.DBTX) error) error {
	if err := sessionIDInput(sessionID); err != nil {
		return err
	}
	if err := agentIDInput("agent_id", agentID); err != nil {
		return err
	}
	_, err := query(ctx, m, operation, func(db gen.DBTX) (struct{}, error) {
		err := statement(db)
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrSessionNotFound
		}
		return struct{}{}, err
	})
	m.announce(ctx, messageTopic(sessionID), err) // its followers end
	return err
}

// limitInput accepts 1 to most, and 0 as the default.
func limitInput(limit, fallback, most int) (int32, error) {
	if limit == 0 {
		limit = fallback
	}
	if err := rangeInput("limit", limit, 1, most); err != nil {
		return 0, err
	}
	return int32(limit), nil
}

// offsetInput accepts what PostgreSQL can skip.
func offsetInput(offset int) (int32, error) {
	if err := rangeInput("offset", offset, 0, math.MaxInt32); err != nil {
		return 0, err
	}
	return int32(offset), nil
}

// timestampInput accepts the times that every part of the system can print: years 1 to 9999. The zero time stands for
// the database's clock and gives nil.
func timestampInput(field string, t time.Time) (*time.Time, error) {
	if t.IsZero() {
		return nil, nil
	}
	utc := t.UTC()
	if year := utc.Year(); year < 1 || year > 9999 {
		return nil, &ValidationError{Field: field, Rule: "range", Limit: "in the years 1 to 9999", Got: fmt.Sprintf("year %d", year)}
	}
	return &utc, nil
}
