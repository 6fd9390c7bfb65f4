package store

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
)

const (
	testURL = "postgresql://app:pw@db.example:5433/shared?sslmode=disable"
	testKey = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
	oldKey  = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// fromEnv reads a configuration from an environment that holds nothing else.
func fromEnv(variables map[string]string) (Config, error) {
	return configFromLookup(func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
}

// configErrors flattens what errors.Join has joined, and fails for an error of another type.
func configErrors(t *testing.T, err error) []*ConfigError {
	t.Helper()
	var found []*ConfigError
	switch e := err.(type) {
	case nil:
	case *ConfigError:
		found = append(found, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = append(found, configErrors(t, inner)...)
		}
	default:
		t.Fatalf("%T is not a *ConfigError: %v", err, err)
	}
	return found
}

var cmpConfig = cmp.Options{
	cmpopts.EquateComparable(slog.Logger{}),
	cmp.Comparer(func(a, b *slog.Logger) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c, err := fromEnv(map[string]string{"DATABASE_URL": testURL, "DATABASE_PATH": "old.db", "DATABASE_TIMEOUT": "", "ENABLE_QUERY_LOGGING": "  "})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Config{URL: testURL}, c, cmpConfig); diff != "" {
		t.Errorf("an empty environment sets fields (-want +got):\n%s", diff)
	}
	want := Config{
		URL: testURL, AcquireTimeout: 30 * time.Second, PoolSize: 20, MaxConnections: 20, MinConnections: 2,
		Logger: slog.Default(), AuditRetention: 30 * 24 * time.Hour, InactiveSessionRetention: 7 * 24 * time.Hour,
		StatementTimeout: 30 * time.Second, NotifyInterval: 20 * time.Millisecond, ReaderRole: "sharedcontext_reader",
	}
	got, err := c.validate()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpConfig); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	again, err := got.validate()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again, cmpConfig); diff != "" {
		t.Errorf("validate is not idempotent (-first +second):\n%s", diff)
	}
}

