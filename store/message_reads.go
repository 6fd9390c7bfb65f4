package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// maxThread bounds the messages that GetMessageThread returns.
const maxThread = 1000

// Every message is at or after firstTime and before endOfTime.
var (
	firstTime = time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC)
	endOfTime = time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// messageRow is what the statements that read messages have in common: the same columns in the same order.
type messageRow interface {
	gen.MessagePageAfterRow | gen.MessageListBySenderRow | gen.MessageListByTimeRow | gen.MessageThreadRow
}

// messagesOf returns the messages of rows. A row without a message, which says that the session exists, is left out.
func messagesOf[R messageRow](sessionID string, rows []R) []Message {
	messages := make([]Message, 0, len(rows))
	for i := range rows {
		row := gen.MessagePageAfterRow(rows[i])
		if row.ID == 0 {
			continue
		}
		messages = append(messages, Message{
			ID: row.ID, SessionID: sessionID, Sender: row.Sender, SenderType: row.SenderType, Content: row.Content,
			Visibility: Visibility(row.Visibility), MessageType: MessageType(row.MessageType), Metadata: objectOrNil(row.Metadata),
			Timestamp: row.Timestamp, ParentMessageID: row.ParentMessageID,
		})
	}
	return messages
}

// objectOrNil returns the metadata of a row. The first generation's driver wrote an absent one as a JSON null.
func objectOrNil(metadata json.RawMessage) json.RawMessage {
	if string(metadata) == "null" {
		return nil
	}
	return metadata
}

// pageOf returns a page of at most limit messages from rows, of which one more was asked for; behind an empty page is the
// place where it started.
func pageOf[R messageRow](sessionID string, rows []R, limit int32, start MessageCursor) MessagePage {
	page := MessagePage{TotalCount: -1, HasMore: len(rows) > int(limit), Next: start}
	if page.HasMore {
		rows = rows[:limit]
	}
	page.Messages = messagesOf(sessionID, rows)
	if n := len(page.Messages); n > 0 {
		page.Next = page.Messages[n-1].Cursor()
	}
	return page
}

// ListMessagesBySenderParams are the arguments of [Manager.ListMessagesBySender].
type ListMessagesBySenderParams struct {
	// SessionID is the session to read. Required.
	SessionID string
	// Reader is who reads. Required.
	Reader Reader
	// Sender is the id of the agent whose messages are read. Required.
	Sender string
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// Before is the Next of the page before; nil means the newest.
	Before *MessageCursor
}

// ListMessagesBySender returns a page of the messages that one agent has sent to a session, as far as reader may see
// them, newest first. An unknown session is [ErrSessionNotFound].
func (m *Manager) ListMessagesBySender(ctx context.Context, params ListMessagesBySenderParams) (MessagePage, error) {
	limit, err := messageReadInput(params.SessionID, &params.Reader, params.Limit, params.Before)
	if err != nil {
		return MessagePage{}, err
	}
	if err := agentIDInput("sender", params.Sender); err != nil {
		return MessagePage{}, err
	}
	before := MessageCursor{Timestamp: endOfTime}
	if params.Before != nil {
		before = *params.Before
	}
	sight := params.Reader.see(nil)
	rows, err := repeatable(ctx, m, "list messages by sender", func(db gen.DBTX) ([]gen.MessageListBySenderRow, error) {
		return foundSession(queries.MessageListBySender(ctx, db, gen.MessageListBySenderParams{
			Sender: params.Sender, BeforeTimestamp: before.Timestamp, BeforeID: before.ID,
			Seen: sight.seen, Own: sight.own, Reader: params.Reader.AgentID, Kin: sight.kin, ReaderType: params.Reader.AgentType,
			MaxRows: limit + 1, SessionID: params.SessionID,
		}))
	})
	if err != nil {
		return MessagePage{}, err
	}
	return pageOf(params.SessionID, rows, limit, before), nil
}

// ListMessagesByTimeParams are the arguments of [Manager.ListMessagesByTime].
type ListMessagesByTimeParams struct {
	// SessionID is the session to read. Required.
	SessionID string
	// Reader is who reads. Required.
	Reader Reader
	// From is the first time of the range, Until the first one behind it; zero means no bound.
	From, Until time.Time
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// After is the Next of the page before; nil means the start.
	After *MessageCursor
}

