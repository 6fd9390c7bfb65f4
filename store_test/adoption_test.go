package store_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// firstGeneration returns the configuration of a database as the first generation has left it: its tables, and no record
// of migrations.
func firstGeneration(tb testing.TB) store.Config {
	tb.Helper()
	config := storetest.EmptyConfig(tb)
	ddl, err := fs.ReadFile(schema.FS, "000001_first_generation.up.sql")
	if err != nil {
		tb.Fatal(err)
	}
	conn := connect(tb, config)
	exec1(tb, conn, string(ddl))
	if err := conn.Close(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return config
}

// oldRows fills every table of the first generation with rows of all kinds that it could hold.
const oldRows = `
INSERT INTO sessions (id, purpose, created_at, updated_at, is_active, created_by, metadata) VALUES
	('session_0000000000000001', 'ordinary', '2024-01-01 10:00:00.123456+00', '2024-01-02 11:00:00.654321+00', true, 'alice', '{"a": {"b": [1, 2.50, null]}}'),
	('session_0000000000000002', 'größer — 日本語 🎉', '2024-02-01', '2024-02-02', false, 'bob', 'null'),
	('session_0000000000000003', 'never updated', '2024-03-01', NULL, true, 'carol', NULL),
	('session_0000000000000004', 'created when?', NULL, '2024-04-02', true, 'carol', '[]'),
	('session_0000000000000005', 'active or not?', '2024-05-01', '2024-05-02', NULL, 'dave', '{}'),
	('session_0000000000000006', 'nothing known', NULL, NULL, NULL, 'dave', '"text"'),
	('not-a-usual-id', E'  white\n space  ', '2024-06-01', '2024-06-02', true, ' x ', '7');
INSERT INTO messages (id, session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id) VALUES
	(1, 'session_0000000000000001', 'alice', 'claude', 'first', 'public', 'agent_response', '{"z": 1, "a": 2}', '2024-01-01 10:00:01+00', NULL),
	(2, 'session_0000000000000001', 'bob', 'gemini', 'an answer', 'private', 'odd type', NULL, '2024-01-01 10:00:01+00', 1),
	(3, 'session_0000000000000001', 'bob', 'gemini', 'an answer to it', 'agent_only', 'error', '{}', '2024-01-01 09:00:00+00', 2),
	(4, 'session_0000000000000002', 'ünïcode', 'generic', E'\U0001F600 日本\n\t"\\', 'admin_only', 'system_message', '{"ключ": "значение"}', '1999-12-31 23:59:59.999999+00', 3),
	(5, 'session_0000000000000001', 'alice', NULL, 'no sender type', 'public', 'status_update', NULL, '2024-01-01 12:00:00+00', NULL),
	(6, 'session_0000000000000001', 'alice', 'claude', 'no visibility', NULL, 'status_update', NULL, '2024-01-01 12:00:00+00', NULL),
	(7, 'session_0000000000000001', 'alice', 'claude', 'no type', 'public', NULL, NULL, '2024-01-01 12:00:00+00', NULL),
	(8, 'session_0000000000000003', 'alice', 'claude', 'no time', 'public', 'tool_result', NULL, NULL, NULL),
	(9, 'session_0000000000000004', 'alice', NULL, 'nothing', NULL, NULL, NULL, NULL, 9),
	(1000, 'not-a-usual-id', 'alice', 'claude', repeat('é', 100000), 'public', 'agent_response', NULL, '2024-01-01 12:00:00+00', NULL);
INSERT INTO agent_memory (id, agent_id, session_id, key, value, metadata, created_at, updated_at, expires_at) VALUES
	(1, 'alice', 'session_0000000000000001', 'plan', 'of a session', '{"n": 1}', '2024-01-01', '2024-01-02', NULL),
	(2, 'alice', 'session_0000000000000002', 'plan', 'of another', NULL, '2024-01-01', '2024-01-02', '2024-01-03'),
	(3, 'alice', NULL, 'plan', 'global, oldest', NULL, '2024-01-01', '2024-01-02', NULL),
	(4, 'alice', NULL, 'plan', 'global, newest', NULL, '2024-01-01', '2024-01-09', NULL),
	(5, 'alice', NULL, 'plan', 'global, in between', '{}', '2024-01-01', '2024-01-03', NULL),
	(6, 'alice', NULL, 'twin', 'same instant, lower id', NULL, '2024-01-01', '2024-01-02', NULL),
	(7, 'alice', NULL, 'twin', 'same instant, higher id', NULL, '2024-01-01', '2024-01-02', NULL),
	(8, 'alice', NULL, 'undated', 'has a time', NULL, '2024-01-01', '2024-01-02', NULL),
	(9, 'alice', NULL, 'undated', 'has none', NULL, '2024-01-01', NULL, NULL),
	(10, 'bob', NULL, 'plan', 'of another agent', NULL, '2024-01-01', '2024-01-02', NULL),
	(11, 'bob', NULL, 'expired', 'long ago', NULL, '2020-01-01', '2020-01-01', '2020-01-02'),
	(12, 'bob', NULL, 'no creation', 'updated once', NULL, NULL, '2024-01-02', NULL),
	(13, 'bob', NULL, 'no creation, expired', 'x', NULL, NULL, '2024-01-02', '2024-01-01 12:00:00+00'),
	(14, 'bob', NULL, 'no update', 'x', NULL, '2024-01-01', NULL, NULL),
	(15, 'bob', NULL, 'no times', 'x', NULL, NULL, NULL, NULL),
	(16, 'bob', NULL, 'no times, expired', 'x', NULL, NULL, NULL, '2024-01-01'),
	(17, 'bob', NULL, 'Ключ', 'значение 🎉', '[1]', '2024-01-01', '2024-01-02', '2999-01-01');
INSERT INTO audit_log (id, timestamp, event_type, agent_id, session_id, resource, action, result, metadata) VALUES
	(1, '2024-01-01', 'session_created', 'alice', 'session_0000000000000001', 'r', 'a', 'ok', '{"k": "v"}'),
	(2, '2024-01-01', 'session_created', 'alice', NULL, NULL, NULL, NULL, NULL),
	(3, NULL, 'undated', 'alice', NULL, NULL, NULL, NULL, NULL);
INSERT INTO secure_tokens (id, token_id, encrypted_jwt, agent_id, expires_at, created_at) VALUES
	(1, 'sct_1', '\x00ff80', 'alice', '2999-01-01', '2024-01-01'),
	(2, 'sct_2', '\x67414141', 'bob', '2024-01-02', '2024-01-01'),
	(3, 'sct_3', '\x', 'bob', '2024-01-02', NULL),
	(4, 'sct_4', '\x', 'bob', '2999-01-02', NULL);
SELECT setval(pg_get_serial_sequence(name, 'id'), 2000) FROM unnest(ARRAY['messages', 'agent_memory', 'audit_log', 'secure_tokens']) AS name;
INSERT INTO schema_version (version, applied_at, description) VALUES (1, '2023-01-01', NULL), (2, NULL, 'tokens');`

// row is a row by its columns, as PostgreSQL writes it in JSON.
type row map[string]any

// rowsOf returns the rows of a table by their id, but for the transactions that wrote them.
func rowsOf(tb testing.TB, conn *pgx.Conn, table string) map[string]row {
	tb.Helper()
	key := "id"
	if table == "schema_version" {
		key = "version"
	}
	found, err := conn.Query(tb.Context(), fmt.Sprintf("SELECT %s::text, (to_jsonb(t) - 'transaction_id')::text FROM %s t", key, table))
	if err != nil {
		tb.Fatal(err)
	}
	rows := make(map[string]row)
	var id, text string
	if _, err := pgx.ForEachRow(found, []any{&id, &text}, func() error {
		var r row
		err := json.Unmarshal([]byte(text), &r)
		rows[id] = r
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return rows
}

// tables are those that hold rows of services.
var tables = []string{"sessions", "messages", "agent_memory", "audit_log", "secure_tokens"}

func allRows(tb testing.TB, conn *pgx.Conn) map[string]map[string]row {
	tb.Helper()
	all := make(map[string]map[string]row)
	for _, table := range tables {
		all[table] = rowsOf(tb, conn, table)
	}
	return all
}

// migratedRows changes rows of the first generation into what the migrations make of them. What they set to the present
// becomes the text "now".
func migratedRows(all map[string]map[string]row) {
	set := func(table, id string, columns row) {
		for column, value := range columns {
			all[table][id][column] = value
		}
	}
	set("sessions", "session_0000000000000003", row{"updated_at": "2024-03-01T00:00:00+00:00"})
	set("sessions", "session_0000000000000004", row{"created_at": "2024-04-02T00:00:00+00:00"})
	set("sessions", "session_0000000000000005", row{"is_active": false})
	set("sessions", "session_0000000000000006", row{"created_at": "now", "updated_at": "now", "is_active": false})

	set("messages", "5", row{"sender_type": "generic"})
	set("messages", "6", row{"visibility": "private"})
	set("messages", "7", row{"message_type": "agent_response"})
	set("messages", "8", row{"timestamp": "2024-03-01T00:00:00+00:00"})
	set("messages", "9", row{"sender_type": "generic", "visibility": "private", "message_type": "agent_response", "timestamp": "2024-04-02T00:00:00+00:00"})

	for _, duplicate := range []string{"3", "5", "6", "9"} {
		delete(all["agent_memory"], duplicate)
	}
	set("agent_memory", "12", row{"created_at": "2024-01-02T00:00:00+00:00"})
	set("agent_memory", "13", row{"created_at": "2024-01-01T11:59:59+00:00"})
	set("agent_memory", "14", row{"updated_at": "2024-01-01T00:00:00+00:00"})
	set("agent_memory", "15", row{"created_at": "now", "updated_at": "now"})
	set("agent_memory", "16", row{"created_at": "2023-12-31T23:59:59+00:00", "updated_at": "now"})

	set("audit_log", "3", row{"timestamp": "now"})
	set("secure_tokens", "3", row{"created_at": "2024-01-02T00:00:00+00:00"})
	set("secure_tokens", "4", row{"created_at": "now"})
}

// presentAsNow replaces times after start by the text "now".
func presentAsNow(all map[string]map[string]row, start time.Time) {
	for _, rows := range all {
		for _, r := range rows {
			for column, value := range r {
				text, _ := value.(string)
				at, err := time.Parse(time.RFC3339Nano, text)
				if err == nil && column != "expires_at" && !at.Before(start) {
					r[column] = "now"
				}
			}
		}
	}
}

func TestAdoptFirstGeneration(t *testing.T) {
	t.Parallel()
	config := firstGeneration(t)
	conn := connect(t, config)
	exec1(t, conn, "SET timezone = 'UTC'")
	exec1(t, conn, oldRows)
	exec1(t, conn, "CREATE TABLE django_migrations (id bigint PRIMARY KEY, app text); INSERT INTO django_migrations VALUES (1, 'other')")
	want := allRows(t, conn)
	if len(want["messages"]) != 10 || len(want["agent_memory"]) != 17 {
		t.Fatal("the rows are not all there before")
	}
	migratedRows(want)
	start := ask[time.Time](t, conn, "SELECT clock_timestamp()")

	ctx, m := storetest.Open(t, config)
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	got := allRows(t, conn)
	presentAsNow(got, start)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got := ask[string](t, conn, "SELECT app FROM django_migrations"); got != "other" {
		t.Error("the table of another application was touched")
	}
	versions := rowsOf(t, conn, "schema_version")
	if len(versions) != store.SchemaVersion() || versions["1"]["applied_at"] != "2023-01-01T00:00:00+00:00" || versions["2"]["applied_at"] == nil {
		t.Errorf("versions recorded: %v", versions)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check: %+v", status)
	}

	// Ids go on where they were.
	message, err := m.AddMessage(ctx, "session_0000000000000001", store.NewMessage{Sender: "alice", Content: "new"})
	if err != nil || message.ID != 2001 {
		t.Errorf("the next message has id %d, %v; want 2001", message.ID, err)
	}
	// The triggers fire.
	for table, id := range map[string]string{"sessions": "'session_0000000000000001'", "agent_memory": "1"} {
		exec1(t, conn, fmt.Sprintf("UPDATE %s SET metadata = NULL WHERE id = %s", table, id))
		if at := ask[time.Time](t, conn, fmt.Sprintf("SELECT updated_at FROM %s WHERE id = %s", table, id)); at.Before(start) {
			t.Errorf("%s: updated_at stays at %v", table, at)
		}
	}
	// The views show what they did.
	for _, test := range []struct{ sql, want string }{
		{`SELECT string_agg(format('%s %s %s', id, message_count, unique_agents), ', ' ORDER BY id COLLATE "C") FROM active_sessions_with_activity`,
			"not-a-usual-id 1 1, session_0000000000000001 7 2, session_0000000000000003 1 1, session_0000000000000004 1 1"},
		{`SELECT string_agg(format('%s %s %s %s %s', agent_id, total_entries, global_entries, session_entries, expiring_entries), ', ' ORDER BY agent_id)
			FROM agent_memory_summary`, "alice 5 3 2 1, bob 8 8 0 4"},
		{`SELECT string_agg(format('%s %s %s', agent_id, event_type, event_count), ', ' ORDER BY event_type)
			FROM audit_activity_summary WHERE event_type <> 'message_added'`, "alice session_created 2, alice undated 1"},
	} {
		if got := ask[string](t, conn, test.sql); got != test.want {
			t.Errorf("%s: got %s, want %s", test.sql, got, test.want)
		}
	}
	// Duplicates are impossible.
	_, err = conn.Exec(ctx, "INSERT INTO agent_memory (agent_id, key, value) VALUES ('alice', 'plan', 'again')")
	if err == nil || !strings.Contains(err.Error(), "idx_agent_memory_unique_global") {
		t.Errorf("got %v", err)
	}
}

// A database that is not what it has to be is refused, and nothing in it changes.
func TestRefusedDatabases(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, change string
		config       func(testing.TB) store.Config
		want         []string
	}{
		{"older version", "UPDATE schema_version SET version = 2", firstGeneration, []string{"6 of the 6 tables", "schema version 2, not 3", "last release"}},
		{"no version", "DELETE FROM schema_version", firstGeneration, []string{"schema version 0, not 3"}},
		{"some tables", "DROP TABLE secure_tokens, schema_version", firstGeneration, []string{"4 of the 6 tables", "empty database"}},
		{"a table of this name", "CREATE TABLE sessions (sid text, sess json)", storetest.EmptyConfig, []string{"1 of the 6 tables", "empty database"}},
		{"empty record of migrations and some tables", "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); CREATE TABLE messages ()",
			storetest.EmptyConfig, []string{"1 of the 6 tables"}},
		{"migrations of another program", "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO schema_migrations VALUES (5, false)",
			storetest.EmptyConfig, []string{"schema_migrations is another program's", "search_path"}},
		{"migrations of another tool", "CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20240101')",
			storetest.EmptyConfig, []string{"schema_migrations is another program's", "search_path"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := test.config(t)
			conn := connect(t, config)
			exec1(t, conn, test.change)
			before := catalog(t, conn)
			ctx, m := storetest.Open(t, config)
			for range 2 {
				wantSchemaError(t, m.InitializeDatabase(ctx), test.want...)
			}
			if diff := cmp.Diff(before, catalog(t, conn)); diff != "" {
				t.Errorf("the schema was changed (-before +after):\n%s", diff)
			}
			if slices.Contains(before, "table schema_migrations") {
				exists := ask[bool](t, conn, "SELECT count(*) = count(*) FILTER (WHERE version::text IN ('5', '20240101')) FROM schema_migrations")
				if !exists {
					t.Error("the record of migrations was changed")
				}
			}
			if status := store.HealthCheck(ctx); status.Healthy() || !status.DatabaseExists || status.DatabaseInitialized || status.Error == "" {
				t.Errorf("health check: %+v", status)
			}
			if err := m.Close(ctx); err != nil {
				t.Fatal(err)
			}
			wantAlone(t, conn)
		})
	}
}

// Tables that belong to other applications do not get in the way, nor does a schema of the service's own.
func TestSharedDatabase(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	exec1(t, conn, `CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
		CREATE VIEW names AS SELECT name FROM users;
		INSERT INTO users VALUES (1, 'someone');
		CREATE SCHEMA service;
		CREATE SCHEMA other;
		CREATE TABLE other.sessions (sid text);
		CREATE TABLE other.schema_migrations (version text);`)
	inSchema := config
	inSchema.URL += map[bool]string{true: "&", false: "?"}[strings.Contains(config.URL, "?")] + "search_path=service"
	for _, config := range []store.Config{config, inSchema} {
		ctx, m := storetest.Open(t, config)
		if err := m.InitializeDatabase(ctx); err != nil {
			t.Fatal(err)
		}
		newSession(ctx, t, m)
		if n := count(ctx, t, "SELECT count(*) FROM sessions"); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	}
	if got := ask[string](t, conn, "SELECT string_agg(id || name, ',') FROM users"); got != "1someone" {
		t.Errorf("the other application's rows are now %s", got)
	}
	if n := ask[int](t, conn, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'other.sessions'::regclass AND attnum > 0"); n != 1 {
		t.Error("the other application's table was changed")
	}
}
