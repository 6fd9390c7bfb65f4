package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// searchPage is how many messages a statement reads where all of them are compared.
const searchPage = 10_000

// searchAll compares the whole history of a session, newest first, with the help of the search index for what that holds.
// It ends as soon as nothing older can be better than what it has.
func (m *Manager) searchAll(ctx context.Context, s *search) error {
	s.ranking.sampling = true
	if err := m.searchLatest(ctx, s); err != nil {
		return err
	}
	s.ranking.sampling = false
	if s.ranking.scored < searchWindowMessages || s.ranking.complete() {
		return nil
	}
	index, err := m.SearchIndex(ctx)
	if err != nil {
		return err
	}
	if !index.Ready || s.ranking.scorer.Len() >= maxShortText {
		return m.searchBefore(ctx, s, firstTime)
	}
	if s.ranking.oldest.time >= index.Before.UnixMicro() { // not all newer messages have been read
		if err := m.searchBefore(ctx, s, index.Before); err != nil || s.ranking.complete() {
			return err
		}
	}
	read := s.ranking.oldest
	patterns := newSearchPatterns(s.query, index.foldsUnicode, s.ranking.sample)
	found, err := m.searchIndexed(ctx, s, index.Before, patterns)
	if err == nil && !found {
		s.ranking.oldest = read // all from there on
		err = m.searchBefore(ctx, s, firstTime)
	}
	s.indexed = found
	return err
}

// complete reports whether only a newer message can still be in the result: all that it has are perfect.
func (r *ranking) complete() bool {
	return len(r.best) == r.limit && r.best[r.limit-1].score == 100
}

// searchBefore compares the messages that are older than all so far, back to a time.
func (m *Manager) searchBefore(ctx context.Context, s *search, since time.Time) error {
	for !s.ranking.complete() {
		before := s.ranking.oldest
		scored := s.ranking.scored
		rows, err := repeatable(ctx, m, "search context", func(db gen.DBTX) ([]gen.MessageSearchBeforeRow, error) {
			return queries.MessageSearchBefore(ctx, searchDB{DBTX: db, ranking: &s.ranking}, gen.MessageSearchBeforeParams{
				SessionID: s.sessionID, BeforeTimestamp: time.UnixMicro(before.time).UTC(), BeforeID: before.id, Since: since,
				Seen: s.sight.seen, Own: s.sight.own, Reader: s.reader.AgentID, Kin: s.sight.kin, ReaderType: s.reader.AgentType,
				MaxRows: searchPage,
			})
		})
		if err != nil {
			return err
		}
		keep(&s.ranking, s.sessionID, rows)
		if s.ranking.scored-scored < searchPage {
			return nil
		}
	}
	return nil
}

// searchIndexed compares the messages before a time that the search index finds, and reports whether those that it cannot
// find are known to be worse than the result.
//
// A message of the score s differs from the query in at most d = 2·length·(1-s/100) characters that one has and the other
// has not. The patterns for d match every such message, unless its text is no longer than the query: the roles change then,
// and these texts are all compared.
func (m *Manager) searchIndexed(ctx context.Context, s *search, before time.Time, patterns searchPatterns) (bool, error) {
	for tried := -1; ; {
		needed := patterns.edits(s.ranking.cutoff())
		if needed <= tried {
			break
		}
		// What is found with few edits raises the score that is needed: an exact match first, then one typing error, then as
		// many as that has left possible.
		next := needed
		if tried < 1 {
			next = min(needed, 2*(tried+1))
		}
		like, ok := patterns.like(next)
		if !ok {
			return false, nil
		}
		if err := m.searchLike(ctx, s, before, like); err != nil {
			return false, err
		}
		tried = next
	}
	since := firstTime
	if s.ranking.complete() { // only by being newer can a message be better
		since = time.UnixMicro(s.ranking.best[s.ranking.limit-1].time).UTC()
	}
	return true, m.searchShort(ctx, s, since, before, patterns.length)
}

func (m *Manager) searchLike(ctx context.Context, s *search, before time.Time, patterns []string) error {
	rows, err := repeatable(ctx, m, "search context", func(db gen.DBTX) ([]gen.MessageSearchLikeRow, error) {
		return queries.MessageSearchLike(ctx, m.plannedSearch(db, s), gen.MessageSearchLikeParams{
			SessionID: s.sessionID, IndexedBefore: before, Patterns: patterns,
			Seen: s.sight.seen, Own: s.sight.own, Reader: s.reader.AgentID, Kin: s.sight.kin, ReaderType: s.reader.AgentType,
		})
	})
	keep(&s.ranking, s.sessionID, rows)
	return err
}

// searchShort compares the messages of a range of time whose text may be no longer than length.
func (m *Manager) searchShort(ctx context.Context, s *search, since, before time.Time, length int) error {
	rows, err := repeatable(ctx, m, "search context", func(db gen.DBTX) ([]gen.MessageSearchShortRow, error) {
		return queries.MessageSearchShort(ctx, m.plannedSearch(db, s), gen.MessageSearchShortParams{
			SessionID: s.sessionID, Since: since, IndexedBefore: before, BelowLength: int32(length), // the space between them counts as well
			Seen: s.sight.seen, Own: s.sight.own, Reader: s.reader.AgentID, Kin: s.sight.kin, ReaderType: s.reader.AgentType,
		})
	})
	keep(&s.ranking, s.sessionID, rows)
	return err
}

// plannedSearch is a connection whose statements are planned with their values, which a prepared statement is not: only
// then does the server see that the search index has what is asked for.
func (m *Manager) plannedSearch(db gen.DBTX, s *search) searchDB {
	return searchDB{DBTX: db, ranking: &s.ranking, planned: m.config.execMode() == ExecModeCacheStatement}
}

// SearchIndex describes the index that makes a search of the whole history fast.
type SearchIndex struct {
	// Ready says whether there is one. Without, a search of the whole history reads all of it.
	Ready bool `json:"ready"`
	// Before is the time before which messages are in it. Later ones are read by each search.
	Before time.Time `json:"before"`
	// Bytes is its size on disk.
	Bytes int64 `json:"bytes"`

	foldsUnicode bool // whether the server knows letters beyond ASCII
}

// SearchIndex returns the state of the search index. [Migrator.BuildSearchIndex] makes one.
func (m *Manager) SearchIndex(ctx context.Context) (SearchIndex, error) {
	row, err := repeatable(ctx, m, "get search index", func(db gen.DBTX) (gen.SearchIndexGetRow, error) {
		row, err := queries.SearchIndexGet(ctx, db)
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		return row, err
	})
	return SearchIndex{Ready: row.Bytes > 0, Before: row.IndexedBefore, Bytes: row.Bytes, foldsUnicode: row.FoldsUnicode}, err
}