// ListMessagesByTime returns a page of the messages of a session in a range of time, as far as reader may see them,
// oldest first. An unknown session is [ErrSessionNotFound].
func (m *Manager) ListMessagesByTime(ctx context.Context, params ListMessagesByTimeParams) (MessagePage, error) {
	limit, err := messageReadInput(params.SessionID, &params.Reader, params.Limit, params.After)
	if err != nil {
		return MessagePage{}, err
	}
	from, err := timestampInput("from", params.From)
	if err != nil {
		return MessagePage{}, err
	}
	until, err := timestampInput("until", params.Until)
	if err != nil {
		return MessagePage{}, err
	}
	if from == nil {
		from = &firstTime
	}
	if until == nil {
		until = &endOfTime
	}
	if until.Before(*from) {
		return MessagePage{}, &ValidationError{Field: "until", Rule: "range", Limit: "at or after from", Got: "an earlier time"}
	}
	var after MessageCursor
	if params.After != nil {
		after = *params.After
	}
	sight := params.Reader.see(nil)
	rows, err := repeatable(ctx, m, "list messages by time", func(db gen.DBTX) ([]gen.MessageListByTimeRow, error) {
		return foundSession(queries.MessageListByTime(ctx, db, gen.MessageListByTimeParams{
			FromTime: *from, UntilTime: *until, AfterTimestamp: after.Timestamp, AfterID: after.ID,
			Seen: sight.seen, Own: sight.own, Reader: params.Reader.AgentID, Kin: sight.kin, ReaderType: params.Reader.AgentType,
			MaxRows: limit + 1, SessionID: params.SessionID,
		}))
	})
	if err != nil {
		return MessagePage{}, err
	}
	return pageOf(params.SessionID, rows, limit, after), nil
}

// GetMessageThread returns the thread that a message is in, as far as reader may see it, oldest first, at most 1000
// messages: the message at its root and all answers, direct or not. The way to them also leads over messages that reader
// may not see. A message that is not in the session, or that reader may not see, is [ErrMessageNotFound].
func (m *Manager) GetMessageThread(ctx context.Context, sessionID string, messageID int64, reader Reader) ([]Message, error) {
	if _, err := messageReadInput(sessionID, &reader, 0, nil); err != nil {
		return nil, err
	}
	if messageID < 1 {
		return nil, &ValidationError{Field: "message_id", Rule: "range", Limit: "1 or more"}
	}
	sight := reader.see(nil)
	rows, err := repeatable(ctx, m, "get message thread", func(db gen.DBTX) ([]gen.MessageThreadRow, error) {
		rows, err := queries.MessageThread(ctx, db, gen.MessageThreadParams{
			MessageID: messageID, SessionID: sessionID,
			Seen: sight.seen, Own: sight.own, Reader: reader.AgentID, Kin: sight.kin, ReaderType: reader.AgentType,
			MaxRows: maxThread,
		})
		if err == nil && len(rows) == 0 {
			err = ErrMessageNotFound
		}
		return rows, err
	})
	if err != nil {
		return nil, err
	}
	return messagesOf(sessionID, rows), nil
}

// MessageCounts says how many messages of a session a reader may see.
type MessageCounts struct {
	Total        int64                `json:"total"`
	ByVisibility map[Visibility]int64 `json:"by_visibility"`
	BySender     map[string]int64     `json:"by_sender"`
}

// CountMessages counts the messages of a session that reader may see, in all, by visibility and by sender. An unknown
// session is [ErrSessionNotFound].
func (m *Manager) CountMessages(ctx context.Context, sessionID string, reader Reader) (MessageCounts, error) {
	if _, err := messageReadInput(sessionID, &reader, 0, nil); err != nil {
		return MessageCounts{}, err
	}
	sight := reader.see(nil)
	rows, err := repeatable(ctx, m, "count messages", func(db gen.DBTX) ([]gen.MessageCountRow, error) {
		return foundSession(queries.MessageCount(ctx, db, gen.MessageCountParams{
			Seen: sight.seen, Own: sight.own, Reader: reader.AgentID, Kin: sight.kin, ReaderType: reader.AgentType,
			SessionID: sessionID,
		}))
	})
	if err != nil {
		return MessageCounts{}, err
	}
	counts := MessageCounts{ByVisibility: make(map[Visibility]int64), BySender: make(map[string]int64)}
	for _, row := range rows {
		if row.Count > 0 { // else the session has no message to count
			counts.Total += row.Count
			counts.ByVisibility[Visibility(row.Visibility)] += row.Count
			counts.BySender[row.Sender] += row.Count
		}
	}
	return counts, nil
}

// messageReadInput checks what every read of messages takes, and returns the limit.
func messageReadInput(sessionID string, reader *Reader, limit int, cursor *MessageCursor) (int32, error) {
	if err := sessionIDInput(sessionID); err != nil {
		return 0, err
	}
	if err := reader.validate(); err != nil {
		return 0, err
	}
	if cursor != nil {
		if err := cursor.validate(); err != nil {
			return 0, err
		}
	}
	return limitInput(limit, defaultMessagePage, maxMessagePage)
}

// foundSession turns no rows, which a statement on a session gives when it does not exist, into an error.
func foundSession[R any](rows []R, err error) ([]R, error) {
	if err == nil && len(rows) == 0 {
		err = ErrSessionNotFound
	}
	return rows, err
}
