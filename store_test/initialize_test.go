package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// latest is the migration that this version of the program ends with.
var latest = schema.Latest()

func exec1(tb testing.TB, conn *pgx.Conn, sql string, args ...any) {
	tb.Helper()
	if _, err := conn.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// ask returns the single value that a query gives.
func ask[T any](tb testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	tb.Helper()
	var value T
	if err := conn.QueryRow(tb.Context(), sql, args...).Scan(&value); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return value
}

// eventually waits for something that another process does in its own time.
func eventually(tb testing.TB, within time.Duration, what string, happened func() bool) {
	tb.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(within)
	for !happened() {
		select {
		case <-ticker.C:
		case <-limit:
			tb.Fatalf("never happened: %s", what)
		}
	}
}

// wantSchemaError fails unless err is a DatabaseSchemaError whose text has all of these in it.
func wantSchemaError(tb testing.TB, err error, texts ...string) {
	tb.Helper()
	var schemaError *store.DatabaseSchemaError
	if !errors.As(err, &schemaError) {
		tb.Fatalf("got error %v, want a DatabaseSchemaError with %q", err, texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			tb.Errorf("the error lacks %q: %v", text, err)
		}
	}
}

// wantComplete fails unless the database has every object, each version once, and nobody but conn is in it.
func wantComplete(ctx context.Context, tb testing.TB, conn *pgx.Conn, m *store.Manager) {
	tb.Helper()
	status := store.HealthCheck(store.NewContext(ctx, m))
	if !status.Healthy() || !status.DatabaseInitialized {
		tb.Errorf("health check: %+v", status)
	}
	var want []int32
	for version := schema.FirstGenerationVersion; version <= store.SchemaVersion(); version++ {
		want = append(want, int32(version))
	}
	got := ask[[]int32](tb, conn, "SELECT array_agg(version ORDER BY version) FROM schema_version")
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("versions recorded (-want +got):\n%s", diff)
	}
	if !ask[bool](tb, conn, "SELECT array_agg(version ORDER BY applied_at, version) = array_agg(version ORDER BY version) FROM schema_version") {
		tb.Error("a migration was applied before the one it follows")
	}
	if got := ask[string](tb, conn, "SELECT array_agg((version, dirty))::text FROM schema_migrations"); got != fmt.Sprintf(`{"(%d,f)"}`, latest) {
		tb.Errorf("schema_migrations holds %s", got)
	}
}

