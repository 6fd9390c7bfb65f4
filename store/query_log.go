package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// queryLog writes one line for each statement. It shows neither parameters nor error messages, which may repeat them.
type queryLog struct{ logger *slog.Logger }

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
	attrs := []slog.Attr{
		slog.String("sql", query.sql), slog.Duration("duration", time.Since(query.start)), slog.Int64("rows", tag.RowsAffected()),
	}
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		attrs = append(attrs, slog.String("sqlstate", pgErr.Code))
	case err != nil:
		attrs = append(attrs, slog.Bool("failed", true))
	}
	l.logger.LogAttrs(ctx, slog.LevelInfo, "query", attrs...)
}
