package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// pollInterval is how often a follower asks although nothing was told, for what was written by other programs, or by
	// one that ended before it could tell.
	pollInterval = 5 * time.Second
	// pollIntervalAlone is how often it asks where nothing can be told.
	pollIntervalAlone = 250 * time.Millisecond
	// listenPing is how long the connection that listens may be silent before it is tried.
	listenPing = 5 * time.Second
)

// listener hears which topics have news, on one connection for all followers of a manager.
type listener struct {
	config *Config
	// wake is called with the number of a topic, or with all set where some may have been missed.
	wake      func(topic uint64, all bool)
	listening atomic.Bool
}

// interval is how long a feed waits before it asks without being told.
func (l *listener) interval() time.Duration {
	if l.listening.Load() {
		return pollInterval
	}
	return pollIntervalAlone
}

// run listens until ctx ends. Where that is not possible the feeds ask often instead.
func (l *listener) run(ctx context.Context) {
	if l.config.needsDirect() {
		l.config.Logger.LogAttrs(ctx, slog.LevelInfo, "followers ask for news instead of being told: "+
			"LISTEN does not work through a transaction pooler; set DIRECT_DATABASE_URL to the address of the server itself")
		return
	}
	for retry := feedRetry; ; retry = min(2*retry, feedRetryMax) {
		heard, err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if heard {
			retry = feedRetry
		}
		l.config.Logger.LogAttrs(ctx, slog.LevelWarn, "followers ask for news until LISTEN works again",
			slog.String("error", operationError("listen", err).Error()))
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry + rand.N(retry)):
		}
	}
}

// listen makes a connection and hears until it fails, and reports whether it has listened.
func (l *listener) listen(ctx context.Context) (listening bool, err error) {
	config, err := l.config.directConfig()
	if err != nil {
		return false, err
	}
	connecting, cancel := context.WithTimeout(ctx, l.config.AcquireTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, config)
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, "LISTEN "+notifyChannel); err != nil {
		return false, err
	}
	l.listening.Store(true)
	defer l.listening.Store(false)
	l.wake(0, true) // what came before
	for {
		waiting, cancel := context.WithTimeout(ctx, listenPing)
		notification, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			topic, err := strconv.ParseUint(notification.Payload, 10, 64)
			l.wake(topic, err != nil)
		case waiting.Err() == nil || ctx.Err() != nil:
			return true, err
		default:
			pinging, cancel := context.WithTimeout(ctx, listenPing)
			err := conn.Ping(pinging)
			cancel()
			if err != nil {
				return true, err
			}
		}
	}
}

// notifyChannel is where numbers of topics are told.
const notifyChannel = "sharedcontext"
