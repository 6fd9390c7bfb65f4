package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func openMigrator(tb testing.TB, config store.Config) *store.Migrator {
	tb.Helper()
	migrator, err := store.OpenMigrator(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := migrator.Close(); err != nil {
			tb.Error(err)
		}
	})
	return migrator
}

func migrateTo(tb testing.TB, migrator *store.Migrator, version uint) {
	tb.Helper()
	if err := migrator.To(tb.Context(), version); err != nil {
		tb.Fatal(err)
	}
	wantVersion(tb, migrator, version)
}

// wantVersion fails unless the database is at a version and clean.
func wantVersion(tb testing.TB, migrator *store.Migrator, version uint) {
	tb.Helper()
	status, err := migrator.Status()
	if want := (store.MigrationStatus{Version: version, Latest: latest}); err != nil || status != want {
		tb.Fatalf("status %+v, %v; want %+v", status, err, want)
	}
}

// catalog describes everything in the current schema, one object to a line.
func catalog(tb testing.TB, conn *pgx.Conn) []string {
	tb.Helper()
	return ask[[]string](tb, conn, `
		WITH relation AS (
			SELECT oid, relname, relkind, reloptions, relrowsecurity FROM pg_class WHERE relnamespace = current_schema()::regnamespace
		), found (line) AS (
			SELECT format('%s %s', CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE relkind::text END, relname)
				|| coalesce(' with ' || reloptions::text, '') || CASE WHEN relrowsecurity THEN ' row security' ELSE '' END
				|| CASE relkind WHEN 'v' THEN ' ' || pg_get_viewdef(oid) ELSE '' END
			FROM relation WHERE relkind <> 'i'
			UNION ALL
			SELECT format('column %s.%s %s %s', relname, row_number() OVER (PARTITION BY attrelid ORDER BY attnum), attname, format_type(atttypid, atttypmod))
				|| CASE WHEN attnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
			FROM relation
			JOIN pg_attribute a ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
			LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			WHERE relkind IN ('r', 'v')
			UNION ALL
			SELECT format('constraint %s on %s %s', conname, relname, pg_get_constraintdef(o.oid))
			FROM relation JOIN pg_constraint o ON conrelid = relation.oid
			WHERE contype <> 'n' -- before PostgreSQL 18, columns alone know of NOT NULL
			UNION ALL
			SELECT format('%s valid %s %s', pg_get_indexdef(indexrelid), indisvalid, obj_description(indexrelid, 'pg_class'))
			FROM relation JOIN pg_index ON indexrelid = relation.oid
			UNION ALL
			SELECT format('%s enabled %s', pg_get_triggerdef(t.oid), tgenabled)
			FROM relation JOIN pg_trigger t ON tgrelid = relation.oid AND NOT tgisinternal
			UNION ALL
			SELECT format('policy %s on %s %s for %s to %s using %s check %s', policyname, tablename, permissive, cmd, roles, qual, with_check)
			FROM pg_policies WHERE schemaname = current_schema()
			UNION ALL
			SELECT format('%s %s', pg_get_functiondef(oid), proconfig) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
		)
		SELECT coalesce(array_agg(line ORDER BY line COLLATE "C"), '{}') FROM found`)
}

// laterRows has a row for each table that a migration after the first one adds.
var laterRows = map[string]string{
	"message_keys": `INSERT INTO message_keys (session_id, key, message_id, digest, timestamp)
		SELECT session_id, 'key', id, '\x00', timestamp FROM messages ORDER BY id LIMIT 1`,
	"audit_seal": `INSERT INTO audit_seal (seal_no, after_id, last_id, row_count, newest, content_digest, previous_digest, digest, sealed_at)
		VALUES (1, 0, 1, 1, now(), '\x00', '\x00', '\x00', now())`,
	"audit_seal_horizon": "INSERT INTO audit_seal_horizon (last_id, holders) VALUES (1, '{}')",
}

