package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// A creation that is cancelled leaves nothing, and the next one completes.
func TestCancelledCreation(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config.Tracer = tracer(func(sql string) {
		if strings.Contains(sql, "CREATE TABLE sessions") {
			cancel()
		}
	})
	migrator := openMigrator(t, config)
	if err := migrator.Up(ctx); err != nil { // unless the server was faster
		wantError(t, err, context.Canceled)
		wantVersion(t, migrator, 0)
		if n := ask[int64](t, connect(t, config), "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'sessions'"); n != 0 {
			t.Error("tables are left")
		}
	}
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, migrator, schema.Latest())
}

// The migration that runs when ctx ends is cancelled and taken back; the next one does not begin, and a later run completes.
func TestCancelledMigration(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config.Tracer = tracer(func(sql string) {
		if strings.Contains(sql, "sessions_created_at_present CHECK") && strings.Contains(sql, "INSERT INTO schema_version") {
			cancel()
		}
	})
	migrator := openMigrator(t, config)
	err := migrator.To(ctx, schema.Latest())
	wantError(t, err, context.Canceled)
	// The step was cancelled and taken back, or the server was faster.
	status, statusErr := migrator.Status()
	if statusErr != nil || status.Dirty || status.Version != 7 && status.Version != 8 {
		t.Fatalf("status %+v, %v; want migration 7 or 8, not dirty", status, statusErr)
	}
	wantSchemaError(t, err, map[uint]string{7: "from migration 7 to 8: cancelled", 8: "stopped at migration 8"}[status.Version])
	wantError(t, migrator.Up(ctx), context.Canceled)
	if err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, migrator, latest)
}

// An index is built or dropped when all transactions that may use it have ended, which may be never. With ctx it gives
// up, and a later run completes it; both ways.
func TestCancelledIndexBuild(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		from, to uint
		blocker  string
	}{
		{"build up, old snapshot", 2, 3, "SELECT 1"},
		{"build up, table in use", 3, 4, "LOCK TABLE messages IN ACCESS SHARE MODE"},
		{"drop up", 5, 6, "LOCK TABLE messages IN ACCESS SHARE MODE"},
		{"build down", 7, 6, "LOCK TABLE messages IN ROW EXCLUSIVE MODE"},
		{"drop down", 3, 2, "LOCK TABLE agent_memory IN ACCESS SHARE MODE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := storetest.EmptyConfig(t)
			conn := connect(t, config)
			migrator := openMigrator(t, config)
			migrateTo(t, migrator, test.to)
			want := catalog(t, conn)
			migrateTo(t, migrator, test.from)
			blocker, err := connect(t, config).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			if err != nil {
				t.Fatal(err)
			}
			exec1(t, blocker.Conn(), test.blocker)
			exec1(t, blocker.Conn(), "SELECT 1")
			for range 2 { // the second time with what the first has left
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- migrator.To(ctx, test.to) }()
				eventually(t, patience, "the statement waits", func() bool {
					return ask[int](t, conn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'virtualxid'") == 1
				})
				cancel()
				err = <-done
				wantError(t, err, context.Canceled)
				wantSchemaError(t, err, fmt.Sprintf("from migration %d to %d: waiting for other transactions to end", test.from, test.to))
				status, err := migrator.Status()
				if err != nil || status.Dirty {
					t.Fatalf("status %+v, %v", status, err)
				}
			}
			if err := blocker.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			migrateTo(t, migrator, test.to)
			if diff := cmp.Diff(want, catalog(t, conn)); diff != "" {
				t.Errorf("the schema in the end (-want +got):\n%s", diff)
			}
		})
	}
}

// A program that is killed while it makes an empty database may leave a server that goes on with it. The next one finds that
// done, or makes it.
func TestCreationGoesOn(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprint("commits ", commits), func(t *testing.T) {
			t.Parallel()
			config := storetest.EmptyConfig(t)
			migrator := openMigrator(t, config)
			var files []string
			for _, name := range migrationFiles(t) {
				text, err := fs.ReadFile(schema.FS, name)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, strings.ReplaceAll(string(text), " CONCURRENTLY", ""))
			}
			left := connect(t, config) // of the one that was killed
			send := func(sql string) {
				if _, err := left.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
					t.Fatal(err)
				}
			}
			send("BEGIN; " + files[0])
			watch := connect(t, config)
			created := make(chan error)
			go func() { created <- migrator.Up(t.Context()) }()
			eventually(t, time.Minute, "the next one waits", func() bool {
				return ask[int64](t, watch, `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0`) > 0
			})
			send(strings.Join(files[1:], "\n") + fmt.Sprintf("TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES (%d, false)", schema.Latest()))
			if commits {
				send("COMMIT")
			} else {
				send("ROLLBACK")
			}
			if err := <-created; err != nil {
				t.Fatal(err)
			}
			wantVersion(t, migrator, schema.Latest())
		})
	}
}

// migrationFiles are the names of the migrations in their order.
func migrationFiles(tb testing.TB) []string {
	tb.Helper()
	names, err := fs.Glob(schema.FS, "*.up.sql")
	if err != nil {
		tb.Fatal(err)
	}
	return names
}
