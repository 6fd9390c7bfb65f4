package importer

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// CollisionError says that the database has a row of an id, or of another key, that a row of the file has too, with other
// values.
type CollisionError struct {
	Table string
	ID    any
	What  string
}

func (e *CollisionError) Error() string {
	return fmt.Sprintf("%s %v of the file collides: %s. Nothing was imported. --dry-run counts all collisions, "+
		"--remap-ids gives the rows of the file new ids, or import into another database", e.Table, e.ID, e.What)
}

// batches reads a table in one goroutine and hands its batches to fn in this one.
func (r *run) batches(ctx context.Context, table *canonical.Table, fn func(ctx context.Context, batch []item) error) error {
	group, ctx := errgroup.WithContext(ctx)
	channel := make(chan []item, 1)
	group.Go(func() error {
		defer close(channel)
		var batch []item
		send := func() error {
			select {
			case channel <- batch:
				batch = make([]item, 0, r.options.Batch)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := r.converter.each(ctx, table, func(it item) error {
			batch = append(batch, it)
			if len(batch) < r.options.Batch {
				return nil
			}
			return send()
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		return send()
	})
	for batch := range channel {
		if err := fn(ctx, batch); err != nil {
			group.Go(func() error { return err })
			break
		}
	}
	return group.Wait()
}

// pass is a way through all rows.
type pass struct {
	verb  string
	write bool
	count bool // counts and reports what becomes of the rows
	all   bool // a collision is counted; otherwise it is an error
}

var (
	looking  = pass{verb: "looking at", count: true, all: true} // a dry run
	checking = pass{verb: "checking"}                           // before the first row is written
	copying  = pass{verb: "copying", write: true, count: true}
)

// pass goes through the tables.
func (r *run) pass(ctx context.Context, p pass) error {
	for i, table := range canonical.Tables {
		c := &copier{run: r, pass: p, table: table, result: r.result.Tables[i]}
		if !p.count {
			c.result = &TableResult{}
		}
		r.options.Progress.Start(p.verb+" "+table.Name, r.result.Tables[i].Source)
		err := r.batches(ctx, table, c.copy)
		r.options.Progress.Stop()
		if err == nil && p.write {
			err = c.complete(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copier takes the rows of a table through a pass, batch by batch.
type copier struct {
	*run
	pass   pass
	table  *canonical.Table
	result *TableResult
	// children and parents are messages whose parent comes in a later batch.
	children, parents []int64
	analyzed          bool
}

func (c *copier) copy(ctx context.Context, batch []item) error {
	kept := make([]item, 0, len(batch))
	for _, it := range batch {
		if c.pass.count {
			if err := c.note(c.result, it); err != nil {
				return err
			}
		}
		if it.row != nil {
			kept = append(kept, it)
		}
	}
	if c.target.filled[c.table] || c.table == &canonical.AuditLog && c.target.sealed > noSeal {
		var err error
		if kept, err = c.missing(ctx, kept); err != nil {
			return err
		}
	}
	c.result.Inserted += int64(len(kept))
	if c.pass.write {
		if err := c.insert(ctx, kept); err != nil {
			return err
		}
	}
	c.options.Progress.Add(len(batch))
	return nil
}

// note counts and reports what became of a row.
func (r *run) note(result *TableResult, it item) error {
	if len(it.changes) == 0 {
		return nil
	}
	switch it.changes[0].Action {
	case Dropped:
		result.Dropped++
	case Created:
		result.Placeholders++
	default:
		result.Repaired++
	}
	for _, change := range it.changes {
		r.result.Rules[change.Rule]++
	}
	if err := r.report.add(it.changes); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// missing returns the rows that the database does not have yet. One that it has with other values is a collision.
func (c *copier) missing(ctx context.Context, items []item) ([]item, error) {
	keys := make([]any, len(items))
	for i := range items {
		keys[i] = key(c.table, items[i].row)
	}
	found, err := c.target.rows(ctx, c.table, keys)
	if err != nil {
		return nil, err
	}
	var owners map[unique]int64
	if c.table == &canonical.AgentMemory || c.table == &canonical.SecureTokens {
		if owners, err = c.target.owners(ctx, c.table, items); err != nil {
			return nil, err
		}
	}
	missing := items[:0]
	for i, it := range items {
		row, there := found[keys[i]]
		var what string
		switch {
		case there && bytes.Equal(c.table.Append(nil, row), c.table.Append(nil, it.row)):
			c.result.Present++
			continue
		case there:
			what = "the database has a row of this id with another " + difference(c.table, it.row, row)
		case owners != nil && owns(owners, uniqueKey(c.table, it.row)):
			what = fmt.Sprintf("row %d of the database has the same key", owners[uniqueKey(c.table, it.row)])
		case c.table == &canonical.AuditLog && it.row[0].Int <= c.target.sealed:
			what = fmt.Sprintf("the audit log is sealed up to row %d, and a row among those would count as inserted later", c.target.sealed)
		default:
			missing = append(missing, it)
			continue
		}
		c.result.Collisions++
		if c.result.FirstCollision == nil {
			c.result.FirstCollision = it.id
		}
		if !c.pass.all {
			return nil, &CollisionError{Table: c.table.Name, ID: it.id, What: what}
		}
	}
	return missing, nil
}

func owns(owners map[unique]int64, key unique) bool {
	_, found := owners[key]
	return found
}

// difference names the first column in which two rows differ.
func difference(table *canonical.Table, a, b canonical.Row) string {
	for i, column := range table.Columns {
		if !bytes.Equal(canonical.AppendValue(nil, column.Kind, a[i]), canonical.AppendValue(nil, column.Kind, b[i])) {
			return column.Name
		}
	}
	return ""
}

// insert writes rows. A message is written without its parent where that is not there yet.
func (c *copier) insert(ctx context.Context, items []item) error {
	rows := make([]canonical.Row, len(items))
	for i := range items {
		rows[i] = items[i].row
	}
	if c.table == &canonical.Messages && len(rows) > 0 {
		last := rows[len(rows)-1][0].Int
		column := c.table.Column("parent_message_id")
		for _, row := range rows {
			if parent := &row[column]; !parent.Null && parent.Int > last {
				c.children, c.parents = append(c.children, row[0].Int), append(c.parents, parent.Int)
				*parent = canonical.Value{Null: true}
			}
		}
	}
	if err := c.target.insert(ctx, c.table, rows); err != nil || c.analyzed {
		return err
	}
	c.analyzed = true
	return c.target.analyze(ctx, c.table)
}

// complete sets the parents that came after their messages, and brings the statistics up to date for the services that come.
func (c *copier) complete(ctx context.Context) error {
	if len(c.children) > 0 {
		_, err := c.target.conn.Exec(ctx, `UPDATE messages m SET parent_message_id = p.parent
			FROM (SELECT unnest($1::bigint[]) AS child, unnest($2::bigint[]) AS parent) p WHERE m.id = p.child`, c.children, c.parents)
		if err != nil {
			return err
		}
	}
	return c.target.analyze(ctx, c.table)
}
