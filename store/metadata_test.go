package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestValidateJSONString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true, "null": true, "1": true, `"a"`: true, " {} \n": true, `[1,{"a":null}]`: true, `"\ud83d"`: true,
		" ": false, "{": false, "{}x": false, "NaN": false, "Infinity": false, "'a'": false, "{a:1}": false, "[1,]": false,
		"\"a\xff\"": false, "\"a\nb\"": false, "\ufeff{}": false, "01": false,
	} {
		if got := ValidateJSONString(text); got != want {
			t.Errorf("ValidateJSONString(%q) = %v", text, got)
		}
	}
}

// object returns a JSON object with n keys.
func object(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":%d`, i, i)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

type failingMarshaler struct{ problem error }

func (m failingMarshaler) MarshalJSON() ([]byte, error) {
	if m.problem == nil {
		panic("secret")
	}
	return nil, m.problem
}

type rawMarshaler string

func (m rawMarshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

type textKey struct{ id int }

func (textKey) MarshalText() ([]byte, error) { return []byte("same"), nil }

type invalidText struct{}

func (*invalidText) MarshalText() ([]byte, error) { return []byte("secret\xff"), nil }

type hidden struct{ Text string }

type withHidden struct {
	hidden
	Left  string `json:"-"`
	inner string
	Bytes []byte
	Raw   json.RawMessage
	List  [1]*string
}

func TestMetadataInput(t *testing.T) {
	t.Parallel()
	type tags struct {
		Name string   `json:"name"`
		Tags []string `json:"tags,omitempty"`
	}
	cases := []struct {
		name string
		in   any
		want string // "" means nil
	}{
		{"nil", nil, ""},
		{"nil map", map[string]any(nil), ""},
		{"nil typed map", map[string]int(nil), ""},
		{"nil pointer", (*tags)(nil), ""},
		{"nil raw", json.RawMessage(nil), ""},
		{"empty bytes", []byte{}, ""},
		{"empty string", "", ""},
		{"null", " null ", ""},
		{"empty object", "{}", "{}"},
		{"empty map", map[string]any{}, "{}"},
		{"map", map[string]any{"b": 1, "a": []any{nil, true, 1.5, "x"}}, `{"a":[null,true,1.5,"x"],"b":1}`},
		{"struct", tags{"x", []string{"y"}}, `{"name":"x","tags":["y"]}`},
		{"pointer", &tags{Name: "x"}, `{"name":"x"}`},
		{"integer keys", map[int]string{7: "x"}, `{"7":"x"}`},
		{"not escaped for HTML", map[string]any{"<a>": "b&c"}, `{"<a>":"b&c"}`},
		{"compacted", []byte(" {\n\t\"a\" : [ 1 , { } ] , \"b\":\" c : d \"\r\n} "), `{"a":[1,{}],"b":" c : d "}`},
		{"order and escapes of text kept", `{"b":1,"a":"\u00e9\/\ufffd"}`, `{"b":1,"a":"\u00e9\/\ufffd"}`},
		{"raw within a map", map[string]any{"a": json.RawMessage(`{"z":1, "y":2}`)}, `{"a":{"z":1,"y":2}}`},
		{"digits kept", `{"a":12345678901234567890.10}`, `{"a":12345678901234567890.10}`},
		{"json.Number", map[string]any{"a": json.Number("1.10")}, `{"a":1.10}`},
		{"replacement character", map[string]any{"\ufffd": "a\ufffd"}, "{\"\ufffd\":\"a\ufffd\"}"},
		{"replacement character escaped within a map", map[string]any{"a": json.RawMessage(`"\ufffd"`), "b": "x"}, `{"a":"\ufffd","b":"x"}`},
		{"bytes that are no text", withHidden{hidden{"\ufffd"}, "\xff", "\xff", []byte{0xff}, json.RawMessage("1"), [1]*string{}},
			`{"Text":"�","Bytes":"/w==","Raw":1,"List":[null]}`},
		{"surrogate pair", `{"\ud83d\ude42":"\uD83D\uDE42"}`, `{"\ud83d\ude42":"\uD83D\uDE42"}`},
		{"escaped backslash before u0000", `{"a":"\\u0000"}`, `{"a":"\\u0000"}`},
		{"backslash u0000 in a map", map[string]any{"a": `\u0000`}, `{"a":"\\u0000"}`},
		{"50 keys", object(50), object(50)},
		{"51 keys below", `{"a":` + object(51) + `}`, `{"a":` + object(51) + `}`},
		{"key of 100 characters", `{"` + strings.Repeat("ü", 100) + `":1}`, `{"` + strings.Repeat("ü", 100) + `":1}`},
		{"key of 100 escaped characters", `{"` + strings.Repeat(`\u00fc`, 100) + `":1}`, `{"` + strings.Repeat(`\u00fc`, 100) + `":1}`},
		{"long key below", `{"a":{"` + strings.Repeat("k", 101) + `":1}}`, `{"a":{"` + strings.Repeat("k", 101) + `":1}}`},
		{"empty key", `{"":1}`, `{"":1}`},
		{"same key in several objects", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`},
		{"10,000 characters", `{"a":"` + strings.Repeat("世", 9992) + `"}`, `{"a":"` + strings.Repeat("世", 9992) + `"}`},
		{"10,000 characters and blanks", `{  "a" : "` + strings.Repeat("世", 9992) + `"}`, `{"a":"` + strings.Repeat("世", 9992) + `"}`},
		{"number of 9,994 digits", `{"a":1e9993}`, `{"a":1e9993}`},
		{"doubles", map[string]any{"a": math.MaxFloat64, "b": math.SmallestNonzeroFloat64}, `{"a":1.7976931348623157e+308,"b":5e-324}`},
		{"depth 100", strings.Repeat(`{"a":`, 99) + "[]" + strings.Repeat("}", 99), strings.Repeat(`{"a":`, 99) + "[]" + strings.Repeat("}", 99)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := metadataInput(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" || (c.want == "") != (got == nil) {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetadataInputRefuses(t *testing.T) {
	t.Parallel()
	cycle := map[string]any{}
	cycle["a"] = cycle
	invalid := "secret\xff"
	cases := []struct {
		name string
		in   any
		rule string
		want string
	}{
		{"array", "[]", "json", "got an array"},
		{"string", `"secret"`, "json", "got a string"},
		{"number", 7, "json", "got a number"},
		{"boolean", true, "json", "got a boolean"},
		{"slice", []string{"secret"}, "json", "got an array"},
		{"not JSON", "secret", "json", "got a text that is not JSON"},
		{"white space", "  ", "json", "got a text that is not JSON"},
		{"two values", "{}{}", "json", "got a text that is not JSON"},
		{"NaN", map[string]any{"a": math.NaN()}, "json", "got NaN"},
		{"infinity", map[string]any{"a": math.Inf(-1)}, "json", "got -Inf"},
		{"channel", map[string]any{"a": make(chan int)}, "json", "got a value of type chan int"},
		{"function", struct{ F func() }{}, "json", "got a value of type func()"},
		{"cycle", cycle, "json", "got encountered a cycle via map[string]interface {}"},
		{"panic", failingMarshaler{}, "json", "got a panic while marshalling store.failingMarshaler"},
		{"failure", failingMarshaler{io.ErrUnexpectedEOF}, "json", "store.failingMarshaler"},
		{"failure that repeats", failingMarshaler{errors.New("secret")}, "json", "marshalling method"},
		{"json.Number", map[string]any{"a": json.Number("secret")}, "json", "must be a JSON object"},
		{"not JSON from a method", rawMarshaler("{secret"), "json", "marshalling method"},

		{"invalid text", "{\"a\":\"secret\xff\"}", "utf8", "got invalid byte 13"},
		{"invalid string", map[string]any{"a": []any{"secret\xff"}}, "utf8", "got a string or key with an invalid byte"},
		{"invalid string in a struct", struct{ A string }{"\xed\xa0\x80"}, "utf8", "got a string or key with an invalid byte"},
		{"invalid embedded string", withHidden{hidden: hidden{"secret\xff"}}, "utf8", "got a string or key with an invalid byte"},
		{"invalid string behind a pointer", withHidden{List: [1]*string{&invalid}}, "utf8", "got a string or key with an invalid byte"},
		{"invalid from MarshalText", map[string]*invalidText{"a": {}}, "utf8", "got a string or key with an invalid byte"},
		{"invalid beside a genuine U+FFFD", map[string]any{"a": "\ufffd", "b": "\xff"}, "utf8", "got a string or key with an invalid byte"},
		{"invalid key", map[string]any{"secret\xff": 1}, "utf8", "got a string or key with an invalid byte"},
		{"invalid from a method", rawMarshaler("{\"a\":\"secret\xff\"}"), "utf8", "got invalid UTF-8 from a MarshalJSON method"},
		{"NUL", map[string]any{"a": "secret\x00"}, "json", "free of NUL characters"},
		{"NUL in a key", map[string]any{"secret\x00": 1}, "json", "free of NUL characters"},
		{"escaped NUL", `{"a":"\\\u0000"}`, "json", "free of NUL characters"},
		{"escaped NUL in a key", `{"a":{"\u0000":1}}`, "json", "free of NUL characters"},
		{"high surrogate", `{"a":"\ud83d"}`, "json", "free of incomplete surrogate pairs"},
		{"low surrogate", `{"a":"\ude42"}`, "json", "free of incomplete surrogate pairs"},
		{"surrogates swapped", `{"a":"\ude42\ud83d"}`, "json", "free of incomplete surrogate pairs"},
		{"two high surrogates", `{"a":"\ud83d\ud83d"}`, "json", "free of incomplete surrogate pairs"},
		{"high surrogate and another escape", `{"a":"\ud83d\\ude42"}`, "json", "free of incomplete surrogate pairs"},
		{"high surrogate at the end of a key", `{"\uD83D":1}`, "json", "free of incomplete surrogate pairs"},

		{"duplicate", `{"a":1,"b":2,"a":1}`, "json", "got a key twice in one object at depth 1"},
		{"duplicate in other spelling", `{"a":1,"\u0061":1}`, "json", "got a key twice in one object at depth 1"},
		{"duplicate below", `{"x":[{"a":1,"a":2}]}`, "json", "got a key twice in one object at depth 3"},
		{"duplicate among many", strings.Replace(object(40), `"k39"`, `"k3"`, 1), "json", "got a key twice"},
		{"duplicate empty key", `{"":1,"":2}`, "json", "got a key twice"},
		{"duplicate around an object", `{"a":{"a":1},"a":2}`, "json", "got a key twice in one object at depth 1"},
		{"duplicate of text keys", map[textKey]int{{1}: 1, {2}: 2}, "json", "got a key twice"},

		{"51 keys", object(51), "length", "must be at most 50 keys, got 51 keys"},
		{"long key", `{"` + strings.Repeat("ü", 101) + `":1}`, "length", "must be keys of at most 100 characters, got 101 characters"},
		{"10,001 characters", `{"a":"` + strings.Repeat("世", 9993) + `"}`, "length", "must be at most 10000 characters of JSON, got 10001 characters"},
		{"long map", map[string]any{"a": strings.Repeat("x", 10_000)}, "length", "got 10008 characters"},
		{"sum of numbers", `{"a":1e5000,"b":1e-5000}`, "length", "must be at most 10000 characters of JSON, got 10014 characters"},
		{"number", `{"a":1e10000}`, "json", "numbers of at most 10000 digits"},
		{"number below zero", `{"a":-1E-10000}`, "json", "numbers of at most 10000 digits"},
		{"number beyond numeric", `{"a":1e400000}`, "json", "numbers of at most 10000 digits"},
		{"number with a huge exponent", `{"a":0e99999999999999999999}`, "json", "numbers of at most 10000 digits"},
		{"depth 101", strings.Repeat(`{"a":`, 100) + "[]" + strings.Repeat("}", 100), "json", "nested at most 100 deep"},
		{"depth 20,000", `{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", "json", "got a text that is not JSON"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := metadataInput(c.in)
			checkRefusal(t, err, "metadata", c.rule)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("%.60s, %v; want %q in the error", got, err, c.want)
			}
		})
	}
}

func TestMetadataInputAllocations(t *testing.T) {
	var text any = json.RawMessage(`{"a":[1,2.5e3,"x"],"b":{"c":null}}`)
	if n := testing.AllocsPerRun(100, func() { _, _ = metadataInput(text) }); n > 1 {
		t.Errorf("%v allocations, want none, or one with the race detector, which makes pools forget", n)
	}
}

func TestMetadataInputProperty(t *testing.T) {
	t.Parallel()
	text := rapid.Map(rapid.String(), func(s string) string { return strings.ReplaceAll(s, "\x00", "") })
	leaf := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.Float64(), func(f float64) any { return f }),
	)
	value := leaf
	for range 3 {
		inner := value
		value = rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(s []any) any { return s }),
			rapid.Map(rapid.MapOfN(text, inner, 0, 4), func(m map[string]any) any { return m }))
	}
	objects := rapid.MapOfN(text, value, 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		want := objects.Draw(t, "object")
		raw, err := metadataInput(want)
		if err != nil {
			var invalid *ValidationError
			if !errors.As(err, &invalid) || invalid.Rule != "length" {
				t.Fatal(err)
			}
			t.Skip("too long")
		}
		var got map[string]any
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		spaced, err := json.MarshalIndent(want, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := metadataInput(string(spaced)); err != nil && !strings.Contains(err.Error(), "length") {
			t.Fatal(err)
		}
		again, err := metadataInput(raw)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%s became %s, %v", raw, again, err)
		}
	})
}

