package demo

import (
	"context"
	"errors"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// tokenText bounds the text of the transcript that a token stands for, in characters.
const tokenText = 500

// exchangeTokens makes a token for a text of the transcript, resolves it, refreshes it, and recovers an expired one.
func (o *operations) exchangeTokens(ctx context.Context, at where) error {
	text := []rune(clean(o.transcript.Entries[0].Content))
	jwt := store.Secret(string(text[:min(len(text), tokenText)]))
	o.called("CreateToken")
	token, err := o.manager.CreateToken(ctx, store.CreateTokenParams{AgentID: o.agent, JWT: jwt, TTL: 2 * time.Hour})
	var config *store.ConfigError
	if errors.As(err, &config) {
		o.mu.Lock()
		delete(o.calls, "CreateToken")
		o.leftOut = append(o.leftOut, "tokens, for which there is no key")
		o.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	if token.AgentID != o.agent || !token.ExpiresAt.Equal(token.CreatedAt.Add(2*time.Hour)) {
		o.wrong(at, "the token is of %s and lives %v, not 2h", token.AgentID, token.ExpiresAt.Sub(token.CreatedAt))
	}
	o.caused(o.agent, "token_created")
	o.tokens = append(o.tokens, store.TokenReference(token.ID))
	o.lastToken = token.ID
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	if err := o.resolve(ctx, at, token, jwt); err != nil {
		return err
	}
	o.called("RefreshToken")
	fresh, err := o.manager.RefreshToken(ctx, token.ID)
	if err != nil {
		return err
	}
	o.caused(o.agent, "token_refreshed")
	o.tokens = append(o.tokens, store.TokenReference(fresh.ID))
	o.lastToken = fresh.ID
	if fresh.ID == token.ID || fresh.AgentID != o.agent || !fresh.ExpiresAt.Equal(fresh.CreatedAt.Add(store.DefaultTokenTTL)) {
		o.wrong(at, "the refreshed token is of %s and lives %v", fresh.AgentID, fresh.ExpiresAt.Sub(fresh.CreatedAt))
	}
	if err := o.resolve(ctx, at, fresh, jwt); err != nil {
		return err
	}
	if err := o.tokenRefused(ctx, at, "the token that was refreshed", token.ID); err != nil {
		return err
	}
	if err := o.tokenRefused(ctx, at, "a token that never was", "sct_00000000-0000-4000-8000-000000000000"); err != nil {
		return err
	}
	return o.recoverToken(ctx, at)
}

func (o *operations) resolve(ctx context.Context, at where, token store.Token, jwt store.Secret) error {
	o.called("ResolveToken")
	got, err := o.manager.ResolveToken(ctx, token.ID)
	if err != nil {
		return err
	}
	if got.JWT.Reveal() != jwt.Reveal() {
		o.wrong(at, "a token stands for %d bytes that are not the %d given", len(got.JWT.Reveal()), len(jwt.Reveal()))
	}
	if got.AgentID != o.agent || !got.ExpiresAt.Equal(token.ExpiresAt) {
		o.wrong(at, "a token is of %s until %v, not of %s until %v", got.AgentID, got.ExpiresAt, o.agent, token.ExpiresAt)
	}
	return nil
}

// tokenRefused uses a token in every way in which it must not work.
func (o *operations) tokenRefused(ctx context.Context, at where, what, id string) error {
	o.called("ResolveToken")
	_, err := o.manager.ResolveToken(ctx, id)
	if err := o.refused(at, what+", resolved", err, store.ErrTokenInvalid); err != nil {
		return err
	}
	o.called("RefreshToken")
	_, err = o.manager.RefreshToken(ctx, id)
	if err := o.refused(at, what+", refreshed", err, store.ErrTokenInvalid); err != nil {
		return err
	}
	o.called("RecoverToken")
	_, err = o.manager.RecoverToken(ctx, id)
	return o.refused(at, what+", recovered", err, store.ErrTokenInvalid)
}

// recoverToken recovers a token that expired an hour ago.
func (o *operations) recoverToken(ctx context.Context, at where) error {
	made := store.UTCNow().Add(-2 * time.Hour)
	o.called("CreateToken")
	token, err := o.manager.CreateToken(ctx, store.CreateTokenParams{AgentID: o.other, JWT: "expired", TTL: time.Hour, Now: &made})
	if err != nil {
		return err
	}
	o.caused(o.other, "token_created")
	o.called("ResolveToken")
	_, err = o.manager.ResolveToken(ctx, token.ID)
	if err := o.refused(at, "a token that has expired, resolved", err, store.ErrTokenInvalid); err != nil {
		return err
	}
	o.called("RecoverToken")
	agent, err := o.manager.RecoverToken(ctx, token.ID)
	if err != nil {
		return err
	}
	if agent != o.other {
		o.wrong(at, "a recovered token is of %s, not %s", agent, o.other)
	}
	return nil
}
