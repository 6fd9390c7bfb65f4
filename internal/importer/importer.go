// Package importer moves a deployment of the first generation, an SQLite file, into PostgreSQL, and compares the two.
//
// An import is one transaction: it is there completely or not at all, whenever it is interrupted, and run again it begins
// anew. Rows travel in batches through COPY, so that memory does not grow with their number. Before it commits, it reads
// everything back and compares it with the file; a difference rolls it back.
package importer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// DefaultBatch is how many rows travel together.
const DefaultBatch = 5000

// Progress is told how the work goes on.
type Progress interface {
	// Start begins a phase of so many rows.
	Start(phase string, rows int64)
	// Add says that more rows are done.
	Add(rows int)
	// Stop ends the last phase.
	Stop()
}

// Silent is a [Progress] that tells nobody.
type Silent struct{}

// Start does nothing.
func (Silent) Start(string, int64) {}

// Add does nothing.
func (Silent) Add(int) {}

// Stop does nothing.
func (Silent) Stop() {}

// Options are what an import is asked for.
type Options struct {
	OnOrphan OnOrphan
	RemapIDs bool
	DryRun   bool
	Batch    int      // rows that travel together, DefaultBatch when 0
	Report   string   // name of the report; none is written when it is empty
	Progress Progress // nil means Silent
	// Planned is called, if it is set, when it is known what the file holds, before anything is written.
	Planned func(*Result)
}

// run is an import or a verification at work.
type run struct {
	options   Options
	file      *legacy.File
	converter *converter
	target    *target
	report    *report
	result    *Result
}

// errRollBack ends the transaction of what only looked.
var errRollBack = errors.New("roll back")

// Import imports a file into the manager's database, whose schema it creates or brings up to date, and verifies it. A file
// that was imported before is only verified.
//
// The result is there, as far as it got, also with an error. Where verification finds a difference, Pass is false, nothing
// was written and the error is nil.
func Import(ctx context.Context, manager *store.Manager, path string, options Options) (result *Result, err error) {
	r, err := open(ctx, path, options)
	if err != nil {
		return r.result, err
	}
	defer r.close(&err)
	if !options.DryRun {
		if err = manager.InitializeDatabase(ctx); err != nil {
			return r.result, err
		}
	}
	if r.report, err = newReport(options.Report); err != nil {
		return r.result, err
	}
	defer r.report.abandon()
	if options.RemapIDs && !options.DryRun {
		if err = r.inTransaction(ctx, manager, r.reserve); err != nil {
			return r.result, err
		}
	}
	err = r.inTransaction(ctx, manager, r.importFile)
	return r.result, err
}

// Verify compares a file with what was imported from it.
func Verify(ctx context.Context, manager *store.Manager, path string, options Options) (result *Result, err error) {
	options.DryRun = true
	r, err := open(ctx, path, options)
	if err != nil {
		return r.result, err
	}
	defer r.close(&err)
	r.report = &report{}
	err = r.inTransaction(ctx, manager, func(ctx context.Context) error {
		if len(r.target.filled) < len(canonical.Tables) {
			return errors.New(`the database has no tables; import the file first with "sharedcontext import"`)
		}
		known, err := r.target.record(ctx, r.result.Fingerprint)
		if err != nil {
			return err
		}
		if known != nil && known.ImportedAt != nil {
			r.adopt(known)
		}
		if err := r.prepare(ctx); err != nil {
			return err
		}
		if err := r.verify(ctx, true); err != nil {
			return err
		}
		return rollBack(r.file.Unchanged())
	})
	return r.result, err
}

func open(ctx context.Context, path string, options Options) (*run, error) {
	if options.Batch == 0 {
		options.Batch = DefaultBatch
	}
	if options.OnOrphan == "" {
		options.OnOrphan = Placeholder
	}
	if options.Progress == nil {
		options.Progress = Silent{}
	}
	r := &run{options: options, result: &Result{
		File: path, DryRun: options.DryRun, Rules: make(map[Rule]int64), Missing: []string{}, NotImported: []string{},
		Settings: Settings{OnOrphan: options.OnOrphan, RemapIDs: options.RemapIDs},
	}}
	file, err := legacy.Open(ctx, path)
	if err != nil {
		return r, err
	}
	r.file = file
	if err := r.look(ctx); err != nil {
		return r, errors.Join(err, file.Close())
	}
	return r, nil
}

