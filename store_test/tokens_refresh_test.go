package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Each refresh ends the token before it and stands for the same JWT, an hour long from then on.
func TestRefreshToken(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	other := newToken(ctx, t, m)
	audit := auditRows(ctx, t)
	for range 5 {
		next, err := m.RefreshToken(ctx, token.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !tokenIDs.MatchString(next.ID) || next.ID == token.ID {
			t.Error("the id is not a new one")
		}
		if next.AgentID != "alice" || next.CreatedAt.Before(token.CreatedAt) || next.ExpiresAt.Sub(next.CreatedAt) != time.Hour {
			t.Errorf("refreshed to %v, created at %v", next, next.CreatedAt)
		}
		for operation, call := range tokenOperations {
			wantTokenInvalid(t, operation, "refreshed", call(ctx, m, token.ID))
		}
		resolved, err := m.ResolveToken(ctx, next.ID)
		if diff := cmp.Diff(store.ResolvedToken{JWT: testJWT, AgentID: "alice", ExpiresAt: next.ExpiresAt}, resolved); diff != "" || err != nil {
			t.Errorf("resolved: %v (-want +got):\n%s", err, diff)
		}
		audit = append(audit, map[string]any{
			"event_type": "token_refreshed", "agent_id": "alice", "session_id": nil, "resource": store.TokenReference(next.ID),
			"metadata": map[string]any{"replaces": store.TokenReference(token.ID)},
		})
		token = next
	}
	if diff := cmp.Diff(audit, auditRows(ctx, t)); diff != "" {
		t.Errorf("audit rows (-want +got):\n%s", diff)
	}
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens"); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	if _, err := m.ResolveToken(ctx, other.ID); err != nil {
		t.Errorf("another token of the agent: %v", err)
	}
}

// Of many refreshes of one token at once, by two processes, exactly one succeeds.
func TestConcurrentRefreshes(t *testing.T) {
	t.Parallel()
	const each, generations = 25, 4
	config := tokenConfig(t, tokenKey)
	ctx, m := storetest.Open(t, config)
	_, other := storetest.Open(t, config)
	token := newToken(ctx, t, m)
	for generation := range generations {
		var (
			refreshing sync.WaitGroup
			tokens     [2 * each]store.Token
			errs       [2 * each]error
		)
		start := make(chan struct{})
		for i := range tokens {
			m := []*store.Manager{m, other}[i%2]
			refreshing.Go(func() {
				<-start
				tokens[i], errs[i] = m.RefreshToken(ctx, token.ID)
			})
		}
		close(start)
		refreshing.Wait()
		var winners []store.Token
		for i, err := range errs {
			if err == nil {
				winners = append(winners, tokens[i])
				continue
			}
			wantTokenInvalid(t, "refresh token", "another one won", err)
			if diff := cmp.Diff(store.Token{}, tokens[i]); diff != "" {
				t.Errorf("a token beside the error (-want +got):\n%s", diff)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%d refreshes succeed, want 1", len(winners))
		}
		token = winners[0]
		if resolved, err := m.ResolveToken(ctx, token.ID); err != nil || resolved.JWT != testJWT {
			t.Errorf("the winner's token does not resolve: %v", err)
		}
		if n := count(ctx, t, "SELECT count(*) FROM secure_tokens"); n != 1 {
			t.Errorf("%d tokens are left, want 1", n)
		}
		if n := count(ctx, t, "SELECT count(*) FROM audit_log WHERE event_type = 'token_refreshed'"); n != int64(generation)+1 {
			t.Errorf("%d audit rows, want %d", n, generation+1)
		}
	}
}

// A refresh cannot know that a token is damaged before it is done. It gives nothing then, and leaves nothing to use.
func TestRefreshOfDamagedToken(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	token := newToken(ctx, t, m)
	update(ctx, t, "UPDATE secure_tokens SET encrypted_jwt = encrypted_jwt || 'A'")

	err := m.InTx(ctx, func(ctx context.Context) error {
		_, err := m.RefreshToken(ctx, token.ID)
		return err
	})
	wantTokenInvalid(t, "refresh token", "damaged, in a transaction", err)
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens WHERE token_id = ?", token.ID); n != 1 {
		t.Error("the transaction was not rolled back")
	}

	got, err := m.RefreshToken(ctx, token.ID)
	wantTokenInvalid(t, "refresh token", "damaged", err)
	if diff := cmp.Diff(store.Token{}, got); diff != "" {
		t.Errorf("a token beside the error (-want +got):\n%s", diff)
	}
	rows, err := store.ExecuteQuery(ctx, "SELECT token_id FROM secure_tokens")
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d tokens, want 1: %v", len(rows), err)
	}
	for _, id := range []string{token.ID, rows[0]["token_id"].(string)} {
		for operation, call := range tokenOperations {
			wantTokenInvalid(t, operation, "left behind", call(ctx, m, id))
		}
	}
}

