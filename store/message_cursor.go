package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MessageCursor is a place in the order of a session's messages: behind the message of this time and id. The zero
// cursor is before the first. As text it survives a restart of the reader.
type MessageCursor struct {
	Timestamp time.Time
	ID        int64
}

// MarshalText returns the cursor as text, microseconds since 1970 and id, for instance "1755906515123456.42".
func (c MessageCursor) MarshalText() ([]byte, error) {
	text := strconv.AppendInt(nil, c.Timestamp.UnixMicro(), 10)
	text = append(text, '.')
	return strconv.AppendInt(text, c.ID, 10), nil
}

// UnmarshalText reads what MarshalText wrote; anything else is a [*ValidationError].
func (c *MessageCursor) UnmarshalText(text []byte) error {
	micros, id, ok := strings.Cut(string(text), ".")
	timestamp, errMicros := strconv.ParseInt(micros, 10, 64)
	message, errID := strconv.ParseInt(id, 10, 64)
	if !ok || errMicros != nil || errID != nil {
		return &ValidationError{
			Field: "cursor", Rule: "pattern", Limit: "microseconds and id, as in 1755906515123456.42",
			Got: fmt.Sprintf("%.40q", text),
		}
	}
	cursor := MessageCursor{Timestamp: time.UnixMicro(timestamp).UTC(), ID: message}
	if err := cursor.validate(); err != nil {
		return err
	}
	*c = cursor
	return nil
}

// validate refuses a place that no message can have.
func (c MessageCursor) validate() error {
	if _, err := timestampInput("cursor", c.Timestamp); err != nil {
		return err
	}
	if c.ID < 0 {
		return &ValidationError{Field: "cursor", Rule: "range", Limit: "an id of 0 or more", Got: strconv.FormatInt(c.ID, 10)}
	}
	return nil
}
