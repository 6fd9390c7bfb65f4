package importer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a file and a database.
type bundle struct {
	tb      testing.TB
	ctx     context.Context
	manager *store.Manager
	file    *legacytest.File
	changes []importer.Change // of the latest import
}

// setup returns a file of schema version 3 and a migrated database.
func setup(tb testing.TB) *bundle {
	tb.Helper()
	ctx, manager := storetest.New(tb)
	return &bundle{tb: tb, ctx: ctx, manager: manager, file: legacytest.New(tb, 3)}
}

// try imports the file.
func (b *bundle) try(options importer.Options) (*importer.Result, error) {
	b.tb.Helper()
	options.Progress = importer.Silent{}
	options.Report = filepath.Join(b.tb.TempDir(), "report.jsonl")
	if options.Batch == 0 {
		options.Batch = 7
	}
	result, err := importer.Import(b.ctx, b.manager, b.file.Path, options)
	b.changes = nil
	if _, missing := os.Stat(options.Report); missing != nil {
		return result, err
	}
	file, openErr := os.Open(options.Report)
	if openErr != nil {
		b.tb.Fatal(openErr)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var change importer.Change
		if err := json.Unmarshal(lines.Bytes(), &change); err != nil {
			b.tb.Fatal(err)
		}
		b.changes = append(b.changes, change)
	}
	return result, err
}

// imports imports the file, which must pass, and verifies it once more.
func (b *bundle) imports(options importer.Options) *importer.Result {
	b.tb.Helper()
	result, err := b.try(options)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.passes(result)
	if !options.DryRun {
		verified, err := importer.Verify(b.ctx, b.manager, b.file.Path, importer.Options{OnOrphan: options.OnOrphan, Progress: importer.Silent{}})
		if err != nil {
			b.tb.Fatal(err)
		}
		b.passes(verified)
		if diff := cmp.Diff(result.Rules, verified.Rules, cmpopts.EquateEmpty()); diff != "" {
			b.tb.Errorf("rules of import and verification (-import +verification):\n%s", diff)
		}
	}
	return result
}

func (b *bundle) passes(result *importer.Result) {
	b.tb.Helper()
	if !result.Pass {
		for _, table := range result.Tables {
			b.tb.Errorf("%+v", *table)
		}
		b.tb.FailNow()
	}
}

// query returns the first column of what a statement finds.
func (b *bundle) query(sql string, arguments ...any) []any {
	b.tb.Helper()
	rows, err := store.ExecuteQuery(b.ctx, sql, arguments...)
	if err != nil {
		b.tb.Fatal(err)
	}
	values := make([]any, 0, len(rows))
	for _, row := range rows {
		values = append(values, row["v"])
	}
	return values
}

func (b *bundle) exec(sql string, arguments ...any) {
	b.tb.Helper()
	if _, err := store.ExecuteUpdate(b.ctx, sql, arguments...); err != nil {
		b.tb.Fatal(err)
	}
}

// holds compares what a statement finds with what is wanted.
func (b *bundle) holds(sql string, want ...any) {
	b.tb.Helper()
	if diff := cmp.Diff(want, b.query(sql), cmpopts.EquateEmpty()); diff != "" {
		b.tb.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

// dump returns all rows of the database as text, but for when a file was imported.
func (b *bundle) dump() []any {
	b.tb.Helper()
	return b.query(`SELECT 'sessions ' || to_jsonb(t)::text AS v FROM sessions t UNION ALL SELECT 'messages ' || to_jsonb(t)::text FROM messages t
		UNION ALL SELECT 'memory ' || to_jsonb(t)::text FROM agent_memory t UNION ALL SELECT 'audit ' || to_jsonb(t)::text FROM audit_log t
		UNION ALL SELECT 'tokens ' || to_jsonb(t)::text FROM secure_tokens t
		UNION ALL SELECT 'sequence ' || to_jsonb(s)::text FROM (SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()) s
		ORDER BY 1`)
}

// reported returns rule and column of each line of the report for a row.
func (b *bundle) reported(table string, id any) []string {
	b.tb.Helper()
	var rules []string
	for _, change := range b.changes {
		if change.Table == table && change.ID == id {
			rule := string(change.Action) + " " + string(change.Rule)
			if change.Column != "" {
				rule += " " + change.Column
			}
			rules = append(rules, rule)
		}
	}
	return rules
}
