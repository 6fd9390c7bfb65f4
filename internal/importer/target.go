package importer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// target is the database, in the one transaction of an import or a verification.
type target struct {
	conn *store.Conn
	// filled are the tables that held rows before.
	filled map[*canonical.Table]bool
	// sealed is the last id of the audit log that a seal covers.
	sealed int64
}

// noSeal is below every id.
const noSeal = -1 << 63

// newTarget looks at what is there.
func newTarget(ctx context.Context, conn *store.Conn) (*target, error) {
	t := &target{conn: conn, filled: make(map[*canonical.Table]bool), sealed: noSeal}
	for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
		if _, err := conn.Exec(ctx, "SET LOCAL "+setting+" = 0"); err != nil { // meant for the short statements of a service
			return nil, err
		}
	}
	var encoding string
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_encoding')").Scan(&encoding); err != nil {
		return nil, err
	}
	if encoding != "UTF8" {
		return nil, fmt.Errorf("the database has the encoding %s, in which not every text can be stored; make one with ENCODING 'UTF8'", encoding)
	}
	for _, table := range canonical.Tables {
		there, err := t.exists(ctx, table.Name)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		var filled bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+table.Name+")").Scan(&filled); err != nil {
			return nil, err
		}
		t.filled[table] = filled
	}
	if there, err := t.exists(ctx, "audit_seal"); err != nil || !there {
		return t, err
	}
	return t, t.readSeals(ctx)
}

// readSeals learns up to where the audit log is sealed.
func (t *target) readSeals(ctx context.Context) error {
	return t.conn.QueryRow(ctx, "SELECT coalesce(max(last_id), $1) FROM audit_seal", int64(noSeal)).Scan(&t.sealed)
}

// empty says whether the database holds nothing that a service has written.
func (t *target) empty() bool {
	for _, filled := range t.filled {
		if filled {
			return false
		}
	}
	return true
}

func (t *target) exists(ctx context.Context, table string) (there bool, err error) {
	return there, t.conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there)
}

// rows returns those rows of a table that have one of these keys, by key.
func (t *target) rows(ctx context.Context, table *canonical.Table, keys []any) (map[any]canonical.Row, error) {
	columns := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		columns[i] = column.Name
		if column.Kind == canonical.JSON {
			columns[i] += "::text"
		}
	}
	found := make(map[any]canonical.Row, len(keys))
	rows, err := t.conn.Query(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+table.Name+" WHERE id = ANY ($1)", keyArray(table, keys))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	scan := newScan(table)
	for rows.Next() {
		row, err := scan.row(rows)
		if err != nil {
			return nil, err
		}
		found[key(table, row)] = row
	}
	return found, rows.Err()
}

// key returns the key of a row: a string for sessions, an int64 for all else.
func key(table *canonical.Table, row canonical.Row) any {
	if table.Columns[0].Kind == canonical.Text {
		return row[0].Text
	}
	return row[0].Int
}

func keyArray(table *canonical.Table, keys []any) any {
	if table.Columns[0].Kind == canonical.Text {
		array := make([]string, len(keys))
		for i := range keys {
			array[i] = keys[i].(string)
		}
		return array
	}
	array := make([]int64, len(keys))
	for i := range keys {
		array[i] = keys[i].(int64)
	}
	return array
}

// scan reads rows of a table.
type scan struct {
	table *canonical.Table
	into  []any
}

func newScan(table *canonical.Table) *scan {
	s := &scan{table: table, into: make([]any, len(table.Columns))}
	for i, column := range table.Columns {
		switch column.Kind {
		case canonical.Time:
			s.into[i] = new(pgtype.Timestamptz)
		case canonical.Bool:
			s.into[i] = new(pgtype.Bool)
		case canonical.Int:
			s.into[i] = new(pgtype.Int8)
		case canonical.Bytes:
			s.into[i] = new([]byte)
		default:
			s.into[i] = new(pgtype.Text)
		}
	}
	return s
}

func (s *scan) row(rows pgx.Rows) (canonical.Row, error) {
	if err := rows.Scan(s.into...); err != nil {
		return nil, err
	}
	row := make(canonical.Row, len(s.into))
	for i, into := range s.into {
		switch value := into.(type) {
		case *pgtype.Timestamptz:
			row[i] = canonical.Value{Null: !value.Valid, Int: value.Time.UnixMicro()}
			if value.InfinityModifier != pgtype.Finite { // no time of the first generation
				row[i].Int = int64(value.InfinityModifier) * (1<<63 - 1)
			}
		case *pgtype.Bool:
			row[i].Null = !value.Valid
			if value.Bool {
				row[i].Int = 1
			}
		case *pgtype.Int8:
			row[i] = canonical.Value{Null: !value.Valid, Int: value.Int64}
		case *[]byte:
			row[i] = canonical.Value{Null: *value == nil, Text: string(*value)}
		case *pgtype.Text:
			row[i] = canonical.Value{Null: !value.Valid, Text: value.String}
		}
	}
	return row, nil
}

// insert copies rows into a table.
func (t *target) insert(ctx context.Context, table *canonical.Table, rows []canonical.Row) error {
	if len(rows) == 0 {
		return nil
	}
	columns := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		columns[i] = column.Name
	}
	values := make([]any, len(columns))
	_, err := t.conn.CopyFrom(ctx, pgx.Identifier{table.Name}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		for j, column := range table.Columns {
			values[j] = native(column.Kind, rows[i][j])
		}
		return values, nil
	}))
	if err != nil {
		return fmt.Errorf("copy rows %v to %v of %s: %w", key(table, rows[0]), key(table, rows[len(rows)-1]), table.Name, err)
	}
	return nil
}

// native returns a value as pgx takes it.
func native(kind canonical.Kind, value canonical.Value) any {
	if value.Null {
		return nil
	}
	switch kind {
	case canonical.Time:
		return time.UnixMicro(value.Int)
	case canonical.Bool:
		return value.Int == 1
	case canonical.Int:
		return value.Int
	case canonical.Bytes:
		return []byte(value.Text)
	}
	return value.Text
}

// analyze brings the statistics up to date, with the rows of this transaction. An autovacuum that comes meanwhile would see
// none of these and put the number of rows to 0, by which the checks of foreign keys would choose an index that they have to
// read from end to end; the lock that this takes keeps it out.
func (t *target) analyze(ctx context.Context, table *canonical.Table) error {
	_, err := t.conn.Exec(ctx, "ANALYZE "+table.Name)
	return err
}

// advance lets a sequence continue behind an id.
func (t *target) advance(ctx context.Context, table *canonical.Table, id int64) error {
	_, err := t.conn.Exec(ctx, `SELECT setval(s.name, $2) FROM (SELECT pg_get_serial_sequence($1, 'id')::regclass AS name) s
		WHERE $2 > coalesce(pg_sequence_last_value(s.name), 0)`, table.Name, id)
	return err
}

// last returns the highest id that a table has or its sequence has given out.
func (t *target) last(ctx context.Context, table *canonical.Table) (id int64, err error) {
	return id, t.conn.QueryRow(ctx, "SELECT greatest(coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'id')::regclass), 0), "+
		"(SELECT coalesce(max(id), 0) FROM "+table.Name+"))", table.Name).Scan(&id)
}
