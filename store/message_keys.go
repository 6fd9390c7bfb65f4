package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// maxIdempotencyKeyLength is that of the column.
const maxIdempotencyKeyLength = 255

func idempotencyKeyInput(key string) (string, error) {
	if key == "" {
		return "", nil
	}
	return textInput("idempotency_key", key, maxIdempotencyKeyLength)
}

// idempotencyKeysInput returns the key of each message, nil when none has one. A key may not stand twice.
func idempotencyKeysInput(messages []NewMessage) ([]string, error) {
	var keys []string
	for i := range messages {
		key, err := idempotencyKeyInput(messages[i].IdempotencyKey)
		if err != nil {
			return nil, atIndex(i, err)
		}
		if key == "" {
			continue
		}
		if keys == nil {
			keys = make([]string, len(messages))
		}
		for j := range i {
			if keys[j] == key {
				return nil, atIndex(i, &ValidationError{
					Field: "idempotency_key", Rule: "unique", Limit: "different from those of the other messages", Got: fmt.Sprintf("that of messages[%d]", j),
				})
			}
		}
		keys[i] = key
	}
	return keys, nil
}

// digest returns the SHA-256 of what makes a message the same, in hexadecimal.
func (m *Message) digest() string {
	hash := sha256.New()
	var number [8]byte
	write := func(text string) {
		binary.BigEndian.PutUint64(number[:], uint64(len(text)))
		hash.Write(number[:])
		hash.Write([]byte(text))
	}
	write(m.Sender)
	write(m.SenderType)
	write(m.Content)
	write(string(m.Visibility))
	write(string(m.MessageType))
	write(string(m.Metadata))
	var parent int64
	if m.ParentMessageID != nil {
		parent = *m.ParentMessageID
	}
	binary.BigEndian.PutUint64(number[:], uint64(parent))
	hash.Write(number[:])
	return hex.EncodeToString(hash.Sum(nil))
}

// addMessageOnce is AddMessage with an idempotency key.
func (m *Manager) addMessageOnce(ctx context.Context, message Message, timestamp *time.Time, key string) (Message, error) {
	digest := message.digest()
	row, err := repeatable(ctx, m, "add message", func(db gen.DBTX) (gen.MessageAddOnceRow, error) {
		row, err := queries.MessageAddOnce(ctx, db, gen.MessageAddOnceParams{
			SessionID: message.SessionID, Key: key, Digest: digest, Sender: message.Sender, SenderType: message.SenderType,
			Content: message.Content, Visibility: string(message.Visibility), MessageType: string(message.MessageType),
			Metadata: message.Metadata, Timestamp: timestamp, ParentMessageID: message.ParentMessageID,
		})
		switch {
		case err != nil:
		case row.ID == 0:
			err = notAdded(row.SessionFound)
		case row.Digest != digest:
			err = ErrIdempotencyConflict
		}
		return row, err
	})
	m.announce(ctx, messageTopic(message.SessionID), err)
	if err != nil {
		return Message{}, err
	}
	message.ID, message.Timestamp = row.ID, row.Timestamp
	return message, nil
}

// addMessagesOnce is AddMessages where some have an idempotency key. It completes the messages in place. A conflict is
// known only after the statement, so that it needs a transaction to take the other messages back.
func (m *Manager) addMessagesOnce(ctx context.Context, messages []Message, batch gen.MessageAddManyParams, keys []string) error {
	digests := make([]string, len(messages))
	for i := range messages {
		if keys[i] != "" {
			digests[i] = messages[i].digest()
		}
	}
	allOnce := !slices.Contains(keys, "")
	return m.inTx(ctx, TxOptions{}, allOnce, func(ctx context.Context) error {
		_, err := query(ctx, m, "add messages", func(db gen.DBTX) (struct{}, error) {
			rows, err := queries.MessageAddManyOnce(ctx, db, gen.MessageAddManyOnceParams{
				SessionID: batch.SessionID, Keys: keys, Digests: digests, Contents: batch.Contents, Senders: batch.Senders,
				SenderTypes: batch.SenderTypes, Visibilities: batch.Visibilities, MessageTypes: batch.MessageTypes,
				Metadata: batch.Metadata, Timestamps: batch.Timestamps, ParentMessageIds: batch.ParentMessageIds,
			})
			if err != nil {
				return struct{}{}, err
			}
			if rows[0].ID == 0 {
				return struct{}{}, notAdded(rows[0].SessionFound)
			}
			for i, row := range rows {
				if row.Digest != digests[i] {
					return struct{}{}, atIndex(i, ErrIdempotencyConflict)
				}
				messages[i].ID, messages[i].Timestamp = row.ID, row.Timestamp
			}
			return struct{}{}, nil
		})
		m.announce(ctx, messageTopic(batch.SessionID), err)
		return err
	})
}
