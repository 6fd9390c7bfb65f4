package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The defaults of [Config].
const (
	defaultAcquireTimeout   = 30 * time.Second
	defaultStatementTimeout = 30 * time.Second
	defaultPoolSize         = 20
	defaultMaxConnections   = 20
	defaultMinConnections   = 2
	// defaultNotifyInterval is short enough that nobody notices. A notification takes a lock of the whole database when it
	// commits, so that each write cannot have its own.
	defaultNotifyInterval           = 20 * time.Millisecond
	defaultAuditRetention           = 30 * day
	defaultInactiveSessionRetention = 7 * day
)

// The bounds of [Config].
const (
	minAcquireTimeout = 1 * time.Second
	maxAcquireTimeout = 300 * time.Second
	maxMaxConnections = 100
	maxNotifyInterval = pollInterval // after which followers ask by themselves
	// maxRetentionDays is a hundred years: the last round number that a time.Duration can hold.
	maxRetentionDays = 36500

	day = 24 * time.Hour
)

// Config says which database a manager uses, and how. The zero value of a field means its default; only URL is required.
// [ConfigFromEnv] fills it from the environment variables named below.
//
// Printing, logging or JSON-encoding a Config shows neither passwords nor keys. fmt cannot see its methods through an
// unexported field: a struct that holds a Config in one should hold a pointer.
type Config struct {
	// URL is DATABASE_URL: postgresql://user:password@host:5432/database, the same with SQLAlchemy's +asyncpg or
	// +psycopg in the scheme, or a libpq keyword string. Several hosts, IPv6 addresses and socket directories are
	// written as in libpq. Understood are the parameters of libpq, asyncpg and SQLAlchemy and PostgreSQL's own settings;
	// an unknown one is an error. What the string leaves out comes from PGHOST, PGUSER, PGPASSWORD, PGSSLMODE and the
	// other variables and files of libpq, which asyncpg reads as well; "postgresql://" takes all of it from there.
	URL string
	// DirectURL is DIRECT_DATABASE_URL: where migrations and LISTEN go when URL is that of a pooler in transaction mode,
	// through which neither works. The default is URL.
	DirectURL string

	// AcquireTimeout is DATABASE_TIMEOUT: how long to wait for a connection from the pool. 1 s to 300 s, default 30 s.
	AcquireTimeout time.Duration
	// PoolSize is POSTGRESQL_POOL_SIZE: the number of connections the pool grows to, 1 or more, default 20.
	PoolSize int
	// MaxConnections is DATABASE_MAX_CONNECTIONS: an upper bound on PoolSize, 1 to 100, default 20. The pool never holds
	// more than the smaller of the two.
	MaxConnections int
	// MinConnections is DATABASE_MIN_CONNECTIONS: the number of connections kept open while nothing happens. The default
	// is 2, or the size of the pool if that is less. A negative number means none, which in the environment is 0. More
	// than the pool can hold is an error.
	MinConnections int

	// QueryLogging is ENABLE_QUERY_LOGGING: log each query with its operation, duration and rows, without its parameters:
	// at level INFO, or WARN where it fails. The default is false.
	QueryLogging bool
	// SlowQuery is DATABASE_SLOW_QUERY: log each query that takes this long or longer at level WARN, also where
	// QueryLogging is false. It includes the time in which its rows are read. At most 300 s; the default is none.
	SlowQuery time.Duration
	// Logger gets the log. The default is slog.Default().
	Logger *slog.Logger

	// AllowNewerSchema is DATABASE_ALLOW_NEWER_SCHEMA: accept a database that a newer program has migrated or is migrating, as
	// long as it holds all that this one needs. For rolling deployments, in which both run side by side. The default is false.
	AllowNewerSchema bool

	// ReaderRole is DATABASE_READER_ROLE: the role that statements in the scope of [AsReader] run as, which "sharedcontext
	// access grant" makes. The default is sharedcontext_reader.
	ReaderRole string

	// AuditRetention is AUDIT_LOG_RETENTION_DAYS: the age at which the cleanup deletes audit rows, default 30 days.
	AuditRetention time.Duration
	// InactiveSessionRetention is INACTIVE_SESSION_RETENTION_DAYS: the age at which the cleanup deletes sessions marked
	// inactive, default 7 days.
	InactiveSessionRetention time.Duration

	// EncryptionKeys is JWT_ENCRYPTION_KEY, comma-separated: the Fernet keys of the tokens, newest first. The first one
	// encrypts, all of them decrypt. There is no default; without a key there are no tokens.
	EncryptionKeys []Secret

	// StatementTimeout is the server's statement_timeout. The default is what URL says as statement_timeout or
	// command_timeout, else 30 s. A negative duration leaves it to the server. It is not set behind a pooler in
	// transaction mode, which would refuse the connection for it: ALTER ROLE … SET statement_timeout works there.
	StatementTimeout time.Duration
	// ExecMode is how statements are sent. The default suits URL: see [ExecModeAuto].
	ExecMode ExecMode
	// NotifyInterval is how often at most this process tells those who follow sessions that there is news, beside the writes
	// and not as part of them. The default is 20 ms. A negative duration means never: followers then find out by asking,
	// every five seconds.
	NotifyInterval time.Duration
	// Tracer, if any, is told about every query and connection; it may implement more of pgx's tracer interfaces.
	Tracer pgx.QueryTracer
}

