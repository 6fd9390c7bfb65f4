package importer

import (
	"bytes"
	"context"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
)

// verify compares each row that the file should have become with what the database holds, in the order of the file. With
// report it also counts and reports what was repaired, which an import has done already when it comes here.
func (r *run) verify(ctx context.Context, report bool) error {
	begin := time.Now()
	r.result.Verified, r.result.Pass = true, true
	for i, table := range canonical.Tables {
		result := r.result.Tables[i]
		r.options.Progress.Start("verifying "+table.Name, result.Source)
		v := verifier{run: r, table: table, result: result, source: canonical.NewChecksum(), target: canonical.NewChecksum()}
		err := r.batches(ctx, table, func(ctx context.Context, batch []item) error {
			if report {
				for _, it := range batch {
					if err := r.note(result, it); err != nil {
						return err
					}
				}
			}
			return v.compare(ctx, batch)
		})
		r.options.Progress.Stop()
		if err != nil {
			return err
		}
		result.Compared, result.Found = v.source.Rows(), v.target.Rows()
		result.SourceChecksum, result.TargetChecksum = v.source.String(), v.target.String()
		result.Pass = result.SourceChecksum == result.TargetChecksum
		r.result.Pass = r.result.Pass && result.Pass
		if report {
			result.Present = result.Found
		}
	}
	r.result.VerifySeconds = time.Since(begin).Seconds()
	return nil
}

// verifier compares the rows of a table.
type verifier struct {
	*run
	table          *canonical.Table
	result         *TableResult
	source, target *canonical.Checksum
	expected, got  []byte
}

func (v *verifier) compare(ctx context.Context, batch []item) error {
	keys := make([]any, 0, len(batch))
	for _, it := range batch {
		if it.row != nil {
			keys = append(keys, key(v.table, it.row))
		}
	}
	found, err := v.run.target.rows(ctx, v.table, keys)
	if err != nil {
		return err
	}
	for _, it := range batch {
		if it.row == nil {
			continue
		}
		v.expected = v.table.Append(v.expected[:0], it.row)
		v.source.Add(v.expected)
		row, there := found[key(v.table, it.row)]
		if !there {
			v.differs(it, "is missing")
			continue
		}
		v.got = v.table.Append(v.got[:0], row)
		v.target.Add(v.got)
		if !bytes.Equal(v.expected, v.got) {
			v.differs(it, "has another "+difference(v.table, it.row, row))
		}
	}
	v.options.Progress.Add(len(batch))
	return nil
}

// differs notes the first difference.
func (v *verifier) differs(it item, how string) {
	if v.result.Difference == "" {
		v.result.FirstDifferent, v.result.Difference = it.id, how
	}
}
