package store

import (
	"context"
	"errors"
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
	wake func(topic uint64, all bool)
	// listening counts the connections that listen: one, or none, or for a moment two.
	listening atomic.Int32
}

// interval is how long a feed waits before it asks without being told.
func (l *listener) interval() time.Duration {
	if l.listening.Load() > 0 {
		return pollInterval
	}
	return pollIntervalAlone
}

// run listens until ctx ends. Where that is not possible the feeds ask often instead.
func (l *listener) run(ctx context.Context) {
	if l.config.needsDirect() {
		l.cannotListen(ctx)
		return
	}
	lost := false
	for retry := feedRetry; ; retry = min(2*retry, feedRetryMax) {
		err := l.listen(ctx, func() {
			if lost {
				l.config.Logger.LogAttrs(ctx, slog.LevelInfo, "followers are told of news again")
			}
			lost, retry = false, feedRetry
		})
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errTransactionPooler):
			l.cannotListen(ctx)
			return
		case !lost:
			lost = true
			l.config.Logger.LogAttrs(ctx, slog.LevelWarn, "followers ask for news until LISTEN works again",
				slog.String("error", operationError("listen", err).Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry + rand.N(retry)):
		}
	}
}

func (l *listener) cannotListen(ctx context.Context) {
	l.config.Logger.LogAttrs(ctx, slog.LevelInfo, "followers ask for news instead of being told: "+l.config.transactionPoolerError().Error()+
		"; "+transactionPoolerHint)
}

// listen makes a connection, calls started when that listens, and hears until it fails.
func (l *listener) listen(ctx context.Context, started func()) error {
	config, err := l.config.directConfig()
	if err != nil {
		return err
	}
	connecting, cancel := context.WithTimeout(ctx, l.config.AcquireTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		_ = conn.Close(closing)
	}()
	behind, err := behindTransactionPooler(connecting, conn)
	if err != nil {
		return err
	}
	if behind {
		return errTransactionPooler
	}
	if _, err := conn.Exec(connecting, "LISTEN "+notifyChannel); err != nil {
		return err
	}
	l.listening.Add(1)
	defer l.listening.Add(-1)
	started()
	l.wake(0, true) // what came before
	for {
		waiting, cancel := context.WithTimeout(ctx, listenPing)
		notification, err := conn.WaitForNotification(waiting)
		silent := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			topic, err := strconv.ParseUint(notification.Payload, 10, 64)
			l.wake(topic, err != nil)
		case !silent:
			return err
		default:
			pinging, cancel := context.WithTimeout(ctx, listenPing)
			err := conn.Ping(pinging)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// notifyChannel is where numbers of topics are told.
const notifyChannel = "sharedcontext"
