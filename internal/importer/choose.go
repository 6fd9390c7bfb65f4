package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// choose settles the ids, makes the converter, and, unless nothing is to be written, lets the sequences continue behind
// what is about to come: services that write meanwhile get other ids.
func (r *run) choose(ctx context.Context) error {
	settings := &r.result.Settings
	highest := make(map[*canonical.Table]int64)
	for _, table := range canonical.Tables[1:] {
		lowest, _, given, err := r.file.IDs(ctx, table)
		if err != nil {
			return err
		}
		offset := int64(0)
		if settings.RemapIDs && r.target.filled[table] {
			last, err := r.target.last(ctx, table)
			if err != nil {
				return err
			}
			offset = last + 1 - min(lowest, 1)
			if settings.Offsets == nil {
				settings.Offsets = make(map[string]int64)
			}
			settings.Offsets[table.Name] = offset
		}
		if given == math.MaxInt64 || given > 0 && offset > math.MaxInt64-1-given {
			return fmt.Errorf("%s has given out the id %d, behind which none is left for new rows", table.Name, given)
		}
		highest[table] = offset + given
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if settings.RemapIDs {
		if err := r.findTaken(ctx); err != nil {
			return err
		}
	}
	if r.options.DryRun {
		return nil
	}
	// A row of the audit log whose id is given out and that is not there yet would later seem inserted if it were sealed around
	// meanwhile. Who seals waits for those that hold this lock, which therefore comes before the id.
	if _, err := r.target.conn.Exec(ctx, "LOCK TABLE audit_log IN ROW EXCLUSIVE MODE"); err != nil {
		return err
	}
	if err := r.target.conn.QueryRow(ctx, "SELECT coalesce(max(last_id), $1) FROM audit_seal", int64(noSeal)).Scan(&r.target.sealed); err != nil {
		return err
	}
	for _, table := range canonical.Tables[1:] {
		if highest[table] > 0 {
			if err := r.target.advance(ctx, table, highest[table]); err != nil {
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
