package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// essential are the columns that every version has and nothing stands in for.
var essential = map[string][]string{
	"sessions": {"id", "purpose", "created_by"},
	"messages": {"id", "session_id", "sender", "content"},
}

// inspect learns the tables and checks that they are those of the first generation.
func (f *File) inspect(ctx context.Context) error {
	f.columns = make(map[string][]string)
	rows, err := f.tx.QueryContext(ctx, `SELECT lower(m.name), lower(c.name) FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY m.name, c.cid`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return err
		}
		f.columns[table] = append(f.columns[table], column)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(f.columns) == 0 {
		return errors.New("is empty: it has no tables")
	}
	for _, table := range []string{"sessions", "messages"} {
		for _, column := range essential[table] {
			if !slices.Contains(f.columns[table], column) {
				return fmt.Errorf("is of another program: it has no %s.%s, as every file of the first generation has", table, column)
			}
		}
	}
	if slices.Contains(f.columns["schema_version"], "version") {
		return f.tx.QueryRowContext(ctx, "SELECT coalesce(max(CAST(version AS INTEGER)), 0) FROM schema_version").Scan(&f.Version)
	}
	return nil
}

// Missing returns the tables and columns that the file lacks, as table or table.column.
func (f *File) Missing() []string {
	var missing []string
	for _, table := range canonical.Tables {
		if f.columns[table.Name] == nil {
			missing = append(missing, table.Name)
			continue
		}
		for _, column := range table.Columns {
			if !f.Has(table, column.Name) {
				missing = append(missing, table.Name+"."+column.Name)
			}
		}
	}
	return missing
}

// Foreign returns the tables and columns of the file that the first generation does not have, as table or table.column.
func (f *File) Foreign() []string {
	known := map[string]*canonical.Table{"schema_version": nil}
	for _, table := range canonical.Tables {
		known[table.Name] = table
	}
	var foreign []string
	for name, columns := range f.columns {
		table, found := known[name]
		if !found {
			foreign = append(foreign, name)
			continue
		}
		for _, column := range columns {
			if table != nil && table.Column(column) < 0 {
				foreign = append(foreign, name+"."+column)
			}
		}
	}
	slices.Sort(foreign)
	return foreign
}

// Has says whether the file has a column.
func (f *File) Has(table *canonical.Table, column string) bool {
	return slices.Contains(f.columns[table.Name], column)
}

// selectList returns the columns of a table, qualified. A plus keeps the driver from turning values of columns that are
// declared as times or booleans into something else.
func (f *File) selectList(table *canonical.Table) string {
	list := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		list[i] = "NULL"
		if f.Has(table, column.Name) {
			list[i] = "+t." + quote(column.Name)
		}
	}
	return strings.Join(list, ", ")
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
