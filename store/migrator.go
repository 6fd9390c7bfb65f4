package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/golang-migrate/migrate/v4"
	migratedb "github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/sharedcontext/sharedcontext/v2/schema"
)

const (
	// migrationLock is the advisory lock that one migrating process holds ("shctxmig" in ASCII). golang-migrate's own
	// lock does not do: processes that block in it hold a snapshot, which a concurrent index build of another waits for.
	migrationLock = 0x73686374786d6967
	// migrationAttempts bounds how often a migration is tried that a busy table turned away.
	migrationAttempts = 10
)

// Migrator changes the schema step by step. It holds a connection of its own (DIRECT_DATABASE_URL) and a lock, so that
// one process at a time migrates a database; [OpenMigrator] waits for its turn. Close gives both back.
//
// Services call [Manager.InitializeDatabase], which does all of this; the command "sharedcontext migrate" uses a Migrator.
type Migrator struct {
	db      *sql.DB
	lock    *sql.Conn
	driver  migratedb.Driver
	migrate *migrate.Migrate

	// opened are the connections of db: golang-migrate leaks its own when it fails to open.
	opened struct {
		sync.Mutex
		conns []*pgx.Conn
	}
}

// MigrationStatus says where a database stands.
type MigrationStatus struct {
	Version uint `json:"version"` // the last applied migration, 0 for none
	Latest  uint `json:"latest"`  // the last one that this program has
	Dirty   bool `json:"dirty"`   // whether a migration was interrupted
}

// OpenMigrator connects and waits, as long as ctx lets it, until no other process migrates the database. The first
// generation's databases are adopted on the way: their tables count as the first migration, and no row is touched. An address
// that leads to a pooler in transaction mode is an error, also where the configuration does not say that it does.
func OpenMigrator(ctx context.Context, config Config) (*Migrator, error) {
	const operation = "migrate"
	config, err := config.validate()
	if err != nil {
		return nil, err
	}
	if config.needsDirect() {
		return nil, schemaError(operation, config.transactionPoolerError())
	}
	direct, err := config.directConfig()
	if err != nil {
		return nil, err
	}
	m := new(Migrator)
	m.db = stdlib.OpenDB(*direct, stdlib.OptionAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
		m.opened.Lock()
		defer m.opened.Unlock()
		m.opened.conns = append(m.opened.conns, conn)
		return nil
	}))
	if err := m.open(ctx, config); err != nil {
		return nil, errors.Join(schemaError(operation, err), m.Close())
	}
	return m, nil
}

func (m *Migrator) open(ctx context.Context, config Config) error {
	var err error
	if m.lock, err = m.db.Conn(ctx); err != nil {
		return &acquireError{cause: err, text: err.Error(), hint: "check that the server runs and that host and port of the URL are right"}
	}
	// Before the lock, which a pooler would give to whoever comes next.
	if behind, err := m.behindTransactionPooler(ctx); err != nil || behind {
		return cmp.Or(err, config.transactionPoolerError())
	}
	if err := m.waitForLock(ctx); err != nil {
		return err
	}
	// Before golang-migrate makes its table: a database that is refused stays as it was.
	adopt, err := m.holdsFirstGeneration(ctx)
	if err != nil {
		return err
	}
	source, err := iofs.New(schema.FS, ".")
	if err != nil {
		return err
	}
	if m.driver, err = migratepgx.WithInstance(m.db, &migratepgx.Config{}); err != nil {
		return err
	}
	if m.migrate, err = migrate.NewWithInstance("iofs", source, "pgx5", m.driver); err != nil {
		return err
	}
	if adopt {
		return m.migrate.Force(schema.FirstGeneration)
	}
	return nil
}

func (m *Migrator) behindTransactionPooler(ctx context.Context) (behind bool, err error) {
	err = m.lock.Raw(func(conn any) (err error) {
		behind, err = behindTransactionPooler(ctx, conn.(*stdlib.Conn).Conn())
		return err
	})
	return behind, err
}

// waitForLock polls for the lock: a session that blocks in pg_advisory_lock would be waited for by the concurrent index
// builds of the one that holds it, a deadlock.
func (m *Migrator) waitForLock(ctx context.Context) error {
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, 250*time.Millisecond) {
		var locked bool
		err := m.lock.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(migrationLock)).Scan(&locked)
		if locked {
			return nil
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("waiting for another process that migrates this database: %w", ctx.Err())
		}
		if err != nil {
			return err
		}
	}
}

