package telemetry

import (
	"reflect"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// What is called by a name that is no statement's.
const (
	acquireName = "acquire" // a connection from the pool
	connectName = "connect" // a connection to the server
	copyName    = "COPY"
	otherName   = "OTHER" // a statement that begins with none of the words below
)

// words are the first words of statements that are told apart. They are few, as whoever may send SQL of their own would
// otherwise choose what is counted.
var words = setOf("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "COPY", "CALL", "DO", "EXPLAIN",
	"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "RESET", "SHOW", "LOCK",
	"LISTEN", "UNLISTEN", "NOTIFY", "CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE",
	"ANALYZE", "VACUUM", "REINDEX", "REFRESH", "PREPARE", "EXECUTE", "DEALLOCATE", "DISCARD")

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// statementNames are the names of statements that are known: those of the store, and of a service's own.
type statementNames map[string]bool

func newStatementNames(own []string) statementNames {
	names := setOf(own...)
	for method := range reflect.TypeFor[*gen.Queries]().Methods() { // each is a statement
		names[method.Name] = true
	}
	return names
}

// of returns what to call a statement: its name, where that is known. It stands in a comment before the statement, as sqlc
// writes it: "-- name: MessageAdd :one". Others are called by their first word.
func (names statementNames) of(sql string) string {
	if named, found := strings.CutPrefix(sql, "-- name: "); found {
		if name, _, _ := strings.Cut(named, " "); names[name] {
			return name
		}
	}
	if word := firstWord(sql); words[word] {
		return word
	}
	return otherName
}

// firstWord returns the word that a statement begins with, in capitals.
func firstWord(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f\v(")
		end := "\n"
		switch {
		case strings.HasPrefix(sql, "--"):
		case strings.HasPrefix(sql, "/*"):
			end = "*/"
		default:
			length := 0
			for length < len(sql) && (sql[length]|0x20) >= 'a' && (sql[length]|0x20) <= 'z' {
				length++
			}
			return strings.ToUpper(sql[:length])
		}
		_, sql, _ = strings.Cut(sql[2:], end)
	}
}
