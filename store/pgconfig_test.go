package store

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

func TestPoolConfigPool(t *testing.T) {
	t.Parallel()
	type pool struct {
		Min, Max                             int32
		Lifetime, Jitter, Idle, Health, Ping time.Duration
	}
	sized := func(low, high int32) pool {
		return pool{low, high, 45 * time.Minute, 15 * time.Minute, 10 * time.Minute, time.Minute, 5 * time.Second}
	}
	for _, test := range []struct {
		config Config
		want   pool
	}{
		{Config{}, sized(2, 20)},
		{Config{PoolSize: 5}, sized(2, 5)},
		{Config{PoolSize: 50}, sized(2, 20)},
		{Config{PoolSize: 50, MaxConnections: 40}, sized(2, 40)},
		{Config{MaxConnections: 1}, sized(1, 1)},
		{Config{MinConnections: -1}, sized(0, 20)},
		{Config{MinConnections: 20}, sized(20, 20)},
		{Config{AcquireTimeout: time.Second}, pool{2, 20, 45 * time.Minute, 15 * time.Minute, 10 * time.Minute, time.Minute, 500 * time.Millisecond}},
	} {
		test.config.URL = testURL
		p, err := test.config.poolConfig()
		if err != nil {
			t.Fatal(err)
		}
		got := pool{p.MinConns, p.MaxConns, p.MaxConnLifetime, p.MaxConnLifetimeJitter, p.MaxConnIdleTime, p.HealthCheckPeriod, p.PingTimeout}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.config, diff)
		}
	}
}

func TestPoolConfigFields(t *testing.T) {
	t.Parallel()
	tracer := &testTracer{}
	pool, err := Config{URL: testURL + "&command_timeout=5", StatementTimeout: time.Minute, ExecMode: ExecModeExec, Tracer: tracer}.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got := pool.ConnConfig.RuntimeParams["statement_timeout"]; got != "60000" {
		t.Errorf("got statement_timeout %q: the field comes before the URL", got)
	}
	if pool.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeExec || pool.ConnConfig.Tracer != tracer {
		t.Errorf("got mode %v, tracer %v", pool.ConnConfig.DefaultQueryExecMode, pool.ConnConfig.Tracer)
	}

	pool, err = Config{URL: testURL, StatementTimeout: -1}.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := pool.ConnConfig.RuntimeParams["statement_timeout"]; ok {
		t.Errorf("got statement_timeout %q, want none", got)
	}

	c := Config{URL: testURL + "&statement_cache_size=0", ExecMode: ExecModeSimpleProtocol}
	if c.execMode() != ExecModeSimpleProtocol || (Config{URL: c.URL}).execMode() != ExecModeCacheDescribe || (Config{URL: testURL}).execMode() != ExecModeCacheStatement {
		t.Error("execMode does not resolve auto, or overrules an explicit mode")
	}
}

type testTracer struct{ pgx.QueryTracer }

func TestPoolConfigTLS(t *testing.T) {
	t.Parallel()
	pool, err := Config{URL: "postgres://u@h1,h2/d?sslmode=prefer&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3"}.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	configs := []*tls.Config{pool.ConnConfig.TLSConfig}
	for _, f := range pool.ConnConfig.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	configs = slices.DeleteFunc(configs, func(c *tls.Config) bool { return c == nil })
	if len(configs) != 2 {
		t.Fatalf("got %d encrypted attempts, want 2", len(configs))
	}
	for _, c := range configs {
		if c.MinVersion != tls.VersionTLS13 || c.MaxVersion != tls.VersionTLS13 {
			t.Errorf("got TLS %x to %x", c.MinVersion, c.MaxVersion)
		}
	}

	pool, err = Config{URL: "postgres://u@h/d?ssl=verify-full"}.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c := pool.ConnConfig.TLSConfig; c.InsecureSkipVerify || c.ServerName != "h" {
		t.Errorf("verify-full does not verify the host")
	}
}

func TestPoolConfigExplainsFiles(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "root.crt")
	for _, test := range []struct {
		url, want string
		hidden    bool
	}{
		{"postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=" + missing, missing, false},
		{"postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/hunter2/" + missing, "the driver refuses", true},
		{"postgres://u:hunter2@h/d?require_auth=magic", "require_auth", false},
	} {
		_, err := Config{URL: test.url}.poolConfig()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
		if test.hidden && strings.Contains(err.Error(), missing) {
			t.Errorf("got %v", err)
		}
		configErrors(t, err)
	}
}