// holdsFirstGeneration reports whether the first generation has made the tables and no migration is recorded yet. Only
// some of its tables, another version of them, or the migrations of another program are an error.
func (m *Migrator) holdsFirstGeneration(ctx context.Context) (bool, error) {
	var (
		tables   int
		recorded bool
	)
	const countTables = `SELECT count(*), to_regclass(quote_ident(current_schema()) || '.schema_migrations') IS NOT NULL
		FROM unnest(ARRAY['sessions', 'messages', 'agent_memory', 'audit_log', 'secure_tokens', 'schema_version']) AS name
		WHERE to_regclass(quote_ident(current_schema()) || '.' || quote_ident(name)) IS NOT NULL`
	if err := m.lock.QueryRowContext(ctx, countTables).Scan(&tables, &recorded); err != nil {
		return false, err
	}
	if recorded {
		var dirty bool
		err := m.lock.QueryRowContext(ctx, "SELECT dirty FROM schema_migrations").Scan(&dirty)
		var pgErr *pgconn.PgError
		switch {
		case errors.As(err, &pgErr) && pgErr.Code == "42703", err == nil && !dirty && tables == 0: // undefined_column
			return false, errors.New("the table schema_migrations is another program's, as none of the tables it stands for is there: " +
				"use a database or a schema (search_path) without it; if nothing uses it any more, drop it")
		case !errors.Is(err, sql.ErrNoRows):
			return false, err
		}
	}
	if tables == 0 {
		return false, nil
	}
	version := 0
	if tables == 6 {
		err := m.lock.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
		if err != nil {
			return false, err
		}
	}
	if version != schema.FirstGenerationVersion {
		return false, fmt.Errorf("the database holds %d of the 6 tables of the first generation, in schema version %d, not %d: "+
			"bring it up to date with the last release of the first generation, or use an empty database",
			tables, version, schema.FirstGenerationVersion)
	}
	return true, nil
}

// Close gives the lock and the connections back. Closing twice is harmless.
func (m *Migrator) Close() error {
	var errs []error
	if m.migrate != nil {
		source, database := m.migrate.Close() // closes m.db as well
		errs = append(errs, source, database)
		m.migrate = nil
	}
	if m.lock != nil {
		errs = append(errs, ignoreDone(m.lock.Close()))
		m.lock = nil
	}
	errs = append(errs, m.db.Close())
	m.opened.Lock()
	defer m.opened.Unlock()
	for _, conn := range m.opened.conns {
		_ = conn.PgConn().Conn().Close() // a closed one stays closed
	}
	m.opened.conns = nil
	return errors.Join(errs...)
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return err
}

// Status returns where the database stands.
func (m *Migrator) Status() (MigrationStatus, error) {
	version, dirty, err := m.driver.Version()
	if err != nil {
		return MigrationStatus{}, schemaError("migration status", err)
	}
	return MigrationStatus{Version: uint(max(version, 0)), Latest: schema.Latest(), Dirty: dirty}, nil
}

// Up applies all migrations that are missing, to an empty database in one transaction. A database that a newer program has migrated stays as it is. A table that is
// too busy to be changed is tried again for a while. Up may be called again after it has failed, and goes on from there; where
// a program was killed in the middle of a migration, it finds out what was done.
func (m *Migrator) Up(ctx context.Context) error {
	status, err := m.Status()
	if err != nil {
		return err
	}
	switch {
	case status.Dirty:
		if err := m.recover(ctx, int(status.Version)); err != nil {
			return schemaError("migrate up", err)
		}
	case status.Version == 0:
		if err := m.mayMigrate(ctx); err != nil {
			return schemaError("migrate up", err)
		}
		return m.createOrFind(ctx)
	case status.Version >= status.Latest:
		return nil
	}
	return m.To(ctx, status.Latest)
}

