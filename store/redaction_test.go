package store

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// everyPrinting is value through all verbs of fmt, log/slog and the encoders. The verbs %p and %w are left out: they do
// not apply to the value, which go vet reports, and fmt then looks past all its methods.
func everyPrinting(t *rapid.T, value any) string {
	var out bytes.Buffer
	nested := []any{value, map[string]any{"key": value}, struct{ Field any }{value}}
	for _, format := range []string{
		"%v", "%+v", "%#v", "%s", "%#s", "%q", "%#q", "%x", "%X", "% x", "%d", "%t", "%c", "%e", "%o", "%U", "%T", "%z", "%20s", "%.3v", "%[2]v",
	} {
		fmt.Fprintf(&out, format+"\n", value)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format+"\n", nested)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("message", "value", value, "list", []any{value}, "struct", struct{ Field any }{value})
	}
	for _, v := range []any{value, []any{value}, map[string]any{"key": value}, struct{ Field any }{value}} {
		encoded, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
	}
	return out.String()
}

// refuseLeaks fails if text contains a secret, plainly or as %x or %q would print it.
func refuseLeaks(t *rapid.T, text string, secrets ...string) {
	for _, secret := range secrets {
		quoted := fmt.Sprintf("%q", secret)
		for _, form := range []string{
			secret, quoted[1 : len(quoted)-1], fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret),
			percentEncode(secret, ""), base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			if form != "" && strings.Contains(text, form) {
				t.Fatalf("%q is shown in:\n%s", form, text)
			}
		}
	}
}

var (
	// passwords are long enough not to occur in a message by chance, and made to confuse parsers.
	passwords = rapid.StringMatching(`[A-Z]{3}[A-Za-z0-9@:/?#&=%+ '"\\\[\],;!$.é\n-]{3,20}[A-Z]{3}[0-9]{3}`)
	fernets   = rapid.Custom(func(t *rapid.T) string {
		return base64.URLEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
	})
	tails = rapid.SampledFrom([]string{
		"", "?", "?sslmode=require", "?sslmode=what", "?nonsense=1", "?pool_max_conns=3", "?command_timeout=abc", "?x", "?%zz=1", "?timeout=1&timeout=2",
		"?application_name=a&pgbouncer=true", "?sslrootcert=/nonexistent", "?service=nope", "?statement_cache_size=0", "?server_settings=x", "?require_auth=x",
	})
)

func TestConfigNeverShowsSecrets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password, key := passwords.Draw(t, "password"), fernets.Draw(t, "key")
		tail := tails.Draw(t, "tail")
		encoded := percentEncode(password, "")
		url := rapid.SampledFrom([]string{
			"postgresql://app:" + encoded + "@db.example:5432/shared" + tail,
			"postgres://app:" + password + "@db.example:5432/shared" + tail, // as somebody forgets to encode it
			"postgresql+asyncpg://app:" + encoded + "@h1:1,h2:x/shared" + tail,
			"postgres://app:" + encoded + tail,
			"postgres://app:" + password + tail,
			"postgres://db.example/shared?password=" + encoded + "&user=app&jit=" + "off",
			"postgres://db.example/shared?password=" + password + "&user=app",
			"mysql://app:" + password + "@db.example/shared" + tail,
			"host=db.example user=app password=" + quoteKeywordValue(password),
			"host=db.example user=app password=" + password + " nonsense=1",
			"host=db.example user=app password='" + password,
			"//app:" + password + "@db.example",
			password,
		}).Draw(t, "url")
		c := Config{URL: url, DirectURL: url, EncryptionKeys: []Secret{Secret(key), Secret(key[1:])}}

		secrets := []string{password, key, key[1:]}
		refuseLeaks(t, everyPrinting(t, c), secrets...)
		refuseLeaks(t, everyPrinting(t, &c), secrets...)
		refuseLeaks(t, c.redactedURL()+fmt.Sprint(c.viaPooler(), c.needsDirect(), c.execMode()), secrets...)

		for _, keys := range [][]Secret{nil, c.EncryptionKeys} {
			c.EncryptionKeys = keys
			valid, err := c.validate()
			_, poolErr := c.poolConfig()
			_, directErr := c.directConfig()
			_, envErr := fromEnv(map[string]string{"DATABASE_URL": url, "DIRECT_DATABASE_URL": url, "JWT_ENCRYPTION_KEY": key + "," + key[1:]})
			for _, err := range []error{err, poolErr, directErr, envErr} {
				refuseLeaks(t, everyPrinting(t, err), secrets...)
				var parseError *pgconn.ParseConfigError
				if errors.As(err, &parseError) {
					t.Fatalf("pgx's own error, which carries the string, comes out: %v", err)
				}
			}
			refuseLeaks(t, everyPrinting(t, valid), secrets...)
		}
	})
}

