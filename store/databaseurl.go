package store

import (
	"cmp"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The variables that hold a connection string. Errors say which of the two they are about.
const (
	databaseURLVariable = "DATABASE_URL"
	directURLVariable   = "DIRECT_DATABASE_URL"
)

// sqliteAdvice is for settings of the first generation that name a database file or a server other than PostgreSQL.
const sqliteAdvice = "version 2 has one back end, PostgreSQL: set DATABASE_URL to postgresql://user:password@host:5432/database " +
	"and bring the old data over with `sharedcontext import FILE`; docs/migration.md has the steps"

// postgresSchemes are the schemes that mean PostgreSQL: libpq's two, and those that name a driver to SQLAlchemy. Which
// driver makes no difference here.
var postgresSchemes = []string{
	"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg_async",
	"postgresql+psycopg2", "postgresql+psycopg2cffi", "postgresql+pg8000",
}

var sqliteFilePattern = regexp.MustCompile(`(?i)^[^=@?]*\.(db|sqlite|sqlite3)$`)

// A databaseURL is what one connection string says, in pgx's terms: the parameters of asyncpg, SQLAlchemy, Prisma and
// libpq that pgx does not know, and would send to the server as settings it refuses, are translated or gone.
type databaseURL struct {
	// variable is where the string came from.
	variable string
	// keywords are for pgx.ParseConfig, without the password: what pgx keeps of the string is then safe to show.
	keywords map[string]string
	password Secret
	// runtime are PostgreSQL's own settings, by their lower-case names.
	runtime map[string]string
	// fallbackName is the application_name to use where neither the string nor PGAPPNAME gives one.
	fallbackName string

	// execMode is what the string asks for, else auto.
	execMode ExecMode
	// statementCache and descriptionCache are numbers of statements, 0 where the string says nothing.
	statementCache, descriptionCache int
	// cacheOff says that prepared statements are switched off, which is what one does for a transaction pooler.
	cacheOff bool
	// pgbouncer is Prisma's parameter of this name. It comes before what the host name suggests.
	pgbouncer optional[bool]

	commandTimeout optional[time.Duration]
	connectTimeout optional[time.Duration]
	keepAlive      optional[net.KeepAliveConfig]
	// tlsMin and tlsMax are versions of crypto/tls, 0 where the string says nothing.
	tlsMin, tlsMax uint16

	// given maps the canonical name of each setting to the parameter that said it.
	given map[string]string
	// shown are the parameters that redacted repeats, decoded.
	shown []connSetting
}

// optional is a value that may not have been given.
type optional[T any] struct {
	value T
	given bool
}

func some[T any](value T) optional[T] { return optional[T]{value, true} }

// parseDatabaseURL reads the connection string that variable holds. It touches neither files nor the network. Its errors
// are *ConfigError, one for each problem, and repeat names of parameters but no values.
func parseDatabaseURL(variable, text string) (*databaseURL, []error) {
	refuse := func(problem string) (*databaseURL, []error) {
		return nil, []error{&ConfigError{Variable: variable, Problem: problem}}
	}

	text = strings.TrimSpace(text)
	scheme := connStringScheme(text)
	dialect, _, _ := strings.Cut(scheme, "+")
	switch {
	case text == "":
		return refuse("is not set")
	case dialect == "sqlite", dialect == "sqlite3", strings.HasPrefix(strings.ToLower(text), "sqlite:"):
		return refuse("is a SQLite URL, but " + sqliteAdvice)
	case scheme == "" && sqliteFilePattern.MatchString(text):
		return refuse("is the name of a SQLite file, but " + sqliteAdvice)
	case dialect == "mysql", dialect == "mariadb":
		return refuse("is a MySQL or MariaDB URL, but " + sqliteAdvice)
	case strings.HasPrefix(strings.ToLower(text), "jdbc:"):
		return refuse("is a JDBC URL; write it as postgresql://user:password@host:5432/database")
	case scheme != "" && !slices.Contains(postgresSchemes, scheme):
		return refuse("has a scheme that does not mean PostgreSQL; accepted are " + strings.Join(postgresSchemes, "://, ") + ":// and libpq keyword strings")
	}

	settings, err := splitConnString(text)
	if err != nil {
		return refuse(err.Error())
	}
	u := &databaseURL{
		variable: variable,
		keywords: map[string]string{},
		runtime:  map[string]string{},
		given:    map[string]string{},
	}
	problems := u.interpret(settings, scheme != "")
	if len(problems) == 0 {
		problems = u.check()
	}
	if len(problems) == 0 {
		return u, nil
	}
	var errs []error
	for _, problem := range problems {
		errs = append(errs, &ConfigError{Variable: variable, Problem: problem})
	}
	return nil, errs
}

// interpret takes over each setting and returns what is wrong with them.
func (u *databaseURL) interpret(settings []connSetting, isURL bool) (problems []string) {
	if isURL {
		var problem string
		if settings, problem = joinHosts(settings); problem != "" {
			problems = append(problems, problem)
		}
	}

	var unknown []string
	afterSecret := false
	for _, s := range settings {
		p, known := lookUpParameter(s.name)
		switch {
		case !known && afterSecret:
			// Perhaps the password contains an unencoded separator and this is a piece of it.
			problems = append(problems, "has an unknown parameter right after a password; in case it is a piece of the password its name is not shown "+
				"(in a URL write & as %26, in a keyword string put the password in single quotes)")
			continue
		case !known:
			unknown = append(unknown, printableName(s.name))
			continue
		}
		canonical := cmp.Or(p.canonical, s.name)
		afterSecret = !s.inURL && (canonical == "password" || canonical == "sslpassword")
		if problem := u.claim(canonical, s); problem != "" {
			problems = append(problems, problem)
			continue
		}
		if problem := p.apply(u, s.value); problem != "" {
			problems = append(problems, "parameter "+s.name+": "+problem)
		}
	}
	if len(unknown) > 0 {
		problems = append(problems, "unknown parameters: "+strings.Join(unknown, ", ")+"; remove them or correct their spelling")
	}
	return problems
}

// claim notes that s says the setting with this canonical name, and refuses a second word on it. Only what stands before
// the "?" of a URL gives way to a query parameter, as in libpq: postgresql://localhost/db?host=/run/postgresql.
func (u *databaseURL) claim(canonical string, s connSetting) (problem string) {
	if before, ok := u.given[canonical]; ok && before == s.name {
		return "parameter " + s.name + " is given twice"
	} else if ok {
		return "parameters " + before + " and " + s.name + " say the same thing: keep one of them"
	}
	if s.inURL {
		return ""
	}
	u.given[canonical] = s.name
	if shownParameters[s.name] {
		u.shown = append(u.shown, s)
	}
	return ""
}

// check looks at settings that have to fit together.
func (u *databaseURL) check() (problems []string) {
	hosts := strings.Split(u.keywords["host"], ",")
	ports := strings.Split(u.keywords["port"], ",")
	for _, port := range ports {
		if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535 || strings.Trim(port, "0123456789") != "") {
			problems = append(problems, "has a port that is not a number from 1 to 65535; if that is a piece of the password, the @ after it is missing")
			break
		}
	}
	if len(ports) > 1 && len(ports) != len(hosts) {
		problems = append(problems, "names "+strconv.Itoa(len(hosts))+" hosts and "+strconv.Itoa(len(ports))+" ports: give one port, or one for each host")
	}
	if u.cacheOff && u.execMode == ExecModeCacheStatement {
		problems = append(problems, "switches the statement cache off and asks for default_query_exec_mode=cache_statement, which needs it")
	}
	if (u.keywords["min_protocol_version"] == "3.2" || u.keywords["min_protocol_version"] == "latest") && u.keywords["max_protocol_version"] == "3.0" {
		problems = append(problems, "has a min_protocol_version above its max_protocol_version")
	}
	return problems
}