// decodeStrictly decodes a JSON value and fails for what metadata must not hold, apart from sizes and surrogates.
func decodeStrictly(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			key, err := decodeStrictly(d)
			if err != nil {
				return nil, err
			}
			if _, ok := m[key.(string)]; ok {
				return nil, errors.New("duplicate key")
			}
			if m[key.(string)], err = decodeStrictly(d); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return m, err
	case json.Delim('['):
		a := []any{}
		for d.More() {
			v, err := decodeStrictly(d)
			if err != nil {
				return nil, err
			}
			a = append(a, v)
		}
		_, err := d.Token()
		return a, err
	}
	if s, ok := token.(string); ok && strings.Contains(s, "\x00") {
		return nil, errors.New("NUL")
	}
	return token, nil
}

func FuzzMetadataInput(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"b":[true,false,null],"c":{"d":"e"}}`, `{"\u0061":1,"a":2}`, `{"a":"\\u0000\u0000"}`, `{"a":"\ud83d\ude42\ud83d"}`,
		` { "a" : -1.5e-3 , "b" : 1E+9999 } `, "{\"a\":\"\xff\ufffd\"}", `{"a":[[[[{}]]]]}`, "null", "[]", `{"":{"":{"":0}}}`, object(51),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := metadataInput(text)
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		value, strict := decodeStrictly(d)
		m, isObject := value.(map[string]any)
		if err != nil {
			var invalid *ValidationError
			if !errors.As(err, &invalid) || invalid.Field != "metadata" {
				t.Fatalf("%v (%T)", err, err)
			}
			plain := strict == nil && isObject && json.Valid(text) && utf8.Valid(text) && len(text) < 1000 && len(m) <= 50
			if plain && !bytes.ContainsAny(text, `\eE`) && bytes.Count(text, []byte("[")) < 50 && bytes.Count(text, []byte("{")) < 50 &&
				invalid.Limit != "keys of at most 100 characters" {
				t.Fatalf("%s is refused: %v", text, err)
			}
			return
		}
		if got == nil {
			if len(text) != 0 && strings.TrimSpace(string(text)) != "null" {
				t.Fatalf("%s became nil", text)
			}
			return
		}
		if strict != nil || !isObject || !json.Valid(text) || !utf8.Valid(text) || len(m) > 50 {
			t.Fatalf("%s is accepted: %v", text, strict)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil || !bytes.Equal(compact.Bytes(), got) {
			t.Fatalf("%s became %s, want %s", text, got, compact.Bytes())
		}
		if n := utf8.RuneCount(got); n > MaxMetadataLength {
			t.Fatalf("%d characters", n)
		}
		again, err := metadataInput(m)
		if err != nil {
			if !strings.Contains(err.Error(), "length") {
				t.Fatalf("%s as a map: %v", text, err)
			}
			return
		}
		d = json.NewDecoder(bytes.NewReader(again))
		d.UseNumber()
		// Not cmp.Equal, whose time doubles with each level of nested slices.
		if back, err := decodeStrictly(d); err != nil || !reflect.DeepEqual(value, back) {
			t.Fatalf("%s as a map became %s, %v", text, again, err)
		}
	})
}
