package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

var _ gen.DBTX = (*store.Conn)(nil)

const insertRecord = "INSERT INTO audit_log (event_type, agent_id) VALUES ($1, 'recorder')"

func TestConn(t *testing.T) {
	t.Parallel()
	needsOwner(t, "copies rows, which row-level security does not let a service do")
	ctx, _ := storetest.New(t)
	err := store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		tag, err := conn.Exec(ctx, insertRecord, "exec")
		if err != nil || tag.RowsAffected() != 1 {
			t.Errorf("Exec: %v, %v", tag, err)
		}
		source := pgx.CopyFromRows([][]any{{"copied", "recorder"}, {"copied too", "recorder"}})
		copied, err := conn.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type", "agent_id"}, source)
		if err != nil || copied != 2 {
			t.Errorf("CopyFrom: %d, %v", copied, err)
		}
		rows, err := conn.Query(ctx, "SELECT event_type, length(event_type) AS size FROM audit_log ORDER BY id")
		if err != nil {
			return err
		}
		type line struct {
			EventType string
			Size      int
		}
		got, err := pgx.CollectRows(rows, pgx.RowToStructByName[line])
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]line{{"exec", 4}, {"copied", 6}, {"copied too", 10}}, got); diff != "" {
			t.Errorf("Query (-want +got):\n%s", diff)
		}
		rows, err = conn.Query(ctx, "SELECT 1::bigint, 'a'")
		if err != nil {
			return err
		}
		values, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
		if diff := cmp.Diff([][]any{{int64(1), "a"}}, values); diff != "" || err != nil {
			t.Errorf("Values: %v (-want +got):\n%s", err, diff)
		}
		var size int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM audit_log WHERE event_type LIKE $1", "copied%").Scan(&size); err != nil || size != 2 {
			t.Errorf("QueryRow: %d, %v", size, err)
		}
		if err := conn.QueryRow(ctx, "SELECT 1 WHERE false").Scan(&size); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("QueryRow of nothing: %v", err)
		}
		// Code that sqlc has generated takes it for a connection, and so does the context.
		version, err := gen.New().SchemaVersion(ctx, conn)
		if err != nil || int(version) != store.SchemaVersion() {
			t.Errorf("generated code: %d, %v", version, err)
		}
		return record(ctx, "by the context")
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "exec", "copied", "copied too", "by the context")
}

func TestConnRollsBack(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.New(t)
	write := func(text string, result error) func(ctx context.Context, conn *store.Conn) error {
		return func(ctx context.Context, conn *store.Conn) error {
			if _, err := conn.Exec(ctx, insertRecord, text); err != nil {
				t.Error(err)
			}
			return result
		}
	}
	wantError(t, store.GetDBConnection(ctx, write("lost", errFailed)), errFailed)
	wantRecords(ctx, t)
	err := m.InTx(ctx, func(ctx context.Context) error {
		wantError(t, store.GetDBConnection(ctx, write("lost", errFailed)), errFailed)
		return store.GetDBConnection(ctx, write("kept", nil))
	})
	if err != nil {
		t.Error(err)
	}
	wantRecords(ctx, t, "kept")
	err = m.InTx(ctx, func(ctx context.Context) error {
		if err := store.GetDBConnection(ctx, write("lost", nil)); err != nil {
			t.Error(err)
		}
		return errFailed
	})
	wantError(t, err, errFailed)
	wantRecords(ctx, t, "kept")
}

func TestConnErrors(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	var n int
	calls := map[string]func(ctx context.Context, conn *store.Conn) error{
		"exec": func(ctx context.Context, conn *store.Conn) error {
			_, err := conn.Exec(ctx, "SELECT * FROM nowhere")
			return err
		},
		"query": func(ctx context.Context, conn *store.Conn) error {
			_, err := conn.Query(ctx, "SELECT * FROM nowhere") //nolint:sqlclosecheck // there are none
			return err
		},
		"copy": func(ctx context.Context, conn *store.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"nowhere"}, []string{"a"}, pgx.CopyFromRows(nil))
			return err
		},
	}
	for operation, call := range calls {
		err := store.GetDBConnection(ctx, call)
		var missing *store.DatabaseSchemaError
		if !errors.As(err, &missing) || missing.Op != operation {
			t.Errorf("%s: got error %v, want a DatabaseSchemaError", operation, err)
		}
	}
	late := map[string]func(ctx context.Context, conn *store.Conn) error{
		"query": func(ctx context.Context, conn *store.Conn) error {
			rows, err := conn.Query(ctx, "SELECT 1 / (3 - n) FROM generate_series(1, 5) AS n")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				if err := rows.Scan(&n); err != nil {
					t.Error(err)
				}
			}
			return rows.Err()
		},
		"scan": func(ctx context.Context, conn *store.Conn) error { return conn.QueryRow(ctx, "SELECT 'word'").Scan(&n) },
	}
	for operation, call := range late {
		err := store.GetDBConnection(ctx, call)
		var database *store.DatabaseError
		if !errors.As(err, &database) || database.Op != operation {
			t.Errorf("%s: got error %v, want a DatabaseError", operation, err)
		}
	}
}

