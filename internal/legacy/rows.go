package legacy

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// Row is a row of the file, with a value for each column of its table; those that the file lacks are NULL.
type Row struct {
	Values []Value
	// SessionFound says whether the session that the row refers to is in the file, and SessionCreated when that was
	// created. The row may refer to none.
	SessionFound   bool
	SessionCreated Value
	// Parent is what a message says about its parent.
	Parent Parent
}

// Parent is where the parent of a message is.
type Parent uint8

// Where a parent can be.
const (
	ParentNone      Parent = iota // the message refers to none
	ParentThere                   // in the same session
	ParentElsewhere               // in another session
	ParentMissing                 // nowhere
)

// Count returns the number of rows of a table, 0 for one that the file lacks.
func (f *File) Count(ctx context.Context, table *canonical.Table) (n int64, err error) {
	if f.columns[table.Name] == nil {
		return 0, nil
	}
	return n, f.wrap(f.tx.QueryRowContext(ctx, "SELECT count(*) FROM "+table.Name).Scan(&n))
}

// IDs returns the lowest id of a table and the highest that it has ever given out. Both are 0 for a table that has never
// had rows.
func (f *File) IDs(ctx context.Context, table *canonical.Table) (lowest, given int64, err error) {
	if f.columns[table.Name] == nil {
		return 0, 0, nil
	}
	err = f.tx.QueryRowContext(ctx, "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM "+table.Name).Scan(&lowest, &given)
	if err != nil {
		return 0, 0, f.wrap(err)
	}
	var sequences int
	if err := f.tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'").Scan(&sequences); err != nil {
		return 0, 0, f.wrap(err)
	}
	var sequence int64
	if sequences > 0 {
		err = f.tx.QueryRowContext(ctx, "SELECT coalesce(max(CAST(seq AS INTEGER)), 0) FROM sqlite_sequence WHERE name = ?", table.Name).Scan(&sequence)
	}
	return lowest, max(given, sequence), f.wrap(err)
}

// Rows calls fn with each row of a table in the order of its key. The row is only valid until fn returns.
func (f *File) Rows(ctx context.Context, table *canonical.Table, fn func(row *Row) error) error {
	if f.columns[table.Name] == nil {
		return nil
	}
	list, from := f.selectList(table), " FROM "+table.Name+" t"
	refers := table.Column("session_id") >= 0
	if refers {
		created := "NULL"
		if f.Has(&canonical.Sessions, "created_at") {
			created = "+s.created_at"
		}
		list += ", s.id IS NOT NULL, " + created
		from += " LEFT JOIN sessions s ON s.id = t.session_id"
	}
	threaded := table == &canonical.Messages && f.Has(table, "parent_message_id")
	if threaded {
		list += `, CASE WHEN t.parent_message_id IS NOT NULL THEN
			(SELECT CASE WHEN p.session_id = t.session_id THEN 1 ELSE 2 END FROM messages p WHERE p.id = t.parent_message_id) END`
	}
	n := len(table.Columns)
	row := Row{Values: make([]Value, n)}
	return f.each(ctx, "SELECT "+list+from+" ORDER BY t.id", nil, func(values []any) error {
		for i := range n {
			row.Values[i] = newValue(values[i])
		}
		if refers {
			row.SessionFound, row.SessionCreated = newValue(values[n]).Int == 1, newValue(values[n+1])
		}
		if threaded {
			row.Parent = newParent(row.Values[n-1], newValue(values[n+2]))
		}
		return fn(&row)
	})
}

func newParent(id, found Value) Parent {
	switch {
	case id.Kind == Null:
		return ParentNone
	case found.Kind == Null:
		return ParentMissing
	case found.Int == 1:
		return ParentThere
	}
	return ParentElsewhere
}

// MissingSessions calls fn with each session id that rows refer to and the file does not hold.
func (f *File) MissingSessions(ctx context.Context, fn func(id Value) error) error {
	query := ""
	for _, table := range canonical.Tables {
		if table.Column("session_id") < 0 || !f.Has(table, "session_id") {
			continue
		}
		if query != "" {
			query += " UNION "
		}
		condition := "t.session_id IS NOT NULL AND "
		if table == &canonical.Messages { // others may refer to no session
			condition = ""
		}
		query += "SELECT t.session_id FROM " + table.Name + " t WHERE " + condition +
			"NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session_id)"
	}
	return f.each(ctx, query+" ORDER BY 1", nil, func(values []any) error { return fn(newValue(values[0])) })
}

// Duplicates calls fn with each group of rows that are equal in the columns that key names, of which the new schema holds one.
// The rows of a group come in the order of their ids.
func (f *File) Duplicates(ctx context.Context, table *canonical.Table, key []string, fn func(group []Row) error) error {
	var columns, same []string
	for _, name := range key {
		if !f.Has(table, name) {
			return nil
		}
		columns = append(columns, quote(name))
		same = append(same, "t."+quote(name)+" IS r."+quote(name))
	}
	groups := "SELECT min(id) FROM " + table.Name + " GROUP BY " + strings.Join(columns, ", ") + " HAVING count(*) > 1"
	members := "SELECT " + f.selectList(table) + " FROM " + table.Name + " t, " + table.Name + " r WHERE r.id = ? AND " +
		strings.Join(same, " AND ") + " ORDER BY t.id"
	// One row stands for its group: bound as parameters, the values of the key would not keep their storage class.
	return f.each(ctx, groups, nil, func(values []any) error {
		var group []Row
		err := f.each(ctx, members, values, func(values []any) error {
			row := Row{Values: make([]Value, len(values))}
			for i := range values {
				row.Values[i] = newValue(values[i])
			}
			group = append(group, row)
			return nil
		})
		if err != nil {
			return err
		}
		return fn(group)
	})
}

// Fingerprint returns a digest of the content of the snapshot: its pages, wherever they are at the moment.
func (f *File) Fingerprint(ctx context.Context) (string, error) {
	digest := sha256.New()
	err := f.each(ctx, "SELECT data FROM sqlite_dbpage ORDER BY pgno", nil, func(values []any) error {
		page, ok := values[0].([]byte)
		if !ok {
			return errors.New("sqlite_dbpage gives no pages")
		}
		digest.Write(page)
		return nil
	})
	return hex.EncodeToString(digest.Sum(nil)), err
}

// Check lets SQLite look for damage in all pages.
func (f *File) Check(ctx context.Context) error {
	var found string
	if err := f.tx.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return f.wrap(err)
	}
	if found != "ok" {
		return fmt.Errorf("%s is damaged; restore a backup, or pass what sqlite3's .recover saves of it: %s", f.Path, found)
	}
	return nil
}

// each runs a query of the snapshot. The values are only valid until fn returns.
func (f *File) each(ctx context.Context, query string, arguments []any, fn func(values []any) error) error {
	rows, err := f.tx.QueryContext(ctx, query, arguments...)
	if err != nil {
		return f.wrap(err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	columns, err := rows.Columns()
	if err != nil {
		return f.wrap(err)
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return f.wrap(err)
		}
		if err := fn(values); err != nil {
			return err
		}
	}
	return f.wrap(rows.Err())
}

// wrap names the file in an error of SQLite.
func (f *File) wrap(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return fmt.Errorf("%s %w", f.Path, describe(err))
}

func newValue(value any) Value {
	switch value := value.(type) {
	case int64:
		return Value{Kind: Integer, Int: value}
	case float64:
		return Value{Kind: Real, Real: value}
	case string:
		return Value{Kind: Text, Bytes: value}
	case []byte:
		return Value{Kind: Blob, Bytes: string(value)}
	}
	return Value{}
}
