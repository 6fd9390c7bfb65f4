package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// reserve gives a file new ids, in a transaction of its own before that of the import: after an interruption the next run
// uses the same.
func (r *run) reserve(ctx context.Context) error {
	known, err := r.target.record(ctx, r.result.Fingerprint)
	if err != nil || known != nil && (known.ImportedAt == nil || r.present(known)) {
		return err
	}
	if err := r.setOffsets(ctx, canonical.Tables[1:]); err != nil {
		return err
	}
	if err := r.target.makeRecords(ctx); err != nil {
		return err
	}
	if err := r.target.keepRecord(ctx, r, false); err != nil {
		return err
	}
	return r.advance(ctx)
}

// setOffsets chooses ids behind those that the tables have given out.
func (r *run) setOffsets(ctx context.Context, tables []*canonical.Table) error {
	offsets := make(map[string]int64)
	maps.Copy(offsets, r.result.Settings.Offsets)
	for _, table := range tables {
		lowest, _, err := r.file.IDs(ctx, table)
		if err != nil {
			return err
		}
		if !r.target.filled[table] && table != &canonical.AuditLog {
			continue
		}
		last, err := r.target.last(ctx, table)
		if err != nil {
			return err
		}
		if table == &canonical.AuditLog && r.target.sealed > noSeal {
			last = max(last, r.target.sealed)
		}
		if last > 0 {
			offsets[table.Name] = last + 1 - min(lowest, 1)
		}
	}
	r.result.Settings.Offsets = offsets
	return nil
}

// choose settles the ids and makes the converter.
func (r *run) choose(ctx context.Context, known *Record) error {
	settings := &r.result.Settings
	if !r.options.DryRun {
		// A row of the audit log whose id is given out and that is not there yet would later seem inserted if it were sealed
		// around meanwhile. Who seals waits for those that hold this lock, which therefore comes before the id.
		if _, err := r.target.conn.Exec(ctx, "LOCK TABLE audit_log IN ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		if err := r.target.readSeals(ctx); err != nil {
			return err
		}
	}
	switch {
	case settings.RemapIDs && known != nil && known.ImportedAt == nil:
		settings.Offsets = known.Settings.Offsets
		lowest, _, err := r.file.IDs(ctx, &canonical.AuditLog)
		if err != nil {
			return err
		}
		if lowest+settings.Offsets[canonical.AuditLog.Name] <= r.target.sealed { // since the ids were reserved
			if err := r.setOffsets(ctx, []*canonical.Table{&canonical.AuditLog}); err != nil {
				return err
			}
		}
	case settings.RemapIDs:
		if err := r.setOffsets(ctx, canonical.Tables[1:]); err != nil {
			return err
		}
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if settings.RemapIDs {
		return r.findTaken(ctx)
	}
	return nil
}

// advance lets the sequences continue behind what is about to come: services that write meanwhile get other ids.
func (r *run) advance(ctx context.Context) error {
	for _, table := range canonical.Tables[1:] {
		_, given, err := r.file.IDs(ctx, table)
		if err != nil {
			return err
		}
		offset := r.result.Settings.Offsets[table.Name]
		if given == math.MaxInt64 || given > 0 && offset > math.MaxInt64-1-given {
			return fmt.Errorf("%s has given out the id %d, behind which none is left for new rows", table.Name, given)
		}
		if offset+given > 0 {
			if err := r.target.advance(ctx, table, offset+given); err != nil {
				return err
			}
		}
	}
	return nil
}

// findTaken finds the sessions, memory keys and tokens of the file that the database has already, when ids are given anew:
// the sessions get a new id, memory and tokens of the database stay as they are.
func (r *run) findTaken(ctx context.Context) error {
	settings := &r.converter.settings
	settings.SessionIDs, settings.Taken = make(map[string]string), make(map[string][]int64)
	for _, table := range []*canonical.Table{&canonical.Sessions, &canonical.AgentMemory, &canonical.SecureTokens} {
		if !r.target.filled[table] {
			continue
		}
		var batch []item
		flush := func() error {
			defer func() { batch = batch[:0] }()
			return r.addTaken(ctx, table, batch)
		}
		err := r.converter.each(ctx, table, func(it item) error {
			if it.row != nil {
				batch = append(batch, it)
			}
			if len(batch) < r.options.Batch {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	r.converter.takenRows()
	r.result.Settings = *settings
	return nil
}

func (r *run) addTaken(ctx context.Context, table *canonical.Table, batch []item) error {
	settings := &r.converter.settings
	if table != &canonical.Sessions {
		owners, err := r.target.owners(ctx, table, batch)
		for _, it := range batch {
			if _, found := owners[uniqueKey(table, it.row)]; found {
				settings.Taken[table.Name] = append(settings.Taken[table.Name], it.id.(int64))
			}
		}
		return err
	}
	keys := make([]any, len(batch))
	for i := range batch {
		keys[i] = batch[i].row[0].Text
	}
	found, err := r.target.rows(ctx, table, keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, taken := found[key]; taken {
			digest := sha256.Sum256([]byte(r.result.Fingerprint + " " + key.(string)))
			settings.SessionIDs[key.(string)] = "session_" + hex.EncodeToString(digest[:])[:16]
		}
	}
	return nil
}