// wantAlone fails unless conn becomes the only connection to its database, with no advisory lock left there.
func wantAlone(tb testing.TB, conn *pgx.Conn) {
	tb.Helper()
	// Not longer: the garbage collector would close connections that were forgotten.
	eventually(tb, 5*time.Second, "all other connections to the database are closed", func() bool {
		return ask[int](tb, conn, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`) == 0
	})
	const locks = `SELECT count(*) FROM pg_locks
		WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	if n := ask[int](tb, conn, locks); n != 0 {
		tb.Errorf("%d advisory locks are left", n)
	}
}

func TestInitializeEmptyDatabase(t *testing.T) {
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	ctx, m := storetest.Open(t, config)

	status := store.HealthCheck(ctx)
	if status.Healthy() || !status.DatabaseExists || status.DatabaseInitialized || !strings.Contains(status.Error, fmt.Sprintf("migration 0 of %d", latest)) {
		t.Errorf("health check before: %+v", status)
	}
	if version, err := store.GetSchemaVersion(ctx); err != nil || version != 0 {
		t.Errorf("schema version before: %d, %v", version, err)
	}
	for range 2 { // again changes nothing
		if err := store.InitializeDatabase(ctx); err != nil {
			t.Fatal(err)
		}
		wantComplete(ctx, t, conn, m)
	}
	if version, err := store.GetSchemaVersion(ctx); err != nil || version != store.SchemaVersion() {
		t.Errorf("schema version after: %d, %v", version, err)
	}
	newSession(ctx, t, m)
	if err := m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, conn)
}

// With a fresh manager everything counts: opening the connection, preparing the statement, asking.
func TestInitializeUpToDateDatabaseIsCheap(t *testing.T) {
	t.Parallel()
	wire, config := newWire(t)
	ctx, m := storetest.Open(t, config)
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	if trips := wire.trips.Load(); trips > 5 {
		t.Errorf("it took %d round trips, want at most 5", trips)
	}
}

// A transaction around it neither takes part in it nor waits for itself.
func TestInitializeInsideTransaction(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, storetest.EmptyConfig(t))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	initialize := func() error {
		return m.InTx(ctx, func(ctx context.Context) error {
			if _, err := store.ExecuteQuery(ctx, "SELECT 1"); err != nil {
				return err
			}
			return m.InitializeDatabase(ctx)
		})
	}
	wantSchemaError(t, initialize(), "inside of a transaction", "before the transaction begins")
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
	if err := initialize(); err != nil {
		t.Errorf("up to date: %v", err)
	}
	if _, err := store.ExecuteUpdate(ctx, "DROP VIEW agent_memory_summary"); err != nil {
		t.Fatal(err)
	}
	wantSchemaError(t, initialize(), "view agent_memory_summary")
}

// starters is how many start at once on one database.
const starters = 8

func TestInitializeFromManyManagers(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]store.Config{"empty": storetest.EmptyConfig(t), "first generation": firstGeneration(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, config)
			start := make(chan struct{})
			var running sync.WaitGroup
			for range starters {
				_, m := storetest.Open(t, config)
				running.Go(func() {
					<-start
					if err := m.InitializeDatabase(t.Context()); err != nil {
						t.Error(err)
					}
					if err := m.Close(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			close(start)
			running.Wait()
			wantAlone(t, conn)
			ctx, m := storetest.Open(t, config)
			wantComplete(ctx, t, conn, m)
		})
	}
}

// initializeURL names the variable that makes of this test binary one of the processes of the test below, and
// initializeDirectURL that of its DirectURL.
const (
	initializeURL       = "STORE_TEST_INITIALIZE_URL"
	initializeDirectURL = "STORE_TEST_INITIALIZE_DIRECT_URL"
)

func TestInitializeFromManyProcesses(t *testing.T) {
	if url := os.Getenv(initializeURL); url != "" {
		initializeAsProcess(t, store.Config{URL: url, DirectURL: os.Getenv(initializeDirectURL)})
		return
	}
	t.Parallel()
	config := storetest.EmptyConfig(t)
	conn := connect(t, config)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var starts []func() error
	var running sync.WaitGroup
	for range starters {
		cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.count=1")
		cmd.Env = append(os.Environ(), initializeURL+"="+config.URL, initializeDirectURL+"="+config.DirectURL)
		stdin, stdinErr := cmd.StdinPipe()
		stdout, stdoutErr := cmd.StdoutPipe()
		if err := errors.Join(stdinErr, stdoutErr, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		output := bufio.NewReader(stdout)
		if line, err := output.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("the process says %q, %v", line, err)
		}
		starts = append(starts, stdin.Close)
		running.Go(func() {
			var text strings.Builder
			_, _ = output.WriteTo(&text)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v:\n%s", err, text.String())
			}
		})
	}
	for _, start := range starts {
		if err := start(); err != nil {
			t.Error(err)
		}
	}
	running.Wait()
	wantAlone(t, conn)
	ctx, m := storetest.Open(t, config)
	wantComplete(ctx, t, conn, m)
}

// initializeAsProcess says that it is ready, waits for the end of its input and initializes the database.
func initializeAsProcess(t *testing.T, config store.Config) {
	t.Helper()
	ctx, m := storetest.Open(t, config)
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // it ends without a line
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Fatal(err)
	}
}

