package store

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// endpoint is a host that pgx would try, and how.
type endpoint struct {
	Host string
	Port uint16
	TLS  bool
}

// connected is what a URL comes to in pgx's configuration.
type connected struct {
	Endpoints                []endpoint
	Database, User, Password string
	Runtime                  map[string]string
	ConnectTimeout           time.Duration
	StatementTimeout         string
	Mode                     pgx.QueryExecMode
	Pooler                   bool
}

// skipUnderLibpqVariables skips a test that states what comes out where the URL says nothing.
func skipUnderLibpqVariables(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PG") && name != "PGDATA" && value != "" {
			t.Skipf("%s is set, which pgx reads", name)
		}
	}
}

func connect(t *testing.T, url string) connected {
	t.Helper()
	c := Config{URL: url}
	pool, err := c.poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	cc := pool.ConnConfig
	got := connected{
		Endpoints: []endpoint{{cc.Host, cc.Port, cc.TLSConfig != nil}},
		Database:  cc.Database, User: cc.User, Password: cc.Password,
		Runtime: cc.RuntimeParams, ConnectTimeout: cc.ConnectTimeout,
		StatementTimeout: cc.RuntimeParams["statement_timeout"], Mode: cc.DefaultQueryExecMode, Pooler: c.viaPooler(),
	}
	for _, f := range cc.Fallbacks {
		got.Endpoints = append(got.Endpoints, endpoint{f.Host, f.Port, f.TLSConfig != nil})
	}
	delete(got.Runtime, "statement_timeout")
	if cc.StatementCacheCapacity <= 0 || cc.DescriptionCacheCapacity <= 0 {
		t.Errorf("caches of %d statements and %d descriptions: pgx refuses every parameterised query", cc.StatementCacheCapacity, cc.DescriptionCacheCapacity)
	}
	if strings.Contains(cc.ConnString(), "password") {
		t.Errorf("pgx keeps the password in its connection string")
	}
	return got
}

