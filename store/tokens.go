package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

const (
	// DefaultTokenTTL is how long a token lives when nothing else is asked for, and after each refresh.
	DefaultTokenTTL = time.Hour
	// MaxTokenTTL is the longest time that a token may live. The shortest is a second.
	MaxTokenTTL = 30 * day
	// MaxJWTLength is the length in bytes of what a token stands for, which has at least one.
	MaxJWTLength = 16_384
	// TokenRecoveryPeriod is how long [Manager.CleanupExpiredTokens] keeps a token after its end, for
	// [Manager.RecoverToken].
	TokenRecoveryPeriod = 7 * day

	minTokenTTL = time.Second
)

// Token stands for a JWT that is kept encrypted. Its ID is a secret: whoever holds it can have the JWT.
//
// JSON shows the ID, as a service hands it to the client. Printing or logging a Token shows [TokenReference] in its place.
// fmt cannot see its methods through an unexported field: a struct that holds a Token in one should hold a pointer.
type Token struct {
	ID        string    `json:"token_id"` // "sct_" and a random UUID
	AgentID   string    `json:"agent_id"`
	ExpiresAt time.Time `json:"expires_at"`
	CreatedAt time.Time `json:"created_at"`
}

// String returns the token with its reference in the place of its id.
func (t Token) String() string {
	return fmt.Sprintf("{reference=%s agent_id=%s expires_at=%s}", TokenReference(t.ID), t.AgentID, t.ExpiresAt.Format(time.RFC3339))
}

// GoString returns what %#v prints: the same as String, after the name of the type.
func (t Token) GoString() string { return "store.Token" + t.String() }

// Format implements [fmt.Formatter], so that no verb reaches the id.
func (t Token) Format(f fmt.State, verb rune) { formatRedacted(f, verb, t.String(), t.GoString()) }

// LogValue implements [slog.LogValuer]: a group of what String shows.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("reference", TokenReference(t.ID)), slog.String("agent_id", t.AgentID), slog.Time("expires_at", t.ExpiresAt))
}

// TokenReference is the name of a token in audit rows and logs: the first 8 hexadecimal digits of the SHA-256 of its id.
// It tells tokens apart and does not lead back to the id.
func TokenReference(tokenID string) string {
	sum := sha256.Sum256([]byte(tokenID))
	return hex.EncodeToString(sum[:4])
}

// CreateTokenParams are the arguments of [Manager.CreateToken].
type CreateTokenParams struct {
	// AgentID is the agent that the token is for. Required.
	AgentID string
	// JWT is what the token stands for, 1 to 16,384 bytes of UTF-8, kept as it is. Required.
	JWT Secret
	// TTL is how long the token lives, a second to 30 days, kept to the microsecond; 0 means an hour.
	TTL time.Duration
	// Now is the time of creation; nil means the database's clock.
	Now *time.Time
}

// Format implements [fmt.Formatter]: fmt skips the methods of a field when a verb does not suit a pointer to its struct.
func (p CreateTokenParams) Format(f fmt.State, verb rune) {
	text := fmt.Sprintf("{agent_id=%s jwt=%v ttl=%v now=%v}", p.AgentID, p.JWT, p.TTL, p.Now)
	formatRedacted(f, verb, text, "store.CreateTokenParams"+text)
}

// CreateToken keeps a JWT encrypted with the newest key and returns the token that stands for it, with a new random id. Its
// audit row token_created is written with it, whose resource is the [TokenReference].
//
// Like all operations on tokens it needs JWT_ENCRYPTION_KEY; without it the error is a [*ConfigError].
func (m *Manager) CreateToken(ctx context.Context, params CreateTokenParams) (Token, error) {
	keys, err := m.tokenKeys()
	if err != nil {
		return Token{}, err
	}
	if err := agentIDInput("agent_id", params.AgentID); err != nil {
		return Token{}, err
	}
	if err := jwtInput(params.JWT.Reveal()); err != nil {
		return Token{}, err
	}
	ttl, err := tokenTTLInput(params.TTL)
	if err != nil {
		return Token{}, err
	}
	var now *time.Time
	if params.Now != nil {
		if now, err = timestampInput("now", *params.Now); err != nil {
			return Token{}, err
		}
	}
	id := newTokenID()
	row, err := query(ctx, m, "create token", func(db gen.DBTX) (gen.TokenCreateRow, error) {
		return queries.TokenCreate(ctx, db, gen.TokenCreateParams{
			TokenID: id, EncryptedJwt: keys.encrypt(params.JWT.Reveal()), AgentID: params.AgentID,
			TtlMicroseconds: ttl.Microseconds(), Now: now, Reference: TokenReference(id),
		})
	})
	if err != nil {
		return Token{}, err
	}
	return Token{ID: id, AgentID: params.AgentID, ExpiresAt: row.ExpiresAt, CreatedAt: row.CreatedAt}, nil
}

