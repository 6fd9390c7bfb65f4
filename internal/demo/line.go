package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of the product as its documentation states them, for checking a transcript before anything is stored.
const (
	maxPurpose        = 1000    // characters
	maxSenderType     = 50      // characters
	maxContent        = 100_000 // characters
	maxMetadata       = 10_000  // characters of JSON
	maxMetadataKeys   = 50
	maxMetadataKey    = 100 // characters
	maxMetadataDepth  = 100
	maxExponentDigits = 4

	lastSecond = 253_402_300_799 // of the year 9999
)

var (
	sessionPattern = regexp.MustCompile(`\Asession_[0-9a-f]{16}\z`)
	agentPattern   = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,99}\z`)
	levels         = []string{public, private, agentOnly, adminOnly}
)

// line is one line of a transcript as it is written. A nil is a field that is missing or null.
type line struct {
	Ref        *int64          `json:"ref"`
	Session    *string         `json:"session"`
	Purpose    *string         `json:"purpose"`
	Sender     *string         `json:"sender"`
	SenderType *string         `json:"sender_type"`
	Visibility *string         `json:"visibility"`
	Content    *string         `json:"content"`
	Metadata   json.RawMessage `json:"metadata"`
	Parent     *int64          `json:"parent"`
	Time       *float64        `json:"time"`

	time time.Time
}

// parseLine reads a line and checks everything that can be seen without the others.
func parseLine(text []byte) (*line, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not valid UTF-8")
	}
	// By hand, as encoding/json takes "Parent" for "parent".
	var fields map[string]json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(text, &fields); errors.As(err, &syntax) {
		return nil, fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
	} else if err != nil || fields == nil {
		return nil, errors.New("it is not a JSON object")
	}
	if err := checkLossless(text); err != nil {
		return nil, err
	}
	l := new(line)
	targets := map[string]any{
		"ref": &l.Ref, "session": &l.Session, "purpose": &l.Purpose, "sender": &l.Sender, "sender_type": &l.SenderType,
		"visibility": &l.Visibility, "content": &l.Content, "metadata": &l.Metadata, "parent": &l.Parent, "time": &l.Time,
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		target, known := targets[name]
		if !known {
			return nil, fmt.Errorf("unknown field %.60q", name)
		}
		if err := json.Unmarshal(fields[name], target); err != nil {
			return nil, fmt.Errorf("field %q must be %s", name, kindOf(target))
		}
	}
	for _, name := range []string{"ref", "session", "purpose", "sender", "sender_type", "visibility", "content", "time"} {
		if value, ok := fields[name]; !ok || string(value) == "null" {
			return nil, fmt.Errorf("field %q is missing", name)
		}
	}
	return l, l.check()
}

func kindOf(target any) string {
	switch target.(type) {
	case **int64:
		return "a whole number"
	case **float64:
		return "a number"
	default:
		return "a text"
	}
}

func (l *line) check() error {
	switch {
	case !sessionPattern.MatchString(*l.Session):
		return fmt.Errorf("session %.60q is not session_ and 16 lower-case hexadecimal digits", *l.Session)
	case !agentPattern.MatchString(*l.Sender):
		return fmt.Errorf("sender %.120q is not 1 to 100 letters, digits, _ or -, the first a letter or digit", *l.Sender)
	case !slices.Contains(levels, *l.Visibility):
		return fmt.Errorf("visibility %.60q is none of %s", *l.Visibility, strings.Join(levels, ", "))
	case *l.Time < 0 || *l.Time > lastSecond:
		return errors.New("time must be seconds since 1970, before the year 10000")
	}
	for _, text := range []struct {
		field, value string
		most         int
	}{{"purpose", *l.Purpose, maxPurpose}, {"sender_type", *l.SenderType, maxSenderType}, {"content", *l.Content, maxContent}} {
		if n := utf8.RuneCountInString(clean(text.value)); n < 1 || n > text.most {
			return fmt.Errorf("%s has %d characters without control characters and outer white space, not 1 to %d",
				text.field, n, text.most)
		}
	}
	l.time = time.UnixMicro(int64(math.Round(*l.Time * 1e6))).UTC()
	if string(l.Metadata) == "null" {
		l.Metadata = nil
	}
	return checkMetadata(l.Metadata)
}

// checkMetadata refuses what cannot be stored unchanged.
func checkMetadata(text json.RawMessage) error {
	if text == nil {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return errors.New("metadata must be an object")
	}
	if len(object) > maxMetadataKeys {
		return fmt.Errorf("metadata has %d keys, more than %d", len(object), maxMetadataKeys)
	}
	for key := range object {
		if n := utf8.RuneCountInString(key); n > maxMetadataKey {
			return fmt.Errorf("metadata has a key of %d characters, more than %d", n, maxMetadataKey)
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return err
	}
	if n := utf8.RuneCount(compact.Bytes()); n > maxMetadata {
		return fmt.Errorf("metadata has %d characters, more than %d", n, maxMetadata)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case string:
			if strings.ContainsRune(token, 0) {
				return errors.New("metadata holds a NUL character, which PostgreSQL does not store")
			}
		case json.Number:
			_, exponent, _ := strings.Cut(strings.ToLower(token.String()), "e")
			if len(strings.TrimLeft(exponent, "+-0")) > maxExponentDigits {
				return fmt.Errorf("metadata holds the number %.40s, which PostgreSQL does not store", token)
			}
		}
	}
}

// checkLossless refuses valid JSON of which a decoder loses something: a key twice in one object, half of a surrogate
// pair. It also refuses nesting without end.
func checkLossless(text []byte) error {
	if at := loneSurrogate(text); at >= 0 {
		return fmt.Errorf("half of a surrogate pair at byte %d", at+1)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type container struct {
		keys map[string]bool // nil for an array
		key  bool            // whether a key comes next
	}
	var open []container
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var top *container
		if len(open) > 0 {
			top = &open[len(open)-1]
		}
		if key, ok := token.(string); ok && top != nil && top.key {
			if top.keys[key] {
				return fmt.Errorf("the key %.60q occurs twice in one object", key)
			}
			top.keys[key], top.key = true, false
			continue
		}
		if top != nil {
			top.key = top.keys != nil // behind this value
		}
		switch token {
		case json.Delim('{'):
			open = append(open, container{keys: make(map[string]bool), key: true})
		case json.Delim('['):
			open = append(open, container{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxMetadataDepth+1 { // metadata is one level below the line
			return fmt.Errorf("it nests deeper than %d levels", maxMetadataDepth)
		}
	}
}

// loneSurrogate returns where JSON has an escape like \ud83d without its other half, or -1. encoding/json replaces these.
func loneSurrogate(text []byte) int {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch half := escaped(text[i:]); {
		case half >= 0xD800 && half < 0xDC00:
			if next := escaped(text[i+6:]); next < 0xDC00 || next > 0xDFFF {
				return i
			}
			i += 11
		case half >= 0xDC00 && half < 0xE000:
			return i
		default:
			i++ // the character behind the backslash may be another one
		}
	}
	return -1
}

// escaped returns the number of an escape \uXXXX at the start of text, or -1.
func escaped(text []byte) int {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n := 0
	for _, c := range text[2:6] {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 {
			return -1
		}
		n = n<<4 | digit
	}
	return n
}
