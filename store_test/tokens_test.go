package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// Keys of tests only. The tokens in testdata are encrypted with the first.
const (
	tokenKey      = store.Secret("c2hhcmVkLWNvbnRleHQtdGVzdC1rZXktMzItYnl0ZXM=")
	otherTokenKey = store.Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	thirdTokenKey = store.Secret("ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=")
	testJWT       = store.Secret("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl")
	unknownToken  = "sct_00000000-0000-4000-8000-00000000ffff"
)

var tokenIDs = regexp.MustCompile(`^sct_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// tokenConfig is the configuration of a database of its own, with keys.
func tokenConfig(tb testing.TB, keys ...store.Secret) store.Config {
	tb.Helper()
	config := storetest.Config(tb)
	config.EncryptionKeys = keys
	return config
}

func newToken(ctx context.Context, tb testing.TB, m *store.Manager) store.Token {
	tb.Helper()
	token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// expiredToken makes a token that has expired a minute ago.
func expiredToken(ctx context.Context, tb testing.TB, m *store.Manager) store.Token {
	tb.Helper()
	token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT, Now: ptr(time.Now().Add(-61 * time.Minute))})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func update(ctx context.Context, tb testing.TB, sql string, params ...any) {
	tb.Helper()
	n, err := store.ExecuteUpdate(ctx, sql, params...)
	if err != nil || n == 0 {
		tb.Fatalf("%s: %d rows, %v", sql, n, err)
	}
}

// auditRows are the rows about tokens, in the order of writing.
func auditRows(ctx context.Context, tb testing.TB) []map[string]any {
	tb.Helper()
	rows, err := store.ExecuteQuery(ctx, "SELECT event_type, agent_id, session_id, resource, metadata FROM audit_log WHERE event_type LIKE 'token%' ORDER BY id")
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

func TestToken(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	now := time.Date(2090, 6, 1, 12, 0, 0, 123456000, time.UTC)
	token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT, TTL: 90*time.Second + time.Nanosecond, Now: &now})
	if err != nil {
		t.Fatal(err)
	}
	if !tokenIDs.MatchString(token.ID) {
		t.Error("the id is not sct_ and a UUID of version 4")
	}
	want := store.Token{ID: token.ID, AgentID: "alice", CreatedAt: now, ExpiresAt: now.Add(90*time.Second + time.Microsecond)}
	if diff := cmp.Diff(want, token); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	resolved, err := m.ResolveToken(ctx, token.ID)
	if diff := cmp.Diff(store.ResolvedToken{JWT: testJWT, AgentID: "alice", ExpiresAt: want.ExpiresAt}, resolved); diff != "" || err != nil {
		t.Errorf("resolved: %v (-want +got):\n%s", err, diff)
	}
	if agent, err := m.RecoverToken(ctx, token.ID); agent != "alice" || err != nil {
		t.Errorf("recovered %q: %v", agent, err)
	}
	audit := []map[string]any{{
		"event_type": "token_created", "agent_id": "alice", "session_id": nil, "resource": store.TokenReference(token.ID), "metadata": nil,
	}}
	if diff := cmp.Diff(audit, auditRows(ctx, t)); diff != "" {
		t.Errorf("audit rows (-want +got):\n%s", diff)
	}
	if n := count(ctx, t, "SELECT count(*) FROM audit_log a WHERE strpos(a::text, ?) > 0 OR strpos(a::text, ?) > 0", token.ID, token.ID[4:12]); n != 0 {
		t.Error("an audit row holds the id of the token")
	}
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens WHERE position(?::bytea IN encrypted_jwt) > 0", []byte(testJWT.Reveal())); n != 0 {
		t.Error("the JWT is stored in the clear")
	}

	// The defaults: the clock of the database, and an hour.
	token = newToken(ctx, t, m)
	if got := token.ExpiresAt.Sub(token.CreatedAt); got != time.Hour {
		t.Errorf("lives %v, want an hour", got)
	}
	if n := count(ctx, t, "SELECT count(*) FROM secure_tokens WHERE token_id = ? AND created_at BETWEEN now() - interval '5 minutes' AND now()", token.ID); n != 1 {
		t.Errorf("created at %v", token.CreatedAt)
	}
}

func TestTokenReference(t *testing.T) {
	t.Parallel()
	if got := store.TokenReference("abc"); got != "ba7816bf" { // SHA-256 of the example in FIPS 180
		t.Errorf("got %s", got)
	}
}

func TestTokenArguments(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	long := store.Secret(strings.Repeat("j", store.MaxJWTLength))
	valid := store.CreateTokenParams{AgentID: "alice", JWT: testJWT}
	for _, test := range []struct {
		field  string
		change func(*store.CreateTokenParams)
	}{
		{"agent_id", func(p *store.CreateTokenParams) { p.AgentID = "" }},
		{"agent_id", func(p *store.CreateTokenParams) { p.AgentID = "a b" }},
		{"jwt", func(p *store.CreateTokenParams) { p.JWT = "" }},
		{"jwt", func(p *store.CreateTokenParams) { p.JWT = long + "j" }},
		{"jwt", func(p *store.CreateTokenParams) { p.JWT = testJWT + invalidUTF8 }},
		{"ttl", func(p *store.CreateTokenParams) { p.TTL = -time.Hour }},
		{"ttl", func(p *store.CreateTokenParams) { p.TTL = time.Second - 1 }},
		{"ttl", func(p *store.CreateTokenParams) { p.TTL = store.MaxTokenTTL + 1 }},
		{"now", func(p *store.CreateTokenParams) { p.Now = ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }},
	} {
		params := valid
		test.change(&params)
		_, err := m.CreateToken(ctx, params)
		wantInvalid(t, err, test.field)
		if strings.Contains(err.Error(), testJWT.Reveal()) {
			t.Errorf("the error shows the JWT: %v", err)
		}
	}
	if n := count(ctx, t, "SELECT (SELECT count(*) FROM secure_tokens) + (SELECT count(*) FROM audit_log)"); n != 0 {
		t.Errorf("%d rows were written for refused arguments", n)
	}
	for _, params := range []store.CreateTokenParams{
		{AgentID: "a", JWT: "x", TTL: time.Second},
		{AgentID: strings.Repeat("a", store.MaxAgentIDLength), JWT: long, TTL: store.MaxTokenTTL},
		{AgentID: "alice", JWT: " \x00\n'\\ ", Now: new(time.Time)},
	} {
		token, err := m.CreateToken(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		if resolved, err := m.ResolveToken(ctx, token.ID); err != nil || resolved.JWT != params.JWT || resolved.AgentID != params.AgentID {
			t.Errorf("a JWT of %d bytes does not come back: %v", len(params.JWT), err)
		}
	}
}

// tokenOperations are those that take the id of a token.
var tokenOperations = map[string]func(context.Context, *store.Manager, string) error{
	"resolve token": func(ctx context.Context, m *store.Manager, id string) error {
		_, err := m.ResolveToken(ctx, id)
		return err
	},
	"refresh token": func(ctx context.Context, m *store.Manager, id string) error {
		_, err := m.RefreshToken(ctx, id)
		return err
	},
	"recover token": func(ctx context.Context, m *store.Manager, id string) error {
		_, err := m.RecoverToken(ctx, id)
		return err
	},
}

// wantTokenInvalid fails unless err is ErrTokenInvalid in the one form that it has for this operation.
func wantTokenInvalid(tb testing.TB, operation, kind string, err error) {
	tb.Helper()
	if !errors.Is(err, store.ErrTokenInvalid) {
		tb.Errorf("%s, %s: got error %v, want ErrTokenInvalid", operation, kind, err)
		return
	}
	if want := operation + ": token is invalid"; err.Error() != want || errors.Unwrap(err) != store.ErrTokenInvalid || errors.Is(err, pgx.ErrNoRows) {
		tb.Errorf("%s, %s: got %#v, want %q and nothing more", operation, kind, err, want)
	}
	var database *store.DatabaseError
	if errors.As(err, &database) {
		tb.Errorf("%s, %s: a DatabaseError, as if the database had failed", operation, kind)
	}
	if verbose, plain := fmt.Sprintf("%+v", err), err.Error(); verbose != plain {
		tb.Errorf("%s, %s: %%+v tells more: %s", operation, kind, verbose)
	}
}

func TestInvalidTokensAreAlike(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes rows that a service may not change")
	config := tokenConfig(t, tokenKey, otherTokenKey)
	ctx, m := storetest.Open(t, config)
	foreign := config
	foreign.EncryptionKeys = []store.Secret{thirdTokenKey}
	foreignCtx, foreignManager := storetest.Open(t, foreign)

	tamper := func(expression string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			token := newToken(ctx, t, m)
			update(ctx, t, "UPDATE secure_tokens SET encrypted_jwt = "+expression+" WHERE token_id = ?", token.ID)
			return token.ID
		}
	}
	fixed := func(id string) func(*testing.T) string { return func(*testing.T) string { return id } }
	kinds := map[string]func(*testing.T) string{
		"unknown":      fixed(unknownToken),
		"foreign key":  func(t *testing.T) string { t.Helper(); return newToken(foreignCtx, t, foreignManager).ID },
		"flipped bit":  tamper("set_bit(encrypted_jwt, 300, 1 - get_bit(encrypted_jwt, 300))"),
		"truncated":    tamper("substr(encrypted_jwt, 1, length(encrypted_jwt) - 4)"),
		"appended":     tamper("encrypted_jwt || 'AAAA'"),
		"empty blob":   tamper("''"),
		"not base64":   tamper("decode('00ff80', 'hex')"),
		"in the clear": tamper("'" + testJWT.Reveal() + "'"),
	}
	for name, id := range map[string]string{
		"empty": "", "prefix": "sct_", "no prefix": unknownToken[4:], "upper case": strings.ToUpper(unknownToken), "line break": unknownToken + "\n",
		"white space": " " + unknownToken, "too short": unknownToken[:39], "too long": unknownToken + "0", "SQL": "sct_' OR '1'='1' --",
		"wildcard": "sct_%", "NUL": unknownToken[:39] + "\x00", "UTF-8": invalidUTF8, "huge": strings.Repeat("sct_", 1<<18),
		"no hyphens": "sct_000000000000400080000000000000000000", "not hexadecimal": unknownToken[:39] + "g", "other digits": unknownToken[:37] + "٣0",
		"a JWT": testJWT.Reveal(), "a session": unknownSession,
	} {
		kinds["malformed: "+name] = fixed(id)
	}
	for operation, call := range tokenOperations {
		for kind, make := range kinds {
			wantTokenInvalid(t, operation, kind, call(ctx, m, make(t)))
		}
		if operation != "recover token" {
			wantTokenInvalid(t, operation, "expired", call(ctx, m, expiredToken(ctx, t, m).ID))
		}
		refreshed := newToken(ctx, t, m)
		if _, err := m.RefreshToken(ctx, refreshed.ID); err != nil {
			t.Fatal(err)
		}
		wantTokenInvalid(t, operation, "refreshed", call(ctx, m, refreshed.ID))
		err := m.InTx(ctx, func(ctx context.Context) error { return call(ctx, m, unknownToken) })
		wantTokenInvalid(t, operation, "unknown, in a transaction", err)
	}
}

// A token ends at its expiry and not before.
func TestTokenExpiry(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, tokenKey))
	err := m.InTx(ctx, func(ctx context.Context) error { // in which the clock of the database stands still
		rows, err := store.ExecuteQuery(ctx, "SELECT now() AS now")
		if err != nil {
			return err
		}
		now := rows[0]["now"].(time.Time)
		for _, test := range []struct {
			age   time.Duration
			lives bool
		}{
			{time.Hour - time.Microsecond, true},
			{time.Hour, false},
			{time.Hour + time.Microsecond, false},
		} {
			token, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT, Now: ptr(now.Add(-test.age))})
			if err != nil {
				return err
			}
			if agent, err := m.RecoverToken(ctx, token.ID); err != nil || agent != "alice" {
				t.Errorf("a token of %v is not recovered: %q, %v", test.age, agent, err)
			}
			for _, operation := range []string{"resolve token", "refresh token"} {
				if err := tokenOperations[operation](ctx, m, token.ID); !test.lives {
					wantTokenInvalid(t, operation, test.age.String(), err)
				} else if err != nil {
					t.Errorf("%s after %v: %v", operation, test.age, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTokensNeedAKey(t *testing.T) {
	t.Parallel()
	config := storetest.Config(t)
	config.EncryptionKeys = nil
	ctx, m := storetest.Open(t, config)
	calls := map[string]func() error{
		"create token": func() error {
			_, err := m.CreateToken(ctx, store.CreateTokenParams{AgentID: "alice", JWT: testJWT})
			return err
		},
	}
	for operation, call := range tokenOperations {
		for _, id := range []string{unknownToken, "malformed"} {
			calls[operation+" "+id] = func() error { return call(ctx, m, id) }
		}
	}
	for operation, call := range calls {
		var missing *store.ConfigError
		if err := call(); !errors.As(err, &missing) || missing.Variable != "JWT_ENCRYPTION_KEY" {
			t.Errorf("%s: got %v, want a ConfigError for JWT_ENCRYPTION_KEY", operation, err)
		}
	}
	if _, err := m.CleanupExpiredTokens(ctx); err != nil {
		t.Errorf("cleanup: %v", err)
	}
}

// Processes get a new key one by one: each first learns to decrypt with it, then encrypts with it, then forgets the old.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	config := tokenConfig(t, tokenKey)
	ctx, before := storetest.Open(t, config)
	config.EncryptionKeys = []store.Secret{otherTokenKey, tokenKey}
	_, during := storetest.Open(t, config)
	config.EncryptionKeys = []store.Secret{otherTokenKey}
	_, after := storetest.Open(t, config)

	wantJWT := func(m *store.Manager, id string) {
		t.Helper()
		if resolved, err := m.ResolveToken(ctx, id); err != nil || resolved.JWT != testJWT {
			t.Errorf("not resolved: %v", err)
		}
	}
	old, fresh := newToken(ctx, t, before), newToken(ctx, t, during)
	wantJWT(during, old.ID)
	wantJWT(during, fresh.ID)
	wantJWT(after, fresh.ID)
	wantTokenInvalid(t, "resolve token", "old key", tokenOperations["resolve token"](ctx, after, old.ID))
	wantTokenInvalid(t, "resolve token", "new key", tokenOperations["resolve token"](ctx, before, fresh.ID))

	// A refresh keeps what is encrypted, and with it the key.
	refreshed, err := during.RefreshToken(ctx, old.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantJWT(before, refreshed.ID)
	wantTokenInvalid(t, "resolve token", "old key, refreshed", tokenOperations["resolve token"](ctx, after, refreshed.ID))
}

// Rows that the first generation wrote: a token's id, what it encrypted, the agent, the end, and what was encrypted.
func TestFirstGenerationTokens(t *testing.T) {
	t.Parallel()
	ctx, m := storetest.Open(t, tokenConfig(t, otherTokenKey, tokenKey))
	file, err := os.ReadFile("testdata/first_generation_tokens.tsv")
	if err != nil {
		t.Fatal(err)
	}
	live, expired := 0, 0
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		id, blob, agent, jwt := fields[0], fields[1], fields[2], store.Secret(fields[4])
		end, err := time.Parse(time.RFC3339, fields[3])
		if err != nil {
			t.Fatal(err)
		}
		update(ctx, t, "INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at) VALUES (?, ?, ?, ?)", id, []byte(blob), agent, end)
		if got, err := m.RecoverToken(ctx, id); got != agent || err != nil {
			t.Errorf("recovered %q: %v", got, err)
		}
		if end.Year() < 2099 {
			expired++
			wantTokenInvalid(t, "resolve token", "expired", tokenOperations["resolve token"](ctx, m, id))
			continue
		}
		live++
		resolved, err := m.ResolveToken(ctx, id)
		if diff := cmp.Diff(store.ResolvedToken{JWT: jwt, AgentID: agent, ExpiresAt: end}, resolved); diff != "" || err != nil {
			t.Errorf("resolved: %v (-want +got):\n%s", err, diff)
		}
		refreshed, err := m.RefreshToken(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if resolved, err := m.ResolveToken(ctx, refreshed.ID); resolved.JWT != jwt || resolved.AgentID != agent || err != nil {
			t.Errorf("after a refresh: %v, %v", resolved, err)
		}
	}
	if live < 2 || expired < 2 {
		t.Errorf("%d live and %d expired tokens are too few for a test", live, expired)
	}
}
