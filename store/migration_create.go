package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/schema"
)

// createOrFind is create, unless the server was still at that for a program that was killed: then it is done.
func (m *Migrator) createOrFind(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		failed := m.create(ctx)
		if failed == nil {
			return nil
		}
		status, err := m.Status()
		switch {
		case err == nil && status.Version > 0:
			return m.To(ctx, status.Latest)
		case err != nil || !isBusy(failed) || attempt == migrationAttempts || ctx.Err() != nil:
			return schemaError("migrate up", failed)
		}
	}
}

// create brings an empty database to the latest version in one transaction: all of it or nothing. Nobody uses the tables
// yet that indexes would have to be built beside, and one transaction takes a third of the time of one for each migration.
func (m *Migrator) create(ctx context.Context) error {
	var all strings.Builder
	for version := range int(schema.Latest()) {
		text, err := migrationFile(version, 1)
		if err != nil {
			return err
		}
		if isConcurrent(text) {
			text = strings.Replace(text, " CONCURRENTLY", "", 1) // its only statement
		}
		all.WriteString(text)
	}
	// What golang-migrate writes at the end of a migration.
	fmt.Fprintf(&all, "TRUNCATE schema_migrations;\nINSERT INTO schema_migrations (version, dirty) VALUES (%d, false);\n", schema.Latest())
	text := all.String()
	err := m.cancellable(ctx, text, func() error {
		_, err := m.db.ExecContext(context.WithoutCancel(ctx), text) // without arguments, several statements are one transaction
		return err
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("cancelled: %w (%w)", ctx.Err(), err)
	}
	return err
}
