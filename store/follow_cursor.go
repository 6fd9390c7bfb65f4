package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// FollowCursor is a place in what a follower receives: behind one message, or one entry of memory. The zero cursor is
// before everything. As text it survives a restart of the follower; it belongs to one database and to what was followed.
type FollowCursor struct {
	// behind is what was received, as a moment of which everything was. While the rows of a later moment are being received, in
	// the order of transactions and ids, until is that moment, of which everything up to the row was received as well.
	behind, until snapshot
	// transaction and id are of the latest row that was received, 0 where nothing but behind counts.
	transaction uint64
	id          int64
}

// MarshalText returns the cursor as text: one or two of PostgreSQL's pg_snapshot, and a transaction and an id.
func (c FollowCursor) MarshalText() ([]byte, error) {
	text := c.behind.String()
	if c.transaction > 0 {
		text += fmt.Sprintf(";%s;%d.%d", c.until, c.transaction, c.id)
	}
	return []byte(text), nil
}

// UnmarshalText reads what MarshalText wrote; anything else is a [*ValidationError].
func (c *FollowCursor) UnmarshalText(text []byte) error {
	refused := &ValidationError{
		Field: "cursor", Rule: "pattern", Limit: "the text of a cursor that a follower has received", Got: fmt.Sprintf("%.40q", text),
	}
	var (
		cursor FollowCursor
		ok     bool
	)
	parts := strings.Split(string(text), ";")
	if cursor.behind, ok = parseSnapshot(parts[0]); !ok {
		return refused
	}
	switch len(parts) {
	case 1:
	case 3:
		transaction, id, found := strings.Cut(parts[2], ".")
		var errTransaction, errID error
		cursor.transaction, errTransaction = strconv.ParseUint(transaction, 10, 63)
		cursor.id, errID = strconv.ParseInt(id, 10, 64)
		cursor.until, ok = parseSnapshot(parts[1])
		if !ok || !found || errTransaction != nil || errID != nil || cursor.transaction == 0 || cursor.id < 1 {
			return refused
		}
	default:
		return refused
	}
	*c = cursor
	return nil
}

// known is the number behind the highest transaction of which a row was received.
func (c FollowCursor) known() uint64 { return max(c.behind.xmax, c.transaction+1) }

// cursorColumns are the places from which a statement goes on, as its arguments.
func cursorColumns(from []FollowCursor) (behind, until, transactions []string, ids []int64) {
	for _, cursor := range from {
		moment := ""
		if cursor.until.xmax > 0 {
			moment = cursor.until.String()
		}
		behind, until = append(behind, cursor.behind.String()), append(until, moment)
		transactions, ids = append(transactions, strconv.FormatUint(cursor.transaction, 10)), append(ids, cursor.id)
	}
	return behind, until, transactions, ids
}

// snapshot is what PostgreSQL calls pg_snapshot: which transactions had ended at one moment. Those below xmin had, those
// from xmax on had not begun, and of those between, the ones in running had not ended.
type snapshot struct {
	xmin, xmax uint64
	running    []uint64 // ascending
}

// beforeAll shows no row: 3 is the first transaction that there can be.
var beforeAll = snapshot{xmin: 3, xmax: 3}

// parseSnapshot reads the text of a pg_snapshot, xmin:xmax:running,….
func parseSnapshot(text string) (snapshot, bool) {
	xmin, rest, _ := strings.Cut(text, ":")
	xmax, running, ok := strings.Cut(rest, ":")
	var (
		s               snapshot
		errMin, errMax  error
		previous, first = uint64(0), true
	)
	s.xmin, errMin = strconv.ParseUint(xmin, 10, 63)
	s.xmax, errMax = strconv.ParseUint(xmax, 10, 63)
	if !ok || errMin != nil || errMax != nil || s.xmin < 1 || s.xmax < s.xmin {
		return snapshot{}, false
	}
	if running == "" {
		return s, true
	}
	for number := range strings.SplitSeq(running, ",") {
		xid, err := strconv.ParseUint(number, 10, 63)
		if err != nil || xid < s.xmin || xid >= s.xmax || !first && xid <= previous {
			return snapshot{}, false
		}
		s.running = append(s.running, xid)
		previous, first = xid, false
	}
	return s, true
}

// String is the text of a pg_snapshot.
func (s snapshot) String() string {
	if s.xmax == 0 {
		s = beforeAll
	}
	text := strconv.AppendUint(nil, s.xmin, 10)
	text = append(text, ':')
	text = strconv.AppendUint(text, s.xmax, 10)
	text = append(text, ':')
	for i, xid := range s.running {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, xid, 10)
	}
	return string(text)
}

// shows reports whether a transaction had ended.
func (s snapshot) shows(transaction uint64) bool {
	switch {
	case transaction < s.xmin:
		return true
	case transaction >= s.xmax:
		return false
	}
	_, running := slices.BinarySearch(s.running, transaction)
	return !running
}

// union shows what s or t shows.
func (s snapshot) union(t snapshot) snapshot {
	both := snapshot{xmax: max(s.xmax, t.xmax)}
	for _, side := range [2]snapshot{s, t} {
		for _, transaction := range side.running {
			if !s.shows(transaction) && !t.shows(transaction) {
				both.running = append(both.running, transaction)
			}
		}
	}
	slices.Sort(both.running)
	both.running = slices.Compact(both.running)
	return both.withMin()
}

// until shows what s shows of the transactions up to one. A cursor goes no further than to the highest transaction of which
// a row was received, for that is on disk: of those behind it a server that crashes may forget that they were there, and
// give their numbers again.
func (s snapshot) until(transaction uint64) snapshot {
	if s.xmax <= transaction+1 {
		return s
	}
	known := snapshot{xmax: max(transaction+1, beforeAll.xmax)}
	for _, running := range s.running {
		if running < known.xmax {
			known.running = append(known.running, running)
		}
	}
	return known.withMin()
}

// withMin sets xmin as a server does.
func (s snapshot) withMin() snapshot {
	s.xmin = s.xmax
	if len(s.running) > 0 {
		s.xmin = s.running[0]
	}
	return s
}