func TestConfigFromEnvVariables(t *testing.T) {
	t.Parallel()
	const days = 24 * time.Hour
	for _, test := range []struct {
		variable, value string
		want            func(*Config)
	}{
		{"DATABASE_TIMEOUT", "1", func(c *Config) { c.AcquireTimeout = time.Second }},
		{"DATABASE_TIMEOUT", " 300 ", func(c *Config) { c.AcquireTimeout = 300 * time.Second }},
		{"DATABASE_TIMEOUT", "2.5", func(c *Config) { c.AcquireTimeout = 2500 * time.Millisecond }},
		{"POSTGRESQL_POOL_SIZE", "1", func(c *Config) { c.PoolSize, c.MinConnections = 1, 1 }},
		{"POSTGRESQL_POOL_SIZE", "250", func(c *Config) { c.PoolSize = 250 }},
		{"DATABASE_MAX_CONNECTIONS", "1", func(c *Config) { c.MaxConnections, c.MinConnections = 1, 1 }},
		{"DATABASE_MAX_CONNECTIONS", "100", func(c *Config) { c.MaxConnections = 100 }},
		{"DATABASE_MIN_CONNECTIONS", "0", func(c *Config) { c.MinConnections = -1 }},
		{"DATABASE_MIN_CONNECTIONS", " 20\n", func(c *Config) { c.MinConnections = 20 }},
		{"ENABLE_QUERY_LOGGING", "true", func(c *Config) { c.QueryLogging = true }},
		{"ENABLE_QUERY_LOGGING", " YES ", func(c *Config) { c.QueryLogging = true }},
		{"ENABLE_QUERY_LOGGING", "1", func(c *Config) { c.QueryLogging = true }},
		{"ENABLE_QUERY_LOGGING", "On", func(c *Config) { c.QueryLogging = true }},
		{"ENABLE_QUERY_LOGGING", "False", func(*Config) {}},
		{"ENABLE_QUERY_LOGGING", "0", func(*Config) {}},
		{"ENABLE_QUERY_LOGGING", "no", func(*Config) {}},
		{"ENABLE_QUERY_LOGGING", "off", func(*Config) {}},
		{"DATABASE_SLOW_QUERY", "0.25", func(c *Config) { c.SlowQuery = 250 * time.Millisecond }},
		{"DATABASE_SLOW_QUERY", "", func(*Config) {}},
		{"DATABASE_ALLOW_NEWER_SCHEMA", "true", func(c *Config) { c.AllowNewerSchema = true }},
		{"DATABASE_ALLOW_NEWER_SCHEMA", "false", func(*Config) {}},
		{"DATABASE_READER_ROLE", " app_reader ", func(c *Config) { c.ReaderRole = "app_reader" }},
		{"AUDIT_LOG_RETENTION_DAYS", "1", func(c *Config) { c.AuditRetention = days }},
		{"AUDIT_LOG_RETENTION_DAYS", "36500", func(c *Config) { c.AuditRetention = 36500 * days }},
		{"INACTIVE_SESSION_RETENTION_DAYS", " 90", func(c *Config) { c.InactiveSessionRetention = 90 * days }},
		{"JWT_ENCRYPTION_KEY", testKey, func(c *Config) { c.EncryptionKeys = []Secret{testKey} }},
		{"JWT_ENCRYPTION_KEY", testKey + " , " + oldKey, func(c *Config) { c.EncryptionKeys = []Secret{testKey, oldKey} }},
		{"JWT_ENCRYPTION_KEY", "cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=", func(c *Config) { c.EncryptionKeys = []Secret{testKey} }},
		{"DIRECT_DATABASE_URL", " postgres://app@direct/shared ", func(c *Config) { c.DirectURL = "postgres://app@direct/shared" }},
	} {
		t.Run(test.variable+"="+test.value, func(t *testing.T) {
			t.Parallel()
			want, err := Config{URL: testURL}.validate()
			if err != nil {
				t.Fatal(err)
			}
			test.want(&want)
			c, err := fromEnv(map[string]string{"DATABASE_URL": testURL, test.variable: test.value})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.validate()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpConfig, cmp.Transformer("reveal", Secret.Reveal)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigFromEnvRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ variable, value, accepted string }{
		{"DATABASE_TIMEOUT", "0", "from 1 to 300"},
		{"DATABASE_SLOW_QUERY", "0", "from 0.001 to 300"},
		{"DATABASE_SLOW_QUERY", "250ms", "from 0.001 to 300"},
		{"DATABASE_TIMEOUT", "0.999", "from 1 to 300"},
		{"DATABASE_TIMEOUT", "300.1", "from 1 to 300"},
		{"DATABASE_TIMEOUT", "-5", "from 1 to 300"},
		{"DATABASE_TIMEOUT", "30s", "from 1 to 300"},
		{"DATABASE_TIMEOUT", "NaN", "from 1 to 300"},
		{"DATABASE_TIMEOUT", "1e400", "from 1 to 300"},
		{"DATABASE_TIMEOUT", strings.Repeat("9", 400), "from 1 to 300"},
		{"POSTGRESQL_POOL_SIZE", "0", "from 1 to"},
		{"POSTGRESQL_POOL_SIZE", "-1", "from 1 to"},
		{"POSTGRESQL_POOL_SIZE", "2147483648", "from 1 to"},
		{"POSTGRESQL_POOL_SIZE", "99999999999999999999", "from 1 to"},
		{"POSTGRESQL_POOL_SIZE", "ten", "from 1 to"},
		{"POSTGRESQL_POOL_SIZE", "5 5", "from 1 to"},
		{"DATABASE_MAX_CONNECTIONS", "0", "from 1 to 100"},
		{"DATABASE_MAX_CONNECTIONS", "101", "from 1 to 100"},
		{"DATABASE_MAX_CONNECTIONS", "2.5", "from 1 to 100"},
		{"DATABASE_MIN_CONNECTIONS", "-1", "from 0 to"},
		{"DATABASE_MIN_CONNECTIONS", "21", "from 0 to 20"},
		{"DATABASE_MIN_CONNECTIONS", "x", "from 0 to"},
		{"ENABLE_QUERY_LOGGING", "maybe", "true, false"},
		{"ENABLE_QUERY_LOGGING", "2", "true, false"},
		{"DATABASE_ALLOW_NEWER_SCHEMA", "perhaps", "true, false"},
		{"DATABASE_READER_ROLE", "none", "name of a role of its own"},
		{"DATABASE_READER_ROLE", "pg_read_all_data", "name of a role of its own"},
		{"AUDIT_LOG_RETENTION_DAYS", "0", "from 1 to 36500"},
		{"AUDIT_LOG_RETENTION_DAYS", "36501", "from 1 to 36500"},
		{"AUDIT_LOG_RETENTION_DAYS", "month", "from 1 to 36500"},
		{"INACTIVE_SESSION_RETENTION_DAYS", "-7", "from 1 to 36500"},
		{"INACTIVE_SESSION_RETENTION_DAYS", "9223372036854775807", "from 1 to 36500"},
	} {
		t.Run(test.variable+"="+test.value, func(t *testing.T) {
			t.Parallel()
			_, err := fromEnv(map[string]string{"DATABASE_URL": testURL, test.variable: test.value})
			errs := configErrors(t, err)
			if len(errs) != 1 {
				t.Fatalf("got %d errors, want 1: %v", len(errs), err)
			}
			if errs[0].Variable != test.variable || errs[0].Value != test.value || !strings.Contains(errs[0].Problem, test.accepted) {
				t.Errorf("got %#v, want the variable, its value and %q", errs[0], test.accepted)
			}
		})
	}
}

func TestConfigFromEnvJoinsErrors(t *testing.T) {
	t.Parallel()
	_, err := fromEnv(map[string]string{
		"DATABASE_URL": "mysql://u:pw@h/d", "DIRECT_DATABASE_URL": "postgres://h/d?nope=1", "DATABASE_TIMEOUT": "0",
		"ENABLE_QUERY_LOGGING": "perhaps", "JWT_ENCRYPTION_KEY": "a,b",
	})
	var variables []string
	for _, e := range configErrors(t, err) {
		variables = append(variables, e.Variable)
	}
	want := []string{"DATABASE_TIMEOUT", "ENABLE_QUERY_LOGGING", "DATABASE_URL", "DIRECT_DATABASE_URL", "JWT_ENCRYPTION_KEY", "JWT_ENCRYPTION_KEY"}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}

func TestConfigWithoutURL(t *testing.T) {
	t.Parallel()
	_, err := fromEnv(nil)
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || !strings.Contains(err.Error(), "sharedcontext dev") {
		t.Errorf("got %v", err)
	}
	_, err = fromEnv(map[string]string{"DATABASE_PATH": "./chat_history.db", "DATABASE_URL": " "})
	errs := configErrors(t, err)
	if len(errs) != 1 || errs[0].Variable != "DATABASE_PATH" || !strings.Contains(errs[0].Problem, "sharedcontext import FILE") ||
		!strings.Contains(errs[0].Problem, "docs/migration.md") {
		t.Errorf("got %v", err)
	}
}

func TestConfigValidateStruct(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config   Config
		variable string
	}{
		{Config{}, "DATABASE_URL"},
		{Config{URL: testURL, AcquireTimeout: 999 * time.Millisecond}, "DATABASE_TIMEOUT"},
		{Config{URL: testURL, AcquireTimeout: -1}, "DATABASE_TIMEOUT"},
		{Config{URL: testURL, SlowQuery: -1}, "DATABASE_SLOW_QUERY"},
		{Config{URL: testURL, SlowQuery: 301 * time.Second}, "DATABASE_SLOW_QUERY"},
		{Config{URL: testURL, PoolSize: -1}, "POSTGRESQL_POOL_SIZE"},
		{Config{URL: testURL, MaxConnections: 101}, "DATABASE_MAX_CONNECTIONS"},
		{Config{URL: testURL, MinConnections: 3, PoolSize: 2}, "DATABASE_MIN_CONNECTIONS"},
		{Config{URL: testURL, MinConnections: 3, MaxConnections: 2}, "DATABASE_MIN_CONNECTIONS"},
		{Config{URL: testURL, AuditRetention: -1}, "AUDIT_LOG_RETENTION_DAYS"},
		{Config{URL: testURL, InactiveSessionRetention: -1}, "INACTIVE_SESSION_RETENTION_DAYS"},
		{Config{URL: testURL, StatementTimeout: math.MaxInt64}, "StatementTimeout"},
		{Config{URL: testURL, ExecMode: ExecModeSimpleProtocol + 1}, "ExecMode"},
		{Config{URL: testURL, ExecMode: -1}, "ExecMode"},
		{Config{URL: testURL, DirectURL: "postgres://h/d?pgbouncer=true"}, "DIRECT_DATABASE_URL"},
		{Config{URL: testURL, DirectURL: "postgres://u@aws-0-eu.pooler.supabase.com:6543/d"}, "DIRECT_DATABASE_URL"},
		{Config{URL: testURL, EncryptionKeys: []Secret{testKey, ""}}, "JWT_ENCRYPTION_KEY"},
		{Config{URL: testURL, EncryptionKeys: []Secret{Secret(testKey[:43])}}, "JWT_ENCRYPTION_KEY"},
		{Config{URL: testURL, EncryptionKeys: []Secret{Secret(testKey[:10] + "\n" + testKey[10:])}}, "JWT_ENCRYPTION_KEY"},
		{Config{URL: testURL, EncryptionKeys: []Secret{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="}}, "JWT_ENCRYPTION_KEY"},
		{Config{URL: testURL, EncryptionKeys: []Secret{"not base64 at all, but forty-four characters"}}, "JWT_ENCRYPTION_KEY"},
	} {
		_, err := test.config.validate()
		errs := configErrors(t, err)
		if len(errs) != 1 || errs[0].Variable != test.variable {
			t.Errorf("%v: got %v, want one error about %s", test.config, err, test.variable)
		}
		for _, build := range []func() error{
			func() error { _, err := test.config.poolConfig(); return err },
			func() error { _, err := test.config.directConfig(); return err },
		} {
			var configError *ConfigError
			if err := build(); !errors.As(err, &configError) {
				t.Errorf("%v: building pgx's configuration gives %v", test.config, err)
			}
		}
	}
}

func TestConfigDoesNotChangeKeysOfTheCaller(t *testing.T) {
	t.Parallel()
	keys := []Secret{" cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4= "}
	before := keys[0].Reveal()
	c, err := Config{URL: testURL, EncryptionKeys: keys}.validate()
	if err != nil || c.EncryptionKeys[0].Reveal() != testKey || keys[0].Reveal() != before {
		t.Errorf("the caller's slice changed, or the key was not normalized: %v", err)
	}
}

func TestExecModeNames(t *testing.T) {
	t.Parallel()
	for mode, want := range map[ExecMode]struct {
		name string
		pgx  pgx.QueryExecMode
	}{
		ExecModeAuto:           {"auto", pgx.QueryExecModeCacheStatement},
		ExecModeCacheStatement: {"cache_statement", pgx.QueryExecModeCacheStatement},
		ExecModeCacheDescribe:  {"cache_describe", pgx.QueryExecModeCacheDescribe},
		ExecModeExec:           {"exec", pgx.QueryExecModeExec},
		ExecModeSimpleProtocol: {"simple_protocol", pgx.QueryExecModeSimpleProtocol},
		ExecMode(9):            {"ExecMode(9)", pgx.QueryExecModeCacheStatement},
	} {
		if got := fmt.Sprint(mode); got != want.name {
			t.Errorf("got name %q, want %q", got, want.name)
		}
		if got := mode.pgxMode(); got != want.pgx {
			t.Errorf("%v: got %v, want %v", mode, got, want.pgx)
		}
	}
}
