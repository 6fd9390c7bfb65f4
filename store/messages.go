package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	defaultMessagePage = 50
	maxMessagePage     = 1000
	maxMessageBatch    = 1000
)

// MessageType says what kind of message it is. Rows of the first generation may hold other types than the constants.
type MessageType string

// The types of messages that the first generation knew.
const (
	MessageTypeUserMessage   MessageType = "user_message"
	MessageTypeSystemMessage MessageType = "system_message"
	MessageTypeAgentResponse MessageType = "agent_response" // the default
	MessageTypeToolResult    MessageType = "tool_result"
	MessageTypeError         MessageType = "error"
	MessageTypeStatusUpdate  MessageType = "status_update"
)

// Message is a message of a session. Messages are ordered by Timestamp, then ID.
type Message struct {
	ID              int64           `json:"id"`
	SessionID       string          `json:"session_id"`
	Sender          string          `json:"sender"`
	SenderType      string          `json:"sender_type"`
	Content         string          `json:"content"`
	Visibility      Visibility      `json:"visibility"`
	MessageType     MessageType     `json:"message_type"`
	Metadata        json.RawMessage `json:"metadata,omitempty"` // a JSON object, nil when there is none
	Timestamp       time.Time       `json:"timestamp"`
	ParentMessageID *int64          `json:"parent_message_id,omitempty"`
}

// Cursor returns the place of this message in its session.
func (m Message) Cursor() MessageCursor { return MessageCursor{Timestamp: m.Timestamp, ID: m.ID} }

// NewMessage is a message to add.
type NewMessage struct {
	// Sender is the id of the agent that writes. Required.
	Sender string
	// SenderType is the kind of that agent, for instance "claude", at most 50 characters; empty means "generic".
	SenderType string
	// Content is the text, 1 to 100,000 characters after control characters and outer white space are removed. Required.
	Content string
	// Visibility says who may see it; empty means public. Writing admin_only needs Admin.
	Visibility Visibility
	// MessageType is its kind, at most 50 characters; empty means agent_response.
	MessageType MessageType
	// Metadata is nil or anything that marshals to a JSON object of at most 50 keys and 10,000 characters.
	Metadata any
	// ParentMessageID is the message of the same session that this one answers; nil means none.
	ParentMessageID *int64
	// Timestamp is its time, kept to the microsecond; zero means the database's clock.
	Timestamp time.Time
	// Admin says that the sender is an admin.
	Admin bool
	// IdempotencyKey makes a retry safe, at most 255 characters; empty means none. Adding the same message to the same
	// session under the same key again adds nothing and returns the first. Another message under the key is
	// [ErrIdempotencyConflict]. What makes messages the same is all but Timestamp and Admin.
	IdempotencyKey string
}

// clean checks a message and returns it as it is stored, but for the id and the time.
func (n *NewMessage) clean(sessionID string) (Message, error) {
	message := Message{SessionID: sessionID, Sender: n.Sender, ParentMessageID: n.ParentMessageID}
	if err := agentIDInput("sender", n.Sender); err != nil {
		return Message{}, err
	}
	var err error
	if message.SenderType, err = senderTypeInput(n.SenderType); err != nil {
		return Message{}, err
	}
	if message.Content, err = textInput("content", n.Content, MaxContentLength); err != nil {
		return Message{}, err
	}
	if message.Visibility, err = visibilityInput(n.Visibility); err != nil {
		return Message{}, err
	}
	if message.Visibility == VisibilityAdminOnly && !n.Admin {
		return Message{}, fmt.Errorf("visibility admin_only: %w: the sender is not an admin", ErrPermission)
	}
	messageType, err := messageTypeInput(string(n.MessageType))
	if err != nil {
		return Message{}, err
	}
	message.MessageType = MessageType(messageType)
	if message.Metadata, err = metadataInput(n.Metadata); err != nil {
		return Message{}, err
	}
	if parent := n.ParentMessageID; parent != nil && *parent < 1 {
		return Message{}, &ValidationError{Field: "parent_message_id", Rule: "range", Limit: "1 or more", Got: fmt.Sprint(*parent)}
	}
	return message, nil
}

