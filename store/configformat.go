package store

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

// summary is what may be shown of c, in the order of its fields.
func (c Config) summary() []slog.Attr {
	return []slog.Attr{
		slog.String("url", redactURL(c.URL)),
		slog.String("direct_url", redactURL(c.DirectURL)),
		slog.String("acquire_timeout", c.AcquireTimeout.String()),
		slog.Int("pool_size", c.PoolSize),
		slog.Int("max_connections", c.MaxConnections),
		slog.Int("min_connections", c.MinConnections),
		slog.Bool("query_logging", c.QueryLogging),
		slog.String("slow_query", c.SlowQuery.String()),
		slog.Bool("allow_newer_schema", c.AllowNewerSchema),
		slog.String("reader_role", c.ReaderRole),
		slog.String("audit_retention", c.AuditRetention.String()),
		slog.String("inactive_session_retention", c.InactiveSessionRetention.String()),
		slog.Int("encryption_keys", len(c.EncryptionKeys)),
		slog.String("statement_timeout", c.StatementTimeout.String()),
		slog.String("exec_mode", c.ExecMode.String()),
	}
}

// String returns the settings on one line, with the passwords removed and the keys counted.
func (c Config) String() string {
	var parts []string
	for _, attr := range c.summary() {
		parts = append(parts, attr.String())
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// GoString returns what %#v prints: the same as String, after the name of the type.
func (c Config) GoString() string { return "store.Config" + c.String() }

// Format implements [fmt.Formatter], so that no verb reaches the fields.
func (c Config) Format(f fmt.State, verb rune) { formatRedacted(f, verb, c.String(), c.GoString()) }

// LogValue implements [slog.LogValuer]: a group of what String shows.
func (c Config) LogValue() slog.Value { return slog.GroupValue(c.summary()...) }

// MarshalJSON implements [json.Marshaler]: an object of what String shows. It is for people and cannot be read back.
func (c Config) MarshalJSON() ([]byte, error) {
	object := map[string]any{}
	for _, attr := range c.summary() {
		object[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(object)
}