// What is missing is named, by InitializeDatabase as by the health check.
func TestIncompleteSchema(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	tests := []struct{ name, damage, missing string }{
		{"table", "DROP TABLE secure_tokens", "table secure_tokens"},
		{"column", "ALTER TABLE messages DROP COLUMN sender_type", "column messages.sender_type character varying(50) not null"},
		{"column type", "ALTER TABLE audit_log ALTER COLUMN resource TYPE varchar(20)", "column audit_log.resource character varying(255)"},
		{"not null", "ALTER TABLE sessions ALTER COLUMN is_active DROP NOT NULL", "column sessions.is_active boolean not null"},
		{"index", "DROP INDEX idx_agent_memory_unique_global", "CREATE UNIQUE INDEX idx_agent_memory_unique_global ON agent_memory"},
		{"invalid index", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_messages_session_order'::regclass", "CREATE INDEX idx_messages_session_order ON messages"},
		{"check", "ALTER TABLE messages DROP CONSTRAINT messages_content_length", "constraint messages_content_length on messages"},
		{"foreign key", "ALTER TABLE audit_log DROP CONSTRAINT audit_log_session_id_fkey", "constraint audit_log_session_id_fkey on audit_log"},
		{"unique key", "ALTER TABLE secure_tokens DROP CONSTRAINT secure_tokens_token_id_key", "constraint secure_tokens_token_id_key on secure_tokens UNIQUE (token_id)"},
		{"index of another kind", "DROP INDEX idx_agent_memory_unique_global; CREATE INDEX idx_agent_memory_unique_global ON agent_memory (value)",
			"CREATE UNIQUE INDEX idx_agent_memory_unique_global ON agent_memory USING btree (agent_id, key)"},
		{"foreign key of another kind", "ALTER TABLE messages DROP CONSTRAINT messages_session_id_fkey, ADD CONSTRAINT messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id)",
			"constraint messages_session_id_fkey on messages FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE"},
		{"default", "ALTER TABLE messages ALTER COLUMN id DROP DEFAULT", "column messages.id bigint not null default"},
		{"trigger", "DROP TRIGGER sessions_updated_at_trigger ON sessions", "trigger sessions_updated_at_trigger on sessions"},
		{"disabled trigger", "ALTER TABLE agent_memory DISABLE TRIGGER agent_memory_updated_at_trigger", "trigger agent_memory_updated_at_trigger on agent_memory"},
		{"function", "DROP FUNCTION update_updated_at_column() CASCADE", "trigger agent_memory_updated_at_trigger on agent_memory, trigger sessions_updated_at_trigger on sessions"},
		{"view", "DROP VIEW agent_memory_summary", "view agent_memory_summary"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, m := storetest.New(t)
			if _, err := store.ExecuteUpdate(ctx, test.damage); err != nil {
				t.Fatal(err)
			}
			wantSchemaError(t, m.InitializeDatabase(ctx), test.missing, "restore")
			status := store.HealthCheck(ctx)
			if status.Healthy() || !status.DatabaseExists || status.DatabaseInitialized || !strings.Contains(status.Error, test.missing) {
				t.Errorf("health check: %+v", status)
			}
			if status.DatabaseSizeMB <= 0 || status.ConnectionCount < 1 {
				t.Errorf("the health check leaves out what it knows: %+v", status)
			}
		})
	}
}

func TestInterruptedMigration(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	config := storetest.Config(t)
	ctx, m := storetest.Open(t, config)
	if _, err := store.ExecuteUpdate(ctx, "UPDATE schema_migrations SET version = 9, dirty = true"); err != nil {
		t.Fatal(err)
	}
	if status := store.HealthCheck(ctx); status.Healthy() || status.DatabaseInitialized || !strings.Contains(status.Error, "migration 9 is running or was interrupted") {
		t.Errorf("health check: %+v", status)
	}
	texts := []string{"migration 9 was interrupted", `"sharedcontext migrate force 9"`, `"... force 8"`}
	wantSchemaError(t, m.InitializeDatabase(ctx), texts...)

	migrator := openMigrator(t, config)
	wantSchemaError(t, migrator.Up(ctx), texts...)
	wantSchemaError(t, migrator.To(ctx, 3), texts...)
	if status, err := migrator.Status(); err != nil || status != (store.MigrationStatus{Version: 9, Latest: latest, Dirty: true}) {
		t.Errorf("status %+v, %v", status, err)
	}
	wantSchemaError(t, migrator.Force(latest+1), fmt.Sprintf("up to %d", latest))
	if err := migrator.Force(latest); err != nil {
		t.Fatal(err)
	}
	if err := migrator.Up(ctx); err != nil {
		t.Error(err)
	}
	if err := m.InitializeDatabase(ctx); err != nil {
		t.Error(err)
	}
}

// A program that was killed in the middle of a migration leaves it marked: before it did anything, after it, or on the way
// back. The next one goes on from there.
func TestKilledMigration(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	exec1(t, conn, "SET timezone = 'UTC'")
	want := catalog(t, conn)
	for _, version := range []uint{1, 2, 3, 4, 5, 6, 8, 13, 15, 17, 20, latest} {
		for _, state := range []struct {
			name string
			at   uint
		}{{"before it", version - 1}, {"after it", version}, {"on the way back to it", version + 1}} {
			if state.at > latest {
				continue
			}
			migrator := openMigrator(t, config)
			migrateTo(t, migrator, state.at)
			if err := migrator.Close(); err != nil {
				t.Fatal(err)
			}
			exec1(t, conn, "DELETE FROM schema_migrations")
			exec1(t, conn, "INSERT INTO schema_migrations VALUES ($1, true)", version)
			ctx, m := storetest.Open(t, config)
			if err := m.InitializeDatabase(ctx); err != nil {
				t.Fatalf("killed at migration %d, %s: %v", version, state.name, err)
			}
			if diff := cmp.Diff(want, catalog(t, conn)); diff != "" {
				t.Errorf("killed at migration %d, %s (-want +got):\n%s", version, state.name, diff)
			}
		}
	}
}

