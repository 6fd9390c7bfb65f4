package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The limits of what callers hand in: the first generation's input rules. Lengths are in characters (Unicode code
// points, as PostgreSQL's length() counts them), not in bytes, and are measured after a text has been cleaned.
const (
	// MaxAgentIDLength is the length of an agent id, which has at least one character.
	MaxAgentIDLength = 100
	// MaxPurposeLength is the length of a session's purpose, which has at least one character.
	MaxPurposeLength = 1000
	// MaxContentLength is the length of a message's content, which has at least one character.
	MaxContentLength = 100_000
	// MaxMemoryKeyLength is the length of a memory key, which has at least one character and no white space.
	MaxMemoryKeyLength = 255
	// MaxMemoryValueLength is the length of a memory value, which has at least one character that is no white space.
	MaxMemoryValueLength = 100_000
	// MaxEventTypeLength is the length of an audit event's type, which has at least one character.
	MaxEventTypeLength = 100
	// MaxAuditResourceLength is the length of the resource of an audit event, which may be empty.
	MaxAuditResourceLength = 255
	// MaxAuditActionLength is the length of the action and of the result of an audit event, which may be empty.
	MaxAuditActionLength = 100
	// MaxMessageTypeLength is the length of a message type. An empty one becomes agent_response.
	MaxMessageTypeLength = 50
	// MaxSenderTypeLength is the length of a sender type. An empty one becomes generic.
	MaxSenderTypeLength = 50
	// MaxMetadataKeys is how many keys a metadata object has at its top level.
	MaxMetadataKeys = 50
	// MaxMetadataKeyLength is the length of a key at the top level of a metadata object.
	MaxMetadataKeyLength = 100
	// MaxMetadataLength is the length of a metadata object as JSON without white space between its tokens. A number
	// counts as PostgreSQL writes it, without exponent: 1e6 has seven characters.
	MaxMetadataLength = 10_000
	// MaxMetadataDepth is how deep objects and arrays nest in metadata, the outermost object being 1.
	MaxMetadataDepth = 100
	// MaxTTL is the longest time that a memory entry may live: 31,536,000 seconds.
	MaxTTL = 365 * 24 * time.Hour
)

const (
	defaultMessageType = "agent_response"
	defaultSenderType  = "generic"
)

// sessionIDPrefix begins every session id. Sixteen lower-case hexadecimal digits follow, and nothing else.
const sessionIDPrefix = "session_"