// A token and its audit row are written together or not at all.
func TestTokensAreWrittenWithTheirAuditRows(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	token := newToken(ctx, t, m)
	err := m.InTx(ctx, func(ctx context.Context) error {
		newToken(ctx, t, m)
		if _, err := m.RefreshToken(ctx, token.ID); err != nil {
			return err
		}
		return errFailed
	})
	wantError(t, err, errFailed)
	if n := len(auditRows(ctx, t)); n != 1 {
		t.Errorf("%d audit rows after a roll-back, want 1", n)
	}

	for _, ddl := range []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no audit'; END $$",
		"CREATE TRIGGER refuse BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse()",
	} {
		if _, err := store.ExecuteUpdate(ctx, ddl); err != nil {
			t.Fatal(err)
		}
	}
	var failure *store.DatabaseError
	if _, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "bob", JWT: testJWT}); !errors.As(err, &failure) || failure.Op != "create token" {
		t.Errorf("create: got %v, want a DatabaseError", err)
	}
	if _, err := m.RefreshToken(ctx, token.ID); !errors.As(err, &failure) || failure.Op != "refresh token" {
		t.Errorf("refresh: got %v, want a DatabaseError", err)
	}
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens"); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	if resolved, err := m.ResolveToken(ctx, token.ID); err != nil || resolved.JWT != testJWT {
		t.Errorf("the token that was not refreshed: %v", err)
	}
}

// More than two batches of expired tokens, deleted by several processes at once.
func TestCleanupExpiredTokens(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	const expired, cleaners = 2500, 4
	config := tokenConfig(t, tokenKey)
	ctx, m := storetest.Open(t, config)
	update(ctx, t, `INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at)
		SELECT 'sct_' || gen_random_uuid(), '', 'old', now() - interval '7 days 1 minute' - n * interval '1 second' FROM generate_series(0, ?::int - 1) AS n`, expired)
	live, recoverable := newToken(ctx, t, m), expiredToken(ctx, t, m)
	update(ctx, t, "UPDATE secure_tokens SET expires_at = now() - interval '6 days 23 hours' WHERE token_id = ?", recoverable.ID)

	// What another process is deleting is left to it.
	err := m.InTx(ctx, func(inTx context.Context) error {
		update(inTx, t, "DELETE FROM secure_tokens WHERE agent_id = 'old' AND id % 2 = 0")
		n, err := m.CleanupExpiredTokens(store.WithoutTx(inTx))
		if n != expired/2 {
			t.Errorf("beside another one %d are deleted, want %d", n, expired/2)
		}
		return errors.Join(err, errFailed)
	})
	wantError(t, err, errFailed)

	var cleaning sync.WaitGroup
	var deleted [cleaners]int64
	var errs [cleaners]error
	for i := range cleaners {
		ctx, m := storetest.Open(t, config)
		cleaning.Go(func() { deleted[i], errs[i] = m.CleanupExpiredTokens(ctx) })
	}
	cleaning.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, n := range deleted {
		sum += n
	}
	if sum != expired/2 {
		t.Errorf("%d are deleted, want %d", sum, expired/2)
	}
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens"); n != 2 {
		t.Errorf("%d tokens are left, want 2", n)
	}
	if _, err := m.ResolveToken(ctx, live.ID); err != nil {
		t.Errorf("a live token: %v", err)
	}
	if agent, err := m.RecoverToken(ctx, recoverable.ID); agent != "alice" || err != nil {
		t.Errorf("a token that expired lately: %q, %v", agent, err)
	}
	wantError(t, func() error { _, err := m.ResolveToken(ctx, recoverable.ID); return err }(), store.ErrTokenInvalid)
}