func TestDatabaseURLForms(t *testing.T) {
	skipUnderLibpqVariables(t)
	t.Parallel()
	const cacheStatement, cacheDescribe = pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe
	plain := func(change func(*connected)) connected {
		c := connected{
			Endpoints: []endpoint{{"h", 5432, false}}, Database: "d", User: "u", Password: "p",
			Runtime: map[string]string{"application_name": "sharedcontext"}, ConnectTimeout: 10 * time.Second,
			StatementTimeout: "30000", Mode: cacheStatement,
		}
		change(&c)
		return c
	}
	same := func(*connected) {}
	password := func(s string) func(*connected) { return func(c *connected) { c.Password = s } }
	endpoints := func(e ...endpoint) func(*connected) { return func(c *connected) { c.Endpoints = e } }
	runtime := func(name, value string) func(*connected) { return func(c *connected) { c.Runtime[name] = value } }
	pooler := func(c *connected) { c.Mode, c.Pooler, c.StatementTimeout = cacheDescribe, true, "" }

	const tail = "&sslmode=disable"
	for _, test := range []struct {
		url  string
		want func(*connected)
	}{
		// Schemes and users.
		{"postgres://u:p@h/d?sslmode=disable", same},
		{"postgresql://u:p@h:5432/d?sslmode=disable", same},
		{"postgresql+asyncpg://u:p@h/d?sslmode=disable", same},
		{"postgresql+psycopg://u:p@h/d?sslmode=disable", same},
		{" PostgreSQL+psycopg2://u:p@h/d?sslmode=disable&\n", same},
		{"postgres://u:@h/d?sslmode=disable", password("")},
		{"postgres://u@h/d?sslmode=disable", password("")},
		{"postgres://u:a+b@h/d?sslmode=disable", password("a+b")},
		{"postgres://u:a%2Bb%20c%40%2f%25%3a@h/d?sslmode=disable", password("a+b c@/%:")},
		{"postgres://u:a:b?c#d&e f'\\@h/d?sslmode=disable", password("a:b?c#d&e f'\\")},
		{"postgres://%75:%F0%9F%94%91@h/%64?sslmode=disable", password("🔑")},
		{"postgres://h/?user=u&password=p%26q&dbname=d" + tail, password("p&q")},
		{"postgres://x:y@h/z?user=u&password=p&database=d" + tail, same},
		// Hosts.
		{"postgres://u:p@[::1]:6000/d?sslmode=disable", endpoints(endpoint{"::1", 6000, false})},
		{"postgres://u:p@[fe80::1%25eth0]/d?sslmode=disable", endpoints(endpoint{"fe80::1%eth0", 5432, false})},
		{"postgres://u:p@h1:1,h2:2/d?sslmode=disable", endpoints(endpoint{"h1", 1, false}, endpoint{"h2", 2, false})},
		{"postgres://u:p@h1,[::2]:2,h3/d?sslmode=disable", endpoints(endpoint{"h1", 5432, false}, endpoint{"::2", 2, false}, endpoint{"h3", 5432, false})},
		{"postgres://u:p@h1:1,h2:2/d?sslmode=prefer", endpoints(endpoint{"h1", 1, true}, endpoint{"h1", 1, false}, endpoint{"h2", 2, true}, endpoint{"h2", 2, false})},
		{"postgres://u:p@/d?host=/run/pg&port=5433", endpoints(endpoint{"/run/pg", 5433, false})},
		{"postgres://u:p@localhost:5432/d?host=/cloudsql/a:b:c", endpoints(endpoint{"/cloudsql/a:b:c", 5432, false})},
		{"postgres://u:p@%2Frun%2Fpg:5433/d", endpoints(endpoint{"/run/pg", 5433, false})},
		{"postgresql+asyncpg://u:p@/d?host=a:1&host=b:2" + tail, endpoints(endpoint{"a", 1, false}, endpoint{"b", 2, false})},
		{"postgresql+asyncpg://u:p@/d?host=a&host=b&port=7" + tail, endpoints(endpoint{"a", 7, false}, endpoint{"b", 7, false})},
		// Keyword strings.
		{"host=h user=u password=p dbname=d sslmode=disable", same},
		{`host = h user='u' password='a b\'c\\d' database=d sslmode=disable`, password(`a b'c\d`)},
		{`host=h user=u password=a\ b dbname=d sslmode=disable`, password("a b")},
		{"host=h user=u password='' dbname=d sslmode=disable", password("")},
		{"host=/tmp,h port=1,2 user=u password=p dbname=d sslmode=disable", endpoints(endpoint{"/tmp", 1, false}, endpoint{"h", 2, false})},
		// Encryption.
		{"postgres://u:p@h/d?ssl=true", endpoints(endpoint{"h", 5432, true})},
		{"postgres://u:p@h/d?ssl=require", endpoints(endpoint{"h", 5432, true})},
		{"postgres://u:p@h/d?ssl=verify-full", endpoints(endpoint{"h", 5432, true})},
		{"postgres://u:p@h/d?ssl=prefer", endpoints(endpoint{"h", 5432, true}, endpoint{"h", 5432, false})},
		{"postgres://u:p@h/d?ssl=false", same},
		{"postgres://u:p@h/d?direct_tls=true&sslmode=require", endpoints(endpoint{"h", 5432, true})},
		// Poolers.
		{"postgres://u:p@h/d?prepared_statement_cache_size=0&statement_cache_size=0" + tail, pooler},
		{"postgres://u:p@h/d?statement_cache_size=0&prepared_statement_cache_size=100" + tail, pooler},
		{"postgres://u:p@h/d?statement_cache_capacity=0" + tail, pooler},
		{"postgres://u:p@h/d?pgbouncer=true" + tail, pooler},
		{"postgres://u:p@h/d?pgbouncer=false&prepared_statement_cache_size=500" + tail, same},
		{"postgres://u:p@h/d?pgbouncer=true&default_query_exec_mode=cache_statement" + tail, func(c *connected) { pooler(c); c.Mode = cacheStatement }},
		{"postgres://u:p@h/d?default_query_exec_mode=simple_protocol" + tail, func(c *connected) { c.Mode = pgx.QueryExecModeSimpleProtocol }},
		{"postgres://u:p@aws-0-eu.pooler.supabase.com:6543/d?sslmode=disable", func(c *connected) {
			pooler(c)
			c.Endpoints = []endpoint{{"aws-0-eu.pooler.supabase.com", 6543, false}}
		}},
		{"postgres://u:p@aws-0-eu.pooler.supabase.com:5432/d?sslmode=disable", endpoints(endpoint{"aws-0-eu.pooler.supabase.com", 5432, false})},
		{"postgres://u:p@ep-x-pooler.eu.aws.neon.tech/d?sslmode=disable", func(c *connected) {
			pooler(c)
			c.Endpoints = []endpoint{{"ep-x-pooler.eu.aws.neon.tech", 5432, false}}
		}},
		{"postgres://u:p@h/d?pgbouncer=true&statement_timeout=5s" + tail, func(c *connected) { pooler(c); c.StatementTimeout = "5s" }},
		// Timeouts.
		{"postgres://u:p@h/d?command_timeout=2.5" + tail, func(c *connected) { c.StatementTimeout = "2500" }},
		{"postgres://u:p@h/d?command_timeout=0.00001" + tail, func(c *connected) { c.StatementTimeout = "1" }},
		{"postgres://u:p@h/d?command_timeout=9&statement_timeout=1min" + tail, func(c *connected) { c.StatementTimeout = "60000" }},
		{"postgres://u:p@h/d?statement_timeout=0" + tail, func(c *connected) { c.StatementTimeout = "0" }},
		{"postgres://u:p@h/d?options=-c%20statement_timeout=7s" + tail, func(c *connected) { c.Runtime["options"], c.StatementTimeout = "-c statement_timeout=7s", "" }},
		{"postgres://u:p@h/d?timeout=1.5" + tail, func(c *connected) { c.ConnectTimeout = 1500 * time.Millisecond }},
		{"postgres://u:p@h/d?connect_timeout=3" + tail, func(c *connected) { c.ConnectTimeout = 3 * time.Second }},
		{"postgres://u:p@h/d?connect_timeout=0" + tail, func(c *connected) { c.ConnectTimeout = 0 }},
		// Settings.
		{"postgres://u:p@h/d?application_name=a+b" + tail, runtime("application_name", "a+b")},
		{"postgres://u:p@h/d?fallback_application_name=x" + tail, runtime("application_name", "x")},
		{"postgres://u:p@h/d?TimeZone=Europe/Vienna" + tail, runtime("timezone", "Europe/Vienna")},
		{"postgres://u:p@h/d?search_path=app,public" + tail, runtime("search_path", "app,public")},
		{"postgres://u:p@h/d?myapp.tenant=7" + tail, runtime("myapp.tenant", "7")},
		{`postgres://u:p@h/d?server_settings={"jit":"off","geqo_seed":0.5,"search_path":"a,b"}` + tail, func(c *connected) {
			c.Runtime["jit"], c.Runtime["geqo_seed"], c.Runtime["search_path"] = "off", "0.5", "a,b"
		}},
		{"postgres://u:p@h/d?server_settings=JIT:off,%20application_name:%20x:y" + tail, func(c *connected) {
			c.Runtime["jit"], c.Runtime["application_name"] = "off", "x:y"
		}},
		// What pgx would have sent to the server, and what means nothing here.
		{"postgres://u:p@h/d?keepalives=1&keepalives_idle=30&keepalives_count=3&tcp_user_timeout=9&gssencmode=disable&sslcompression=0" + tail, same},
		{"postgres://u:p@h/d?prepared_statement_name_func=f&max_cached_statement_lifetime=0&max_cacheable_statement_size=15360&async_fallback=true" + tail, same},
	} {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(plain(test.want), connect(t, test.url), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDatabaseURLRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, problem string }{
		{"sqlite+aiosqlite:///./hunter2.db", "sharedcontext import FILE"},
		{"sqlite:///hunter2", "docs/migration.md"},
		{"hunter2/chat_history.db", "sharedcontext import FILE"},
		{"mysql+aiomysql://u:hunter2@h/d", "version 2 has one back end, PostgreSQL"},
		{"mariadb://u:hunter2@h/d", "sharedcontext import FILE"},
		{"jdbc:postgresql://h/d?password=hunter2", "JDBC"},
		{"https://u:hunter2@h/d", "scheme"},
		{"hunter2", "neither a URL such as"},
		{`"postgres://u:hunter2@h/d"`, "quotation marks"},
		{"postgres://u:hunter2\x00@h/d", "NUL"},
		{"postgres://u:hunter2%00@h/d", "NUL"},
		{"postgres://u:hunter2%zz@h/d", "%25"},
		{"postgres://u:hunter2%4", "%25"},
		{"postgres://u:hunter2/x@h/d", "%2F"},
		{"postgres://u:hunter2@x@h/d", "%40"},
		{"postgres://u:x@y?hunter2=z@h/d", "%40"},
		{"postgres://h?password=hunter2@x", "%3F"},
		{"postgres://h:5432?password=hunter2@x", "%3F"},
		{"postgres://u:hunter2", "@ after it is missing"},
		{"postgres://u@h:0/d", "1 to 65535"},
		{"postgres://u@h:65536/d", "1 to 65535"},
		{"postgres://u@h:+5/d", "1 to 65535"},
		{"postgres://u@h1,h2,h3/d?port=1,2", "3 hosts and 2 ports"},
		{"postgres://u@/d?host=a:1&port=2", "both give ports"},
		{"postgres://u@[::1/d", "IPv6"},
		{"postgres://u@[]/d", "IPv6"},
		{"postgres://u@[::1]x/d", "IPv6"},
		{"postgres://u@h/d?hunter2", `without "="`},
		{"postgres://u@h/d?sslmode=hunter2", "parameter sslmode: must be one of disable"},
		{"postgres://u@h/d?ssl=hunter2", "parameter ssl: must be true, false or one of"},
		{"postgres://u@h/d?nonsense=1&pw=2", "unknown parameters: nonsense, pw"},
		{"postgres://u@h/d?host%20name=1", "(one whose name is not a word)"},
		{"postgres://u@h/d?password=a&hunter2=b", "its name is not shown"},
		{"postgres://u@h/d?jit=on&jit=off", "parameter jit is given twice"},
		{"postgres://u@h/d?TimeZone=UTC&timezone=UTC", "parameters TimeZone and timezone say the same thing"},
		{"postgres://u@h/d?ssl=true&sslmode=require", "say the same thing"},
		{"postgres://u@h/d?timeout=1&connect_timeout=1", "say the same thing"},
		{`postgres://u@h/d?jit=on&server_settings={"jit":"off"}`, "parameter jit is given twice"},
		{"postgres://u@h/d?command_timeout=hunter2", "parameter command_timeout: must be a number of seconds above 0"},
		{"postgres://u@h/d?command_timeout=0", "command_timeout"},
		{"postgres://u@h/d?command_timeout=1e9", "command_timeout"},
		{"postgres://u@h/d?command_timeout=9999999", "command_timeout"},
		{"postgres://u@h/d?timeout=-1", "parameter timeout"},
		{"postgres://u@h/d?statement_timeout=soon", "statement_timeout"},
		{"postgres://u@h/d?statement_cache_size=-1", "parameter statement_cache_size"},
		{"postgres://u@h/d?max_cacheable_statement_size=x", "max_cacheable_statement_size"},
		{"postgres://u@h/d?description_cache_capacity=0", "must be 1 or more"},
		{"postgres://u@h/d?default_query_exec_mode=describe_exec", "not offered"},
		{"postgres://u@h/d?default_query_exec_mode=fast", "cache_statement, cache_describe, exec, simple_protocol"},
		{"postgres://u@h/d?statement_cache_size=0&default_query_exec_mode=cache_statement", "needs it"},
		{"postgres://u@h/d?pgbouncer=2", "parameter pgbouncer: must be one of true, false"},
		{"postgres://u@h/d?pool_max_conns=5", "POSTGRESQL_POOL_SIZE"},
		{"postgres://u@h/d?connection_limit=1&pool_timeout=0", "DATABASE_TIMEOUT"},
		{"postgres://u@h/d?schema=app", "search_path"},
		{"postgres://u@h/d?gssencmode=require", "gssencmode"},
		{"postgres://u@h/d?sslcrl=/x", "would weaken"},
		{"postgres://u@h/d?ssl_min_protocol_version=1.2", "TLSv1.2"},
		{"postgres://u@h/d?min_protocol_version=3.2&max_protocol_version=3.0", "above its max"},
		{"postgres://u@h/d?client_encoding=LATIN1", "UTF8"},
		{`postgres://u@h/d?server_settings={"jit":null}`, "JSON object"},
		{`postgres://u@h/d?server_settings={"jit":{}}`, "JSON object"},
		{"postgres://u@h/d?server_settings=jit", "JSON object"},
		{"postgres://u@h/d?server_settings=a%20b:c", "no setting of PostgreSQL"},
		{"postgres://u@h/d?server_settings=password:hunter2", "connection parameter"},
		{"postgres://u@h/d?server_settings=datestyle:german", "must stay at its default"},
		{"host=h password=hunter2 x", "single quotes"},
		{"host=h password='hunter2", "not closed"},
		{"host=h password=my hunter2=x", "its name is not shown"},
		{"host=h host=i", "parameter host is given twice"},
		{"host=h nonsense=1", "unknown parameters: nonsense"},
	} {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				config   Config
				variable string
			}{
				{Config{URL: test.url}, "DATABASE_URL"},
				{Config{URL: testURL, DirectURL: test.url}, "DIRECT_DATABASE_URL"},
			} {
				_, err := c.config.validate()
				errs := configErrors(t, err)
				if len(errs) == 0 {
					t.Fatal("accepted")
				}
				if !strings.Contains(errs[0].Problem, test.problem) || errs[0].Variable != c.variable || errs[0].Value != "" {
					t.Errorf("got %v\nwant %q about %s, without the value", err, test.problem, c.variable)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error repeats the input: %v", err)
				}
			}
		})
	}
}

