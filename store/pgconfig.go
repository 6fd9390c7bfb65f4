package store

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	defaultApplicationName = "sharedcontext"
	// defaultConnectTimeout bounds one attempt at one host, where neither the URL nor PGCONNECT_TIMEOUT does. It lets a
	// second host be tried within the default AcquireTimeout.
	defaultConnectTimeout = 10 * time.Second

	// A connection lives 45 to 60 minutes, each one differently long, so that those opened together at the start are not
	// closed together. pgxpool counts the jitter in whole seconds.
	connLifetime       = 45 * time.Minute
	connLifetimeJitter = 15 * time.Minute
	// connIdleTime gives a burst's connections back, in minutes rather than pgxpool's half hour.
	connIdleTime      = 10 * time.Minute
	healthCheckPeriod = time.Minute
	// maxPingTimeout bounds the ping with which an idle connection is tried before it is handed out; see Manager.tryIdle.
	// pgxpool's default is no bound: a connection that a firewall has dropped would then cost the caller minutes.
	maxPingTimeout = 5 * time.Second
)

// poolConfig is everything pgxpool needs to know. Its error is a *ConfigError, or several joined.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	u, errs := parseDatabaseURL(databaseURLVariable, c.URL)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	pool, err := pgxpool.ParseConfig(u.keywordString())
	if err != nil {
		return nil, u.explain(err)
	}
	c.complete(pool.ConnConfig, u)
	if c.viaPooler() {
		// A pooler refuses startup parameters that it does not track. One that stands in the URL is left there: somebody
		// has configured the pooler for it, or wants to read in the server's error that nobody has.
	} else if c.StatementTimeout > 0 {
		milliseconds := max(1, c.StatementTimeout.Milliseconds())
		pool.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(milliseconds, 10)
	}

	pool.MaxConns = int32(c.maxConns())
	pool.MinConns = int32(max(0, c.MinConnections))
	pool.MinIdleConns = 0
	pool.MaxConnLifetime = connLifetime
	pool.MaxConnLifetimeJitter = connLifetimeJitter
	pool.MaxConnIdleTime = connIdleTime
	pool.HealthCheckPeriod = healthCheckPeriod
	pool.ConnConfig.BuildContextWatcherHandler = newCanceller(c.viaPooler())
	pool.PingTimeout = c.pingTimeout()
	pool.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		scanTimesAsUTC(conn.TypeMap())
		return nil
	}
	return pool, nil
}

// pingTimeout leaves a caller half of the time that it waits for a connection to get another one.
func (c Config) pingTimeout() time.Duration { return min(maxPingTimeout, c.AcquireTimeout/2) }

// directConfig is for the connections of migrations and LISTEN: to DirectURL, else to URL. A statement_timeout that
// DATABASE_URL sets for queries does not apply to them. Whoever connects with it calls scanTimesAsUTC, for which pgx has
// no hook here.
func (c Config) directConfig() (*pgx.ConnConfig, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	variable, text := c.directURL()
	u, errs := parseDatabaseURL(variable, text)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	if variable == databaseURLVariable {
		delete(u.runtime, "statement_timeout")
	}
	conn, err := pgx.ParseConfig(u.keywordString())
	if err != nil {
		return nil, u.explain(err)
	}
	// Config.ExecMode and what it suits are about DATABASE_URL.
	c.ExecMode = ExecModeAuto
	c.complete(conn, u)
	return conn, nil
}

// directURL returns the connection string for migrations and LISTEN, and the variable that holds it.
func (c Config) directURL() (variable, text string) {
	if strings.TrimSpace(c.DirectURL) != "" {
		return directURLVariable, c.DirectURL
	}
	return databaseURLVariable, c.URL
}