// ValidateSessionID says whether s has the form of a session id: session_ and 16 lower-case hexadecimal digits, and
// nothing after them, not even a line break. It does not say whether such a session exists.
func ValidateSessionID(s string) bool {
	if len(s) != len(sessionIDPrefix)+16 || s[:len(sessionIDPrefix)] != sessionIDPrefix {
		return false
	}
	for i := len(sessionIDPrefix); i < len(s); i++ {
		if !isDigit(s[i]) && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// sessionIDInput demands what ValidateSessionID accepts.
func sessionIDInput(s string) error {
	if ValidateSessionID(s) {
		return nil
	}
	return &ValidationError{
		Field: "session_id", Rule: "pattern", Limit: "session_ and 16 lower-case hexadecimal digits", Got: describeLength(s),
	}
}

// agentIDInput demands what the regular expression ^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$ means, without its weakness that $
// also matches before a trailing line break.
func agentIDInput(field, s string) error {
	ok := 1 <= len(s) && len(s) <= MaxAgentIDLength
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || i > 0 && (c == '_' || c == '-')
	}
	if ok {
		return nil
	}
	return &ValidationError{
		Field: field, Rule: "pattern", Limit: "1 to 100 letters A-Z or a-z, digits, _ or -, the first a letter or digit",
		Got: describeLength(s),
	}
}

// textInput returns s without control characters and without white space around it. It refuses invalid UTF-8, a text of
// which nothing is left, and one of more than max characters.
//
// Control characters are those of the Unicode category Cc, that is C0 with NUL, DEL and C1, except tab, line feed and
// carriage return. Nothing is allocated when there are none.
func textInput(field, s string, max int) (string, error) {
	return textBetween(field, s, 1, max)
}

// optionalTextInput is textInput for a text that may be empty.
func optionalTextInput(field, s string, max int) (string, error) {
	return textBetween(field, s, 0, max)
}

// keyInput is textInput for a memory key. White space within it is refused, not removed.
func keyInput(field, s string) (string, error) {
	key, err := textInput(field, s, MaxMemoryKeyLength)
	if err != nil {
		return "", err
	}
	if i := strings.IndexFunc(key, unicode.IsSpace); i >= 0 {
		return "", &ValidationError{
			Field: field, Rule: "pattern", Limit: "free of white space",
			Got: "white space at character " + strconv.Itoa(utf8.RuneCountInString(key[:i])+1),
		}
	}
	return key, nil
}

// valueInput accepts a memory value, which is kept as it is: it may be program output or a document, of which control
// characters and outer white space are a part. It refuses what PostgreSQL cannot store and a value of white space only.
func valueInput(s string) error {
	if err := storableInput("value", s); err != nil {
		return err
	}
	if strings.TrimSpace(s) == "" {
		return &ValidationError{Field: "value", Rule: "length", Limit: "1 or more characters that are not white space", Got: "0"}
	}
	if len(s) > MaxMemoryValueLength {
		if n := utf8.RuneCountInString(s); n > MaxMemoryValueLength {
			return &ValidationError{
				Field: "value", Rule: "length", Limit: fmt.Sprintf("1 to %d characters", MaxMemoryValueLength), Got: characters(n),
			}
		}
	}
	return nil
}

// storableInput refuses what PostgreSQL's text cannot hold.
func storableInput(field, s string) error {
	if !utf8.ValidString(s) {
		return &ValidationError{Field: field, Rule: "utf8", Limit: "valid", Got: "invalid byte " + strconv.Itoa(invalidByte(s)+1)}
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return &ValidationError{
			Field: field, Rule: "pattern", Limit: "free of NUL characters",
			Got: "one at character " + strconv.Itoa(utf8.RuneCountInString(s[:i])+1),
		}
	}
	return nil
}

// eventTypeInput is textInput for the type of an audit event.
func eventTypeInput(s string) (string, error) {
	return textInput("event_type", s, MaxEventTypeLength)
}

// messageTypeInput is textInput for a message type, of which an empty one means the default.
func messageTypeInput(s string) (string, error) {
	return textOrDefault("message_type", s, MaxMessageTypeLength, defaultMessageType)
}

// senderTypeInput is textInput for a sender type, of which an empty one means the default.
func senderTypeInput(s string) (string, error) {
	return textOrDefault("sender_type", s, MaxSenderTypeLength, defaultSenderType)
}

// ttlInput returns a time to live in whole microseconds, PostgreSQL's resolution. It rounds up, because 0 means that the
// entry never expires and a short time must not become that.
func ttlInput(field string, ttl time.Duration) (time.Duration, error) {
	if ttl < 0 || ttl > MaxTTL {
		return 0, ttlError(field, ttl.String())
	}
	return (ttl + time.Microsecond - 1).Truncate(time.Microsecond), nil
}

// ttlSecondsInput is ttlInput for a number of seconds.
func ttlSecondsInput(field string, seconds int) (time.Duration, error) {
	if seconds < 0 || seconds > int(MaxTTL/time.Second) {
		return 0, ttlError(field, strconv.Itoa(seconds)+" seconds")
	}
	return time.Duration(seconds) * time.Second, nil
}

// rangeInput demands min ≤ v ≤ max.
func rangeInput(field string, v, min, max int) error {
	if min <= v && v <= max {
		return nil
	}
	return &ValidationError{Field: field, Rule: "range", Limit: fmt.Sprintf("%d to %d", min, max), Got: strconv.Itoa(v)}
}

func ttlError(field, got string) error {
	return &ValidationError{Field: field, Rule: "range", Limit: "0 (never expires) to 31536000 seconds", Got: got}
}

func textOrDefault(field, s string, max int, otherwise string) (string, error) {
	text, err := optionalTextInput(field, s, max)
	if err == nil && text == "" {
		text = otherwise
	}
	return text, err
}

func textBetween(field, s string, min, max int) (string, error) {
	if !utf8.ValidString(s) {
		return "", &ValidationError{Field: field, Rule: "utf8", Limit: "valid", Got: "invalid byte " + strconv.Itoa(invalidByte(s)+1)}
	}
	text := strings.TrimSpace(removeControls(s))
	if len(text) < min || len(text) > max {
		if n := utf8.RuneCountInString(text); n < min || n > max {
			return "", &ValidationError{
				Field: field, Rule: "length", Limit: fmt.Sprintf("%d to %d characters", min, max), Got: characters(n),
			}
		}
	}
	return text, nil
}

// invalidByte returns the offset of the first byte that is not part of valid UTF-8, or -1.
func invalidByte(s string) int {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// removeControls returns valid UTF-8 without the control characters that no text keeps.
func removeControls(s string) string {
	at := controlIndex(s)
	if at < 0 {
		return s
	}
	kept := make([]byte, 0, len(s)-1)
	for at >= 0 {
		kept = append(kept, s[:at]...)
		_, size := utf8.DecodeRuneInString(s[at:])
		s = s[at+size:]
		at = controlIndex(s)
	}
	return string(append(kept, s...))
}

// controlIndex returns the offset of the first control character to be removed from valid UTF-8, or -1. The characters
// U+0080 to U+009F are the byte C2, which occurs only as the first of two, and a byte below A0.
func controlIndex(s string) int {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' {
			if c != '\t' && c != '\n' && c != '\r' {
				return i
			}
		} else if c == 0x7F || c == 0xC2 && s[i+1] < 0xA0 {
			return i
		}
	}
	return -1
}

// describeLength says how long a refused value is, without showing it.
func describeLength(s string) string {
	if s == "" {
		return "an empty text"
	}
	return "another text of " + characters(utf8.RuneCountInString(s))
}

func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return strconv.Itoa(n) + " characters"
}