// validate returns c with defaults in the place of zero values. Its error is a *ConfigError, or several joined. It looks
// at no files and no network, and is idempotent.
func (c Config) validate() (Config, error) {
	c = c.withDefaults()
	return c, errors.Join(append(c.checkURLs(), c.checkValues()...)...)
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	setDefault(&c.AcquireTimeout, defaultAcquireTimeout)
	setDefault(&c.PoolSize, defaultPoolSize)
	setDefault(&c.MaxConnections, defaultMaxConnections)
	setDefault(&c.MinConnections, min(defaultMinConnections, c.maxConns()))
	setDefault(&c.ReaderRole, defaultReaderRole)
	setDefault(&c.NotifyInterval, defaultNotifyInterval)
	setDefault(&c.AuditRetention, defaultAuditRetention)
	setDefault(&c.InactiveSessionRetention, defaultInactiveSessionRetention)
	if c.StatementTimeout == 0 {
		c.StatementTimeout = urlStatementTimeout(c.URL)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	keys := make([]Secret, 0, len(c.EncryptionKeys))
	for _, key := range c.EncryptionKeys {
		// Python's decoder takes the letters of standard base64 for those of its URL-safe form.
		keys = append(keys, Secret(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimSpace(string(key)))))
	}
	c.EncryptionKeys = keys
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// urlStatementTimeout is what the URL says about statements that take too long, else the default. It is negative where
// the URL switches the limit off, or sets it by options, which a setting of its own would overrule.
func urlStatementTimeout(text string) time.Duration {
	u, errs := parseDatabaseURL(databaseURLVariable, text)
	if errs != nil {
		return defaultStatementTimeout
	}
	if setting, ok := u.runtime["statement_timeout"]; ok {
		if d, _ := parsePostgresDuration(setting); d > 0 {
			return d
		}
		return -1
	}
	if strings.Contains(u.runtime["options"]+os.Getenv("PGOPTIONS"), "statement_timeout") {
		return -1
	}
	if u.commandTimeout.given {
		return u.commandTimeout.value
	}
	return defaultStatementTimeout
}

// maxConns is the size the pool can really grow to.
func (c Config) maxConns() int { return min(c.PoolSize, c.MaxConnections) }

// checkURLs parses the two connection strings.
func (c Config) checkURLs() []error {
	if strings.TrimSpace(c.URL) == "" {
		return []error{&ConfigError{Variable: databaseURLVariable, Problem: "is not set: set it to postgresql://user:password@host:5432/database; " +
			"`sharedcontext dev` starts a database for development and prints its URL"}}
	}
	_, errs := parseDatabaseURL(databaseURLVariable, c.URL)
	if strings.TrimSpace(c.DirectURL) == "" {
		return errs
	}
	direct, directErrs := parseDatabaseURL(directURLVariable, c.DirectURL)
	errs = append(errs, directErrs...)
	if direct != nil && direct.transactionPooler() {
		errs = append(errs, &ConfigError{Variable: directURLVariable, Problem: "is the address of a pooler in transaction mode, through which " +
			"migrations and LISTEN do not work: give that of the server itself, or of a pooler in session mode (port 5432 at Supabase)"})
	}
	return errs
}

// checkValues compares the other fields with their ranges.
func (c Config) checkValues() (errs []error) {
	refuse := func(variable string, value any, problem string) {
		errs = append(errs, &ConfigError{Variable: variable, Value: fmt.Sprint(value), Problem: problem})
	}
	if c.AcquireTimeout < minAcquireTimeout || c.AcquireTimeout > maxAcquireTimeout {
		refuse("DATABASE_TIMEOUT", c.AcquireTimeout, "must be from 1 to 300 seconds")
	}
	if c.SlowQuery < 0 || c.SlowQuery > maxAcquireTimeout {
		refuse("DATABASE_SLOW_QUERY", c.SlowQuery, "must be from 0.001 to 300 seconds")
	}
	poolErrs := len(errs)
	if c.PoolSize < 1 || c.PoolSize > math.MaxInt32 {
		refuse("POSTGRESQL_POOL_SIZE", c.PoolSize, "must be a whole number from 1 to 2147483647")
	}
	if c.MaxConnections < 1 || c.MaxConnections > maxMaxConnections {
		refuse("DATABASE_MAX_CONNECTIONS", c.MaxConnections, "must be a whole number from 1 to 100")
	}
	if len(errs) == poolErrs && c.MinConnections > c.maxConns() {
		refuse("DATABASE_MIN_CONNECTIONS", c.MinConnections, fmt.Sprintf("must be from 0 to %d, the smaller of "+
			"POSTGRESQL_POOL_SIZE and DATABASE_MAX_CONNECTIONS", c.maxConns()))
	}
	if roleNameInput("", c.ReaderRole) != nil {
		refuse("DATABASE_READER_ROLE", c.ReaderRole, fmt.Sprintf("must be the name of a role of its own, of at most %d bytes", maxRoleName))
	}
	if c.AuditRetention < 0 {
		refuse("AUDIT_LOG_RETENTION_DAYS", c.AuditRetention, "must be positive")
	}
	if c.InactiveSessionRetention < 0 {
		refuse("INACTIVE_SESSION_RETENTION_DAYS", c.InactiveSessionRetention, "must be positive")
	}
	if c.StatementTimeout > maxTimeout {
		refuse("StatementTimeout", c.StatementTimeout, fmt.Sprintf("must be at most %v", maxTimeout))
	}
	if c.NotifyInterval > maxNotifyInterval {
		refuse("NotifyInterval", c.NotifyInterval, fmt.Sprintf("must be at most %v", maxNotifyInterval))
	}
	if c.ExecMode < ExecModeAuto || c.ExecMode > ExecModeSimpleProtocol {
		refuse("ExecMode", c.ExecMode, "must be one of the ExecMode constants")
	}
	for i, key := range c.EncryptionKeys {
		if !isFernetKey(key.Reveal()) {
			// The key is a secret even when it is malformed: only its place is named.
			errs = append(errs, &ConfigError{Variable: "JWT_ENCRYPTION_KEY", Problem: fmt.Sprintf("key %d of %d is not a Fernet key, "+
				"which is 32 bytes in url-safe base64: 44 characters ending in =", i+1, len(c.EncryptionKeys))})
		}
	}
	return errs
}

// isFernetKey reports whether key is one as https://github.com/fernet/spec defines it.
func isFernetKey(key string) bool {
	const encodedLen = 44
	// The length rules out the line breaks that the decoder would skip.
	raw, err := base64.URLEncoding.DecodeString(key)
	return err == nil && len(raw) == 32 && len(key) == encodedLen
}
