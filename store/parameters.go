package store

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A parameter is a name that may stand in the query of DATABASE_URL or in a keyword string.
type parameter struct {
	// canonical is the setting it is about. Two parameters with one canonical name contradict or repeat each other.
	canonical string
	// apply takes the value over and says what is wrong with it, without repeating it.
	apply func(u *databaseURL, value string) (problem string)
}

// settingNamePattern is what PostgreSQL accepts as the name of a setting; one with a dot is an application's own.
var settingNamePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

var (
	sslModes    = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
	tlsVersions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
)

const (
	poolAdvice    = "the pool is set by POSTGRESQL_POOL_SIZE, DATABASE_MAX_CONNECTIONS, DATABASE_MIN_CONNECTIONS and DATABASE_TIMEOUT: remove it here"
	noSuchFeature = "the driver has no such feature, and leaving it out would weaken what it asks for: remove it"
)

// shownParameters may be repeated with their values in a redacted URL: their values are numbers, words and names.
var shownParameters = map[string]bool{
	"sslmode": true, "ssl": true, "target_session_attrs": true, "application_name": true, "pgbouncer": true,
	"connect_timeout": true, "timeout": true, "command_timeout": true, "default_query_exec_mode": true,
	"statement_cache_size": true, "prepared_statement_cache_size": true, "statement_cache_capacity": true,
}