// AddMessage adds a message to a session and returns it as stored, with its id and time; its metadata is the one given,
// which the database keeps by value. The audit row message_added is written with it. An unknown session is
// [ErrSessionNotFound], a parent that is not in the session is [ErrMessageNotFound], admin_only without Admin is
// [ErrPermission].
func (m *Manager) AddMessage(ctx context.Context, sessionID string, message NewMessage) (Message, error) {
	const operation = "add message"
	if err := sessionIDInput(sessionID); err != nil {
		return Message{}, err
	}
	added, err := message.clean(sessionID)
	if err != nil {
		return Message{}, operationError(operation, err)
	}
	timestamp, err := timestampInput("timestamp", message.Timestamp)
	if err != nil {
		return Message{}, err
	}
	key, err := idempotencyKeyInput(message.IdempotencyKey)
	if err != nil {
		return Message{}, err
	}
	if key != "" {
		return m.addMessageOnce(ctx, added, timestamp, key)
	}
	row, err := query(ctx, m, operation, func(db gen.DBTX) (gen.MessageAddRow, error) {
		row, err := queries.MessageAdd(ctx, db, gen.MessageAddParams{
			SessionID: sessionID, Sender: added.Sender, SenderType: added.SenderType, Content: added.Content,
			Visibility: string(added.Visibility), MessageType: string(added.MessageType), Metadata: added.Metadata,
			Timestamp: timestamp, ParentMessageID: added.ParentMessageID,
		})
		if err == nil && row.ID == 0 {
			err = notAdded(row.SessionFound)
		}
		return row, err
	})
	m.announce(ctx, messageTopic(sessionID), err)
	if err != nil {
		return Message{}, err
	}
	added.ID, added.Timestamp = row.ID, row.Timestamp
	return added, nil
}

// notAdded says why a statement that adds messages added none.
func notAdded(sessionFound bool) error {
	if !sessionFound {
		return ErrSessionNotFound
	}
	return fmt.Errorf("parent in this session: %w", ErrMessageNotFound)
}

// AddMessages adds 1 to 1000 messages to one session, all or none, in one statement, and returns them as stored, in the
// order given. Those without a time of their own share one, and their ids keep them in order. Errors are those of
// [Manager.AddMessage]; one about a single message names its index. A parent must be in the session before. Where a message
// has an idempotency key the statement runs in a transaction, which takes two more round trips.
func (m *Manager) AddMessages(ctx context.Context, sessionID string, messages []NewMessage) ([]Message, error) {
	const operation = "add messages"
	if err := sessionIDInput(sessionID); err != nil {
		return nil, err
	}
	if err := rangeInput("number of messages", len(messages), 1, maxMessageBatch); err != nil {
		return nil, err
	}
	added := make([]Message, len(messages))
	batch := newMessageBatch(sessionID, len(messages))
	for i := range messages {
		var err error
		if added[i], err = messages[i].clean(sessionID); err == nil {
			_, err = timestampInput("timestamp", messages[i].Timestamp)
		}
		if err != nil {
			return nil, operationError(operation, atIndex(i, err))
		}
		appendToBatch(&batch, &added[i], messages[i].Timestamp)
	}
	keys, err := idempotencyKeysInput(messages)
	if err != nil {
		return nil, err
	}
	if keys != nil {
		return added, m.addMessagesOnce(ctx, added, batch, keys)
	}
	rows, err := query(ctx, m, operation, func(db gen.DBTX) ([]gen.MessageAddManyRow, error) {
		rows, err := queries.MessageAddMany(ctx, db, batch)
		if err == nil && len(rows) > 0 && rows[0].ID == 0 {
			err = notAdded(rows[0].SessionFound)
		}
		return rows, err
	})
	m.announce(ctx, messageTopic(sessionID), err)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		added[i].ID, added[i].Timestamp = rows[i].ID, rows[i].Timestamp
	}
	return added, nil
}

// newMessageBatch makes room for the columns of size messages.
func newMessageBatch(sessionID string, size int) gen.MessageAddManyParams {
	return gen.MessageAddManyParams{
		SessionID: sessionID, Contents: make([]string, 0, size), Senders: make([]string, 0, size),
		SenderTypes: make([]string, 0, size), Visibilities: make([]string, 0, size), MessageTypes: make([]string, 0, size),
		Metadata: make([]string, 0, size), Timestamps: make([]time.Time, 0, size), ParentMessageIds: make([]int64, 0, size),
	}
}

func appendToBatch(batch *gen.MessageAddManyParams, message *Message, timestamp time.Time) {
	var parent int64
	if message.ParentMessageID != nil {
		parent = *message.ParentMessageID
	}
	batch.Contents = append(batch.Contents, message.Content)
	batch.Senders = append(batch.Senders, message.Sender)
	batch.SenderTypes = append(batch.SenderTypes, message.SenderType)
	batch.Visibilities = append(batch.Visibilities, string(message.Visibility))
	batch.MessageTypes = append(batch.MessageTypes, string(message.MessageType))
	batch.Metadata = append(batch.Metadata, string(message.Metadata))
	batch.Timestamps = append(batch.Timestamps, timestamp.UTC())
	batch.ParentMessageIds = append(batch.ParentMessageIds, parent)
}

// atIndex makes an error about one of several messages say which.
func atIndex(i int, err error) error {
	var invalid *ValidationError
	if errors.As(err, &invalid) {
		named := *invalid
		named.Field = fmt.Sprintf("messages[%d].%s", i, invalid.Field)
		return &named
	}
	return fmt.Errorf("messages[%d]: %w", i, err)
}

