package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// FollowParams are the arguments of [Manager.Follow].
type FollowParams struct {
	// SessionID is the session to follow. Required.
	SessionID string
	// Reader is who follows. Required.
	Reader Reader
	// After is the Cursor of the latest message that was received; the zero cursor means from the start, and
	// [Manager.LatestFollowCursor] from now.
	After FollowCursor
}

// FollowedMessage is a message that a follower receives.
type FollowedMessage struct {
	Message Message
	// Cursor is the place behind this message. Kept with what was done about the message, it lets a follower that was
	// restarted go on without missing or repeating one.
	Cursor FollowCursor
}

// Follow yields every message of a session that reader may see, once: those behind the cursor, then each as soon as it is
// committed, without an end. A message comes after those that were committed before its transaction first wrote: an answer
// after its question. One whose transaction takes long comes when that commits, and the others do not wait for it.
//
// A lost connection, a restarted server or a slow loop body lose nothing: what was missed is read again from the database. That
// a server does not forget what is committed is presumed, so synchronous_commit must be on. The loop ends with an error of ctx, when the manager is closed ([ErrManagerClosed]), when the session does not exist or
// is deleted ([ErrSessionNotFound]), when the database does not know what the cursor does ([ErrCursorAhead]), or when the
// statement is refused.
//
// All followers of a manager share one connection that listens (DIRECT_DATABASE_URL) and, for each session, one read of
// what is new. A follower hears of a message within milliseconds if it was written through a Manager, and at most five
// seconds later if another program wrote it. Where LISTEN does not work, as behind a transaction pooler without
// DIRECT_DATABASE_URL, followers ask four times a second. A standby cannot be followed.
func (m *Manager) Follow(ctx context.Context, params FollowParams) iter.Seq2[FollowedMessage, error] {
	return func(yield func(FollowedMessage, error) bool) {
		params := params // each loop cleans its own
		err := sessionIDInput(params.SessionID)
		if err == nil {
			err = params.Reader.validate()
		}
		if err == nil {
			err = m.followMessages(ctx, params, func(message Message, cursor FollowCursor) bool {
				return yield(FollowedMessage{message, cursor}, nil)
			})
		}
		if err != nil {
			yield(FollowedMessage{}, err)
		}
	}
}

func (m *Manager) followMessages(ctx context.Context, params FollowParams, yield func(Message, FollowCursor) bool) error {
	const operation = "follow session"
	following, leave, err := m.feeds.enter(WithoutTx(ctx))
	if err != nil {
		return operationError(operation, err)
	}
	defer leave()
	if _, err := m.followStart(following, params.SessionID, params.After); err != nil {
		return m.feeds.explain(operation, err)
	}
	sight := params.Reader.see(nil)
	err = m.feeds.messages.follow(following, params.SessionID, params.Reader, params.After, func(message *Message) bool {
		return sight.sees(params.Reader, message)
	}, yield)
	return m.feeds.explain(operation, err)
}

// sees reports whether a reader may see a message.
func (s sight) sees(reader Reader, message *Message) bool {
	level := string(message.Visibility)
	return slices.Contains(s.seen, level) ||
		message.Sender == reader.AgentID && slices.Contains(s.own, level) ||
		message.SenderType == reader.AgentType && slices.Contains(s.kin, level)
}

// LatestFollowCursor returns the cursor from which [Manager.Follow] yields only what is committed after this call. It is not
// part of a transaction in ctx, and takes a connection of its own. An unknown session is [ErrSessionNotFound].
func (m *Manager) LatestFollowCursor(ctx context.Context, sessionID string) (FollowCursor, error) {
	if err := sessionIDInput(sessionID); err != nil {
		return FollowCursor{}, err
	}
	return m.followStart(WithoutTx(ctx), sessionID, FollowCursor{})
}

// followStart returns the cursor of now, if the session can be followed from a cursor.
func (m *Manager) followStart(ctx context.Context, sessionID string, from FollowCursor) (FollowCursor, error) {
	return repeatable(ctx, m, "follow session", func(db gen.DBTX) (FollowCursor, error) {
		row, err := queries.FollowStart(ctx, db, sessionID)
		if err != nil {
			return FollowCursor{}, err
		}
		return startOf(row, from)
	})
}

// startOf returns the cursor of now, unless what is to be followed cannot be from a cursor.
func startOf(row gen.FollowStartRow, from FollowCursor) (FollowCursor, error) {
	switch {
	case row.Standby:
		return FollowCursor{}, errStandby
	case !row.SessionFound:
		return FollowCursor{}, ErrSessionNotFound
	}
	now, err := snapshotOf(row.Now)
	if err != nil {
		return FollowCursor{}, err
	}
	newest, err := strconv.ParseUint(row.Newest, 10, 64)
	switch {
	case err != nil:
		return FollowCursor{}, fmt.Errorf("the server gave %.40q for a transaction: %w", row.Newest, err)
	case newest >= now.xmax: // and yet it is seen
		return FollowCursor{}, errRestored
	}
	return FollowCursor{behind: now.until(newest)}, checkMoment(from, now)
}

var (
	errStandby  = errors.New("a standby cannot be followed, as it does not know which transactions are running: use the address of the primary")
	errRestored = errors.New("there are rows of transactions that this server has not had yet, as after a restore from a dump: " +
		"docs/operations.md has the statement that mends it")
)

// snapshotOf reads a moment that the server has written.
func snapshotOf(text string) (snapshot, error) {
	s, ok := parseSnapshot(text)
	if !ok {
		return snapshot{}, fmt.Errorf("the server gave %.40q for a pg_snapshot", text)
	}
	return s, nil
}

// readNewMessages reads a page of what is new in each session.
func (m *Manager) readNewMessages(ctx context.Context, reader Reader, sessions []string, from []FollowCursor, maxRows int) ([]news[Message], error) {
	sight := reader.see(nil)
	params := gen.MessageFollowParams{
		SessionIds: sessions,
		Seen:       sight.seen, Own: sight.own, Reader: reader.AgentID, Kin: sight.kin, ReaderType: reader.AgentType, MaxRows: int32(maxRows),
	}
	params.Behind, params.Until, params.AfterTransactions, params.AfterIds = cursorColumns(from)
	return repeatable(ctx, m, "follow session", func(db gen.DBTX) ([]news[Message], error) {
		rows, err := queries.MessageFollow(ctx, db, params)
		if err != nil {
			return nil, err
		}
		found := make([]news[Message], len(sessions))
		for i := range rows {
			row := &rows[i]
			topic := &found[row.Place-1]
			if err := topic.add(row.Now, row.Standby, row.SessionFound, row.TransactionID, row.ID, func() Message {
				return Message{
					ID: row.ID, SessionID: sessions[row.Place-1], Sender: row.Sender, SenderType: row.SenderType, Content: row.Content,
					Visibility: Visibility(row.Visibility), MessageType: MessageType(row.MessageType), Metadata: objectOrNil(row.Metadata),
					Timestamp: row.Timestamp, ParentMessageID: row.ParentMessageID,
				}
			}); err != nil {
				return nil, err
			}
		}
		return checkNews(found, from), nil
	})
}
