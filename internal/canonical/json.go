package canonical

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Mend is something in a JSON text that PostgreSQL's jsonb refuses or silently changes.
type Mend uint8

// What is mended, each as a bit of a set.
const (
	MendNUL       Mend = 1 << iota // an escaped NUL: removed
	MendSurrogate                  // half of a surrogate pair: replaced by U+FFFD
	MendDuplicate                  // a key that occurs again in its object: the last one counts
	MendNumber                     // a number out of the range of numeric: becomes a string of the same digits
	MendControl                    // a control character that is not escaped: escaped
)

// MaxJSONDepth is how deep objects and arrays may lie within each other; the JSON functions of SQLite go no deeper.
const MaxJSONDepth = 1000

// The digits that numeric holds before and behind the decimal point.
const (
	numericWhole   = 131072
	numericDecimal = 16383
)

var errNotJSON = errors.New("not JSON")

// CanonicalJSON returns the canonical text of a JSON value that jsonb has or would have accepted: keys in the order of
// their bytes, the last of equal keys alone, no white space, only those characters escaped that must be, and numbers by
// their value: 1.50, 15e-1 and 1.5 are the same.
func CanonicalJSON(text string) (string, error) {
	node, _, err := parseJSON(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(len(text))
	node.write(&b, true)
	return b.String(), nil
}

// MendJSON returns a JSON text that jsonb accepts without changing a value, and what had to be mended for that. A text that
// needs no mending comes back as it is. It must be valid UTF-8 without NUL.
func MendJSON(text string) (string, Mend, error) {
	node, mended, err := parseJSON(text)
	if err != nil || mended == 0 {
		return text, mended, err
	}
	var b strings.Builder
	node.write(&b, false)
	return b.String(), mended, nil
}

// QuoteJSON returns a text as a JSON string.
func QuoteJSON(text string) string {
	var b strings.Builder
	writeString(&b, text)
	return b.String()
}

// jsonNode is a parsed value: an object, an array, a string, or a number or word as it is written.
type jsonNode struct {
	kind  byte // { [ " or 0
	text  string
	keys  []string
	items []jsonNode
}

type jsonParser struct {
	text  string
	pos   int
	depth int
	mend  Mend
}

func parseJSON(text string) (jsonNode, Mend, error) {
	p := jsonParser{text: text}
	node, err := p.value()
	if err == nil {
		p.space()
		if p.pos < len(text) {
			err = p.fail()
		}
	}
	return node, p.mend, err
}

func (p *jsonParser) fail() error { return fmt.Errorf("%w at byte %d", errNotJSON, p.pos+1) }

func (p *jsonParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// take moves over a byte if it is the next one.
func (p *jsonParser) take(c byte) bool {
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *jsonParser) value() (node jsonNode, err error) {
	p.space()
	if p.pos == len(p.text) {
		return node, p.fail()
	}
	switch c := p.text[p.pos]; c {
	case '{', '[':
		if p.depth++; p.depth > MaxJSONDepth {
			return node, fmt.Errorf("%w: more than %d levels", errNotJSON, MaxJSONDepth)
		}
		p.pos++
		node.kind = c
		if c == '{' {
			err = p.object(&node)
		} else {
			err = p.array(&node)
		}
		p.depth--
		return node, err
	case '"':
		node.kind = '"'
		node.text, err = p.str()
		return node, err
	case 't', 'f', 'n':
		for _, word := range []string{"true", "false", "null"} {
			if strings.HasPrefix(p.text[p.pos:], word) {
				p.pos += len(word)
				return jsonNode{text: word}, nil
			}
		}
		return node, p.fail()
	default:
		return p.number()
	}
}

func (p *jsonParser) array(node *jsonNode) error {
	if p.space(); p.take(']') {
		return nil
	}
	for {
		item, err := p.value()
		if err != nil {
			return err
		}
		node.items = append(node.items, item)
		p.space()
		if p.take(']') {
			return nil
		}
		if !p.take(',') {
			return p.fail()
		}
	}
}

func (p *jsonParser) object(node *jsonNode) error {
	if p.space(); p.take('}') {
		return nil
	}
	var places map[string]int // of the keys of a large object
	for {
		p.space()
		if p.pos == len(p.text) || p.text[p.pos] != '"' {
			return p.fail()
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		if p.space(); !p.take(':') {
			return p.fail()
		}
		item, err := p.value()
		if err != nil {
			return err
		}
		place := -1
		if places == nil {
			place = slices.Index(node.keys, key)
		} else if i, found := places[key]; found {
			place = i
		}
		if place >= 0 {
			p.mend |= MendDuplicate
			node.items[place] = item
		} else {
			node.keys, node.items = append(node.keys, key), append(node.items, item)
			switch {
			case places != nil:
				places[key] = len(node.keys) - 1
			case len(node.keys) == 32:
				places = make(map[string]int)
				for i, key := range node.keys {
					places[key] = i
				}
			}
		}
		p.space()
		if p.take('}') {
			return nil
		}
		if !p.take(',') {
			return p.fail()
		}
	}
}

func (p *jsonParser) number() (jsonNode, error) {
	begin := p.pos
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.text) && '0' <= p.text[p.pos] && p.text[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	p.take('-')
	if !p.take('0') && !digits() {
		return jsonNode{}, p.fail()
	}
	if p.take('.') && !digits() {
		return jsonNode{}, p.fail()
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !digits() {
			return jsonNode{}, p.fail()
		}
	}
	token := p.text[begin:p.pos]
	if _, ok := decimal(token); !ok {
		p.mend |= MendNumber
		return jsonNode{kind: '"', text: token}, nil
	}
	return jsonNode{kind: '0', text: token}, nil
}

// str reads a string and decodes it.
func (p *jsonParser) str() (string, error) {
	p.pos++
	begin := p.pos
	for p.pos < len(p.text) { // most strings have nothing to decode
		switch c := p.text[p.pos]; {
		case c == '"':
			p.pos++
			return p.text[begin : p.pos-1], nil
		case c == '\\' || c < ' ':
			return p.decoded(begin)
		}
		p.pos++
	}
	return "", p.fail()
}

// decoded reads on behind the part of a string that needs no decoding.
func (p *jsonParser) decoded(begin int) (string, error) {
	b := []byte(p.text[begin:p.pos])
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		p.pos++
		switch {
		case c == '"':
			return string(b), nil
		case c < ' ':
			p.mend |= MendControl
			b = append(b, c)
		case c != '\\':
			b = append(b, c)
		default:
			var ok bool
			if b, ok = p.escape(b); !ok {
				return "", p.fail()
			}
		}
	}
	return "", p.fail()
}

// escape reads what follows a backslash.
func (p *jsonParser) escape(b []byte) ([]byte, bool) {
	if p.pos == len(p.text) {
		return b, false
	}
	c := p.text[p.pos]
	p.pos++
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return b, false
		}
		return append(b, "\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := p.hex()
	switch {
	case !ok:
		return b, false
	case r == 0:
		p.mend |= MendNUL
		return b, true
	case utf16.IsSurrogate(r):
		if strings.HasPrefix(p.text[p.pos:], `\u`) {
			before := p.pos
			p.pos += 2
			low, ok := p.hex()
			if !ok {
				return b, false
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return utf8.AppendRune(b, pair), true
			}
			p.pos = before
		}
		p.mend |= MendSurrogate
		r = utf8.RuneError
	}
	return utf8.AppendRune(b, r), true
}

func (p *jsonParser) hex() (r rune, ok bool) {
	if len(p.text)-p.pos < 4 {
		return 0, false
	}
	for range 4 {
		c := p.text[p.pos]
		i := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || i < 0 {
			return 0, false
		}
		r = r<<4 | rune(i)
		p.pos++
	}
	return r, true
}