func TestConnRowsLeftOpen(t *testing.T) {
	t.Parallel()
	ctx, m, _ := openPool(t, 1)
	before := backend(ctx, t)
	leaveOpen := func(result error) func(ctx context.Context, conn *store.Conn) error {
		return func(ctx context.Context, conn *store.Conn) error {
			if _, err := conn.Exec(ctx, insertRecord, "lost"); err != nil {
				t.Error(err)
			}
			rows, err := conn.Query(ctx, "SELECT generate_series(1, 100000)")
			if err != nil {
				t.Error(err)
			}
			rows.Next()
			return result
		}
	}
	wantClear := func(err error) {
		t.Helper()
		var database *store.DatabaseError
		if !errors.As(err, &database) || !strings.Contains(err.Error(), "rows of a query are still open") {
			t.Errorf("got error %v, want one that names the open rows", err)
		}
	}

	wantClear(store.GetDBConnection(ctx, leaveOpen(nil)))
	wantRecords(ctx, t)
	if err := store.GetDBConnection(ctx, leaveOpen(errFailed)); err != errFailed {
		t.Errorf("got error %v, want the function's own", err)
	}
	wantRecords(ctx, t)

	err := m.InTx(ctx, func(ctx context.Context) error {
		wantClear(store.GetDBConnection(ctx, leaveOpen(nil)))
		return record(ctx, "the outer one goes on")
	})
	if err != nil {
		t.Errorf("the outer transaction: %v", err)
	}
	wantRecords(ctx, t, "the outer one goes on")

	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		_ = conn.QueryRow(ctx, "SELECT 1") // without Scan
		return nil
	})
	wantClear(err)
	if after := backend(ctx, t); after != before {
		t.Error("the connection was thrown away")
	}
}

// Another statement while rows are open is an error of that statement. The rows can still be read.
func TestConnStatementWhileRowsAreOpen(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	err := store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		rows, err := conn.Query(ctx, "SELECT generate_series(1, 1000)")
		if err != nil {
			return err
		}
		read := 0
		for rows.Next() {
			if read == 0 {
				if _, err := conn.Exec(ctx, "SELECT 1"); err == nil {
					t.Error("a second statement was accepted")
				}
				if err := record(ctx, "refused"); err == nil {
					t.Error("an operation was accepted")
				}
			}
			read++
		}
		if read != 1000 {
			t.Errorf("%d rows, want 1000", read)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		_, err = conn.Exec(ctx, insertRecord, "afterwards")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t, "afterwards")
}

func TestConnKeptBeyondItsEnd(t *testing.T) {
	t.Parallel()
	ctx, _, _ := openPool(t, 1)
	var kept *store.Conn
	var rows pgx.Rows
	var row pgx.Row
	err := store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		kept = conn
		row = conn.QueryRow(ctx, "SELECT 1")
		return errFailed
	})
	wantError(t, err, errFailed)
	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		var err error
		rows, err = conn.Query(ctx, "SELECT generate_series(1, 10)") //nolint:sqlclosecheck // the mistake that is tested
		rows.Next()
		return errors.Join(err, errFailed)
	})
	wantError(t, err, errFailed)

	// Whoever has the connection now is not disturbed.
	err = store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		current, err := conn.Query(ctx, "SELECT generate_series(1, 3)")
		if err != nil {
			return err
		}
		current.Next()
		var n int
		_, err = kept.Exec(ctx, insertRecord, "misused")
		wantError(t, err, store.ErrTxFinished)
		_, err = kept.Query(ctx, "SELECT 1") //nolint:sqlclosecheck // there are none
		wantError(t, err, store.ErrTxFinished)
		wantError(t, kept.QueryRow(ctx, "SELECT 1").Scan(&n), store.ErrTxFinished)
		_, err = kept.CopyFrom(ctx, pgx.Identifier{"audit_log"}, []string{"event_type"}, pgx.CopyFromRows([][]any{{"misused"}}))
		wantError(t, err, store.ErrTxFinished)
		wantError(t, row.Scan(&n), store.ErrTxFinished)
		wantError(t, rows.Scan(&n), store.ErrTxFinished)
		_, err = rows.Values()
		wantError(t, err, store.ErrTxFinished)
		if rows.Next() {
			t.Error("a further row")
		}
		rows.Close()
		wantError(t, rows.Err(), store.ErrTxFinished)

		got, err := pgx.CollectRows(current, pgx.RowTo[int])
		if diff := cmp.Diff([]int{2, 3}, got); diff != "" {
			t.Errorf("the rows of another one (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(ctx, t)
}
