// Package sqliteexport writes what a database holds into an SQLite file that servers of the first generation open: the way
// back.
//
//	result, err := sqliteexport.Export(ctx, manager, "chat_history.db", sqliteexport.Options{})
//	if err != nil {
//		return err // no file was written
//	}
//	fmt.Println(result.Tables[1].Rows, "messages")
package sqliteexport

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

//go:embed schema.sql
var tables string

//go:embed indexes.sql
var indexes string

// keptRefusals bounds how many rows an error names.
const keptRefusals = 20

// Options are the arguments of [Export].
type Options struct {
	// Force replaces a file that is there.
	Force bool
	// Progress is told how far it is; nil means nobody.
	Progress importer.Progress
}

// Result says what was written.
type Result struct {
	File   string        `json:"file"`
	Tables []TableResult `json:"tables"`
	// LeftOut are the tables of the database that the first generation does not know.
	LeftOut []string `json:"left_out"`
	Pass    bool     `json:"pass"`
}

// TableResult says what was written of a table, and whether the file read back holds just that.
type TableResult struct {
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"`
	Pass     bool   `json:"pass"`
}

// RefusedError names rows that break a rule of the first generation.
type RefusedError struct {
	Rows  []string // the first of them, with the rule
	Total int
}

// Error says which rows and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%d rows break a rule of the first generation, so that no file was written; mend or delete them first: %s",
		e.Total, strings.Join(e.Rows, "; "))
}

// Export writes the state of one moment into a new file. The file is compared with the database before it gets its name,
// so that a failure leaves none. Ids are kept, and the file goes on with them behind the highest that the database has given
// out.
func Export(ctx context.Context, manager *store.Manager, path string, options Options) (result *Result, err error) {
	if options.Progress == nil {
		options.Progress = importer.Silent{}
	}
	if err := free(path, options.Force); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	partial := path + ".partial"
	if err := remove(partial); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("export: %w", err), remove(partial))
		}
	}()
	x := &export{options: options, result: &Result{File: path}}
	// Read only and repeatable read: everything is of one moment, also what the file is compared with.
	err = manager.InTxOptions(store.NewContext(ctx, manager), store.TxOptions{Isolation: pgx.RepeatableRead, ReadOnly: true}, func(ctx context.Context) error {
		if err := x.write(ctx, partial); err != nil {
			return err
		}
		return x.verify(ctx, manager, partial)
	})
	if err != nil {
		return x.result, err
	}
	return x.result, os.Rename(partial, path)
}