// look learns what the file is and what it holds.
func (r *run) look(ctx context.Context) (err error) {
	r.options.Progress.Start("checking "+filepath.Base(r.file.Path), -1)
	defer r.options.Progress.Stop()
	result := r.result
	result.Access, result.SchemaVersion = string(r.file.Access), r.file.Version
	result.Missing = append(result.Missing, r.file.Missing()...)
	result.NotImported = append(result.NotImported, r.file.Foreign()...)
	if err := r.file.Check(ctx); err != nil {
		return err
	}
	if result.Fingerprint, err = r.file.Fingerprint(ctx); err != nil {
		return err
	}
	for _, table := range canonical.Tables {
		rows, err := r.file.Count(ctx, table)
		if err != nil {
			return err
		}
		result.Tables = append(result.Tables, &TableResult{Table: table.Name, Source: rows})
	}
	return nil
}

func (r *run) close(err *error) {
	r.options.Progress.Stop()
	*err = errors.Join(*err, r.file.Close())
}

// inTransaction calls fn in the transaction of the run, which the error errRollBack takes back without being one.
func (r *run) inTransaction(ctx context.Context, manager *store.Manager, fn func(ctx context.Context) error) error {
	err := store.GetDBConnection(store.NewContext(ctx, manager), func(ctx context.Context, conn *store.Conn) (err error) {
		if err := r.lock(ctx, conn); err != nil { // what is there may change while another import is waited for
			return err
		}
		if r.target, err = newTarget(ctx, conn); err != nil {
			return err
		}
		return fn(ctx)
	})
	if errors.Is(err, errRollBack) {
		return nil
	}
	return err
}

// rollBack takes back what an error does not take back anyway.
func rollBack(err error) error {
	if err != nil {
		return err
	}
	return errRollBack
}

// adopt takes over what is known of a file that was imported before.
func (r *run) adopt(known *Record) {
	r.result.AlreadyImported = known.ImportedAt
	r.result.Settings = known.Settings
}

// prepare makes the converter, which needs the settings.
func (r *run) prepare(ctx context.Context) (err error) {
	r.converter, err = newConverter(ctx, r.file, r.result.Settings)
	return err
}

// importFile imports, or, where that was done before, only verifies.
func (r *run) importFile(ctx context.Context) error {
	known, err := r.target.record(ctx, r.result.Fingerprint)
	if err != nil {
		return err
	}
	if r.present(known) {
		return r.importedBefore(ctx, known)
	}
	if err := r.choose(ctx, known); err != nil {
		return err
	}
	if r.options.Planned != nil {
		r.options.Planned(r.result)
	}
	if r.options.DryRun {
		if err := r.pass(ctx, looking); err != nil {
			return err
		}
		r.result.Pass = !r.collides()
		return rollBack(r.finish())
	}
	if !r.target.empty() && !r.options.RemapIDs {
		if err := r.pass(ctx, checking); err != nil {
			return err
		}
	}
	if err := r.advance(ctx); err != nil {
		return err
	}
	begin := time.Now()
	if err := r.pass(ctx, copying); err != nil {
		return err
	}
	r.result.CopySeconds = time.Since(begin).Seconds()
	if err := r.target.makeRecords(ctx); err != nil {
		return err
	}
	if err := r.target.keepRecord(ctx, r, true); err != nil {
		return err
	}
	if err := r.verify(ctx, false); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	if !r.result.Pass {
		return errRollBack
	}
	return nil
}

// present says whether a file was imported before. Into a database that was emptied since, it is imported again.
func (r *run) present(known *Record) bool {
	return known != nil && known.ImportedAt != nil && !r.target.empty()
}

func (r *run) importedBefore(ctx context.Context, known *Record) error {
	if r.options.RemapIDs && !known.Settings.RemapIDs {
		return fmt.Errorf("this file was imported on %s without --remap-ids; its rows are in the database already", known.ImportedAt.UTC().Format(time.DateTime))
	}
	r.adopt(known)
	if r.options.Planned != nil {
		r.options.Planned(r.result)
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.verify(ctx, true); err != nil {
		return err
	}
	return rollBack(r.finish())
}

// finish makes sure that what was read is of one moment, and completes the report.
func (r *run) finish() error {
	if err := r.file.Unchanged(); err != nil {
		return err
	}
	if err := r.report.finish(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	r.result.Report = r.options.Report
	return nil
}

func (r *run) collides() bool {
	for _, table := range r.result.Tables {
		if table.Collisions > 0 {
			return true
		}
	}
	return false
}

const (
	// importLock is the advisory lock that one import holds ("shctximp" in ASCII).
	importLock = 0x73686374_78696d70
	// lockTimeout is how long another import is waited for: the server may take a while to notice that one was killed.
	lockTimeout = time.Minute
)

// lock waits until no other import works on the database.
func (r *run) lock(ctx context.Context, conn *store.Conn) error {
	if r.options.DryRun {
		return nil
	}
	deadline := time.Now().Add(lockTimeout)
	for {
		var locked bool
		err := conn.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(importLock)).Scan(&locked)
		if err != nil || locked {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("another import is running in this database; wait for its end and run again")
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
