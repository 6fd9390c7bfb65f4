package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/golang-migrate/migrate/v4"
	migratedb "github.com/golang-migrate/migrate/v4/database"

	"github.com/sharedcontext/sharedcontext/v2/schema"
)

// versionOffset is what the number of a migration and its row in schema_version differ by.
const versionOffset = schema.FirstGenerationVersion - schema.FirstGeneration

// recover finds out what a program left that was killed in the middle of a step, and records it. Whoever holds the lock of
// a Migrator is the only one that migrates, so that nobody is at work any more but perhaps the server, which is waited for.
//
// A file that is a transaction wrote its row of schema_version or did nothing. A file that builds or drops an index has no
// row and may run again. So the highest row says which step is to come. What does not fit is left to a person.
func (m *Migrator) recover(ctx context.Context, dirty int) error {
	inconsistent := migrate.ErrDirty{Version: dirty}
	if dirty > int(schema.Latest()) {
		return inconsistent
	}
	if err := m.waitForServer(ctx, dirty); err != nil {
		return err
	}
	recorded, err := m.recorded(ctx)
	if err != nil {
		return err
	}
	version := dirty
	switch {
	case recorded == dirty: // applied, or gone back to
	case recorded == dirty+1: // on the way back, which did not begin
		version = recorded
	case recorded < dirty: // on the way there, where only files without a row can lie between
		for between := recorded + 1; between < dirty; between++ {
			text, err := migrationFile(between-1, 1)
			if err != nil {
				return err
			}
			if !isConcurrent(text) {
				return inconsistent
			}
		}
		version = dirty - 1
	default:
		return inconsistent
	}
	if version == 0 {
		version = migratedb.NilVersion
	}
	return withoutFile(m.driver.SetVersion(version, false))
}

// recorded returns the migration that the highest row of schema_version belongs to, 0 where there is no such table.
func (m *Migrator) recorded(ctx context.Context) (int, error) {
	var there bool
	err := m.lock.QueryRowContext(ctx, "SELECT to_regclass(quote_ident(current_schema()) || '.schema_version') IS NOT NULL").Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var version sql.NullInt64
	if err := m.lock.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version); err != nil {
		return 0, err
	}
	if !version.Valid {
		return 0, errors.New("the table schema_version is empty")
	}
	return max(int(version.Int64)-versionOffset, schema.FirstGeneration), nil
}

// waitForServer waits until the server has ended a step to or from a version that it may still be at: it notices only then
// that the program is gone.
func (m *Migrator) waitForServer(ctx context.Context, dirty int) error {
	var files []string
	for _, step := range []struct{ from, step int }{{dirty - 1, 1}, {dirty + 1, -1}} {
		if step.from < 0 || step.from+step.step > int(schema.Latest()) || step.step < 0 && step.from > int(schema.Latest()) {
			continue
		}
		text, err := migrationFile(step.from, step.step)
		if err != nil {
			return err
		}
		files = append(files, text)
	}
	for {
		var running bool
		for _, text := range files {
			var found bool
			err := m.lock.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND length(query) > 20 AND starts_with($1, query))`,
				text).Scan(&found)
			if err != nil {
				return err
			}
			running = running || found
		}
		if !running {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the server is still at migration %d, which was interrupted: %w", dirty, ctx.Err())
		}
	}
}
