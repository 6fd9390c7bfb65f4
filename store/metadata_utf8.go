package store

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"unicode/utf8"
)

var (
	jsonMarshalerType = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
)

// replacesBytes says whether marshalling v to this JSON replaced invalid UTF-8. encoding/json does that silently, with
// U+FFFD either escaped or as it is, depending on its version, so v is searched only when there is one in the result.
func replacesBytes(v any, text []byte) bool {
	if !bytes.Contains(text, []byte("\ufffd")) && !bytes.Contains(text, []byte(`\ufffd`)) {
		return false
	}
	return !hasValidText(reflect.ValueOf(v))
}

// hasValidText follows v as encoding/json does, which has just succeeded, so v has no cycles. What MarshalJSON methods
// return is left out: it is part of the JSON as it is.
func hasValidText(v reflect.Value) bool {
	if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		return true
	}
	t := v.Type()
	if t.Implements(jsonMarshalerType) || v.CanAddr() && reflect.PointerTo(t).Implements(jsonMarshalerType) {
		return true
	}
	if v.CanAddr() && reflect.PointerTo(t).Implements(textMarshalerType) {
		v, t = v.Addr(), reflect.PointerTo(t)
	}
	if t.Implements(textMarshalerType) && v.CanInterface() {
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		return err == nil && utf8.Valid(text)
	}
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return hasValidText(v.Elem())
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return true // base64 or numbers
		}
		for i := range v.Len() {
			if !hasValidText(v.Index(i)) {
				return false
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			key := entries.Key()
			if key.Kind() == reflect.String && !utf8.ValidString(key.String()) {
				return false // for keys, the string counts even when there is a MarshalText
			}
			if key.Kind() != reflect.String && !hasValidText(key) || !hasValidText(entries.Value()) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := t.Field(i)
			if field.Tag.Get("json") == "-" || !field.IsExported() && !field.Anonymous {
				continue
			}
			if !hasValidText(v.Field(i)) {
				return false
			}
		}
	}
	return true
}
