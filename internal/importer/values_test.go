package importer_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
)

// TestTimes has each shape of a time in each kind of column.
func TestTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	for _, test := range []struct {
		value any
		want  string
		rules []string
	}{
		{1755906515.123456, "2025-08-22 23:48:35.123456", nil},
		{1755906515.000001, "2025-08-22 23:48:35.000001", nil},
		{1755906515.999999, "2025-08-22 23:48:35.999999", nil},
		{16.000002, "1970-01-01 00:00:16.000002", nil}, // a float64 just below
		{1755906515, "2025-08-22 23:48:35", nil},
		{-1.5, "1969-12-31 23:59:58.5", nil},
		{"2025-08-22 23:48:35", "2025-08-22 23:48:35", nil},
		{"2025-08-22T23:48:35.123456+00:00", "2025-08-22 23:48:35.123456", nil},
		{"2025-08-22T23:48:35.123456Z", "2025-08-22 23:48:35.123456", nil},
		{"2025-08-23T01:48:35.123+02:00", "2025-08-22 23:48:35.123", nil},
		{" 2025-08-22T23:48:35.1234565 ", "2025-08-22 23:48:35.123457", nil},
		{"1755906515.25", "2025-08-22 23:48:35.25", nil},
		{-62135596800, "0001-01-01 00:00:00", nil},
		{253402300799.0, "9999-12-31 23:59:59", nil},
		{nil, "2025-08-22 23:48:35.123456", []string{"repaired null_completed timestamp"}},
		{"yesterday", "2025-08-22 23:48:35.123456", []string{"repaired time_unreadable timestamp"}},
		{1755906515123, "2025-08-22 23:48:35.123456", []string{"repaired time_unreadable timestamp"}}, // milliseconds
		{math.Inf(1), "2025-08-22 23:48:35.123456", []string{"repaired time_unreadable timestamp"}},
		{1e300, "2025-08-22 23:48:35.123456", []string{"repaired time_unreadable timestamp"}},
	} {
		b.file.Exec("DELETE FROM messages")
		b.file.Exec("DELETE FROM sqlite_sequence")
		b.file.Insert("messages", "id", 1, "session_id", "s", "sender", "a", "content", "c", "timestamp", test.value)
		b.exec("TRUNCATE sessions, messages, message_keys, agent_memory, audit_log, secure_tokens")
		b.imports(importer.Options{})
		b.holds("SELECT (timestamp AT TIME ZONE 'UTC')::text AS v FROM messages", test.want)
		if diff := cmp.Diff(test.rules, b.reported("messages", 1.0)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.value, diff)
		}
	}
}

// TestTimesOfEachTable has rows without their times, and an end before the beginning.
func TestTimesOfEachTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const day = 86400
	b.file.Insert("sessions", "id", "both", "purpose", "p", "created_by", "a", "created_at", 5*day, "updated_at", "1970-01-11 00:00:00")
	b.file.Insert("sessions", "id", "created", "purpose", "p", "created_by", "a", "created_at", 5*day, "updated_at", nil)
	b.file.Insert("sessions", "id", "neither", "purpose", "p", "created_by", "a", "created_at", nil, "updated_at", "?")
	b.file.Insert("sessions", "id", "updated", "purpose", "p", "created_by", "a", "created_at", nil, "updated_at", 7*day)
	memory := func(key string, created, updated, expires any) {
		b.file.Insert("agent_memory", "agent_id", "a", "key", key, "value", "v", "created_at", created, "updated_at", updated, "expires_at", expires)
	}
	memory("all", 1*day, "1970-01-03T00:00:00+00:00", 4.5*day)
	memory("ends first", 2*day, 3*day, 1*day)
	memory("ends at once", 2*day, 2*day, 2*day)
	memory("no times", nil, nil, nil)
	memory("no creation", nil, 6*day, nil)
	memory("strange end", 1*day, 1*day, "never")
	b.file.Insert("audit_log", "event_type", "e", "agent_id", "a", "timestamp", nil)
	token := func(id string, expires, created any) {
		b.file.Insert("secure_tokens", "token_id", id, "encrypted_jwt", []byte("x"), "agent_id", "a", "expires_at", expires, "created_at", created)
	}
	token("no creation", 3*day, nil)
	token("no end", nil, 2*day)
	b.imports(importer.Options{})
	b.holds("SELECT (extract(epoch FROM created_at) / 86400)::float8 || ' ' || (extract(epoch FROM updated_at) / 86400)::float8 AS v FROM sessions ORDER BY id",
		"5 10", "5 5", "10 10", "7 7")
	b.holds(`SELECT key || ': ' || extract(epoch FROM created_at)::bigint || ' ' || extract(epoch FROM updated_at)::bigint || ' ' ||
		coalesce(extract(epoch FROM expires_at)::bigint::text, 'no end') AS v FROM agent_memory ORDER BY id`,
		"all: 86400 172800 388800", "ends first: 86399 259200 86400", "ends at once: 172799 172800 172800", "no times: 864000 864000 no end",
		"no creation: 518400 518400 no end", "strange end: 86400 86400 no end")
	b.holds("SELECT extract(epoch FROM timestamp)::bigint AS v FROM audit_log", int64(864000))
	b.holds("SELECT extract(epoch FROM expires_at)::bigint || ' ' || extract(epoch FROM created_at)::bigint AS v FROM secure_tokens ORDER BY id", "259200 259200", "172800 172800")
	if diff := cmp.Diff([]string{"repaired expires_first created_at"}, b.reported("agent_memory", 2.0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"repaired time_unreadable expires_at"}, b.reported("agent_memory", 6.0)); diff != "" {
		t.Error(diff)
	}
}

