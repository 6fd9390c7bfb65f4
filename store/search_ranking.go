package store

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

// The first columns of each statement in queries/search.sql.
const (
	searchColumnID = iota
	searchColumnTimestamp
	searchColumnSender
	searchColumnContent
	searchColumnMetadata
)

// ranking finds the messages with the best scores among those that it is offered, in any order and perhaps repeatedly. It
// scores a row as it comes from the connection, while the server prepares the next ones, and lets only those through to
// the generated code that are among the best so far: of the others nothing is copied.
type ranking struct {
	scorer       *fuzzy.Scorer
	threshold    float64
	limit        int
	withMetadata bool

	best   []ranked // the best first, at most limit
	scored int64    // rows that were looked at
	oldest ranked   // of these rows, without a score

	text []byte // of the row at hand
}

// ranked is a message in a ranking.
type ranked struct {
	score   float64
	time    int64 // microseconds
	id      int64
	message Message
}

// compare orders by score, then by recency, the first first.
func (a *ranked) compare(b *ranked) int {
	switch {
	case a.score != b.score:
		return order(a.score > b.score)
	case a.time != b.time:
		return order(a.time > b.time)
	case a.id != b.id:
		return order(a.id > b.id)
	}
	return 0
}

func order(first bool) int {
	if first {
		return -1
	}
	return 1
}

// cutoff is the score that a message must have to be in the result.
func (r *ranking) cutoff() float64 {
	if len(r.best) < r.limit {
		return r.threshold
	}
	return r.best[r.limit-1].score
}

// offer scores a message and reports whether it is among the best so far.
func (r *ranking) offer(candidate ranked, sender, content, metadata []byte) bool {
	r.scored++
	if r.scored == 1 || candidate.time < r.oldest.time || candidate.time == r.oldest.time && candidate.id < r.oldest.id {
		r.oldest = candidate
	}
	if !r.withMetadata {
		metadata = nil
	}
	r.text = appendSearchText(r.text[:0], sender, content, metadata)
	cutoff := r.cutoff()
	candidate.score = r.scorer.PartialRatio(r.text, cutoff)
	if candidate.score < cutoff {
		return false
	}
	i, found := slices.BinarySearchFunc(r.best, candidate, func(a, b ranked) int { return a.compare(&b) })
	if found || i >= r.limit {
		return false
	}
	r.best = slices.Insert(r.best, i, candidate)
	if len(r.best) > r.limit {
		r.best = r.best[:r.limit]
	}
	return true
}

// searchRow is what the statements of the search have in common: the same columns in the same order.
type searchRow interface {
	gen.MessageSearchLatestRow | gen.MessageSearchBeforeRow | gen.MessageSearchLikeRow | gen.MessageSearchShortRow
}

// keep completes the best from the rows that have been let through.
func keep[R searchRow](r *ranking, sessionID string, rows []R) {
	for i := range rows {
		row := gen.MessageSearchLatestRow(rows[i])
		for j := range r.best {
			if r.best[j].id == row.ID {
				r.best[j].message = Message{
					ID: row.ID, SessionID: sessionID, Sender: row.Sender, SenderType: row.SenderType, Content: row.Content,
					Visibility: Visibility(row.Visibility), MessageType: MessageType(row.MessageType), Metadata: objectOrNil(row.Metadata),
					Timestamp: row.Timestamp, ParentMessageID: row.ParentMessageID,
				}
			}
		}
	}
}

// searchDB is a connection whose rows pass through a ranking.
type searchDB struct {
	gen.DBTX
	ranking *ranking
	// planned sends the statement unnamed where it would be prepared: the server then plans it with its values.
	planned bool
}

func (db searchDB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if db.planned {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	rows, err := db.DBTX.Query(ctx, sql, args...)
	return &searchRows{Rows: rows, ranking: db.ranking}, err
}

// searchRows are rows of which only those come out that a ranking lets through, and the one without a message which says
// that the session exists.
type searchRows struct {
	pgx.Rows
	ranking *ranking
	binary  [searchColumnMetadata + 1]bool // the formats of the columns
	started bool
}

func (s *searchRows) Next() bool {
	for s.Rows.Next() {
		if !s.started {
			s.started = true
			for i, field := range s.FieldDescriptions()[:len(s.binary)] {
				s.binary[i] = field.Format == pgx.BinaryFormatCode
			}
		}
		values := s.RawValues()
		if len(values[searchColumnContent]) == 0 { // no message is empty
			return true
		}
		var candidate ranked
		if !s.key(&candidate, values) {
			return true // Scan will say what is wrong
		}
		metadata := values[searchColumnMetadata]
		if s.binary[searchColumnMetadata] && len(metadata) > 0 {
			metadata = metadata[1:] // behind the version of the format
		}
		if s.ranking.offer(candidate, values[searchColumnSender], values[searchColumnContent], metadata) {
			return true
		}
	}
	return false
}

// epoch is the time from which PostgreSQL counts.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// key reads id and time of a row.
func (s *searchRows) key(candidate *ranked, values [][]byte) bool {
	if s.binary[searchColumnID] && s.binary[searchColumnTimestamp] {
		candidate.id = int64(binary.BigEndian.Uint64(values[searchColumnID]))
		candidate.time = int64(binary.BigEndian.Uint64(values[searchColumnTimestamp])) + epoch
		return true
	}
	var timestamp time.Time
	types, fields := s.Conn().TypeMap(), s.FieldDescriptions()
	for column, dst := range map[int]any{searchColumnID: &candidate.id, searchColumnTimestamp: &timestamp} {
		if err := types.Scan(fields[column].DataTypeOID, fields[column].Format, values[column], dst); err != nil {
			return false
		}
	}
	candidate.time = timestamp.UnixMicro()
	return true
}
