package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// repeatedDB is a connection for statements whose first columns are the same in every row, as those of a session are beside
// each of its messages. They are read from the first row only and have their zero values in the others, which would
// otherwise cost more than the messages.
type repeatedDB struct {
	gen.DBTX
	columns int
}

func (db repeatedDB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := db.DBTX.Query(ctx, sql, args...)
	return &repeatedRows{Rows: rows, columns: db.columns}, err
}

type repeatedRows struct {
	pgx.Rows
	columns int
	read    bool // the first row
}

func (r *repeatedRows) Scan(dest ...any) error {
	if r.read {
		clear(dest[:r.columns]) // pgx leaves out what has no destination
	}
	r.read = true
	return r.Rows.Scan(dest...)
}
