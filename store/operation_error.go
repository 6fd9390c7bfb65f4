package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// domainErrors pass through with the operation's name before them: they say something about the data, not the database.
var domainErrors = []error{
	ErrSessionNotFound,
	ErrMessageNotFound,
	ErrIdempotencyConflict,
	ErrPermission,
	ErrNoManager,
	ErrManagerClosed,
	ErrTxFinished,
	ErrTxBusy,
	ErrTokenInvalid,
	ErrMemoryNotFound,
	ErrMemoryKeyExists,
}

// operationError is the one place where an error of the driver becomes one of the store. An error that is one already
// stays as it is; a nil stays nil.
func operationError(operation string, err error) error {
	if err == nil {
		return nil
	}
	var (
		database   *DatabaseError
		validation *ValidationError
	)
	if errors.As(err, &database) || errors.As(err, &validation) {
		return err
	}
	for _, domain := range domainErrors {
		if errors.Is(err, domain) {
			return fmt.Errorf("%s: %w", operation, err)
		}
	}

	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return serverError(operation, err, pgErr)
	}
	failure := DatabaseError{Op: operation, Err: err, Hint: outcomeHint(err)}
	if isConnectionFailure(err) {
		failure.Hint = cmp.Or(failure.Hint, connectionHint(err))
		return &DatabaseConnectionError{failure}
	}
	return &failure
}

// serverError maps an error that the server reported, by its SQLSTATE.
func serverError(operation string, err error, pgErr *pgconn.PgError) error {
	failure := DatabaseError{Op: operation, Err: err}
	switch pgErr.Code {
	case "23503": // foreign_key_violation: the row was deleted between the existence check and the write
		switch pgErr.ConstraintName {
		case "messages_session_id_fkey", "message_keys_session_id_fkey", "agent_memory_session_id_fkey", "audit_log_session_id_fkey":
			failure.Err = fmt.Errorf("%w: %w", ErrSessionNotFound, err)
		case "messages_parent_message_id_fkey":
			failure.Err = fmt.Errorf("parent: %w: %w", ErrMessageNotFound, err)
		}
	case "28P01", "28000": // invalid_password, invalid_authorization_specification
		failure.Hint = "check user and password of DATABASE_URL, and pg_hba.conf of the server"
		return &DatabaseConnectionError{failure}
	case "3D000": // invalid_catalog_name
		failure.Hint = "create the database or correct its name in DATABASE_URL"
		return &DatabaseConnectionError{failure}
	case "53300": // too_many_connections
		failure.Hint = "lower DATABASE_MAX_CONNECTIONS of the services or raise max_connections of the server"
		return &DatabaseConnectionError{failure}
	case "57P01", "57P02", "57P03", "57P05": // the server is stopping, crashed, starting, or ended an idle session
		failure.Hint = cmp.Or(outcomeHint(err), "the server closed the connection or is starting; the next call takes another one")
		return &DatabaseConnectionError{failure}
	case "25P03", "25P04": // idle_in_transaction_session_timeout, transaction_timeout
		failure.Hint = cmp.Or(outcomeHint(err), "the transaction took too long and is rolled back: do slow work before it begins")
		return &DatabaseConnectionError{failure}
	case "53100": // disk_full
		failure.Hint = cmp.Or(outcomeHint(err), "nothing was written: make room on the server's disk, then repeat the call")
	case "53400": // configuration_limit_exceeded
		failure.Hint = "nothing was written: raise the setting that the server names, for instance temp_file_limit"
	case readOnlySQLTransaction:
		if !errors.Is(err, errReadOnlyTx) {
			failure.Hint = "nothing was written: the server is a standby, or was made to take no writes, as some do when their disk is full"
		}
	case "42P01", "42703", "3F000", "42704": // undefined table, column, schema, object
		failure.Hint = `the schema may be missing or old: call InitializeDatabase or run "sharedcontext migrate up"`
		return &DatabaseSchemaError{failure}
	case "26000", "42P05": // a prepared statement does not exist, or does already: it was another server connection
		failure.Hint = "if DATABASE_URL leads to a pooler in transaction mode, add pgbouncer=true to its parameters"
	case insufficientPrivilege:
		failure.Err = fmt.Errorf("%w: %w", ErrPermission, err)
		failure.Hint = `"sharedcontext access check" says what the role of DATABASE_URL may do; migrations and the cleanup of the audit log need the owner of the tables`
	case queryCanceled: // by the end of the caller's context, which is then named, by statement_timeout or by somebody else
		failure.Hint = "nothing was written: the statement ran into the server's statement_timeout or was cancelled"
	}
	if said, known := saidByPooler(pgErr); known {
		failure.Hint = said.hint
	}
	failure.Hint = cmp.Or(failure.Hint, outcomeHint(err))
	if strings.HasPrefix(pgErr.Code, "08") { // connection_exception
		return &DatabaseConnectionError{failure}
	}
	return &failure
}

// outcomeHint says what to do about an unknown outcome; it is empty for another error.
func outcomeHint(err error) string {
	if !errors.Is(err, ErrOutcomeUnknown) {
		return ""
	}
	return "look for it before you repeat the call; a message added with an idempotency key can be repeated without looking"
}

// isConnectionFailure reports whether no connection could be had, or the one in use was lost.
func isConnectionFailure(err error) bool {
	var (
		acquire *acquireError
		connect *pgconn.ConnectError
		network net.Error
	)
	if errors.Is(err, context.Canceled) {
		return false // the caller gave up; nothing is known about the connection
	}
	if errors.As(err, &acquire) || errors.As(err, &connect) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) // by an earlier failure
}

func connectionHint(err error) string {
	var acquire *acquireError
	if errors.As(err, &acquire) {
		return acquire.hint
	}
	return "the connection was lost; the next call takes another one"
}
