package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf8"
)

// ValidateJSONString says whether s is empty or one JSON value of any kind, in valid UTF-8. Python's NaN and Infinity are
// not JSON. It says nothing about the stricter rules of metadata columns.
func ValidateJSONString(s string) bool {
	return s == "" || utf8.ValidString(s) && json.Valid([]byte(s))
}

// metadataInput returns v as the JSON of a metadata column without white space between its tokens, or nil, which is
// written as SQL NULL.
//
// A json.RawMessage, a []byte and a string are JSON text. Everything else is marshalled by encoding/json, without
// escaping <, > and &. A nil of any kind, an empty text and the JSON value null give nil. Anything but an object is
// refused, and so is what PostgreSQL's jsonb would refuse or silently change: NUL characters, halves of surrogate pairs,
// invalid UTF-8, and keys that occur twice in one object at any depth. The limits are [MaxMetadataKeys],
// [MaxMetadataKeyLength] (both at the top level only), [MaxMetadataLength] and [MaxMetadataDepth].
//
// The result may share memory with a json.RawMessage or []byte given, which therefore must not change while it is used.
func metadataInput(v any) (json.RawMessage, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		return metadataText(v)
	case []byte:
		return metadataText(v)
	case string:
		return metadataText([]byte(v))
	case map[string]any:
		if v == nil {
			return nil, nil
		}
	}
	return marshalMetadata(v)
}

func metadataError(rule, limit, got string) error {
	return &ValidationError{Field: "metadata", Rule: rule, Limit: limit, Got: got}
}

// metadataText checks JSON that was handed in as text.
func metadataText(text []byte) (json.RawMessage, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if !utf8.Valid(text) {
		return nil, metadataError("utf8", "valid", "invalid byte "+strconv.Itoa(invalidByte(string(text))+1))
	}
	if !json.Valid(text) {
		return nil, metadataError("json", "a JSON object", "a text that is not JSON")
	}
	text = bytes.Trim(text, " \t\r\n")
	if string(text) == "null" {
		return nil, nil
	}
	spaced, err := checkMetadata(text)
	if err != nil {
		return nil, err
	}
	if !spaced {
		return json.RawMessage(text), nil
	}
	var compact bytes.Buffer
	compact.Grow(len(text))
	if err := json.Compact(&compact, text); err != nil {
		return nil, metadataError("json", "a JSON object", "a text that is not JSON")
	}
	return json.RawMessage(compact.Bytes()), nil
}

// metadataEncoder keeps its buffer between calls.
type metadataEncoder struct {
	buffer   bytes.Buffer
	json     *json.Encoder
	replaced bool // the latest value has text that is not valid UTF-8
}

var metadataEncoders = sync.Pool{New: func() any {
	e := new(metadataEncoder)
	e.json = json.NewEncoder(&e.buffer)
	e.json.SetEscapeHTML(false)
	return e
}}

// marshalMetadata checks JSON that it makes from a Go value.
func marshalMetadata(v any) (result json.RawMessage, err error) {
	e := metadataEncoders.Get().(*metadataEncoder)
	e.buffer.Reset()
	if err := e.encode(v); err != nil {
		return nil, err // without giving back the encoder: a panic may have left it in any state
	}
	if e.buffer.Cap() <= 4*MaxMetadataLength {
		defer metadataEncoders.Put(e)
	}
	text := bytes.TrimSuffix(e.buffer.Bytes(), []byte("\n"))
	if string(text) == "null" {
		return nil, nil
	}
	if !utf8.Valid(text) {
		return nil, metadataError("utf8", "valid", "invalid UTF-8 from a MarshalJSON method")
	}
	if _, err := checkMetadata(text); err != nil {
		return nil, err
	}
	if e.replaced {
		return nil, metadataError("utf8", "valid", "a string or key with an invalid byte")
	}
	return append(make(json.RawMessage, 0, len(text)), text...), nil
}

// encode marshals v into the buffer. Its errors leave out what methods of v say, because that may hold the value.
func (e *metadataEncoder) encode(v any) (err error) {
	defer func() {
		if recover() != nil {
			err = metadataError("json", "a JSON object", fmt.Sprintf("a panic while marshalling %T", v))
		}
	}()
	cause := e.json.Encode(v)
	if cause == nil {
		e.replaced = replacesBytes(v, e.buffer.Bytes())
		return nil
	}
	got := fmt.Sprintf("a %T that cannot be marshalled", v)
	var badType *json.UnsupportedTypeError
	var badValue *json.UnsupportedValueError
	var marshaler *json.MarshalerError
	switch {
	case errors.As(cause, &badType):
		got = "a value of type " + badType.Type.String()
	case errors.As(cause, &badValue):
		got = badValue.Str // NaN, +Inf, -Inf, or the type of a cycle
	case errors.As(cause, &marshaler):
		got = "an error of the marshalling method of " + marshaler.Type.String()
	}
	return metadataError("json", "a JSON object", got)
}
