package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// A message under an idempotency key, each time another, and each time the same.
func BenchmarkAddMessageOnce(b *testing.B) {
	message := store.NewMessage{
		Sender: "agent_1", SenderType: "claude", Content: "The lexer splits the statement in one pass and allocates nothing.",
		Metadata: json.RawMessage(`{"commit":"5620728b80f7","lines":1,"urgent":false}`),
	}
	compare := func(b *testing.B, key func() string) {
		b.Helper()
		bench := newBench(b)
		bench.compare(b,
			func(ctx context.Context, m *store.Manager) error {
				keyed := message
				keyed.IdempotencyKey = "store " + key()
				_, err := m.AddMessage(ctx, bench.session.ID, keyed)
				return err
			},
			func(pool *pgxpool.Pool, sql string) error {
				var (
					added     store.Message
					digest    string
					found     bool
					timestamp *time.Time
				)
				sum := sha256.Sum256([]byte(message.Content))
				return pool.QueryRow(bench.ctx, sql, bench.session.ID, "pgx "+key(), hex.EncodeToString(sum[:]), timestamp, message.ParentMessageID,
					message.Sender, message.SenderType, message.Content, "public", "agent_response", message.Metadata).
					Scan(&added.ID, &added.Timestamp, &digest, &found)
			})
	}
	b.Run("new", func(b *testing.B) {
		number := 0
		compare(b, func() string { number++; return strconv.Itoa(number) })
	})
	b.Run("retried", func(b *testing.B) { compare(b, func() string { return "key" }) })
}
