package importer

import "github.com/sharedcontext/sharedcontext/v2/internal/canonical"

// class says how the values of a column are converted.
type class uint8

const (
	classText  class = iota // any text
	className               // a text that says who or what: two that differ must not become one
	classLevel              // a visibility
	classBool
	classJSON
	classTime
	classID
	classParent
	classBytes
)

// conversion describes a column of the new schema.
type conversion struct {
	class class
	max   int // characters; 0 for any number
	// null stands in for NULL and, in a name, for an empty text. Without it NULL is kept where nullable is set.
	null     string
	nullable bool
	// filled: the schema demands more than blanks.
	filled bool
}

const maxName = 255

// conversions has, for each table, those of its columns.
var conversions = map[*canonical.Table][]conversion{
	&canonical.Sessions: {
		{class: className, max: maxName, filled: true},
		{class: classText, filled: true},
		{class: classTime}, {class: classTime},
		{class: classBool},
		{class: className, max: maxName, filled: true},
		{class: classJSON},
	},
	&canonical.Messages: {
		{class: classID},
		{class: className, max: maxName, filled: true},
		{class: className, max: maxName, filled: true},
		{class: className, max: 50, null: "generic", filled: true},
		{class: classText, max: 100_000, filled: true},
		{class: classLevel},
		{class: classText, max: 50, null: "agent_response"},
		{class: classJSON},
		{class: classTime},
		{class: classParent},
	},
	&canonical.AgentMemory: {
		{class: classID},
		{class: className, max: maxName, filled: true},
		{class: className, max: maxName, nullable: true, filled: true},
		{class: className, max: maxName, filled: true},
		{class: classText, filled: true},
		{class: classJSON},
		{class: classTime}, {class: classTime}, {class: classTime},
	},
	&canonical.AuditLog: {
		{class: classID},
		{class: classTime},
		{class: classText, max: 100, filled: true},
		{class: className, max: maxName, filled: true},
		{class: className, max: maxName, nullable: true, filled: true},
		{class: classText, max: maxName, nullable: true},
		{class: classText, max: 100, nullable: true},
		{class: classText, max: 100, nullable: true},
		{class: classJSON},
	},
	&canonical.SecureTokens: {
		{class: classID},
		{class: className, max: maxName, filled: true},
		{class: classBytes},
		{class: className, max: maxName, filled: true},
		{class: classTime}, {class: classTime},
	},
}
