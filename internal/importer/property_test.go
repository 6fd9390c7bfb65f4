package importer_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
)

// odd draws a value of any storage class.
var odd = rapid.OneOf(
	rapid.Just[any](nil),
	rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(n int64) any { return n }),
	rapid.Map(rapid.Float64Range(-1e12, 1e12), func(n float64) any { return n }),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) any { return b }),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) any { return string(b) }),
	rapid.Map(rapid.StringN(0, 12, -1), func(s string) any { return s }),
	rapid.SampledFrom([]any{"", " ", "\x00", "a\x00", strings.Repeat("x", 300), strings.Repeat("😀", 300), "public", "{}", `{"a":"\u0000"}`, `{"a":1,"a":2}`,
		`"\ud83d"`, "[1e999999]", "2025-08-22 23:48:35", "2025-08-22T23:48:35.123456+00:00", 1755906515.123456, 1755906515, 0, 1, "s1", "s2"}),
)

// columns of each table, without the id.
var columns = map[string][]string{
	"messages":      {"session_id", "sender", "sender_type", "content", "visibility", "message_type", "metadata", "timestamp", "parent_message_id"},
	"agent_memory":  {"agent_id", "session_id", "key", "value", "metadata", "created_at", "updated_at", "expires_at"},
	"audit_log":     {"timestamp", "event_type", "agent_id", "session_id", "resource", "action", "result", "metadata"},
	"secure_tokens": {"token_id", "encrypted_jwt", "agent_id", "expires_at", "created_at"},
}

// TestAnyRow imports rows of any values. What is not in the report is in the database as it was, and every row is in one of
// both.
func TestAnyRow(t *testing.T) {
	t.Parallel()
	outer := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		b := &bundle{tb: t, ctx: outer.ctx, manager: outer.manager, file: legacytest.New(t, 3)}
		b.exec("TRUNCATE sessions, messages, message_keys, agent_memory, audit_log, secure_tokens")
		onOrphan := rapid.SampledFrom([]importer.OnOrphan{importer.Placeholder, importer.Skip}).Draw(rt, "orphans")
		for _, id := range rapid.SliceOfNDistinct(rapid.OneOf(rapid.SampledFrom([]any{"s1", "s2"}), odd), 0, 4, storageKey).Draw(rt, "sessions") {
			pairs := []any{"id", id, "purpose", "p", "created_by", "a"}
			for _, column := range []string{"created_at", "updated_at", "is_active", "metadata"} {
				pairs = append(pairs, column, odd.Draw(rt, column))
			}
			b.file.Insert("sessions", pairs...)
		}
		rows := make(map[string]int)
		for table, names := range columns {
			rows[table] = rapid.IntRange(0, 6).Draw(rt, table)
			for id := range rows[table] {
				pairs := []any{"id", id + 1}
				for _, name := range names {
					value := odd.Draw(rt, name)
					if name == "parent_message_id" || name == "session_id" && rapid.Bool().Draw(rt, "usual") {
						value = rapid.SampledFrom(map[string][]any{"parent_message_id": {nil, 1, 2, 5, 99, "x"}, "session_id": {"s1", "s2", nil}}[name]).Draw(rt, name)
					}
					pairs = append(pairs, name, value)
				}
				b.file.Insert(table, pairs...)
			}
		}
		b.imports(importer.Options{OnOrphan: onOrphan, Batch: rapid.IntRange(1, 9).Draw(rt, "batch")})
		for table, names := range columns {
			for id := 1; id <= rows[table]; id++ {
				reported := b.reported(table, float64(id))
				found := b.query(fmt.Sprintf("SELECT to_jsonb(t) AS v FROM %s t WHERE id = %d", table, id))
				if dropped := slices.ContainsFunc(reported, func(rule string) bool { return strings.HasPrefix(rule, "dropped ") }); dropped == (len(found) == 1) {
					rt.Fatalf("%s %d: in the database %v, in the report %v", table, id, found, reported)
				}
				if len(found) == 0 {
					continue
				}
				for _, name := range names {
					if !slices.ContainsFunc(reported, func(rule string) bool { return strings.HasSuffix(rule, " "+name) }) {
						b.sameText(rt, table, name, id, found[0].(map[string]any)[name])
					}
				}
			}
		}
	})
}

// sameText demands that a text of which the report says nothing is what it was. Other kinds of columns have tests of their own.
func (b *bundle) sameText(rt *rapid.T, table, column string, id int, got any) {
	if slices.Contains([]string{"metadata", "timestamp", "created_at", "updated_at", "expires_at", "parent_message_id", "encrypted_jwt"}, column) {
		return
	}
	want := b.file.Value(table, column, id)
	if got != want {
		rt.Fatalf("%s.%s of row %d was %q and is %q, of which the report says nothing", table, column, id, want, got)
	}
}

// storageKey tells values apart as a primary key of text does.
func storageKey(value any) string {
	switch value := value.(type) {
	case []byte:
		return "blob " + base64.StdEncoding.EncodeToString(value)
	case nil:
		return "null"
	case float64:
		return fmt.Sprintf("text %.15g", value)
	}
	return fmt.Sprintf("text %v", value)
}
