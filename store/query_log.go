package store

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
)

// queryLog writes one line for a statement. It shows neither parameters nor error messages, which may repeat them.
type queryLog struct {
	logger *slog.Logger
	all    bool          // log each statement, not only those that are slow
	slow   time.Duration // how long a statement takes that is slow; 0 for none
}

// tracer is Tracer together with the log that c asks for, if any.
func (c Config) tracer() pgx.QueryTracer {
	if !c.QueryLogging && c.SlowQuery <= 0 {
		return c.Tracer
	}
	log := queryLog{c.Logger, c.QueryLogging, c.SlowQuery}
	if c.Tracer == nil {
		return log
	}
	return multitracer.New(c.Tracer, log)
}

type loggedQuery struct {
	sql   string
	start time.Time
}

func (queryLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, loggedQueryKey, loggedQuery{data.SQL, time.Now()})
}

func (l queryLog) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	l.write(ctx, data.CommandTag, data.Err)
}

func (queryLog) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return context.WithValue(ctx, loggedQueryKey, loggedQuery{"COPY " + data.TableName.Sanitize(), time.Now()})
}

func (l queryLog) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	l.write(ctx, data.CommandTag, data.Err)
}

func (l queryLog) write(ctx context.Context, tag pgconn.CommandTag, err error) {
	query, _ := ctx.Value(loggedQueryKey).(loggedQuery)
	duration := time.Since(query.start)
	var pgErr *pgconn.PgError
	if ctx.Err() != nil && errors.As(err, &pgErr) && pgErr.Code == queryCanceled { // the server ended it for this reason
		err = ctx.Err()
	}
	slow := l.slow > 0 && duration >= l.slow
	if !l.all && !slow {
		return
	}
	level, message := slog.LevelInfo, "query"
	switch {
	case slow:
		level, message = slog.LevelWarn, "slow query"
	case err != nil && !errors.Is(err, context.Canceled): // giving up is the caller's right
		level, message = slog.LevelWarn, "query failed"
	}
	if !l.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 5)
	if name := operationName(query.sql); name != "" {
		attrs = append(attrs, slog.String("operation", name))
	}
	attrs = append(attrs, slog.String("sql", query.sql), slog.Duration("duration", duration), slog.Int64("rows", tag.RowsAffected()))
	if err != nil {
		attrs = append(attrs, failureAttr(err))
	}
	l.logger.LogAttrs(ctx, level, message, attrs...)
}

// operationName is the name that sqlc writes before a statement, "MessageAdd" for "-- name: MessageAdd :one", "" for others.
func operationName(sql string) string {
	named, found := strings.CutPrefix(sql, "-- name: ")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(named, " ")
	return name
}

// failureAttr says what kind of error it was. Its text may repeat values.
func failureAttr(err error) slog.Attr {
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return slog.String("sqlstate", pgErr.Code)
	case errors.Is(err, context.Canceled):
		return slog.String("failure", "cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return slog.String("failure", "deadline exceeded")
	case isConnectionFailure(err):
		return slog.String("failure", "connection lost")
	}
	return slog.String("failure", "refused by the driver")
}