// joinHosts understands SQLAlchemy's way to name several hosts, ?host=a:5432&host=b:5433 or ?host=a&host=b, by joining
// the values to libpq's aligned lists in "host" and "port".
func joinHosts(settings []connSetting) (joined []connSetting, problem string) {
	var hosts, ports []string
	withPort, explicitPort := false, false
	for _, s := range settings {
		explicitPort = explicitPort || (s.name == "port" && !s.inURL)
		if s.name != "host" || s.inURL {
			joined = append(joined, s)
			continue
		}
		for host := range strings.SplitSeq(s.value, ",") {
			var port string
			if strings.Count(host, ":") == 1 && !strings.HasPrefix(host, "/") {
				host, port, _ = strings.Cut(host, ":")
				withPort = true
			}
			hosts, ports = append(hosts, host), append(ports, port)
		}
	}
	if len(hosts) == 0 {
		return joined, ""
	}
	joined = append(joined, connSetting{name: "host", value: strings.Join(hosts, ",")})
	if withPort && explicitPort {
		return joined, "parameters host and port both give ports: keep one of them"
	}
	if withPort {
		joined = append(joined, connSetting{name: "port", value: strings.Join(ports, ",")})
	}
	return joined, ""
}

// printableName is a parameter's name for an error. A name that no parameter could have is not repeated.
func printableName(name string) string {
	if len(name) > 63 || !settingNamePattern.MatchString(name) {
		return "(one whose name is not a word)"
	}
	return name
}

