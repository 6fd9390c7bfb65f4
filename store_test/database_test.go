package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestExecuteQueryTypes(t *testing.T) {
	t.Parallel()
	instant := time.Date(2025, 8, 22, 23, 48, 35, 123456000, time.UTC)
	want := []map[string]any{{
		"bigint": int64(1) << 62, "int": int32(-7), "small": int16(3), "real": 1.5, "text": "plain", "varchar": "short", "yes": true,
		"time": instant, "moment": instant, "day": time.Date(2025, 8, 22, 0, 0, 0, 0, time.UTC), "bytes": []byte{0, 255},
		"object": map[string]any{"a": []any{1.0, nil, "x"}}, "list": []any{"a", 2.0}, "nothing": nil, "no_time": nil, "no_json": nil,
		"texts": []any{"a", nil, "b"}, "numbers": []any{int64(1), int64(2)}, "none": []any{}, "times": []any{instant},
	}}
	const sql = `SELECT 4611686018427387904 AS bigint, -7 AS int, 3::smallint AS small, 1.5::float8 AS real, 'plain' AS text,
		'short'::varchar(9) AS varchar, true AS yes, timestamptz '2025-08-23 01:48:35.123456+02' AS time,
		timestamp '2025-08-22 23:48:35.123456' AS moment, date '2025-08-22' AS day, '\x00ff'::bytea AS bytes,
		'{"a": [1, null, "x"]}'::jsonb AS object, '["a", 2]'::jsonb AS list, NULL AS nothing, NULL::timestamptz AS no_time,
		NULL::jsonb AS no_json, ARRAY['a', NULL, 'b'] AS texts, ARRAY[1, 2]::bigint[] AS numbers, '{}'::text[] AS none,
		ARRAY[timestamptz '2025-08-23 01:48:35.123456+02'] AS times`
	config := storetest.Config(t)
	for _, mode := range execModes(config) {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			config := config
			config.ExecMode = mode
			ctx, _ := storetest.Open(t, config)
			got, err := store.ExecuteQuery(ctx, sql)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			for _, name := range []string{"time", "moment", "day"} {
				if zone := got[0][name].(time.Time).Location(); zone != time.UTC {
					t.Errorf("%s is in %v", name, zone)
				}
			}
			if zone := got[0]["times"].([]any)[0].(time.Time).Location(); zone != time.UTC {
				t.Errorf("a time in an array is in %v", zone)
			}
		})
	}
}

