package importer

// Rule names what was done to a value or a row that PostgreSQL, or the new schema, cannot hold as it is. The report has it.
type Rule string

// The rules for values.
const (
	RuleNUL       Rule = "nul_removed"             // a NUL in a text: removed
	RuleUTF8      Rule = "utf8_replaced"           // bytes that are not UTF-8: each replaced by U+FFFD
	RuleType      Rule = "type_converted"          // a number or bytes in a column of text: its text
	RuleName      Rule = "name_made_valid"         // a name that cannot be kept: what can be kept, ~ and 16 hex digits of its SHA-256
	RuleEmpty     Rule = "empty_replaced"          // an empty text where one is needed: "(empty)"
	RuleCut       Rule = "text_cut"                // more characters than the column holds: cut behind the last that fits
	RuleNull      Rule = "null_completed"          // NULL where a value is needed: the value that the default or other columns give
	RuleLevel     Rule = "visibility_unknown"      // an unknown visibility: private
	RuleBoolean   Rule = "boolean_unreadable"      // not 0 or 1: a number other than 0 is true, all else false
	RuleTime      Rule = "time_unreadable"         // no time in the years 1 to 9999: the time that other columns give
	RuleTimeOrder Rule = "expires_first"           // expires_at not after created_at: created_at is one second before it
	RuleNoJSON    Rule = "json_invalid"            // not JSON: the text as a JSON string
	RuleJSONEmpty Rule = "json_empty"              // an empty text where JSON belongs: NULL
	RuleJSONNUL   Rule = "json_nul_removed"        // \u0000 in JSON: removed
	RuleJSONHalf  Rule = "json_surrogate"          // half of a surrogate pair in JSON: U+FFFD
	RuleJSONKeys  Rule = "json_duplicate_keys"     // equal keys in a JSON object: the last counts
	RuleJSONRange Rule = "json_number_range"       // a number that numeric cannot hold: a string of its digits
	RuleJSONRaw   Rule = "json_control_escaped"    // a control character in JSON that is not escaped: escaped
	RuleParent    Rule = "parent_missing"          // the parent is not there: NULL
	RuleElsewhere Rule = "parent_in_other_session" // the parent is in another session: NULL
)

// The rules for rows.
const (
	RulePlaceholder Rule = "session_missing"   // the session is not there: a placeholder of its id, or as --on-orphan says
	RuleNoKey       Rule = "no_key"            // a session without an id, a token without its secret: dropped
	RuleDuplicate   Rule = "duplicate"         // an older row of the same memory key or token: dropped
	RuleTaken       Rule = "taken_in_database" // with new ids: the database has this memory key or token already: dropped
	RuleNewID       Rule = "new_session_id"    // with new ids: the database has a session of this id: a new one
)

// Action is what became of a row.
type Action string

// The actions.
const (
	Repaired Action = "repaired" // imported with the value after
	Attached Action = "attached" // imported into a placeholder session
	Created  Action = "created"  // a placeholder session
	Dropped  Action = "dropped"  // not imported; the report has the complete row
)
