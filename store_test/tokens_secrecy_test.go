package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// printed is value through fmt and log/slog. The JSON handler of slog shows a struct inside of a struct as JSON does: it
// gets the values that are not made for JSON.
func printed(values ...any) string {
	var out bytes.Buffer
	for _, value := range values {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%U", "%20s", "%.3v"} {
			fmt.Fprintf(&out, format+"\n", value)
			fmt.Fprintf(&out, format+"\n", []any{value, map[string]any{"key": value}, struct{ Field any }{value}})
		}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("message", "value", value)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("message", "list", []any{value}, "struct", struct{ Field any }{value})
	}
	return out.String()
}

// wantNoTokenSecret fails if text holds one of the secrets, plainly or as fmt would print its bytes.
func wantNoTokenSecret(tb testing.TB, text string, secrets ...string) {
	tb.Helper()
	for _, secret := range secrets {
		for _, form := range []string{
			secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"),
			base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			if at := strings.Index(text, form); at >= 0 {
				tb.Errorf("%q is shown: …%s…", secret, text[max(0, at-100):min(len(text), at+len(form)+100)])
				break
			}
		}
	}
}

func TestTokensKeepTheirSecrets(t *testing.T) {
	t.Parallel()
	config := tokenConfig(t, tokenKey, otherTokenKey)
	rawKey, err := base64.URLEncoding.DecodeString(tokenKey.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range execModes(config) {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			log := new(logBuffer)
			config := config
			config.ExecMode = mode
			config.QueryLogging = true
			config.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			ctx, m := storetest.Open(t, config)

			params := store.CreateTokenParams{AgentID: "alice", JWT: testJWT}
			token, err := m.CreateToken(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			resolved, err := m.ResolveToken(ctx, token.ID)
			if err != nil {
				t.Fatal(err)
			}
			refreshed, err := m.RefreshToken(ctx, token.ID)
			if err != nil {
				t.Fatal(err)
			}
			secrets := []string{testJWT.Reveal(), tokenKey.Reveal(), otherTokenKey.Reveal(), string(rawKey[:16]), string(rawKey[16:]), token.ID, refreshed.ID}
			shown := printed(params, &params, token, &token, refreshed, resolved, &resolved, m.Stats(), m, config)

			var errs []any
			ended, cancel := context.WithCancel(ctx)
			cancel()
			for _, ctx := range []context.Context{ctx, ended} {
				for _, agent := range []string{"not an id", "alice"} {
					params.AgentID = agent
					if _, err := m.CreateToken(ctx, params); err != nil {
						errs = append(errs, err)
					}
				}
				for operation, call := range tokenOperations {
					for _, id := range []string{token.ID, refreshed.ID, strings.ToUpper(token.ID)} {
						if err := call(ctx, m, id); err != nil {
							errs = append(errs, err)
						} else if ctx == ended {
							t.Errorf("%s: no error in an ended context", operation)
						}
					}
				}
			}
			shown += printed(errs...) + log.String()
			wantNoTokenSecret(t, shown, secrets...)
			for _, want := range []string{store.TokenReference(token.ID), "token is invalid", "context canceled", "DELETE FROM secure_tokens"} {
				if !strings.Contains(shown, want) {
					t.Errorf("%q is not shown; is the test looking at the right text?", want)
				}
			}
		})
	}
}

// A client gets the id from JSON; the JWT stays with the service.
func TestTokenAsJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	token := store.Token{ID: unknownToken, AgentID: "alice", ExpiresAt: at.Add(time.Hour), CreatedAt: at}
	encoded, err := json.Marshal([]any{token, store.ResolvedToken{JWT: testJWT, AgentID: "alice", ExpiresAt: at}})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"token_id":"` + unknownToken + `","agent_id":"alice","expires_at":"2025-06-01T13:00:00Z","created_at":"2025-06-01T12:00:00Z"},` +
		`{"jwt":"***","agent_id":"alice","expires_at":"2025-06-01T12:00:00Z"}]`
	if diff := cmp.Diff(want, string(encoded)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	reference := store.TokenReference(unknownToken)
	for format, want := range map[string]string{
		"%v":  "{reference=" + reference + " agent_id=alice expires_at=2025-06-01T13:00:00Z}",
		"%#v": "store.Token{reference=" + reference + " agent_id=alice expires_at=2025-06-01T13:00:00Z}",
	} {
		if got := fmt.Sprintf(format, token); got != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
}