// To migrates up or down to a version; 0 drops the whole schema with all rows. When ctx ends, the migration that runs is
// cancelled and taken back; an index that is being built or dropped is left for the next time.
func (m *Migrator) To(ctx context.Context, version uint) error {
	operation := fmt.Sprintf("migrate to version %d", version)
	if version > schema.Latest() {
		return schemaError(operation, fmt.Errorf("this program knows migrations up to %d", schema.Latest()))
	}
	if err := m.mayMigrate(ctx); err != nil {
		return schemaError(operation, err)
	}
	for attempt := 1; ; {
		status, err := m.Status()
		if err != nil {
			return err
		}
		switch {
		case status.Dirty:
			return schemaError(operation, migrate.ErrDirty{Version: int(status.Version)})
		case status.Version > status.Latest:
			return schemaError(operation, fmt.Errorf("the database is at migration %d, which a newer program has made; "+
				"this one knows %d: use the newer program to go back", status.Version, status.Latest))
		case status.Version == version:
			return nil
		case ctx.Err() != nil:
			return schemaError(operation, fmt.Errorf("stopped at migration %d: %w", status.Version, ctx.Err()))
		}
		step := 1
		if status.Version > version {
			step = -1
		}
		err = m.step(ctx, int(status.Version), step)
		if err == nil {
			continue
		}
		undone := withoutFile(m.undo(int(status.Version), step))
		if !isBusy(err) || attempt == migrationAttempts || undone != nil || ctx.Err() != nil {
			err = fmt.Errorf("from migration %d to %d: %w", status.Version, int(status.Version)+step, err)
			return schemaError(operation, errors.Join(err, undone))
		}
		attempt++
	}
}

// mayMigrate asks before anything is begun whether the role may record a migration: golang-migrate, which would fail at
// that, leaves a goroutine behind then.
func (m *Migrator) mayMigrate(ctx context.Context) error {
	var may bool
	err := m.lock.QueryRowContext(ctx, "SELECT has_table_privilege('schema_migrations', 'TRUNCATE')").Scan(&may)
	if err == nil && !may {
		err = fmt.Errorf("%w: the schema belongs to another role", ErrPermission)
	}
	return err
}

// step runs one migration, up (1) or down (-1). Of several at once, golang-migrate would leave a goroutine behind for each
// that a failure keeps from running.
func (m *Migrator) step(ctx context.Context, from, step int) error {
	text, err := migrationFile(from, step)
	if err != nil {
		return err
	}
	if isConcurrent(text) {
		err = m.dropUnfinished(ctx, text)
	}
	if err == nil {
		err = m.cancellable(ctx, text, func() error { return withoutFile(m.migrate.Steps(step)) })
	}
	if err != nil && ctx.Err() != nil {
		doing := "cancelled"
		if isConcurrent(text) {
			doing = "waiting for other transactions to end"
		}
		return fmt.Errorf("%s: %w (%w)", doing, ctx.Err(), err)
	}
	return err
}

// dropUnfinished drops an index that an earlier run of this file did not finish: it is invalid, but counts as existing.
func (m *Migrator) dropUnfinished(ctx context.Context, text string) error {
	var drop string
	// Not with ctx, whose end would cost the connection and its lock.
	err := m.lock.QueryRowContext(context.WithoutCancel(ctx), `SELECT format('DROP INDEX CONCURRENTLY %I', c.relname)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace
		  AND c.relname::text = ANY (regexp_split_to_array($1, '\W+'))`, text).Scan(&drop)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.concurrently(ctx, drop)
}

// concurrently runs a statement that waits for other transactions and is cancelled when ctx ends.
func (m *Migrator) concurrently(ctx context.Context, statement string) error {
	return m.cancellable(ctx, statement, func() error {
		_, err := m.db.ExecContext(context.WithoutCancel(ctx), statement)
		return err
	})
}

// cancellable runs a function that sends a statement without ctx, and has the server cancel the statement when ctx ends:
// an index that is built or dropped concurrently waits for the end of all transactions that may use it, however long they
// stay idle. golang-migrate knows no context, and the driver would go on while the statement still runs. The server shows
// the beginning of a long statement only.
func (m *Migrator) cancellable(ctx context.Context, statement string, run func() error) error {
	finished := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-finished:
			return
		case <-ctx.Done():
		}
		for {
			_, _ = m.lock.ExecContext(context.WithoutCancel(ctx), `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND state = 'active' AND length(query) > 20 AND starts_with($1, query)`, statement)
			select {
			case <-finished:
				return
			case <-time.After(100 * time.Millisecond): // it may not have begun
			}
		}
	})
	err := run()
	close(finished)
	watch.Wait()
	return err
}

