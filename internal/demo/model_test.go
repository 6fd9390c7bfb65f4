package demo

import (
	"encoding/json"
	"testing"
)

func TestMaySee(t *testing.T) {
	t.Parallel()
	readers := []reader{
		{agent: "author", kind: "claude"},
		{agent: "author"},
		{agent: "author", kind: "claude", admin: true},
		{agent: "kin", kind: "claude"},
		{agent: "other", kind: "gemini"},
		{agent: "untyped"},
		{agent: "chief", kind: "gemini", admin: true},
		{agent: "Author", kind: "Claude"},
	}
	for _, test := range []struct {
		visibility string
		want       [8]bool
	}{
		{public, [8]bool{true, true, true, true, true, true, true, true}},
		{private, [8]bool{true, true, true, false, false, false, true, false}},
		{agentOnly, [8]bool{true, true, true, true, false, false, true, false}},
		{adminOnly, [8]bool{false, false, true, false, false, false, true, false}},
		{"", [8]bool{false, false, true, false, false, false, true, false}},
	} {
		for i, r := range readers {
			entry := &Entry{Sender: "author", SenderType: "claude", Visibility: test.visibility}
			if got := r.maySee(entry); got != test.want[i] {
				t.Errorf("%s may see %q: %v, want %v", r, test.visibility, got, test.want[i])
			}
		}
	}
	// An empty kind is no kind: it makes nobody kin.
	if (reader{agent: "untyped"}).maySee(&Entry{Sender: "author", Visibility: agentOnly}) {
		t.Error("readers and senders without a kind are taken for kin")
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                    "plain",
		" \t\r\nouter\u00a0\u2003": "outer",
		"a\x00b\x1bc\x7fd\u0085e":  "abcde",
		"tab\tline\nreturn\rkept":  "tab\tline\nreturn\rkept",
		"\x00 \x07x":               "x",
		"zero\u200bwidth stays":    "zero\u200bwidth stays",
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSameJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"", "{}", false},
		{`{"a":1,"b":[true,null,"x"]}`, `{ "b": [true, null, "x"], "a": 1 }`, true},
		{`{"a":1e3}`, `{"a":1000}`, true},
		{`{"a":1.50}`, `{"a":1.5}`, true},
		{`{"a":0.1}`, `{"a":0.10000000000000001}`, false},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
		{`{"a":"\u00e9"}`, `{"a":"é"}`, true},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":null}`, `{}`, false},
		{`{"a":[]}`, `{"a":{}}`, false},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{`{"a":[1,2]}`, `{"a":[1]}`, false},
		{`{"a":false}`, `{"a":null}`, false},
		{`{`, `[`, false},
	} {
		if got := sameJSON(json.RawMessage(test.a), json.RawMessage(test.b)); got != test.want {
			t.Errorf("sameJSON(%s, %s) = %v", test.a, test.b, got)
		}
		if got := sameJSON(json.RawMessage(test.b), json.RawMessage(test.a)); got != test.want {
			t.Errorf("sameJSON(%s, %s) = %v", test.b, test.a, got)
		}
	}
}

func TestFirstDifference(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{{"abc", "abd", 3}, {"éé", "éx", 2}, {"", "x", 1}, {"ab", "abc", 3}, {"\xff", "\ufffd", 2}} {
		if got := firstDifference(test.a, test.b); got != test.want {
			t.Errorf("firstDifference(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