// fillLaterTables adds a row to each empty table of a migration, so that its way back meets rows.
func fillLaterTables(tb testing.TB, conn *pgx.Conn) {
	tb.Helper()
	known := append([]string{"schema_version", "schema_migrations"}, tables...)
	for _, table := range ask[[]string](tb, conn, `SELECT coalesce(array_agg(tablename::text), '{}') FROM pg_tables
		WHERE schemaname = current_schema() AND tablename <> ALL ($1)`, known) {
		if ask[bool](tb, conn, "SELECT EXISTS (SELECT FROM "+table+")") {
			continue
		}
		if laterRows[table] == "" {
			tb.Fatalf("add a row of the table %s to laterRows", table)
		}
		exec1(tb, conn, laterRows[table])
		if !ask[bool](tb, conn, "SELECT EXISTS (SELECT FROM "+table+")") {
			tb.Fatalf("the row of %s was not added", table)
		}
	}
}

// The way back leads through the same schemas as the way there, with all rows, and ends where it began.
func TestMigrationsUpAndDown(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	exec1(t, conn, "SET timezone = 'UTC'")
	migrator := openMigrator(t, config)
	schemas := [][]string{0: catalog(t, conn)}
	for version := uint(1); version <= latest; version++ {
		migrateTo(t, migrator, version)
		if version == 1 {
			exec1(t, conn, oldRows)
		}
		fillLaterTables(t, conn)
		schemas = append(schemas, catalog(t, conn))
		if version > 1 && cmp.Equal(schemas[version-1], schemas[version]) && version != 2 {
			t.Errorf("migration %d changes nothing", version)
		}
	}
	rows := allRows(t, conn)
	for table, n := range map[string]int{"sessions": 7, "messages": 10, "agent_memory": 13, "audit_log": 3, "secure_tokens": 4} {
		if len(rows[table]) != n {
			t.Errorf("%s has %d rows, want %d", table, len(rows[table]), n)
		}
	}
	wantRows := func(when string) {
		t.Helper()
		if diff := cmp.Diff(rows, allRows(t, conn)); diff != "" {
			t.Errorf("rows %s (-want +got):\n%s", when, diff)
		}
	}
	for version := latest - 1; version >= 1; version-- {
		migrateTo(t, migrator, version)
		want, got := schemas[version], catalog(t, conn)
		if version == 9 {
			// The constraints come back without the scan that proves them, which would block the tables.
			want, got = withoutText(want, " NOT VALID"), withoutText(got, " NOT VALID")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("back at migration %d (-on the way up +on the way down):\n%s", version, diff)
		}
		wantRows(fmt.Sprintf("back at migration %d", version))
	}
	if got := ask[string](t, conn, "SELECT array_agg(version ORDER BY version)::text FROM schema_version"); got != "{1,2,3}" {
		t.Errorf("versions recorded back at migration 1: %s", got)
	}

	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, migrator, latest)
	if diff := cmp.Diff(schemas[latest], catalog(t, conn)); diff != "" {
		t.Errorf("up again (-first +second):\n%s", diff)
	}
	wantRows("up again")

	migrateTo(t, migrator, 0)
	if diff := cmp.Diff(schemas[0], catalog(t, conn)); diff != "" {
		t.Errorf("down to nothing (-before +after):\n%s", diff)
	}
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schemas[latest], catalog(t, conn)); diff != "" {
		t.Errorf("up from nothing again (-first +second):\n%s", diff)
	}
}

