package sqliteexport_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/internal/sqliteexport"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const exported = "session_00000000000000aa"

// odd fills a database with values at the edges of what both generations hold.
const odd = `
INSERT INTO sessions (id, purpose, created_by, is_active, metadata, created_at, updated_at) VALUES
	('session_00000000000000aa', 'naïve 😀 "quoted"', 'alice', true, '{"n": 123456789012345678901234567890.5, "a": [1, {"b": null}]}', '2025-08-22 23:48:35.123456+00', '2025-08-22 23:48:36+00'),
	('session_00000000000000bb', 'x', 'bob', false, 'null', '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00'),
	('Session of an older kind', 'x', 'bob', true, NULL, '1969-12-31 23:59:59.999999+00', '2106-02-07 06:28:15.999999+00');
INSERT INTO messages (id, session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id) VALUES
	(7, 'session_00000000000000aa', 'alice', 'claude', E'tab\tline\nbell\x07 ''quote''', 'public', 'user_message', '{}', '2025-08-22 23:48:35.000001+00', NULL),
	(9, 'session_00000000000000aa', 'bob', 'generic', '日本語', 'admin_only', 'agent_response', NULL, '1700-01-01 00:00:00.5+00', 7);
INSERT INTO agent_memory (id, agent_id, session_id, key, value, metadata, created_at, updated_at, expires_at) VALUES
	(1, 'alice', NULL, 'k', ' v ', '{"a": "\u0001"}', '2025-01-01 00:00:00.000001+00', '2025-01-02 00:00:00.5+00', '2025-01-01 00:00:00.000002+00'),
	(2, 'alice', 'session_00000000000000aa', 'k', 'v', NULL, '2025-01-01+00', '2025-01-01+00', '9999-01-01 00:00:00.123456+00');
INSERT INTO audit_log (id, timestamp, event_type, agent_id, session_id, resource, action, result, metadata) VALUES
	(3, '2025-01-01 00:00:00.000001+00', 'x', 'alice', NULL, '', NULL, 'ok', '[1]');
INSERT INTO secure_tokens (id, token_id, encrypted_jwt, agent_id, expires_at, created_at) VALUES
	(1, 'sct_1', '\x00ff', 'alice', '2025-01-01 00:00:00.000001+00', '2024-12-31+00'), (2, 'sct_2', '', 'alice', '2025-01-01+00', '2024-12-31+00');
SELECT setval('messages_id_seq', 41);`

func fill(ctx context.Context, t *testing.T, sql string) {
	t.Helper()
	for statement := range strings.SplitSeq(sql, ";\n") {
		if _, err := store.ExecuteUpdate(ctx, statement); err != nil {
			t.Fatalf("%v: %s", err, statement)
		}
	}
}

// dump returns the five tables of a database as text, but for the transactions that wrote them.
func dump(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	tables := make(map[string]string)
	for _, table := range []string{"sessions", "messages", "agent_memory", "audit_log", "secure_tokens"} {
		rows, err := store.ExecuteQuery(ctx, `SELECT coalesce(string_agg((to_jsonb(r) - 'transaction_id')::text, E'\n' ORDER BY r.id), '') AS dump FROM `+table+" r")
		if err != nil {
			t.Fatal(err)
		}
		tables[table] = rows[0]["dump"].(string)
	}
	return tables
}

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func value(t *testing.T, db *sql.DB, query string) (found any) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&found); err != nil {
		t.Fatalf("%v: %s", err, query)
	}
	return found
}

// What goes out comes back the same, with the same ids behind the same sequences.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	fill(ctx, t, odd)
	path := filepath.Join(t.TempDir(), "out.db")
	result, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var rows []int64
	for _, table := range result.Tables {
		rows = append(rows, table.Rows)
	}
	if diff := cmp.Diff([]int64{3, 2, 2, 1, 2}, rows); diff != "" || !result.Pass {
		t.Errorf("result %+v (-want +got):\n%s", result, diff)
	}
	if diff := cmp.Diff([]string{"audit_seal", "audit_seal_horizon", "message_keys", "schema_migrations"}, result.LeftOut); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is open to others: %v, %v", info.Mode(), err)
	}

	otherCtx, other := storetest.New(t)
	imported, err := importer.Import(otherCtx, other, path, importer.Options{Report: filepath.Join(t.TempDir(), "report.jsonl")})
	if err != nil || !imported.Pass {
		t.Fatalf("%+v, %v", imported, err)
	}
	for _, table := range imported.Tables {
		if table.Repaired+table.Dropped != 0 {
			t.Errorf("%s: %d repaired, %d dropped", table.Table, table.Repaired, table.Dropped)
		}
	}
	if diff := cmp.Diff(dump(ctx, t), dump(otherCtx, t)); diff != "" {
		t.Errorf("the way there and back (-before +after):\n%s", diff)
	}
	if last, err := store.ExecuteQuery(otherCtx, "SELECT nextval('messages_id_seq') AS next"); err != nil || last[0]["next"] != int64(42) {
		t.Errorf("the next message gets the id %v, %v", last, err)
	}
}