// undo takes the dirty mark of a step that has just failed away. There is nothing else to take back: the file is one
// transaction, which the server has rolled back, or one statement that may be repeated.
func (m *Migrator) undo(from, step int) error {
	_, dirty, err := m.driver.Version()
	if err != nil || !dirty {
		return err
	}
	switch {
	case from == 0:
		from = migratedb.NilVersion
	case from+1 == uniqueGlobalMemory && step > 0:
		from-- // what removes the duplicates runs again before the index that refuses them
	}
	return m.driver.SetVersion(from, false)
}

// migrationFile returns the file that leads from a version up (1) or down (-1).
func migrationFile(from, step int) (string, error) {
	pattern := fmt.Sprintf("%06d_*.up.sql", from+1)
	if step < 0 {
		pattern = fmt.Sprintf("%06d_*.down.sql", from)
	}
	names, err := fs.Glob(schema.FS, pattern)
	if err != nil {
		return "", err
	}
	text, err := fs.ReadFile(schema.FS, names[0]) // there is one for each step
	return string(text), err
}

// isConcurrent reports whether a file builds or drops an index concurrently: a single statement, which may be repeated.
// All other files are transactions and begin with a lock_timeout.
func isConcurrent(text string) bool { return !strings.Contains(text, "SET LOCAL") }

// uniqueGlobalMemory is the migration whose index build fails when a duplicate came in after 000002 had removed them.
const uniqueGlobalMemory = 3

// isBusy reports whether a migration failed because of what others were doing to the tables just then.
func isBusy(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	switch pgErr.Code {
	case "55P03", "40P01", "40001", "23505": // lock_not_available, deadlock, serialization, unique_violation
		return true
	}
	return false
}

// Force records a version as applied and clean without running anything: the way out of an interrupted migration, once
// a person has seen to it that the schema is what that version means. 0 means that nothing is applied.
func (m *Migrator) Force(version uint) error {
	operation := fmt.Sprintf("force version %d", version)
	if version > schema.Latest() {
		return schemaError(operation, fmt.Errorf("this program knows migrations up to %d", schema.Latest()))
	}
	target := int(version)
	if version == 0 {
		target = migratedb.NilVersion
	}
	return schemaError(operation, m.migrate.Force(target))
}

// withoutFile returns the cause of an error of golang-migrate, whose own text repeats the whole file and hides the cause
// from [errors.As].
func withoutFile(err error) error {
	var (
		inFile  migratedb.Error
		outside *migratedb.Error
	)
	switch {
	case errors.As(err, &inFile):
		return inFile.OrigErr
	case errors.As(err, &outside):
		return outside.OrigErr
	}
	return err
}

// schemaError makes of an error of a migration what a person can act on.
func schemaError(operation string, err error) error {
	if err == nil {
		return nil
	}
	err = withoutFile(err)
	if mapped := operationError(operation, err); errors.As(mapped, new(*DatabaseConnectionError)) {
		return mapped
	}
	failure := DatabaseError{Op: operation, Err: err}
	var (
		dirty migrate.ErrDirty
		pgErr *pgconn.PgError
	)
	switch {
	case errors.Is(err, errTransactionPooler):
		failure.Hint = transactionPoolerHint
	case hasCode(err, insufficientPrivilege):
		failure.Err = fmt.Errorf("%w: %w", ErrPermission, err)
		fallthrough
	case errors.Is(err, ErrPermission):
		failure.Hint = "it takes the owner of the tables, and to make a role one with CREATEROLE: give the URL of such a role as DIRECT_DATABASE_URL"
	case errors.As(err, &pgErr):
		failure.Hint = pgErr.Hint // of the migration, where it has one
	case errors.As(err, &dirty):
		failure.Err = fmt.Errorf("migration %d was interrupted: %w", dirty.Version, err)
		failure.Hint = fmt.Sprintf(`look at what it has done, finish it or take it back by hand, then run "sharedcontext migrate force %d" or "... force %d" and "sharedcontext migrate up"`,
			max(dirty.Version, 1), max(dirty.Version, 1)-1)
		if dirty.Version > int(schema.Latest()) {
			failure.Hint += ", all of it with the newer program that has this migration"
		}
	}
	return &DatabaseSchemaError{failure}
}