// TestSplitConnStringAgreesWithPgx compares the two parsers where both accept: what is in a URL that both drivers could
// be given must not depend on which of them reads it.
func TestSplitConnStringAgreesWithPgx(t *testing.T) {
	t.Parallel()
	part := rapid.StringMatching(`([a-z0-9.+_!$*'()-]|%2[0-9B-F]|%C3%A9){0,8}`)
	host := rapid.StringMatching(`([a-z]{1,5}|\[::[0-9a-f]\]|%2Frun|10\.0\.0\.1)(:[1-9][0-9]{0,3})?`)
	rapid.Check(t, func(t *rapid.T) {
		url := "postgres://" + part.Draw(t, "user") + "x:" + part.Draw(t, "password") + "@" +
			strings.Join(rapid.SliceOfN(host, 1, 3).Draw(t, "hosts"), ",") + "/" + part.Draw(t, "database") + "?sslmode=disable"
		want, err := pgx.ParseConfig(url)
		if err != nil {
			t.Skip(err)
		}
		pool, err := Config{URL: url}.poolConfig()
		if err != nil {
			t.Fatalf("%s: pgx accepts it, but: %v", url, err)
		}
		got := pool.ConnConfig
		if got.Host != want.Host || got.Port != want.Port || got.User != want.User || got.Password != want.Password || got.Database != want.Database {
			t.Errorf("%s\ngot  %q %d %q %q %q\nwant %q %d %q %q %q", url, got.Host, got.Port, got.User, got.Password, got.Database,
				want.Host, want.Port, want.User, want.Password, want.Database)
		}
		if diff := cmp.Diff(want.Fallbacks, got.Fallbacks); diff != "" {
			t.Errorf("%s: fallbacks (-want +got):\n%s", url, diff)
		}
	})
}