// The same for the first migration on an empty database, on the way there and on the way back.
func TestKilledFirstMigration(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, -1} {
		config := storetest.EmptyConfig(t)
		conn := connect(t, config)
		exec1(t, conn, "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)")
		exec1(t, conn, "INSERT INTO schema_migrations VALUES ($1, true)", version)
		ctx, m := storetest.Open(t, config)
		if err := m.InitializeDatabase(ctx); err != nil {
			t.Errorf("marked as %d: %v", version, err)
		}
	}
}

// What the server is still doing for a program that was killed is waited for.
func TestKilledMigrationGoesOn(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	migrator := openMigrator(t, config)
	migrateTo(t, migrator, 10)
	if err := migrator.Close(); err != nil {
		t.Fatal(err)
	}
	holder, left, watcher := connect(t, config), connect(t, config), connect(t, config)
	exec1(t, watcher, "UPDATE schema_migrations SET version = 11, dirty = true")
	exec1(t, holder, "BEGIN")
	exec1(t, holder, "LOCK TABLE schema_version IN SHARE MODE") // which the last statement of the file waits for
	file, err := fs.ReadFile(schema.FS, "000011_message_keys.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan error, 1)
	go func() {
		_, err := left.PgConn().Exec(context.Background(), string(file)).ReadAll()
		running <- err
	}()
	waiting := func() bool {
		return ask[bool](t, watcher, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
	}
	for !waiting() {
		runtime.Gosched()
	}
	ctx, m := storetest.Open(t, config)
	initialized := make(chan error, 1)
	go func() { initialized <- m.InitializeDatabase(ctx) }()
	exec1(t, holder, "COMMIT")
	if err := errors.Join(<-running, <-initialized); err != nil {
		t.Error(err)
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	config := storetest.OwnerConfig(t)
	conn := connect(t, config)
	exec1(t, conn, "UPDATE schema_migrations SET version = 99")
	ctx, m := storetest.Open(t, config)
	texts := []string{"newer program", fmt.Sprintf("migration 99, this one knows %d", latest), "AllowNewerSchema", "DATABASE_ALLOW_NEWER_SCHEMA"}
	wantSchemaError(t, m.InitializeDatabase(ctx), texts...)
	status := store.HealthCheck(ctx)
	if status.Healthy() || status.DatabaseInitialized || !strings.Contains(status.Error, texts[0]) {
		t.Errorf("health check: %+v", status)
	}
	migrator := openMigrator(t, config)
	if err := migrator.Up(ctx); err != nil {
		t.Errorf("there is nothing to apply, but: %v", err)
	}
	wantSchemaError(t, migrator.To(ctx, 3), "use the newer program")
	if err := migrator.Close(); err != nil {
		t.Fatal(err)
	}

	config.AllowNewerSchema = true
	ctx, allowing := storetest.Open(t, config)
	if err := allowing.InitializeDatabase(ctx); err != nil {
		t.Errorf("with AllowNewerSchema: %v", err)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check with AllowNewerSchema: %+v", status)
	}
	// While the newer program is at it, the programs that run go on.
	exec1(t, conn, "UPDATE schema_migrations SET dirty = true")
	if err := allowing.InitializeDatabase(ctx); err != nil {
		t.Errorf("with AllowNewerSchema, during a migration: %v", err)
	}
	if status := store.HealthCheck(ctx); !status.Healthy() {
		t.Errorf("health check with AllowNewerSchema, during a migration: %+v", status)
	}
	if status := store.HealthCheck(store.NewContext(ctx, m)); status.Healthy() || !strings.Contains(status.Error, "migration 99 is running") {
		t.Errorf("health check during a migration: %+v", status)
	}
	exec1(t, conn, "UPDATE schema_migrations SET dirty = false")
	exec1(t, conn, "ALTER TABLE sessions RENAME COLUMN purpose TO goal")
	wantSchemaError(t, allowing.InitializeDatabase(ctx), "column sessions.purpose text not null")
	exec1(t, conn, "UPDATE schema_migrations SET dirty = true")
	wantSchemaError(t, allowing.InitializeDatabase(ctx), "migration 99 was interrupted", "newer program")
	if n := ask[int](t, conn, "SELECT count(*) FROM schema_migrations WHERE version = 99 AND dirty"); n != 1 {
		t.Error("the record of the newer program was changed")
	}
}
