package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// with returns a valid line with some fields changed. A nil removes a field; null is written as json.RawMessage.
func with(t *testing.T, changes map[string]any) string {
	t.Helper()
	fields := map[string]any{
		"ref": 1, "session": "session_00000000000000aa", "purpose": "a test", "sender": "agent_1", "sender_type": "claude",
		"visibility": "public", "content": "hello", "metadata": nil, "parent": nil, "time": 1699459964.967051,
	}
	maps.Copy(fields, changes)
	for name, value := range fields {
		if value == nil {
			delete(fields, name)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadTranscriptRefuses(t *testing.T) {
	t.Parallel()
	type change = map[string]any
	const other = "session_00000000000000bb"
	keys := make(map[string]int)
	for i := range maxMetadataKeys + 1 {
		keys[fmt.Sprint("key", i)] = i
	}
	plain := with(t, nil)
	withRaw := func(field, raw string) string {
		return strings.TrimSuffix(plain, "}") + `,"` + field + `":` + raw + "}"
	}
	noContent := with(t, change{"content": nil})
	content := func(raw string) string { return strings.TrimSuffix(noContent, "}") + `,"content":` + raw + "}" }
	for _, test := range []struct {
		name    string
		lines   []string
		line    int
		problem string
	}{
		{"bad JSON", []string{plain, "{]"}, 2, "invalid JSON at byte 2: invalid character ']'"},
		{"cut off", []string{plain[:len(plain)/2]}, 1, "invalid JSON"},
		{"two values", []string{plain + plain}, 1, "invalid JSON"},
		{"an array", []string{"[" + plain + "]"}, 1, "not a JSON object"},
		{"null", []string{"null"}, 1, "not a JSON object"},
		{"invalid UTF-8", []string{content("\"a\xffb\"")}, 1, "not valid UTF-8"},
		{"half a surrogate pair", []string{content(`"a\ud83d"`)}, 1, "half of a surrogate pair"},
		{"the other half", []string{content(`"\\\ude00"`)}, 1, "half of a surrogate pair"},
		{"key twice", []string{withRaw("sender", `"agent_2"`)}, 1, `the key "sender" occurs twice`},
		{"key twice, deep", []string{withRaw("metadata", `{"a":[{"b":1,"c":{},"b":2}]}`)}, 1, `the key "b" occurs twice`},
		{"deep nesting", []string{withRaw("metadata", `{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+"}")}, 1, "nests deeper"},
		{"unknown field", []string{plain, with(t, change{"ref": 2, "visiblity": "private"})}, 2, `unknown field "visiblity"`},
		{"field in capitals", []string{with(t, change{"Parent": 3})}, 1, `unknown field "Parent"`},
		{"ref missing", []string{with(t, change{"ref": nil})}, 1, `field "ref" is missing`},
		{"ref a text", []string{with(t, change{"ref": "1"})}, 1, `field "ref" must be a whole number`},
		{"ref a fraction", []string{with(t, change{"ref": 1.5})}, 1, `field "ref" must be a whole number`},
		{"ref twice", []string{plain, "", plain}, 3, "ref 1 is already that of line 1"},
		{"session missing", []string{with(t, change{"session": nil})}, 1, `field "session" is missing`},
		{"session null", []string{with(t, change{"session": json.RawMessage("null")})}, 1, `field "session" is missing`},
		{"session of another form", []string{with(t, change{"session": "session_00000000000000AA"})}, 1, "session \"session_00000000000000AA\" is not"},
		{"session with a line break", []string{with(t, change{"session": "session_00000000000000aa\n"})}, 1, "is not session_ and 16"},
		{"purpose missing", []string{with(t, change{"purpose": nil})}, 1, `field "purpose" is missing`},
		{"purpose blank", []string{with(t, change{"purpose": " \u0000"})}, 1, "purpose has 0 characters"},
		{"purpose long", []string{with(t, change{"purpose": strings.Repeat("é", 1001)})}, 1, "purpose has 1001 characters"},
		{"another purpose", []string{plain, with(t, change{"ref": 2, "purpose": "other"})}, 2, "purpose differs from that of the same session on line 1"},
		{"sender missing", []string{with(t, change{"sender": nil})}, 1, `field "sender" is missing`},
		{"sender empty", []string{with(t, change{"sender": ""})}, 1, `sender "" is not`},
		{"sender with a space", []string{with(t, change{"sender": "agent 1"})}, 1, `sender "agent 1" is not`},
		{"sender long", []string{with(t, change{"sender": strings.Repeat("a", 101)})}, 1, "is not 1 to 100"},
		{"sender_type missing", []string{with(t, change{"sender_type": nil})}, 1, `field "sender_type" is missing`},
		{"sender_type long", []string{with(t, change{"sender_type": strings.Repeat("a", 51)})}, 1, "sender_type has 51 characters"},
		{"visibility missing", []string{with(t, change{"visibility": nil})}, 1, `field "visibility" is missing`},
		{"visibility unknown", []string{with(t, change{"visibility": "Public"})}, 1, `visibility "Public" is none of public, private, agent_only, admin_only`},
		{"content missing", []string{with(t, change{"content": nil})}, 1, `field "content" is missing`},
		{"content a number", []string{with(t, change{"content": 7})}, 1, `field "content" must be a text`},
		{"content blank", []string{with(t, change{"content": " \n"})}, 1, "content has 0 characters"},
		{"content long", []string{with(t, change{"content": strings.Repeat("x", 100_001)})}, 1, "content has 100001 characters"},
		{"metadata an array", []string{with(t, change{"metadata": []int{1}})}, 1, "metadata must be an object"},
		{"metadata a text", []string{with(t, change{"metadata": "{}"})}, 1, "metadata must be an object"},
		{"metadata with many keys", []string{with(t, change{"metadata": keys})}, 1, "metadata has 51 keys"},
		{"metadata with a long key", []string{with(t, change{"metadata": change{strings.Repeat("k", 101): 1}})}, 1, "key of 101 characters"},
		{"metadata long", []string{with(t, change{"metadata": change{"k": strings.Repeat("x", 10_000)}})}, 1, "more than 10000"},
		{"metadata with NUL", []string{with(t, change{"metadata": change{"k": []string{"a\x00"}}})}, 1, "NUL"},
		{"metadata with a number out of all bounds", []string{withRaw("metadata", `{"k":1e99999}`)}, 1, "the number 1e99999"},
		{"parent unknown", []string{plain, with(t, change{"ref": 2, "parent": 7})}, 2, "parent 7 is not the ref of an earlier line"},
		{"parent later", []string{with(t, change{"ref": 1, "parent": 2}), with(t, change{"ref": 2})}, 1, "parent 2 is not the ref of an earlier line"},
		{"parent itself", []string{with(t, change{"ref": 1, "parent": 1})}, 1, "parent is the message itself"},
		{"parent in another session", []string{plain, with(t, change{"ref": 2, "session": other, "parent": 1})}, 2,
			"parent 1 is on line 1 in another session, session_00000000000000aa"},
		{"parent a text", []string{with(t, change{"parent": "1"})}, 1, `field "parent" must be a whole number`},
		{"time missing", []string{with(t, change{"time": nil})}, 1, `field "time" is missing`},
		{"time a text", []string{with(t, change{"time": "2023-11-08"})}, 1, `field "time" must be a number`},
		{"time negative", []string{with(t, change{"time": -1})}, 1, "time must be"},
		{"time far", []string{with(t, change{"time": 1e15})}, 1, "time must be"},
		{"line too long", []string{plain, strings.Repeat(" ", maxLine) + plain}, 2, "longer than 10000000 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			transcript, err := ReadTranscript("made up.jsonl", strings.NewReader(strings.Join(test.lines, "\n")))
			if transcript != nil {
				t.Error("something of the transcript was returned")
			}
			var wrong *LineError
			if !errors.As(err, &wrong) {
				t.Fatalf("error is %v, want one about a line", err)
			}
			if wrong.Line != test.line || !strings.Contains(wrong.Problem, test.problem) {
				t.Errorf("error is %v, want line %d and %q", err, test.line, test.problem)
			}
			if want := fmt.Sprintf("made up.jsonl: line %d: ", test.line); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error is %q, want it to begin with %q", err, want)
			}
		})
	}
}

func TestReadTranscriptEmpty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n\n \r\n"} {
		if _, err := ReadTranscript("empty.jsonl", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "empty.jsonl holds no message") {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}

func TestReadTranscriptFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "transcript.jsonl")
	if _, err := ReadTranscriptFile(name); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("missing file: error is %v", err)
	}
	if _, err := ReadTranscriptFile(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	if err := os.WriteFile(name, []byte(with(t, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	if transcript, err := ReadTranscriptFile(name); err != nil || len(transcript.Entries) != 1 {
		t.Errorf("transcript %v, error %v", transcript, err)
	}
}

// TestReadTranscript has refs without order, empty lines, Windows line ends, escapes, a long line and no final line end.
func TestReadTranscript(t *testing.T) {
	t.Parallel()
	type change = map[string]any
	const other = "session_00000000000000bb"
	long := strings.Repeat("長", maxContent)
	text := strings.Join([]string{
		with(t, change{"ref": 9, "visibility": "admin_only", "metadata": change{"a": 1}}) + "\r",
		"",
		with(t, change{"ref": -3, "session": other, "sender": "agent_2", "time": 0, "content": long, "metadata": json.RawMessage("null")}),
		strings.Replace(with(t, change{"ref": 4, "parent": 9, "content": "X", "time": 1.0000004}), "X", `\\ud83d \ud83d\ude00 \u0000`, 1),
	}, "\n")
	transcript, err := ReadTranscript("t", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got := transcript.Entries
	if len(got) != 3 || len(transcript.Conversations) != 2 || len(transcript.Agents) != 2 {
		t.Fatalf("%d entries, %d sessions, %d agents", len(got), len(transcript.Conversations), len(transcript.Agents))
	}
	if got[0].Line != 1 || got[1].Line != 3 || got[2].Line != 4 || got[2].Parent != got[0] {
		t.Errorf("lines %d, %d, %d, parent %v", got[0].Line, got[1].Line, got[2].Line, got[2].Parent)
	}
	if string(got[0].Metadata) != `{"a":1}` || got[1].Metadata != nil || got[2].Metadata != nil {
		t.Errorf("metadata %s, %s, %s", got[0].Metadata, got[1].Metadata, got[2].Metadata)
	}
	if got[1].Content != long || got[2].Content != `\ud83d 😀 `+"\x00" {
		t.Errorf("content %q", got[2].Content)
	}
	for i, want := range []time.Time{
		time.Date(2023, 11, 8, 16, 12, 44, 967051000, time.UTC), time.Unix(0, 0), time.Unix(1, 0),
	} {
		if !got[i].Time.Equal(want) {
			t.Errorf("time %d is %v, want %v", i, got[i].Time, want)
		}
	}
	first := transcript.Conversations[0]
	if first.CreatedBy != "agent_1" || !first.Admins["agent_1"] || transcript.Conversations[1].Admins["agent_2"] {
		t.Errorf("sessions %+v", transcript.Conversations)
	}
	if diff := cmp.Diff([]int{1, 4}, []int{transcript.Agents[0].Entries[0].Line, transcript.Agents[0].Entries[1].Line}); diff != "" {
		t.Errorf("lines of agent_1: %s", diff)
	}
}

// TestSample demands that the sample shows what there is.
func TestSample(t *testing.T) {
	t.Parallel()
	transcript := mustSample(t)
	seen := make(map[string]int)
	for _, entry := range transcript.Entries {
		seen[entry.Visibility]++
		if entry.Parent != nil {
			seen["reply"]++
		}
		if entry.Metadata != nil {
			seen["metadata"]++
		}
		if strings.Contains(entry.Content, "\n") {
			seen["lines"]++
		}
		if strings.ContainsFunc(entry.Content, func(c rune) bool { return c > 0x400 }) {
			seen["beyond Latin"]++
		}
	}
	for _, what := range append([]string{"reply", "metadata", "lines", "beyond Latin"}, levels...) {
		if seen[what] == 0 {
			t.Errorf("the sample has nothing of kind %s", what)
		}
	}
	if n := len(transcript.Entries); n < 40 || n > 60 || len(transcript.Conversations) != 3 {
		t.Errorf("%d entries in %d sessions", n, len(transcript.Conversations))
	}
}

func FuzzReadTranscript(f *testing.F) {
	f.Add(string(sample))
	f.Add("{}\n[]")
	f.Fuzz(func(t *testing.T, text string) {
		transcript, err := ReadTranscript("fuzz", strings.NewReader(text))
		if (transcript == nil) == (err == nil) {
			t.Fatalf("transcript %v, error %v", transcript, err)
		}
	})
}
