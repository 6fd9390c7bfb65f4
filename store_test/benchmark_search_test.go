package store_test

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// searchMessages is the number of messages of a benchmark of the search: SEARCH_MESSAGES, or a number that takes seconds.
func searchMessages(b *testing.B, otherwise int) int {
	b.Helper()
	text := os.Getenv("SEARCH_MESSAGES")
	if text == "" {
		return otherwise
	}
	size, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// newSearchBench is a database with size messages of real text in one session.
func newSearchBench(b *testing.B, size int) bench {
	b.Helper()
	config := storetest.Config(b)
	config.StatementTimeout = -1
	ctx, m := storetest.Open(b, config)
	f := fixture{m, newSession(ctx, b, m)}
	f.copies(ctx, b, corpus(b), size)
	if _, err := store.ExecuteUpdate(ctx, "ANALYZE messages"); err != nil {
		b.Fatal(err)
	}
	return bench{f, ctx, config}
}

// The recent window of 1000 messages, beside reading the same rows by hand.
func BenchmarkSearchContext(b *testing.B) {
	bench := newSearchBench(b, 2000)
	seen, own, kin := []string{"public"}, []string{"private", "agent_only"}, []string{"agent_only"}
	for _, query := range []string{"error", "graceful shutdwon", "authentication of the client library in tests"} {
		b.Run(strconv.Itoa(len(query))+" characters", func(b *testing.B) {
			bench.compare(b,
				func(ctx context.Context, m *store.Manager) error {
					_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: bench.session.ID, Reader: alice, Query: query})
					return err
				},
				func(pool *pgxpool.Pool, _ string) error {
					const sql = `SELECT m.id, m.sender, m.sender_type, m.content, m.visibility, m.message_type, m.metadata, m.timestamp, m.parent_message_id
						FROM messages m
						WHERE m.session_id = $1 AND m.timestamp >= now() - interval '7 days'
						  AND (m.visibility = ANY ($2::text[]) OR (m.visibility = ANY ($3::text[]) AND m.sender = $4) OR (m.visibility = ANY ($5::text[]) AND m.sender_type = $6))
						ORDER BY m.timestamp DESC, m.id DESC LIMIT 1000`
					rows, err := pool.Query(bench.ctx, sql, bench.session.ID, seen, own, alice.AgentID, kin, alice.AgentType)
					return collectMessages(rows, err)
				})
		})
	}
}

// The whole history: by comparing every message, and through the index. SEARCH_MESSAGES sets its length.
func BenchmarkSearchAll(b *testing.B) {
	bench := newSearchBench(b, searchMessages(b, 50_000))
	for _, way := range []string{"every message", "index"} {
		if way == "index" {
			buildSearchIndex(bench.ctx, b, bench.config)
		}
		for _, query := range []struct{ name, text string }{
			{"fragment", "demonstrating graceful shutdown"},
			{"one typing error", "demonstrating graceful shutdwon"},
			{"two typing errors", "demonstating graceful shutdwon"},
			{"short fragment", "LGPLv3"},
			{"two letters", "db"},
			{"punctuation", "!!! ???"},
			{"Cyrillic with an error", "проверка подлиности"},
			{"never written", "qwxz vkjq never written"},
		} {
			b.Run(query.name+"/"+way, func(b *testing.B) {
				for b.Loop() {
					got, err := bench.SearchContext(bench.ctx, store.SearchContextParams{
						SessionID: bench.session.ID, Reader: alice, Query: query.text, Window: store.SearchWindowAll,
					})
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(got.Scored), "scored/op")
				}
			})
		}
	}
}
