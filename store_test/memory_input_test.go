package store_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

func TestMemoryValuesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for _, value := range []string{
		"0", "NULL", "null", "''", `it's "$1" ? \' \\ %s %_`, "{\"a\": [1, \"\\u0000\"]}", " leading and trailing \n\n", "\ttab\r\n", "\ufeffBOM",
		"\x1b[31mred\x1b[0m \x07\x7f\u009b", "'; DROP TABLE agent_memory; --", "\u202eright to left\u200b\u00ad", "e\u0301 \u00e9", "x\u2028y\ufffd\uffff",
		"👩‍👩‍👧‍👦🦜\U0010ffff", strings.Repeat("🦜", store.MaxMemoryValueLength), strings.Repeat(" ", store.MaxMemoryValueLength-1) + "x",
	} {
		for _, sessionID := range f.scopes() {
			set := f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: "k", Value: value})
			if got := f.value(ctx, t, sessionID, "k", nil); got != value || set.Value != value {
				t.Errorf("%.60q came back as %.60q and %.60q", value, set.Value, got)
			}
		}
	}
	for _, key := range []string{"%", "_", `\`, "'", `"`, "$1", "?", "a/b:c.d", "🦜", "\u200b", strings.Repeat("ж", store.MaxMemoryKeyLength)} {
		for _, sessionID := range f.scopes() {
			f.set(ctx, t, store.SetMemoryParams{SessionID: sessionID, Key: key, Value: key, KeepExisting: true})
			if got := f.value(ctx, t, sessionID, key, nil); got != key {
				t.Errorf("key %q gives %q", key, got)
			}
			if err := f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "alice", SessionID: sessionID, Key: key}); err != nil {
				t.Errorf("key %q: %v", key, err)
			}
		}
	}
}

// Hostile texts come back byte for byte as values, cleaned as keys, or are refused before the database is asked.
func TestMemoryOfHostileTexts(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for _, text := range hostileTexts {
		storable := utf8.ValidString(text) && !strings.Contains(text, "\x00") && strings.TrimSpace(text) != ""
		key, isKey := cleaned(text, store.MaxMemoryKeyLength)
		isKey = isKey && !strings.ContainsFunc(key, unicode.IsSpace)
		for scope, sessionID := range f.scopes() {
			_, err := f.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Value: text})
			if wantOutcome(t, "value", text, err, storable) {
				if got := f.value(ctx, t, sessionID, "k", nil); got != text {
					t.Errorf("value %.40q comes back as %.40q", text, got)
				}
			}
			_, err = f.SetMemory(ctx, store.SetMemoryParams{AgentID: "mallory", SessionID: sessionID, Key: text, Value: "v"})
			wantOutcome(t, "key", text, err, isKey)
			page, err := f.ListMemory(ctx, store.ListMemoryParams{
				AgentID: "mallory", Scope: store.MemoryScope(scope), SessionID: sessionID, Prefix: text,
			})
			if wantOutcome(t, "prefix", text, err, isKey || text == "") && isKey &&
				(len(page.Entries) != 1 || page.Entries[0].Key != key) {
				t.Errorf("prefix %.40q gives %+v", text, page.Entries)
			}
			err = f.DeleteMemory(ctx, store.DeleteMemoryParams{AgentID: "mallory", SessionID: sessionID, Key: text})
			wantOutcome(t, "key to delete", text, err, isKey)
			_, err = f.GetMemory(ctx, store.GetMemoryParams{AgentID: "mallory", SessionID: sessionID, Key: text})
			wantOutcome(t, "key to get", text, ignore(err, store.ErrMemoryNotFound), isKey)
		}
		_, err := f.ListMemory(ctx, store.ListMemoryParams{AgentID: "alice", After: &store.MemoryCursor{SessionID: text, Key: text}})
		wantOutcome(t, "cursor", text, err, utf8.ValidString(text) && !strings.Contains(text, "\x00"))
	}
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != 2 {
		t.Errorf("%d entries are left, want the two values", n)
	}
}

