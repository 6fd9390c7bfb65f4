package store

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/gen"
	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

const (
	// MaxSearchQueryLength is the length of the query of a search, which has at least one character.
	MaxSearchQueryLength = 1000

	defaultSearchThreshold = 60
	defaultSearchLimit     = 10
	maxSearchLimit         = 100
	// searchWindowMessages bounds the messages of the recent window, as in the first generation.
	searchWindowMessages = 1000
	// previewLength is how many characters of a message a preview shows.
	previewLength = 150
)

// SearchScope narrows a search to messages of a level of visibility.
type SearchScope string

// The scopes of a search.
const (
	SearchScopeAll     SearchScope = "all" // all that the reader may see, the default
	SearchScopePublic  SearchScope = "public"
	SearchScopePrivate SearchScope = "private"
)

// SearchWindow says how far back a search looks.
type SearchWindow string

// The windows of a search.
const (
	// SearchWindowRecent is the latest 1000 messages of the last 7 days that the reader may see. The default.
	SearchWindowRecent SearchWindow = "recent"
	// SearchWindowAll is the whole history of the session.
	SearchWindowAll SearchWindow = "all"
)

// SearchContextParams are the arguments of [Manager.SearchContext].
type SearchContextParams struct {
	// SessionID is the session to search. Required.
	SessionID string
	// Reader is who searches. Required.
	Reader Reader
	// Query is what to look for, 1 to 1000 characters after cleaning; case does not matter. Required.
	Query string
	// Threshold is the least score of a result, 0 to 100; nil means 60.
	Threshold *float64
	// Limit is how many results there are at most, 1 to 100; 0 means 10.
	Limit int
	// Scope narrows the search; empty means all.
	Scope SearchScope
	// Window says how far back to look; empty means recent.
	Window SearchWindow
	// WithoutMetadata leaves the values of the metadata out of what is searched.
	WithoutMetadata bool
	// Now is the end of the 7 days; nil means the database's clock.
	Now *time.Time
}

// SearchResult is a message that a search has found.
type SearchResult struct {
	Message   Message `json:"message"`
	Score     float64 `json:"score"`     // 0 to 100, rounded to 2 decimals
	Preview   string  `json:"preview"`   // the first 150 characters of the content, and ... where there are more
	Relevance string  `json:"relevance"` // high from a score of 80, medium from 60, else low
}

// SearchResults are the results of a search.
type SearchResults struct {
	Results []SearchResult `json:"results"` // the best first, the newest first among equals
	// Scored is how many messages were compared with the query; one that was found twice counts twice.
	Scored int64 `json:"scored"`
	// Indexed says that the search index found the older messages. Otherwise every message of the window was compared.
	Indexed bool `json:"indexed"`
}

// SearchContext finds the messages of a session that are most like a query, typing errors allowed, as far as reader may
// see them. What is compared is the sender, the content and the true scalar values of the metadata, joined by spaces, in
// lower case; the score is the partial ratio of RapidFuzz, the similarity of the query to the best matching part of that
// text, in percent. Results have at least the threshold as score and are ranked by it, then by recency.
//
// The audit row context_searched, which holds the query, is written with it, so that a read-only transaction refuses it. An
// unknown session is [ErrSessionNotFound].
//
// The recent window takes one round trip. The whole history takes a few: the latest 1000 messages are compared first, and
// the search ends there when they hold enough perfect matches. Older messages are found through the search index, where
// there is one ([Migrator.BuildSearchIndex]) and it leads to enough of them that whatever it cannot find must be worse: exact
// matches, or ones with a typing error in some twenty characters. Else every message is read, which takes seconds for a
// million; a smaller limit or a higher threshold is found sooner. The results are the same on each way.
func (m *Manager) SearchContext(ctx context.Context, params SearchContextParams) (SearchResults, error) {
	s, err := newSearch(&params)
	if err != nil {
		return SearchResults{}, err
	}
	if s.audit, err = json.Marshal(map[string]any{
		"query": s.query, "threshold": s.ranking.threshold, "scope": s.scope, "window": s.window,
	}); err != nil {
		return SearchResults{}, operationError("search context", err)
	}
	if s.window == SearchWindowAll {
		err = m.searchAll(ctx, s)
	} else {
		err = m.searchLatest(ctx, s)
	}
	if err != nil {
		return SearchResults{}, err
	}
	return s.results(), nil
}