// TestTexts has texts that PostgreSQL or the new schema refuses, in messages.
func TestTexts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	long, name := strings.Repeat("é", 100_000), strings.Repeat("n", 256)
	for i, test := range []struct {
		column string
		value  any
		want   string // beginning
		rules  []string
	}{
		{"content", "kept \x01\x1b\t\u0085\u202e\r\n ", "kept \x01\x1b\t\u0085\u202e\r\n ", nil},
		{"content", "a\x00b\x00", "ab", []string{"nul_removed"}},
		{"content", "a\xffb\xc3", "a\ufffdb\ufffd", []string{"utf8_replaced"}},
		{"content", "\x00", "(empty)", []string{"nul_removed", "empty_replaced"}},
		{"content", "", "(empty)", []string{"empty_replaced"}},
		{"content", "   ", "(empty)", []string{"empty_replaced"}},
		{"content", nil, "(empty)", []string{"empty_replaced"}},
		{"content", []byte("bytes"), "bytes", []string{"type_converted"}},
		{"content", []byte{0xff, 0}, "\ufffd", []string{"type_converted", "nul_removed", "utf8_replaced"}},
		{"content", long, long, nil},
		{"content", long + "x", long, []string{"text_cut"}},
		{"sender", name[:255], name[:255], nil},
		{"sender", name, name[:238] + "~", []string{"name_made_valid"}},
		{"sender", "a\x00", "a~", []string{"nul_removed", "name_made_valid"}},
		{"sender", "", "(empty)~", []string{"empty_replaced", "name_made_valid"}},
		{"sender", nil, "(empty)~", []string{"empty_replaced", "name_made_valid"}},
		{"sender", strings.Repeat("😀", 250), strings.Repeat("😀", 195) + "~", []string{"name_made_valid"}},
		{"sender_type", nil, "generic", []string{"null_completed"}},
		{"sender_type", " ", "generic", []string{"null_completed"}},
		{"sender_type", name, name[:33] + "~", []string{"name_made_valid"}},
		{"visibility", "admin_only", "admin_only", nil},
		{"visibility", nil, "private", []string{"null_completed"}},
		{"visibility", "PUBLIC", "private", []string{"visibility_unknown"}},
		{"visibility", []byte("public"), "private", []string{"visibility_unknown"}},
		{"message_type", nil, "agent_response", []string{"null_completed"}},
		{"message_type", "", "", nil},
		{"message_type", name, name[:50], []string{"text_cut"}},
	} {
		id := i + 1
		pairs := []any{"id", id, "session_id", "s", test.column, test.value}
		for _, column := range []string{"sender", "content"} {
			if column != test.column {
				pairs = append(pairs, column, "x")
			}
		}
		b.file.Insert("messages", pairs...)
		defer func() {
			got := b.query("SELECT "+test.column+" AS v FROM messages WHERE id = ?", id)[0].(string)
			if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) || !strings.HasSuffix(test.want, "~") && got != test.want {
				t.Errorf("%d %s: %.300q", id, test.column, got)
			}
			var want []string
			for _, rule := range test.rules {
				want = append(want, "repaired "+rule+" "+test.column)
			}
			if diff := cmp.Diff(want, b.reported("messages", float64(id))); diff != "" {
				t.Errorf("%d %s (-want +got):\n%s", id, test.column, diff)
			}
		}()
	}
	b.imports(importer.Options{Batch: 4})
	for _, change := range b.changes {
		if change.Rule == importer.RuleCut && change.Column == "content" && change.Before != long+"x" {
			t.Error("the report does not have the whole text")
		}
	}
}