// complete sets what pgx does not take from a connection string, or should not.
func (c Config) complete(conn *pgx.ConnConfig, u *databaseURL) {
	if u.password != "" {
		conn.Password = u.password.Reveal()
	}
	conn.Tracer = c.Tracer
	conn.DefaultQueryExecMode = cmp.Or(c.ExecMode, u.autoMode()).pgxMode()
	// Never 0: without a cache, pgx refuses each parameterised query in the mode that wants it.
	const pgxDefaultCapacity = 512
	conn.StatementCacheCapacity = cmp.Or(u.statementCache, pgxDefaultCapacity)
	conn.DescriptionCacheCapacity = cmp.Or(u.descriptionCache, pgxDefaultCapacity)

	for name := range conn.RuntimeParams {
		// A service file may hold keywords that only libpq knows. As startup parameters they would be fatal.
		if _, isKeyword := parameters[name]; isKeyword && name != "tcp_user_timeout" {
			delete(conn.RuntimeParams, name)
		}
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = cmp.Or(u.fallbackName, defaultApplicationName)
	}

	if u.connectTimeout.given {
		conn.ConnectTimeout = u.connectTimeout.value
	} else if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = defaultConnectTimeout
	}
	dialer := net.Dialer{Timeout: conn.ConnectTimeout, KeepAliveConfig: u.keepAlive.value}
	if u.keepAlive.given && !u.keepAlive.value.Enable {
		dialer.KeepAlive = -1
	}
	conn.DialFunc = dialer.DialContext

	versions := func(hosts ...*pgconn.FallbackConfig) {
		for _, host := range hosts {
			if host.TLSConfig == nil {
				continue
			}
			if u.tlsMin > host.TLSConfig.MinVersion {
				host.TLSConfig.MinVersion = u.tlsMin
			}
			if u.tlsMax != 0 {
				host.TLSConfig.MaxVersion = u.tlsMax
			}
		}
	}
	versions(&pgconn.FallbackConfig{TLSConfig: conn.TLSConfig})
	versions(conn.Fallbacks...)
}

// explain turns pgx's refusal of the translated string into a ConfigError. What is left for pgx to find are certificate,
// key, password and service files, and values from libpq's variables.
func (u *databaseURL) explain(err error) error {
	problem := "the driver refuses its parameters, or those in libpq's PG* variables and service file"
	var parseError *pgconn.ParseConfigError
	if errors.As(err, &parseError) {
		// The text of the error itself repeats the string. Its cause names a file or a word, unless somebody has put a
		// secret in the wrong place.
		cause := parseError.Unwrap()
		secrets := []string{u.password.Reveal(), u.keywords["sslpassword"]}
		if cause != nil && !slices.ContainsFunc(secrets, func(s string) bool { return s != "" && strings.Contains(cause.Error(), s) }) {
			problem += ": " + cause.Error()
		}
	}
	return &ConfigError{Variable: u.variable, Problem: problem}
}

// autoMode is the mode that the string asks for, or that suits it.
func (u *databaseURL) autoMode() ExecMode {
	if u.execMode == ExecModeAuto && u.viaPooler() {
		return ExecModeCacheDescribe
	}
	return cmp.Or(u.execMode, ExecModeCacheStatement)
}

// execMode is the mode that statements of the pool are sent in: never ExecModeAuto.
func (c Config) execMode() ExecMode {
	u, errs := parseDatabaseURL(databaseURLVariable, c.URL)
	if errs != nil {
		return cmp.Or(c.ExecMode, ExecModeCacheStatement)
	}
	return cmp.Or(c.ExecMode, u.autoMode())
}

// viaPooler reports whether URL is that of a pooler in transaction mode: it says pgbouncer=true or switches the
// statement cache off, or its host is known for one. It is false for a URL that cannot be parsed.
func (c Config) viaPooler() bool {
	u, errs := parseDatabaseURL(databaseURLVariable, c.URL)
	return errs == nil && u.viaPooler()
}

// needsDirect reports whether it is plain from the configuration that migrations and LISTEN lack a connection they can work
// on: URL is that of a pooler in transaction mode and DirectURL is empty. A statement cache that is switched off is no more
// than a sign of one. What else leads to a pooler, behindTransactionPooler finds out.
func (c Config) needsDirect() bool {
	variable, text := c.directURL()
	u, errs := parseDatabaseURL(variable, text)
	return errs == nil && u.transactionPooler()
}

// redactedURL is URL without the password and without parameters that could hold secrets, or "***" if it cannot be
// parsed. A keyword string is shown as a URL.
func (c Config) redactedURL() string { return redactURL(c.URL) }

// scanTimesAsUTC makes timestamptz values, and arrays of them, come back in UTC. pgx's default is the process's local
// zone. Of the modes, those that receive text are concerned as well: pgx finds the codec by the type that the server names.
func scanTimesAsUTC(m *pgtype.Map) {
	timestamptz := &pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}}
	m.RegisterType(timestamptz)
	m.RegisterType(&pgtype.Type{Name: "_timestamptz", OID: pgtype.TimestamptzArrayOID, Codec: &pgtype.ArrayCodec{ElementType: timestamptz}})
}