func TestExecuteQueryRows(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, m := storetest.New(t)
	for _, sql := range []string{
		"SELECT 1 WHERE false", "DELETE FROM messages", "DELETE FROM messages RETURNING id", "SELECT", "-- nothing at all", "",
	} {
		rows, err := store.ExecuteQuery(ctx, sql)
		if err != nil || rows == nil {
			t.Errorf("%q gives %v, %v, want an empty slice", sql, rows, err)
		}
	}
	session := newSession(ctx, t, m)
	got, err := store.ExecuteQuery(ctx, "SELECT n, ?::text AS same, n + 1 AS n FROM generate_series(1, 2) AS n", session.ID)
	want := []map[string]any{{"n": int32(2), "same": session.ID}, {"n": int32(3), "same": session.ID}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestExecuteUpdate(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, m := storetest.New(t)
	for range 3 {
		if err := record(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		sql  string
		args []any
		want int64
	}{
		{"UPDATE audit_log SET event_type = ? WHERE event_type = ?", []any{"b", "a"}, 3},
		{"UPDATE audit_log SET event_type = $1 WHERE event_type = $2", []any{"b", "a"}, 0},
		{"DELETE FROM audit_log WHERE id IN (SELECT min(id) FROM audit_log)", nil, 1},
		{"CREATE TABLE extra (id int)", nil, 0},
		{"INSERT INTO extra SELECT generate_series(1, ?::int)", []any{5}, 5},
	} {
		if got, err := store.ExecuteUpdate(ctx, c.sql, c.args...); got != c.want || err != nil {
			t.Errorf("%s: %d rows, %v, want %d", c.sql, got, err, c.want)
		}
	}
	err := m.InTx(ctx, func(ctx context.Context) error {
		if n, err := store.ExecuteUpdate(ctx, "DELETE FROM extra"); n != 5 || err != nil {
			t.Errorf("in a transaction: %d rows, %v, want 5", n, err)
		}
		return errFailed
	})
	wantError(t, err, errFailed)
	if n := count(ctx, t, "SELECT count(*) FROM extra"); n != 5 {
		t.Errorf("%d rows after the roll-back, want 5", n)
	}
}

func TestExecuteErrors(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, _ := storetest.New(t)
	execute := map[string]func(sql string) error{
		"execute query":  func(sql string) error { _, err := store.ExecuteQuery(ctx, sql); return err },
		"execute update": func(sql string) error { _, err := store.ExecuteUpdate(ctx, sql); return err },
		"execute insert": func(sql string) error { _, err := store.ExecuteInsert(ctx, sql); return err },
	}
	const missing, failing, wrong = "INSERT INTO nowhere VALUES (1)", "INSERT INTO schema_version VALUES (3)", "INSERT INTO"
	for operation, run := range execute {
		for sql, state := range map[string]string{missing: "42P01", failing: "23505", wrong: "42601"} {
			err := run(sql)
			var database *store.DatabaseError
			if !errors.As(err, &database) || database.Op != operation || sqlState(err) != state {
				t.Errorf("%s of %q: got error %v, want a DatabaseError with SQLSTATE %s", operation, sql, err, state)
			}
			var noSchema *store.DatabaseSchemaError
			if errors.As(err, &noSchema) != (sql == missing) {
				t.Errorf("%s of %q: got error %T", operation, sql, err)
			}
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := store.ExecuteQuery(cancelled, "SELECT 1")
	wantError(t, err, context.Canceled)
	var database *store.DatabaseError
	if !errors.As(err, &database) {
		t.Errorf("cancelled: %T is no DatabaseError", err)
	}
}

func TestExecuteOnUnreachableServer(t *testing.T) {
	t.Parallel()
	ctx := store.NewContext(t.Context(), unreachable(t))
	_, err := store.ExecuteQuery(ctx, "SELECT 1")
	var connection *store.DatabaseConnectionError
	if !errors.As(err, &connection) || connection.Op != "execute query" || connection.Hint == "" {
		t.Errorf("got error %v, want a DatabaseConnectionError with a hint", err)
	}
	status := store.HealthCheck(ctx)
	if status.Healthy() || status.DatabaseExists || status.DatabaseInitialized || status.Error == "" {
		t.Errorf("health of a server that does not exist: %+v", status)
	}
}

func TestGetSchemaVersion(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, m := storetest.New(t)
	want := int(schema.Latest()) + 2 // the first migration is version 3
	if got, err := store.GetSchemaVersion(ctx); got != store.SchemaVersion() || got != want || err != nil {
		t.Errorf("a migrated database has version %d, %v, want %d", got, err, want)
	}
	err := m.InTx(ctx, func(ctx context.Context) error {
		if _, err := store.ExecuteUpdate(ctx, "DELETE FROM schema_version"); err != nil {
			return err
		}
		if got, err := store.GetSchemaVersion(ctx); got != 0 || err != nil {
			t.Errorf("without rows the version is %d, %v, want 0", got, err)
		}
		return errFailed
	})
	wantError(t, err, errFailed)

	empty, m := storetest.Open(t, storetest.EmptyConfig(t))
	if got, err := store.GetSchemaVersion(empty); got != 0 || err != nil {
		t.Errorf("an empty database has version %d, %v, want 0", got, err)
	}
	if err := m.InitializeDatabase(empty); err != nil {
		t.Fatal(err)
	}
	if got, err := store.GetSchemaVersion(empty); got != want || err != nil {
		t.Errorf("after initialization the version is %d, %v, want %d", got, err, want)
	}
}

// jsonKeys returns the keys of the object that value marshals to.
func jsonKeys(tb testing.TB, value any) []string {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		tb.Fatal(err)
	}
	return slices.Sorted(maps.Keys(object))
}

func TestHealthCheck(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	before := time.Now()
	first := store.HealthCheck(ctx)
	if !first.Healthy() || first.Status != "healthy" || !first.DatabaseInitialized || !first.DatabaseExists || first.Error != "" || first.Err() != nil {
		t.Errorf("health of a migrated database: %+v", first)
	}
	asked, err := store.ParseUTCTimestamp(first.Timestamp)
	if err != nil || asked.Before(before.Truncate(time.Microsecond)) || asked.After(time.Now()) {
		t.Errorf("asked at %s, %v", first.Timestamp, err)
	}
	keys := []string{"connection_count", "database_exists", "database_initialized", "database_size_mb", "status", "timestamp"}
	if diff := cmp.Diff(keys, jsonKeys(t, first)); diff != "" {
		t.Errorf("fields of a healthy one (-want +got):\n%s", diff)
	}

	for range 5 {
		connect(t, config)
	}
	if _, err := store.ExecuteUpdate(ctx, "CREATE TABLE large AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 3000) AS n"); err != nil {
		t.Fatal(err)
	}
	second := store.HealthCheck(ctx)
	if first.ConnectionCount < 1 || first.ConnectionCount > 5 || second.ConnectionCount < 6 {
		t.Errorf("%d connections, then with 5 more %d", first.ConnectionCount, second.ConnectionCount)
	}
	const table = 3000 * 30 * 32 / float64(1<<20)
	if grown := second.DatabaseSizeMB - first.DatabaseSizeMB; grown < table || grown > 3*table {
		t.Errorf("%g MB, and after writing %g MB %g MB", first.DatabaseSizeMB, table, second.DatabaseSizeMB)
	}
	if exact := count(ctx, t, "SELECT pg_database_size(current_database())"); second.DatabaseSizeMB > 1.2*float64(exact)/(1<<20) {
		t.Errorf("%g MB, the server says %d bytes", second.DatabaseSizeMB, exact)
	}

	// It reports on the database, not on the transaction that the context happens to be in.
	err = m.InTx(ctx, func(ctx context.Context) error {
		_, _ = store.ExecuteQuery(ctx, "SELECT 1/0")
		if status := store.HealthCheck(ctx); !status.Healthy() {
			t.Errorf("in a failed transaction: %+v", status)
		}
		return errFailed
	})
	wantError(t, err, errFailed)
}

func TestHealthCheckFindsProblems(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	keys := []string{"connection_count", "database_exists", "database_initialized", "database_size_mb", "error", "status", "timestamp"}

	empty, _ := storetest.Open(t, storetest.EmptyConfig(t))
	status := store.HealthCheck(empty)
	if status.Status != "unhealthy" || status.DatabaseInitialized || !status.DatabaseExists || status.DatabaseSizeMB == 0 || status.ConnectionCount == 0 {
		t.Errorf("health of an empty database: %+v", status)
	}
	if diff := cmp.Diff(keys, jsonKeys(t, status)); diff != "" {
		t.Errorf("fields of an unhealthy one (-want +got):\n%s", diff)
	}

	if !errors.As(status.Err(), new(*store.DatabaseSchemaError)) {
		t.Errorf("error %v", status.Err())
	}

	damaged, _ := storetest.New(t)
	if _, err := store.ExecuteUpdate(damaged, "DROP INDEX idx_messages_parent_id"); err != nil {
		t.Fatal(err)
	}
	status = store.HealthCheck(damaged)
	if status.Healthy() || status.DatabaseInitialized || !status.DatabaseExists || !strings.Contains(status.Error, "idx_messages_parent_id") {
		t.Errorf("health of a damaged schema: %+v", status)
	}

	cancelled, cancel := context.WithCancel(damaged)
	cancel()
	if status := store.HealthCheck(cancelled); status.Healthy() || !strings.Contains(status.Error, "cancel") {
		t.Errorf("health with an ended context: %+v", status)
	}
}

// A foreign key of a service's own is none of the store's, however it is named.
func TestForeignKeyOfAService(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, _ := setup(t)
	for _, sql := range []string{
		"CREATE TABLE login (id integer PRIMARY KEY)", "CREATE TABLE cart (session_id integer REFERENCES login (id))",
		"INSERT INTO login VALUES (1)", "INSERT INTO cart VALUES (1)",
	} {
		if _, err := store.ExecuteUpdate(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	_, err := store.ExecuteUpdate(ctx, "DELETE FROM login")
	var pgErr *pgconn.PgError
	if errors.Is(err, store.ErrSessionNotFound) || !errors.As(err, &pgErr) || !errors.As(err, new(*store.DatabaseError)) {
		t.Errorf("a foreign key violation gives %v", err)
	}
}
