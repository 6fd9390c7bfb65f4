package store

import (
	"errors"
	"fmt"
	"strings"
)

// The domain errors. Test for them with [errors.Is]; the error that a method returns may say more around them.
var (
	// ErrSessionNotFound says that no session has this id.
	ErrSessionNotFound = errors.New("session not found")
	// ErrMessageNotFound says that no message has this id in this session, or that the reader may not see it.
	ErrMessageNotFound = errors.New("message not found")
	// ErrIdempotencyConflict says that an idempotency key was used before in this session for another message.
	ErrIdempotencyConflict = errors.New("idempotency key was used for another message")
	// ErrTokenInvalid says that a token cannot be used, and never why.
	ErrTokenInvalid = errors.New("token is invalid")
	// ErrMemoryNotFound says that the agent has no live memory entry of this key in this scope.
	ErrMemoryNotFound = errors.New("memory entry not found")
	// ErrMemoryKeyExists says that a live memory entry has this key and was to be kept.
	ErrMemoryKeyExists = errors.New("memory key exists")
	// ErrPermission says that the agent may not do this, for instance write an admin_only message without being an admin, or
	// that the database does not let its role do it.
	ErrPermission = errors.New("permission denied")
)

// Misuse of a manager or a transaction: mistakes in the calling program, which no retry mends.
var (
	// ErrNoManager says that ctx carries no manager and that the environment does not configure a default one.
	ErrNoManager = errors.New("no manager")
	// ErrManagerClosed says that the manager was closed or disposed of before this call.
	ErrManagerClosed = errors.New("manager is closed")
	// ErrTxFinished says that a context kept the transaction of an InTx that has already returned.
	ErrTxFinished = errors.New("transaction is finished")
	// ErrTxBusy says that two goroutines used one transaction at once, or that a transaction was used while a nested one runs.
	ErrTxBusy = errors.New("transaction is in use by another goroutine or by a nested transaction")
)

// ErrOutcomeUnknown says that a write was sent to the server, whose answer was lost with the connection or came too late: it
// took effect as a whole or not at all. Repeating it blindly might do it twice; see [IsRetryable].
var ErrOutcomeUnknown = errors.New("it is unknown whether the write took effect")

// DatabaseError wraps everything that comes back from the database, with the operation that failed. The cause stays
// visible: errors.Is(err, context.Canceled) and errors.As(err, **pgconn.PgError) look through it.
type DatabaseError struct {
	// Op is the operation as a service knows it, for instance "add message".
	Op string
	// Hint says what a person can do about it. It may be empty.
	Hint string
	// Err is the cause.
	Err error
}

// Error says what was attempted, what went wrong and, where it is known, what to do.
func (e *DatabaseError) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	fmt.Fprint(&b, e.Err)
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *DatabaseError) Unwrap() error { return e.Err }

// DatabaseConnectionError is the [DatabaseError] of a connection that could not be had or was lost.
type DatabaseConnectionError struct{ DatabaseError }

// Unwrap returns the DatabaseError that this error is a kind of.
func (e *DatabaseConnectionError) Unwrap() error { return &e.DatabaseError }

// DatabaseSchemaError is the [DatabaseError] of a schema that is missing, incomplete, half-migrated or of another version.
type DatabaseSchemaError struct{ DatabaseError }

// Unwrap returns the DatabaseError that this error is a kind of.
func (e *DatabaseSchemaError) Unwrap() error { return &e.DatabaseError }

// ValidationError refuses an argument before the database is asked. It does not repeat the value, but for the beginning of
// a timestamp that cannot be read.
type ValidationError struct {
	// Field is the argument, for instance "content".
	Field string
	// Rule is the kind of rule that is broken: "length", "pattern", "utf8", "json", "enum", "range", or for SQL "placeholders"
	// or "syntax".
	Rule string
	// Limit is what the rule demands, for instance "1 to 100000 characters".
	Limit string
	// Got says what was found instead, for instance "100001 characters". It may be empty.
	Got string
}

// Error names the field, the rule and the limit.
func (e *ValidationError) Error() string {
	text := fmt.Sprintf("invalid %s: must be %s", e.Field, e.Limit)
	switch e.Rule {
	case "length", "utf8", "placeholders", "syntax": // the limit does not say what it limits
		text = fmt.Sprintf("invalid %s: %s must be %s", e.Field, e.Rule, e.Limit)
	}
	if e.Got != "" {
		text += ", got " + e.Got
	}
	return text
}

// ConfigError says that a setting cannot be used.
type ConfigError struct {
	// Variable is the environment variable, which the field of [Config] is named after, for instance "DATABASE_TIMEOUT".
	Variable string
	// Value is what was given. It is empty for settings that hold secrets.
	Value string
	// Problem says what is wrong and what is accepted.
	Problem string
}

// Error names the variable, its value unless that is a secret, and the accepted range.
func (e *ConfigError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("configuration: %s: %s", e.Variable, e.Problem)
	}
	return fmt.Sprintf("configuration: %s=%q: %s", e.Variable, e.Value, e.Problem)
}
