package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// recovery is what is known about connections that are no longer good. The pool cannot see it from one of them.
type recovery struct {
	lost     atomic.Pointer[time.Time] // when a connection was last found to be gone; nil for never
	silent   atomic.Pointer[time.Time] // when one was last found not to answer
	searches bool                      // new connections look for a server of some kind: target_session_attrs
}

// learn draws conclusions about the other connections of the pool from a statement that failed on one.
func (m *Manager) learn(conn *pgx.Conn, err error) {
	if conn.IsClosed() {
		now := time.Now()
		m.recovery.lost.Store(&now)
	}
	if m.recovery.searches && hasCode(err, readOnlySQLTransaction) {
		m.pool.Reset() // only new connections look for the server that takes writes now
	}
}

// tryIdle tries an idle connection before the pool hands it out: one that has been idle for a second, as pgxpool does by
// default, and one that was last used before another was lost. So a server that was restarted costs an error for each
// operation that was running, and not one more for each idle connection. When one does not answer, the others that have been
// idle since are given up untried, as each would keep the caller for as long.
//
// It is the ShouldPing of the pool: when it returns true the pool pings too, and drops a connection that was closed here.
func (m *Manager) tryIdle(ctx context.Context, idle pgxpool.ShouldPingParams) bool {
	lost, silent := m.recovery.lost.Load(), m.recovery.silent.Load()
	idleSince := func(event *time.Time) bool { return event != nil && time.Since(*event) <= idle.IdleDuration }
	switch {
	case idleSince(silent):
		_ = idle.Conn.Close(ctx) // does not wait for an answer
		return true
	case idle.IdleDuration <= time.Second && !idleSince(lost):
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, m.config.pingTimeout())
	defer cancel()
	err := idle.Conn.Ping(bounded)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		now := time.Now()
		m.recovery.silent.Store(&now)
	}
	return err != nil
}