func TestDirectConfig(t *testing.T) {
	skipUnderLibpqVariables(t)
	t.Parallel()
	const pooled = "postgres://u:p@pool:6432/d?pgbouncer=true&statement_timeout=5s&sslmode=disable"
	for _, test := range []struct {
		config      Config
		host        string
		timeout     string
		needsDirect bool
		mode        pgx.QueryExecMode
	}{
		{Config{URL: "postgres://u:p@h/d?statement_timeout=5s&sslmode=disable"}, "h", "", false, pgx.QueryExecModeCacheStatement},
		{Config{URL: testURL, ExecMode: ExecModeExec}, "db.example", "", false, pgx.QueryExecModeCacheStatement},
		{Config{URL: pooled}, "pool", "", true, pgx.QueryExecModeCacheDescribe},
		{Config{URL: pooled, DirectURL: "host=direct user=u password=p sslmode=disable"}, "direct", "", false, pgx.QueryExecModeCacheStatement},
		{Config{URL: pooled, DirectURL: "postgres://u:p@direct/d?statement_timeout=1h&sslmode=disable"}, "direct", "1h", false, pgx.QueryExecModeCacheStatement},
	} {
		direct, err := test.config.directConfig()
		if err != nil {
			t.Fatal(err)
		}
		if direct.Host != test.host || direct.RuntimeParams["statement_timeout"] != test.timeout || direct.DefaultQueryExecMode != test.mode {
			t.Errorf("%v: got host %s, statement_timeout %q, mode %v", test.config, direct.Host, direct.RuntimeParams["statement_timeout"], direct.DefaultQueryExecMode)
		}
		if direct.User != "u" && direct.User != "app" || direct.RuntimeParams["application_name"] != "sharedcontext" {
			t.Errorf("%v: got user %s, settings %v", test.config, direct.User, direct.RuntimeParams)
		}
		if got := test.config.needsDirect(); got != test.needsDirect {
			t.Errorf("%v: needsDirect is %t", test.config, got)
		}
	}
}

// TestServiceFileKeywords: what only libpq knows must not reach the server from a service file either.
func TestServiceFileKeywords(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pg_service.conf")
	content := "[shared]\nhost=svc\nuser=u\ndbname=d\nkeepalives_idle=5\ntcp_user_timeout=7\npool_max_conns=3\nsearch_path=app\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := Config{URL: "postgresql://?service=shared&servicefile=" + file}.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	settings := pool.ConnConfig.RuntimeParams
	if _, ok := settings["keepalives_idle"]; ok || settings["search_path"] != "app" || pool.ConnConfig.Host != "svc" || pool.MaxConns != 20 {
		t.Errorf("got host %s, settings %v, %d connections", pool.ConnConfig.Host, settings, pool.MaxConns)
	}
}

func TestScanTimesAsUTC(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	scanTimesAsUTC(m)
	want := time.Date(2025, 8, 22, 21, 48, 35, 123456000, time.UTC)
	binary, err := m.Encode(pgtype.TimestamptzOID, pgtype.BinaryFormatCode, want, nil)
	if err != nil {
		t.Fatal(err)
	}
	binaryArray, err := m.Encode(pgtype.TimestamptzArrayOID, pgtype.BinaryFormatCode, []time.Time{want}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		oid    uint32
		format int16
		source []byte
	}{
		{pgtype.TimestamptzOID, pgtype.TextFormatCode, []byte("2025-08-22 23:48:35.123456+02")},
		{pgtype.TimestamptzOID, pgtype.BinaryFormatCode, binary},
		{pgtype.TimestamptzArrayOID, pgtype.TextFormatCode, []byte(`{"2025-08-22 23:48:35.123456+02"}`)},
		{pgtype.TimestamptzArrayOID, pgtype.BinaryFormatCode, binaryArray},
	} {
		var got time.Time
		var err error
		if test.oid == pgtype.TimestamptzArrayOID {
			var list []time.Time
			if err = m.Scan(test.oid, test.format, test.source, &list); err == nil {
				got = list[0]
			}
		} else {
			err = m.Scan(test.oid, test.format, test.source, &got)
		}
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("type %d, format %d: got %v, %v", test.oid, test.format, got, err)
		}
	}
}