// A file that was imported comes out as it went in, but for what the report of the import says.
func TestExportOfAnImport(t *testing.T) {
	t.Parallel()
	file := legacytest.New(t, 3)
	file.Session(exported)
	for id := range 20 {
		file.Insert("messages", "id", id+1, "session_id", exported, "sender", "alice", "content", "message", "timestamp", 1755906515.000001+float64(id))
	}
	file.Insert("messages", "id", 30, "session_id", exported, "sender", "alice", "content", "nul\x00", "timestamp", "2025-08-22 23:48:35")
	file.Close()
	ctx, manager := storetest.New(t)
	options := importer.Options{Report: filepath.Join(t.TempDir(), "report.jsonl")}
	if result, err := importer.Import(ctx, manager, file.Path, options); err != nil || !result.Pass {
		t.Fatalf("%+v, %v", result, err)
	}
	path := filepath.Join(t.TempDir(), "out.db")
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err != nil {
		t.Fatal(err)
	}
	before, after := open(t, file.Path), open(t, path)
	for _, query := range []string{
		"SELECT group_concat(id || ' ' || session_id || ' ' || sender || ' ' || content || ' ' || +timestamp, ';') FROM (SELECT * FROM messages WHERE id < 30 ORDER BY id)",
		"SELECT group_concat(id || purpose || created_by || +created_at || +updated_at || is_active) FROM sessions",
	} {
		if diff := cmp.Diff(value(t, before, query), value(t, after, query)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", query, diff)
		}
	}
	if got := value(t, after, "SELECT content || +timestamp FROM messages WHERE id = 30"); got != "nul1755906515" {
		t.Errorf("the repaired message is %v", got)
	}
	// And once more.
	second := filepath.Join(t.TempDir(), "second.db")
	otherCtx, other := storetest.New(t)
	if result, err := importer.Import(otherCtx, other, path, options); err != nil || !result.Pass {
		t.Fatalf("%+v, %v", result, err)
	}
	a, err := sqliteexport.Export(ctx, manager, filepath.Join(t.TempDir(), "first.db"), sqliteexport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := sqliteexport.Export(otherCtx, other, second, sqliteexport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.Tables, b.Tables); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
}

// A server of the first generation writes to the file as to one of its own.
func TestFirstGenerationUsesIt(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	fill(ctx, t, odd)
	path := filepath.Join(t.TempDir(), "out.db")
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	exec := func(query string) error { _, err := db.Exec(query); return err }
	if err := exec("INSERT INTO messages (session_id, sender, content) VALUES ('session_00000000000000aa', 'alice', 'new')"); err != nil {
		t.Fatal(err)
	}
	if id := value(t, db, "SELECT id FROM messages WHERE content = 'new' AND visibility = 'public' AND sender_type = 'generic' AND timestamp LIKE '20%'"); id != int64(42) {
		t.Errorf("the new message has the id %v", id)
	}
	if err := exec("UPDATE sessions SET purpose = 'y' WHERE id = 'session_00000000000000aa'"); err != nil {
		t.Fatal(err)
	}
	if kind := value(t, db, "SELECT typeof(+updated_at) FROM sessions WHERE id = 'session_00000000000000aa'"); kind != "text" {
		t.Errorf("the trigger wrote a time of the kind %v", kind)
	}
	for problem, query := range map[string]string{
		"an unknown visibility":     "INSERT INTO messages (session_id, sender, content, visibility) VALUES ('session_00000000000000aa', 'a', 'x', 'all')",
		"a session that is gone":    "INSERT INTO messages (session_id, sender, content) VALUES ('gone', 'a', 'x')",
		"global memory twice":       "INSERT INTO agent_memory (agent_id, key, value) VALUES ('alice', 'k', 'v')",
		"memory that ends too soon": "INSERT INTO agent_memory (agent_id, key, value, created_at, expires_at) VALUES ('alice', 'z', 'v', 2, 1)",
		"metadata that is no JSON":  "UPDATE messages SET metadata = '{'",
		"a token twice":             "INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES ('sct_1', x'00', 'a', 1)",
	} {
		if err := exec(query); err == nil {
			t.Errorf("%s is accepted", problem)
		}
	}
	for query, want := range map[string]any{
		"SELECT message_count FROM active_sessions_with_activity WHERE id = 'session_00000000000000aa'": int64(3),
		"SELECT global_entries FROM agent_memory_summary WHERE agent_id = 'alice'":                      int64(1),
		"SELECT event_count FROM audit_activity_summary":                                                int64(1),
		"SELECT max(version) FROM schema_version":                                                       int64(3),
		"SELECT typeof(+timestamp) FROM messages WHERE id = 7":                                          "real",
		"SELECT typeof(+created_at) FROM agent_memory WHERE id = 1":                                     "real",
		"SELECT +updated_at FROM agent_memory WHERE id = 1":                                             "2025-01-02T00:00:00.500000+00:00",
	} {
		if got := value(t, db, query); got != want {
			t.Errorf("%s gives %v, want %v", query, got, want)
		}
	}
	if err := exec("DELETE FROM sessions WHERE id = 'session_00000000000000aa'"); err != nil || value(t, db, "SELECT count(*) FROM messages") != int64(0) {
		t.Errorf("messages outlive their session (%v)", err)
	}
}

// The file has what a real one has: tables with the same columns, and the same indexes, triggers and views.
func TestSameCatalog(t *testing.T) {
	t.Parallel()
	real, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "chat_history.db"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no real file to compare with")
	}
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(t.TempDir(), "real.db")
	if err := os.WriteFile(original, real, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, manager := storetest.New(t)
	path := filepath.Join(t.TempDir(), "out.db")
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err != nil {
		t.Fatal(err)
	}
	const objects = `SELECT group_concat(line, char(10)) FROM (
		SELECT m.type || ' ' || m.name || ' ' || c.cid || ' ' || c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '') || ' ' || c.pk AS line
		FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite%'
		UNION ALL
		SELECT 'index ' || m.name || ' ' || m.tbl_name || ' ' || x.seqno || ' ' || x.name || ' ' || i."unique" || i.partial
		FROM sqlite_master m JOIN pragma_index_info(m.name) x JOIN pragma_index_list(m.tbl_name) i ON i.name = m.name WHERE m.type = 'index'
		UNION ALL
		SELECT m.type || ' ' || m.name || ' ' || m.tbl_name FROM sqlite_master m WHERE m.type = 'trigger'
		UNION ALL
		SELECT 'key ' || m.name || ' ' || k."from" || ' ' || k."table" || ' ' || k.on_delete FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k WHERE m.type = 'table'
		ORDER BY 1)`
	if diff := cmp.Diff(value(t, open(t, original), objects), value(t, open(t, path), objects)); diff != "" {
		t.Errorf("catalog (-real +exported):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx, manager := storetest.New(t)
	fill(ctx, t, odd)
	directory := t.TempDir()
	path := filepath.Join(directory, "out.db")
	names := func() []string {
		entries, err := os.ReadDir(directory)
		if err != nil {
			t.Fatal(err)
		}
		found := []string{}
		for _, entry := range entries {
			found = append(found, entry.Name())
		}
		return found
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := sqliteexport.Export(cancelled, manager, path, sqliteexport.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	fill(ctx, t, `ALTER TABLE messages DROP CONSTRAINT messages_content_not_empty;
INSERT INTO messages (id, session_id, sender, content) VALUES (50, 'session_00000000000000aa', 'alice', ' '), (51, 'session_00000000000000aa', 'alice', '')`)
	var refused *sqliteexport.RefusedError
	_, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{})
	if !errors.As(err, &refused) || refused.Total != 2 || !strings.Contains(err.Error(), "messages 50: ") || !strings.Contains(err.Error(), "messages_content_not_empty") {
		t.Errorf("rows that break a rule: %v", err)
	}
	fill(ctx, t, "UPDATE messages SET content = 'x', timestamp = 'infinity' WHERE id >= 50")
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err == nil || !strings.Contains(err.Error(), "row 50: timestamp is not in the years") {
		t.Errorf("a time without end: %v", err)
	}
	if diff := cmp.Diff([]string{}, names()); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}

	fill(ctx, t, "DELETE FROM messages WHERE id >= 50")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a file that is there: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("it is now %q, %v", text, err)
	}
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{Force: true}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{Force: true}); err == nil || !strings.Contains(err.Error(), "-wal exists already") {
		t.Errorf("beside the -wal of another file: %v", err)
	}
}