func TestSecret(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := passwords.Draw(t, "value")
		secret := Secret(value)
		if secret.Reveal() != value {
			t.Fatal("Reveal does not reveal")
		}
		encoded, err := xml.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		refuseLeaks(t, everyPrinting(t, secret)+everyPrinting(t, &secret)+everyPrinting(t, []Secret{secret})+string(encoded), value)
	})
	for format, want := range map[string]string{"%v": "***", "%s": "***", "%x": "***", "%q": `"***"`, "%#v": `store.Secret("***")`} {
		if got := fmt.Sprintf(format, Secret("hunter2")); got != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
	if got := fmt.Sprint(Secret("")); got != "" {
		t.Errorf("the empty secret is shown as %q", got)
	}
}

func TestRedactedURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":   "",
		"no": "***",
		"postgresql+asyncpg://app:pw@db.example:5433/shared?sslmode=require":               "postgresql://app:***@db.example:5433/shared?sslmode=require",
		"postgres://app@db.example/shared":                                                 "postgresql://app@db.example/shared",
		"postgres://:pw@db.example":                                                        "postgresql://:***@db.example",
		"postgresql://":                                                                    "postgresql://",
		"postgres://a:b@h1:1,[::1]:2,h3/d?pgbouncer=true":                                  "postgresql://a:***@h1:1,[::1]:2,h3/d?pgbouncer=true",
		"postgres://a:b@/d?host=/run/pg&port=5":                                            "postgresql://a:***@%2Frun%2Fpg:5/d",
		"postgres://a/d?sslpassword=x&options=-capp.key%3Dx&password=y&sslkey=z&timeout=3": "postgresql://:***@a/d?timeout=3",
		"host=h port=5 user='a b' password='it\\'s' dbname=d application_name=x":           "postgresql://a%20b:***@h:5/d?application_name=x",
		"postgres://a:b@h/d?nonsense=1":                                                    "***",
	} {
		if got := (Config{URL: url}).redactedURL(); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", url, got, want)
		}
	}
	want := `store.Config{url=postgresql://a:***@h/d direct_url= acquire_timeout=0s pool_size=5 max_connections=0 min_connections=0 ` +
		`query_logging=false slow_query=0s allow_newer_schema=false reader_role= audit_retention=0s inactive_session_retention=0s encryption_keys=1 statement_timeout=0s exec_mode=exec}`
	if got := fmt.Sprintf("%#v", Config{URL: "postgres://a:b@h/d", PoolSize: 5, ExecMode: ExecModeExec, EncryptionKeys: []Secret{testKey}}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzParseDatabaseURL(f *testing.F) {
	for _, seed := range []string{
		testURL, "postgresql+asyncpg://u:p@/d?host=a:1&host=b:2", "host=h password='a b\\'c' dbname=d", "postgres://[::1]:5,h:6/?ssl=true",
		`postgres://h/d?server_settings={"jit":"off"}&command_timeout=1.5`, "postgres://u:p%zz@h", "sqlite:///x.db", "postgres://u:secret@host@h:x",
		"postgres://%2Frun%2Fpg/d?statement_cache_size=0&keepalives=0", "postgres://h1,h2:2/d?ssl_min_protocol_version=TLSv1.3",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, errs := parseDatabaseURL(databaseURLVariable, text)
		shown := redactURL(text)
		if errs != nil {
			if shown != redacted && text != "" {
				t.Errorf("%q is refused, but shown as %q", text, shown)
			}
			for _, err := range errs {
				configError, ok := err.(*ConfigError)
				if !ok || configError.Value != "" || configError.Problem == "" {
					t.Errorf("%q: %#v", text, err)
				}
			}
			return
		}

		// A password of some length and mixture does not occur by chance.
		if secret := u.password.Reveal(); len(secret) > 6 && strings.ContainsAny(secret, "0123456789") && !strings.Contains(redactedWithout(u), secret) {
			if strings.Contains(shown, secret) || strings.Contains(shown, percentEncode(secret, "")) {
				t.Errorf("the password of %q is shown: %s", text, shown)
			}
			if strings.Contains(u.keywordString(), "password='"+quoteKeywordValue(secret)) {
				t.Errorf("the password of %q is in the string for pgx", text)
			}
		}
		again, errs := parseDatabaseURL(databaseURLVariable, shown)
		if errs != nil {
			t.Fatalf("%q is shown as %q, which is refused: %v", text, shown, errs)
		}
		if again.redacted() != shown {
			t.Errorf("%q is shown as %q, and that as %q", text, shown, again.redacted())
		}

		for _, name := range []string{"sslrootcert", "sslcert", "sslkey", "service", "servicefile", "require_auth"} {
			if _, ok := u.keywords[name]; ok {
				return // pgx reads files for these, or has a grammar of its own
			}
		}
		conn, err := pgx.ParseConfig(u.keywordString())
		if err != nil {
			t.Fatalf("%q is accepted, but pgx refuses the translation: %v", text, err)
		}
		for name, value := range u.runtime {
			if conn.RuntimeParams[name] != value {
				t.Errorf("%q: the setting %s is %q and reaches pgx as %q", text, name, value, conn.RuntimeParams[name])
			}
		}
	})
}

// redactedWithout is what redacted shows of a URL that has no password: it may by coincidence contain the text of one.
func redactedWithout(u *databaseURL) string {
	without := *u
	without.password = ""
	return without.redacted()
}
