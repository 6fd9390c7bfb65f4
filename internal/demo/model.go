package demo

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"unicode"
)

// This file says what readers must get, from the documented rules alone. It shares no code with the store, so that a
// mistake there cannot hide here.

const (
	public    = "public"
	private   = "private"
	agentOnly = "agent_only"
	adminOnly = "admin_only"
)

// reader is who reads.
type reader struct {
	agent string
	kind  string // as the sender_type of messages; may be empty
	admin bool
}

// String returns the reader as a report names it.
func (r reader) String() string {
	text := r.agent
	if r.kind != "" {
		text += " (" + r.kind + ")"
	}
	if r.admin {
		text += ", admin"
	}
	return text
}

// maySee is the rule of visibility.
func (r reader) maySee(e *Entry) bool {
	switch {
	case r.admin || e.Visibility == public:
		return true
	case e.Visibility == private:
		return e.Sender == r.agent
	case e.Visibility == agentOnly:
		return e.Sender == r.agent || r.kind != "" && clean(e.SenderType) == r.kind
	default:
		return false
	}
}

// clean is the rule for texts: control characters other than tab, newline and carriage return go, then the white space
// around the rest.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\t' && c != '\n' && c != '\r' {
			return -1
		}
		return c
	}, text))
}

// sameJSON reports whether two texts are the same JSON value: the order of keys, white space and the way a number is
// written do not matter. Nothing and nothing are the same too.
func sameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return bytes.Equal(a, b) || sameValue(decodeJSON(a), decodeJSON(b))
}

// invalidJSON equals nothing, not even itself.
type invalidJSON struct{}

func decodeJSON(text []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return invalidJSON{}
	}
	return value
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			if other, ok := b[key]; !ok || !sameValue(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		if !ok || a == b {
			return ok
		}
		x, okX := new(big.Rat).SetString(a.String())
		y, okY := new(big.Rat).SetString(b.String())
		return okX && okY && x.Cmp(y) == 0
	case invalidJSON:
		return false
	default: // text, truth values, null
		return a == b
	}
}
