package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/schema"
)

// This file is the API of the first generation: its functions take the manager from the context, see [GetManager]. The
// times are in clock.go, the validators in input.go.

// GetDBConnection calls fn with a connection inside of a transaction of the context's manager, a savepoint when ctx is in
// a transaction already. It commits when fn returns nil and rolls back otherwise; see [Manager.InTx]. In the scope of
// [AsReader] it reads as that reader.
func GetDBConnection(ctx context.Context, fn func(ctx context.Context, conn *Conn) error) error {
	m, err := GetManager(ctx)
	if err != nil {
		return err
	}
	call := func(ctx context.Context) error { return fn(ctx, &Conn{m.transaction(ctx)}) }
	if scope := scopeOf(ctx); scope != nil {
		return m.inReaderScope(ctx, "get database connection", scope, call)
	}
	return m.InTx(ctx, call)
}

// InitializeDatabase is [Manager.InitializeDatabase] of the context's manager.
func InitializeDatabase(ctx context.Context) error {
	m, err := GetManager(ctx)
	if err != nil {
		return err
	}
	return m.InitializeDatabase(ctx)
}

// ExecuteQuery runs a statement and returns its rows as maps from column name to value; no rows are an empty slice. Of
// columns with the same name the last counts. Placeholders are ? or $1; ?? writes a literal ?.
//
// Values have the types that pgx gives: int64 (int32, int16 for smaller columns), string, bool, float64, pgtype.Numeric,
// time.Time in UTC, [16]byte for uuid, []byte for bytea, map[string]any for jsonb objects, whose numbers are float64 (select
// metadata::text where that is not exact enough), and nil for NULL. A statement whose placeholders do not fit its
// parameters is a [*ValidationError]. In the scope of [AsReader] it sees what that reader may see, and nothing else.
func ExecuteQuery(ctx context.Context, sql string, params ...any) ([]map[string]any, error) {
	return execute(ctx, "execute query", sql, params, func(db gen.DBTX, sql string) ([]map[string]any, error) {
		rows, err := db.Query(ctx, sql, params...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowToMap)
	})
}

// ExecuteUpdate runs a statement and returns how many rows it affected. Placeholders are those of [ExecuteQuery].
func ExecuteUpdate(ctx context.Context, sql string, params ...any) (int64, error) {
	return execute(ctx, "execute update", sql, params, func(db gen.DBTX, sql string) (int64, error) {
		tag, err := db.Exec(ctx, sql, params...)
		return tag.RowsAffected(), err
	})
}

// ExecuteInsert runs an INSERT and returns the id of the new row, of the last one when there are several, and 0 when
// nothing was inserted or the table has no integer column "id". Placeholders are those of [ExecuteQuery]. A statement
// that has a RETURNING clause keeps it; the id is then taken from that.
func ExecuteInsert(ctx context.Context, sql string, params ...any) (int64, error) {
	return execute(ctx, "execute insert", sql, params, func(db gen.DBTX, sql string) (int64, error) {
		rows, err := db.Query(ctx, returningAll(sql), params...)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		column := -1
		for i, field := range rows.FieldDescriptions() {
			if field.Name == "id" {
				column = i
			}
		}
		var id int64
		for rows.Next() {
			if column < 0 {
				continue
			}
			values, err := rows.Values()
			if err != nil {
				return 0, err
			}
			switch value := values[column].(type) {
			case int64:
				id = value
			case int32:
				id = int64(value)
			case int16:
				id = int64(value)
			}
		}
		return id, rows.Err()
	})
}

// execute runs a statement of the caller's own, with its placeholders translated.
func execute[T any](ctx context.Context, operation, sql string, params []any, run func(db gen.DBTX, sql string) (T, error)) (T, error) {
	var none T
	m, err := GetManager(ctx)
	if err != nil {
		return none, err
	}
	sql, err = bindPlaceholders(sql, len(params))
	if err != nil {
		return none, err
	}
	if scope := scopeOf(ctx); scope != nil {
		return queryAsReader(ctx, m, operation, scope, sql, run)
	}
	return query(ctx, m, operation, func(db gen.DBTX) (T, error) { return run(db, sql) })
}