// ResolvedToken is what a token stands for.
type ResolvedToken struct {
	JWT       Secret    `json:"jwt"` // JSON shows "***", like all that prints it
	AgentID   string    `json:"agent_id"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Format implements [fmt.Formatter]: fmt skips the methods of a field when a verb does not suit a pointer to its struct.
func (t ResolvedToken) Format(f fmt.State, verb rune) {
	text := fmt.Sprintf("{jwt=%v agent_id=%s expires_at=%s}", t.JWT, t.AgentID, t.ExpiresAt.Format(time.RFC3339))
	formatRedacted(f, verb, text, "store.ResolvedToken"+text)
}

// ResolveToken returns what a token stands for. A token that is unknown, malformed, expired, damaged or encrypted with a
// key that this manager does not have is [ErrTokenInvalid], and nothing tells which: the texts are the same, and a
// decryption takes place where there is nothing to decrypt. Only a malformed id is refused without asking the database.
func (m *Manager) ResolveToken(ctx context.Context, tokenID string) (ResolvedToken, error) {
	const operation = "resolve token"
	keys, err := m.openToken(operation, tokenID)
	if err != nil {
		return ResolvedToken{}, err
	}
	row, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.TokenResolveRow, error) {
		return queries.TokenResolve(ctx, db, tokenID)
	})
	jwt, err := keys.open(operation, row.EncryptedJwt, err)
	if err != nil {
		return ResolvedToken{}, err
	}
	return ResolvedToken{JWT: jwt, AgentID: row.AgentID, ExpiresAt: row.ExpiresAt}, nil
}

// RefreshToken replaces a token that still lives by a new one for the same JWT, which lives an hour, and writes the audit
// row token_refreshed with it: resource is the reference of the new token, "replaces" in its metadata that of the old one.
// The old token ends at that moment. Of many refreshes of one token at once exactly one succeeds; for the others, as for
// all that [Manager.ResolveToken] refuses, the error is [ErrTokenInvalid].
//
// The JWT stays encrypted with the key that it was encrypted with, as it does not leave the database before the exchange is
// done: a key must be kept for as long as tokens made with it are refreshed. For the same reason the refresh of a token
// that this manager cannot decrypt also ends it, unless a transaction around it is rolled back. Nobody learns the id of
// what takes its place.
func (m *Manager) RefreshToken(ctx context.Context, tokenID string) (Token, error) {
	const operation = "refresh token"
	keys, err := m.openToken(operation, tokenID)
	if err != nil {
		return Token{}, err
	}
	id := newTokenID()
	row, err := query(ctx, m, operation, func(db gen.DBTX) (gen.TokenRefreshRow, error) {
		return queries.TokenRefresh(ctx, db, gen.TokenRefreshParams{
			TokenID: tokenID, NewTokenID: id, TtlMicroseconds: DefaultTokenTTL.Microseconds(),
			NewReference: TokenReference(id), Reference: TokenReference(tokenID),
		})
	})
	if _, err := keys.open(operation, row.EncryptedJwt, err); err != nil {
		return Token{}, err
	}
	return Token{ID: id, AgentID: row.AgentID, ExpiresAt: row.ExpiresAt, CreatedAt: row.CreatedAt}, nil
}

// RecoverToken returns the agent of a token, for whom a service then makes a new one. The token may have expired, and one
// that has not is no error; apart from that the errors are those of [Manager.ResolveToken]. A token that was refreshed is
// gone, and so is one that [Manager.CleanupExpiredTokens] has deleted.
func (m *Manager) RecoverToken(ctx context.Context, tokenID string) (string, error) {
	const operation = "recover token"
	keys, err := m.openToken(operation, tokenID)
	if err != nil {
		return "", err
	}
	row, err := repeatable(ctx, m, operation, func(db gen.DBTX) (gen.TokenRecoverRow, error) {
		return queries.TokenRecover(ctx, db, tokenID)
	})
	if _, err := keys.open(operation, row.EncryptedJwt, err); err != nil {
		return "", err
	}
	return row.AgentID, nil
}

// CleanupExpiredTokens deletes the tokens that ended more than [TokenRecoveryPeriod] ago and returns how many, in small
// batches that wait for nobody: many processes may run it at once. It needs no key. When it fails, the number is what was
// deleted until then.
func (m *Manager) CleanupExpiredTokens(ctx context.Context) (int64, error) {
	before := time.Now().Add(-TokenRecoveryPeriod)
	return m.deleteInBatches(ctx, "clean up expired tokens", func(db gen.DBTX) (int64, error) {
		return queries.TokenDeleteExpired(ctx, db, gen.TokenDeleteExpiredParams{Before: before, MaxRows: cleanupBatch})
	})
}

// tokenKeys returns the keys of the tokens, which there may be none of.
func (m *Manager) tokenKeys() (*keyring, error) {
	if len(m.keys.keys) == 0 {
		return nil, &ConfigError{Variable: "JWT_ENCRYPTION_KEY", Problem: "is not set, and tokens need it: set it to a Fernet key, " +
			"which is 32 random bytes in url-safe base64, the same in all processes"}
	}
	return m.keys, nil
}

// openToken returns the keys for a token whose id has the form of one.
func (m *Manager) openToken(operation, tokenID string) (*keyring, error) {
	keys, err := m.tokenKeys()
	if err == nil && !isTokenID(tokenID) {
		err = operationError(operation, ErrTokenInvalid)
	}
	return keys, err
}

// open decrypts what a statement has found, whose error is err. Whatever is wrong with the token has one text.
func (r *keyring) open(operation string, blob []byte, err error) (Secret, error) {
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", err
	}
	if err != nil {
		blob = r.decoy
	}
	jwt, ok := r.decrypt(blob)
	if !ok {
		return "", operationError(operation, ErrTokenInvalid)
	}
	return Secret(jwt), nil
}

// tokenIDPrefix begins every token id. A UUID in lower case follows, and nothing else.
const tokenIDPrefix = "sct_"

// newTokenID returns "sct_" and a random UUID, of version 4.
func newTokenID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails, by its documentation
	u[6] = u[6]&0x0F | 0x40
	u[8] = u[8]&0x3F | 0x80
	id := make([]byte, 0, len(tokenIDPrefix)+36)
	id = append(id, tokenIDPrefix...)
	for i, group := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			id = append(id, '-')
		}
		id = hex.AppendEncode(id, group)
	}
	return string(id)
}

// isTokenID reports whether s has the form of a token id. Ids of the first generation have it too.
func isTokenID(s string) bool {
	if len(s) != len(tokenIDPrefix)+36 || s[:len(tokenIDPrefix)] != tokenIDPrefix {
		return false
	}
	for i, c := range []byte(s[len(tokenIDPrefix):]) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isDigit(c) && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// jwtInput accepts what a token may stand for. It is not looked into and not changed.
func jwtInput(jwt string) error {
	if len(jwt) < 1 || len(jwt) > MaxJWTLength {
		return &ValidationError{Field: "jwt", Rule: "length", Limit: fmt.Sprintf("1 to %d bytes", MaxJWTLength), Got: strconv.Itoa(len(jwt))}
	}
	if !utf8.ValidString(jwt) {
		return &ValidationError{Field: "jwt", Rule: "utf8", Limit: "valid", Got: "invalid byte " + strconv.Itoa(invalidByte(jwt)+1)}
	}
	return nil
}

// tokenTTLInput returns a time to live in whole microseconds, rounded up, and the default for 0.
func tokenTTLInput(ttl time.Duration) (time.Duration, error) {
	if ttl == 0 {
		return DefaultTokenTTL, nil
	}
	if ttl < minTokenTTL || ttl > MaxTokenTTL {
		return 0, &ValidationError{Field: "ttl", Rule: "range", Limit: "1 second to 30 days, or 0 for an hour", Got: ttl.String()}
	}
	return (ttl + time.Microsecond - 1).Truncate(time.Microsecond), nil
}
