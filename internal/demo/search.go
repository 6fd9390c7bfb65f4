package demo

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// queriesPerSession bounds what is searched for in a session, and searchResults what comes back.
	queriesPerSession = 3
	searchResults     = 100
	// fragmentLength is how many characters of a message are searched for.
	fragmentLength = 24
	// recentDays and recentMessages bound the recent window, by its documentation.
	recentDays     = 7
	recentMessages = 1000
)

// searchMessages searches sessions of the transcript for parts of their messages, as several readers: with a threshold of
// 100 exactly those come that have the part, and with a typing error the same ones are still found.
func (o *operations) searchMessages(ctx context.Context, at where) error {
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	o.called("SearchIndex")
	if _, err := o.manager.SearchIndex(ctx); err != nil {
		return err
	}
	return sideBySide(ctx, o, o.chosen, func(ctx context.Context, conversation *Conversation) error {
		all := o.inOrder(conversation)
		slices.Reverse(all)
		for _, r := range spread(o.readersOf(conversation), operationReaders) {
			want := slices.DeleteFunc(slices.Clone(all), func(w *written) bool { return !r.maySee(w.entry) })
			at := o.where(conversation.ID, r, at.read)
			for _, about := range spread(want, queriesPerSession) {
				if err := o.search(ctx, at, r, want, fragment(about.entry)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// fragment returns a part of a message, from its middle, without the white space around it.
func fragment(entry *Entry) string {
	content := []rune(clean(entry.Content))
	begin := max(0, len(content)-fragmentLength) / 2
	return strings.TrimSpace(string(content[begin:min(len(content), begin+fragmentLength)]))
}

// search looks for a text in each window and demands those of the visible messages, newest first, that have it.
func (o *operations) search(ctx context.Context, at where, r reader, visible []*written, query string) error {
	if query == "" {
		return nil
	}
	exact := 100.0
	now := visible[0].entry.Time
	since := now.AddDate(0, 0, -recentDays)
	recent := slices.DeleteFunc(slices.Clone(visible), func(w *written) bool { return w.entry.Time.Before(since) })
	for _, window := range []struct {
		window store.SearchWindow
		of     []*written
	}{{store.SearchWindowAll, visible}, {store.SearchWindowRecent, recent[:min(recentMessages, len(recent))]}} {
		want := slices.DeleteFunc(slices.Clone(window.of), func(w *written) bool { return !has(w.entry, query) })
		found, err := o.find(ctx, at, r, query, window.window, &exact, &now)
		if err != nil {
			return err
		}
		o.compareAll(at, want[:min(searchResults, len(want))], found)
	}

	// With one character missing a message scores less and is found all the same.
	runes := []rune(query)
	if len(runes) < fragmentLength/2 {
		return nil
	}
	middle := len(runes) / 2
	found, err := o.find(ctx, at, r, string(runes[:middle])+string(runes[middle+1:]), store.SearchWindowAll, nil, nil)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found, func(m store.Message) bool { return holds(m.Sender+" "+m.Content, query) }) {
		o.wrong(at, "a message that holds %q is not found by it with a character missing", query)
	}
	return nil
}

func (o *operations) find(
	ctx context.Context, at where, r reader, query string, window store.SearchWindow, threshold *float64, now *time.Time,
) ([]store.Message, error) {
	o.called("SearchContext")
	results, err := o.manager.SearchContext(ctx, store.SearchContextParams{
		SessionID: at.sessionID, Reader: r.forStore(), Query: query, Window: window, Threshold: threshold, Limit: searchResults,
		WithoutMetadata: true, Now: now,
	})
	found := make([]store.Message, len(results.Results))
	for i, result := range results.Results {
		found[i] = result.Message
	}
	return found, err
}

// has is the rule of a perfect score: the shorter of query and text is a part of the longer, whatever the case.
func has(entry *Entry, query string) bool {
	text := entry.Sender + " " + clean(entry.Content)
	if utf8.RuneCountInString(text) < utf8.RuneCountInString(query) {
		return holds(query, text)
	}
	return holds(text, query)
}

func holds(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