// An empty database comes to be what all migrations one after the other make of it.
func TestCreationEqualsMigrations(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var catalogs [2][]string
	for i, way := range []func(*store.Migrator) error{
		func(m *store.Migrator) error { return m.Up(ctx) },
		func(m *store.Migrator) error { return m.To(ctx, schema.Latest()) },
	} {
		config := storetest.EmptyConfig(t)
		migrator := openMigrator(t, config)
		if err := way(migrator); err != nil {
			t.Fatal(err)
		}
		wantVersion(t, migrator, schema.Latest())
		conn := connect(t, config)
		catalogs[i] = catalog(t, conn)
		if len(catalogs[i]) < 100 {
			t.Fatalf("the catalog has %d lines", len(catalogs[i]))
		}
		rows, err := conn.Query(ctx, "SELECT version || ' ' || description FROM schema_version ORDER BY version")
		if err != nil {
			t.Fatal(err)
		}
		versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		catalogs[i] = append(catalogs[i], versions...)
	}
	if diff := cmp.Diff(catalogs[1], catalogs[0]); diff != "" {
		t.Error("-by migrations +at once:\n", diff)
	}
}

func withoutText(lines []string, text string) []string {
	return strings.Split(strings.ReplaceAll(strings.Join(lines, "\x00"), text, ""), "\x00")
}

func TestMigrationFiles(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(schema.FS, ".")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(\d{6})_([a-z0-9_]+)\.(up|down)\.sql$`)
	comment := regexp.MustCompile(`(?m)--.*$`)
	titles := map[string][]string{}
	for _, entry := range entries {
		parts := name.FindStringSubmatch(entry.Name())
		if parts == nil {
			t.Errorf("%s is not named NNNNNN_name.up.sql or NNNNNN_name.down.sql", entry.Name())
			continue
		}
		titles[parts[1]] = append(titles[parts[1]], parts[2]+" "+parts[3])
		text, err := fs.ReadFile(schema.FS, entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		sql := strings.TrimSpace(comment.ReplaceAllString(string(text), ""))
		if strings.Contains(sql, "CONCURRENTLY") {
			if strings.Count(sql, ";") != 1 || !strings.HasSuffix(sql, ";") {
				t.Errorf("%s works concurrently, so it must have one statement and no other", entry.Name())
			}
			if !strings.Contains(sql, "IF EXISTS") && !strings.Contains(sql, "IF NOT EXISTS") {
				t.Errorf("%s works concurrently, without a transaction, so it must be repeatable", entry.Name())
			}
		} else if !strings.HasPrefix(sql, "SET LOCAL lock_timeout = '5s';") {
			t.Errorf("%s does not begin with a lock_timeout: behind a long transaction it would block all that come after it", entry.Name())
		}
	}
	for version := uint(1); version <= latest; version++ {
		number := fmt.Sprintf("%06d", version)
		got := titles[number]
		if len(got) != 2 || strings.TrimSuffix(got[0], " down") != strings.TrimSuffix(got[1], " up") {
			t.Errorf("migration %s has %q, want one file up and one down with the same name", number, got)
		}
	}
	if len(titles) != int(latest) {
		t.Errorf("%d numbers, the highest is %d", len(titles), latest)
	}
	if store.SchemaVersion() != int(latest)+2 {
		t.Errorf("schema version %d belongs to migration %d", store.SchemaVersion(), latest)
	}
}

// waiter returns when the one session that waits for a lock in conn's database began to, "" when none does.
func waiter(tb testing.TB, conn *pgx.Conn) string {
	tb.Helper()
	return ask[string](tb, conn, `SELECT coalesce(max(waitstart)::text, '') FROM pg_locks
		WHERE NOT granted AND locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

// A busy table is waited for, given up after the lock_timeout so that others get their turn, and tried again; both ways.
func TestMigrationOfBusyTable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		from, to uint
		attempts int
	}{
		{"up, free in time", 7, 8, 1},
		{"down, free in time", 8, 7, 1},
		{"up, free after the lock_timeout", 7, 8, 2},
		{"down to nothing, free after the lock_timeout", 1, 0, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.attempts > 1 && testing.Short() {
				t.Skip("waits for the lock_timeout")
			}
			config := storetest.EmptyConfig(t)
			conn := connect(t, config)
			migrator := openMigrator(t, config)
			migrateTo(t, migrator, test.from)
			reader, err := connect(t, config).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Exec(t.Context(), "SELECT FROM sessions"); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- migrator.To(context.WithoutCancel(t.Context()), test.to) }()
			seen := ""
			for range test.attempts {
				eventually(t, patience, "the migration waits, again", func() bool {
					now := waiter(t, conn)
					if now == "" || now == seen {
						return false
					}
					seen = now
					return true
				})
			}
			if err := reader.Commit(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			wantVersion(t, migrator, test.to)
		})
	}
}

