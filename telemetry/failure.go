package telemetry

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The kinds of errors that are counted.
const (
	kindConnection = "connection" // no connection could be had, or it was lost
	kindTimeout    = "timeout"    // a deadline, the server's statement_timeout or lock_timeout
	kindCancelled  = "cancelled"  // the caller gave up
	kindConflict   = "conflict"   // a serialization failure or a deadlock
	kindSchema     = "schema"     // a table or column that is not there
	kindResources  = "resources"  // the server has no disk space or memory left, or cannot read or write
	kindOther      = "other"      // for instance a value that a statement of the service's own refuses
)

var kinds = []string{kindConnection, kindTimeout, kindCancelled, kindConflict, kindSchema, kindResources, kindOther}

// reason returns why a call has failed: when its context ends, the store has the server cancel the statement, which then
// reports that and not why.
func reason(ctx context.Context, err error) error {
	var server *pgconn.PgError
	if ctx.Err() != nil && errors.As(err, &server) && server.Code == "57014" {
		return ctx.Err()
	}
	return err
}

// kindOf returns the kind of an error that the driver reports.
func kindOf(err error) string {
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return kindCancelled
	case errors.As(err, &connect):
		return kindConnection
	case errors.Is(err, context.DeadlineExceeded):
		return kindTimeout
	case errors.As(err, &server):
		return kindOfState(server.Code)
	case lostConnection(err):
		return kindConnection
	}
	return kindOther
}

// kindOfState returns the kind of an error by its SQLSTATE, in agreement with the types of errors of the store.
func kindOfState(state string) string {
	switch state {
	case "57014", "55P03": // statement, lock
		return kindTimeout
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return kindConflict
	case "42P01", "42703", "3F000", "42704": // undefined table, column, schema, object
		return kindSchema
	case "28P01", "28000", "3D000", "53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04": // refused, stopping, starting, ended for being idle
		return kindConnection
	}
	switch {
	case strings.HasPrefix(state, "08"):
		return kindConnection
	case strings.HasPrefix(state, "53"), strings.HasPrefix(state, "58"):
		return kindResources
	}
	return kindOther
}

// lostConnection reports whether a connection broke.
func lostConnection(err error) bool {
	return errors.As(err, new(net.Error)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.HasSuffix(err.Error(), "conn closed") // by an earlier failure; pgconn exports no value or type for it
}

// errWithheld stands for an error of the driver that may repeat a parameter.
var errWithheld = errors.New("the driver refused the statement or its result; its error is withheld, as it may repeat values")

// withoutValues returns what may be shown of an error: the server's messages and the driver's repeat the values of parameters.
func withoutValues(err error) error {
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
		network net.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &connect): // knows no statement, and shows no password
		return connect
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &server):
		return &pgconn.PgError{Severity: server.Severity, Code: server.Code, Message: "see the server's log, as the message may repeat values"}
	case errors.As(err, &network):
		return network
	case lostConnection(err):
		return net.ErrClosed
	}
	return errWithheld
}