// TestNamesStayApart: names that cannot be kept as they are do not become one another's.
func TestNamesStayApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	name := strings.Repeat("n", 300)
	for _, sender := range []any{"a", "a\x00", "a\x00\x00", []byte("a"), "a\xff", "a\xfe", name + "1", name + "2", "", " ", nil, []byte{}} {
		b.file.Insert("messages", "session_id", "s", "sender", sender, "content", "c", "visibility", "private")
	}
	b.imports(importer.Options{})
	b.holds("SELECT count(DISTINCT sender) AS v FROM messages", int64(12))
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	b := setup(t)
	deep := strings.Repeat("[", 999) + strings.Repeat("]", 999)
	for i, test := range []struct {
		value any
		want  any
		rules []string
	}{
		{nil, nil, nil},
		{"{}", "{}", nil},
		{`{"n": 123456789012345678901234567890.12, "e": 1e400}`, `{"e": 1` + strings.Repeat("0", 400) + `, "n": 123456789012345678901234567890.12}`, nil},
		{`[1, "x"]`, `[1, "x"]`, nil},
		{`null`, "null", nil},
		{deep, deep, nil},
		{"", nil, []string{"json_empty"}},
		{"\x00", nil, []string{"nul_removed", "json_empty"}},
		{`{"a":"\u0000"}`, `{"a": ""}`, []string{"json_nul_removed"}},
		{`{"a":"\ud83d"}`, `{"a": "` + "\ufffd" + `"}`, []string{"json_surrogate"}},
		{`{"a":1,"a":2}`, `{"a": 2}`, []string{"json_duplicate_keys"}},
		{`{"a":1e999999}`, `{"a": "1e999999"}`, []string{"json_number_range"}},
		{`{"a":NaN}`, `"{\"a\":NaN}"`, []string{"json_invalid"}},
		{"{'a':\"\x01\"}", `"{'a':\"\u0001\"}"`, []string{"json_invalid"}},
		{"{\"a\":\"\x01\"}", `{"a": "\u0001"}`, []string{"json_control_escaped"}},
		{"{\"a\":\"\xff\"}", `{"a": "` + "\ufffd" + `"}`, []string{"utf8_replaced"}},
		{[]byte(`{"a":1}`), `{"a": 1}`, []string{"type_converted"}},
	} {
		id := i + 1
		b.file.Insert("audit_log", "id", id, "event_type", "e", "agent_id", "a", "metadata", test.value)
		defer func() {
			b.holds(fmt.Sprintf("SELECT metadata::text AS v FROM audit_log WHERE id = %d", id), test.want)
			var want []string
			for _, rule := range test.rules {
				want = append(want, "repaired "+rule+" metadata")
			}
			if diff := cmp.Diff(want, b.reported("audit_log", float64(id))); diff != "" {
				t.Errorf("%v (-want +got):\n%s", test.value, diff)
			}
		}()
	}
	b.imports(importer.Options{})
}

func TestIsActive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for id, active := range map[string]any{"a": 1, "b": 0, "c": nil, "d": 2, "e": "yes", "f": 0.5} {
		b.file.Insert("sessions", "id", id, "purpose", "p", "created_by", "a", "is_active", active)
	}
	b.imports(importer.Options{})
	b.holds("SELECT id || is_active AS v FROM sessions ORDER BY id", "atrue", "bfalse", "cfalse", "dtrue", "efalse", "ftrue")
	for id, want := range map[string]string{"c": "repaired null_completed is_active", "d": "repaired boolean_unreadable is_active", "e": "repaired boolean_unreadable is_active"} {
		if diff := cmp.Diff([]string{want}, b.reported("sessions", id)); diff != "" {
			t.Error(diff)
		}
	}
}
