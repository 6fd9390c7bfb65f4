package store

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsRetryable reports whether the call that returned err may be repeated as it was: nothing of it can take effect twice,
// and what stood in its way passes by itself. That is so
//
//   - when no connection could be had, the pool was full, or nothing had been sent;
//   - when the server refused the statement or took it back, for a reason that passes: a serialization failure, a deadlock,
//     a lock or a statement that took too long, too many connections, a full disk, a server that starts, stops or takes no
//     writes at the moment;
//   - when the connection was lost or a deadline passed before the answer came, if the call only reads, adds messages that
//     all have an idempotency key, or is upkeep (cleanup, sealing).
//
// Any other write whose answer was lost is [ErrOutcomeUnknown] and not retryable, which includes a transaction that was lost
// in its commit. A transaction that was lost before is rolled back: an error of an operation in it speaks of the whole
// [Manager.InTx], whose function may then run again if it has no other effects. What [ExecuteQuery] and its like run counts
// as a write, unless in a transaction with ReadOnly.
//
// A cancelled context is no reason to repeat a call; a deadline is, with a later one. Wait longer from one attempt to the
// next, and end after some.
func IsRetryable(err error) bool {
	var failure *DatabaseError
	if !errors.As(err, &failure) || errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, context.Canceled) {
		return false
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return passes(pgErr.Code) && !errors.Is(err, errReadOnlyTx)
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return false
	}
	return isConnectionFailure(err) || errors.Is(err, context.DeadlineExceeded)
}

// passes reports whether what an SQLSTATE stands for can be over at the next attempt. Whether an attempt may be made is
// another question: see [Manager.outcome].
func passes(code string) bool {
	switch code {
	case "40001", "40P01": // serialization_failure, deadlock_detected
	case "55P03", queryCanceled: // lock_not_available; by statement_timeout, or by the deadline of the caller
	case "25P03", "25P04", "57P05": // idle_in_transaction_session_timeout, transaction_timeout, idle_session_timeout
	case readOnlySQLTransaction: // a standby, or a server that was made to take no writes, as some do when the disk is full
	case "53000", "53100", "53200", "53300": // insufficient_resources, disk_full, out_of_memory, too_many_connections
	case "57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
	default:
		// 53400, configuration_limit_exceeded, is not among them: who needs too much temporary space needs it again.
		// 08 is connection_exception, from a pooler whose server is gone; 08007 is transaction_resolution_unknown.
		return strings.HasPrefix(code, "08") && code != "08007"
	}
	return true
}