// transactionPooler reports whether the string says outright, or its host name tells, that a pooler in transaction mode
// answers there: migrations and LISTEN do not work through it.
func (u *databaseURL) transactionPooler() bool {
	if u.pgbouncer.given {
		return u.pgbouncer.value
	}
	hosts := strings.Split(u.keywords["host"], ",")
	ports := strings.Split(u.keywords["port"], ",")
	for i, host := range hosts {
		host = strings.TrimSuffix(strings.ToLower(host), ".")
		// Supabase: port 6543 is the transaction mode of its shared and dedicated poolers, 5432 the session mode.
		// https://supabase.com/docs/guides/database/connecting-to-postgres
		supabase := strings.HasSuffix(host, ".pooler.supabase.com") || strings.HasSuffix(host, ".supabase.co")
		if supabase && ports[min(i, len(ports)-1)] == "6543" {
			return true
		}
		// Neon: https://neon.com/docs/connect/connection-pooling
		if first, rest, _ := strings.Cut(host, "."); strings.HasSuffix(first, "-pooler") && strings.HasSuffix(rest, ".neon.tech") {
			return true
		}
	}
	return false
}

// viaPooler reports whether statements have to go without named prepared statements.
func (u *databaseURL) viaPooler() bool { return u.cacheOff || u.transactionPooler() }

// keywordString is the string for pgx.ParseConfig, without the password.
func (u *databaseURL) keywordString() string {
	all := maps.Clone(u.keywords)
	maps.Copy(all, u.runtime)
	pairs := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, name+"="+quoteKeywordValue(all[name]))
	}
	return strings.Join(pairs, " ")
}

// redacted is the URL to show to people: scheme, user, hosts, database and the harmless parameters.
func (u *databaseURL) redacted() string {
	var b strings.Builder
	b.WriteString("postgresql://")
	b.WriteString(percentEncode(u.keywords["user"], ""))
	if u.password != "" {
		b.WriteString(":" + redacted)
	}
	if u.keywords["user"] != "" || u.password != "" {
		b.WriteByte('@')
	}
	hosts := strings.Split(u.keywords["host"], ",")
	ports := strings.Split(u.keywords["port"], ",")
	for i, host := range hosts {
		if i > 0 {
			b.WriteByte(',')
		}
		if strings.Contains(host, ":") && !strings.HasPrefix(host, "/") {
			b.WriteString("[" + percentEncode(host, ":") + "]")
		} else {
			b.WriteString(percentEncode(host, ""))
		}
		if len(ports) == len(hosts) && ports[i] != "" {
			b.WriteString(":" + ports[i])
		} else if len(ports) == 1 && ports[0] != "" {
			b.WriteString(":" + ports[0])
		}
	}
	if u.keywords["database"] != "" {
		b.WriteString("/" + percentEncode(u.keywords["database"], ""))
	}
	separator := "?"
	for _, s := range u.shown {
		b.WriteString(separator + s.name + "=" + percentEncode(s.value, "/:,"))
		separator = "&"
	}
	return b.String()
}

// redactURL is the redacted form of a connection string that may be malformed; of such a one nothing is shown.
func redactURL(text string) string {
	if text == "" {
		return ""
	}
	u, errs := parseDatabaseURL("", text)
	if errs != nil {
		return redacted
	}
	return u.redacted()
}
