package store

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// acceptedBools is for messages about parseBool.
const acceptedBools = "one of true, false, 1, 0, yes, no, on, off"

// ConfigFromEnv reads the configuration from the environment variables that the fields of [Config] name. A variable that
// is empty or blank counts as not set; the fields of variables that are not set stay zero, which means their defaults.
// The error is a [*ConfigError] for each variable that cannot be used, joined if there are several; none repeats a
// password or a key.
func ConfigFromEnv() (Config, error) { return configFromLookup(os.LookupEnv) }

// configFromLookup is ConfigFromEnv over any environment.
func configFromLookup(lookup func(string) (string, bool)) (Config, error) {
	e := environment{lookup: lookup}
	c := Config{
		URL:                      e.text(databaseURLVariable),
		DirectURL:                e.text(directURLVariable),
		AcquireTimeout:           e.seconds("DATABASE_TIMEOUT", minAcquireTimeout, maxAcquireTimeout),
		PoolSize:                 e.integer("POSTGRESQL_POOL_SIZE", 1, math.MaxInt32),
		MaxConnections:           e.integer("DATABASE_MAX_CONNECTIONS", 1, maxMaxConnections),
		MinConnections:           e.minConnections(),
		QueryLogging:             e.boolean("ENABLE_QUERY_LOGGING"),
		SlowQuery:                e.seconds("DATABASE_SLOW_QUERY", time.Millisecond, maxAcquireTimeout),
		AllowNewerSchema:         e.boolean("DATABASE_ALLOW_NEWER_SCHEMA"),
		ReaderRole:               e.text("DATABASE_READER_ROLE"),
		AuditRetention:           time.Duration(e.integer("AUDIT_LOG_RETENTION_DAYS", 1, maxRetentionDays)) * day,
		InactiveSessionRetention: time.Duration(e.integer("INACTIVE_SESSION_RETENTION_DAYS", 1, maxRetentionDays)) * day,
		EncryptionKeys:           e.secrets("JWT_ENCRYPTION_KEY"),
	}
	// A variable that is malformed has left its field zero, so that nothing is reported twice.
	if path := e.text("DATABASE_PATH"); path != "" && c.URL == "" {
		e.errs = append(e.errs, &ConfigError{Variable: "DATABASE_PATH", Value: path, Problem: "names a SQLite file, but " + sqliteAdvice})
	} else {
		e.errs = append(e.errs, c.checkURLs()...)
	}
	e.errs = append(e.errs, c.withDefaults().checkValues()...)
	if err := errors.Join(e.errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// environment reads variables and collects what is wrong with them.
type environment struct {
	lookup func(string) (string, bool)
	errs   []error
}

// text returns the trimmed value, "" when it is not set.
func (e *environment) text(variable string) string {
	value, _ := e.lookup(variable)
	return strings.TrimSpace(value)
}

func (e *environment) refuse(variable, value, problem string) {
	e.errs = append(e.errs, &ConfigError{Variable: variable, Value: value, Problem: problem})
}

// integer returns 0 for a variable that is not set or was refused.
func (e *environment) integer(variable string, low, high int) int {
	value := e.text(variable)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		e.refuse(variable, value, "must be a whole number from "+strconv.Itoa(low)+" to "+strconv.Itoa(high))
		return 0
	}
	return n
}

// minConnections turns an explicit 0 into the negative number that means none.
func (e *environment) minConnections() int {
	const variable = "DATABASE_MIN_CONNECTIONS"
	n := e.integer(variable, 0, maxMaxConnections)
	if given, err := strconv.Atoi(e.text(variable)); err == nil && given == 0 {
		return -1
	}
	return n
}

func (e *environment) seconds(variable string, low, high time.Duration) time.Duration {
	value := e.text(variable)
	if value == "" {
		return 0
	}
	d, ok := parseSeconds(value)
	if !ok || d < low || d > high {
		e.refuse(variable, value, "must be a number of seconds from "+strconv.FormatFloat(low.Seconds(), 'f', -1, 64)+
			" to "+strconv.FormatFloat(high.Seconds(), 'f', -1, 64))
		return 0
	}
	return d
}

func (e *environment) boolean(variable string) bool {
	value := e.text(variable)
	if value == "" {
		return false
	}
	on, ok := parseBool(value)
	if !ok {
		e.refuse(variable, value, "must be "+acceptedBools)
	}
	return on
}

// secrets splits a comma-separated list. What the items have to look like is for Config to check.
func (e *environment) secrets(variable string) []Secret {
	value := e.text(variable)
	if value == "" {
		return nil
	}
	var secrets []Secret
	for item := range strings.SplitSeq(value, ",") {
		secrets = append(secrets, Secret(strings.TrimSpace(item)))
	}
	return secrets
}

// parseBool reads the usual words for true and false, in any case.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	}
	return false, false
}
