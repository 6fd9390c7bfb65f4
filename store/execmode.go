package store

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ExecMode is how statements are sent to the server. The zero value chooses by the URL and is right nearly always.
//
// pgx's describe_exec is not offered. It describes the unnamed statement in one round trip and executes it in the next,
// and between the two a transaction pooler may change the server connection: the second trip then fails, or runs the
// unnamed statement that another client left there. Where a pooler rules out prepared statements, cache_describe does
// all of it in one round trip.
type ExecMode int

const (
	// ExecModeAuto is ExecModeCacheDescribe behind a transaction pooler and ExecModeCacheStatement elsewhere. A
	// default_query_exec_mode in the URL comes before both.
	ExecModeAuto ExecMode = iota
	// ExecModeCacheStatement prepares each statement once per connection under a name. It is the fastest. Behind a
	// transaction pooler it needs PgBouncer 1.21 or newer with max_prepared_statements.
	ExecModeCacheStatement
	// ExecModeCacheDescribe remembers the types of each statement and sends it unnamed, in one round trip. It works behind
	// every transaction pooler. It must not be used while another client changes the schema: the remembered types go stale.
	ExecModeCacheDescribe
	// ExecModeExec sends each statement unnamed, with text parameters whose types are guessed from the Go values.
	ExecModeExec
	// ExecModeSimpleProtocol writes the parameters into the text of the statement. It is for servers and proxies that know
	// no extended protocol.
	ExecModeSimpleProtocol
)

// execModes maps the names that pgx gives the modes in a URL.
var execModes = map[string]ExecMode{
	"cache_statement": ExecModeCacheStatement,
	"cache_describe":  ExecModeCacheDescribe,
	"exec":            ExecModeExec,
	"simple_protocol": ExecModeSimpleProtocol,
}

// String returns the name of the mode as default_query_exec_mode takes it in a URL, or "auto".
func (m ExecMode) String() string {
	if m == ExecModeAuto {
		return "auto"
	}
	for name, mode := range execModes {
		if mode == m {
			return name
		}
	}
	return fmt.Sprintf("ExecMode(%d)", int(m))
}

// pgxMode returns pgx's name for m. Auto is pgx's own default.
func (m ExecMode) pgxMode() pgx.QueryExecMode {
	switch m {
	case ExecModeCacheDescribe:
		return pgx.QueryExecModeCacheDescribe
	case ExecModeExec:
		return pgx.QueryExecModeExec
	case ExecModeSimpleProtocol:
		return pgx.QueryExecModeSimpleProtocol
	default:
		return pgx.QueryExecModeCacheStatement
	}
}
