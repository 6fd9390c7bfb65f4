package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// metadataScan applies the rules of metadata to a text that is known to be JSON and valid UTF-8, in one pass.
type metadataScan struct {
	// spaced is set when there is white space between tokens.
	spaced bool

	text   []byte
	pos    int
	length int // characters without white space, numbers written out
	depth  int
	// open describes the objects and arrays around the position, the outermost at 1.
	open [MaxMetadataDepth + 1]jsonContainer
	// keys are those of the open objects, each decoded. The ones of an object begin at its firstKey.
	keys [][]byte
}

type jsonContainer struct {
	object   bool
	firstKey int
}

// checkMetadata returns the first rule that text breaks, and whether there is white space between its tokens.
func checkMetadata(text []byte) (spaced bool, err error) {
	if text[0] != '{' {
		return false, metadataError("json", "a JSON object", jsonKind(text[0]))
	}
	s := metadataScans.Get().(*metadataScan)
	*s = metadataScan{text: text, keys: s.keys[:0]}
	err = s.check()
	spaced = s.spaced
	if cap(s.keys) <= 4*MaxMetadataKeys {
		clear(s.keys[:cap(s.keys)])
		s.text = nil
		metadataScans.Put(s)
	}
	return spaced, err
}

// metadataScans keeps scans for the room that their keys take.
var metadataScans = sync.Pool{New: func() any {
	return &metadataScan{keys: make([][]byte, 0, MaxMetadataKeys)}
}}

func (s *metadataScan) check() error {
	text := s.text
	expectKey := false
	for s.pos < len(text) {
		c := text[s.pos]
		var err error
		switch c {
		case ' ', '\t', '\r', '\n':
			s.spaced = true
			s.pos++
			continue
		case '{', '[':
			err = s.enter(c == '{')
		case '}', ']':
			err = s.leave()
		case '"':
			begin := s.pos
			err = s.quoted()
			if err == nil && expectKey {
				err = s.key(text[begin+1 : s.pos-1])
			}
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			err = s.number()
		default: // punctuation, or a letter of true, false and null
			s.pos++
			s.length++
		}
		if err != nil {
			return err
		}
		expectKey = c == '{' || c == ',' && s.open[s.depth].object
	}
	if s.length > MaxMetadataLength {
		return metadataError("length", fmt.Sprintf("at most %d characters of JSON", MaxMetadataLength), characters(s.length))
	}
	return nil
}

func (s *metadataScan) enter(object bool) error {
	if s.depth == MaxMetadataDepth {
		return metadataError("json", fmt.Sprintf("nested at most %d deep", MaxMetadataDepth), "more")
	}
	s.depth++
	s.open[s.depth] = jsonContainer{object: object, firstKey: len(s.keys)}
	s.pos++
	s.length++
	return nil
}

func (s *metadataScan) leave() error {
	container := s.open[s.depth]
	keys := s.keys[container.firstKey:]
	if s.depth == 1 && len(keys) > MaxMetadataKeys {
		return metadataError("length", fmt.Sprintf("at most %d keys", MaxMetadataKeys), strconv.Itoa(len(keys))+" keys")
	}
	if hasDuplicate(keys) {
		return metadataError("json", "free of duplicate keys", fmt.Sprintf("a key twice in one object at depth %d", s.depth))
	}
	s.keys = s.keys[:container.firstKey]
	s.depth--
	s.pos++
	s.length++
	return nil
}

// key takes the text between the quotes of a key.
func (s *metadataScan) key(raw []byte) error {
	key := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		var decoded string
		if err := json.Unmarshal(s.text[s.pos-len(raw)-2:s.pos], &decoded); err != nil {
			return metadataError("json", "a JSON object", "a key that cannot be read")
		}
		key = []byte(decoded)
	}
	if s.depth == 1 && len(key) > MaxMetadataKeyLength {
		if n := utf8.RuneCount(key); n > MaxMetadataKeyLength {
			return metadataError("length", fmt.Sprintf("keys of at most %d characters", MaxMetadataKeyLength), characters(n))
		}
	}
	s.keys = append(s.keys, key)
	return nil
}

// hasDuplicate may change the order of keys.
func hasDuplicate(keys [][]byte) bool {
	if len(keys) > 12 {
		slices.SortFunc(keys, bytes.Compare)
		for i := 1; i < len(keys); i++ {
			if bytes.Equal(keys[i-1], keys[i]) {
				return true
			}
		}
		return false
	}
	for i, key := range keys {
		for _, other := range keys[:i] {
			if bytes.Equal(key, other) {
				return true
			}
		}
	}
	return false
}

// quoted reads a string and its quotes.
func (s *metadataScan) quoted() error {
	begin := s.pos
	i := begin + 1
	for s.text[i] != '"' {
		if s.text[i] != '\\' {
			i++
			continue
		}
		if s.text[i+1] != 'u' {
			i += 2
			continue
		}
		unit := hexUnit(s.text[i+2:])
		switch {
		case unit == 0:
			return metadataError("json", "free of NUL characters", `an escaped one, \u0000`)
		case utf16.IsSurrogate(unit):
			// The text ends with a quote and a brace, so a backslash and a u are followed by more.
			if s.text[i+6] != '\\' || s.text[i+7] != 'u' ||
				utf16.DecodeRune(unit, hexUnit(s.text[i+8:])) == utf8.RuneError {
				return metadataError("json", "free of incomplete surrogate pairs", `half of one, such as \ud83d`)
			}
			i += 6
		}
		i += 6
	}
	s.pos = i + 1
	s.length += utf8.RuneCount(s.text[begin:s.pos])
	return nil
}

// hexUnit reads the four digits of an escape.
func hexUnit(digits []byte) rune {
	var unit rune
	for _, c := range digits[:4] {
		digit := c - '0'
		if c > '9' {
			digit = c | 0x20 - 'a' + 10
		}
		unit = unit<<4 | rune(digit)
	}
	return unit
}

// number reads a number and counts how long it is without its exponent, which is how jsonb prints it. That keeps it far
// within what PostgreSQL's numeric can hold, and 1e100000 from becoming a hundred thousand characters when it is read.
func (s *metadataScan) number() error {
	length, whole, fraction, exponent := 0, 0, 0, 0
	count := &whole
	negative := false
	for ; s.pos < len(s.text); s.pos++ {
		c := s.text[s.pos]
		switch {
		case count == &exponent && isDigit(c):
			exponent = min(10*exponent+int(c-'0'), 1_000_000)
		case isDigit(c):
			*count++
		case c == '.':
			count = &fraction
		case c == 'e' || c == 'E':
			count = &exponent
		case c == '-' && count == &exponent:
			negative = true
		case c == '-':
			length++
		case c == '+':
		default:
			return s.addNumber(length, whole, fraction, exponent, negative)
		}
	}
	return s.addNumber(length, whole, fraction, exponent, negative)
}

func (s *metadataScan) addNumber(sign, whole, fraction, exponent int, negative bool) error {
	if negative {
		exponent = -exponent
	}
	length := sign + max(1, whole+exponent)
	if scale := fraction - exponent; scale > 0 {
		length += 1 + scale
	}
	if length > MaxMetadataLength {
		return metadataError("json", fmt.Sprintf("numbers of at most %d digits without exponent", MaxMetadataLength), "a larger one")
	}
	s.length += length
	return nil
}

// jsonKind names the kind of a JSON value by its first character.
func jsonKind(first byte) string {
	switch first {
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	default:
		return "a number"
	}
}