// search is a search that runs.
type search struct {
	sessionID string
	reader    Reader
	sight     sight
	query     string // cleaned and in lower case
	scope     SearchScope
	window    SearchWindow
	since     *time.Time
	audit     json.RawMessage
	ranking   ranking
	indexed   bool
}

// newSearch checks the arguments.
func newSearch(params *SearchContextParams) (*search, error) {
	s := &search{sessionID: params.SessionID, scope: params.Scope, window: params.Window}
	if err := sessionIDInput(params.SessionID); err != nil {
		return nil, err
	}
	if err := params.Reader.validate(); err != nil {
		return nil, err
	}
	s.reader = params.Reader
	query, err := textInput("query", params.Query, MaxSearchQueryLength)
	if err != nil {
		return nil, err
	}
	s.query = string(appendLower(nil, []byte(query)))
	s.ranking = ranking{scorer: fuzzy.NewScorer(s.query), threshold: defaultSearchThreshold, withMetadata: !params.WithoutMetadata}
	if t := params.Threshold; t != nil {
		if !(0 <= *t && *t <= 100) {
			return nil, &ValidationError{Field: "threshold", Rule: "range", Limit: "0 to 100", Got: strconv.FormatFloat(*t, 'g', 6, 64)}
		}
		s.ranking.threshold = *t
	}
	limit, err := limitInput(params.Limit, defaultSearchLimit, maxSearchLimit)
	if err != nil {
		return nil, err
	}
	s.ranking.limit = int(limit)

	var filter *Visibility
	switch s.scope {
	case "", SearchScopeAll:
		s.scope = SearchScopeAll
	case SearchScopePublic, SearchScopePrivate:
		level := Visibility(s.scope)
		filter = &level
	default:
		return nil, &ValidationError{Field: "scope", Rule: "enum", Limit: "one of all, public, private", Got: "an unknown scope"}
	}
	s.sight = params.Reader.see(filter)

	switch s.window {
	case "", SearchWindowRecent:
		s.window = SearchWindowRecent
		if params.Now != nil {
			now, err := timestampInput("now", *params.Now)
			if err != nil {
				return nil, err
			}
			if now != nil {
				since := now.AddDate(0, 0, -7)
				s.since = &since
			}
		}
	case SearchWindowAll:
		s.since = &firstTime
	default:
		return nil, &ValidationError{Field: "window", Rule: "enum", Limit: "one of recent, all", Got: "an unknown window"}
	}
	return s, nil
}

// searchLatest compares the latest messages since a time, and writes the audit row.
func (m *Manager) searchLatest(ctx context.Context, s *search) error {
	rows, err := repeatable(ctx, m, "search context", func(db gen.DBTX) ([]gen.MessageSearchLatestRow, error) {
		return queries.MessageSearchLatest(ctx, searchDB{DBTX: db, ranking: &s.ranking}, gen.MessageSearchLatestParams{
			Since: s.since, Seen: s.sight.seen, Own: s.sight.own, Reader: s.reader.AgentID, Kin: s.sight.kin, ReaderType: s.reader.AgentType,
			MaxRows: searchWindowMessages, SessionID: s.sessionID, Audit: s.audit,
		})
	})
	if err == nil && len(rows) == 0 && s.ranking.scored == 0 {
		err = operationError("search context", ErrSessionNotFound)
	}
	keep(&s.ranking, s.sessionID, rows)
	return err
}

// results returns what has been found.
func (s *search) results() SearchResults {
	found := SearchResults{Results: make([]SearchResult, len(s.ranking.best)), Scored: s.ranking.scored, Indexed: s.indexed}
	for i := range s.ranking.best {
		best := &s.ranking.best[i]
		found.Results[i] = SearchResult{
			Message: best.message, Score: math.Round(best.score*100) / 100,
			Preview: preview(best.message.Content), Relevance: relevance(best.score),
		}
	}
	return found
}

// preview returns the beginning of a text.
func preview(text string) string {
	characters := 0
	for i := range text {
		if characters == previewLength {
			return text[:i] + "..."
		}
		characters++
	}
	return text
}

// relevance names how good a score is.
func relevance(score float64) string {
	switch {
	case score >= 80:
		return "high"
	case score >= 60:
		return "medium"
	}
	return "low"
}