// A duplicate that comes in after the others were removed fails the unique index; all begins again from the removal.
func TestDuplicateDuringMigration(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	migrator := openMigrator(t, config)
	migrateTo(t, migrator, 2)
	exec1(t, conn, `INSERT INTO agent_memory (agent_id, key, value, updated_at)
		VALUES ('a', 'k', 'newer', '2024-01-02'), ('a', 'k', 'older', '2024-01-01')`)
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, migrator, latest)
	if got := ask[string](t, conn, "SELECT string_agg(value, ',') FROM agent_memory"); got != "newer" {
		t.Errorf("rows left: %s", got)
	}
	ctx, m := storetest.Open(t, config)
	wantComplete(ctx, t, conn, m)
}

// tracer calls a function with each statement before it is sent.
type tracer func(sql string)

func (f tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	f(data.SQL)
	return ctx
}

func (tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A migration that fails for another reason than others' work is taken back and says what is wrong.
func TestFailedMigration(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	migrator := openMigrator(t, config)
	migrateTo(t, migrator, 4)
	exec1(t, conn, "DROP INDEX idx_messages_session_order")
	before := catalog(t, conn)
	wantSchemaError(t, migrator.Up(t.Context()), "from migration 4 to 5", "is missing or invalid", "drop both, force the schema back to migration 1")
	wantVersion(t, migrator, 4)
	if diff := cmp.Diff(before, catalog(t, conn)); diff != "" {
		t.Errorf("the failed migration leaves traces (-before +after):\n%s", diff)
	}
	exec1(t, conn, "DROP INDEX idx_agent_memory_unique_global")
	if err := migrator.Force(1); err != nil { // as the error says
		t.Fatal(err)
	}
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMigratorsExcludeEachOther(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	first := openMigrator(t, config)
	waiting, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := store.OpenMigrator(waiting, config)
	wantError(t, err, context.DeadlineExceeded)
	wantSchemaError(t, err, "migrate: waiting for another process that migrates this database")

	ctx, m := storetest.Open(t, config)
	cancelled, stop := context.WithCancel(ctx)
	stop()
	wantError(t, m.InitializeDatabase(cancelled), context.Canceled)

	opened := make(chan error, 1)
	go func() {
		second, err := store.OpenMigrator(context.WithoutCancel(ctx), config)
		if err == nil {
			err = errors.Join(second.Up(context.WithoutCancel(ctx)), second.Close())
		}
		opened <- err
	}()
	if err := first.Up(ctx); err != nil {
		t.Error(err)
	}
	select {
	case err := <-opened:
		t.Errorf("a second migrator works beside the first: %v", err)
	default:
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if err := m.Close(ctx); err != nil {
		t.Error(err)
	}
	wantAlone(t, connect(t, config))
}

// However it fails, OpenMigrator gives its connections back.
func TestOpenMigratorFailsWithoutLeak(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	role := newRole(t, conn, "LOGIN")
	exec1(t, conn, "REVOKE CREATE ON SCHEMA public FROM public")
	for range 3 {
		_, err := store.OpenMigrator(t.Context(), asRole(config, role)) // cannot create golang-migrate's table
		wantSchemaError(t, err, "migrate: ", "permission denied for schema public")
	}
	wantAlone(t, conn)
	exec1(t, conn, "CREATE TABLE messages ()")
	for range 3 {
		_, err := store.OpenMigrator(t.Context(), config)
		wantSchemaError(t, err, "1 of the 6 tables")
	}
	wantAlone(t, conn)
}
