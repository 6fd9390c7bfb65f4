package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
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
	sampling     bool // whether texts are collected

	best   []ranked // the best first, at most limit
	scored int64    // rows that were looked at
	oldest place    // of these rows

	text   []byte   // of the row at hand
	sample [][]byte // texts of some of the rows, if they are collected
}

// place is where a message stands in its session.
type place struct {
	time int64 // microseconds
	id   int64
}

// compare orders by recency, the newest first.
func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(other.time, p.time), cmp.Compare(other.id, p.id))
}

// ranked is a message in a ranking.
type ranked struct {
	place
	score   float64
	message Message
}

// cutoff is the score that a message must have to be in the result.
func (r *ranking) cutoff() float64 {
	if len(r.best) < r.limit {
		return r.threshold
	}
	return r.best[r.limit-1].score
}

// offer scores a message and reports whether it is among the best so far.
func (r *ranking) offer(at place, sender, content, metadata []byte) bool {
	if r.scored == 0 || at.compare(r.oldest) > 0 {
		r.oldest = at
	}
	r.scored++
	if !r.withMetadata {
		metadata = nil
	}
	r.text = appendSearchText(r.text[:0], sender, content, metadata)
	if r.sampling {
		r.sample = append(r.sample, bytes.Clone(r.text))
	}
	cutoff := r.cutoff()
	score := r.scorer.PartialRatio(r.text, cutoff)
	if score < cutoff {
		return false
	}
	i, found := slices.BinarySearchFunc(r.best, at, func(b ranked, at place) int {
		return cmp.Or(cmp.Compare(score, b.score), b.compare(at))
	})
	if found || i == r.limit {
		return false
	}
	if len(r.best) == r.limit {
		r.best = r.best[:r.limit-1]
	}
	r.best = slices.Insert(r.best, i, ranked{place: at, score: score})
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
		place, err := s.place(values)
		if err != nil {
			return true // Scan says what is wrong
		}
		metadata := values[searchColumnMetadata]
		if s.binary[searchColumnMetadata] && len(metadata) > 0 {
			metadata = metadata[1:] // behind the version of the format
		}
		if s.ranking.offer(place, values[searchColumnSender], values[searchColumnContent], metadata) {
			return true
		}
	}
	return false
}

// epoch is the time from which PostgreSQL counts.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// place reads the place of a row in its session.
func (s *searchRows) place(values [][]byte) (place, error) {
	if s.binary[searchColumnID] && s.binary[searchColumnTimestamp] {
		return place{
			time: int64(binary.BigEndian.Uint64(values[searchColumnTimestamp])) + epoch,
			id:   int64(binary.BigEndian.Uint64(values[searchColumnID])),
		}, nil
	}
	var (
		timestamp time.Time
		id        int64
	)
	types, fields := s.Conn().TypeMap(), s.FieldDescriptions()
	scan := func(column int, dst any) error {
		return types.Scan(fields[column].DataTypeOID, fields[column].Format, values[column], dst)
	}
	err := errors.Join(scan(searchColumnTimestamp, &timestamp), scan(searchColumnID, &id))
	return place{time: timestamp.UnixMicro(), id: id}, err
}
