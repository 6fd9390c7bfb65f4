package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// The levels of visibility that alice sees, as the statements take them.
var (
	aliceSees    = []string{"public"}
	aliceSeesOwn = []string{"private", "agent_only"}
	aliceSeesKin = []string{"agent_only"}
)

func BenchmarkListMessagesBySender(b *testing.B) {
	bench := newBench(b)
	end := time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListMessagesBySender(ctx, store.ListMessagesBySenderParams{SessionID: bench.session.ID, Reader: alice, Sender: "agent_1"})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, aliceSees, aliceSeesOwn, aliceSeesKin, alice.AgentID, "agent_1", end, 0, 51, alice.AgentType,
				bench.session.ID)
			return collectMessages(rows, err)
		})
}

func BenchmarkListMessagesByTime(b *testing.B) {
	bench := newBench(b)
	from, until := bench.session.CreatedAt, bench.session.CreatedAt.Add(time.Hour)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.ListMessagesByTime(ctx, store.ListMessagesByTimeParams{SessionID: bench.session.ID, Reader: alice, From: from, Until: until})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, aliceSees, aliceSeesOwn, aliceSeesKin, alice.AgentID, alice.AgentType, from, until, time.Time{}, 0,
				51, bench.session.ID)
			return collectMessages(rows, err)
		})
}

// A thread of ten questions with four answers each below its root.
func BenchmarkGetMessageThread(b *testing.B) {
	bench := newBench(b)
	reply := func(parent int64, replies int) []store.Message {
		messages := make([]store.NewMessage, replies)
		for i := range messages {
			messages[i] = store.NewMessage{Sender: "agent_1", Content: "as long as a short remark", ParentMessageID: &parent}
		}
		return bench.add(bench.ctx, b, messages...)
	}
	root := bench.add(bench.ctx, b, store.NewMessage{Sender: "agent_1", Content: "the root of the thread"})[0]
	for _, question := range reply(root.ID, 10) {
		reply(question.ID, 4)
	}
	if _, err := store.ExecuteUpdate(bench.ctx, "ANALYZE messages"); err != nil {
		b.Fatal(err)
	}
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.GetMessageThread(ctx, bench.session.ID, root.ID, alice)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, bench.session.ID, aliceSees, aliceSeesOwn, alice.AgentID, aliceSeesKin, alice.AgentType, 1000, root.ID)
			return collectMessages(rows, err)
		})
}

func BenchmarkCountMessages(b *testing.B) {
	bench := newBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.CountMessages(ctx, bench.session.ID, alice)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			rows, err := pool.Query(bench.ctx, sql, aliceSees, aliceSeesOwn, alice.AgentID, aliceSeesKin, alice.AgentType, bench.session.ID)
			if err != nil {
				return err
			}
			counts := store.MessageCounts{ByVisibility: make(map[store.Visibility]int64), BySender: make(map[string]int64)}
			var (
				visibility, sender string
				count              int64
			)
			_, err = pgx.ForEachRow(rows, []any{&visibility, &sender, &count}, func() error {
				counts.Total += count
				counts.ByVisibility[store.Visibility(visibility)] += count
				counts.BySender[sender] += count
				return nil
			})
			return err
		})
}
