package store_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// The statements by hand move blobs that are encrypted already and decrypt none: what the store takes longer includes
// the encryption.

func newTokenBench(b *testing.B) (bench, store.Token) {
	b.Helper()
	config := tokenConfig(b, tokenKey, otherTokenKey)
	ctx, m := storetest.Open(b, config)
	return bench{fixture{Manager: m}, ctx, config}, newToken(ctx, b, m)
}

// sealed is a blob of the size that the benchmark's tokens have.
const sealed = "gAAAAABrA4wwdKlN38-2HySdq7UMYU_G3SyvEURwrjGENGladhiu7kjI9XFHChyAE5rf--e8mz5hQXfxeYMcNA0aSX5iYlHqpyjSsKu71HSytW-kS9XNs6g="

// freshID returns an id of the form of a token's, made in the cheapest way.
func freshID() string {
	id := []byte(unknownToken)
	const digits = "0123456789abcdef"
	for i, number := 4, rand.Uint64(); i < 12; i, number = i+1, number>>4 {
		id[i], id[i+24] = digits[number&0xF], digits[number>>32&0xF]
	}
	return string(id)
}

func BenchmarkCreateToken(b *testing.B) {
	bench, _ := newTokenBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error {
			_, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT})
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var (
				token store.Token
				now   *time.Time
			)
			id := freshID()
			return pool.QueryRow(bench.ctx, sql, id, []byte(sealed), "alice", time.Hour.Microseconds(), now, "12345678").Scan(&token.ExpiresAt, &token.CreatedAt)
		})
}

func BenchmarkResolveToken(b *testing.B) {
	bench, token := newTokenBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error { _, err := m.ResolveToken(ctx, token.ID); return err },
		func(pool *pgxpool.Pool, sql string) error {
			var (
				blob    []byte
				agent   string
				expires time.Time
			)
			return pool.QueryRow(bench.ctx, sql, token.ID).Scan(&blob, &agent, &expires)
		})
}

func BenchmarkRefreshToken(b *testing.B) {
	bench, token := newTokenBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) (err error) {
			token, err = m.RefreshToken(ctx, token.ID)
			return err
		},
		func(pool *pgxpool.Pool, sql string) error {
			var blob []byte
			next := store.Token{ID: freshID()}
			err := pool.QueryRow(bench.ctx, sql, token.ID, next.ID, time.Hour.Microseconds(), "12345678", "87654321").
				Scan(&blob, &next.AgentID, &next.ExpiresAt, &next.CreatedAt)
			token = next
			return err
		})
}

func BenchmarkRecoverToken(b *testing.B) {
	bench, token := newTokenBench(b)
	bench.compare(b,
		func(ctx context.Context, m *store.Manager) error { _, err := m.RecoverToken(ctx, token.ID); return err },
		func(pool *pgxpool.Pool, sql string) error {
			var (
				blob  []byte
				agent string
			)
			return pool.QueryRow(bench.ctx, sql, token.ID).Scan(&blob, &agent)
		})
}