func TestSetMemoryRefuses(t *testing.T) { //nolint:tparallel // the group ends before the count
	t.Parallel()
	ctx, f := setup(t)
	tests := []struct {
		name, field string
		change      func(*store.SetMemoryParams)
	}{
		{"no agent", "agent_id", func(p *store.SetMemoryParams) { p.AgentID = "" }},
		{"agent with a space", "agent_id", func(p *store.SetMemoryParams) { p.AgentID = "a b" }},
		{"session", "session_id", func(p *store.SetMemoryParams) { p.SessionID = "global" }},
		{"blank session", "session_id", func(p *store.SetMemoryParams) { p.SessionID = " " }},
		{"no key", "key", func(p *store.SetMemoryParams) { p.Key = "" }},
		{"blank key", "key", func(p *store.SetMemoryParams) { p.Key = " \x00\n" }},
		{"key with a space", "key", func(p *store.SetMemoryParams) { p.Key = "a b" }},
		{"key with a line separator", "key", func(p *store.SetMemoryParams) { p.Key = "a\u2028b" }},
		{"key of 256", "key", func(p *store.SetMemoryParams) { p.Key = strings.Repeat("ж", 256) }},
		{"key of invalid UTF-8", "key", func(p *store.SetMemoryParams) { p.Key = invalidUTF8 }},
		{"no value", "value", func(p *store.SetMemoryParams) { p.Value = "" }},
		{"blank value", "value", func(p *store.SetMemoryParams) { p.Value = " \t\u00a0\n" }},
		{"value with NUL", "value", func(p *store.SetMemoryParams) { p.Value = "a\x00b" }},
		{"value of invalid UTF-8", "value", func(p *store.SetMemoryParams) { p.Value = invalidUTF8 }},
		{"value of 100,001", "value", func(p *store.SetMemoryParams) { p.Value = strings.Repeat("ж", 100_001) }},
		{"metadata is no object", "metadata", func(p *store.SetMemoryParams) { p.Metadata = []int{1} }},
		{"metadata with an escaped NUL", "metadata", func(p *store.SetMemoryParams) { p.Metadata = json.RawMessage(`{"a":"\u0000"}`) }},
		{"negative TTL", "ttl", func(p *store.SetMemoryParams) { p.TTL = -1 }},
		{"TTL above a year", "ttl", func(p *store.SetMemoryParams) { p.TTL = store.MaxTTL + 1 }},
		{"year 10000", "now", func(p *store.SetMemoryParams) { p.Now = ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }},
		{"end in the year 10000", "now", func(p *store.SetMemoryParams) {
			p.Now, p.TTL = ptr(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)), 24*time.Hour
		}},
	}
	t.Run("group", func(t *testing.T) { // ends when its parallel tests have ended
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				for _, sessionID := range f.scopes() {
					params := store.SetMemoryParams{AgentID: "alice", SessionID: sessionID, Key: "k", Value: "v"}
					test.change(&params)
					_, err := f.SetMemory(ctx, params)
					wantInvalid(t, err, test.field)
				}
			})
		}
	})
	if n := count(ctx, t, "SELECT count(*) FROM agent_memory"); n != 0 || len(memoryAudit(ctx, t)) != 0 {
		t.Errorf("%d entries were stored, with the audit rows %v", n, memoryAudit(ctx, t))
	}
}

func TestGetAndDeleteMemoryRefuse(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for field, params := range map[string]store.GetMemoryParams{
		"agent_id":   {Key: "k"},
		"session_id": {AgentID: "alice", Key: "k", SessionID: "session_"},
		"key":        {AgentID: "alice", Key: "a\tb"},
		"now":        {AgentID: "alice", Key: "k", Now: ptr(time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC))},
	} {
		_, err := f.GetMemory(ctx, params)
		wantInvalid(t, err, field)
		wantInvalid(t, f.DeleteMemory(ctx, store.DeleteMemoryParams(params)), field)
	}
}