// GetMessagesParams are the arguments of [Manager.GetMessages].
type GetMessagesParams struct {
	// SessionID is the session to read. Required.
	SessionID string
	// Reader is who reads. Required.
	Reader Reader
	// Visibility narrows to one level; empty means all that the reader may see.
	Visibility Visibility
	// Limit is the size of the page, 1 to 1000; 0 means 50.
	Limit int
	// Offset skips messages, as the first generation did; its cost grows with what it skips. Not together with After.
	Offset int
	// After continues behind a place, at the same cost wherever that is: the Next of the page before, or a zero cursor
	// for the start. nil means to page by Offset.
	After *MessageCursor
}

// MessagePage is a page of messages, oldest first.
type MessagePage struct {
	Messages []Message `json:"messages"`
	// TotalCount is how many messages of the session the reader may see under the filter. Only pages by offset count
	// them, as this reads the whole session; with After it is -1.
	TotalCount int64 `json:"total_count"`
	// HasMore says whether messages follow this page.
	HasMore bool `json:"has_more"`
	// Next is the place behind this page, for After or Before. For an empty page it is where the page started, so that a
	// reader can ask again; an empty page by offset does not know that and has the zero cursor.
	//
	// Whoever polls must know that a message takes its place when its statement runs but is seen when its transaction
	// commits: one added by a slow transaction can come to stand before a cursor that is already behind it.
	Next MessageCursor `json:"next"`
}

// GetMessages returns a page of the messages of a session that a reader may see, oldest first. An unknown session is
// [ErrSessionNotFound], an unknown visibility is a [*ValidationError], and one that the reader may not see gives nothing.
func (m *Manager) GetMessages(ctx context.Context, params GetMessagesParams) (MessagePage, error) {
	limit, err := messageReadInput(params.SessionID, &params.Reader, params.Limit, params.After)
	if err != nil {
		return MessagePage{}, err
	}
	filter, err := visibilityFilterInput(params.Visibility)
	if err != nil {
		return MessagePage{}, err
	}
	offset, err := offsetInput(params.Offset)
	if err != nil {
		return MessagePage{}, err
	}
	sight := params.Reader.see(filter)
	if params.After == nil {
		return m.messagePage(ctx, params, sight, limit, offset)
	}
	if offset > 0 {
		return MessagePage{}, &ValidationError{Field: "offset", Rule: "range", Limit: "0 together with after", Got: fmt.Sprint(offset)}
	}
	return m.messagePageAfter(ctx, params, sight, limit)
}

func (m *Manager) messagePage(ctx context.Context, params GetMessagesParams, sight sight, limit, offset int32) (MessagePage, error) {
	rows, err := repeatable(ctx, m, "get messages", func(db gen.DBTX) ([]gen.MessagePageRow, error) {
		return foundSession(queries.MessagePage(ctx, db, gen.MessagePageParams{
			Seen: sight.seen, Own: sight.own, Reader: params.Reader.AgentID, Kin: sight.kin, ReaderType: params.Reader.AgentType,
			SkipRows: offset, MaxRows: limit, SessionID: params.SessionID,
		}))
	})
	if err != nil {
		return MessagePage{}, err
	}
	page := MessagePage{TotalCount: rows[0].TotalCount, Messages: make([]Message, 0, len(rows))}
	for i := range rows {
		row := &rows[i]
		if row.ID == 0 { // the session has no message on this page
			continue
		}
		page.Messages = append(page.Messages, Message{
			ID: row.ID, SessionID: params.SessionID, Sender: row.Sender, SenderType: row.SenderType, Content: row.Content,
			Visibility: Visibility(row.Visibility), MessageType: MessageType(row.MessageType), Metadata: objectOrNil(row.Metadata),
			Timestamp: row.Timestamp, ParentMessageID: row.ParentMessageID,
		})
	}
	page.HasMore = int64(offset)+int64(len(page.Messages)) < page.TotalCount && len(page.Messages) > 0
	if n := len(page.Messages); n > 0 {
		page.Next = page.Messages[n-1].Cursor()
	}
	return page, nil
}

func (m *Manager) messagePageAfter(ctx context.Context, params GetMessagesParams, sight sight, limit int32) (MessagePage, error) {
	rows, err := repeatable(ctx, m, "get messages", func(db gen.DBTX) ([]gen.MessagePageAfterRow, error) {
		return foundSession(queries.MessagePageAfter(ctx, db, gen.MessagePageAfterParams{
			AfterTimestamp: params.After.Timestamp, AfterID: params.After.ID,
			Seen: sight.seen, Own: sight.own, Reader: params.Reader.AgentID, Kin: sight.kin, ReaderType: params.Reader.AgentType,
			MaxRows: limit + 1, SessionID: params.SessionID,
		}))
	})
	if err != nil {
		return MessagePage{}, err
	}
	return pageOf(params.SessionID, rows, limit, *params.After), nil
}
