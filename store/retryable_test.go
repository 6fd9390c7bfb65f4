package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What the server says, as an ERROR that it took the statement back for.
func TestRetryableByCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"40001": true, "40P01": true, // conflicts
		"55P03": true, "57014": true, // took too long
		"25P03": true, "25P04": true, "57P05": true,
		"53000": true, "53100": true, "53200": true, "53300": true, // no room
		"25006": true,                                              // no writes
		"57P01": true, "57P02": true, "57P03": true, "08006": true, // comes back

		"53400": false,                                 // a limit that is always there
		"23505": false, "22P02": false, "42601": false, // the statement is wrong
		"42P01": false, "3D000": false, "28P01": false, // the database or the user is wrong
		"25P02": false, // an earlier error of the transaction tells more
		"57P04": false, // the database was dropped
		"08007": false, // unknown, in its own words
		"XX000": false, "XX001": false, "58030": false,
	} {
		err := operationError("add message", &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code})
		if got := IsRetryable(err); got != want {
			t.Errorf("%s: got %v, want %v", code, got, want)
		}
		if got := IsRetryable(fmt.Errorf("service: %w", err)); got != want {
			t.Errorf("%s, wrapped: got %v, want %v", code, got, want)
		}
		if unknown := operationError("add message", fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)); IsRetryable(unknown) {
			t.Errorf("%s: retryable although the outcome is unknown", code)
		}
	}
}

func TestRetryableWithoutCode(t *testing.T) {
	t.Parallel()
	connect := &acquireError{cause: errors.New("connection refused"), text: "connection refused"}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nothing went wrong":        {nil, false},
		"not of the store":          {io.ErrUnexpectedEOF, false},
		"cannot connect":            {operationError("get messages", connect), true},
		"wrong certificate":         {operationError("get messages", &acquireError{cause: &tls.CertificateVerificationError{Err: io.EOF}}), false},
		"lost connection":           {operationError("get messages", io.ErrUnexpectedEOF), true},
		"deadline":                  {operationError("get messages", context.DeadlineExceeded), true},
		"cancelled":                 {operationError("get messages", context.Canceled), false},
		"cancelled while waiting":   {operationError("get messages", &acquireError{cause: context.Canceled}), false},
		"cancelled by the request":  {operationError("get messages", fmt.Errorf("%w: %w", context.Canceled, &pgconn.PgError{Code: "57014"})), false},
		"deadline by the request":   {operationError("get messages", fmt.Errorf("%w: %w", context.DeadlineExceeded, &pgconn.PgError{Code: "57014"})), true},
		"write in a read-only one":  {operationError("exec", fmt.Errorf("%w: %w", errReadOnlyTx, &pgconn.PgError{Code: "25006"})), false},
		"answer cannot be read":     {operationError("get messages", errors.New("cannot scan")), false},
		"session not found":         {operationError("get messages", ErrSessionNotFound), false},
		"session deleted meanwhile": {operationError("add message", &pgconn.PgError{Code: "23503", ConstraintName: "messages_session_id_fkey"}), false},
		"manager closed":            {operationError("get messages", ErrManagerClosed), false},
		"misuse":                    {operationError("get messages", ErrTxBusy), false},
		"bad argument":              {&ValidationError{Field: "content"}, false},
	} {
		if got := IsRetryable(test.err); got != test.want {
			t.Errorf("%s: got %v, want %v: %v", name, got, test.want, test.err)
		}
	}
}

// unsent is an error for which pgx says that nothing was sent.
type unsent struct{ error }

func (u unsent) Unwrap() error   { return u.error }
func (unsent) SafeToRetry() bool { return true }

// Of a connection that is gone, what is known about the statement.
func TestUndone(t *testing.T) {
	t.Parallel()
	server := func(severity, code string) error { return &pgconn.PgError{Severity: severity, Code: code} }
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"refused":                    {server("ERROR", "40001"), true},
		"stopped":                    {server("FATAL", "57P01"), false},
		"crashed":                    {server("PANIC", "53100"), false},
		"idle in its transaction":    {server("FATAL", "25P03"), true},
		"idle":                       {server("FATAL", "57P05"), true},
		"in another language":        {&pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "57014"}, true},
		"in an unknown language":     {server("FEHLER", "57014"), false},
		"nothing was sent":           {unsent{errors.New("broken pipe")}, true},
		"closed, so says pgx":        {pgconn.ErrConnClosed, false},
		"closed after it was sent":   {unsent{pgconn.ErrConnClosed}, false},
		"reset":                      {io.ErrUnexpectedEOF, false},
		"deadline without an answer": {context.DeadlineExceeded, false},
	} {
		if got := isUndone(test.err); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
