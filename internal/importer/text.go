package importer

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WritePlan writes what is about to be done.
func (r *Result) WritePlan(w io.Writer) {
	fmt.Fprintf(w, "file        %s (schema version %s, opened %s)\n", r.File, version(r.SchemaVersion), r.Access)
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "missing     %s: defaults are used\n", strings.Join(r.Missing, ", "))
	}
	if len(r.NotImported) > 0 {
		fmt.Fprintf(w, "left alone  %s: not of the first generation\n", strings.Join(r.NotImported, ", "))
	}
	rows := make([]string, len(r.Tables))
	for i, table := range r.Tables {
		rows[i] = fmt.Sprintf("%d %s", table.Source, table.Table)
	}
	fmt.Fprintf(w, "rows        %s\n", strings.Join(rows, ", "))
	switch {
	case r.AlreadyImported != nil:
		fmt.Fprintf(w, "ids         as imported on %s\n", r.AlreadyImported.UTC().Format(time.DateTime+" UTC"))
	case len(r.Settings.Offsets) > 0:
		fmt.Fprintf(w, "ids         new ones, behind those of the database\n")
	default:
		fmt.Fprintf(w, "ids         kept\n")
	}
	fmt.Fprintf(w, "orphans     %s\n", r.Settings.OnOrphan)
}

func version(number int64) string {
	if number == 0 {
		return "unknown"
	}
	return fmt.Sprint(number)
}

// WriteText writes what was done, in words.
func (r *Result) WriteText(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := []string{"table", "rows", "new", "there", "dropped", "repaired", "placeholders"}
	last := "collisions"
	if r.Verified {
		last = "verification"
	}
	fmt.Fprintf(table, "\n%s\t%s\n", strings.Join(columns, "\t"), last)
	for _, t := range r.Tables {
		end := fmt.Sprint(t.Collisions)
		if r.Verified {
			end = t.verdict()
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", t.Table, t.Source, t.Inserted, t.Present, t.Dropped, t.Repaired, t.Placeholders, end)
	}
	_ = table.Flush() // as of w
	if len(r.Rules) > 0 {
		fmt.Fprintln(w)
		for _, rule := range slices.Sorted(maps.Keys(r.Rules)) {
			fmt.Fprintf(w, "%-24s %d\n", rule, r.Rules[rule])
		}
	}
	fmt.Fprintln(w)
	if r.Report != "" {
		fmt.Fprintf(w, "report      %s\n", r.Report)
	}
	if r.CopySeconds > 0 && !r.DryRun {
		var inserted int64
		for _, t := range r.Tables {
			inserted += t.Inserted
		}
		fmt.Fprintf(w, "copied      %d rows in %.1f s (%.0f rows/s), verified in %.1f s\n", inserted, r.CopySeconds, float64(inserted)/r.CopySeconds, r.VerifySeconds)
	}
	if r.Pass {
		fmt.Fprintln(w, r.Verdict())
	}
}

func (t *TableResult) verdict() string {
	if t.Pass {
		return fmt.Sprintf("PASS %d of %d, sha256 %.16s", t.Found, t.Compared, t.SourceChecksum)
	}
	return fmt.Sprintf("FAIL %d of %d found, row %v %s, sha256 %.16s in the file, %.16s in the database", t.Found, t.Compared,
		t.FirstDifferent, t.Difference, t.SourceChecksum, t.TargetChecksum)
}

// Verdict is one line that says how it ended.
func (r *Result) Verdict() string {
	switch {
	case r.DryRun && !r.Verified && r.Pass:
		return "dry run: nothing was written"
	case r.DryRun && !r.Verified:
		return "dry run: rows of the file collide with those of the database; --remap-ids gives them new ids, or import into another database"
	case r.Pass && r.DryRun:
		return "PASS: the database holds what the file holds"
	case r.Pass && r.AlreadyImported != nil:
		return "PASS: imported before, nothing was written"
	case r.Pass:
		return "PASS: the database holds what the file holds, but for what the report says"
	case r.AlreadyImported != nil:
		return "FAIL: the database has changed since the file was imported, or lacks rows of it; nothing was written"
	case r.DryRun:
		return "FAIL: the database does not hold what the file holds"
	}
	return "FAIL: what was read back differs from the file; nothing was imported"
}
