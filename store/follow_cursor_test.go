package store

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// snapshots draws what a server could have written: transactions begin in order and end in any.
func snapshots(t *rapid.T) (earlier, later snapshot) {
	var running []uint64
	next := rapid.Uint64Range(3, 1<<40).Draw(t, "first")
	completed := next - 1
	step := func() {
		if len(running) > 0 && rapid.Bool().Draw(t, "end") {
			i := rapid.IntRange(0, len(running)-1).Draw(t, "which")
			completed = max(completed, running[i])
			running = slices.Delete(running, i, i+1)
			return
		}
		running = append(running, next)
		next++
	}
	take := func() snapshot {
		s := snapshot{xmax: completed + 1, xmin: completed + 1}
		for _, transaction := range running {
			if transaction < s.xmax {
				s.running = append(s.running, transaction)
			}
		}
		if len(s.running) > 0 {
			s.xmin = s.running[0]
		}
		return s
	}
	for range rapid.IntRange(0, 30).Draw(t, "before") {
		step()
	}
	earlier = take()
	for range rapid.IntRange(0, 30).Draw(t, "between") {
		step()
	}
	return earlier, take()
}

// What a moment shows, every later one shows; a union shows what either does, and a moment up to a transaction what it showed
// of those. All of them are what a server could have written.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		earlier, later := snapshots(t)
		last := rapid.Uint64Range(earlier.xmin-min(earlier.xmin, 5), later.xmax+5).Draw(t, "last")
		until, union, same := later.until(last), earlier.union(later.until(last)), later.union(earlier)
		for transaction := max(earlier.xmin, 8) - 5; transaction < later.xmax+5; transaction++ {
			if earlier.shows(transaction) && !later.shows(transaction) {
				t.Fatalf("%v shows %d, the later %v does not", earlier, transaction, later)
			}
			if got, want := until.shows(transaction), later.shows(transaction) && transaction <= max(last, 2); got != want {
				t.Fatalf("%v until %d is %v, which shows %d: %v", later, last, until, transaction, got)
			}
			if got, want := union.shows(transaction), earlier.shows(transaction) || until.shows(transaction); got != want {
				t.Fatalf("the union of %v and %v is %v, which shows %d: %v", earlier, until, union, transaction, got)
			}
			if got, want := same.shows(transaction), later.shows(transaction); got != want {
				t.Fatalf("the union of %v and the later %v is %v, which shows %d: %v", earlier, later, same, transaction, got)
			}
		}
		for _, s := range []snapshot{until, union, same} {
			if read, ok := parseSnapshot(s.String()); !ok || fmt.Sprint(read) != fmt.Sprint(s) {
				t.Fatalf("%v is no text of a snapshot, or of another: %v", s, read)
			}
		}
	})
}

func TestFollowCursorText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		behind, until := snapshots(t)
		cursor := FollowCursor{behind: behind}
		if rapid.Bool().Draw(t, "inside") {
			cursor.until, cursor.transaction, cursor.id = until, rapid.Uint64Range(1, 1<<62).Draw(t, "transaction"), rapid.Int64Range(1, 1<<62).Draw(t, "id")
		}
		text, err := cursor.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var read FollowCursor
		if err := read.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(read), fmt.Sprint(cursor); got != want {
			t.Fatalf("%s was read as %s, want %s", text, got, want)
		}
	})
}

func TestFollowCursorOfNothing(t *testing.T) {
	t.Parallel()
	text, err := FollowCursor{}.MarshalText()
	if err != nil || string(text) != "3:3:" {
		t.Fatalf("%q, %v", text, err)
	}
}

// FuzzFollowCursor demands that what is read is what is written, and that nothing else is accepted.
func FuzzFollowCursor(f *testing.F) {
	for _, text := range []string{
		"", "3:3:", "10:20:10,14,15", "10:20:10;20:30:25;21.7", "10:20:9", "20:10:", "10:20:15,12", "10:20:;10:20:;0.1", "a:b:c", "1:2:3:4",
		"10:20:;10:20:;1.-1", "99999999999999999999:1:", "10:20:20",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var cursor FollowCursor
		if err := cursor.UnmarshalText([]byte(text)); err != nil {
			return
		}
		written, err := cursor.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again FollowCursor
		if err := again.UnmarshalText(written); err != nil {
			t.Fatalf("%q was written as %q: %v", text, written, err)
		}
		if fmt.Sprint(again) != fmt.Sprint(cursor) {
			t.Fatalf("%q: %v, then %v", text, cursor, again)
		}
	})
}