// free says whether a file may be written. What SQLite keeps beside a file would be taken for a part of the new one.
func free(path string, force bool) error {
	for _, name := range []string{path, path + "-wal", path + "-shm", path + "-journal"} {
		if _, err := os.Lstat(name); err == nil {
			if name == path && force {
				continue
			}
			return fmt.Errorf("%s exists already: choose another name, or remove it", name)
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func remove(partial string) error {
	var errs []error
	for _, name := range []string{partial, partial + "-wal", partial + "-shm", partial + "-journal"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

type export struct {
	options Options
	result  *Result
	refused RefusedError
}

// write fills the partial file from the transaction of ctx.
func (x *export) write(ctx context.Context, partial string) (err error) {
	absolute, err := filepath.Abs(partial)
	if err != nil {
		return err
	}
	// For its owner alone: it holds private messages and tokens.
	file, err := os.OpenFile(absolute, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // where the caller wants it
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	name := url.URL{Scheme: "file", Path: absolute}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{"PRAGMA synchronous = OFF", tables} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		// A long table takes its time, and while SQLite builds indexes the transaction is idle.
		for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
			if _, err := conn.Exec(ctx, "SET LOCAL "+setting+" = 0"); err != nil {
				return err
			}
		}
		for _, table := range canonical.Tables {
			if err := x.copy(ctx, conn, db, table); err != nil {
				return fmt.Errorf("%s: %w", table.Name, err)
			}
		}
		if err := versions(ctx, conn, db); err != nil {
			return err
		}
		return x.leaveOut(ctx, conn)
	})
	if err != nil {
		return err
	}
	if x.refused.Total > 0 {
		return &x.refused
	}
	x.options.Progress.Start("indexing", -1)
	defer x.options.Progress.Stop()
	for _, statement := range []string{indexes, "PRAGMA synchronous = FULL", "PRAGMA journal_mode = WAL"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	var problem string
	err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'),
		(SELECT 'rows of ' || "table" || ' refer to rows that are not there' FROM pragma_foreign_key_check), '')`).Scan(&problem)
	if err == nil && problem != "" {
		err = fmt.Errorf("SQLite finds in the new file: %s", problem)
	}
	return err
}

// copy writes the rows of a table in the order of their ids.
func (x *export) copy(ctx context.Context, conn *store.Conn, db *sql.DB, table *canonical.Table) (err error) {
	columns, marks := make([]string, len(table.Columns)), make([]string, len(table.Columns))
	selected := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		columns[i], marks[i], selected[i] = column.Name, "?", column.Name
		if column.Kind == canonical.JSON {
			selected[i] += "::text"
		}
	}
	order := "id"
	if table.Columns[0].Kind == canonical.Text {
		order = `id COLLATE "C"`
	}
	x.options.Progress.Start("writing "+table.Name, -1)
	defer x.options.Progress.Stop()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()                                                                                                            //nolint:errcheck // after a commit there is nothing to roll back
	statement := "INSERT INTO " + table.Name + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")" //nolint:gosec // names of package canonical
	insert, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer insert.Close() //nolint:errcheck // ends with the transaction
	rows, err := conn.Query(ctx, "SELECT "+strings.Join(selected, ", ")+" FROM "+table.Name+" ORDER BY "+order)
	if err != nil {
		return err
	}
	defer rows.Close()
	result := TableResult{Table: table.Name}
	encode := newEncoder(table)
	for rows.Next() {
		values, err := encode.row(rows)
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			if ctx.Err() != nil {
				return err
			}
			x.refuse(table, values[0], err)
			continue
		}
		result.Rows++
		x.options.Progress.Add(1)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	if table.Columns[0].Kind == canonical.Int {
		if err := continueIDs(ctx, conn, tx, table.Name); err != nil {
			return err
		}
	}
	x.result.Tables = append(x.result.Tables, result)
	return tx.Commit()
}

func (x *export) refuse(table *canonical.Table, id any, err error) {
	x.refused.Total++
	if len(x.refused.Rows) < keptRefusals {
		x.refused.Rows = append(x.refused.Rows, fmt.Sprintf("%s %v: %v", table.Name, id, err))
	}
}

// continueIDs makes the file give ids behind those that the database has given, also to rows that are gone.
func continueIDs(ctx context.Context, conn *store.Conn, tx *sql.Tx, table string) error {
	var last int64
	err := conn.QueryRow(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "+table+"_id_seq").Scan(&last)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = ?2",
		"INSERT INTO sqlite_sequence (name, seq) SELECT ?2, ?1 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?2)",
	} {
		if _, err := tx.ExecContext(ctx, statement, last, table); err != nil {
			return err
		}
	}
	return nil
}

// firstGeneration is the last schema version that the first generation knows.
const firstGeneration = 3

// versions writes the schema versions that the first generation knows, the last of them at least.
func versions(ctx context.Context, conn *store.Conn, db *sql.DB) error {
	rows, err := conn.Query(ctx, `SELECT version, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), description
		FROM schema_version WHERE version <= $1 ORDER BY version`, firstGeneration)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			version     int
			applied     string
			description *string
		)
		if err := rows.Scan(&version, &applied, &description); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO schema_version VALUES (?, ?, ?)", version, applied, description); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT OR IGNORE INTO schema_version (version, description) VALUES (?, 'exported')", firstGeneration)
	return err
}

// leaveOut notes the tables that the first generation does not know.
func (x *export) leaveOut(ctx context.Context, conn *store.Conn) error {
	known := []string{"schema_version"}
	for _, table := range canonical.Tables {
		known = append(known, table.Name)
	}
	rows, err := conn.Query(ctx, `SELECT tablename::text FROM pg_catalog.pg_tables
		WHERE schemaname = current_schema() AND tablename <> ALL ($1::text[]) ORDER BY tablename`, known)
	if err != nil {
		return err
	}
	x.result.LeftOut, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// verify compares the partial file with the transaction of ctx, as an import compares a file: nothing may have to be
// repaired.
func (x *export) verify(ctx context.Context, manager *store.Manager, partial string) error {
	read, err := importer.Verify(ctx, manager, partial, importer.Options{Progress: x.options.Progress})
	if err != nil {
		return fmt.Errorf("read the new file back: %w", err)
	}
	x.result.Pass = read.Pass
	for i := range x.result.Tables {
		table, got := &x.result.Tables[i], read.Tables[i]
		table.Checksum = got.SourceChecksum
		table.Pass = got.Pass && got.Compared == table.Rows && got.Repaired == 0 && got.Dropped == 0
		x.result.Pass = x.result.Pass && table.Pass
		if !table.Pass {
			return fmt.Errorf("the new file differs from the database in %s: %d of %d rows, %v %s", table.Table, got.Compared, table.Rows, got.FirstDifferent, got.Difference)
		}
	}
	return nil
}
