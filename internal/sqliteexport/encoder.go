package sqliteexport

import (
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// unixTimes are the columns in which the first generation kept Unix seconds. In the others it kept ISO 8601.
var unixTimes = map[string][]string{
	"sessions":     {"created_at", "updated_at"},
	"messages":     {"timestamp"},
	"agent_memory": {"created_at", "expires_at"},
}

// exactSeconds bounds the Unix seconds of which a REAL holds each microsecond.
const exactSeconds = 1 << 32

// encoder turns rows of PostgreSQL into values as the first generation wrote them.
type encoder struct {
	table *canonical.Table
	unix  []bool // the columns of Unix seconds
	into  []any
}

func newEncoder(table *canonical.Table) *encoder {
	e := &encoder{table: table, unix: make([]bool, len(table.Columns)), into: make([]any, len(table.Columns))}
	for i, column := range table.Columns {
		e.unix[i] = slices.Contains(unixTimes[table.Name], column.Name)
		switch column.Kind {
		case canonical.Time:
			e.into[i] = new(pgtype.Timestamptz)
		case canonical.Bool:
			e.into[i] = new(*bool)
		case canonical.Int:
			e.into[i] = new(*int64)
		case canonical.Bytes:
			e.into[i] = new([]byte)
		default:
			e.into[i] = new(*string)
		}
	}
	return e
}

// row returns the values of the row at hand. The Unix seconds of a row are all written as text where one of them is too
// far away for a REAL: SQLite takes every text to be later than every number.
func (e *encoder) row(rows pgx.Rows) ([]any, error) {
	if err := rows.Scan(e.into...); err != nil {
		return nil, err
	}
	exact := true
	for i, into := range e.into {
		at, isTime := into.(*pgtype.Timestamptz)
		if !isTime || !at.Valid {
			continue
		}
		if year := at.Time.UTC().Year(); at.InfinityModifier != pgtype.Finite || year < 1 || year > 9999 {
			return nil, fmt.Errorf("row %v: %s is not in the years 1 to 9999, which the first generation can read", e.value(0, true), e.table.Columns[i].Name)
		}
		if seconds := at.Time.Unix(); e.unix[i] && (seconds <= -exactSeconds || seconds >= exactSeconds) {
			exact = false
		}
	}
	values := make([]any, len(e.into))
	for i := range e.into {
		values[i] = e.value(i, exact)
	}
	return values, nil
}

func (e *encoder) value(i int, exact bool) any {
	switch value := e.into[i].(type) {
	case *pgtype.Timestamptz:
		switch {
		case !value.Valid:
			return nil
		case e.unix[i] && exact:
			return float64(value.Time.UnixMicro()) / float64(time.Second/time.Microsecond)
		}
		return store.AdaptDatetimeISO(value.Time)
	case **bool:
		return pointed(*value)
	case **int64:
		return pointed(*value)
	case **string:
		return pointed(*value)
	case *[]byte:
		return *value
	}
	return nil
}

func pointed[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
