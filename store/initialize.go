package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/schema"
)

// InitializeDatabase creates the schema or brings it up to date, then checks that every table, column, index, trigger
// and view is there. It may be called again, and by many processes at once: one migrates, the others wait for it. A
// database of the first generation is adopted with its rows untouched. Where everything is up to date it costs one query,
// and may be called inside of a transaction, though on a connection of its own.
//
// The error is a [*DatabaseError], mostly of the kinds [*DatabaseConnectionError] or [*DatabaseSchemaError], which names
// what is missing and the way out. A database that a newer program has migrated is an error, unless
// [Config.AllowNewerSchema] is set and it holds all that this one needs. So is one that must be migrated where only a pooler
// in transaction mode leads to it: set [Config.DirectURL].
func (m *Manager) InitializeDatabase(ctx context.Context) error {
	const operation = "initialize database"
	inTx := m.transaction(ctx) != nil
	ctx = WithoutTx(ctx) // what it asks may fail
	state, err := m.schemaState(ctx)
	if err != nil {
		return err
	}
	if (state.Dirty || state.Version < int64(schema.Latest())) && !m.mayUseNewer(state) {
		if inTx { // an index build waits for the end of all transactions
			return &DatabaseSchemaError{DatabaseError{
				Op: operation, Err: errors.New("the schema must be migrated, which does not work inside of a transaction"),
				Hint: "call InitializeDatabase before the transaction begins",
			}}
		}
		if err := m.migrateUp(ctx); err != nil {
			return err
		}
		if state, err = m.schemaState(ctx); err != nil {
			return err
		}
	}
	return m.checkSchema(operation, state)
}

// checkSchema names what keeps a database from being used.
func (m *Manager) checkSchema(operation string, state gen.SchemaStateRow) error {
	failure := DatabaseError{Op: operation}
	switch {
	case m.mayUseNewer(state):
		return nil
	case state.Dirty:
		failure.Err = fmt.Errorf("migration %d is running or was interrupted", state.Version)
		failure.Hint = `run "sharedcontext migrate up", which waits for it or says how to go on`
	case state.Version < int64(schema.Latest()):
		failure.Err = fmt.Errorf("the schema is at migration %d of %d", state.Version, schema.Latest())
		failure.Hint = `call InitializeDatabase or run "sharedcontext migrate up"`
	case state.Version > int64(schema.Latest()) && !m.config.AllowNewerSchema:
		failure.Err = fmt.Errorf("a newer program has brought the schema to migration %d, this one knows %d", state.Version, schema.Latest())
		failure.Hint = "use the newer program; where both run side by side for a while, as in a rolling deployment, " +
			"set AllowNewerSchema (DATABASE_ALLOW_NEWER_SCHEMA=true)"
	default:
		missing := missingObjects(state.Objects)
		if len(missing) == 0 {
			return nil
		}
		failure.Err = fmt.Errorf("at migration %d the database lacks: %s", state.Version, strings.Join(missing, ", "))
		failure.Hint = "restore what was changed by hand, or migrate down and up again where the rows allow it"
	}
	return &DatabaseSchemaError{failure}
}

// mayUseNewer reports whether a newer program has migrated the database, or does so at the moment, and this one may go on
// with it: an index build of minutes is no reason to stop all that run.
func (m *Manager) mayUseNewer(state gen.SchemaStateRow) bool {
	return m.config.AllowNewerSchema && state.Version > int64(schema.Latest()) && len(missingObjects(state.Objects)) == 0
}

// missingObjects returns what this program needs and a database does not have.
func missingObjects(present []string) []string {
	slices.Sort(present)
	var missing []string
	for _, object := range schema.Objects() {
		if _, found := slices.BinarySearch(present, object); !found {
			missing = append(missing, object)
		}
	}
	return missing
}

// MigrationStatus returns where the database stands. Unlike a [Migrator] it waits for nobody and changes nothing.
func (m *Manager) MigrationStatus(ctx context.Context) (MigrationStatus, error) {
	state, err := m.schemaState(WithoutTx(ctx))
	return MigrationStatus{Version: uint(state.Version), Latest: schema.Latest(), Dirty: state.Dirty}, err
}

func (m *Manager) migrateUp(ctx context.Context) error {
	migrator, err := OpenMigrator(ctx, *m.config)
	if err != nil {
		return err
	}
	return errors.Join(migrator.Up(ctx), migrator.Close())
}

// errShutOut explains a role that does not own the tables and that nobody has granted access.
var errShutOut = &DatabaseError{
	Op:   "read schema state",
	Err:  fmt.Errorf("%w: row-level security keeps the rows of all tables from the role of DATABASE_URL", ErrPermission),
	Hint: `let the owner of the database run "sharedcontext access grant --service-role" with the name of this role, or of one that it is a member of`,
}

// schemaState asks what is applied and what is there. A database without any migration has the zero state.
func (m *Manager) schemaState(ctx context.Context) (gen.SchemaStateRow, error) {
	return repeatable(ctx, m, "read schema state", func(db gen.DBTX) (gen.SchemaStateRow, error) {
		state, err := queries.SchemaState(ctx, db)
		var pgErr *pgconn.PgError
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			hidden, err := queries.SchemaHidden(ctx, db)
			if err == nil && hidden {
				err = errShutOut
			}
			return gen.SchemaStateRow{}, err
		case errors.As(err, &pgErr) && pgErr.Code == "42P01", // undefined_table
			errors.As(err, &pgErr) && pgErr.Code == "42703": // undefined_column: the table of another program, as the migrator says
			return gen.SchemaStateRow{}, nil
		}
		return state, err
	})
}
