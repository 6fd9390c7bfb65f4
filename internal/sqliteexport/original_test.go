package sqliteexport_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
	"github.com/sharedcontext/sharedcontext/v2/internal/sqliteexport"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// realFile returns a copy of the real file of the first generation.
func realFile(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "chat_history.db"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the real file is not there: ../shared/data/chat_history.db beside the checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "chat_history.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fileRows returns the canonical bytes of each row of a file, by table and key.
func fileRows(ctx context.Context, t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := legacy.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows := make(map[string]string)
	for _, table := range canonical.Tables {
		err := file.Rows(ctx, table, func(row *legacy.Row) error {
			values := make(canonical.Row, len(table.Columns))
			for i, column := range table.Columns {
				values[i] = canonicalValue(t, column.Kind, row.Values[i])
			}
			id := any(row.Values[0].Bytes)
			if row.Values[0].Kind == legacy.Integer {
				id = row.Values[0].Int
			}
			rows[key(t, table.Name, id)] = string(table.Append(nil, values))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

func canonicalValue(t *testing.T, kind canonical.Kind, value legacy.Value) canonical.Value {
	t.Helper()
	result := canonical.Value{Null: value.Kind == legacy.Null, Int: value.Int, Text: value.Bytes}
	if kind == canonical.JSON {
		// Canonical JSON is mended; here what had to be mended is another value than what became of it.
		if _, mended, err := canonical.MendJSON(value.Bytes); err != nil || mended != 0 {
			result.Text = "mended " + value.Bytes
		}
	}
	if kind != canonical.Time || result.Null {
		return result
	}
	switch value.Kind {
	case legacy.Integer:
		result.Int *= 1e6
	case legacy.Real:
		result.Int = int64(math.RoundToEven(value.Real * 1e6))
	default:
		at, err := store.ConvertDatetime([]byte(value.Bytes))
		if err != nil {
			t.Fatal(err)
		}
		result.Int = at.UnixMicro()
	}
	return result
}

// key names a row as the report of an import does.
func key(t *testing.T, table string, id any) string {
	t.Helper()
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return table + " " + string(text)
}

// reported returns the rows that the report of an import names.
func reported(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows := make(map[string]bool)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var change importer.Change
		if err := json.Unmarshal(lines.Bytes(), &change); err != nil {
			t.Fatal(err)
		}
		rows[key(t, change.Table, change.ID)] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// The real file comes out as it went in, row by row, but for exactly the rows that the report of the import names.
func TestExportOfTheRealFile(t *testing.T) {
	t.Parallel()
	original := realFile(t)
	ctx, manager := storetest.New(t)
	report := filepath.Join(t.TempDir(), "report.jsonl")
	if result, err := importer.Import(ctx, manager, original, importer.Options{Report: report}); err != nil || !result.Pass {
		t.Fatalf("%+v, %v", result, err)
	}
	path := filepath.Join(t.TempDir(), "out.db")
	if _, err := sqliteexport.Export(ctx, manager, path, sqliteexport.Options{}); err != nil {
		t.Fatal(err)
	}
	before, after := fileRows(ctx, t, original), fileRows(ctx, t, path)
	if len(before) < 12_000 {
		t.Fatalf("%d rows were compared", len(before))
	}
	differ := make(map[string]bool)
	for row, content := range before {
		if after[row] != content {
			differ[row] = true
		}
	}
	for row := range after {
		if _, there := before[row]; !there {
			differ[row] = true
		}
	}
	if diff := cmp.Diff(reported(t, report), differ); diff != "" {
		t.Errorf("rows that differ (-reported +found):\n%s", diff)
	}
}