// returningAll lets an INSERT return its rows. A statement that has a RETURNING clause of its own stays as it is, and so
// does a SELECT from an INSERT in its WITH clause.
func returningAll(sql string) string {
	lexer := sqlLexer{sql: sql}
	end, depth := 0, 0 // end of what is neither white space, comment nor the closing semicolon
	inserts := false
	for {
		kind := lexer.next()
		text := sql[lexer.start:lexer.pos]
		switch kind {
		case sqlEnd, sqlOpen:
			return sql[:end] + " RETURNING *" + sql[end:]
		case sqlComment:
			continue
		case sqlWord:
			switch {
			case depth > 0:
			case strings.EqualFold(text, "insert"):
				inserts = true
			case strings.EqualFold(text, "returning"), !inserts && strings.EqualFold(text, "select"):
				return sql
			}
		case sqlOther:
			depth += strings.Count(text, "(") - strings.Count(text, ")")
			trimmed := strings.TrimRight(text, "; \t\r\n\f\v")
			if trimmed == "" {
				continue
			}
			end = lexer.start + len(trimmed)
			continue
		}
		end = lexer.pos
	}
}

// GetSchemaVersion returns the highest version that schema_version records, which is the number of the last migration
// plus two; 0 when it holds none or does not exist. Inside of a transaction a table that does not exist is an error.
func GetSchemaVersion(ctx context.Context) (int, error) {
	m, err := GetManager(ctx)
	if err != nil {
		return 0, err
	}
	version, err := repeatable(ctx, m, "get schema version", func(db gen.DBTX) (int32, error) {
		version, err := queries.SchemaVersion(ctx, db)
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "42P01" && m.transaction(ctx) == nil { // undefined_table
			return 0, nil
		}
		return version, err
	})
	return int(version), err
}

// HealthStatus is the report of [HealthCheck].
type HealthStatus struct {
	Status              string  `json:"status"`               // "healthy" or "unhealthy"
	DatabaseInitialized bool    `json:"database_initialized"` // whether the schema is complete and up to date
	DatabaseExists      bool    `json:"database_exists"`      // whether the server let us into the database
	DatabaseSizeMB      float64 `json:"database_size_mb"`     // in units of 1,048,576 bytes
	ConnectionCount     int     `json:"connection_count"`     // of all clients of this database
	Timestamp           string  `json:"timestamp"`            // when it was asked, as UTCTimestamp prints it
	Error               string  `json:"error,omitempty"`      // what is wrong, and what to do about it

	err error // what Error says
}

// Healthy reports whether the database can be used.
func (s HealthStatus) Healthy() bool { return s.Status == "healthy" }

// Err returns the error that the field Error has the text of, nil for a healthy database: a [*DatabaseConnectionError] where it
// cannot be reached or does not answer in time, a [*DatabaseSchemaError] where the schema is missing, incomplete or of another
// version. A status that was read from JSON has none.
func (s HealthStatus) Err() error { return s.err }

// HealthCheck asks the database how it is. It never fails: what goes wrong is in the report. It waits no longer than
// ctx and DATABASE_TIMEOUT allow.
func HealthCheck(ctx context.Context) HealthStatus {
	status := HealthStatus{Status: "unhealthy", Timestamp: UTCTimestamp()}
	m, err := GetManager(ctx)
	if err == nil {
		err = m.checkHealth(WithoutTx(ctx), &status)
	}
	if err != nil {
		status.Error, status.err = err.Error(), err
		return status
	}
	status.Status = "healthy"
	return status
}

// checkHealth fills in what the server says, and returns what keeps the database from being used.
func (m *Manager) checkHealth(ctx context.Context, status *HealthStatus) error {
	const operation = "health check"
	ctx, cancel := context.WithTimeout(ctx, m.config.AcquireTimeout)
	defer cancel()
	health, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.DatabaseHealthRow, error) {
		return queries.DatabaseHealth(ctx, db)
	})
	if err != nil {
		return noAnswer(operation, err)
	}
	status.DatabaseExists = true
	status.DatabaseSizeMB = float64(health.SizeBytes) / (1 << 20)
	status.ConnectionCount = int(health.ConnectionCount)

	state, err := m.schemaState(ctx)
	if err != nil {
		return noAnswer(operation, err)
	}
	if err := m.checkSchema(operation, state); err != nil {
		return err
	}
	status.DatabaseInitialized = true
	return nil
}

// noAnswer makes an error of a statement that was not answered in time one of the connection.
func noAnswer(operation string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*DatabaseConnectionError)) {
		return err
	}
	return &DatabaseConnectionError{DatabaseError{
		Op: operation, Err: fmt.Errorf("the server did not answer in time: %w", context.DeadlineExceeded),
		Hint: "look at its load, its locks and the network",
	}}
}

// SchemaVersion is what [GetSchemaVersion] returns for a database that is up to date with this program.
func SchemaVersion() int {
	return int(schema.Latest()) - schema.FirstGeneration + schema.FirstGenerationVersion
}