// parameters are the names understood, besides PostgreSQL's own settings.
var parameters = map[string]parameter{
	// libpq's and asyncpg's, which pgx knows under the same names.
	"host":                 keyword("host"),
	"port":                 keyword("port"),
	"user":                 keyword("user"),
	"dbname":               keyword("database"),
	"database":             keyword("database"),
	"passfile":             keyword("passfile"),
	"service":              keyword("service"),
	"servicefile":          keyword("servicefile"),
	"sslcert":              keyword("sslcert"),
	"sslkey":               keyword("sslkey"),
	"sslrootcert":          keyword("sslrootcert"),
	"sslpassword":          keyword("sslpassword"),
	"krbsrvname":           keyword("krbsrvname"),
	"krbspn":               keyword("krbspn"),
	"require_auth":         keyword("require_auth"),
	"sslmode":              keyword("sslmode", sslModes...),
	"sslsni":               keyword("sslsni", "0", "1"),
	"sslcertmode":          keyword("sslcertmode", "disable", "allow", "require"),
	"sslnegotiation":       keyword("sslnegotiation", "postgres", "direct"),
	"channel_binding":      keyword("channel_binding", "disable", "prefer", "require"),
	"min_protocol_version": keyword("min_protocol_version", "3.0", "3.2", "latest"),
	"max_protocol_version": keyword("max_protocol_version", "3.0", "3.2", "latest"),
	"target_session_attrs": keyword("target_session_attrs", "any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
	"password": {"password", func(u *databaseURL, value string) string {
		u.password = Secret(value)
		return ""
	}},

	// Under names of their own.
	"ssl":             {"sslmode", applySSL},
	"direct_tls":      {"sslnegotiation", applyDirectTLS},
	"connect_timeout": {"connect_timeout", applyConnectTimeout},
	"timeout":         {"connect_timeout", applyConnectTimeout},
	"command_timeout": {"command_timeout", applyCommandTimeout},
	"fallback_application_name": {"fallback_application_name", func(u *databaseURL, value string) string {
		u.fallbackName = value
		return ""
	}},

	// How statements are sent.
	"statement_cache_size":          {"statement_cache_size", applyStatementCache},
	"prepared_statement_cache_size": {"prepared_statement_cache_size", applyStatementCache},
	"statement_cache_capacity":      {"statement_cache_capacity", applyStatementCache},
	"description_cache_capacity":    {"description_cache_capacity", applyDescriptionCache},
	"default_query_exec_mode":       {"default_query_exec_mode", applyExecMode},
	"pgbouncer":                     {"pgbouncer", applyPgBouncer},

	// Of asyncpg and SQLAlchemy, about Python objects or a cache by time and size: pgx has nothing they could change.
	"prepared_statement_name_func":  ignored("prepared_statement_name_func", nil),
	"async_fallback":                ignored("async_fallback", nil),
	"max_cached_statement_lifetime": ignored("max_cached_statement_lifetime", wholeNumber),
	"max_cacheable_statement_size":  ignored("max_cacheable_statement_size", wholeNumber),

	// Of libpq, and harmless where the value asks for nothing that pgx lacks. pgx would send them to the server, which
	// refuses the connection for them. tcp_user_timeout has no counterpart in the net package.
	"gssencmode":         ignored("gssencmode", accept("disable", "prefer")),
	"sslcompression":     ignored("sslcompression", accept("0", "1")),
	"load_balance_hosts": ignored("load_balance_hosts", accept("disable")),
	"tcp_user_timeout":   ignored("tcp_user_timeout", wholeNumber),

	// Of libpq, for the socket and for TLS.
	"keepalives":               {"keepalives", applyKeepAlives},
	"keepalives_idle":          {"keepalives_idle", applyKeepAliveIdle},
	"keepalives_interval":      {"keepalives_interval", applyKeepAliveInterval},
	"keepalives_count":         {"keepalives_count", applyKeepAliveCount},
	"ssl_min_protocol_version": {"ssl_min_protocol_version", applyTLSMin},
	"ssl_max_protocol_version": {"ssl_max_protocol_version", applyTLSMax},

	// Understood, but not to be followed.
	"hostaddr":                      refused("give the address as host"),
	"sslcrl":                        refused(noSuchFeature),
	"sslcrldir":                     refused(noSuchFeature),
	"requirepeer":                   refused(noSuchFeature),
	"replication":                   refused("a replication connection cannot run queries: remove it"),
	"pool_max_conns":                refused(poolAdvice),
	"pool_min_conns":                refused(poolAdvice),
	"pool_min_idle_conns":           refused(poolAdvice),
	"pool_max_conn_lifetime":        refused(poolAdvice),
	"pool_max_conn_lifetime_jitter": refused(poolAdvice),
	"pool_max_conn_idle_time":       refused(poolAdvice),
	"pool_health_check_period":      refused(poolAdvice),
	"pool_ping_timeout":             refused(poolAdvice),
	"connection_limit":              refused(poolAdvice),
	"pool_timeout":                  refused(poolAdvice),
	"pool_size":                     refused(poolAdvice),
	"max_overflow":                  refused(poolAdvice),
	"schema":                        refused("write search_path instead"),
	"socket_timeout":                refused("write command_timeout instead"),
	"sslaccept":                     refused("write sslmode instead: verify-full for strict, require for accept_invalid_certs"),
	"sslidentity":                   refused("write sslcert and sslkey instead"),
	"async_creator_fn":              refused("it has no meaning outside Python: remove it"),
}

// serverSettings are PostgreSQL's own settings that may stand in the string by themselves, and are sent as they are when
// a connection starts. Any other one can stand in server_settings.
var serverSettings = []string{
	"application_name", "check_function_bodies", "client_encoding", "client_min_messages", "cursor_tuple_fraction",
	"deadlock_timeout", "default_statistics_target", "default_tablespace", "default_text_search_config",
	"default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only",
	"effective_cache_size", "effective_io_concurrency", "extra_float_digits", "force_parallel_mode",
	"from_collapse_limit", "geqo", "gin_fuzzy_search_limit", "hash_mem_multiplier",
	"idle_in_transaction_session_timeout", "idle_session_timeout", "jit", "join_collapse_limit", "lc_messages",
	"lc_monetary", "lc_numeric", "lc_time", "lock_timeout", "log_duration", "log_min_duration_statement",
	"log_statement", "maintenance_work_mem", "max_parallel_workers", "max_parallel_workers_per_gather", "options",
	"parallel_leader_participation", "plan_cache_mode", "random_page_cost", "role", "row_security", "search_path",
	"seq_page_cost", "session_replication_role", "statement_timeout", "synchronous_commit", "tcp_keepalives_count",
	"tcp_keepalives_idle", "tcp_keepalives_interval", "temp_buffers", "temp_file_limit", "temp_tablespaces", "timezone",
	"track_activities", "track_io_timing", "transaction_timeout", "work_mem",
}

// lookUpParameter finds the meaning of a name. Names of connection parameters are lower-case, as in libpq; those of
// settings are in any case, as in SQL.
func lookUpParameter(name string) (parameter, bool) {
	if p, ok := parameters[name]; ok {
		return p, true
	}
	if name == "server_settings" {
		return parameter{name, applyServerSettings}, true
	}
	setting := strings.ToLower(name)
	if !slices.Contains(serverSettings, setting) && (!strings.Contains(setting, ".") || !settingNamePattern.MatchString(setting)) {
		return parameter{}, false
	}
	return parameter{setting, func(u *databaseURL, value string) string { return u.setRuntime(setting, value) }}, true
}

// keyword is a parameter that pgx.ParseConfig gets as it is. Where values are given, it has to be one of them.
func keyword(name string, values ...string) parameter {
	return parameter{name, func(u *databaseURL, value string) string {
		if len(values) > 0 && !slices.Contains(values, value) {
			return "must be one of " + strings.Join(values, ", ")
		}
		u.keywords[name] = value
		return ""
	}}
}

// ignored is a parameter that may stay in the string but changes nothing, if its value is in order.
func ignored(name string, check func(value string) (problem string)) parameter {
	return parameter{name, func(_ *databaseURL, value string) string {
		if check == nil {
			return ""
		}
		return check(value)
	}}
}

// refused is a parameter that is understood and cannot be followed.
func refused(advice string) parameter {
	return parameter{"", func(*databaseURL, string) string { return advice }}
}

func accept(values ...string) func(string) string {
	return func(value string) string {
		if !slices.Contains(values, value) {
			return "must be one of " + strings.Join(values, ", ")
		}
		return ""
	}
}

func wholeNumber(value string) (problem string) {
	_, problem = parseCount(value)
	return problem
}

// parseCount reads a whole number that is not negative.
func parseCount(value string) (n int, problem string) {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 0 || n > 2147483647 {
		return 0, "must be a whole number from 0 to 2147483647"
	}
	return n, ""
}

func applySSL(u *databaseURL, value string) string {
	// A bare yes means what JDBC, libpq and pgx take ssl=true for: encrypted, the certificate not verified.
	if on, ok := parseBool(value); ok {
		value = map[bool]string{true: "require", false: "disable"}[on]
	}
	if !slices.Contains(sslModes, value) {
		return "must be true, false or one of " + strings.Join(sslModes, ", ")
	}
	u.keywords["sslmode"] = value
	return ""
}

func applyDirectTLS(u *databaseURL, value string) string {
	on, ok := parseBool(value)
	if !ok {
		return "must be " + acceptedBools
	}
	if on {
		u.keywords["sslnegotiation"] = "direct"
	}
	return ""
}

func applyConnectTimeout(u *databaseURL, value string) string {
	d, ok := parseSeconds(value)
	if !ok {
		return "must be a number of seconds, 0 for no limit"
	}
	u.connectTimeout = some(d)
	return ""
}

func applyCommandTimeout(u *databaseURL, value string) string {
	d, ok := parseSeconds(value)
	if !ok || d <= 0 {
		return "must be a number of seconds above 0"
	}
	u.commandTimeout = some(max(d, time.Millisecond))
	return ""
}

func applyStatementCache(u *databaseURL, value string) string {
	n, problem := parseCount(value)
	u.cacheOff = u.cacheOff || (problem == "" && n == 0)
	u.statementCache = max(u.statementCache, n)
	return problem
}

func applyDescriptionCache(u *databaseURL, value string) string {
	n, problem := parseCount(value)
	if problem == "" && n == 0 {
		return "must be 1 or more: without it cache_describe, the mode for poolers, has nothing to work with"
	}
	u.descriptionCache = n
	return problem
}

func applyExecMode(u *databaseURL, value string) string {
	mode, ok := execModes[value]
	if value == "describe_exec" {
		return "describe_exec is not offered: a pooler can change the server between its two round trips; write cache_describe"
	}
	if !ok {
		return "must be one of cache_statement, cache_describe, exec, simple_protocol"
	}
	u.execMode = mode
	return ""
}

func applyPgBouncer(u *databaseURL, value string) string {
	on, ok := parseBool(value)
	if !ok {
		return "must be " + acceptedBools
	}
	u.pgbouncer = some(on)
	return ""
}

// setRuntime takes over one of PostgreSQL's own settings.
func (u *databaseURL) setRuntime(name, value string) (problem string) {
	switch name {
	case "user", "database", "replication":
		return name + " belongs to the connection and is not a setting"
	case "datestyle", "intervalstyle", "bytea_output", "standard_conforming_strings":
		return name + " must stay at its default, which is how values are read and written here"
	case "client_encoding":
		if !slices.Contains([]string{"utf8", "utf-8", "unicode", "auto"}, strings.ToLower(value)) {
			return "client_encoding must be UTF8"
		}
		value = "UTF8"
	case "statement_timeout":
		if _, ok := parsePostgresDuration(value); !ok {
			return "statement_timeout must be a number of milliseconds or a number with a unit, such as 30s"
		}
	}
	// pgx would take the name of a connection parameter for one. tcp_user_timeout is both, and pgx knows only the setting.
	if _, ok := parameters[name]; (ok && name != "tcp_user_timeout") || strings.HasPrefix(name, "_pq_.") {
		return "server_settings contains a connection parameter: put it in the connection string itself"
	}
	u.runtime[name] = value
	return ""
}

// applyServerSettings reads asyncpg's dictionary of settings, as JSON or as name:value pairs separated by commas.
func applyServerSettings(u *databaseURL, value string) string {
	pairs, ok := parseServerSettings(strings.TrimSpace(value))
	if !ok {
		return `must be a JSON object such as {"jit":"off","search_path":"app,public"}, or jit:off,work_mem:64MB`
	}
	for _, s := range pairs {
		name := strings.ToLower(s.name)
		if !settingNamePattern.MatchString(name) {
			return "has a name that no setting of PostgreSQL can have"
		}
		if problem := u.claim(name, connSetting{name: name}); problem != "" {
			return problem
		}
		if problem := u.setRuntime(name, s.value); problem != "" {
			return problem
		}
	}
	return ""
}

func parseServerSettings(text string) ([]connSetting, bool) {
	var pairs []connSetting
	if !strings.HasPrefix(text, "{") {
		for pair := range strings.SplitSeq(text, ",") {
			name, value, found := strings.Cut(pair, ":")
			if !found {
				return nil, false
			}
			pairs = append(pairs, connSetting{name: strings.TrimSpace(name), value: strings.TrimSpace(value)})
		}
		return pairs, true
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return nil, false
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		raw := object[name]
		var value string
		switch {
		case json.Unmarshal(raw, &value) == nil && raw[0] == '"':
		case strings.Contains("-0123456789tf", string(raw[:1])): // a number, true or false: PostgreSQL reads them as they are
			value = string(raw)
		default:
			return nil, false
		}
		if strings.Contains(name+value, "\x00") {
			return nil, false
		}
		pairs = append(pairs, connSetting{name: name, value: value})
	}
	return pairs, true
}

func keepAlive(u *databaseURL, value string, set func(*net.KeepAliveConfig, int)) string {
	n, problem := parseCount(value)
	if problem != "" {
		return problem
	}
	config := u.keepAlive.value
	if !u.keepAlive.given {
		config.Enable = true
	}
	set(&config, n)
	u.keepAlive = some(config)
	return ""
}

func applyKeepAlives(u *databaseURL, value string) string {
	return keepAlive(u, value, func(c *net.KeepAliveConfig, n int) { c.Enable = n != 0 })
}

func applyKeepAliveIdle(u *databaseURL, value string) string {
	return keepAlive(u, value, func(c *net.KeepAliveConfig, n int) { c.Idle = time.Duration(n) * time.Second })
}

func applyKeepAliveInterval(u *databaseURL, value string) string {
	return keepAlive(u, value, func(c *net.KeepAliveConfig, n int) { c.Interval = time.Duration(n) * time.Second })
}

func applyKeepAliveCount(u *databaseURL, value string) string {
	return keepAlive(u, value, func(c *net.KeepAliveConfig, n int) { c.Count = n })
}

func applyTLSMin(u *databaseURL, value string) string { return tlsVersion(&u.tlsMin, value) }

func applyTLSMax(u *databaseURL, value string) string { return tlsVersion(&u.tlsMax, value) }

func tlsVersion(version *uint16, value string) string {
	v, ok := tlsVersions[value]
	if !ok {
		return "must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"
	}
	*version = v
	return ""
}
